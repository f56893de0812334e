//! What may be told to a [`HandshakeActor`](super::HandshakeActor), and what it tells.

use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;

use super::{ComponentId, HandshakeData, HandshakeError, InitData, Session};

/// The component can send and receive: begin. Counts once.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "()")]
pub struct ConnectionReady {
    /// The round-trip time of its path, if it is known.
    pub round_trip_time: Option<Duration>,
}

/// A datagram from the peer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Datagram(pub Bytes);

/// What the application learnt of the peer's init data.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetRemoteInitData(pub InitData);

/// Say goodbye and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// What a handshake tells the owner of its component.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct HandshakeEvent {
    /// Whose.
    pub component: ComponentId,
    /// What.
    pub output: HandshakeOutput,
}

/// What a handshake tells.
#[derive(Debug)]
pub enum HandshakeOutput {
    /// What its `init` returned; the first of all. `finished`: there is no handshake to do.
    InitData {
        /// For the application to carry to the peer.
        data: InitData,
        /// Whether every datagram is payload at once.
        finished: bool,
    },
    /// Send these to the peer.
    Transmit {
        /// In this order.
        packets: Vec<Bytes>,
        /// How many [`Datagram`]s it has seen so far.
        consumed: u64,
    },
    /// It is complete, for reading and for writing; told once, and not before the component is ready.
    Finished(Finished),
    /// It has failed, and the actor has stopped.
    Failed(HandshakeError),
    /// It was closed, by [`Close`] or by the peer, and the actor has stopped.
    Closed,
}

/// A handshake that is complete.
pub struct Finished {
    /// What it yields.
    pub data: HandshakeData,
    /// What carries payloads from now on.
    pub session: Box<dyn Session>,
    /// How many [`Datagram`]s it has seen: those sent to it after them are the session's.
    pub consumed: u64,
    /// Datagrams that were not for the handshake, in order of arrival: the session's, before all others.
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
