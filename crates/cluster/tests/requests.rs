//! Requests to other nodes, over lines in memory.

use std::time::Duration;

use callboard_cluster::{
    Cluster, Embedded, IncomingRequests, MemoryWire, NoAnswer, NodeId, Requests, WireFaults,
};
use callboard_supervision::SupervisorRef;
use tokio::time::Instant;

struct Node {
    id: NodeId,
    requests: Requests,
    incoming: IncomingRequests,
    tree: SupervisorRef,
}

async fn node(directory: &Embedded, wire: &MemoryWire, name: &str) -> Node {
    let cluster = Cluster::builder(directory.clone()).node(name).wire(wire.clone());
    let cluster = cluster.build().unwrap();
    let (requests, incoming) = cluster.lines().unwrap().requests("test").unwrap();
    assert!(cluster.lines().unwrap().requests("test").is_err(), "one service of a name");
    let tree = cluster.start().await.unwrap();
    Node { id: cluster.node().clone(), requests, incoming, tree }
}

async fn two() -> (MemoryWire, Node, Node) {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let nodes = (node(&directory, &wire, "a1").await, node(&directory, &wire, "b2").await);
    (wire, nodes.0, nodes.1)
}

/// Answers with what was asked, so many times.
fn repeat(mut incoming: IncomingRequests, times: usize) {
    actix::spawn(async move {
        while let Some(request) = incoming.next().await {
            let answer = request.body().repeat(times);
            request.answer(&answer);
        }
    });
}

#[actix::test]
async fn answers_of_any_length_come_whole_also_over_a_wire_that_loses() {
    let (wire, a1, b2) = two().await;
    repeat(b2.incoming, 100_000);
    for faults in [WireFaults::default(), WireFaults::default().loss(0.2)] {
        wire.set_faults(faults);
        for body in [&b""[..], b"x", b"1234567890"] {
            let answer = a1.requests.ask(&b2.id, body, PATIENCE).await.unwrap();
            assert!(answer == body.repeat(100_000), "{} bytes for {body:?}", answer.len());
        }
    }
    assert_eq!(a1.requests.ask(&b2.id, b"more than 1 MiB", PAUSE).await, Err(NoAnswer));
    assert_eq!(a1.requests.ask(&b2.id, &[0; 300_000], PAUSE).await, Err(NoAnswer));
    a1.requests.ask(&b2.id, b"again", PATIENCE).await.unwrap();
}

#[actix::test]
async fn many_are_asked_at_once_and_each_gets_its_answer() {
    let (_wire, a1, b2) = two().await;
    repeat(b2.incoming, 2);
    let asked = (0..50).map(|number: u32| {
        let (requests, to) = (a1.requests.clone(), b2.id.clone());
        async move { requests.ask(&to, &number.to_be_bytes(), PATIENCE).await.unwrap() }
    });
    for (number, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
        let expected = u32::try_from(number).unwrap().to_be_bytes().repeat(2);
        assert_eq!(answer, expected);
    }
}

#[actix::test]
async fn who_does_not_answer_is_not_waited_for_longer_than_was_said() {
    let (wire, a1, mut b2) = two().await;
    let (requests, to) = (a1.requests.clone(), b2.id.clone());
    let asking = actix::spawn(async move { requests.ask(&to, b"dropped", PATIENCE / 30).await });
    let request = b2.incoming.next().await.unwrap();
    assert_eq!((request.node(), request.body()), (&a1.id, &b"dropped"[..]));
    drop(request);
    assert_eq!(asking.await.unwrap(), Err(NoAnswer));

    let nowhere = NodeId::new("c3").unwrap();
    assert_eq!(a1.requests.ask(&nowhere, b"", PAUSE).await, Err(NoAnswer));

    for (from, to) in [(&a1.id, &b2.id), (&b2.id, &a1.id)] {
        wire.cut(from, to, true);
    }
    let began = Instant::now();
    assert_eq!(a1.requests.ask(&b2.id, b"", PAUSE).await, Err(NoAnswer));
    assert!(began.elapsed() >= PAUSE);
}

#[actix::test]
async fn a_request_ends_with_its_line() {
    let (_wire, a1, mut b2) = two().await;
    let (requests, to) = (a1.requests.clone(), b2.id.clone());
    let asking = actix::spawn(async move { requests.ask(&to, b"", PATIENCE).await });
    let request = b2.incoming.next().await.unwrap();

    // It leaves the cluster: its session is sealed.
    b2.tree.stop().await;

    assert_eq!(asking.await.unwrap(), Err(NoAnswer));
    request.answer(b"too late");
}

/// Ends what hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
