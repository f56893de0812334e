//! Tests of faults of a connection, its handshake or its owner, and of their effects on others.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod peers;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_ice_handshake::handshake::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_supervision::Fault;
use peers::*;
use tokio::sync::{mpsc, oneshot};

fn connection_state(event: &ConnectionEvent) -> Option<PeerConnectionState> {
    match event {
        ConnectionEvent::ConnectionStateChange(state) => Some(*state),
        _ => None,
    }
}

fn failed(event: &ConnectionEvent) -> Option<()> {
    (connection_state(event) == Some(PeerConnectionState::Failed)).then_some(())
}

/// Misbehaviour of a handshake.
#[derive(Clone, Copy, Debug)]
enum Mischief {
    Panic,
    Hang,
    Block,
    Fail,
}

/// Whether the blocked thread may go on.
static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

struct Mischievous(Mischief);

impl HandshakeFactory for Mischievous {
    fn new_handshake(&self, _: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Self(self.0))
    }
}

impl Handshake for Mischievous {
    fn connection_ready(&mut self, _: Instant) -> Step {
        match self.0 {
            Mischief::Panic => panic!("as it was told to"),
            Mischief::Hang => Step::Ok,
            Mischief::Block => {
                let (released, told) = &RELEASED;
                drop(told.wait_while(released.lock().unwrap(), |released| !*released));
                Step::Ok
            }
            Mischief::Fail => Step::Failed(HandshakeError::custom("not today")),
        }
    }

    fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
        Step::Ok
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        unreachable!("it never finishes")
    }
}

/// Starts a pool with four ports, so that two pairs can be told apart by their addresses.
async fn four_ports() -> PeerConnections {
    let options = PeerConnectionsOptions {
        media_threads: 4,
        handshake_deadline: Duration::from_secs(3),
        ..PeerConnectionsOptions::default()
    };
    pool_with(options).await
}

/// Returns two connected connections, on this port and the next.
async fn pair(pool: &PeerConnections, thread: usize) -> (Peer, Peer, DataChannelId) {
    let mut a = Peer::open_on(pool, thread, Configuration::default()).await;
    let mut b = Peer::open_on(pool, thread + 1, Configuration::default()).await;
    let channel = a.send(CreateDataChannel::new("x")).await.unwrap();
    negotiate(&mut a, &mut b).await;
    connect(&mut a, &mut b).await;
    a.until(opened).await;
    (a, b, channel)
}

#[actix::test]
async fn a_handshake_that_misbehaves_fails_its_connection_and_no_other() {
    let pool = four_ports().await;
    let (mut c, mut d, channel) = pair(&pool, 0).await;
    for mischief in [Mischief::Panic, Mischief::Hang, Mischief::Block, Mischief::Fail] {
        let configuration = Configuration {
            handshake: Some(Arc::new(Mischievous(mischief))),
            ..Configuration::default()
        };
        let mut a = Peer::open_on(&pool, 2, configuration).await;
        let mut b = Peer::open_on(&pool, 3, Configuration::default()).await;
        a.send(CreateDataChannel::new("x")).await.unwrap();
        negotiate(&mut a, &mut b).await;
        carry_until(&mut a, &mut b, |a, _| a.told.iter().any(|event| failed(event).is_some()))
            .await;
        talks(&mut c, &mut d, channel, &format!("{mischief:?}")).await;
        // It has failed, and still answers and can be closed.
        assert_eq!(a.send(GetConnectionState).await, PeerConnectionState::Failed);
        a.connection.close().await;
        assert_eq!(a.until(closed).await, CloseReason::Closed);
        b.connection.close().await;
        b.gone().await;
    }
    *RELEASED.0.lock().unwrap() = true;
    RELEASED.1.notify_all();
    pool.stop().await;
}

/// Wraps the DTLS of every connection of its template, and counts its calls.
struct Noting(Dtls, Arc<std::sync::atomic::AtomicUsize>);

impl HandshakeFactory for Noting {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.new_handshake(component)
    }
}

