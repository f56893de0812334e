//! Tests of the handshake actor inside str0m's `Rtc`, against str0m's own engine and against another actor.

mod forgery;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_ice_handshake::handshake::*;
use callboard_supervision::{ArbiterPool, Down, Flags, Placement, SupervisorRef, SupervisorSpec};
use forgery::{Forged, Forger};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::crypto::dtls::DtlsVersion;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};
use tokio::sync::mpsc;

/// Place where the handshake of one side runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    /// In the `Rtc`, by str0m's own engine.
    Stock,
    /// In an actor of this thread.
    Here,
    /// In an actor of another thread.
    Elsewhere,
}

struct Owner(mpsc::UnboundedSender<HandshakeOutput>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<HandshakeEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: HandshakeEvent, _: &mut Context<Self>) {
        _ = self.0.send(event.output);
    }
}

impl Handler<Down> for Owner {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        if down.reason.is_abnormal() {
            _ = self.0.send(HandshakeOutput::Failed(HandshakeError::ActorEnded(down.reason)));
        }
    }
}

struct Peer {
    rtc: Rtc,
    bridge: Option<DtlsBridge>,
    certificate: Certificate,
    handshake: Option<HandshakeHandle>,
    outputs: mpsc::UnboundedReceiver<HandshakeOutput>,
    _owner: Addr<Owner>,
    _supervisor: SupervisorRef,
    ready: bool,
    due: Instant,
    inbox: VecDeque<(std::net::SocketAddr, Vec<u8>)>,
    address: std::net::SocketAddr,
    channel: Option<ChannelId>,
    open: bool,
    received: Vec<Vec<u8>>,
    data: Option<DtlsData>,
    ended: Option<String>,
}

impl Peer {
    async fn new(
        place: Where,
        role: Role,
        version: DtlsVersion,
        address: &str,
        pool: &ArbiterPool,
    ) -> Self {
        Self::with(place, role, version, address, pool, |dtls| Arc::new(dtls)).await
    }

    async fn with(
        place: Where,
        role: Role,
        version: DtlsVersion,
        address: &str,
        pool: &ArbiterPool,
        adapt: impl FnOnce(Dtls) -> Arc<dyn HandshakeFactory>,
    ) -> Self {
        let certificate = Certificate::generate().unwrap();
        let now = now();
        let config = RtcConfig::new()
            .set_crypto_provider(Arc::new(crypto_provider()))
            .set_dtls_cert(certificate.to_dtls_cert())
            .set_dtls_version(version);
        let (mut rtc, bridge) = match place {
            Where::Stock => (config.build(now), None),
            _ => DtlsBridge::around(|| config.build(now)),
        };
        assert_eq!(bridge.is_some(), place != Where::Stock);
        let address: std::net::SocketAddr = address.parse().unwrap();
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());

