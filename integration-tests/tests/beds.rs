//! Tests of the test beds: what a test may rely on when it runs behind NATs, with loss, and with a real TURN server.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use integration_tests::coturn::{Access, CoturnOptions, PASSWORD, USER};
use integration_tests::nat::{Mapping, NatOptions, PUBLIC_ADDRESS};
use integration_tests::{
    Coturn, Moment, Namespace, NatBed, PATIENCE, PythonPeer, in_network_namespace, program, stun,
    until,
};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::time::timeout;

#[test]
fn a_host_behind_a_nat_is_seen_under_the_address_of_its_router() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let public = bed.public.udp_socket((PUBLIC_ADDRESS, 0));

        for side in [&bed.left, &bed.right] {
            let host = side.client.udp_socket((side.client_address, 0));
            host.send_to(b"hello", public.local_addr().unwrap()).await.unwrap();
            let from = echo(&public).await;

            assert_eq!(from.ip(), side.router_address);
            assert_eq!(receive(&host).await, Some(b"hello".to_vec()));
        }
    });
}

#[test]
fn a_nat_lets_in_only_those_its_host_has_written_to() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let friend = bed.public.udp_socket((PUBLIC_ADDRESS, 0));
        let stranger = bed.public.udp_socket((PUBLIC_ADDRESS, 0));
        let host = bed.left.client.udp_socket((bed.left.client_address, 0));
        host.send_to(b"hello", friend.local_addr().unwrap()).await.unwrap();
        let mapped = receive_from(&friend).await.expect("a datagram").1;

        stranger.send_to(b"from a stranger", mapped).await.unwrap();
        friend.send_to(b"from a friend", mapped).await.unwrap();

        assert_eq!(receive(&host).await, Some(b"from a friend".to_vec()));
    });
}

#[test]
fn hosts_behind_nats_that_keep_the_port_reach_each_other_and_behind_random_ports_they_do_not() {
    in_network_namespace(async || {
        for (mapping, reached) in [(Mapping::SamePort, true), (Mapping::RandomPort, false)] {
            let options = NatOptions { mapping, ..NatOptions::default() };
            let bed = NatBed::new(options, options);
            let coturn = Coturn::start(in_public(&bed)).await;
            let mut hosts = Vec::new();
            for side in [&bed.left, &bed.right] {
                let socket = side.client.udp_socket((side.client_address, 0));
                let mapped = stun::mapped_address(&socket, coturn.address(), PATIENCE).await;
                let mapped = mapped.unwrap().expect("an answer of coturn");
                assert_eq!(mapped.ip(), side.router_address);
                hosts.push((socket, mapped));
            }
            let [(left, left_mapped), (right, right_mapped)] = &hosts[..] else { unreachable!() };

            // The first opens the mapping for the second, and is itself dropped by the other router.
            left.send_to(b"first", right_mapped).await.unwrap();
            right.send_to(b"second", left_mapped).await.unwrap();
            left.send_to(b"third", right_mapped).await.unwrap();

            let third = b"third".to_vec();
            let within = if reached { PATIENCE } else { SILENCE };
            let received = receive_within(within, right).await.map(|(bytes, _)| bytes);
            assert_eq!(received == Some(third), reached, "{mapping:?}");
        }
    });
}

#[test]
fn a_router_that_loses_packets_loses_about_as_many_as_it_is_told() {
    in_network_namespace(async || {
        let lossy = NatOptions { loss: 20, ..NatOptions::default() };
        let bed = NatBed::new(lossy, NatOptions::default());
        let public = bed.public.udp_socket((PUBLIC_ADDRESS, 0));
        let host = bed.left.client.udp_socket((bed.left.client_address, 0));

        assert!((700..=900).contains(&arrived(&host, &public).await));
        bed.left.lose(0);
        assert_eq!(arrived(&host, &public).await, 1000);
        bed.left.lose(100);
        assert_eq!(arrived(&host, &public).await, 0);
    });
}