#[actix::test]
async fn a_handshake_that_is_ended_from_outside_fails_its_connection_at_once() {
    let pool = pool().await;
    let connections = pool.supervisor().supervisor("peer-connections").unwrap();
    let handshakes = connections.supervisor("handshakes").unwrap();
    for terminate in [true, false] {
        let (mut a, mut b) =
            (Peer::open(&pool, &Api::default()).await, Peer::open(&pool, &Api::default()).await);
        a.send(CreateDataChannel::new("x")).await.unwrap();
        // It waits for a path, and gets none: no deadline runs.
        negotiate(&mut a, &mut b).await;
        let id = a.connection.id().to_string();
        let end = async {
            loop {
                let ended = match terminate {
                    true => handshakes.terminate_child(&id).await.is_ok(),
                    false => {
                        handshakes.inject(&id, Fault::Panic("injected".to_owned())).await.is_ok()
                    }
                };
                // It is started after the description; sooner or later it runs.
                if ended {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, end).await.unwrap();
        a.until(failed).await;
    }
    pool.stop().await;
}

#[actix::test]
async fn a_template_gives_its_connections_a_handshake() {
    let pool = pool().await;
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let api = Api::default().handshake(move |dtls| Arc::new(Noting(dtls, Arc::clone(&count))));
    let (mut a, mut b) = (Peer::open(&pool, &api).await, Peer::open(&pool, &api).await);
    let channel = a.send(CreateDataChannel::new("x")).await.unwrap();
    negotiate(&mut a, &mut b).await;
    connect(&mut a, &mut b).await;
    a.until(opened).await;
    talks(&mut a, &mut b, channel, "hello").await;
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
    pool.stop().await;
}

#[actix::test]
async fn a_connection_that_is_killed_is_told_once_and_its_siblings_go_on() {
    let pool = four_ports().await;
    let (mut a, mut b, _) = pair(&pool, 0).await;
    let (mut c, mut d, channel) = pair(&pool, 2).await;
    let connections = pool
        .supervisor()
        .supervisor("peer-connections")
        .unwrap()
        .supervisor("connections")
        .unwrap();

    connections
        .inject(&a.connection.id().to_string(), Fault::Panic("injected".into()))
        .await
        .unwrap();

    assert_eq!(a.until(closed).await, CloseReason::Stopped);
    a.gone().await;
    assert!(!pool.exists(a.connection.id()));
    talks(&mut c, &mut d, channel, "still here").await;
    // Its end still sent a goodbye.
    assert_eq!(b.until(closed).await, CloseReason::ClosedByPeer);
    pool.stop().await;
    for peer in [&mut c, &mut d] {
        // The one that is stopped first says goodbye, which the other may receive before its own end.
        let reason = peer.until(closed).await;
        assert!(matches!(reason, CloseReason::Stopped | CloseReason::ClosedByPeer), "{reason}");
        peer.gone().await;
        assert_eq!(peer.told.iter().filter_map(closed).count(), 1);
    }
}

#[actix::test]
async fn sockets_that_are_killed_come_back_with_their_connections() {
    let pool = pool().await;
    let (mut a, mut b, channel) = pair(&pool, 0).await;
    let sockets =
        pool.supervisor().supervisor("peer-connections").unwrap().supervisor("sockets").unwrap();
    let ports = pool.ports();
    for socket in ["udp 0", "udp 1"] {
        sockets.inject(socket, Fault::Panic("injected".into())).await.unwrap();
    }
    talks(&mut a, &mut b, channel, "as if nothing had happened").await;
    assert_eq!(pool.ports(), ports);
    pool.stop().await;
}

/// Owner that takes long for every event, with a mailbox for one.
struct Slow {
    gate: Option<oneshot::Receiver<()>>,
    tell: mpsc::UnboundedSender<ConnectionEvent>,
}

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<PeerConnectionEvent> for Slow {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, ctx: &mut Context<Self>) {
        let message = matches!(event.event, ConnectionEvent::DataChannelMessage { .. });
        _ = self.tell.send(event.event);
        if message && let Some(gate) = self.gate.take() {
            // Busy until it is released.
            ctx.wait(async { _ = gate.await }.into_actor(self));
        }
    }
}

#[actix::test]
async fn an_owner_that_does_not_keep_up_with_data_loses_its_connection() {
    let pool = pool().await;
    let settings = ApiSettings { max_unread: (64 << 10, 1_000), ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let (let_go, gate) = oneshot::channel();
    let (tell, mut told) = mpsc::unbounded_channel();
    let owner = Slow { gate: Some(gate), tell }.start();
    let slow = pool.open(&api, Configuration::default(), owner.recipient()).await.unwrap();
    let mut b = Peer::open(&pool, &Api::default()).await;
    let channel = b.send(CreateDataChannel::new("x")).await.unwrap();
    meet(&slow, &mut b).await;
    b.until(opened).await;

    let mut sent = 0;
    while b.connection.is_open() && sent < 2_000 {
        match b.connection.send(SendData::binary(channel, vec![1; 1_000])).await {
            Ok(Ok(())) => sent += 1,
            _ => break,
        }
    }
    assert_eq!(b.until(closed).await, CloseReason::ClosedByPeer);
    _ = let_go.send(());
    let mut last = None;
    let mut messages = 0;
    while let Some(event) = told.recv().await {
        messages += usize::from(matches!(event, ConnectionEvent::DataChannelMessage { .. }));
        last = Some(event);
    }
    // Events that had come were still delivered, in order, and then the end.
    assert!(matches!(last, Some(ConnectionEvent::Closed(CloseReason::OwnerTooSlow))), "{last:?}");
    assert!((20..200).contains(&messages), "{messages}");
    pool.stop().await;
}

/// Owner that ends when its connection is connected.
struct Quitter;

impl Actor for Quitter {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Quitter {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, ctx: &mut Context<Self>) {
        if connection_state(&event.event) == Some(PeerConnectionState::Connected) {
            ctx.stop();
        }
    }
}

#[actix::test]
async fn an_owner_that_ends_takes_its_connection_with_it() {
    let pool = pool().await;
    let owner = Quitter.start().recipient();
    let orphan = pool.open(&Api::default(), Configuration::default(), owner).await.unwrap();
    let mut b = Peer::open(&pool, &Api::default()).await;
    b.send(CreateDataChannel::new("x")).await.unwrap();
    meet(&orphan, &mut b).await;

    assert_eq!(b.until(closed).await, CloseReason::ClosedByPeer);
    pool.stop().await;
}

/// Has B offer, once all its candidates are known.
async fn meet(other: &PeerConnectionHandle, b: &mut Peer) {
    let offer = b.send(CreateOffer::default()).await.unwrap();
    b.send(SetLocalDescription(Some(offer.clone()))).await.unwrap();
    other.send(SetRemoteDescription(offer)).await.unwrap().unwrap();
    other.send(SetLocalDescription(None)).await.unwrap().unwrap();
    let answer = other.send(LocalDescription).await.unwrap().unwrap();
    b.send(SetRemoteDescription(answer)).await.unwrap();
    let complete = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete))
            .then_some(())
    };
    b.until(complete).await;
    for candidate in b.candidates.drain(..).flatten() {
        other.send(AddIceCandidate(Some(candidate))).await.unwrap().unwrap();
    }
}