        let (tell, outputs) = mpsc::unbounded_channel();
        let owner = Owner(tell).start();
        let supervisor = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
        let mut handshake = None;
        if bridge.is_some() {
            // str0m compares fingerprints itself.
            let dtls = Dtls::new(certificate.clone()).role(role).any_certificate();
            let dtls = match version {
                DtlsVersion::Dtls12 => dtls.version(Version::Dtls12),
                DtlsVersion::Dtls13 => dtls.version(Version::Dtls13),
                _ => dtls,
            };
            let mut spec =
                HandshakeSpec::new(ComponentInfo::new(ComponentId(1), true), adapt(dtls));
            spec.deadline = Duration::from_secs(5);
            if place == Where::Elsewhere {
                spec.placement = Placement::Pool(pool.clone());
            }
            handshake =
                Some(start_handshake(&supervisor, "handshake", spec, &owner).await.unwrap());
        }
        Self {
            rtc,
            bridge,
            certificate,
            handshake,
            outputs,
            _owner: owner,
            _supervisor: supervisor,
            ready: false,
            due: now,
            inbox: VecDeque::new(),
            address,
            channel: None,
            open: false,
            received: Vec::new(),
            data: None,
            ended: None,
        }
    }

    fn drive(&mut self, input: Option<Input<'_>>) -> Vec<(std::net::SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        if self.ended.is_some() {
            return sent;
        }
        let input = input.unwrap_or_else(|| Input::Timeout(now()));
        if let Err(error) = self.rtc.handle_input(input) {
            self.ended = Some(error.to_string());
            return sent;
        }
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.due = at;
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    sent.push((transmit.destination, transmit.contents.to_vec()))
                }
                Ok(Output::Event(event)) => self.happened(event),
                Err(error) => {
                    self.ended = Some(error.to_string());
                    return sent;
                }
            }
        }
        if let (Some(bridge), Some(handshake)) = (&self.bridge, &mut self.handshake) {
            for datagram in bridge.take_received() {
                handshake.datagram(datagram);
            }
            if self.ready {
                handshake.connection_ready(Some(Duration::from_millis(1)));
            }
        }
        sent
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) => {
                self.ready = true;
            }
            Event::ChannelOpen(id, _) => {
                self.open = true;
                self.channel = Some(id);
            }
            Event::ChannelData(data) => self.received.push(data.data),
            _ => {}
        }
    }

    /// Handles the events of the handshake actor; returns whether there were any.
    fn heed(&mut self) -> bool {
        let (Some(bridge), Some(handshake)) = (&self.bridge, &mut self.handshake) else {
            return false;
        };
        let mut told = false;
        while let Ok(output) = self.outputs.try_recv() {
            told = true;
            match output {
                HandshakeOutput::InitData { .. } => {}
                HandshakeOutput::Transmit { packets, consumed } => {
                    handshake.confirm(consumed);
                    bridge.transmit(packets);
                }
                HandshakeOutput::Finished(mut finished) => {
                    if let HandshakeData::Dtls(data) = &finished.data {
                        self.data = Some((**data).clone());
                    }
                    let behind: Vec<_> = handshake.replay(&mut finished).collect();
                    bridge.finish(finished, behind).unwrap();
                }
                HandshakeOutput::Failed(error) => bridge.fail(&error),
                HandshakeOutput::Closed => {}
            }
        }
        told
    }

    fn write(&mut self, data: &[u8]) {
        let id = self.channel.expect("it is open");
        assert!(self.rtc.channel(id).unwrap().write(true, data).unwrap());
    }
}

