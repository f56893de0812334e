//! Errors of this crate, one enum for each operation that can fail.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use callboard_outbox::CloseError;
use callboard_supervision::{StartChildError, StartSupervisorError};

use crate::peer_id::PeerId;
use crate::rejection::Rejection;
use crate::room_name::RoomNameError;

/// Error of forwarding a message. No peer got the message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardError {
    /// These addressees are not in the room.
    #[error("no such peer")]
    NoSuchPeer(Vec<PeerId>),
    /// The message has no addressees.
    #[error("the message has no addressees")]
    NotAddressed,
    /// Too many of the sender's messages wait for the room.
    #[error("too many messages in flight")]
    TooManyInFlight,
    /// The room is being restarted, or closed.
    #[error("the room is not available")]
    RoomUnavailable,
}

/// Error of a peer's join.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The room rejected the peer: its `on_join` did, or it is full (`room_is_full`).
    #[error("rejected: {}", .0.code)]
    Rejected(Rejection),
    /// The room's `on_join` took longer than allowed.
    #[error("the room did not decide in time")]
    TimedOut,
    /// The room crashed while it decided.
    #[error("the room crashed")]
    RoomCrashed,
    /// The room is being restarted, or closed; or it has rejected this membership before.
    #[error("the room is not available")]
    RoomUnavailable,
    /// A peer of the same id has a membership in the room, or its departure was not announced yet.
    #[error("a peer of the same id is in the room")]
    PeerIdTaken,
    /// The room takes no join, because it is not known at present whether another node of the cluster has it
    /// ([`OnLapse::ShutDoor`](crate::OnLapse::ShutDoor)).
    #[error("the room takes no join, for {retry_after:?} at least")]
    DoorShut {
        /// Time after which to try again.
        retry_after: Duration,
    },
}

impl JoinError {
    /// Returns the details of "Could not join room" that the client gets.
    pub fn details(&self) -> Value {
        match self {
            Self::Rejected(rejection) => rejection.to_json(),
            Self::TimedOut => "timeout".into(),
            Self::RoomCrashed => "room_crashed".into(),
            Self::RoomUnavailable | Self::DoorShut { .. } => "room_unavailable".into(),
            Self::PeerIdTaken => "peer_id_taken".into(),
        }
    }
}

/// Error of sending a message of the server to members of a room. No member got it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendToMembersError {
    /// The data cannot be written as JSON.
    #[error("the data is no JSON: {0}")]
    Data(String),
    /// There is no room of this name, or no room with this peer.
    #[error("no such room")]
    NoSuchRoom,
    /// The message was not delivered.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

impl From<serde_json::Error> for SendToMembersError {
    fn from(error: serde_json::Error) -> Self {
        Self::Data(error.to_string())
    }
}

/// Error of sending a message of the application to a room.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TellError {
    /// There is no room of this name.
    #[error("no such room")]
    NoSuchRoom,
    /// The room is of another type.
    #[error("the room is of another type")]
    OtherType,
    /// The room is being restarted, moved to another node, or closed.
    #[error("the room is not available")]
    RoomUnavailable,
    /// The room has not handled 1,024 earlier messages.
    #[error("too many messages in flight")]
    TooManyInFlight,
    /// [Another node](crate::RoomHandle::home) runs the room.
    #[error("another node runs the room")]
    Elsewhere,
}

/// Error of closing a member's connection.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KickError {
    /// The peer is no member of the room.
    #[error("no such peer")]
    NoSuchPeer,
    /// The connection cannot be closed in this way.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// Error: options of a room that no client could join.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomOptionsError {
    /// No room can have this name.
    #[error(transparent)]
    Name(#[from] RoomNameError),
    /// [`RoomOptions::max_peers`](crate::RoomOptions::max_peers) is 0, in the room of this name.
    #[error("room {0:?} admits no peer: its `max_peers` is 0")]
    NoPlaces(String),
}

/// Error of opening a room.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartRoomError {
    /// A room of this name is open.
    #[error("already started")]
    AlreadyStarted,
    /// The room did not start: `on_init` refused or panicked, for example.
    #[error(transparent)]
    Start(#[from] StartChildError),
    /// There is no room of this name, and none is opened on demand.
    #[error("no such room")]
    NoSuchRoom,
    /// The limit of rooms on demand is reached ([`RoomsBuilder::max_on_demand`](crate::RoomsBuilder::max_on_demand)).
    #[error("too many rooms are open")]
    TooManyRooms,
    /// All rooms are being closed ([`Rooms::stop_all`](crate::Rooms::stop_all)).
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No client could join the room.
    #[error(transparent)]
    BadOptions(#[from] RoomOptionsError),
    /// Another node of the [cluster](crate::RoomsBuilder::cluster) has the room.
    #[error("node {node} has the room")]
    Elsewhere {
        /// Name of the node.
        node: String,
        /// URL at which clients reach the node, such as `wss://b2.example.org`; none if it has none.
        url: Option<String>,
    },
    /// It is not known at present which node of the cluster may open the room: the directory does not answer, or the
    /// room's node may be dead. The room was not opened.
    #[error("it is not known which node may open the room, for {retry_after:?} at least")]
    Unavailable {
        /// Time after which to try again.
        retry_after: Duration,
    },
}

/// Error of starting the rooms of a server.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartRoomsError {
    /// Rooms of a [cluster](crate::RoomsBuilder::cluster) cannot have a
    /// [file for the hand-over](crate::RoomsBuilder::hand_over_file): another node may take them meanwhile.
    #[error("rooms of a cluster cannot be handed over through a file")]
    HandOverInCluster,
    /// The rooms run already. Their handle can be cloned.
    #[error("the rooms have been started already")]
    AlreadyStarted,
    /// No client could join a room that should open at the start.
    #[error(transparent)]
    BadOptions(#[from] RoomOptionsError),
    /// The supervisor did not start: a room that should open at the start did not open, for example.
    #[error(transparent)]
    Supervisor(#[from] StartSupervisorError),
}
