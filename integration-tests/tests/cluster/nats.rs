//! What a NATS server does at its worst.

use std::time::Duration;

use callboard_cluster::{
    Change, Claim, ClaimError, Cluster, Directory, DirectoryError, Epoch, Hold, Key, Nats,
    NatsError, NatsOptions,
};
use callboard_supervision::SupervisorRef;
use futures_util::StreamExt;
use futures_util::future::ready;
use integration_tests::{Moment, NatsServer, PATIENCE, network, until};
use tokio::time::{Instant, sleep};

struct Node {
    cluster: Cluster,
    tree: SupervisorRef,
}

async fn start(server: &NatsServer, name: &str, hold: Duration) -> Node {
    let directory = Nats::connect(&server.url(), NatsOptions::new().cluster("test")).await.unwrap();
    let url = format!("wss://{name}.example.org");
    let cluster = Cluster::builder(directory).node(name).url(url).hold(hold).build().unwrap();
    let tree = cluster.start().await.unwrap();
    Node { cluster, tree }
}

/// Moves this test into a network of its own, and starts a server and two nodes there.
async fn two(hold: Duration) -> (NatsServer, Node, Node) {
    network::enter_new_namespace().unwrap_or_else(|error| panic!("{error}"));
    let server = NatsServer::start().await;
    let nodes = (start(&server, "a1", hold).await, start(&server, "b2", hold).await);
    (server, nodes.0, nodes.1)
}

async fn claimed(node: &Node, room: &str) -> Hold {
    until("the hold of a room", PATIENCE, async || match node.cluster.claim(room).await {
        Ok(hold) => Moment::Now(hold),
        Err(error) => Moment::NotYet(error.to_string()),
    })
    .await
}

async fn is_told_that_it_is_at(node: &Node, room: &str, there: &str) {
    until("the place of a room", PATIENCE, async || match node.cluster.claim(room).await {
        Err(ClaimError::Elsewhere(elsewhere)) => {
            assert_eq!(elsewhere.node.as_str(), there);
            assert_eq!(elsewhere.url, Some(format!("wss://{there}.example.org")));
            Moment::Now(())
        }
        Err(error) => Moment::NotYet(error.to_string()),
        Ok(hold) => panic!("it is held twice: {hold:?}"),
    })
    .await;
}

#[actix::test]
async fn a_room_is_claimed_by_one_node_and_taken_when_it_is_given_back() {
    let (_server, a1, b2) = two(HOLD).await;
    for room in ["demo", "Küche 2", "客厅", &"x".repeat(256)] {
        let hold = claimed(&a1, room).await;
        is_told_that_it_is_at(&b2, room, "a1").await;

        let before = hold.epoch();
        drop(hold);
        assert!(claimed(&b2, room).await.epoch() > before);
    }
    let hold = claimed(&a1, "last").await;
    a1.tree.stop().await;
    assert!(!hold.is_good());
    let began = Instant::now();
    claimed(&b2, "last").await;
    assert!(began.elapsed() < HOLD, "the session of a node that leaves is sealed");
}

#[actix::test]
async fn records_are_written_and_removed_only_at_the_revision_that_they_have() {
    network::enter_new_namespace().unwrap_or_else(|error| panic!("{error}"));
    let server = NatsServer::start().await;
    let nats = Nats::connect(&server.url(), NatsOptions::new()).await.unwrap();
    let claim = |epoch| Claim::released(Epoch(epoch));
    let write = async |epoch, was| nats.claim("Küche 2".into(), claim(epoch), was).await;
    let key = || Key::Room("Küche 2".into());
    // The server may not be ready yet.
    let first = until("the first record", PATIENCE, async || match write(1, None).await {
        Ok(revision) => Moment::Now(revision),
        Err(error) => Moment::NotYet(error.to_string()),
    });
    let first = first.await;
    let mut changes = nats.changes();
    // Where something fails at first, that is told as a loss.
    let mut told = changes.by_ref().skip_while(|change| ready(*change == Change::Lost));
    let Some(Change::Whole(whole)) = told.next().await else { panic!("not whole") };
    assert_eq!(whole.claims, [("Küche 2".into(), claim(1), first)]);

    assert_eq!(write(2, None).await, Err(DirectoryError::Conflict));
    let second = write(2, Some(first)).await.unwrap();
    assert_eq!(write(3, Some(first)).await, Err(DirectoryError::Conflict));
    assert_eq!(nats.forget(key(), first).await, Err(DirectoryError::Conflict));
    assert_eq!(nats.forget(key(), second).await, Ok(()));
    assert_eq!(write(4, Some(second)).await, Err(DirectoryError::Conflict));
    let third = write(4, None).await.unwrap();

    let told = Change::Claim("Küche 2".into(), claim(2), second);
    assert_eq!(changes.next().await, Some(told));
    let Some(Change::Forgotten(forgotten, _)) = changes.next().await else { panic!("no removal") };
    assert_eq!(forgotten, key());
    let told = Change::Claim("Küche 2".into(), claim(4), third);
    assert_eq!(changes.next().await, Some(told));
}

