//! Tests of the mux on real sockets of the loopback interface.
#![allow(clippy::disallowed_methods, reason = "a test waits by the clock on the wall")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use callboard_supervision::{ChildSpec, Fault, Flags, SupervisorSpec};
use callboard_transport::mux::*;
use futures_util::StreamExt;

fn options() -> UdpMuxOptions {
    UdpMuxOptions { interfaces: InterfaceFilter::with_loopback(), ..UdpMuxOptions::default() }
}

fn local(mux: &MuxHandle) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, mux.port()).into()
}

/// Returns a mux whose sockets are being read.
fn running() -> (MuxHandle, actix::Addr<UdpMux>) {
    let mux = MuxHandle::bind(options()).unwrap();
    let reader = actix::Actor::start(UdpMux::new(mux.clone()));
    (mux, reader)
}

fn stranger() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
}

async fn next(inbox: &mut Inbox) -> Datagram {
    let next = tokio::time::timeout(Duration::from_secs(60), inbox.next()).await;
    next.expect("a datagram in time").expect("the route lives")
}

/// Waits until the mux has fulfilled a condition by itself.
async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come to pass");
        tokio::task::yield_now().await;
    }
}

fn request(username: Option<&str>, transaction: u8) -> Vec<u8> {
    let mut attributes = Vec::new();
    if let Some(name) = username {
        attributes.extend([0, 6]);
        attributes.extend((name.len() as u16).to_be_bytes());
        attributes.extend(name.as_bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    }
    message([0, 1], transaction, &attributes)
}

fn response(transaction: u8) -> Vec<u8> {
    message([1, 1], transaction, &[])
}

fn message(kind: [u8; 2], transaction: u8, attributes: &[u8]) -> Vec<u8> {
    let mut message = kind.to_vec();
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend([transaction; 12]);
    message.extend(attributes);
    message
}

fn send(route: &Route, destination: SocketAddr, contents: &[u8]) -> SendOutcome {
    let source = local(route.mux());
    route.send(Transmit { source, destination, contents })
}

#[actix::test]
async fn each_datagram_finds_its_connection() {
    let (mux, _reader) = running();
    let (one, mut of_one) = mux.open_route(RouteOptions::default());
    let (other, mut of_other) = mux.open_route(RouteOptions::default());
    one.add_ufrag("one").unwrap();
    other.add_ufrag("other").unwrap();
    assert_eq!(other.add_ufrag("one"), Err(AddUfragError));
    let peer = stranger();
    let from = peer.local_addr().unwrap();

    peer.send_to(&request(Some("other:peer"), 1), local(&mux)).unwrap();
    let datagram = next(&mut of_other).await;
    assert_eq!((datagram.source, datagram.destination), (from, local(&mux)));
    assert_eq!(datagram.class, PacketClass::Stun);

    // Two connections check the same address: each gets the response to its own request.
    for (route, transaction) in [(&one, 11), (&other, 22)] {
        assert_eq!(send(route, from, &request(Some("peer:x"), transaction)), SendOutcome::Sent);
    }
    peer.send_to(&response(22), local(&mux)).unwrap();
    peer.send_to(&response(11), local(&mux)).unwrap();
    assert_eq!(next(&mut of_other).await.contents, response(22));
    assert_eq!(next(&mut of_one).await.contents, response(11));

    // Everything else is routed by its address; the latest route to have validated it gets it.
    one.validate(from);
    peer.send_to(&[128, 1], local(&mux)).unwrap();
    assert_eq!(next(&mut of_one).await.class, PacketClass::Rtp);
    other.validate(from);
    peer.send_to(&[22, 2], local(&mux)).unwrap();
    assert_eq!(next(&mut of_other).await.class, PacketClass::Dtls);
    assert!(of_one.is_empty());

    drop(other);
    assert!(of_other.next().await.is_none(), "its inbox ends");
    peer.send_to(&[22, 3], local(&mux)).unwrap();
    until(|| mux.counters().unknown_source == 1).await;
    drop(one);
    assert_eq!(mux.routes(), 0);
}

#[actix::test]
async fn requests_in_a_batch_get_their_responses() {
    let (mux, _reader) = running();
    let (route, mut inbox) = mux.open_route(RouteOptions::default());
    let peer = stranger();
    let (source, destination) = (local(&mux), peer.local_addr().unwrap());
    let batch = [request(None, 1), request(None, 2)].concat();
    let transmit = Transmit { source, destination, contents: &batch[..] };

    assert_eq!(route.send_segments(transmit, batch.len() / 2), SendOutcome::Sent);

    for transaction in [2, 1] {
        peer.send_to(&response(transaction), source).unwrap();
        assert_eq!(next(&mut inbox).await.contents, response(transaction));
    }
}

#[actix::test]
async fn a_full_inbox_keeps_the_newest() {
    let (mux, _reader) = running();
    let (route, mut inbox) =
        mux.open_route(RouteOptions { datagrams: 4, ..RouteOptions::default() });
    let peer = stranger();
    route.validate(peer.local_addr().unwrap());
    for number in 0..10 {
        peer.send_to(&[128, number], local(&mux)).unwrap();
    }
    until(|| mux.counters().received == 10).await;

    let kept: Vec<u8> =
        std::iter::from_fn(|| inbox.try_recv()).map(|datagram| datagram.contents[1]).collect();

    assert_eq!(kept, [6, 7, 8, 9]);
    assert_eq!((inbox.dropped(), mux.counters().inbox_full), (6, 6));
}

#[actix::test]
async fn one_call_sends_many_datagrams_and_each_arrives() {
    let (mux, _reader) = running();
    let (route, mut inbox) = mux.open_route(RouteOptions::default());
    route.validate(local(&mux));
    let contents: Vec<u8> =
        (0..10_u8).flat_map(|number| [[128, number].repeat(500), vec![number]].concat()).collect();
    let (source, destination) = (local(&mux), local(&mux));

    let transmit = Transmit { source, destination, contents: &contents[..] };
    let outcome = route.send_segments(transmit, 1_001);

    assert_eq!(outcome, SendOutcome::Sent);
    for number in 0..10 {
        let datagram = next(&mut inbox).await;
        assert_eq!(
            (datagram.contents.len(), datagram.contents[1], datagram.contents[1_000]),
            (1_001, number, number)
        );
    }
    assert_eq!(mux.counters().sent, 10);
}

#[actix::test]
async fn ipv6_shares_the_port() {
    let (mux, _reader) = running();
    let (route, mut inbox) = mux.open_route(RouteOptions::default());
    let peer = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let (from, to) =
        (peer.local_addr().unwrap(), SocketAddr::from((Ipv6Addr::LOCALHOST, mux.port())));
    route.validate(from);
    peer.send_to(&[128], to).unwrap();

    let datagram = next(&mut inbox).await;

    assert_eq!((datagram.source, datagram.destination), (from, to));
    let back = Transmit { source: to, destination: from, contents: &b"back"[..] };
    assert_eq!(route.send(back), SendOutcome::Sent);
    let mut buffer = [0; 16];
    assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, to));
    assert!(mux.host_addresses().contains(&to));
}

