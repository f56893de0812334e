//! Rooms that go from one node to another by the will of both.

use std::time::Duration;

use callboard_cluster::*;
use tokio::time::{sleep, timeout};

const HOLD: Duration = Duration::from_secs(60);

async fn node(directory: &Embedded, name: &str) -> (Cluster, callboard_supervision::SupervisorRef) {
    let cluster = Cluster::builder(directory.clone()).node(name).hold(HOLD).build().unwrap();
    let tree = cluster.start().await.unwrap();
    (cluster, tree)
}

async fn within<T>(something: impl Future<Output = T>) -> T {
    timeout(HOLD, something).await.expect("it comes in time")
}

/// Starts two nodes that know of each other; the first holds the room.
async fn two() -> (Cluster, Cluster, Hold, [callboard_supervision::SupervisorRef; 2]) {
    let directory = Embedded::new();
    let ((a1, a1_tree), (b2, b2_tree)) =
        (node(&directory, "a1").await, node(&directory, "b2").await);
    let hold = within(a1.claim("demo")).await.unwrap();
    within(async {
        while a1.nodes().is_empty() || b2.lease().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    (a1, b2, hold, [a1_tree, b2_tree])
}

/// By the word of the first node, and by the directory alone.
#[actix::test]
async fn a_room_is_given_to_a_node_that_expects_it() {
    for says_so in [true, false] {
        let (a1, b2, hold, trees) = two().await;
        let mut expected = within(b2.expect("demo", hold.epoch())).await.unwrap();

        let gave = within(a1.give(&hold, b2.node())).await.unwrap();
        if says_so {
            expected.given(gave.given);
        }

        let taken = within(expected.hold()).await.unwrap();
        assert!(taken.is_good() && taken.was_given() && !hold.was_given());
        assert_eq!((taken.epoch(), taken.follows()), (gave.given.epoch, Some(hold.epoch())));
        assert!(taken.epoch() > hold.epoch());
        drop(gave);
        assert!(!hold.is_good());
        let Err(ClaimError::Elsewhere(there)) = within(a1.claim("demo")).await else {
            panic!("it is free")
        };
        assert_eq!((there.node, there.epoch), (b2.node().clone(), taken.epoch()));
        // It is this node's as every other: a claim is another handle to the hold, and it can be given back.
        assert_eq!(within(b2.claim("demo")).await.unwrap().epoch(), taken.epoch());
        drop((taken, expected));
        within(async { while a1.claim("demo").await.is_err() {} }).await;
        for tree in trees {
            tree.stop().await;
        }
    }
}

#[actix::test]
async fn a_room_that_is_not_given_stays_and_one_that_is_not_expected_is_free() {
    let (a1, b2, hold, trees) = two().await;
    let other = NodeId::new("c3").unwrap();
    assert_eq!(within(a1.give(&hold, &other)).await.unwrap_err(), GiveError::NoSuchNode);
    assert_eq!(within(a1.give(&hold, a1.node())).await.unwrap_err(), GiveError::NoSuchNode);
    assert_eq!(within(b2.give(&hold, a1.node())).await.unwrap_err(), GiveError::NotHeld);
    assert!(hold.is_good());

    // It was expected, and is not any more.
    drop(within(b2.expect("demo", hold.epoch())).await.unwrap());
    drop(within(a1.give(&hold, b2.node())).await.unwrap());

    assert!(!hold.is_good());
    within(async { while a1.claim("demo").await.is_err() {} }).await;
    for tree in trees {
        tree.stop().await;
    }
}

#[actix::test]
async fn a_node_that_is_drained_expects_no_room() {
    let (_a1, b2, hold, trees) = two().await;

    b2.drain();

    let refused = within(b2.expect("demo", hold.epoch())).await.unwrap_err();
    assert!(matches!(refused, ClaimError::Unavailable { .. }), "{refused}");
    for tree in trees {
        tree.stop().await;
    }
}
