//! The ClientHello race over real sockets: a third party sends forged hellos and other datagrams while two endpoints
//! shake hands, from another address and in the name of one of them.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "../../crates/ice-handshake/tests/forgery/mod.rs"]
mod forgery;
mod hosts;
mod spoof;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::endpoint::EndpointOptions;
use callboard_ice_handshake::handshake::*;
use forgery::{Forged, Forger};
use hosts::*;
use integration_tests::{Moment, Namespace, in_network_namespace, until};
use spoof::{Attacker, ReceiveQueue, address_in, as_it_is_read, in_the_name};

fn hellos(version: Option<Version>, of: Role, count: usize) -> Vec<Bytes> {
    let dtls = || version.into_iter().fold(dtls().any_certificate().cookie(false), Dtls::version);
    let packets = |step| match step {
        Step::Packets(packets) => packets,
        step => panic!("no packets: {step:?}"),
    };
    let now = Instant::now();
    (0..count)
        .map(|_| {
            let client_hello = packets(dtls().start(Role::Client).connection_ready(now)).remove(0);
            match of {
                Role::Client => client_hello,
                Role::Server => {
                    packets(dtls().start(Role::Server).recv_from_peer(now, &client_hello)).remove(0)
                }
            }
        })
        .collect()
}

/// Repeats the same datagrams without end.
fn again(datagrams: Vec<Bytes>) -> impl Iterator<Item = Bytes> + Send {
    let mut at = 0;
    std::iter::repeat_with(move || {
        at += 1;
        datagrams[at % datagrams.len()].clone()
    })
}

/// Connects `a` on the left and `b` on the right while these datagrams come to `a` in the name of `b`, and then has
/// them talk. Prints how long connecting took, and how many datagrams came.
async fn connect_while_attacked(
    what: &str,
    [left, right]: [&Namespace; 2],
    [a, b]: [EndpointOptions; 2],
    datagrams: impl Iterator<Item = Bytes> + Send + 'static,
) {
    let mut a = Host::start(left, a).await;
    let mut b = Host::start(right, b).await;
    let (_, of_a) = a.gathered().await;
    let (_, of_b) = b.gathered().await;
    let (target, name) = (address_in(&of_a[0]), address_in(&of_b[0]));
    let queue = ReceiveQueue::of(target, left);
    let send = as_it_is_read(in_the_name(name, target), queue);
    let attacker = Attacker::start(right, datagrams, send);
    attacker.has_begun().await;
    let began = Instant::now();
    for (from, to) in [(&a, &b), (&b, &a)] {
        for event in &from.seen {
            carry(event, &to.endpoint).await;
        }
    }

    carry_until(&mut a, &mut b, PATIENCE, |a, b| a.is_connected() && b.is_connected()).await;

    println!("{what}: {:?}, {} forged", began.elapsed(), attacker.sent());
    for phase in ["while attacked", "still"] {
        // In both phases: before the first data, and after it.
        let before = attacker.sent();
        until("more that is forged", PATIENCE, async || match attacker.sent() - before {
            count @ 0..100 => Moment::NotYet(format!("{count}")),
            _ => Moment::Now(()),
        })
        .await;
        a.say_until_heard(&mut b, phase, PATIENCE).await;
        b.say_until_heard(&mut a, phase, PATIENCE).await;
    }
    drop(attacker);
    a.say_until_heard(&mut b, "undisturbed", PATIENCE).await;
}

#[test]
fn t2_hellos_in_the_peers_name_change_nothing_in_either_role_and_any_version() {
    in_network_namespace(async || {
        let (left, right) = (Namespace::new(), Namespace::new());
        left.connect(("eth0", "10.1.0.1/24"), &right, ("eth0", "10.1.0.2/24"));
        for version in [Some(Version::Dtls12), Some(Version::Dtls13), None] {
            for (role, other) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
                for forged in [Role::Client, Role::Server] {
                    let dtls = |role| version.into_iter().fold(dtls().role(role), Dtls::version);
                    let (a, b) = (options(true, dtls(role), &[]), options(false, dtls(other), &[]));
                    let what = format!("we are {role:?}, {version:?}, hello of a {forged:?}");
                    let forged = again(hellos(version, forged, 5));
                    connect_while_attacked(&what, [&left, &right], [a, b], forged).await;
                }
            }
        }
    });
}

