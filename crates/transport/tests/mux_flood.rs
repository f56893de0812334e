//! Test of a flood of STUN requests. A separate test, since it measures the memory of its process.
#![allow(clippy::disallowed_methods, reason = "a test waits by the clock on the wall")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use callboard_transport::mux::*;

#[actix::test]
async fn t7_requests_for_no_connection_are_not_answered_and_cost_no_memory() {
    let mux = MuxHandle::bind(UdpMuxOptions {
        interfaces: InterfaceFilter::with_loopback(),
        ..Default::default()
    })
    .unwrap();
    let _reader = actix::Actor::start(UdpMux::new(mux.clone()));
    let (route, inbox) = mux.open_route(RouteOptions::default());
    route.add_ufrag("right").unwrap();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, mux.port()));
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_nonblocking(true).unwrap();
    let request = |name: &str, number: u32| {
        let mut attributes = vec![0, 6];
        attributes.extend((name.len() as u16).to_be_bytes());
        attributes.extend(name.as_bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        if name.is_empty() {
            attributes.clear();
        }
        let mut request = vec![0, 1];
        request.extend((attributes.len() as u16).to_be_bytes());
        request.extend([0x21, 0x12, 0xa4, 0x42]);
        request.extend([number.to_be_bytes(), [0; 4], [0; 4]].concat());
        request.extend(attributes);
        request
    };
    let flood = async |name: &str, wanted: u64| {
        let before = mux.counters().received;
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut number = 0;
        while mux.counters().received - before < wanted {
            assert!(Instant::now() < deadline, "{:?}", mux.counters());
            for _ in 0..64 {
                _ = peer.send_to(&request(name, number), target);
                number += 1;
            }
            tokio::task::yield_now().await;
        }
    };
    flood("", 1_000).await;
    let before = resident();

    flood("", 100_000).await;
    flood("wrong:name", 100_000).await;
    // With a valid user name: only the connection can see whether a request is genuine. It does not read, and the
    // newest are kept.
    flood("right:name", 100_000).await;

    let counters = mux.counters();
    assert!(counters.unknown_ufrag >= 201_000 && counters.inbox_full >= 90_000, "{counters:?}");
    assert_eq!(counters.sent, 0);
    assert!(peer.recv(&mut [0; 100]).is_err(), "nobody is answered");
    assert!(inbox.len() <= 1_024);
    let grown = resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes more after 300,000 requests");
}

/// Returns the resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