/// As long as the election of a leader may take. Writes that were given up are done when it goes on.
#[actix::test]
async fn a_server_that_stands_still_for_seven_seconds_costs_no_hold() {
    let (server, a1, b2) = two(HOLD).await;
    let hold = claimed(&a1, "demo").await;
    is_told_that_it_is_at(&b2, "demo", "a1").await;

    server.pause().await;
    let began = Instant::now();
    // A try whose outcome is not known; it may succeed later.
    assert!(b2.cluster.claim("other").await.is_err());
    while began.elapsed() < Duration::from_secs(7) {
        assert!(hold.is_good());
        sleep(Duration::from_millis(100)).await;
    }
    server.resume();

    is_told_that_it_is_at(&b2, "demo", "a1").await;
    let other = claimed(&b2, "other").await;
    is_told_that_it_is_at(&a1, "other", "b2").await;
    assert!(hold.is_good() && other.is_good());
}

#[actix::test]
async fn a_server_that_is_killed_and_comes_back_costs_no_hold() {
    let (mut server, a1, b2) = two(HOLD).await;
    let hold = claimed(&a1, "demo").await;

    server.restart().await;

    is_told_that_it_is_at(&b2, "demo", "a1").await;
    let other = claimed(&b2, "other").await;
    is_told_that_it_is_at(&a1, "other", "b2").await;
    assert!(hold.is_good() && other.is_good());
}

#[actix::test]
async fn a_bucket_that_is_lost_is_filled_again_and_no_room_changes_hands() {
    let (mut server, a1, b2) = two(HOLD).await;
    let hold = claimed(&a1, "demo").await;

    server.kill().await;
    server.erase();
    server.restart().await;

    is_told_that_it_is_at(&b2, "demo", "a1").await;
    assert!(hold.is_good());
    let other = claimed(&b2, "other").await;
    assert!(hold.is_good() && other.is_good());
}

#[actix::test]
async fn without_a_server_holds_end_and_nothing_new_is_held_until_it_is_back() {
    let (mut server, a1, b2) = two(Duration::from_secs(10)).await;
    let hold = claimed(&a1, "demo").await;

    server.kill().await;
    hold.over().await;
    assert!(!hold.is_good());
    for node in [&a1, &b2] {
        let refused = node.cluster.claim("demo").await;
        assert!(matches!(refused, Err(ClaimError::Unavailable { .. })), "{refused:?}");
    }

    server.restart().await;
    let again = claimed(&b2, "demo").await;
    assert!(again.epoch() > hold.epoch());
    is_told_that_it_is_at(&a1, "demo", "b2").await;
}

/// A program starts while NATS is away, and enters the cluster when it is there.
#[actix::test]
async fn a_node_may_be_started_before_the_server() {
    network::enter_new_namespace().unwrap_or_else(|error| panic!("{error}"));
    let mut server = NatsServer::start().await;
    server.kill().await;
    let node = start(&server, "a1", HOLD).await;
    assert!(node.cluster.claim("demo").await.is_err());

    server.restart().await;

    assert!(claimed(&node, "demo").await.is_good());
}

#[actix::test]
async fn what_does_not_do_is_refused_at_once() {
    let connect = async |servers, options| Nats::connect(servers, options).await.unwrap_err();
    let options = NatsOptions::new();
    let named = connect("nats://127.0.0.1", options.clone().cluster("a b")).await;
    assert!(matches!(named, NatsError::Cluster(_)), "{named}");
    let file = connect("nats://127.0.0.1", options.clone().credentials("/nonexistent")).await;
    assert!(matches!(file, NatsError::Credentials { .. }), "{file}");
    let address = connect("nats://[", options).await;
    assert!(matches!(address, NatsError::Connect(_)), "{address}");
}

/// Longer than all pauses of the server here, with room for a busy machine.
const HOLD: Duration = Duration::from_secs(20);
