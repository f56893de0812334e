//! The metrics of a running server, as Prometheus's own checker sees them.

use std::process::{Output, Stdio};

use actix_web::{App, HttpRequest, HttpServer};
use callboard_peer_connection::{PeerConnections, PeerConnectionsOptions};
use callboard_room_supervisor::{AuthData, Room, RoomOptions, Rooms};
use callboard_signaling::admin::Admin;
use callboard_signaling::*;
use futures_util::StreamExt;
use integration_tests::program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

struct Lobby;

impl Room for Lobby {
    type Options = ();

    fn on_init((): &()) -> Result<Self, String> {
        Ok(Self)
    }
}

struct Guest;

impl Peer for Guest {
    type Options = ();

    fn parse_request(_: &HttpRequest) -> Result<JoinRequest, BadRequest> {
        Ok(JoinRequest { room: "lobby".to_owned(), ..JoinRequest::default() })
    }

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<Init<Self>, Refused> {
        Ok(Self.into())
    }
}

#[actix::test]
async fn promtool_is_content_with_the_metrics() {
    let rooms = Rooms::new();
    let root = rooms.start().await.expect("nothing runs yet");
    let lobby = RoomOptions::<Lobby>::new("lobby", ());
    rooms.start_supervised(lobby).await.expect("the name is free");
    let connections =
        PeerConnections::start(PeerConnectionsOptions::default()).await.expect("ports");
    let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms));
    let admin =
        Admin::builder(root).connections(connections).counters(signaling.counters()).build();
    let app = move || App::new().configure(signaling.at(&["/socket"])).configure(admin.at(""));
    let server = tune(HttpServer::new(app).workers(1).disable_signals());
    let server = server.bind(("127.0.0.1", 0)).expect("a port");
    let address = server.addrs()[0].to_string();
    actix_web::rt::spawn(server.run());
    let (mut guest, _) = tokio_tungstenite::connect_async(format!("ws://{address}/socket"))
        .await
        .expect("anybody is let in");
    guest.next().await.expect("the guest is told of it").expect("by a message");

    let mut connection = TcpStream::connect(&address).await.expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("it reads");
    let mut response = String::new();
    connection.read_to_string(&mut response).await.expect("it answers");
    let (head, metrics) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(metrics.contains("\ncallboard_peers 1\n"), "{metrics}");

    let said = check(metrics).await;
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}\n{metrics}");
    // It does look.
    assert!(!check("# TYPE callboard_things counter\ncallboard_things 1\n").await.status.success());
}

/// `promtool check metrics` of this.
async fn check(metrics: &str) -> Output {
    let mut promtool = Command::new(program::of_the_machine("promtool", "prometheus"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(metrics.as_bytes()).await.expect("it reads");
    drop(input);
    promtool.wait_with_output().await.expect("it ends")
}