/// Returns how many of 1,000 datagrams arrive. They are sent a hundred at a time, which fit the receiver's buffer.
async fn arrived(from: &UdpSocket, to: &UdpSocket) -> usize {
    let address = to.local_addr().unwrap();
    let mut arrived = 0;
    let mut all_within = async |at_most: usize, silence: Duration| {
        while arrived < at_most && timeout(silence, to.recv_from(&mut [0; 100])).await.is_ok() {
            arrived += 1;
        }
    };
    for hundreds in 1..=10 {
        for _ in 0..100 {
            from.send_to(b"one of a thousand", address).await.unwrap();
        }
        all_within(hundreds * 100, SILENCE / 10).await;
    }
    // On a busy machine some are late.
    all_within(1_000, SILENCE).await;
    arrived
}

#[test]
fn coturn_answers_again_on_the_same_port_after_it_was_killed() {
    in_network_namespace(async || {
        let mut coturn = Coturn::start(CoturnOptions::default()).await;
        let address = coturn.address();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = socket.local_addr().unwrap();
        let ask = async |within| stun::mapped_address(&socket, address, within).await;
        assert_eq!(ask(PATIENCE).await.unwrap(), Some(own));

        coturn.kill().await;
        assert!(!matches!(ask(SILENCE).await, Ok(Some(_))), "a killed server answers");

        coturn.restart().await;
        assert_eq!(coturn.address(), address);
        until("an answer", PATIENCE, async || match ask(SILENCE).await {
            Ok(Some(mapped)) if mapped == own => Moment::Now(()),
            other => Moment::NotYet(format!("{other:?}")),
        })
        .await;
    });
}

#[test]
fn coturn_relays_over_udp_tcp_and_tls_for_users_with_the_right_password() {
    in_network_namespace(async || {
        let coturn = Coturn::start(CoturnOptions::default()).await;
        let (plain, tls) = (coturn.address().port(), coturn.tls_address().port());
        let user = &["-u", USER, "-w", PASSWORD];
        let relayed = tokio::join!(
            relays(&[], plain, user),
            relays(&["-t"], plain, user),
            relays(&["-t", "-S"], tls, user),
            relays(&[], plain, &["-u", USER, "-w", "wrong"]),
        );
        assert_eq!(relayed, (true, true, true, false));
    });
}

#[test]
fn coturn_relays_for_clients_that_know_its_secret() {
    in_network_namespace(async || {
        let access = Access::Secret("a secret".to_owned());
        let coturn = Coturn::start(CoturnOptions { access, ..CoturnOptions::default() }).await;
        let port = coturn.address().port();
        let relayed = tokio::join!(
            relays(&[], port, &["-u", USER, "-W", "a secret"]),
            relays(&[], port, &["-u", USER, "-W", "another"]),
        );
        assert_eq!(relayed, (true, false));
    });
}

#[test]
fn two_aioice_peers_connect_and_echo() {
    in_network_namespace(async || {
        let here = Namespace::current();
        let left = PythonPeer::aioice(&here, &["--role", "controlling"]);
        let right = PythonPeer::aioice(&here, &["--role", "controlled"]);

        let (mut left, mut right) = connected(left, right).await;

        left.tell(json!({ "do": "send", "text": "hello" })).await;
        assert_eq!(right.event("received", PATIENCE).await["text"], "hello");
        assert_eq!(left.event("received", PATIENCE).await["text"], "echo:hello");
        left.finish(PATIENCE).await;
        right.finish(PATIENCE).await;
    });
}

#[test]
fn aioice_peers_behind_nats_connect_as_real_peers_do() {
    in_network_namespace(async || {
        for (mapping, kind) in [(Mapping::SamePort, "srflx"), (Mapping::RandomPort, "relay")] {
            let options = NatOptions { mapping, ..NatOptions::default() };
            let bed = NatBed::new(options, options);
            let coturn = Coturn::start(in_public(&bed)).await;
            let address = coturn.address().to_string();
            let servers = ["--stun", &address, "--turn", &address];
            let user = ["--turn-username", USER, "--turn-password", PASSWORD];
            let start = |namespace: &Namespace, role| {
                let arguments = [&["--role", role][..], &servers, &user].concat();
                PythonPeer::aioice(namespace, &arguments)
            };
            let left = start(&bed.left.client, "controlling");
            let right = start(&bed.right.client, "controlled");

            let (mut left, mut right) = connected_over(kind, left, right).await;

            left.tell(json!({ "do": "send", "text": "hello" })).await;
            assert_eq!(left.event("received", PATIENCE).await["text"], "echo:hello");
            left.finish(PATIENCE).await;
            right.finish(PATIENCE).await;
        }
    });
}

