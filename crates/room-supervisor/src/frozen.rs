//! Frozen rooms: their mailboxes are kept, and not worked, while their state is moved elsewhere.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::command::{Fate, RoomCommand, ask};
use crate::handle::RoomHandle;
use crate::snapshot::Snapshot;

/// A room that is frozen: it runs no callback, and what is sent to it waits in its mailbox. Dropping this thaws it.
pub struct FrozenRoom {
    room: RoomHandle,
    snapshot: Option<Snapshot>,
    fate: oneshot::Sender<Fate>,
}

/// Error of freezing a room.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreezeError {
    /// The room is being restarted, or closed.
    #[error("the room is not available")]
    RoomUnavailable,
    /// The room was busy for too long: with an `on_join`, for example.
    #[error("the room did not stop in time")]
    TimedOut,
}

impl RoomHandle {
    /// Freezes the room after what was sent to it before, within this time, and takes a
    /// [snapshot](crate::Room::snapshot) of its state. Until it is thawed its mailbox is kept and not worked, also if
    /// it [forwards directly](crate::Room::FORWARDS_DIRECTLY); messages of the server ([`send`](Self::send)) still
    /// reach its members.
    ///
    /// # Errors
    /// [`FreezeError`]; the room goes on then.
    pub async fn freeze(&self, within: Duration) -> Result<FrozenRoom, FreezeError> {
        let mailbox = self.shared.mailbox().ok_or(FreezeError::RoomUnavailable)?;
        let (fate, decided) = oneshot::channel();
        let asking = ask(&mailbox, |answer| RoomCommand::Freeze { answer, fate: decided });
        match timeout(within, asking).await {
            Ok(Ok(snapshot)) => Ok(FrozenRoom { room: self.clone(), snapshot, fate }),
            Ok(Err(_)) => Err(FreezeError::RoomUnavailable),
            // Without its counterpart, the command has no effect when its turn comes.
            Err(_) => Err(FreezeError::TimedOut),
        }
    }
}

impl FrozenRoom {
    /// Returns the room.
    pub fn room(&self) -> &RoomHandle {
        &self.room
    }

    /// Returns the state of the room; none if the room has not given it, or panicked over it.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Lets the room go on where it has stopped.
    pub fn thaw(self) {
        _ = self.fate.send(Fate::Thaw);
    }

    /// Ends the room without any callback: another process goes on with its state.
    pub(crate) fn hand_over(self) {
        _ = self.fate.send(Fate::HandedOver);
    }
}

impl fmt::Debug for FrozenRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenRoom").field("room", &self.room).finish_non_exhaustive()
    }
}
