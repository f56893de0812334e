//! Stand-alone ICE endpoints across NATs and loss, through a real TURN server, and with a peer
//! of another implementation.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod hosts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard_ice_handshake::endpoint::*;
use callboard_ice_handshake::handshake::*;
use callboard_transport::gather::IceServer;
use hosts::*;
use integration_tests::coturn::{CoturnOptions, PASSWORD, USER};
use integration_tests::nat::{Mapping, NatOptions, PUBLIC_ADDRESS};
use integration_tests::{Coturn, Namespace, NatBed, PythonPeer, in_network_namespace};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

fn in_public(bed: &NatBed) -> CoturnOptions {
    CoturnOptions {
        namespace: bed.public.clone(),
        address: PUBLIC_ADDRESS,
        ..CoturnOptions::default()
    }
}

fn turn(url: &str) -> IceServer {
    IceServer::turn(url, USER, PASSWORD).unwrap()
}

fn trusting(coturn: &Coturn) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(coturn.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
}

/// Creates two hosts with nothing but a cable between them.
fn cable() -> (Namespace, Namespace) {
    let (left, right) = (Namespace::new(), Namespace::new());
    left.connect(("eth0", "10.1.0.1/24"), &right, ("eth0", "10.1.0.2/24"));
    (left, right)
}

#[test]
fn two_behind_nats_meet_by_what_a_stun_server_tells_them() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let coturn = Coturn::start(in_public(&bed)).await;
        let servers = [IceServer::new(&coturn.stun_url()).unwrap()];
        let mut a = Host::start(&bed.left.client, options(true, dtls(), &servers)).await;
        let mut b = Host::start(&bed.right.client, options(false, dtls(), &servers)).await;

        connect(&mut a, &mut b, PATIENCE).await;

        assert!(a.selected().1.starts_with(&bed.right.router_address.to_string()));
        assert!(b.selected().1.starts_with(&bed.left.router_address.to_string()));
        assert_talks(&mut a, &mut b).await;
        for (host, side) in [(&a, &bed.left), (&b, &bed.right)] {
            let of_router =
                |candidate: &&String| candidate.contains(&side.router_address.to_string());
            let reflexive = host.candidates().iter().filter(of_router).count();
            assert_eq!(reflexive, 1, "{:?}", host.candidates());
        }
    });
}

#[test]
fn two_behind_symmetric_nats_meet_through_a_turn_server_over_udp_tcp_and_tls() {
    in_network_namespace(async || {
        let symmetric = NatOptions { mapping: Mapping::RandomPort, ..NatOptions::default() };
        let bed = NatBed::new(symmetric, symmetric);
        let coturn = Coturn::start(in_public(&bed)).await;
        for url in [coturn.turn_url("udp"), coturn.turn_url("tcp"), coturn.turns_url()] {
            let servers = [turn(&url)];
            let with = |controlling| {
                let mut options = options(controlling, dtls(), &servers);
                options.transport.tls = Some(trusting(&coturn));
                options
            };
            let mut a = Host::start(&bed.left.client, with(true)).await;
            let mut b = Host::start(&bed.right.client, with(false)).await;

            connect(&mut a, &mut b, PATIENCE).await;

            let public = PUBLIC_ADDRESS.to_string();
            let pairs = [a.selected(), b.selected()];
            assert!(
                pairs.iter().any(
                    |(local, remote)| local.starts_with(&public) || remote.starts_with(&public)
                )
            );
            assert_talks(&mut a, &mut b).await;
            // Later rounds go through a channel, once there is one.
            for round in 0..30 {
                let text = format!("round {round}");
                a.say_until_heard(&mut b, &text, PATIENCE).await;
                b.say_until_heard(&mut a, &text, PATIENCE).await;
            }
        }
    });
}

#[test]
fn t24_with_the_policy_relay_no_peer_learns_an_address() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let coturn = Coturn::start(in_public(&bed)).await;
        let servers = [turn(&coturn.turn_url("udp")), IceServer::new(&coturn.stun_url()).unwrap()];
        let mut a =
            Host::start(&bed.left.client, relay_only(options(true, dtls(), &servers))).await;
        let mut b =
            Host::start(&bed.right.client, relay_only(options(false, dtls(), &servers))).await;

        connect(&mut a, &mut b, PATIENCE).await;

        assert_talks(&mut a, &mut b).await;
        for host in [&a, &b] {
            let candidates = host.candidates();
            assert!(
                !candidates.is_empty()
                    && candidates.iter().all(|candidate| candidate.contains("typ relay"))
            );
        }
    });
}

