//! Rooms of a cluster: a client that asks one node for the room of another is sent there.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard_client::{Client, ClientEvent, ConnectError, MoveFailure, Recipients};
use callboard_cluster::{Cluster, Embedded};
use callboard_room_supervisor::*;
use callboard_signaling::*;
use callboard_supervision::SupervisorRef;
use common::{TestPeer, TestRoom, eventually, message, next, options, url, within};

/// A node: a server, and its place in the cluster.
struct Node {
    address: SocketAddr,
    rooms: Rooms,
    trees: Vec<SupervisorRef>,
}

impl Node {
    /// Starts a node, at which clients are told to arrive at this URL.
    async fn start(
        directory: &Embedded,
        name: &str,
        listener: TcpListener,
        url: Option<String>,
    ) -> Self {
        let cluster = Cluster::builder(directory.clone()).node(name).hold(Duration::from_secs(3));
        let cluster = match url {
            Some(url) => cluster.url(url),
            None => cluster,
        };
        let cluster = cluster.build().expect("a good name");
        let tree = cluster.start().await.expect("it runs nowhere else");
        let mut node = Self::with(&cluster, listener).await;
        node.trees.push(tree);
        node
    }

    /// Starts the server of a node, which may not run.
    async fn with(cluster: &Cluster, listener: TcpListener) -> Self {
        let open = |name: &str| {
            let options = RoomOptions::<TestRoom>::new(name, ()).close_when_empty(true);
            Some(options.into())
        };
        let rooms = Rooms::builder().cluster(cluster).on_demand(open).build();
        let server = rooms.start().await.expect("the rooms start");
        let signaling = Signaling::new(PeerOptions::<TestPeer>::new((), rooms.clone()));
        let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
        let address = listener.local_addr().expect("an address");
        let http = tune(HttpServer::new(app).workers(1).disable_signals());
        actix_web::rt::spawn(http.listen(listener).expect("a listener").run());
        Self { address, rooms, trees: vec![server] }
    }

    /// Joins as soon as the node has entered the cluster.
    async fn join(&self) -> Client {
        within(async {
            loop {
                match Client::connect(&url(self.address), options()).await {
                    Ok(client) => return client,
                    Err(ConnectError::Refused(refusal)) => {
                        assert_eq!((refusal.status, &*refusal.error), (503, "room_unavailable"));
                        assert!(refusal.retry_after.is_some(), "it says when to come back");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
    }

    async fn stop(self) {
        for tree in self.trees {
            tree.stop().await;
        }
    }
}

fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).expect("a port")
}

fn base(listener: &TcpListener) -> String {
    format!("ws://{}", listener.local_addr().expect("an address"))
}

#[actix_web::test]
async fn a_client_of_another_node_is_sent_to_the_room_and_back_when_that_node_has_gone() {
    let directory = Embedded::new();
    let [one, two] = [listener(), listener()];
    let (url_one, url_two) = (base(&one), base(&two));
    let a = Node::start(&directory, "a", one, Some(url_one)).await;
    let b = Node::start(&directory, "b", two, Some(url_two)).await;
    let mut at_home = b.join().await;

    let mut client = within(Client::connect(&url(a.address), options())).await.expect("let in");

    assert_eq!(client.peers().len(), 1);
    assert!(a.rooms.list().is_empty(), "the room runs at one node");
    next(&mut at_home).await;
    client.send(Recipients::All, "chat", "over there").unwrap();
    assert_eq!(message(&mut at_home).await.data, "over there");

    // Its rooms are free at once, and the first address leads to a node that takes them.
    b.stop().await;
    drop(at_home);
    let moved = loop {
        match within(client.next_event()).await.expect("it runs") {
            ClientEvent::Moved { from, to } => break (from, to),
            ClientEvent::GaveUp(error) => panic!("{error}"),
            _ => {}
        }
    };
    assert!(moved.1.contains(&a.address.to_string()), "{moved:?}");
    eventually("the room is here", || a.rooms.list().len() == 1).await;
    client.close().await;
    a.stop().await;
}

#[actix_web::test]
async fn a_room_of_a_node_without_a_url_is_refused_and_the_node_is_not_named() {
    let directory = Embedded::new();
    let a = Node::start(&directory, "secret-a", listener(), None).await;
    let b = Node::start(&directory, "secret-b", listener(), None).await;
    let _at_home = b.join().await;

    let refused = within(Client::connect(&url(a.address), options())).await;

    let Err(ConnectError::Refused(refusal)) = refused else { panic!("let in") };
    assert_eq!((refusal.status, &*refusal.error), (503, "room_elsewhere"));
    assert!(!refusal.to_string().contains("secret"), "{refusal}");
    a.stop().await;
    b.stop().await;
}

#[actix_web::test]
async fn a_client_is_told_when_to_come_back_and_a_page_too() {
    let cluster = Cluster::builder(Embedded::new()).node("a").hold(Duration::from_secs(3));
    // Its node does not run: no room can be claimed.
    let a = Node::with(&cluster.build().expect("a good name"), listener()).await;

    let refused = within(Client::connect(&url(a.address), options())).await;
    let Err(ConnectError::Refused(refusal)) = refused else { panic!("let in") };
    assert_eq!((refusal.status, &*refusal.error), (503, "room_unavailable"));
    assert!(refusal.retry_after.is_some(), "{refusal:?}");

    // A browser would show its page nothing of that.
    let page = options().header("origin", format!("http://{}", a.address));
    let closed = within(Client::connect(&url(a.address), page)).await;
    assert!(matches!(closed, Err(ConnectError::Closed { code: 1012, .. })), "not told");
    a.stop().await;
}

#[actix_web::test]
async fn nodes_that_point_at_each_other_end_in_an_error() {
    let directory = Embedded::new();
    let [one, two] = [listener(), listener()];
    // The URL of the room's node leads to the other one.
    let a = Node::start(&directory, "a", one.try_clone().expect("a copy"), Some(base(&two))).await;
    let b = Node::start(&directory, "b", two, Some(base(&one))).await;
    let _at_home = b.join().await;

    let refused = within(Client::connect(&url(a.address), options())).await;

    let Err(error) = refused else { panic!("let in") };
    assert_eq!(error, ConnectError::Moved(MoveFailure::TooOften));
    a.stop().await;
    b.stop().await;
}