#[actix::test]
async fn an_announced_address_stands_for_ours() {
    let public: IpAddr = "203.0.113.7".parse().unwrap();
    let mux = MuxHandle::bind(UdpMuxOptions { announced: vec![public], ..options() }).unwrap();
    let _reader = actix::Actor::start(UdpMux::new(mux.clone()));
    let advertised = SocketAddr::new(public, mux.port());
    let of_v4: Vec<SocketAddr> =
        mux.host_addresses().into_iter().filter(SocketAddr::is_ipv4).collect();
    assert_eq!(of_v4, [advertised]);
    let (route, mut inbox) = mux.open_route(RouteOptions::default());
    let peer = stranger();
    let from = peer.local_addr().unwrap();
    route.validate(from);
    peer.send_to(&[128], local(&mux)).unwrap();

    assert_eq!(next(&mut inbox).await.destination, advertised);

    let back = Transmit { source: advertised, destination: from, contents: &b"back"[..] };
    assert_eq!(route.send(back), SendOutcome::Sent);
    assert_eq!(peer.recv_from(&mut [0; 16]).unwrap(), (4, local(&mux)));
}

#[test]
fn ports_are_chosen_as_told_and_errors_say_what_is_wrong() {
    let taken = MuxHandle::bind(options()).unwrap();
    let port = taken.port();
    let fixed = MuxHandle::bind(UdpMuxOptions { port: PortChoice::Fixed(port), ..options() });
    assert!(matches!(fixed, Err(BindError::Bind { port: of, .. }) if of == port));
    let range = PortChoice::Range(port..=port);
    assert!(matches!(
        MuxHandle::bind(UdpMuxOptions { port: range, ..options() }),
        Err(BindError::NoFreePort(_))
    ));
    let range = PortChoice::Range(port..=port.saturating_add(50));
    let next = MuxHandle::bind(UdpMuxOptions { port: range, ..options() }).unwrap();
    assert!(next.port() > port);
    let announced = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    assert!(matches!(
        MuxHandle::bind(UdpMuxOptions { announced, ..options() }),
        Err(BindError::BadAnnounced(_))
    ));
}