#[test]
fn t23_wrong_credentials_are_told_and_the_rest_connects() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let coturn = Coturn::start(in_public(&bed)).await;
        let servers = [
            IceServer::turn(&coturn.turn_url("udp"), USER, "wrong").unwrap(),
            IceServer::new(&coturn.stun_url()).unwrap(),
        ];
        let mut a = Host::start(&bed.left.client, options(true, dtls(), &servers)).await;
        let mut b = Host::start(&bed.right.client, options(false, dtls(), &servers)).await;

        connect(&mut a, &mut b, PATIENCE).await;

        let code = |event: &EndpointEvent| match event {
            EndpointEvent::CandidateError { error, .. } => Some(error.code),
            _ => None,
        };
        assert_eq!(a.until(PATIENCE, code).await, 401);
        assert_talks(&mut a, &mut b).await;
    });
}

#[test]
fn endpoints_connect_under_loss_in_time() {
    in_network_namespace(async || {
        for (loss, limit, may_fail) in
            [(10, Duration::from_secs(5), 0), (30, Duration::from_secs(15), 1)]
        {
            // A measure of the machine's load: the time that the same takes here without loss.
            let mut busy = Duration::ZERO;
            let lossy = NatOptions { loss, ..NatOptions::default() };
            let bed = NatBed::new(lossy, NatOptions::default());
            let coturn = Coturn::start(in_public(&bed)).await;
            let servers = [IceServer::new(&coturn.stun_url()).unwrap()];
            let mut times = Vec::new();
            for _ in 0..3 {
                bed.left.lose(0);
                let mut a = Host::start(&bed.left.client, options(true, dtls(), &servers)).await;
                let mut b = Host::start(&bed.right.client, options(false, dtls(), &servers)).await;
                busy = busy.max(connect(&mut a, &mut b, PATIENCE).await);
            }
            let limit = limit + 4 * busy;
            bed.left.lose(loss);
            for _ in 0..12 {
                let mut a = Host::start(&bed.left.client, options(true, dtls(), &servers)).await;
                let mut b = Host::start(&bed.right.client, options(false, dtls(), &servers)).await;
                times.push(try_connect(&mut a, &mut b, PATIENCE).await.unwrap_or(Duration::MAX));
            }
            times.sort_unstable();
            println!(
                "{loss} % loss: median {:?}, longest {:?}",
                times[times.len() / 2],
                times[times.len() - 1]
            );
            let late = times.iter().filter(|time| **time > limit).count();
            assert!(late <= may_fail, "{loss} %: {times:?}");
        }
    });
}

#[test]
fn an_outage_of_five_seconds_is_survived() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let coturn = Coturn::start(in_public(&bed)).await;
        let servers = [IceServer::new(&coturn.stun_url()).unwrap()];
        let mut a = Host::start(&bed.left.client, options(true, dtls(), &servers)).await;
        let mut b = Host::start(&bed.right.client, options(false, dtls(), &servers)).await;
        connect(&mut a, &mut b, PATIENCE).await;

        bed.left.lose(100);
        let outage = Instant::now();
        while outage.elapsed() < Duration::from_secs(5) {
            _ = a.say("into the void").await;
            // Twenty payloads a second, as long as the outage lasts.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bed.left.lose(0);

        a.say_until_heard(&mut b, "there you are", PATIENCE).await;
        b.say_until_heard(&mut a, "here I am", PATIENCE).await;
    });
}

/// The host gets another address.
#[test]
fn a_host_that_moves_comes_back_by_an_ice_restart() {
    in_network_namespace(async || {
        let (left, right) = cable();
        let mut a = Host::start(&left, options(true, dtls(), &[])).await;
        let mut b = Host::start(&right, options(false, dtls(), &[])).await;
        connect(&mut a, &mut b, PATIENCE).await;
        assert_talks(&mut a, &mut b).await;

        left.ip("address del 10.1.0.1/24 dev eth0");
        left.ip("address add 10.1.0.9/24 dev eth0");
        a.seen.clear();
        b.seen.clear();
        let began = Instant::now();
        a.endpoint.send(RestartEndpointIce).await.unwrap();
        let moved = |host: &Host| {
            host.seen.iter().any(|event| matches!(event, EndpointEvent::NewSelectedPair { .. }))
        };
        carry_until(&mut a, &mut b, PATIENCE, |a, b| moved(a) && moved(b)).await;

        assert!(a.selected().0.starts_with("10.1.0.9") && b.selected().1.starts_with("10.1.0.9"));
        assert_talks(&mut a, &mut b).await;
        println!("back {:?} after the restart", began.elapsed());
    });
}

