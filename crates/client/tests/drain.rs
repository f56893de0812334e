//! A node of a cluster that is drained: its clients go on at another one, and lose nothing.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard_client::{Client, ClientEvent, Recipients};
use callboard_cluster::{Cluster, Embedded, MemoryWire};
use callboard_room_supervisor::*;
use callboard_signaling::*;
use callboard_supervision::SupervisorRef;
use common::{TestPeer, TestRoom, join, next, options, url, within};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A node, and what drains it.
struct Node {
    address: SocketAddr,
    drain: Drain,
    cluster: Cluster,
    /// The run that ends when it is drained.
    run: JoinHandle<()>,
    _tree: SupervisorRef,
}

impl Node {
    async fn start(
        directory: &Embedded,
        wire: &MemoryWire,
        name: &str,
        options: impl FnOnce(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let cluster = Cluster::builder(directory.clone()).node(name).wire(wire.clone());
        let cluster = cluster.url(format!("ws://{address}")).hold(LONG).build().expect("a name");
        let tree = cluster.start().await.expect("it runs nowhere else");
        let rooms = Rooms::builder().cluster(&cluster).build();
        let server = rooms.start().await.expect("the rooms start");
        let demo = RoomOptions::<TestRoom>::new("demo", ());
        rooms.start_supervised(demo).await.expect("here or away");
        let signaling = Signaling::new(options(PeerOptions::new((), rooms.clone())));
        let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
        let http = tune(HttpServer::new(app).workers(1).disable_signals());
        let http = http.listen(listener).expect("a listener");
        let drain = Drain::new(&rooms).spread(SPREAD).timeout(LONG);
        let run = Run::new().expect("signals can be listened for").rooms(&rooms);
        let run = run.tree(&tree).tree(&server).drain_on_sigterm(&drain);
        let run = actix_web::rt::spawn(async move { run.serve(http).await.expect("in time") });
        Self { address, drain, cluster, run, _tree: tree }
    }
}

/// Starts the home of the room, and another node.
async fn two_nodes(
    options: impl Fn(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
) -> (Node, Node) {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let home = Node::start(&directory, &wire, "a1", &options).await;
    (home, Node::start(&directory, &wire, "b2", &options).await)
}

/// Sends numbers to all until it is told to stop, and hears those of the others; returns how many it has sent, and all
/// that it has heard.
async fn talk(mut client: Client, mut stop: oneshot::Receiver<()>) -> (u64, Vec<ClientEvent>) {
    let (mut sent, mut heard) = (0, Vec::new());
    let mut turns = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            _ = &mut stop => break,
            event = client.next_event() => heard.push(event.expect("it runs")),
            _ = turns.tick() => {
                client.send(Recipients::All, "number", sent).expect("it takes it");
                sent += 1;
            }
        }
    }
    client.send(Recipients::All, "last", ()).expect("it takes it");
    let mut lasts = 0;
    while lasts < OTHERS {
        let event = within(client.next_event()).await.expect("it runs");
        lasts += usize::from(matches!(&event, ClientEvent::Message(it) if it.event == "last"));
        heard.push(event);
    }
    (sent, heard)
}

#[actix_web::test]
async fn clients_of_a_node_that_is_drained_go_on_at_another_and_lose_nothing() {
    let (home, edge) = two_nodes(|options| options.resume_grace(LONG)).await;
    let mut clients = Vec::new();
    for address in [home.address, edge.address, edge.address, edge.address] {
        clients.push(join(address).await);
    }
    let ids: Vec<_> = clients.iter().map(|client| client.peer_id()).collect();
    for (place, client) in clients.iter_mut().enumerate() {
        for _ in place + 1..ids.len() {
            assert!(matches!(next(client).await, ClientEvent::Joined(_)));
        }
    }
    let (stops, talks): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .map(|client| {
            let (stop, stopped) = oneshot::channel();
            (stop, actix_web::rt::spawn(talk(client, stopped)))
        })
        .unzip();

    edge.drain.begin();
    within(edge.run).await.expect("it does not panic");

    assert!(edge.drain.has_begun() && edge.drain.readiness().is_err());
    assert!(home.cluster.nodes().is_empty(), "it has left the cluster");
    stops.into_iter().for_each(|stop| _ = stop.send(()));
    let told = within(futures_of(talks)).await;
    for (place, (_, heard)) in told.iter().enumerate() {
        for (other, (sent, _)) in told.iter().enumerate().filter(|(other, _)| *other != place) {
            let from = Some(&ids[other]);
            let numbers = heard.iter().filter_map(|event| match event {
                ClientEvent::Message(it) if it.from.as_ref() == from && it.event == "number" => {
                    it.data.as_u64()
                }
                _ => None,
            });
            let numbers: Vec<u64> = numbers.collect();
            assert!(numbers.iter().copied().eq(0..*sent), "{place} of {other}: {numbers:?}");
        }
        let others: Vec<_> =
            heard.iter().filter(|event| !matches!(event, ClientEvent::Message(_))).collect();
        let moved = ClientEvent::Moved { from: url(edge.address), to: url(home.address) };
        assert_eq!(others, if place == 0 { vec![] } else { vec![&moved] }, "client {place}");
    }
}

async fn futures_of<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("it does not panic"));
    }
    all
}

#[actix_web::test]
async fn clients_without_a_session_join_anew_and_no_one_comes_to_a_node_that_is_drained() {
    let (home, edge) = two_nodes(|options| options).await;
    let mut client = join(edge.address).await;
    let previous = client.peer_id();

    edge.drain.begin();
    let refused = within(Client::connect(&url(edge.address), options())).await;

    assert!(refused.is_err(), "let in");
    let ClientEvent::Rejoined { previous: before, .. } = next(&mut client).await else {
        panic!("it has not joined anew")
    };
    assert_eq!(before, previous);
    let moved = ClientEvent::Moved { from: url(edge.address), to: url(home.address) };
    assert_eq!(next(&mut client).await, moved);
    within(edge.run).await.expect("it does not panic");
    client.send(Recipients::All, "chat", json!(1)).expect("it goes on");
}

#[actix_web::test]
async fn a_node_that_is_alone_shuts_down_at_once() {
    let node = Node::start(&Embedded::new(), &MemoryWire::new(), "a1", |options| options).await;
    let _client = join(node.address).await;

    node.drain.begin();

    tokio::time::timeout(LONG / 2, node.run).await.expect("long before").expect("no panic");
}

/// Other clients in the room of a test.
const OTHERS: usize = 3;
const SPREAD: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);