#[actix::test]
async fn closing_is_quick_and_again_it_does_nothing() {
    let pool = pool().await;
    let api = Api::default();
    for stage in 0..5 {
        let (mut a, mut b) = (Peer::open(&pool, &api).await, Peer::open(&pool, &api).await);
        if stage > 0 {
            a.send(CreateDataChannel::new("x")).await.unwrap();
            a.send(CreateOffer::default()).await.unwrap();
        }
        if stage > 1 {
            negotiate(&mut a, &mut b).await;
        }
        if stage > 2 {
            connect(&mut a, &mut b).await;
        }
        if stage > 3 {
            a.until(opened).await;
        }
        let began = Instant::now();
        a.connection.close().await;
        a.connection.close().await;
        a.until(closed).await;
        a.gone().await;
        assert!(began.elapsed() < Duration::from_secs(10), "{stage}");
        assert!(a.connection.send(GetConnectionState).await.is_err());
        b.connection.close().await;
        b.gone().await;
    }
    pool.stop().await;
}

/// Media that the owner does not take in time is lost, and counted; the connection goes on.
#[actix::test]
async fn media_that_is_not_taken_makes_room() {
    let pool = pool().await;
    let settings = ApiSettings {
        max_unread: (4 << 10, 8),
        media_mode: MediaMode::Rtp,
        ..ApiSettings::default()
    };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let (let_go, gate) = oneshot::channel();
    let (tell, mut told) = mpsc::unbounded_channel();
    let owner = SlowMedia { gate: Some(gate), tell }.start();
    let slow = pool.open(&api, Configuration::default(), owner.recipient()).await.unwrap();
    let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let mut b = Peer::open(&pool, &api).await;
    let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "v", "s");
    let sender = b.send(AddTrack(track)).await.unwrap();
    meet(&slow, &mut b).await;
    b.until(|event| {
        (connection_state(event) == Some(PeerConnectionState::Connected)).then_some(())
    })
    .await;

    let transceiver = b.send(GetTransceivers).await.remove(0);
    let mut number = 0;
    let dropped = loop {
        number += 1;
        let packet = RtpPacket {
            transceiver: transceiver.id,
            rid: None,
            payload_type: transceiver.codecs[0].0,
            sequence_number: number,
            timestamp: 3_000 * number as u32,
            marker: true,
            at: Instant::now(),
            captured: None,
            payload: vec![number as u8; 500].into(),
            audio_level: None,
            extensions: Default::default(),
            vp8: None,
        };
        b.send(WriteRtp { sender, packet }).await.unwrap();
        let dropped = slow.send(GetCounters).await.unwrap().media_dropped;
        if dropped > 20 {
            break dropped;
        }
        assert!(number < 20_000, "nothing was dropped");
    };
    _ = let_go.send(());
    let last = loop {
        if let ConnectionEvent::Packet(packet) = told.recv().await.unwrap()
            && packet.sequence_number + 20 > number
        {
            break packet;
        }
    };
    assert_eq!(last.payload[0], last.sequence_number as u8);
    assert!(slow.is_open() && dropped > 0);
    pool.stop().await;
}

