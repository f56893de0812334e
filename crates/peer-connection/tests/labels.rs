//! Tests that every log line of a connection, its transport and its handshake begins with the connection's id.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod peers;

use std::sync::{Arc, Mutex};

use callboard_ice_handshake::handshake::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use peers::*;

/// Logger that keeps the lines of the two crates.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let target = metadata.target();
        // All connections of a thread share its sockets.
        let shared = target.ends_with("mux::socket") || target.ends_with("mux::actor");
        let ours = ["callboard_transport", "callboard_ice_handshake", "callboard_peer_connection"];
        ours.iter().any(|ours| target.starts_with(ours)) && !shared
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// A handshake that fails at once.
struct Failing;

impl Handshake for Failing {
    fn connection_ready(&mut self, _: std::time::Instant) -> Step {
        Step::Failed(HandshakeError::custom("not today"))
    }

    fn recv_from_peer(&mut self, _: std::time::Instant, _: &[u8]) -> Step {
        Step::Ok
    }
}

#[actix::test]
async fn lines_of_the_log_begin_with_the_connections_id() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let pool = pool().await;
    let (mut a, mut b) =
        (Peer::open(&pool, &Api::default()).await, Peer::open(&pool, &Api::default()).await);
    a.send(CreateDataChannel::new("x")).await.unwrap();
    negotiate(&mut a, &mut b).await;
    connect(&mut a, &mut b).await;
    let configuration = Configuration {
        handshake: Some(Arc::new(|_: &ComponentInfo| Failing)),
        ..Configuration::default()
    };
    let mut c = Peer::open_on(&pool, 0, configuration).await;
    let mut d = Peer::open(&pool, &Api::default()).await;
    c.send(CreateDataChannel::new("x")).await.unwrap();
    negotiate(&mut c, &mut d).await;
    let failed = |peer: &Peer| {
        let failed = ConnectionEvent::ConnectionStateChange(PeerConnectionState::Failed);
        peer.told.iter().any(|event| format!("{event:?}") == format!("{failed:?}"))
    };
    carry_until(&mut c, &mut d, |c, _| failed(c)).await;
    let ids = [&a, &b, &c, &d].map(|peer| peer.connection.id().to_string());
    pool.stop().await;

    let lines = LINES.0.lock().unwrap();
    for line in &*lines {
        let named = ids.iter().any(|id| line.starts_with(&format!("{id}: ")));
        assert!(named, "no connection is named in {line:?}");
    }
    let wanted = format!("{}: failed: ", ids[2]);
    assert!(lines.iter().any(|line| line.starts_with(&wanted)), "{wanted:?}: {lines:#?}");
    // True of either side, whichever was the client.
    let said_again = |id: &String| {
        let wanted = format!("{id}: a ClientHello is sent again");
        lines.iter().any(|line| line.starts_with(&wanted))
    };
    assert!(said_again(&ids[0]) || said_again(&ids[1]), "{lines:#?}");
}
