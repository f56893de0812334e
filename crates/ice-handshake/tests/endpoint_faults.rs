//! Tests of faults in stand-alone endpoints, and of what they disturb.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod endpoints;

use std::time::{Duration, Instant};

use callboard_ice_handshake::endpoint::*;
use callboard_ice_handshake::handshake::*;
use callboard_supervision::{ArbiterPool, Fault, Placement};
use endpoints::*;

#[actix::test]
async fn a_peer_that_falls_silent_is_noticed_and_the_component_fails() {
    let patient = |controlling| {
        let consent_timeout = Duration::from_secs(1);
        EndpointOptions { consent_timeout, ..options(controlling, Plain) }
    };
    let (mut a, b) = connected(patient(true), patient(false)).await;
    let began = Instant::now();
    // Kill it, so that it cannot close its connections.
    b.endpoint.supervisor().inject_root(Fault::Kill);
    drop(b);

    a.until(|event| matches!(event, EndpointEvent::ComponentDisconnected(_)).then_some(())).await;
    assert_eq!(a.say(1, b"anybody there?").await, Err(SendPayloadError::Disconnected));

    assert_eq!(a.failed().await, ComponentError::ConsentExpired(Duration::from_secs(1)));
    assert!(began.elapsed() < Duration::from_secs(30), "RFC 7675: {:?}", began.elapsed());
}

#[actix::test]
async fn without_a_peer_it_fails_in_time() {
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
    // The address of a port that was just closed, where nothing answers.
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
async fn t6_a_changed_fingerprint_fails_long_before_the_deadline_and_delivers_nothing() {
    let patient = |controlling| {
        let options = options(controlling, Dtls::generate().unwrap());
        EndpointOptions { handshake_deadline: 4 * PATIENCE, ..options }
    };
    let (mut a, mut b) = (Side::start(patient(true)).await, Side::start(patient(false)).await);
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    let wrong = Certificate::generate().unwrap().fingerprint();
    let ready = |side: &Side| {
        side.seen.iter().any(|event| matches!(event, EndpointEvent::ComponentReady(_)))
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
        from.seen.push(event);
    }

    let errors = [a.failed().await, b.failed().await];

    let mismatch = |error: &ComponentError| {
        matches!(error, ComponentError::Handshake(HandshakeError::FingerprintMismatch { .. }))
    };
    assert!(errors.iter().any(mismatch), "{errors:?}");
    for side in [&a, &b] {
        assert!(!side.seen.iter().any(|event| matches!(event, EndpointEvent::Payload { .. })));
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
            && side.seen.iter().any(|event| matches!(event, EndpointEvent::ComponentFailed { .. }))
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

    components.inject("component 1", Fault::Panic("injected".to_owned())).await.unwrap();

    assert!(matches!(a.failed().await, ComponentError::ActorEnded(_)));
    assert_talks(&mut a, &mut b, 2).await;
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
            for event in &b.seen {
                carry(event, &a.endpoint).await;
            }
            carry_until(&mut a, &mut b, |a, b| {
                handshakes_finished(a) == 1 && handshakes_finished(b) == 1
            })
            .await;
        }
        a.endpoint.stop().await;
        b.endpoint.stop().await;
        assert!(!a.endpoint.is_running() && !a.endpoint.supervisor().is_running());
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
    /// Handshake that blocks until its sender is dropped.
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
        handshake_deadline: Duration::from_secs(3),
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
        side.seen.iter().any(|event| matches!(event, EndpointEvent::ComponentFailed { .. }))
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
        ComponentError::Handshake(HandshakeError::DeadlineExceeded(Duration::from_secs(3)))
    );
    // A new endpoint gets threads that are not blocked.
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

    // The genuine request comes last: when it is answered, the others have been processed.
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
