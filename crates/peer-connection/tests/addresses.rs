//! Tests of ports and addresses of connections.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod peers;

use callboard_ice_handshake::handshake::Certificate;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_transport::mux::*;
use peers::*;

#[actix::test]
async fn announced_addresses_are_told_in_place_of_the_interfaces() {
    let announced = vec!["203.0.113.7".parse().unwrap()];
    let sockets = UdpMuxOptions { announced, ..UdpMuxOptions::default() };
    let options =
        PeerConnectionsOptions { media_threads: 1, sockets, ..PeerConnectionsOptions::default() };
    let pool = PeerConnections::start(options).await.unwrap();
    let mut a = Peer::open(&pool, &Api::default()).await;
    a.send(CreateDataChannel::new("x")).await.unwrap();
    a.send(SetLocalDescription(None)).await.unwrap();
    let found = a
        .until(|event| match event {
            ConnectionEvent::IceCandidate(Some(candidate)) => Some(candidate.candidate.clone()),
            _ => None,
        })
        .await;
    assert!(found.contains(&format!("203.0.113.7 {} typ host", pool.ports()[0])), "{found}");
    pool.stop().await;
}

#[actix::test]
async fn a_lite_agent_and_one_over_ipv6_connect() {
    let lite = ApiSettings { ice_lite: true, ..ApiSettings::default() };
    let lite = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), lite);
    let sockets = UdpMuxOptions { ip_families: IpFamilies::V6, ..UdpMuxOptions::default() };
    let options =
        PeerConnectionsOptions { media_threads: 2, sockets, ..PeerConnectionsOptions::default() };
    for (pool, api) in [(pool().await, lite), (pool_with(options).await, Api::default())] {
        let mut a = Peer::open(&pool, &Api::default()).await;
        let mut b = Peer::open(&pool, &api).await;
        let channel = a.send(CreateDataChannel::new("x")).await.unwrap();
        negotiate(&mut a, &mut b).await;
        connect(&mut a, &mut b).await;
        a.until(opened).await;
        talks(&mut a, &mut b, channel, "hello").await;
        pool.stop().await;
    }
}

/// All connections have one certificate and one port; each peer has a port of its own.
#[actix::test]
async fn twelve_connections_share_a_port() {
    let alone = PeerConnectionsOptions { media_threads: 1, ..PeerConnectionsOptions::default() };
    let one = pool_with(alone).await;
    let many = PeerConnectionsOptions { media_threads: 12, ..PeerConnectionsOptions::default() };
    let many = pool_with(many).await;
    let certificate = Certificate::generate().unwrap();
    let mut pairs = Vec::new();
    for at in 0..12 {
        let certificate = Some(certificate.clone());
        let configuration = Configuration { certificate, ..Configuration::default() };
        let mut a = Peer::open_on(&one, 0, configuration).await;
        let mut b = Peer::open_on(&many, at, Configuration::default()).await;
        let channel = a.send(CreateDataChannel::new("x")).await.unwrap();
        negotiate(&mut a, &mut b).await;
        pairs.push((a, b, channel));
    }
    for (a, b, _) in &mut pairs {
        connect(a, b).await;
        a.until(opened).await;
    }
    for (a, b, channel) in &mut pairs {
        let text = format!("from {}", a.connection.id());
        talks(a, b, *channel, &text).await;
    }
    // No peer receives what belongs to another.
    for (_, b, _) in &pairs {
        assert_eq!(b.told.iter().filter_map(message).count(), 1);
    }
    one.stop().await;
    many.stop().await;
}
