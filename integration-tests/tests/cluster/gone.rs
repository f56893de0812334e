//! Nodes whose processes listen as long as they live. Their sessions hold for ten minutes: what is taken in the time of
//! a test is taken because a process is proven to be gone.

use integration_tests::{Moment, Namespace, NatsServer, PATIENCE, until};
use nix::sys::signal::Signal;
use tokio::process::Command;

use super::processes::{Process, server};

/// Starts nodes, and waits until each has had an answer of all others.
async fn start<const N: usize>(server: &NatsServer, names: [&str; N]) -> [Process; N] {
    let mut number = 0;
    let mut nodes = names.map(|name| {
        number += 1;
        Process::listening(server, name, &format!("127.0.0.1:{}", 7400 + number))
    });
    for node in &mut nodes {
        until("answers of the other nodes", PATIENCE, async || {
            let watched = node.ask("watched").await;
            if watched == (N - 1).to_string() { Moment::Now(()) } else { Moment::NotYet(watched) }
        })
        .await;
    }
    nodes
}

#[actix::test]
async fn the_rooms_of_a_node_that_is_killed_and_not_started_again_are_free_at_once() {
    let server = server().await;
    let [mut a1, mut b2, mut c3] = start(&server, ["a1", "b2", "c3"]).await;
    let first = a1.held().await;
    assert_eq!(b2.claim_until("elsewhere").await, "a1");

    a1.kill().await;

    let second = b2.held().await;
    assert!(second > first, "{second} after {first}");
    assert_eq!(c3.claim_until("elsewhere").await, "b2");

    // Now there are two: the word of the last is enough.
    b2.kill().await;

    let third = c3.held().await;
    assert!(third > second, "{third} after {second}");
}

#[actix::test]
async fn a_node_that_stands_still_is_not_gone() {
    let server = server().await;
    let [mut a1, mut b2, mut c3] = start(&server, ["a1", "b2", "c3"]).await;
    let first = a1.held().await;
    assert_eq!(b2.claim_until("elsewhere").await, "a1");

    a1.signal(Signal::SIGSTOP);

    // Both others have looked again and again: the kernel has accepted, and has their connections.
    until("connections that wait", PATIENCE, async || {
        let sockets = Command::new("ss").args(["-Hltn", "sport", "=", ":7401"]).output();
        let sockets = String::from_utf8(sockets.await.expect("ss, of iproute2").stdout);
        let sockets = sockets.expect("text");
        let waiting = sockets.split_whitespace().nth(1).and_then(|count| count.parse().ok());
        if waiting.is_some_and(|waiting: u32| waiting >= 6) {
            Moment::Now(())
        } else {
            Moment::NotYet(sockets)
        }
    })
    .await;
    for node in [&mut b2, &mut c3] {
        assert_eq!(node.ask("claim").await, "elsewhere a1");
        assert_eq!(node.ask("refusals").await, "0");
    }
    a1.signal(Signal::SIGCONT);
    assert_eq!(a1.ask("good").await, "Some(true)");

    // Nor is it safe from the proof for that.
    a1.signal(Signal::SIGSTOP);
    a1.kill().await;
    assert!(b2.held().await > first);
}

/// What the others find is false then, and the node says so before they act.
#[actix::test]
async fn a_node_that_a_firewall_rejects_connections_to_says_that_it_lives() {
    let server = server().await;
    let [mut a1, mut b2, mut c3] = start(&server, ["a1", "b2", "c3"]).await;
    a1.held().await;

    Namespace::current().nft(
        "table inet wall {\n\
         chain output { type filter hook output priority 0; tcp dport 7401 reject with tcp reset; }\n\
         }\n",
    );

    // It has said so twice: then they believe no refusal of it any more.
    for node in [&mut b2, &mut c3] {
        until("less belief", PATIENCE, async || {
            let watched = node.ask("watched").await;
            if watched == "1" { Moment::Now(()) } else { Moment::NotYet(watched) }
        })
        .await;
        assert_eq!(node.ask("refusals").await, "0");
    }
    assert_eq!(a1.ask("good").await, "Some(true)");
    assert_eq!(b2.claim_until("elsewhere").await, "a1");
}
