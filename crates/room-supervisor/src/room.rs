//! Behaviour of a room, which an application writes.

use std::future::Future;

use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use crate::auth::AuthData;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;

/// Behaviour of a room; the value is its state.
///
/// All callbacks of a room run on the room's own actor, one after another. A slow callback delays its own room and no
/// other. A callback that blocks its thread, as blocking I/O and long computations do, also delays the rooms that share
/// the thread ([`RoomsBuilder::threads`](crate::RoomsBuilder::threads)), and the log names the room. A callback that
/// panics ends the room's actor, which is restarted ([`OnCrash`](crate::OnCrash) says what happens to its peers).
pub trait Room: Sized + 'static {
    /// Argument of [`on_init`](Self::on_init): set in [`RoomOptions`](crate::RoomOptions).
    type Options: Clone + Send + Sync + 'static;

    /// Creates the state of a room that is opened, or opened again after a crash.
    ///
    /// # Errors
    /// A reason not to open the room; the caller of [`Rooms::start_supervised`](crate::Rooms::start_supervised) gets
    /// it.
    fn on_init(options: &Self::Options) -> Result<Self, String>;

    /// Decides whether a peer may join. May take up to [`RoomOptions::join_timeout`](crate::RoomOptions::join_timeout);
    /// the room does nothing else meanwhile. Default: admit the peer.
    ///
    /// # Errors
    /// A reason to reject the peer: the client gets it in the details of "Could not join room", and is disconnected.
    fn on_join(&mut self, auth: &AuthData) -> impl Future<Output = Result<(), JoinRefusal>> {
        _ = auth;
        std::future::ready(Ok(()))
    }

    /// Handles the departure of a peer that had joined. Called once for each such peer, whatever the cause.
    fn on_leave(&mut self, peer: PeerId) {
        _ = peer;
    }

    /// Changes a message before it is forwarded, or drops it by returning none; the room's own `joined` and `left` are
    /// included. Default: no change.
    fn on_forward(&mut self, message: RoomMessage) -> Option<RoomMessage> {
        Some(message)
    }

    /// Cleans up when the room is closed in good order. Not called after a crash.
    fn on_terminate(&mut self) {}
}

/// Reason why a peer may not join: any JSON, for the client to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefusal(pub Value);

impl<T: Into<Value>> From<T> for JoinRefusal {
    fn from(details: T) -> Self {
        Self(details.into())
    }
}

/// [`Room`] of any type.
pub(crate) trait ErasedRoom {
    fn on_join<'a>(&'a mut self, auth: &'a AuthData)
    -> LocalBoxFuture<'a, Result<(), JoinRefusal>>;
    fn on_leave(&mut self, peer: PeerId);
    fn on_forward(&mut self, message: RoomMessage) -> Option<RoomMessage>;
    fn on_terminate(&mut self);
}

impl<R: Room> ErasedRoom for R {
    fn on_join<'a>(
        &'a mut self,
        auth: &'a AuthData,
    ) -> LocalBoxFuture<'a, Result<(), JoinRefusal>> {
        Box::pin(Room::on_join(self, auth))
    }

    fn on_leave(&mut self, peer: PeerId) {
        Room::on_leave(self, peer);
    }

    fn on_forward(&mut self, message: RoomMessage) -> Option<RoomMessage> {
        Room::on_forward(self, message)
    }

    fn on_terminate(&mut self) {
        Room::on_terminate(self);
    }
}
