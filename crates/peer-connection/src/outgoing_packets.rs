//! Commands of forwarders: packets that a connection sends.

use std::fmt;
use std::task::{Context, Poll};

use actix::prelude::*;

use crate::error::WriteError;
use crate::media::*;

/// Sends a packet. Only for connections in RTP mode. One that is refused, as with a payload type that was not
/// negotiated, is also [counted](crate::PeerConnectionCounters::writes_refused), for senders that do not wait for the
/// answer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), WriteError>")]
pub struct WriteRtp {
    /// Sender of the track.
    pub sender: SenderId,
    /// The packet; its payload type is the one of this connection.
    pub packet: RtpPacket,
}

/// Sends packets in one message, of one sender or several, without an answer for each. Those that are refused are
/// [counted](crate::PeerConnectionCounters::writes_refused), and the others are sent; they leave together. Only for
/// connections in RTP mode.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct WriteRtpBatch(pub Vec<WriteRtp>);

/// Source of the packets that a connection sends ([`SetPacketSource`]).
pub trait PacketSource: Send + 'static {
    /// Adds the packets that are sent next, at most a few dozen; they leave together.
    ///
    /// The connection calls it on its own thread whenever it is woken, after its mailbox. While there are no packets
    /// the source keeps the waker of `task`, and wakes the connection once there are; when it leaves some for later, at
    /// once. It is ready when it has ended: the connection drops it then.
    ///
    /// A panic of it ends the connection.
    fn poll_packets(&mut self, task: &mut Context<'_>, packets: &mut Vec<WriteRtp>) -> Poll<()>;
}

/// Lets a connection take the packets that it sends from this source, from now on, beside those that are written to it
/// by messages. It takes the place of the one before; with none there is none. Packets that are refused are
/// [counted](crate::PeerConnectionCounters::writes_refused). Only for connections in RTP mode.
///
/// A forwarder of packets to many connections saves a message and its allocations for each of them
/// ([`WriteRtpBatch`]): what a source does runs in the connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetPacketSource(pub Option<Box<dyn PacketSource>>);

impl fmt::Debug for SetPacketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetPacketSource").field(&self.0.as_ref().map(|_| ..)).finish()
    }
}
