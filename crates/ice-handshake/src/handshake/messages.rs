//! Messages of a [`HandshakeActor`](super::HandshakeActor): its commands and its events.

use std::convert::Infallible;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{ComponentId, HandshakeData, HandshakeError, InitData, Session};

/// Lifeline of a handshake to its owner: it resolves when the handle is dropped, and when there will be none.
pub(super) type Lifeline = oneshot::Receiver<Infallible>;

/// Notice that the component can send and receive: begin. Only the first one counts.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "()")]
pub(super) struct ConnectionReady {
    /// Round-trip time of its path, if it is known.
    pub(super) round_trip_time: Option<Duration>,
}

/// Datagram from the peer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Datagram(pub(super) Bytes);

/// Peer's init data, as the application received it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SetRemoteInitData(pub(super) InitData);

/// Event of a handshake, for the owner of its component.
#[derive(Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct HandshakeEvent {
    /// Component of the handshake.
    pub component: ComponentId,
    /// Output of the handshake.
    pub output: HandshakeOutput,
}

/// Output of a handshake.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "who drives a handshake must carry out each")]
pub enum HandshakeOutput {
    /// The init data that the handshake's `init` returned; comes before all others. With `finished`, there is no
    /// handshake to do.
    InitData {
        /// Init data for the application to carry to the peer.
        data: InitData,
        /// Whether every datagram is payload at once.
        finished: bool,
    },
    /// Send these to the peer.
    Transmit {
        /// Packets to send, in this order.
        packets: Vec<Bytes>,
        /// Number of datagrams processed so far.
        consumed: u64,
    },
    /// The handshake is complete, for reading and for writing; reported once, and not before the component is ready.
    Finished(Finished),
    /// The handshake has failed, and the actor has stopped.
    Failed(HandshakeError),
    /// The handshake was closed, by its owner or by the peer, and the actor has stopped.
    Closed,
}

/// Result of a complete handshake, with the session that follows it.
pub struct Finished {
    /// Result of the handshake.
    pub data: HandshakeData,
    /// Session that carries payloads from now on.
    pub session: Box<dyn Session>,
    /// Number of datagrams processed: those sent to it after them belong to the session.
    pub consumed: u64,
    /// Datagrams that were not for the handshake, in order of arrival: they belong to the session, before all others.
    pub kept: Vec<Bytes>,
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished")
            .field("data", &self.data)
            .field("consumed", &self.consumed)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}