#[test]
fn an_aioice_peer_gathers_from_coturn_over_tcp_and_tls() {
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let coturn = Coturn::start(in_public(&bed)).await;
        let certificate = coturn.certificate();
        for (address, tls) in [(coturn.address(), None), (coturn.tls_address(), Some("--turn-tls"))]
        {
            let address = address.to_string();
            let mut arguments = vec!["--role", "controlling", "--turn-transport", "tcp", "--turn"];
            arguments.extend([&*address, "--turn-username", USER, "--turn-password", PASSWORD]);
            arguments.extend(["--relay-only"].into_iter().chain(tls));
            let mut peer = PythonPeer::start(
                &bed.left.client,
                "aioice_peer.py",
                &arguments,
                &[("SSL_CERT_FILE", certificate.as_os_str())],
            );

            let gathered = peer.event("gathered", PATIENCE).await;

            assert!(gathered["candidates"][0].as_str().is_some_and(|it| it.contains("typ relay")));
            peer.finish(PATIENCE).await;
        }
    });
}

async fn connected(left: PythonPeer, right: PythonPeer) -> (PythonPeer, PythonPeer) {
    connected_over("host", left, right).await
}

/// Exchanges the candidates of the two, and waits until the first has selected a pair with
/// candidates of this kind in it.
async fn connected_over(
    kind: &str,
    mut left: PythonPeer,
    mut right: PythonPeer,
) -> (PythonPeer, PythonPeer) {
    let (of_left, of_right) =
        tokio::join!(left.event("gathered", PATIENCE), right.event("gathered", PATIENCE));
    for (peer, of_other) in [(&mut left, of_right), (&mut right, of_left)] {
        let text = |name: &str| of_other[name].as_str().unwrap().to_owned();
        let candidates: Vec<String> =
            serde_json::from_value(of_other["candidates"].clone()).unwrap();
        peer.connect(&text("username"), &text("password"), &candidates).await;
    }
    let (pair, _) =
        tokio::join!(left.event("connected", PATIENCE), right.event("connected", PATIENCE));
    assert!(pair.to_string().contains(&format!("typ {kind}")), "{pair}");
    (left, right)
}

/// Returns whether a packet of coturn's own client gets through the relay.
async fn relays(transport: &[&str], port: u16, credentials: &[&str]) -> bool {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = program::of_the_machine("turnutils_uclient", "coturn");
    let here = Namespace::current();
    let mut client = Command::from(here.command(client))
        .args(["-c", "-m", "1", "-n", "1000", "-p", &port.to_string()])
        .args(["-e", "127.0.0.1", "-r", &peer.local_addr().unwrap().port().to_string()])
        .args(transport)
        .args(credentials)
        .arg("127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nsenter and setpriv, which come with util-linux, start");
    let relayed = async {
        tokio::select! {
            _ = peer.readable() => true,
            _ = client.wait() => false,
        }
    };
    timeout(PATIENCE, relayed).await.unwrap_or(false)
}

fn in_public(bed: &NatBed) -> CoturnOptions {
    CoturnOptions {
        namespace: bed.public.clone(),
        address: PUBLIC_ADDRESS,
        ..CoturnOptions::default()
    }
}

async fn echo(socket: &UdpSocket) -> SocketAddr {
    let (bytes, from) = receive_from(socket).await.expect("a datagram");
    socket.send_to(&bytes, from).await.unwrap();
    from
}

async fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    receive_from(socket).await.map(|(bytes, _)| bytes)
}

async fn receive_from(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    receive_within(PATIENCE, socket).await
}

async fn receive_within(within: Duration, socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 1500];
    let received = timeout(within, socket.recv_from(&mut buffer)).await.ok()?;
    let (length, from) = received.expect("a working socket");
    Some((buffer[..length].to_vec(), from))
}

/// Silence after which no more is expected: long beside the delay of a datagram within one machine.
const SILENCE: Duration = Duration::from_secs(2);