/// Gives two peers the data of each other that they would have from their descriptions.
fn introduce(client: &mut Peer, server: &mut Peer) {
    for active in [true, false] {
        let (one, other) =
            if active { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
        one.rtc.add_remote_candidate(Candidate::host(other.address, "udp").unwrap());
        let fingerprint = other.rtc.direct_api().local_dtls_fingerprint().clone();
        let credentials = other.rtc.direct_api().local_ice_credentials();
        one.rtc.direct_api().set_remote_fingerprint(fingerprint);
        one.rtc.direct_api().set_remote_ice_credentials(credentials);
        one.rtc.direct_api().set_ice_controlling(active);
        one.rtc.direct_api().start_dtls(active).unwrap();
        one.rtc.direct_api().start_sctp(active);
        let config = ChannelConfig {
            negotiated: Some(1),
            label: "echo".to_owned(),
            ..ChannelConfig::default()
        };
        one.rtc.direct_api().create_data_channel(config);
        if let Some(bridge) = &one.bridge {
            assert_eq!(bridge.role(), Some(if active { Role::Client } else { Role::Server }));
        }
    }
}

async fn run_until(a: &mut Peer, b: &mut Peer, mut done: impl FnMut(&Peer, &Peer) -> bool) {
    let deadline = now() + Duration::from_secs(20);
    while !done(a, b) {
        assert!(
            now() < deadline,
            "a: open {} ended {:?}; b: open {} ended {:?}",
            a.open,
            a.ended,
            b.open,
            b.ended
        );
        let mut busy = false;
        for from_a in [true, false] {
            let (one, other) = if from_a { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            let mut sent = Vec::new();
            if one.heed() || one.due <= now() {
                busy = true;
                sent.extend(one.drive(None));
            }
            while let Some((source, datagram)) = one.inbox.pop_front() {
                busy = true;
                let destination = one.address;
                let contents = datagram.as_slice().try_into().unwrap();
                let receive = Receive { proto: Protocol::Udp, source, destination, contents };
                let input = Input::Receive(now(), receive);
                if one.rtc.accepts(&input) {
                    sent.extend(one.drive(Some(input)));
                }
            }
            let source = one.address;
            other.inbox.extend(sent.into_iter().map(|(_, contents)| (source, contents)));
        }
        if !busy {
            // Run until a handshake actor sends something, or a time-out is due.
            let due = a.due.min(b.due).min(now() + Duration::from_millis(5));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due.into()) => {}
                () = tokio::task::yield_now() => {}
            }
        } else {
            tokio::task::yield_now().await;
        }
    }
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

async fn connect(
    client: Where,
    server: Where,
    version: DtlsVersion,
    pool: &ArbiterPool,
) -> (Peer, Peer, Duration) {
    let mut a = Peer::new(client, Role::Client, version, "192.0.2.1:1", pool).await;
    let mut b = Peer::new(server, Role::Server, version, "192.0.2.2:2", pool).await;
    introduce(&mut a, &mut b);
    // The pace of ICE is not under test.
    run_until(&mut a, &mut b, |a, b| a.ready && b.ready).await;
    let began = now();
    run_until(&mut a, &mut b, |a, b| a.open && b.open || a.ended.is_some() || b.ended.is_some())
        .await;
    let took = began.elapsed();
    assert!(a.ended.is_none() && b.ended.is_none(), "{:?} {:?}", a.ended, b.ended);
    (a, b, took)
}

const VERSIONS: [DtlsVersion; 3] = [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto];

#[actix::test]
async fn an_actor_shakes_hands_for_an_rtc_in_every_role_version_and_place() {
    _ = env_logger::builder().is_test(true).try_init();
    use Where::*;
    let pool = ArbiterPool::new(1);
    for version in VERSIONS {
        let mut stock = Vec::new();
        for _ in 0..3 {
            stock.push(connect(Stock, Stock, version, &pool).await.2);
        }
        stock.sort_unstable();
        for (client, server) in [
            (Here, Stock),
            (Stock, Here),
            (Elsewhere, Stock),
            (Stock, Elsewhere),
            (Elsewhere, Here),
        ] {
            let mut times = Vec::new();
            for _ in 0..3 {
                let (mut a, mut b, took) = connect(client, server, version, &pool).await;
                times.push(took);
                a.write(b"from the client");
                b.write(b"from the server");
                run_until(&mut a, &mut b, |a, b| !a.received.is_empty() && !b.received.is_empty())
                    .await;
                assert_eq!(
                    (a.received[0].as_slice(), b.received[0].as_slice()),
                    (&b"from the server"[..], &b"from the client"[..])
                );
                if let (Some(of_a), Some(of_b)) = (&a.data, &b.data) {
                    assert_eq!(of_a.peer_certificate.as_deref(), Some(b.certificate.certificate()));
                    assert_eq!(
                        of_a.srtp.as_ref().map(|keys| &keys.exported),
                        of_b.srtp.as_ref().map(|keys| &keys.exported)
                    );
                }
            }
            times.sort_unstable();
            println!("{version}: {client:?} to {server:?} {:?}, stock {:?}", times[1], stock[1]);
            // A datagram that is lost at the hand-over costs SCTP's first retransmission, 3 s.
            assert!(
                times[1] < stock[1] + Duration::from_secs(2),
                "{version} {client:?} {server:?}: {times:?} {stock:?}"
            );
        }
    }
}

#[actix::test]
async fn datagrams_forged_after_the_handshake_end_no_rtc_and_are_not_answered() {
    use Where::*;
    let pool = ArbiterPool::new(1);
    for version in VERSIONS {
        for role in [Role::Client, Role::Server] {
            let (client, server, kinds) = match role {
                Role::Client => (Here, Stock, &Forged::TO_CLIENTS[..]),
                Role::Server => (Stock, Here, &Forged::TO_SERVERS[..]),
            };
            let (mut a, mut b, _) = connect(client, server, version, &pool).await;
            let (ours, theirs) = if role == Role::Client { (&mut a, &b) } else { (&mut b, &a) };
            let (source, destination) = (theirs.address, ours.address);
            let mut other = Dtls::generate().unwrap().start(Role::Client);
            let Step::Packets(hello) = other.connection_ready(now()) else { panic!("no hello") };
            let certificate = theirs.certificate.certificate();
            let mut forger = Forger::new(7, role, hello[0].to_vec(), certificate);
            let mut sent = 0;
            for kind in kinds {
                for _ in 0..20 {
                    let datagram = forger.forge(*kind);
                    let contents = (&datagram[..]).try_into().unwrap();
                    let receive = Receive { proto: Protocol::Udp, source, destination, contents };
                    let answers = ours.drive(Some(Input::Receive(now(), receive)));
                    sent += answers.iter().filter(|(_, said)| matches!(said[0], 20..=63)).count();
                }
            }
            assert!(ours.ended.is_none(), "{version} {role:?}: {:?}", ours.ended);
            assert!(sent < 20, "{version} {role:?}: {sent} answers");
            a.write(b"from the client");
            b.write(b"from the server");
            run_until(&mut a, &mut b, |a, b| !a.received.is_empty() && !b.received.is_empty())
                .await;
        }
    }
}

#[actix::test]
async fn an_rtc_ends_with_the_reason_when_its_handshake_fails_or_panics() {
    _ = env_logger::builder().is_test(true).try_init();
    let pool = ArbiterPool::new(1);
    let wrong: Arc<dyn Fn(Dtls) -> Arc<dyn HandshakeFactory>> = Arc::new(|dtls: Dtls| {
        let certificate = Certificate::generate().unwrap();
        let strict = Dtls::new(dtls.certificate().clone())
            .role(Role::Client)
            .fingerprints([certificate.fingerprint()]);
        Arc::new(strict)
    });
    let panics: Arc<dyn Fn(Dtls) -> Arc<dyn HandshakeFactory>> = Arc::new(|_: Dtls| {
        struct Panics;
        impl Handshake for Panics {
            fn connection_ready(&mut self, _: Instant) -> Step {
                panic!("on purpose")
            }
            fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
                Step::Ok
            }
        }
        Arc::new(|_: &ComponentInfo| Panics)
    });
    for adapt in [wrong, panics] {
        let mut a = Peer::with(
            Where::Here,
            Role::Client,
            DtlsVersion::Dtls12,
            "192.0.2.1:1",
            &pool,
            |dtls| adapt(dtls),
        )
        .await;
        let mut b =
            Peer::new(Where::Stock, Role::Server, DtlsVersion::Dtls12, "192.0.2.2:2", &pool).await;
        introduce(&mut a, &mut b);

        run_until(&mut a, &mut b, |a, _| a.ended.is_some()).await;

        assert!(!a.open && !b.open);
    }
}

#[test]
fn an_rtc_that_is_built_outside_a_bridge_has_the_stock_engine() {
    let config = || RtcConfig::new().set_crypto_provider(Arc::new(crypto_provider()));
    let (_, bridge) = DtlsBridge::around(|| {
        RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .build(now())
    });
    assert!(bridge.is_none(), "it was built with another provider");
    let (_first, bridge) = DtlsBridge::around(|| config().build(now()));
    assert!(bridge.is_some());
    // The slot is not armed for the next `Rtc`.
    let mut outside = config().build(now());
    outside.direct_api().start_dtls(true).unwrap();
    assert!(outside.is_alive());
}
