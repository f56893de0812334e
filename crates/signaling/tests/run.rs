//! Shutdown of a server that runs by [`Run`], served by [`http_service`]: a process of its own, because of the signal.

mod common;

use std::future::pending;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard_room_supervisor::{RoomOptions, Rooms};
use callboard_signaling::{PeerOptions, Run, Signaling, http_service, run};
use callboard_supervision::{Flags, SupervisorSpec};
use common::{Client, TestPeer, TestRoom};
use futures_util::StreamExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;

#[actix::test]
async fn a_tree_that_gives_up_a_server_without_address_and_a_signal_end_a_run() {
    let tree = SupervisorSpec::new(Flags::one_for_one()).start_as("brief").await.unwrap();
    let running = Run::new().unwrap().tree(&tree).until(pending::<()>());
    let (ended, _) = tokio::join!(within(running), tree.stop());
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("a supervisor has given up"), "{error}");

    let unbound = run(Rooms::new(), HttpServer::new(App::new));
    assert_eq!(within(unbound).await.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);

    let rooms = Rooms::new();
    let tree = rooms.start().await.unwrap();
    let server = HttpServer::new(App::new).workers(1).bind(("127.0.0.1", 0)).unwrap();
    let (ended, _) = tokio::join!(within(run(rooms.clone(), server)), tree.stop());
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("a supervisor has given up"), "{error}");
    assert!(rooms.tree().is_none() && rooms.is_closing());

    let done = Run::new().unwrap().until(async { 7 });
    assert_eq!(within(done).await.unwrap(), Some(7));

    let open = || vec![RoomOptions::<TestRoom>::new("demo", ()).into()];
    let rooms = Rooms::builder().open_at_start(open).build();
    let signaling = Signaling::new(PeerOptions::<TestPeer>::new((), rooms.clone()));
    let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = actix_server::Server::build().workers(2);
    let server = server.listen("http", listener, move || http_service(app.clone())).unwrap();
    let running = actix_web::rt::spawn(run(rooms.clone(), server));
    let url = format!("ws://{address}/socket/demo");
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let (id, worker) = (String::new(), String::new());
    let mut client = Client { socket, id, protocol: None, worker };
    client.expect("authenticated").await;

    let id = std::process::id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());

    assert_eq!(client.expect_error("Room closed").await, "shutdown");
    client.expect_close(1001).await;
    within(running).await.unwrap().unwrap();
    assert!(!rooms.is_running() && rooms.is_closing());
    while let Some(Ok(Frame::Close(_))) = client.socket.next().await {}
}

async fn within<T>(ending: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), ending).await.expect("it ends")
}