#[test]
fn t2c_different_datagrams_in_the_peers_name_change_nothing_in_either_role_and_any_version() {
    in_network_namespace(async || {
        let (left, right) = (Namespace::new(), Namespace::new());
        left.connect(("eth0", "10.1.0.1/24"), &right, ("eth0", "10.1.0.2/24"));
        for version in [Some(Version::Dtls12), Some(Version::Dtls13), None] {
            for (role, other, kinds) in
                [(Role::Client, Role::Server, TO_CLIENTS), (Role::Server, Role::Client, TO_SERVERS)]
            {
                for &kind in kinds {
                    let dtls = |role| version.into_iter().fold(dtls().role(role), Dtls::version);
                    let theirs = dtls(other);
                    let certificate = theirs.certificate().certificate().to_vec();
                    let (a, b) = (options(true, dtls(role), &[]), options(false, theirs, &[]));
                    let what = format!("we are {role:?}, {version:?}, {kind:?}");
                    let hello = hellos(version, Role::Client, 1)[0].to_vec();
                    let mut forger = Forger::new(kind as u64, role, hello, &certificate);
                    let forged = std::iter::repeat_with(move || forger.forge(kind));
                    connect_while_attacked(&what, [&left, &right], [a, b], forged).await;
                }
            }
        }
    });
}

#[test]
fn t1_t5_hellos_from_elsewhere_during_a_hundred_call_set_ups_are_dropped_and_not_answered() {
    in_network_namespace(async || {
        let (left, right) = (Namespace::new(), Namespace::new());
        left.connect(("eth0", "10.1.0.1/24"), &right, ("eth0", "10.1.0.2/24"));
        let mux = {
            let left = left.clone();
            thread::spawn(move || {
                left.enter();
                callboard_transport::mux::MuxHandle::bind(Default::default()).unwrap()
            })
            .join()
            .unwrap()
        };
        // There the reader has a thread of its own, as a media thread does.
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let reader = {
            let (left, mux) = (left.clone(), mux.clone());
            thread::spawn(move || {
                left.enter();
                actix::System::new().block_on(async move {
                    let _reader = actix::Actor::start(callboard_transport::mux::UdpMux::new(mux));
                    _ = ended.await;
                });
            })
        };
        let answered = Arc::new(AtomicU64::new(0));
        let (port, heard) = (mux.port(), Arc::clone(&answered));
        let attacker = Attacker::start(&right, again(hellos(None, Role::Client, 20)), move || {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::new(10, 1, 0, 2), 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            move |contents: &[u8]| {
                _ = socket.send_to(contents, (Ipv4Addr::new(10, 1, 0, 1), port));
                while socket.recv(&mut [0; 2_048]).is_ok() {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let mut shared = options(true, dtls(), &[]);
            shared.mux = Some(mux.clone());
            let mut a = Host::start(&left, shared).await;
            let mut b = Host::start(&right, options(false, dtls(), &[])).await;
            longest = longest.max(connect(&mut a, &mut b, PATIENCE).await);
        }
        let sent = attacker.sent();
        drop(attacker);
        let dropped = mux.counters().unknown_source;
        println!(
            "{sent} hellos from elsewhere, {dropped} dropped; the longest of 100 set-ups took {longest:?}"
        );
        assert!(dropped > 0 && answered.load(Ordering::Relaxed) == 0);
        drop(end);
        reader.join().unwrap();
    });
}

const TO_CLIENTS: &[Forged] = &[
    Forged::HelloVerifyRequest,
    Forged::ServerHello12,
    Forged::ServerHello13,
    Forged::Certificate,
    Forged::ServerKeyExchange,
    Forged::ServerFlight12,
    Forged::ServerFlight13,
    Forged::Mixed,
];
/// Hellos have the version that is spoken.
const TO_SERVERS: &[Forged] = &[
    Forged::Hello,
    Forged::UnacceptableHello,
    Forged::CookieHello,
    Forged::Certificate,
    Forged::ClientFlight,
    Forged::Mixed,
];
