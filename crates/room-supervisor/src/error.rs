//! One enum for each operation that can fail.

use serde_json::Value;
use thiserror::Error;

use callboard_supervision::{StartChildError, StartSupervisorError};

use crate::name::BadRoomName;
use crate::peer_id::PeerId;

/// Why a message was not forwarded. Nobody got it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardError {
    /// These addressees are not in the room.
    #[error("no such peer")]
    NoSuchPeer(Vec<PeerId>),
    /// The message says no addressees.
    #[error("the message has no addressees")]
    NotAddressed,
    /// Too many of the sender's messages wait for the room.
    #[error("too many messages in flight")]
    TooManyInFlight,
    /// The room is being restarted, or closed.
    #[error("the room is not available")]
    RoomUnavailable,
}

/// Why a peer did not join.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The room's `on_join` said no, with these details.
    #[error("refused: {0}")]
    Refused(Value),
    /// The room's `on_join` took longer than it may.
    #[error("the room did not decide in time")]
    TimedOut,
    /// The room crashed while it decided.
    #[error("the room crashed")]
    RoomCrashed,
    /// The room is being restarted, or closed.
    #[error("the room is not available")]
    RoomUnavailable,
}

impl JoinError {
    /// What the client is told in the details of "Could not join room".
    pub fn details(&self) -> Value {
        match self {
            Self::Refused(details) => details.clone(),
            Self::TimedOut => "timeout".into(),
            Self::RoomCrashed => "room_crashed".into(),
            Self::RoomUnavailable => "room_unavailable".into(),
        }
    }
}

/// Why a room was not opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartRoomError {
    /// A room of this name is open.
    #[error("already started")]
    AlreadyStarted,
    /// It did not start: `on_init` refused or panicked, say.
    #[error(transparent)]
    Start(#[from] StartChildError),
    /// No room of this name, and none is opened on demand.
    #[error("no such room")]
    NoSuchRoom,
    /// As many rooms are open on demand as may be ([`RoomsBuilder::max_on_demand`](crate::RoomsBuilder::max_on_demand)).
    #[error("too many rooms are open")]
    TooManyRooms,
    /// All rooms are being closed ([`Rooms::stop_all`](crate::Rooms::stop_all)).
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No client could enter a room of this name.
    #[error(transparent)]
    BadName(#[from] BadRoomName),
}

/// Why the rooms of a server were not started.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartRoomsError {
    /// They run already. Their handle can be cloned.
    #[error("the rooms have been started already")]
    AlreadyStarted,
    /// No client could enter the room of this name that was to be opened at the start.
    #[error(transparent)]
    BadName(#[from] BadRoomName),
    /// A room that was to be opened at the start did not open, say.
    #[error(transparent)]
    Supervisor(#[from] StartSupervisorError),
}
