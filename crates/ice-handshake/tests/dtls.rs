//! DTLS handshakes of ours against each other, over a simulated wire in virtual time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Two sides and the wire between them.
struct Pair {
    now: Instant,
    client: Side,
    server: Side,
    random: fastrand::Rng,
    /// Of 100 datagrams, so many are lost.
    loss: u32,
}

struct Side {
    handshake: Option<Box<dyn Handshake>>,
    inbox: VecDeque<(Instant, Bytes)>,
    outcome: Option<Result<HandshakeData, HandshakeError>>,
    session: Option<Box<dyn Session>>,
    payloads: Vec<Bytes>,
    seen: Vec<Bytes>,
}

impl Side {
    fn new(handshake: Box<dyn Handshake>) -> Self {
        Self {
            handshake: Some(handshake),
            inbox: VecDeque::new(),
            outcome: None,
            session: None,
            payloads: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) -> Vec<Bytes> {
        match step {
            Step::Ok => Vec::new(),
            Step::Packets(packets) => packets,
            Step::Finished(data) => self.finish(data, Vec::new()),
            Step::FinishedWithPackets(data, packets) => self.finish(data, packets),
            Step::Failed(error) => self.fail(error, Vec::new()),
            Step::FailedWithPackets(error, packets) => self.fail(error, packets),
            Step::Closed => {
                self.handshake = None;
                self.outcome = Some(Err(HandshakeError::ClosedByPeer));
                Vec::new()
            }
        }
    }

    fn finish(&mut self, data: HandshakeData, packets: Vec<Bytes>) -> Vec<Bytes> {
        self.session = self.handshake.take().map(Handshake::into_session);
        self.outcome = Some(Ok(data));
        packets
    }

    fn fail(&mut self, error: HandshakeError, packets: Vec<Bytes>) -> Vec<Bytes> {
        self.handshake = None;
        self.outcome = Some(Err(error));
        packets
    }

    fn hear(&mut self, now: Instant, datagram: Bytes) -> Vec<Bytes> {
        self.seen.push(datagram.clone());
        if let Some(handshake) = &mut self.handshake {
            let step = handshake.recv_from_peer(now, &datagram);
            return self.take(step);
        }
        let Some(session) = &mut self.session else { return Vec::new() };
        let mut out = SessionOutput::default();
        session.receive(now, datagram, &mut out);
        self.payloads.append(&mut out.payloads);
        out.transmit
    }

    fn due(&self) -> Option<Instant> {
        match (&self.handshake, &self.session) {
            (Some(handshake), _) => handshake.poll_timeout(),
            (None, Some(session)) => session.poll_timeout(),
            _ => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Vec<Bytes> {
        if let Some(handshake) = &mut self.handshake {
            let step = handshake.handle_timeout(now);
            return self.take(step);
        }
        let Some(session) = &mut self.session else { return Vec::new() };
        let mut out = SessionOutput::default();
        session.handle_timeout(now, &mut out);
        out.transmit
    }

    fn data(&self) -> &DtlsData {
        match &self.outcome {
            Some(Ok(HandshakeData::Dtls(data))) => data,
            other => panic!("no DTLS data: {other:?}"),
        }
    }

    fn failure(&self) -> &HandshakeError {
        match &self.outcome {
            Some(Err(error)) => error,
            other => panic!("no failure: {other:?}"),
        }
    }

    fn send(&mut self, now: Instant, payload: &[u8]) -> Vec<Bytes> {
        let mut out = SessionOutput::default();
        self.session.as_mut().expect("it is connected").send(now, payload, &mut out);
        out.transmit
    }
}

impl Pair {
    fn new(client: &Dtls, server: &Dtls) -> Self {
        Self::of(client.start(Role::Client), server.start(Role::Server))
    }

    fn of(client: Box<dyn Handshake>, server: Box<dyn Handshake>) -> Self {
        _ = env_logger::builder().is_test(true).try_init();
        Self {
            now: Instant::now(),
            client: Side::new(client),
            server: Side::new(server),
            random: fastrand::Rng::with_seed(7),
            loss: 0,
        }
    }

    fn ready(mut self) -> Self {
        let step = self.server.handshake.as_mut().unwrap().connection_ready(self.now);
        let packets = self.server.take(step);
        self.to_client(packets);
        let step = self.client.handshake.as_mut().unwrap().connection_ready(self.now);
        let packets = self.client.take(step);
        self.to_server(packets);
        self
    }

    fn to_server(&mut self, packets: Vec<Bytes>) {
        for packet in packets {
            if self.random.u32(0..100) >= self.loss {
                self.server.inbox.push_back((self.now + DELAY, packet));
            }
        }
    }

    fn to_client(&mut self, packets: Vec<Bytes>) {
        for packet in packets {
            if self.random.u32(0..100) >= self.loss {
                self.client.inbox.push_back((self.now + DELAY, packet));
            }
        }
    }

    /// Let the next thing happen; false if there is none.
    fn step(&mut self) -> bool {
        let next = [
            self.client.inbox.front().map(|(at, _)| *at),
            self.server.inbox.front().map(|(at, _)| *at),
            self.client.due(),
            self.server.due(),
        ];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        if let Some((_, packet)) = pop_due(&mut self.server.inbox, self.now) {
            let packets = self.server.hear(self.now, packet);
            self.to_client(packets);
        } else if let Some((_, packet)) = pop_due(&mut self.client.inbox, self.now) {
            let packets = self.client.hear(self.now, packet);
            self.to_server(packets);
        } else {
            if self.client.due().is_some_and(|due| due <= self.now) {
                let packets = self.client.handle_timeout(self.now);
                self.to_server(packets);
            }
            if self.server.due().is_some_and(|due| due <= self.now) {
                let packets = self.server.handle_timeout(self.now);
                self.to_client(packets);
            }
        }
        true
    }

    /// Until both have an outcome, and how long it took.
    fn run(&mut self) -> Duration {
        let began = self.now;
        while self.client.outcome.is_none() || self.server.outcome.is_none() {
            if !self.step() || self.now > began + Duration::from_secs(60) {
                break;
            }
        }
        self.now - began
    }

    fn settle(&mut self) {
        while !self.client.inbox.is_empty() || !self.server.inbox.is_empty() {
            self.step();
        }
    }

    fn assert_connected(&mut self) {
        let (client, server) = (self.client.data(), self.server.data());
        assert_eq!(
            client.srtp.as_ref().map(|keys| &keys.exported),
            server.srtp.as_ref().map(|keys| &keys.exported)
        );
        if let (Some(client), Some(server)) = (&client.srtp, &server.srtp) {
            assert_eq!(client.local, server.remote);
            assert_eq!(client.remote, server.local);
        }
        self.loss = 0;
        let packets = self.client.send(self.now, b"from the client");
        self.to_server(packets);
        let packets = self.server.send(self.now, b"from the server");
        self.to_client(packets);
        self.settle();
        assert_eq!(self.server.payloads.last().unwrap(), &b"from the client"[..]);
        assert_eq!(self.client.payloads.last().unwrap(), &b"from the server"[..]);
    }
}

fn pop_due(inbox: &mut VecDeque<(Instant, Bytes)>, now: Instant) -> Option<(Instant, Bytes)> {
    if inbox.front()?.0 <= now { inbox.pop_front() } else { None }
}

/// Two that know each other's certificates.
fn acquainted(version: Option<Version>) -> (Dtls, Dtls) {
    let (client, server) = (Dtls::generate().unwrap(), Dtls::generate().unwrap());
    let (of_client, of_server) =
        (client.certificate().fingerprint(), server.certificate().fingerprint());
    let with = |dtls: Dtls| match version {
        Some(version) => dtls.version(version),
        None => dtls,
    };
    (with(client).fingerprints([of_server]), with(server).fingerprints([of_client]))
}

const VERSIONS: [Option<Version>; 3] = [Some(Version::Dtls12), Some(Version::Dtls13), None];
/// One way.
const DELAY: Duration = Duration::from_millis(10);

#[test]
fn both_sides_agree_on_version_and_keys() {
    for (client_version, server_version, expected) in [
        (Some(Version::Dtls12), Some(Version::Dtls12), Version::Dtls12),
        (Some(Version::Dtls13), Some(Version::Dtls13), Version::Dtls13),
        (None, None, Version::Dtls13),
        (None, Some(Version::Dtls12), Version::Dtls12),
        (Some(Version::Dtls12), None, Version::Dtls12),
        (None, Some(Version::Dtls13), Version::Dtls13),
        (Some(Version::Dtls13), None, Version::Dtls13),
    ] {
        let (mut client, mut server) = acquainted(None);
        if let Some(version) = client_version {
            client = client.version(version);
        }
        if let Some(version) = server_version {
            server = server.version(version);
        }
        let mut pair = Pair::new(&client, &server).ready();

        let took = pair.run();

        assert_eq!(pair.client.data().version, expected, "{client_version:?} {server_version:?}");
        assert_eq!(pair.server.data().version, expected);
        assert_eq!(
            pair.client.data().peer_certificate.as_deref(),
            Some(server.certificate().certificate())
        );
        assert_eq!(
            pair.server.data().peer_certificate.as_deref(),
            Some(client.certificate().certificate())
        );
        assert!(took < Duration::from_millis(200), "no retransmission on a good path: {took:?}");
        pair.assert_connected();
    }
}

#[test]
fn without_a_cookie_a_round_trip_less() {
    for version in VERSIONS {
        let (client, server) = acquainted(version);
        let with = Pair::new(&client, &server).ready().run();
        let mut pair = Pair::new(&client, &server.cookie(false)).ready();
        let without = pair.run();

        assert_eq!(with - without, 2 * DELAY, "{version:?}");
        pair.assert_connected();
    }
}

#[test]
fn gcm_is_preferred_by_a_server_in_both_versions_and_any_profile_can_be_had() {
    use SrtpProfile::*;
    let orders: [(&[SrtpProfile], &[SrtpProfile], Option<SrtpProfile>); 7] = [
        (&SrtpProfile::ALL, &SrtpProfile::ALL, Some(Aes128Gcm)),
        // What Chromium offers as a client.
        (&[Aes128CmSha1_80, Aes256Gcm, Aes128Gcm], &SrtpProfile::ALL, Some(Aes128Gcm)),
        (&[Aes128CmSha1_80, Aes256Gcm, Aes128Gcm], &[Aes256Gcm, Aes128Gcm], Some(Aes256Gcm)),
        (&[Aes128CmSha1_80], &SrtpProfile::ALL, Some(Aes128CmSha1_80)),
        (&SrtpProfile::ALL, &[Aes128CmSha1_80], Some(Aes128CmSha1_80)),
        (&[Aes128CmSha1_80], &[Aes128Gcm], None),
        (&[], &SrtpProfile::ALL, None),
    ];
    for version in VERSIONS {
        for (offered, preferred, expected) in orders {
            let (client, server) = acquainted(version);
            let (client, server) = (client.srtp_profiles(offered), server.srtp_profiles(preferred));
            let mut pair = Pair::new(&client, &server).ready();

            pair.run();

            let found = pair.server.data().srtp.as_ref().map(|keys| keys.profile);
            assert_eq!(found, expected, "{version:?} {offered:?} {preferred:?}");
            pair.assert_connected();
        }
    }
}

#[test]
fn handshakes_finish_under_loss() {
    for version in VERSIONS {
        for (loss, limit) in [(10, 5), (30, 15)] {
            let mut late = 0;
            for seed in 0..30 {
                let (client, server) = acquainted(version);
                let mut pair = Pair::new(&client, &server);
                pair.random = fastrand::Rng::with_seed(seed);
                pair.loss = loss;
                let mut pair = pair.ready();

                let took = pair.run();

                assert!(
                    pair.client.outcome.is_some() && pair.server.outcome.is_some(),
                    "{version:?} {loss} % {seed}"
                );
                late += u32::from(took > Duration::from_secs(limit));
                pair.assert_connected();
            }
            assert!(
                late == 0,
                "{version:?}: {late} of 30 took longer than {limit} s at {loss} % loss"
            );
        }
    }
}

#[test]
fn a_pre_shared_key_needs_no_certificates() {
    let secret = b"correct horse battery staple";
    let client = Psk::client("robot", secret).unwrap();
    let server =
        Psk::server([("robot", secret), ("other", b"something else altogether   ")]).unwrap();
    let info = |controlling| ComponentInfo::new(ComponentId(1), controlling);
    let mut pair =
        Pair::of(client.new_handshake(&info(false)), server.new_handshake(&info(true))).ready();

    pair.run();

    assert!(pair.client.data().peer_certificate.is_none());
    pair.assert_connected();
}

#[test]
fn a_wrong_pre_shared_key_connects_nobody() {
    let client = Psk::client("robot", b"correct horse battery staple").unwrap();
    let server = Psk::server([("robot", b"incorrect horse battery staple")]).unwrap();
    let info = |controlling| ComponentInfo::new(ComponentId(1), controlling);
    let mut pair =
        Pair::of(client.new_handshake(&info(false)), server.new_handshake(&info(true))).ready();

    pair.run();

    assert!(
        !matches!(pair.client.outcome, Some(Ok(_))) && !matches!(pair.server.outcome, Some(Ok(_)))
    );
    assert_eq!(Psk::client("robot", b"short").err(), Some(PskError::TooShort("robot".to_owned())));
}

#[test]
fn t6_a_certificate_must_have_an_announced_fingerprint() {
    for version in VERSIONS {
        let right = |dtls: &Dtls| dtls.certificate().fingerprint().to_string();
        let changed = |text: String| {
            let last = if text.ends_with('0') { '1' } else { '0' };
            format!("{}{last}", &text[..text.len() - 1])
        };
        let connects = |announce: &dyn Fn(String) -> Vec<String>| {
            let (client, server) = (Dtls::generate().unwrap(), Dtls::generate().unwrap());
            let parse = |texts: Vec<String>| {
                texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Fingerprint>>()
            };
            let (of_client, of_server) =
                (parse(announce(right(&client))), parse(announce(right(&server))));
            let with = |dtls: Dtls| match version {
                Some(version) => dtls.version(version),
                None => dtls,
            };
            let (client, server) =
                (with(client).fingerprints(of_server), with(server).fingerprints(of_client));
            let mut pair = Pair::new(&client, &server).ready();
            let took = pair.run();
            assert!(took < Duration::from_secs(1), "{took:?}");
            pair
        };

        connects(&|right| vec![right]).assert_connected();
        connects(&|right| vec![right.to_lowercase()]).assert_connected();
        connects(&|right| vec![changed(right.clone()), right]).assert_connected();
        let mismatch = connects(&|right| vec![changed(right)]);
        assert!(matches!(mismatch.client.failure(), HandshakeError::FingerprintMismatch { .. }));
        assert!(matches!(
            mismatch.server.failure(),
            HandshakeError::FingerprintMismatch { .. } | HandshakeError::ClosedByPeer
        ));
        assert!(mismatch.client.payloads.is_empty() && mismatch.server.payloads.is_empty());
        let missing = connects(&|_| vec![]);
        assert_eq!(missing.client.failure(), &HandshakeError::NoFingerprint);
        let sha1_only = connects(&|_| vec![format!("sha-1 {}", vec!["00"; 20].join(":"))]);
        assert_eq!(sha1_only.client.failure(), &HandshakeError::NoFingerprint);
    }
}

#[test]
fn the_last_flight_is_repeated_when_it_was_lost() {
    for version in VERSIONS {
        let (client, server) = acquainted(version);
        let mut pair = Pair::new(&client, &server).ready();
        // Until one side is done; what it said last never arrives.
        while pair.client.outcome.is_none() && pair.server.outcome.is_none() {
            assert!(pair.step());
        }
        pair.client.inbox.clear();
        pair.server.inbox.clear();

        pair.run();

        pair.assert_connected();
    }
}
