//! Events of a client.

use std::time::Duration;

use serde_json::Value;

use crate::error::{GaveUpError, MoveFailure, ServerError};

/// Event of a client; they come in the order in which they have happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Another peer has joined the room.
    Joined(RoomMember),
    /// Another peer has left the room.
    Left {
        /// Its id.
        peer_id: String,
    },
    /// A message of the application.
    Message(ClientMessage),
    /// A message of the peer's code on the server, on a data channel or in place of one.
    Data {
        /// Label of the channel.
        channel: String,
        /// The message.
        data: ChannelData,
    },
    /// The WebSocket was lost and reopened. What waited meanwhile comes after this; messages that the server had
    /// written into the lost one do not, but [`Joined`](Self::Joined) and [`Left`](Self::Left) are complete.
    Resumed,
    /// The connection was lost, and the client has joined again, as a new peer. [`Joined`](Self::Joined) and
    /// [`Left`](Self::Left) have reported before what has changed.
    Rejoined {
        /// Its new id.
        peer_id: String,
        /// Its previous id.
        previous: String,
    },
    /// The client is connected to another address than before: the server has sent it there, without a gap, or the one
    /// to which it was sent is gone. Where its session could not be taken along, [`Rejoined`](Self::Rejoined) comes
    /// before.
    Moved {
        /// The address before.
        from: String,
        /// The address now.
        to: String,
    },
    /// The client stays where it is, though the server has sent it to another address.
    MoveFailed(MoveFailure),
    /// The room has failed and was restarted. [`Joined`](Self::Joined) and [`Left`](Self::Left) have reported before
    /// what has changed.
    RoomRestarted,
    /// An error that the server reports; the connection stays, unless a [`State`](Self::State) follows.
    Error(ServerError),
    /// The client has given up; [`State`](Self::State) `Closed` follows.
    GaveUp(GaveUpError),
    /// The state of the connection has changed.
    State(StateChange),
    /// The state of the peer connection has changed: `New` for each one, `Closed` when it was closed for good.
    #[cfg(feature = "webrtc")]
    PeerConnection {
        /// The new state.
        state: callboard_peer_connection::PeerConnectionState,
        /// Why it is lost and will be replaced, if one side has said so.
        reason: Option<String>,
    },
    /// A data channel is open.
    #[cfg(feature = "webrtc")]
    ChannelOpened {
        /// Its label.
        channel: String,
    },
    /// A data channel is closed, perhaps until its connection is replaced.
    #[cfg(feature = "webrtc")]
    ChannelClosed {
        /// Its label.
        channel: String,
    },
    /// No peer connection is tried any more. The client stays in the room, and can open another.
    #[cfg(feature = "webrtc")]
    PeerConnectionGaveUp {
        /// What has failed, in words.
        cause: String,
    },
}

/// Another member of the room.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RoomMember {
    /// The peer's id.
    pub peer_id: String,
    /// What the server says about it to the others; null if it says nothing.
    pub metadata: Value,
}

/// A message of the application.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClientMessage {
    /// Name of the event.
    pub event: String,
    /// Its data; null if it has none.
    pub data: Value,
    /// The sender's peer id, verified by the server; none for the server itself.
    pub from: Option<String>,
    /// Receivers.
    pub to: Recipients,
}

/// Receivers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recipients {
    /// All other members of the room.
    All,
    /// The peers with these ids.
    Peers(Vec<String>),
}

impl From<&str> for Recipients {
    fn from(peer: &str) -> Self {
        Self::Peers(vec![peer.to_owned()])
    }
}

impl From<String> for Recipients {
    fn from(peer: String) -> Self {
        Self::Peers(vec![peer])
    }
}

impl From<&String> for Recipients {
    fn from(peer: &String) -> Self {
        Self::from(peer.as_str())
    }
}

impl From<Vec<String>> for Recipients {
    fn from(peers: Vec<String>) -> Self {
        Self::Peers(peers)
    }
}

/// A message of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 8831: a message is a text or bytes")]
pub enum ChannelData {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl From<&str> for ChannelData {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for ChannelData {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for ChannelData {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

/// State of the connection to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientState {
    /// A WebSocket is being opened, or the room has not admitted the client yet.
    Connecting,
    /// The client is a member of the room.
    Open,
    /// The connection was lost, and another is opened after a while.
    Waiting,
    /// The client has left for good.
    Closed,
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange {
    /// The new state.
    pub state: ClientState,
    /// Why it has changed, in words; empty if nothing has failed.
    pub reason: String,
    /// Close code of the connection that has ended, if one has: 1006 if it had no close frame or was never open, 1005
    /// if the frame had no code, 3008 if the server did not answer.
    pub code: Option<u16>,
    /// With [`ClientState::Waiting`]: the time until the next attempt.
    pub delay: Option<Duration>,
}