/// A datagram that cannot be sent is lost, and nothing else ends.
#[actix::test]
async fn what_cannot_be_sent_is_counted_and_nothing_ends() {
    let (mux, _reader) = running();
    let (route, mut inbox) = mux.open_route(RouteOptions::default());
    let peer = stranger();
    let from = peer.local_addr().unwrap();
    route.validate(from);
    let source = local(&mux);
    let lost = |source: &str, destination: &str, contents: &[u8]| {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let outcome = route.send(Transmit { source, destination, contents });
        assert!(matches!(outcome, SendOutcome::Dropped(_)), "{source} {destination}: {outcome:?}");
    };
    let ours = source.to_string();
    // Port 0; another family; a source that is not ours; a network without a route; broadcast; too long.
    lost(&ours, "127.0.0.1:0", b"x");
    lost(&ours, "[::1]:9", b"x");
    lost("192.0.2.77:9", "127.0.0.1:9", b"x");
    lost(&ours, "255.255.255.255:9", b"x");
    lost(&ours, &from.to_string(), &[0; 65_508]);

    let counters = mux.counters();
    assert_eq!(counters.sent, 0);
    assert_eq!(counters.no_socket + counters.too_long + counters.system_errors, 5, "{counters:?}");
    assert!(counters.too_long == 1 && counters.no_socket == 3, "{counters:?}");

    // A closed port leaves an error on the socket; the next datagram goes out nevertheless.
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for _ in 0..10 {
        send(&route, closed, b"anybody?");
        assert_eq!(send(&route, from, b"still here"), SendOutcome::Sent);
        assert_eq!(peer.recv_from(&mut [0; 16]).unwrap().0, 10);
    }
    peer.send_to(&[128], source).unwrap();
    assert_eq!(next(&mut inbox).await.contents, [128][..]);
    let big = vec![7; 3_000];
    let batch = Transmit { source, destination: from, contents: &big[..] };
    assert_eq!(route.send_segments(batch, 1_000), SendOutcome::Sent, "batches still work");
}

#[actix::test]
async fn a_reader_that_dies_is_replaced_and_port_and_routes_stay() {
    let mux = MuxHandle::bind(options()).unwrap();
    let reading = mux.clone();
    let tree = SupervisorSpec::new(Flags::one_for_one().intensity(10, Duration::from_secs(60)))
        .child(ChildSpec::new("udp", move || UdpMux::new(reading.clone())))
        .start()
        .await
        .unwrap();
    let (route, mut inbox) = mux.open_route(RouteOptions::default());
    let peer = stranger();
    route.validate(peer.local_addr().unwrap());
    for fault in [Fault::Panic("injected".to_owned()), Fault::Kill] {
        tree.inject("udp", fault).await.unwrap();
        // Also datagrams that arrive while no reader runs.
        peer.send_to(&[128, 1], local(&mux)).unwrap();
        assert_eq!(next(&mut inbox).await.contents, [128, 1][..]);
        until(|| tree.child::<UdpMux>("udp").is_ok_and(|reader| reader.is_running())).await;
    }
    tree.stop().await;
}