struct SlowMedia {
    gate: Option<oneshot::Receiver<()>>,
    tell: mpsc::UnboundedSender<ConnectionEvent>,
}

impl Actor for SlowMedia {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<PeerConnectionEvent> for SlowMedia {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, ctx: &mut Context<Self>) {
        let packet = matches!(event.event, ConnectionEvent::Packet(_));
        _ = self.tell.send(event.event);
        if packet && let Some(gate) = self.gate.take() {
            ctx.wait(async { _ = gate.await }.into_actor(self));
        }
    }
}

#[actix::test]
async fn a_channel_stays_reliable_while_a_fifth_of_the_datagrams_is_lost() {
    let pool = four_ports().await;
    let (mut a, mut b, channel) = pair(&pool, 0).await;
    assert_eq!(a.send(GetCounters).await.datagrams_lost, 0);

    assert_eq!(a.send(InjectLoss { ratio: 0.2 }).await, Ok(()));
    // Each fills a datagram.
    let text = |number: usize| format!("{number:01000}");
    for number in 0..30 {
        a.send(SendData::text(channel, text(number))).await.unwrap();
    }
    // Each loss of a retransmission doubles the wait for the next one.
    let all = async {
        while b.told.iter().filter_map(message).count() < 30 {
            b.next().await.expect("the connection stays");
        }
    };
    tokio::time::timeout(6 * PATIENCE, all).await.expect("all of it arrives");
    let heard: Vec<_> = b.told.iter().filter_map(message).collect();
    assert!(
        (0..30)
            .map(text)
            .eq(heard.iter().map(|heard| String::from_utf8_lossy(heard.as_bytes()).into_owned()))
    );
    let lost = a.send(GetCounters).await;
    assert!(lost.datagrams_lost > 0, "{lost:?}");
    assert_eq!(b.send(GetCounters).await.datagrams_lost, 0);
    assert_eq!(a.send(GetConnectionState).await, PeerConnectionState::Connected);

    assert!(a.send(InjectLoss { ratio: 20.0 }).await.is_err());
    assert_eq!(a.send(InjectLoss { ratio: 0.0 }).await, Ok(()));
    let before = a.send(GetCounters).await.datagrams_lost;
    talks(&mut a, &mut b, channel, "whole again").await;
    assert_eq!(a.send(GetCounters).await.datagrams_lost, before);
    pool.stop().await;
}
