//! The closing handshake: the server closes the connection when both close frames have gone (RFC 6455 §7.1.1).

use std::time::Duration;

use callboard_signaling::{Count, PeerOptions};
use tokio::time::Instant;

use crate::common::raw::{RawClient, frame};
use crate::common::{Server, TestPeer, eventually};

/// Time limit for the client's close frame, and then for the end of its connection.
const LINGER: Duration = Duration::from_secs(1);
const KICK_ME: &[u8] = br#"{"event":"kick_me","to":"all"}"#;
const STILL_HERE: &[u8] = br#"{"event":"say","to":"all"}"#;

#[actix::test]
async fn a_connection_is_closed_when_the_client_has_answered_the_close_frame() {
    for light in [true, false] {
        let server = start(light).await;
        let mut times = Vec::new();
        for ended in 1..=5 {
            let mut client = kicked(&server).await;
            let asked = Instant::now();
            client.write(&frame(0x88, &4001_u16.to_be_bytes())).await;

            assert!(client.ends().await);
            eventually("it has ended", || server.counters.get(Count::Ended) == ended).await;
            times.push(asked.elapsed());
        }

        // The fastest counts: this machine may be busy.
        assert!(times.iter().min() < Some(&(LINGER / 2)), "light: {light}, {times:?}");
    }
}

#[actix::test]
async fn a_connection_is_closed_when_its_client_has_closed_and_leaves_the_rest_to_the_server() {
    for light in [true, false] {
        let server = start(light).await;
        let mut times = Vec::new();
        for ended in 1..=5 {
            let mut client = RawClient::open(&server.address, "/socket/demo", "one", b"").await;
            client.text().await;
            let asked = Instant::now();
            client.write(&frame(0x88, &1000_u16.to_be_bytes())).await;

            assert_eq!(client.close_code().await.0, 1000);
            eventually("it has ended", || server.counters.get(Count::Ended) == ended).await;
            times.push(asked.elapsed());
        }

        assert!(times.iter().min() < Some(&(LINGER / 2)), "light: {light}, {times:?}");
    }
}

/// Its further input is discarded, and its connection ends all the same.
#[actix::test]
async fn a_client_that_does_not_answer_the_close_frame_is_closed_after_the_linger() {
    for light in [true, false] {
        let server = start(light).await;
        let (mut bystander, _) = server.join().await;
        let mut client = kicked(&server).await;
        bystander.expect("joined").await;
        bystander.expect("left").await;
        client.write(&frame(0x81, STILL_HERE)).await;

        assert_eq!(client.frame().await, None, "nothing follows the close frame");
        eventually("it has ended", || server.counters.get(Count::Ended) == 1).await;
        bystander.text("ping").await;
        assert_eq!(bystander.message().await["text"], "pong", "nothing else came");
    }
}

async fn start(light: bool) -> Server {
    let options = |options: PeerOptions<TestPeer>| options;
    if light { Server::start_light(options).await } else { Server::start(options).await }
}

/// Connects a client to which the server has sent its close frame.
async fn kicked(server: &Server) -> RawClient {
    let mut client = RawClient::open(&server.address, "/socket/demo", "one", b"").await;
    client.text().await;
    client.write(&frame(0x81, KICK_ME)).await;
    let (opcode, payload) = client.frame().await.expect("a close frame");
    assert_eq!((opcode, payload.first_chunk()), (8, Some(&4001_u16.to_be_bytes())));
    client
}
