//! What a room does: the behaviour that an application writes.

use std::future::Future;

use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use crate::auth::AuthData;
use crate::message::Message;
use crate::peer_id::PeerId;

/// A room's behaviour; the value is its state.
///
/// All callbacks of a room run on the room's own actor, one after another. One that is slow holds up its own room and no
/// other; if it blocks its thread, as blocking I/O and long computations do, also those that share the thread
/// ([`RoomsBuilder::threads`](crate::RoomsBuilder::threads)), and the log tells which room it is. One that panics ends the room's actor, which is restarted
/// ([`OnCrash`](crate::OnCrash) says what becomes of its peers).
pub trait Room: Sized + 'static {
    /// What [`on_init`](Self::on_init) gets: set in [`RoomOptions`](crate::RoomOptions).
    type Options: Clone + Send + Sync + 'static;

    /// The room is opened, or opened again after a crash.
    ///
    /// # Errors
    /// A reason not to open it; the caller of [`Rooms::start_supervised`](crate::Rooms::start_supervised) gets it.
    fn on_init(options: &Self::Options) -> Result<Self, String>;

    /// A peer asks to join. May take its time, up to [`RoomOptions::join_timeout`](crate::RoomOptions::join_timeout);
    /// the room does nothing else meanwhile. Default: welcome.
    ///
    /// # Errors
    /// A reason to refuse: the client gets it in the details of "Could not join room", and is closed.
    fn on_join(&mut self, auth: &AuthData) -> impl Future<Output = Result<(), JoinRefusal>> {
        _ = auth;
        std::future::ready(Ok(()))
    }

    /// A peer that had joined has left. Called once for each that joined, whatever took it away.
    fn on_leave(&mut self, peer: PeerId) {
        _ = peer;
    }

    /// A message is about to be forwarded, the room's own `joined` and `left` included: change it, or swallow it by
    /// returning none. Default: pass it on.
    fn on_forward(&mut self, message: Message) -> Option<Message> {
        Some(message)
    }

    /// The room is closed in good order. Not called after a crash.
    fn on_terminate(&mut self) {}
}

/// Why a peer may not join: any JSON, for the client to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefusal(pub Value);

impl<T: Into<Value>> From<T> for JoinRefusal {
    fn from(details: T) -> Self {
        Self(details.into())
    }
}

/// A [`Room`] whose type does not matter.
pub(crate) trait ErasedRoom {
    fn on_join<'a>(&'a mut self, auth: &'a AuthData)
    -> LocalBoxFuture<'a, Result<(), JoinRefusal>>;
    fn on_leave(&mut self, peer: PeerId);
    fn on_forward(&mut self, message: Message) -> Option<Message>;
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

    fn on_forward(&mut self, message: Message) -> Option<Message> {
        Room::on_forward(self, message)
    }

    fn on_terminate(&mut self) {
        Room::on_terminate(self);
    }
}
