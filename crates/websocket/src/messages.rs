//! Messages between a socket and the actor behind it, its owner.

use std::sync::Arc;

use actix::prelude::*;
use bytestring::ByteString;
use callboard_outbox::{CloseFrame, OutboxReady, SocketNumber};
use tokio::sync::OwnedSemaphorePermit;

use crate::tcp_connection::TcpConnection;

/// Input of a WebSocket, for the owner behind it. The [`SocketLink`](crate::SocketLink) tells the owner when the socket
/// ends.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FromSocket {
    /// Number of the socket among the client's.
    pub socket: SocketNumber,
    /// The input.
    pub event: SocketEvent,
    /// Returned when the owner has handled the event, or never will.
    #[expect(dead_code, reason = "returned when it is dropped")]
    pub(crate) credit: OwnedSemaphorePermit,
}

/// Input from the client.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "an owner must count each against its limits")]
pub enum SocketEvent {
    /// A complete text message.
    Text {
        /// The message.
        text: ByteString,
        /// How many of its bytes were reported before, as [`Frame`](Self::Frame)s.
        counted: usize,
    },
    /// The text `ping`, a fragment, or a ping, pong or binary frame of this size.
    Frame {
        /// Size of its payload.
        bytes: usize,
        /// It is the end of a binary message, which is ignored.
        binary: bool,
    },
}

impl SocketEvent {
    /// Returns how many of its bytes were not reported before.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text { text, counted } => text.len().saturating_sub(*counted),
            Self::Frame { bytes, .. } => *bytes,
        }
    }

    /// Returns how many bytes are held until the owner has handled it.
    pub(crate) fn kept(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Frame { .. } => 0,
        }
    }

    /// Returns how many credits it takes.
    pub(crate) fn weight(&self) -> u32 {
        let weight = 1 + self.kept() / BYTES_PER_CREDIT;
        u32::try_from(weight.min(MAX_IN_FLIGHT)).expect("the maximum fits")
    }
}

/// Command of an owner to its WebSocket; messages to the client wait in its outbox instead.
#[derive(Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum ToSocket {
    /// The owner to attach. The client's messages are held back.
    Attach(Recipient<FromSocket>),
    /// The owner is ready for the client's messages.
    Flow,
    /// Order to send a ping.
    Ping,
    /// Order to close the WebSocket.
    Close(CloseFrame),
    /// Order to ask the client with this close frame to come back, to another process: nothing more is sent, and what
    /// the client has sent is passed on until its close frame arrives, for a second at most. Then the socket is lost,
    /// as without a close frame.
    Suspend(CloseFrame),
}

/// A socket that can be attached.
pub struct NewSocket {
    pub(crate) outbox_ready: Recipient<OutboxReady>,
    pub(crate) control: Recipient<ToSocket>,
    pub(crate) tcp: Arc<TcpConnection>,
}

/// The way a socket has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SocketEnd {
    /// Without a close: the client may come back.
    #[default]
    Lost,
    /// One side has closed it on purpose.
    Closed,
}

/// Number of messages of a client that may wait for its owner: a bound on the owner's mailbox.
pub(crate) const MAX_IN_FLIGHT: usize = 256;
/// Larger messages count as several, so that 1 MiB may wait, or one message alone.
const BYTES_PER_CREDIT: usize = 4 * 1024;