#[test]
fn a_turn_server_that_dies_is_noticed_and_a_restart_brings_them_back_through_the_next() {
    in_network_namespace(async || {
        for transport in ["udp", "tcp"] {
            let bed = NatBed::new(NatOptions::default(), NatOptions::default());
            let mut coturn = Coturn::start(in_public(&bed)).await;
            let servers = [turn(&coturn.turn_url(transport))];
            let mut a =
                Host::start(&bed.left.client, relay_only(options(true, dtls(), &servers))).await;
            let mut b =
                Host::start(&bed.right.client, relay_only(options(false, dtls(), &servers))).await;
            connect(&mut a, &mut b, PATIENCE).await;
            assert_talks(&mut a, &mut b).await;

            coturn.kill().await;
            let disconnected = |event: &EndpointEvent| {
                matches!(event, EndpointEvent::ComponentDisconnected(_)).then_some(())
            };
            a.until(PATIENCE, disconnected).await;
            assert_eq!(a.say("nobody hears this").await, Err(SendPayloadError::Disconnected));

            coturn.restart().await;
            a.seen.clear();
            b.seen.clear();
            let began = Instant::now();
            a.endpoint.send(RestartEndpointIce).await.unwrap();
            // One of them may not even have noticed the loss.
            let back = |host: &Host| {
                let selected =
                    |event: &EndpointEvent| matches!(event, EndpointEvent::NewSelectedPair { .. });
                host.seen.iter().any(selected)
            };
            carry_until(&mut a, &mut b, PATIENCE, |a, b| back(a) && back(b)).await;
            println!("{transport}: back {:?} after the restart", began.elapsed());
            a.say_until_heard(&mut b, "through the new one", PATIENCE).await;
        }
    });
}

#[test]
fn aioice_connects_in_both_roles_and_echoes() {
    in_network_namespace(async || {
        for (we_control, role) in [(true, "controlled"), (false, "controlling")] {
            let (left, right) = cable();
            let mut ours = Host::start(&left, options(we_control, Plain, &[])).await;
            let mut theirs = PythonPeer::aioice(&right, &["--role", role]);
            meet_aioice(&mut ours, &mut theirs).await;

            ours.say_until_heard_by_aioice("hello").await;

            theirs.tell(serde_json::json!({ "do": "send", "text": "from aioice" })).await;
            while ours.payload(PATIENCE).await != "from aioice" {}
            theirs.finish(PATIENCE).await;
        }
    });
}

#[test]
fn aioice_connects_through_a_turn_server() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let coturn = Coturn::start(in_public(&bed)).await;
        let servers = [turn(&coturn.turn_url("udp"))];
        let address = coturn.address().to_string();
        let arguments = [
            "--role",
            "controlled",
            "--turn",
            &address,
            "--turn-username",
            USER,
            "--turn-password",
            PASSWORD,
            "--relay-only",
        ];
        let mut theirs = PythonPeer::aioice(&bed.right.client, &arguments);
        let mut ours =
            Host::start(&bed.left.client, relay_only(options(true, Plain, &servers))).await;
        meet_aioice(&mut ours, &mut theirs).await;

        ours.say_until_heard_by_aioice("through two relays").await;
        theirs.finish(PATIENCE).await;
    });
}

async fn meet_aioice(ours: &mut Host, theirs: &mut PythonPeer) {
    let gathered = theirs.event("gathered", PATIENCE).await;
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let (credentials, candidates) = ours.gathered().await;
    let of_them =
        Credentials::new(text(&gathered["username"]), text(&gathered["password"])).unwrap();
    ours.endpoint.send(SetRemoteCredentials(of_them)).await.unwrap().unwrap();
    for candidate in gathered["candidates"].as_array().expect("a list") {
        let (component, candidate) = (ComponentId(1), text(candidate));
        ours.endpoint.send(SetRemoteCandidate { component, candidate }).await.unwrap().unwrap();
    }
    theirs.connect(&credentials.ufrag, &credentials.password, &candidates).await;
    theirs.event("connected", PATIENCE).await;
    ours.until(PATIENCE, |event| {
        matches!(event, EndpointEvent::HandshakeFinished { .. }).then_some(())
    })
    .await;
}

impl Host {
    async fn say_until_heard_by_aioice(&mut self, text: &str) {
        self.say(text).await.unwrap();
        let echo = format!("echo:{text}");
        while self.payload(PATIENCE).await != echo {}
    }
}
