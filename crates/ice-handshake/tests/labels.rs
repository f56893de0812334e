//! Tests that log lines about a connection begin with the label that its owner has given to it.
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

mod endpoints;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callboard_ice_handshake::Label;
use callboard_ice_handshake::endpoint::{EndpointEvent, EndpointOptions, GatherCandidates};
use callboard_ice_handshake::handshake::*;
use callboard_transport::gather::{Gatherer, GathererOptions, IceServer};
use callboard_transport::mux::*;
use str0m::{Input, RtcConfig};

/// Logger that keeps the lines of this crate.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // The sockets of a mux belong to no connection, and neither do the errors of their reader.
        let target = metadata.target();
        ["callboard_transport", "callboard_ice_handshake"]
            .iter()
            .any(|ours| target.starts_with(ours))
            && !target.ends_with("mux::socket")
            && !target.ends_with("mux::actor")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

impl Lines {
    /// Returns the lines since the last call; each must begin with one of these labels.
    #[track_caller]
    fn of(&self, labels: &[&str]) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        for line in &lines {
            let named = labels.iter().any(|label| line.starts_with(&format!("{label}: ")));
            assert!(named, "{labels:?} are not in {line:?}");
        }
        lines
    }
}

#[track_caller]
fn assert_has(lines: &[String], line: &str) {
    assert!(lines.iter().any(|found| found.starts_with(line)), "{line:?} is not in {lines:#?}");
}

/// A single test, since there is one logger.
#[actix::test]
async fn lines_of_the_log_name_their_connection() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Debug);

    handshakes();
    strangers();
    bridges();
    gatherers();
    routes().await;
    endpoints().await;
}

fn component(controlling: bool, label: &str) -> ComponentInfo {
    ComponentInfo::new(ComponentId(1), controlling).with_label(Label::new(label))
}

fn handshakes() {
    for version in wire::VERSIONS {
        let (client, server) = wire::acquainted(version);
        let (client, server) = (
            client.new_handshake(&component(false, "calling")),
            server.new_handshake(&component(true, "called")),
        );
        let mut pair = wire::Pair::of(client, server).ready();
        pair.run();
        pair.client.data();
        let lines = LINES.of(&["calling", "called"]);
        assert_has(&lines, "calling: a ClientHello is sent again");
        if version == Some(Version::Dtls12) {
            assert_has(&lines, "calling: a server of Dtls12 has proven itself");
        }
    }

    let stranger = Dtls::generate().unwrap();
    let (client, server) = (Dtls::generate().unwrap().any_certificate(), Dtls::generate().unwrap());
    let server = server.fingerprints([stranger.certificate().fingerprint()]);
    let (client, server) = (
        client.new_handshake(&component(false, "calling")),
        server.new_handshake(&component(true, "called")),
    );
    wire::Pair::of(client, server).ready().run();
    assert_has(&LINES.of(&["calling", "called"]), "called: DTLS handshake refused");
}

/// Connects a client with an identity that the server does not know.
fn strangers() {
    let secret = &[7; 16];
    let client = Psk::client("a stranger", secret).unwrap();
    let server = Psk::server([("a friend", secret)]).unwrap();
    let (client, server) = (
        client.new_handshake(&component(false, "calling")),
        server.new_handshake(&component(true, "called")),
    );
    wire::Pair::of(client, server).ready().run();
    assert_has(&LINES.of(&["calling", "called"]), "called: a record was refused");
}

fn bridges() {
    let now = Instant::now();
    let config = RtcConfig::new().set_crypto_provider(Arc::new(crypto_provider()));
    let (mut rtc, bridge) = DtlsBridge::around(|| config.build(now));
    let bridge = bridge.unwrap();
    bridge.set_label(Label::new("bridged"));
    rtc.direct_api().start_dtls(true).unwrap();
    bridge.fail(&HandshakeError::custom("not today"));
    let mut driven = (0..10).map(|_| {
        rtc.handle_input(Input::Timeout(now))?;
        rtc.poll_output()
    });
    assert!(driven.any(|driven| driven.is_err()));
    assert_has(&LINES.of(&["bridged"]), "bridged: the handshake of an Rtc has failed: not today");
}

fn gatherers() {
    let servers = vec![IceServer::new("stun:stun.example.org").unwrap()];
    let label = Label::new("gathering");
    let mut gatherer = Gatherer::new(GathererOptions { servers, label, ..Default::default() });
    let now = Instant::now();
    gatherer.gather(now, vec!["192.0.2.1:9".parse().unwrap()]);
    gatherer.handle_resolved(now, 0, Err("no such name".to_owned()));
    assert_has(&LINES.of(&["gathering"]), "gathering: no candidate from stun:stun.example.org");
}

/// Sends to an address to which the system does not allow this socket to send.
async fn routes() {
    let mut options = UdpMuxOptions { ip_families: IpFamilies::V4, ..UdpMuxOptions::default() };
    options.interfaces = InterfaceFilter::with_loopback().only(|_, address| address.is_loopback());
    let mux = MuxHandle::bind(options).unwrap();
    let (route, _inbox) = mux.open_route(RouteOptions::default());
    let route = route.with_label(Label::new("routed"));
    let source = mux.host_addresses()[0];
    // A broadcast address, for which a socket needs permission.
    let destination = "255.255.255.255:9".parse().unwrap();
    let sent = route.send(Transmit { source, destination, contents: &b"x"[..] });
    assert_eq!(sent, SendOutcome::Dropped(DropReason::SystemError));
    assert_has(&LINES.of(&["routed"]), "routed: cannot send to 255.255.255.255:9");
}

async fn endpoints() {
    use endpoints::{Side, carry_until, options};
    let named = |stream: &str, controlling| {
        let dtls = Dtls::generate().unwrap();
        EndpointOptions { stream: stream.to_owned(), ..options(controlling, dtls) }
    };
    let mut left = named("left", true);
    left.transport.servers = vec![IceServer::new("stun:127.0.0.1:9").unwrap()];
    left.transport.stun_timeout = Duration::from_millis(50);
    let (mut left, mut right) = (Side::start(left).await, Side::start(named("right", false)).await);
    left.endpoint.send(GatherCandidates).await.unwrap();
    right.endpoint.send(GatherCandidates).await.unwrap();
    carry_until(&mut left, &mut right, |left, right| {
        let failed = |event: &EndpointEvent| matches!(event, EndpointEvent::CandidateError { .. });
        endpoints::handshakes_finished(left) == 1
            && endpoints::handshakes_finished(right) == 1
            && left.seen.iter().any(failed)
    })
    .await;
    let lines = LINES.of(&["left 1", "right 1"]);
    assert_has(&lines, "left 1: no candidate from stun:127.0.0.1:9");
    assert_has(&lines, "right 1: a ClientHello is sent again");
}
