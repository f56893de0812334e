//! Two stand-alone endpoints over loopback.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod endpoints;

use std::time::{Duration, Instant};

use callboard_ice_handshake::endpoint::*;
use callboard_ice_handshake::handshake::*;
use callboard_ice_handshake::mux::{MuxHandle, UdpMux, UdpMuxOptions};
use callboard_supervision::{ArbiterPool, Fault, Placement};
use endpoints::*;

fn psk() -> (Psk, Psk) {
    let secret = b"correct horse battery staple";
    (Psk::server([("robot", secret)]).unwrap(), Psk::client("robot", secret).unwrap())
}

#[actix::test]
async fn payloads_go_both_ways_without_a_handshake() {
    let (mut a, mut b) = connected(options(true, Plain), options(false, Plain)).await;
    assert_talks(&mut a, &mut b, 1).await;
    a.endpoint.stop().await;
    b.endpoint.stop().await;
}

#[actix::test]
async fn payloads_go_both_ways_after_dtls_of_each_version_and_role() {
    for version in [Some(Version::Dtls12), Some(Version::Dtls13), None] {
        for role in [None, Some(Role::Client), Some(Role::Server)] {
            let dtls = |role: Option<Role>| {
                let dtls = Dtls::generate().unwrap();
                let dtls = version.into_iter().fold(dtls, Dtls::version);
                role.into_iter().fold(dtls, Dtls::role)
            };
            let other =
                role.map(|role| if role == Role::Client { Role::Server } else { Role::Client });
            let (mut a, mut b) =
                connected(options(true, dtls(role)), options(false, dtls(other))).await;
            let (HandshakeData::Dtls(of_a), HandshakeData::Dtls(of_b)) =
                (a.finished(1).await, b.finished(1).await)
            else {
                panic!("no DTLS data");
            };
            assert_eq!(
                of_a.srtp.as_ref().map(|keys| &keys.local),
                of_b.srtp.as_ref().map(|keys| &keys.remote)
            );
            assert_eq!(
                of_a.role,
                role.unwrap_or(Role::Server),
                "the controlling side is the server"
            );
            assert_talks(&mut a, &mut b, 1).await;
        }
    }
}

#[actix::test]
async fn payloads_go_both_ways_after_a_pre_shared_key() {
    let (server, client) = psk();
    let (mut a, mut b) = connected(options(true, server), options(false, client)).await;
    assert_talks(&mut a, &mut b, 1).await;
}

#[actix::test]
async fn what_is_told_comes_in_its_order() {
    let (a, b) = connected(
        EndpointOptions { components: 2, ..options(true, Dtls::generate().unwrap()) },
        EndpointOptions { components: 2, ..options(false, Dtls::generate().unwrap()) },
    )
    .await;
    for side in [a, b] {
        let place = |wanted: &dyn Fn(&EndpointEvent) -> bool| {
            side.told.iter().position(wanted).expect("it was told")
        };
        let first = |of: u16| {
            [
                place(
                    &|event| matches!(event, EndpointEvent::HandshakeInitData { component, .. } if component.0 == of),
                ),
                place(&|event| matches!(event, EndpointEvent::LocalCredentials(_))),
                place(
                    &|event| matches!(event, EndpointEvent::NewCandidate { component, .. } if component.0 == of),
                ),
                place(
                    &|event| matches!(event, EndpointEvent::NewSelectedPair { component, .. } if component.0 == of),
                ),
                place(
                    &|event| matches!(event, EndpointEvent::ComponentReady(component) if component.0 == of),
                ),
                place(
                    &|event| matches!(event, EndpointEvent::HandshakeFinished { component, .. } if component.0 == of),
                ),
            ]
        };
        assert!(first(1).is_sorted() && first(2).is_sorted(), "{:#?}", side.told);
        assert_eq!((place(&|event| matches!(event, EndpointEvent::HandshakeInitData { .. }))), 0);
        assert!(matches!(
            side.told[1],
            EndpointEvent::HandshakeInitData { component: ComponentId(2), .. }
        ));
        assert!(matches!(side.told[2], EndpointEvent::LocalCredentials(_)));
    }
}

