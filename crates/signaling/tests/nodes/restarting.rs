//! Peers that are being restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callboard_room_supervisor::{AuthData, Rejection, RoomMessage};
use callboard_signaling::{InitContext, Peer, PeerContext, PeerInit, PeerOptions};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Notify;

use crate::common::Server;
use crate::common::away::GRACE;

/// Peer that panics, and whose next instance begins when it may.
struct Fragile;

impl Peer for Fragile {
    type Options = Arc<Restart>;

    async fn on_init(
        _: &InitContext,
        _: &AuthData,
        restart: &Arc<Restart>,
    ) -> Result<PeerInit<Self>, Rejection> {
        if restart.is_again.swap(true, Ordering::Relaxed) {
            restart.begins.notify_one();
            restart.goes_on.notified().await;
        }
        Ok(Self.into())
    }

    fn on_receive(&mut self, _: RoomMessage, _: &PeerContext) -> Option<RoomMessage> {
        panic!("it is fragile")
    }
}

#[derive(Default)]
struct Restart {
    is_again: AtomicBool,
    begins: Notify,
    goes_on: Notify,
}

#[actix::test]
async fn a_peer_that_is_being_restarted_has_not_left() {
    let restart = Arc::<Restart>::default();
    let options = Arc::clone(&restart);
    let server =
        Server::of_peers(|rooms| PeerOptions::<Fragile>::new(options, rooms).resume_grace(GRACE));
    let server = server.await;
    let (mut bob, _) = server.join().await;
    let mut left = join_all(server.rooms.keepers().iter().map(|keeper| keeper.left()));
    assert!((&mut left).now_or_never().is_none());

    bob.send(json!({ "event": "hello", "to": "all" })).await;
    restart.begins.notified().await;

    assert!((&mut left).now_or_never().is_none(), "its client is here");
    restart.goes_on.notify_one();
    bob.expect_error("Peer restarted").await;
    assert!((&mut left).now_or_never().is_none());
    drop(bob.socket.close(None).await);
    left.await;
}
