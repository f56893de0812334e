//! Tests of two stand-alone endpoints over loopback.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod endpoints;

use callboard_ice_handshake::endpoint::*;
use callboard_ice_handshake::handshake::*;
use callboard_transport::mux::{MuxHandle, UdpMux, UdpMuxOptions};
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
            side.seen.iter().position(wanted).expect("it was told")
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
        assert!(first(1).is_sorted() && first(2).is_sorted(), "{:#?}", side.seen);
        assert_eq!((place(&|event| matches!(event, EndpointEvent::HandshakeInitData { .. }))), 0);
        assert!(matches!(
            side.seen[1],
            EndpointEvent::HandshakeInitData { component: ComponentId(2), .. }
        ));
        assert!(matches!(side.seen[2], EndpointEvent::LocalCredentials(_)));
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
        .seen
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
        for event in &side.seen {
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
        Err(ParseRemoteSdpError::NoCredentials)
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
        assert!(matches!(refused, Err(SetRemoteCandidateError::Malformed(_))), "{text}");
    }
    let of_two = SetRemoteCandidate {
        component: ComponentId(2),
        candidate: "candidate:1 2 udp 1 192.0.2.1 9 typ host".into(),
    };
    assert_eq!(
        a.endpoint.send(of_two).await.unwrap(),
        Err(SetRemoteCandidateError::OtherComponent)
    );
    assert_eq!(Credentials::new("abc", "x"), Err(CredentialsError::Ufrag));
    assert_eq!(Credentials::new("abcd", "too short"), Err(CredentialsError::Password));
    assert_talks(&mut a, &mut b, 1).await;
}

#[actix::test]
async fn t8_ten_thousand_candidates_cost_little_and_the_right_one_connects() {
    let (mut a, mut b) =
        (Side::start(options(true, Plain)).await, Side::start(options(false, Plain)).await);
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    // The valid candidate first: those after the sixty-fourth are refused.
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
        // Of a documentation prefix (RFC 5737): no host is there, and no route leads to it from here.
        let candidate = format!(
            "candidate:{number} 1 udp 1 192.0.2.{} {} typ host",
            number % 250 + 1,
            1_024 + number
        );
        match a.endpoint.send(SetRemoteCandidate { component, candidate }).await.unwrap() {
            Ok(()) => taken += 1,
            Err(SetRemoteCandidateError::TooMany) => refused += 1,
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
        a.seen.clear();
        b.seen.clear();
        let starter = if round % 2 == 0 { &a } else { &b };
        starter.endpoint.send(RestartEndpointIce).await.unwrap();

        let selected = |side: &Side| {
            side.seen.iter().any(|event| matches!(event, EndpointEvent::CandidateGatheringDone))
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
