//! Hand-over of a peer to another process: its client is asked to come back there, and it stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use callboard_room_supervisor::{CloseFrame, Description, GivenPeer, KeptPeer, Snapshot};
use callboard_supervision::catch_panic;
use callboard_websocket::{Resumption, ToSocket, TokenDigest};
use tokio::sync::oneshot;

#[cfg(feature = "rpc")]
use super::refusals::Path;
use super::{Instance, PeerActor};
use crate::kept::{Kept, PeerCommand};
use crate::peer::Peer;

impl<P: Peer> PeerActor<P> {
    /// Asks the client to come back; `done` is dropped when it has gone.
    fn disconnect(&mut self, done: oneshot::Sender<()>, ctx: &mut actix::Context<Self>) {
        if self.socket.is_none() || self.is_kept {
            return;
        }
        if self.is_member() && self.socket_link.resumption().is_some() {
            self.disconnecting = Some(done);
            self.send_to_socket(ToSocket::Suspend(CloseFrame::RESTARTING));
        } else {
            self.tell(Description::RoomClosed, &"shutdown".into());
            self.part(ctx, CloseFrame::GOING_AWAY);
        }
    }

    /// Returns whether the room has admitted the peer, or an earlier process has handed it over as a member.
    fn is_member(&self) -> bool {
        self.joined || matches!(self.instance, Instance::Restored | Instance::Anew)
    }

    /// Stops, and returns what another process needs to go on; none if the client cannot come back.
    fn keep(&mut self) -> Option<KeptPeer> {
        if !self.is_member() || self.leaving || self.is_kept {
            return None;
        }
        let (resumption, grace) = self.socket_link.resumption()?;
        let kept = self.stop_as(resumption, grace);
        #[cfg(feature = "webrtc")]
        self.leave_server();
        // A client that has no time left is not waited for.
        (grace > Duration::ZERO).then_some(kept)
    }

    /// Stops, because the client has come to another node with this token; returns what that needs to go on. None if
    /// the client could not come back here either.
    fn give(&mut self, token: TokenDigest, ctx: &mut actix::Context<Self>) -> Option<GivenPeer> {
        if !self.is_member() || self.leaving || self.is_kept {
            return None;
        }
        let (resumption, grace) = self.socket_link.take(token)?;
        let kept = self.stop_as(resumption, grace);
        (self.is_given, self.socket) = (true, None);
        let (guard, given) = oneshot::channel::<Infallible>();
        ctx.spawn(given.into_actor(self).map(|_, this, ctx| this.given(ctx)));
        let (membership, guard) = (Arc::clone(&self.membership), Box::new(guard));
        Some(GivenPeer { kept, membership, guard })
    }

    /// Ends when the other node has the peer, and the client needs its peer connection here no more.
    pub(super) fn given(&mut self, ctx: &mut actix::Context<Self>) {
        self.leaving = true;
        #[cfg(feature = "webrtc")]
        let lasts = self.has_server();
        #[cfg(not(feature = "webrtc"))]
        let lasts = false;
        // The client has another one by then.
        let ends = if lasts { CONNECTION_LASTS } else { Duration::ZERO };
        ctx.run_later(ends, |_, ctx| ctx.stop());
    }

    /// Stops: another process goes on with the session. Returns what it needs.
    fn stop_as(&mut self, resumption: Resumption, grace: Duration) -> KeptPeer {
        let snapshot = catch_panic("snapshot", || self.peer.as_ref().and_then(Peer::snapshot));
        let snapshot = snapshot.unwrap_or_else(|panic| {
            log::error!("peer {} has no snapshot, it panicked: {panic}", self.context.peer_id);
            None
        });
        #[cfg(feature = "rpc")]
        self.context.client.call_table().interrupt(&self.reply_by(Path::WebSocket));
        self.is_kept = true;
        let version = self.policy.snapshot_version;
        let (idle_timeout, max_message) = self.driver.core().limits();
        let kept = Kept {
            address: self.socket_link.address(),
            idle_timeout_ms: u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX),
            max_message,
            resumption,
            snapshot: snapshot.map(|snapshot: Snapshot| snapshot.with_version(version)),
        };
        let (peer_id, room) = (self.context.peer_id, self.context.room.name().to_owned());
        let data = serde_json::to_value(kept).unwrap_or_default();
        KeptPeer { peer_id, room, grace, data }
    }
}

impl<P: Peer> Handler<PeerCommand> for PeerActor<P> {
    type Result = ();

    fn handle(&mut self, command: PeerCommand, ctx: &mut Self::Context) {
        match command {
            PeerCommand::Disconnect(done) => self.disconnect(done, ctx),
            PeerCommand::Keep(answer) => _ = answer.send(self.keep()),
            PeerCommand::GoOn if self.is_given => {}
            PeerCommand::GoOn => {
                self.is_kept = false;
                #[cfg(feature = "rpc")]
                self.context.client.call_table().reopen();
            }
            PeerCommand::Give(_, answer) if answer.is_closed() => {}
            // While its room has no home, a peer would be lost on its way.
            PeerCommand::Give(token, answer) if !self.context.room.is_reachable() => {
                ctx.notify_later(PeerCommand::Give(token, answer), GIVES_LATER);
            }
            PeerCommand::Give(token, answer) => _ = answer.send(self.give(token, ctx)),
        }
    }
}

/// Time after which it is tried again to give a peer away.
const GIVES_LATER: Duration = Duration::from_millis(100);
/// Time for which the peer connection of a client lasts that has gone to another node.
const CONNECTION_LASTS: Duration = Duration::from_secs(10);