#[actix::test]
async fn three_components_have_a_port_a_pair_and_a_handshake_each() {
    let (mut a, mut b) = connected(
        EndpointOptions { components: 3, ..options(true, Dtls::generate().unwrap()) },
        EndpointOptions { components: 3, ..options(false, Dtls::generate().unwrap()) },
    )
    .await;
    for component in 1..=3 {
        assert_talks(&mut a, &mut b, component).await;
    }
    let mut ports: Vec<u16> = a
        .told
        .iter()
        .filter_map(|event| match event {
            EndpointEvent::NewSelectedPair { local, .. } => Some(local.port()),
            _ => None,
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
    assert_eq!(a.say(4, b"nobody").await, Err(SendPayloadError::NoComponent));
}

#[actix::test]
async fn the_lite_side_answers_and_connects() {
    let lite = EndpointOptions { ice_lite: true, ..options(false, Dtls::generate().unwrap()) };
    let (mut a, mut b) = connected(options(true, Dtls::generate().unwrap()), lite).await;
    assert_talks(&mut a, &mut b, 1).await;
}

#[actix::test]
async fn two_that_both_want_to_control_settle_it() {
    let (mut a, mut b) = connected(
        options(true, Dtls::generate().unwrap().role(Role::Client)),
        options(true, Dtls::generate().unwrap().role(Role::Server)),
    )
    .await;
    assert_talks(&mut a, &mut b, 1).await;
}

#[actix::test]
async fn an_sdp_does_for_credentials_and_candidates() {
    let (mut a, mut b) =
        (Side::start(options(true, Plain)).await, Side::start(options(false, Plain)).await);
    let mut sdps = Vec::new();
    for side in [&mut a, &mut b] {
        side.endpoint.send(GatherCandidates).await.unwrap();
        side.until(|event| matches!(event, EndpointEvent::CandidateGatheringDone).then_some(()))
            .await;
        let mut sdp = String::from("v=0\r\n");
        for event in &side.told {
            match event {
                EndpointEvent::LocalCredentials(Credentials { ufrag, password, .. }) => {
                    sdp += &format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n");
                }
                EndpointEvent::NewCandidate { candidate, .. } => {
                    sdp += &format!("a={candidate}\r\n")
                }
                _ => {}
            }
        }
        sdps.push(sdp);
    }
    assert_eq!(b.endpoint.send(ParseRemoteSdp(sdps.remove(0))).await.unwrap(), Ok(1));
    assert_eq!(a.endpoint.send(ParseRemoteSdp(sdps.remove(0))).await.unwrap(), Ok(1));
    a.finished(1).await;
    b.finished(1).await;
    assert_talks(&mut a, &mut b, 1).await;
    assert_eq!(
        a.endpoint.send(ParseRemoteSdp("nonsense".to_owned())).await.unwrap(),
        Err(BadSdp::NoCredentials)
    );
}

#[actix::test]
async fn bad_input_gets_a_typed_error_and_nothing_else_is_disturbed() {
    let (mut a, mut b) = connected(options(true, Plain), options(false, Plain)).await;
    let candidate = |candidate: &str| SetRemoteCandidate {
        component: ComponentId(1),
        candidate: candidate.to_owned(),
    };
    for text in ["", "nonsense", "candidate:1 1 udp x x x typ x"] {
        let refused = a.endpoint.send(candidate(text)).await.unwrap();
        assert!(matches!(refused, Err(CandidateRefused::Malformed(_))), "{text}");
    }
    let of_two = SetRemoteCandidate {
        component: ComponentId(2),
        candidate: "candidate:1 2 udp 1 192.0.2.1 9 typ host".into(),
    };
    assert_eq!(a.endpoint.send(of_two).await.unwrap(), Err(CandidateRefused::OtherComponent));
    assert_eq!(Credentials::new("abc", "x"), Err(BadCredentials::Ufrag));
    assert_eq!(Credentials::new("abcd", "too short"), Err(BadCredentials::Password));
    assert_talks(&mut a, &mut b, 1).await;
}

#[actix::test]
async fn t8_ten_thousand_candidates_cost_little_and_the_right_one_connects() {
    let (mut a, mut b) =
        (Side::start(options(true, Plain)).await, Side::start(options(false, Plain)).await);
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    // The right one first: what comes after the sixty-fourth is refused.
    let right = b
        .until(|event| match event {
            EndpointEvent::NewCandidate { candidate, .. } => Some(candidate.clone()),
            _ => None,
        })
        .await;
    let component = ComponentId(1);
    a.endpoint.send(SetRemoteCandidate { component, candidate: right }).await.unwrap().unwrap();
    let (mut taken, mut refused) = (0, 0);
    for number in 0..10_000_u32 {
        // Of a documentation prefix (RFC 5737): nothing is there, and no route leads to it from here.
        let candidate = format!(
            "candidate:{number} 1 udp 1 192.0.2.{} {} typ host",
            number % 250 + 1,
            1_024 + number
        );
        match a.endpoint.send(SetRemoteCandidate { component, candidate }).await.unwrap() {
            Ok(()) => taken += 1,
            Err(CandidateRefused::TooMany) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((taken, refused), (63, 10_000 - 63));
    let (of_a, of_b) = (a.credentials().await, b.credentials().await);
    b.endpoint.send(SetRemoteCredentials(of_a)).await.unwrap().unwrap();
    a.endpoint.send(SetRemoteCredentials(of_b)).await.unwrap().unwrap();
    a.finished(1).await;
    b.finished(1).await;
    assert_talks(&mut a, &mut b, 1).await;
}

#[actix::test]
async fn ice_restarts_from_either_side_and_payloads_go_on() {
    let (mut a, mut b) = connected(
        options(true, Dtls::generate().unwrap()),
        options(false, Dtls::generate().unwrap()),
    )
    .await;
    for round in 0..3 {
        let before = (a.credentials().await, b.credentials().await);
        a.told.clear();
        b.told.clear();
        let starter = if round % 2 == 0 { &a } else { &b };
        starter.endpoint.send(RestartIce).await.unwrap();

        let selected = |side: &Side| {
            side.told.iter().any(|event| matches!(event, EndpointEvent::CandidateGatheringDone))
        };
        carry_until(&mut a, &mut b, |a, b| selected(a) && selected(b)).await;

        let after = (a.credentials().await, b.credentials().await);
        assert!(before.0 != after.0 && before.1 != after.1, "both sides have new credentials");
        assert_talks(&mut a, &mut b, 1).await;
        assert!(
            handshakes_finished(&a) == 0 && handshakes_finished(&b) == 0,
            "the handshake stands"
        );
    }
}

#[actix::test]
async fn an_endpoint_that_closes_says_goodbye() {
    let (a, mut b) = connected(
        options(true, Dtls::generate().unwrap()),
        options(false, Dtls::generate().unwrap()),
    )
    .await;

    a.endpoint.stop().await;

    b.until(|event| matches!(event, EndpointEvent::ComponentClosed(ComponentId(1))).then_some(()))
        .await;
    assert!(!a.endpoint.is_running());
    assert_eq!(b.say(1, b"too late").await, Err(SendPayloadError::NotReady));
}

#[actix::test]
async fn a_peer_that_falls_silent_is_noticed_and_the_component_fails() {
    let patient = |controlling| {
        let consent_timeout = Duration::from_secs(1);
        EndpointOptions { consent_timeout, ..options(controlling, Plain) }
    };
    let (mut a, b) = connected(patient(true), patient(false)).await;
    let began = Instant::now();
    // Without a goodbye.
    b.endpoint.supervisor().inject_root(Fault::Kill);
    drop(b);

    a.until(|event| matches!(event, EndpointEvent::ComponentDisconnected(_)).then_some(())).await;
    assert_eq!(a.say(1, b"anybody there?").await, Err(SendPayloadError::Disconnected));

    assert_eq!(a.failed().await, ComponentError::ConsentExpired(Duration::from_secs(1)));
    assert!(began.elapsed() < Duration::from_secs(30), "RFC 7675: {:?}", began.elapsed());
}

#[actix::test]
async fn nobody_to_connect_to_is_a_failure_in_time() {
    let connect_timeout = Duration::from_millis(300);
    let mut a = Side::start(EndpointOptions { connect_timeout, ..options(true, Plain) }).await;
    a.endpoint.send(GatherCandidates).await.unwrap();
    let stranger = Credentials::new("abcd", "0123456789012345678901").unwrap();
    a.endpoint.send(SetRemoteCredentials(stranger)).await.unwrap().unwrap();

    assert_eq!(a.failed().await, ComponentError::NotConnected(connect_timeout));
    assert_eq!(a.say(1, b"hello?").await, Err(SendPayloadError::NotReady));
    let could_not = |event: &EndpointEvent| {
        matches!(event, EndpointEvent::CouldNotSendPayload { .. }).then_some(())
    };
    a.until(could_not).await;
}

#[actix::test]
async fn with_no_candidate_to_come_and_none_that_works_it_fails_before_its_time() {
    let mut a = Side::start(options(true, Plain)).await;
    a.endpoint.send(GatherCandidates).await.unwrap();
    let stranger = Credentials::new("abcd", "0123456789012345678901").unwrap();
    a.endpoint.send(SetRemoteCredentials(stranger)).await.unwrap().unwrap();
    // Of a port that was just given back: nobody answers there.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let component = ComponentId(1);
    let candidate = format!("candidate:1 1 udp 1 127.0.0.1 {} typ host", nobody.port());
    a.endpoint.send(SetRemoteCandidate { component, candidate }).await.unwrap().unwrap();
    a.endpoint.send(RemoteCandidatesDone(component)).await.unwrap();

    let error = a.failed().await;

    assert!(
        matches!(error, ComponentError::NotConnected(time) if time < Duration::from_secs(29)),
        "{error}"
    );
}

#[actix::test]
async fn t6_a_changed_fingerprint_fails_in_a_second_and_delivers_nothing() {
    let (mut a, mut b) = (
        Side::start(options(true, Dtls::generate().unwrap())).await,
        Side::start(options(false, Dtls::generate().unwrap())).await,
    );
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    let wrong = Certificate::generate().unwrap().fingerprint();
    let ready = |side: &Side| {
        side.told.iter().any(|event| matches!(event, EndpointEvent::ComponentReady(_)))
    };
    let lie = InitData::Fingerprints(vec![wrong]);
    a.endpoint
        .send(SetRemoteHandshakeInitData { component: None, data: lie.clone() })
        .await
        .unwrap();
    b.endpoint.send(SetRemoteHandshakeInitData { component: None, data: lie }).await.unwrap();
    while !(ready(&a) && ready(&b)) {
        let (from_a, event) = tokio::select! {
            event = a.events.recv() => (true, event.unwrap()),
            event = b.events.recv() => (false, event.unwrap()),
        };
        let (from, to) = if from_a { (&mut a, &b) } else { (&mut b, &a) };
        if !matches!(event, EndpointEvent::HandshakeInitData { .. }) {
            carry(&event, &to.endpoint).await;
        }
        from.told.push(event);
    }
    let began = Instant::now();

    let errors = [a.failed().await, b.failed().await];

    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mismatch = |error: &ComponentError| {
        matches!(error, ComponentError::Handshake(HandshakeError::FingerprintMismatch { .. }))
    };
    assert!(errors.iter().any(mismatch), "{errors:?}");
    for side in [&a, &b] {
        assert!(!side.told.iter().any(|event| matches!(event, EndpointEvent::Payload { .. })));
        assert_eq!(side.say(1, b"x").await, Err(SendPayloadError::NotReady));
    }
}

#[actix::test]
async fn f4_a_handshake_that_panics_fails_its_component_and_no_other() {
    struct Panics;
    impl Handshake for Panics {
        fn connection_ready(&mut self, _: Instant) -> Step {
            panic!("on purpose")
        }
        fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
            Step::Ok
        }
    }
    let factory = |component: &ComponentInfo| -> Box<dyn Handshake> {
        if component.id == ComponentId(1) {
            Box::new(Panics)
        } else {
            Plain.new_handshake(component)
        }
    };
    let two = |controlling| EndpointOptions { components: 2, ..options(controlling, factory) };
    let (mut a, mut b) = (Side::start(two(true)).await, Side::start(two(false)).await);
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    let settled = |side: &Side| {
        handshakes_finished(side) == 1
            && side.told.iter().any(|event| matches!(event, EndpointEvent::ComponentFailed { .. }))
    };

    carry_until(&mut a, &mut b, |a, b| settled(a) && settled(b)).await;

    let error = a.failed().await;
    assert!(matches!(&error, ComponentError::Handshake(HandshakeError::ActorEnded(_))), "{error}");
    assert!(error.to_string().contains("on purpose"));
    assert_talks(&mut a, &mut b, 2).await;
}

#[actix::test]
async fn a_component_that_is_killed_is_told_and_the_other_goes_on() {
    let two = |controlling| EndpointOptions { components: 2, ..options(controlling, Plain) };
    let (mut a, mut b) = connected(two(true), two(false)).await;
    let components =
        a.endpoint.supervisor().supervisor("stream").unwrap().supervisor("components").unwrap();

    components.inject("component 1", Fault::Panic("shot".to_owned())).await.unwrap();

    assert!(matches!(a.failed().await, ComponentError::ActorEnded(_)));
    assert_talks(&mut a, &mut b, 2).await;
}

#[actix::test]
async fn twenty_endpoints_share_one_port() {
    let mux = MuxHandle::bind({
        let mut sockets = UdpMuxOptions::default();
        sockets.interfaces = options(true, Plain).sockets.interfaces;
        sockets.ip_families = options(true, Plain).sockets.ip_families;
        sockets
    })
    .unwrap();
    let _reader = actix::Actor::start(UdpMux::new(mux.clone()));
    let mut pairs = Vec::new();
    for _ in 0..20 {
        let shared =
            EndpointOptions { mux: Some(mux.clone()), ..options(true, Dtls::generate().unwrap()) };
        pairs.push(connected(shared, options(false, Dtls::generate().unwrap())).await);
    }
    for (a, b) in &mut pairs {
        assert_talks(a, b, 1).await;
    }
    assert_eq!(mux.routes(), 20);
    for (a, b) in pairs {
        a.endpoint.stop().await;
        b.endpoint.stop().await;
    }
    assert_eq!(mux.routes(), 0);
}

#[actix::test]
async fn nothing_is_left_of_endpoints_that_have_ended() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (a, b) = connected(
        options(true, Dtls::generate().unwrap()),
        options(false, Dtls::generate().unwrap()),
    )
    .await;
    a.endpoint.stop().await;
    b.endpoint.stop().await;
    let before = descriptors();
    for round in 0..20 {
        let (mut a, mut b) = (
            Side::start(options(true, Dtls::generate().unwrap())).await,
            Side::start(options(false, Dtls::generate().unwrap())).await,
        );
        // Never connected, half connected, connected.
        if round % 3 > 0 {
            a.endpoint.send(GatherCandidates).await.unwrap();
            let credentials = b.credentials().await;
            a.endpoint.send(SetRemoteCredentials(credentials)).await.unwrap().unwrap();
        }
        if round % 3 > 1 {
            b.endpoint.send(GatherCandidates).await.unwrap();
            for event in &b.told {
                carry(event, &a.endpoint).await;
            }
            carry_until(&mut a, &mut b, |a, b| {
                handshakes_finished(a) == 1 && handshakes_finished(b) == 1
            })
            .await;
        }
        a.endpoint.stop().await;
        b.endpoint.stop().await;
        assert!(!a.endpoint.is_running() && a.endpoint.supervisor().addr().is_none());
    }
    // Other tests of this file run in the same process.
    let deadline = Instant::now() + PATIENCE;
    while descriptors() > before + 40 && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert!(descriptors() <= before + 40, "{before} descriptors before, {} after", descriptors());
}

#[actix::test]
async fn f4_a_handshake_that_blocks_its_thread_fails_in_time_and_others_go_on() {
    /// Blocks until its sender is dropped.
    struct Blocks(std::sync::Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>);
    impl Handshake for Blocks {
        fn connection_ready(&mut self, _: Instant) -> Step {
            _ = self.0.lock().unwrap().recv();
            Step::Ok
        }
        fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
            Step::Ok
        }
    }
    let (unblock, blocked) = std::sync::mpsc::channel();
    let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
    let pool = ArbiterPool::new(2);
    let factory = move |component: &ComponentInfo| -> Box<dyn Handshake> {
        match component.id {
            ComponentId(1) => Box::new(Blocks(blocked.clone())),
            _ => Plain.new_handshake(component),
        }
    };
    let two = |controlling, placement, handshake| EndpointOptions {
        components: 2,
        handshake,
        handshake_deadline: Duration::from_millis(300),
        handshake_placement: placement,
        ..options(controlling, Plain)
    };
    let plain = || -> std::sync::Arc<dyn HandshakeFactory> { std::sync::Arc::new(Plain) };
    let (on_pool, here) = (|| Placement::Pool(pool.clone()), Placement::default);
    let mut a = Side::start(two(true, on_pool(), std::sync::Arc::new(factory))).await;
    let mut b = Side::start(two(false, here(), plain())).await;
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    let failed = |side: &Side| {
        side.told.iter().any(|event| matches!(event, EndpointEvent::ComponentFailed { .. }))
    };

    carry_until(&mut a, &mut b, |a, b| {
        failed(a) && handshakes_finished(a) == 1 && handshakes_finished(b) == 2
    })
    .await;

    let error = a.failed().await;
    assert_talks(&mut a, &mut b, 2).await;
    let deadline = Instant::now() + PATIENCE;
    while pool.replaced() == 0 {
        assert!(Instant::now() < deadline, "the thread is replaced");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        error,
        ComponentError::Handshake(HandshakeError::DeadlineExceeded(Duration::from_millis(300)))
    );
    // A new endpoint finds threads that are not blocked.
    let (mut c, mut d) =
        connected(two(true, on_pool(), plain()), two(false, here(), plain())).await;
    assert_talks(&mut c, &mut d, 2).await;
    drop(unblock);
}

#[actix::test]
async fn t7_checks_that_are_not_genuine_are_not_answered() {
    let mut a = Side::start(options(true, Plain)).await;
    a.endpoint.send(GatherCandidates).await.unwrap();
    let port: u16 = a
        .until(|event| match event {
            EndpointEvent::NewCandidate { candidate, .. } => {
                candidate.split(' ').nth(5)?.parse().ok()
            }
            _ => None,
        })
        .await;
    let of_a = a.credentials().await;
    let peer = Credentials::new("peer", "0123456789012345678901").unwrap();
    a.endpoint.send(SetRemoteCredentials(peer)).await.unwrap().unwrap();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let provider = str0m::crypto::from_feature_flags().sha1_hmac_provider;
    let request = |password: Option<&str>| {
        let name = format!("{}:peer", of_a.ufrag);
        let message = is::stun::StunMessage::binding_request(
            &name,
            is::stun::TransId::new(),
            false,
            7,
            100,
            false,
        );
        let mut buffer = vec![0; 500];
        let hmac = |key: &[u8], payloads: &[&[u8]]| provider.sha1_hmac(key, payloads);
        let length = message.to_bytes(password.map(str::as_bytes), &mut buffer, hmac).unwrap();
        buffer.truncate(length);
        buffer
    };
    for forged in [request(None), request(Some("not the password at all"))] {
        for _ in 0..100 {
            socket.send_to(&forged, ("127.0.0.1", port)).await.unwrap();
        }
    }

    // The genuine one comes last: when it is answered the others have been looked at.
    socket.send_to(&request(Some(&of_a.password)), ("127.0.0.1", port)).await.unwrap();
    let mut buffer = [0; 500];
    let mut answers = 0;
    loop {
        let (length, _) =
            tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        let message = is::stun::StunMessage::parse(&buffer[..length]).unwrap();
        if message.is_successful_binding_response() {
            answers += 1;
            break;
        }
    }
    assert_eq!(answers, 1);
    while let Ok(Ok((length, _))) =
        tokio::time::timeout(Duration::from_millis(300), socket.recv_from(&mut buffer)).await
    {
        let message = is::stun::StunMessage::parse(&buffer[..length]).unwrap();
        assert!(!message.is_successful_binding_response(), "a forged request was answered");
    }
}
