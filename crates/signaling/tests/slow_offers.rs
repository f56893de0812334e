//! An offer of the server that takes too long to be made, because the thread of its peer connection is blocked.
#![cfg(feature = "webrtc")]

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_signaling::WebRtcLimits;
use callboard_signaling::server_peer::*;
use callboard_supervision::{ChildSpec, Flags, SupervisorSpec};
use common::rtc::pool;
use tokio::sync::{mpsc, oneshot};

/// Longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Controller that passes its events on.
struct Controller(mpsc::UnboundedSender<ServerPeerEvent>);

impl Actor for Controller {
    type Context = Context<Self>;
}

impl Handler<ServerPeerEvent> for Controller {
    type Result = ();

    fn handle(&mut self, event: ServerPeerEvent, _: &mut Context<Self>) {
        _ = self.0.send(event);
    }
}

/// Owner of the client's peer connection.
struct Client(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Client {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Client {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        _ = self.0.send(event.event);
    }
}

/// Actor that blocks its thread.
struct Blocker;

impl Actor for Blocker {
    type Context = Context<Self>;
}

/// Blocks the thread, once it has said so, until it is released.
#[derive(Message)]
#[rtype(result = "()")]
struct Block {
    begun: oneshot::Sender<()>,
    released: Receiver<()>,
}

impl Block {
    fn new() -> (Self, oneshot::Receiver<()>, Sender<()>) {
        let ((begun, has_begun), (release, released)) = (oneshot::channel(), channel());
        (Self { begun, released }, has_begun, release)
    }
}

impl Handler<Block> for Blocker {
    type Result = ();

    fn handle(&mut self, block: Block, _: &mut Context<Self>) {
        _ = block.begun.send(());
        _ = block.released.recv();
    }
}

/// Starts blockers on the media thread.
async fn blockers(pool: &PeerConnections) -> [Addr<Blocker>; 2] {
    let thread = pool.placement(0).expect("a media thread");
    let child = |name: &'static str| ChildSpec::new(name, || Blocker).placement(thread.clone());
    let spec = SupervisorSpec::new(Flags::one_for_one()).child(child("one")).child(child("two"));
    let tree = spec.start_as("blockers").await.expect("started");
    ["one", "two"].map(|name| tree.child(name).expect("there").addr().expect("it runs"))
}

/// Waits for an event of the server peer that this accepts.
async fn until<R>(
    told: &mut mpsc::UnboundedReceiver<ServerPeerEvent>,
    what: &str,
    mut accept: impl FnMut(ServerPeerEvent) -> Option<R>,
) -> R {
    let looking = async {
        loop {
            let event = told.recv().await.expect("it runs");
            if let Some(found) = accept(event) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("no {what}"))
}

/// Lets everything run that this thread has been woken for, by other threads and by timers too: tokio looks at these
/// once in 31 and in 61 polls.
async fn let_others_run() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

fn an_offer(event: ServerPeerEvent) -> Option<SessionDescription> {
    match event {
        ServerPeerEvent::Offer(offer) => Some(offer),
        _ => None,
    }
}

#[actix::test]
async fn an_offer_that_takes_too_long_is_taken_back_and_made_again() {
    let (ours, theirs) = (pool().await, pool().await);
    let [first, second] = blockers(&ours).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let controller = Controller(tell).start();
    let limits = WebRtcLimits::default();
    let peer = ServerPeer::start(
        ServerPeerOptions::new("alice", ours.clone()),
        controller.clone().recipient(),
    );
    let (tell, mut events) = mpsc::unbounded_channel();
    let owner = Client(tell).start().recipient();
    let client = theirs.open(&Api::default(), Configuration::default(), owner).await.unwrap();
    client.send(CreateDataChannel::new("chat")).await.unwrap().unwrap();
    client.send(SetLocalDescription(None)).await.unwrap().unwrap();
    let offer = client.send(LocalDescription).await.unwrap().unwrap();
    peer.send(HandleOffer(offer)).await.unwrap().unwrap();
    let answer = until(&mut told, "answer", |event| match event {
        ServerPeerEvent::Answer(answer) => Some(answer),
        _ => None,
    });
    client.send(SetRemoteDescription(answer.await)).await.unwrap().unwrap();
    // A connection that is not up would be given up when the time is moved on.
    let connected = async {
        loop {
            match told.recv().await.expect("it runs") {
                ServerPeerEvent::Ice(candidate) => {
                    client.send(AddIceCandidate(candidate)).await.unwrap().unwrap();
                }
                ServerPeerEvent::ConnectionState(PeerConnectionState::Connected) => break,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.expect("a connection");
    let snapshot = ours.connections().snapshot();
    let id = PeerConnectionId(snapshot.children[0].id.parse().unwrap());
    let connection = ours.get(id).unwrap();

    // The media thread is blocked, so that this order is certain: the track is added, which reports the need for an
    // offer, and the thread is blocked again before the server peer can ask for one.
    let (block, blocked, release) = Block::new();
    first.do_send(block);
    blocked.await.unwrap();
    let track = LocalTrack::new(RtpCodecCapability::new("audio/opus"), "voice", "stream");
    connection.try_send(AddTrack(track)).unwrap();
    let (block, blocked, release_again) = Block::new();
    second.do_send(block);
    release.send(()).unwrap();
    blocked.await.unwrap();

    // The server peer has asked, and waits in vain.
    let_others_run().await;
    tokio::time::pause();
    tokio::time::advance(limits.answer_timeout + Duration::from_secs(1)).await;
    let_others_run().await;
    tokio::time::resume();
    release_again.send(()).unwrap();

    // What was made too late is not told, and taken back.
    let stable = async {
        while connection.send(GetSignalingState).await != Ok(SignalingState::Stable) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, stable).await.expect("the late offer is rolled back");
    while let Ok(event) = told.try_recv() {
        assert!(an_offer(event).is_none(), "it was told");
    }

    tokio::time::pause();
    tokio::time::advance(limits.offer_timeout + Duration::from_secs(1)).await;
    tokio::time::resume();
    let offer = until(&mut told, "offer", an_offer).await;
    assert!(offer.sdp.contains("m=audio"), "{}", offer.sdp);
    client.send(SetRemoteDescription(offer)).await.unwrap().unwrap();
    client.send(SetLocalDescription(None)).await.unwrap().unwrap();
    let answer = client.send(LocalDescription).await.unwrap().unwrap();
    peer.send(HandleAnswer(answer)).await.unwrap().unwrap();
    let added =
        async { while !matches!(events.recv().await, Some(ConnectionEvent::TrackAdded { .. })) {} };
    tokio::time::timeout(PATIENCE, added).await.expect("the client gets the track");
}
