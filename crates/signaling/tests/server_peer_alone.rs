//! Server peers without a WebSocket and a room.
#![cfg(feature = "webrtc")]

mod common;

use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::{
    CreateDataChannel, LocalDescription, SetLocalDescription,
};
use callboard_peer_connection::*;
use callboard_signaling::server_peer::*;
use common::rtc::pool;
use tokio::sync::mpsc;

struct Controller {
    told: mpsc::UnboundedSender<ServerPeerEvent>,
    kept: Option<ServerPeerHandle>,
}

impl Actor for Controller {
    type Context = Context<Self>;
}

impl Handler<ServerPeerEvent> for Controller {
    type Result = ();

    fn handle(&mut self, event: ServerPeerEvent, _: &mut Context<Self>) {
        _ = self.told.send(event);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Quit;

impl Handler<Quit> for Controller {
    type Result = ();

    fn handle(&mut self, _: Quit, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Handle of its server peer, for the controller to keep.
#[derive(Message)]
#[rtype(result = "()")]
struct Keep(ServerPeerHandle);

impl Handler<Keep> for Controller {
    type Result = ();

    fn handle(&mut self, Keep(handle): Keep, _: &mut Context<Self>) {
        self.kept = Some(handle);
    }
}

#[actix::test]
async fn a_server_peer_needs_neither_websocket_nor_room() {
    let (ours, theirs) = (pool().await, pool().await);
    let (tell, mut told) = mpsc::unbounded_channel();
    let controller = Controller { told: tell, kept: None }.start();
    let events = controller.clone().recipient();
    let handle = ServerPeer::start(ServerPeerOptions::new("alice", ours), events);
    let peer = handle.addr().clone();
    controller.send(Keep(handle)).await.unwrap();
    assert_eq!(peer.send(AddCandidate(None)).await.unwrap(), Err(AddCandidateError::NoSession));
    assert_eq!(peer.send(ConnectionState).await.unwrap(), PeerConnectionState::New);

    struct Nobody;
    impl Actor for Nobody {
        type Context = Context<Self>;
    }
    impl Handler<PeerConnectionEvent> for Nobody {
        type Result = ();
        fn handle(&mut self, _: PeerConnectionEvent, _: &mut Context<Self>) {}
    }
    let owner = Nobody.start().recipient();
    let client = theirs.open(&Api::default(), Configuration::default(), owner).await.unwrap();
    client.send(CreateDataChannel::new("chat")).await.unwrap().unwrap();
    client.send(SetLocalDescription(None)).await.unwrap().unwrap();
    let offer = client.send(LocalDescription).await.unwrap().unwrap();
    peer.send(HandleOffer(offer)).await.unwrap().unwrap();
    assert!(matches!(told.recv().await, Some(ServerPeerEvent::Answer(_))));
    let message = DataChannelMessage::Text("x".to_owned());
    let sent = peer.send(SendToChannel { label: "chat".to_owned(), message }).await.unwrap();
    assert_eq!(sent, Err(SendToChannelError::NoChannel("chat".to_owned())));

    controller.send(Quit).await.unwrap();
    drop(controller);
    let ended = async {
        while peer.connected() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .expect("it ends with its controller");
}
