//! Messages between the actors of a media room. One type for each actor, so that one [`Recipient`] reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::prelude::*;
use callboard_peer_connection::{ReceptionReport, RtpPacket, SenderReport, TransceiverId};

use crate::core::packet::{Contents, ContentsError};
use crate::core::red;
use crate::core::rewrite::Incoming;
use crate::core::speaker::Loudness;
use crate::core::switch::{Encoding, Seen};
use crate::event::TrackId;
use crate::lane::Lane;
use crate::way::Way;

/// Command to the room's actor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToRoom {
    /// Carry out what the stage has decided.
    Settle,
    /// A voice is this loud.
    Loudness(TrackId, Loudness),
}

/// Command to a publisher. Its packets come as [`PacketBatch`](callboard_peer_connection::PacketBatch)es.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToPublisher {
    /// Read anew what the participant publishes, and who receives it.
    FanOut,
    /// A viewer cannot begin, or go on, without a key frame of this encoding.
    WantKeyframe { track: TrackId, encoding: Encoding },
}

/// Command to a subscriber.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToSubscriber {
    /// Read anew what the slots carry.
    Assign,
    /// Decide anew which layers flow: soon, or when it is due. Layers were measured, or wishes have changed.
    Allocate { soon: bool },
    /// The receiver of this transceiver's track cannot decode it.
    Refresh(TransceiverId),
    /// The participant has reported how the streams of these transceivers arrive.
    Received(Arc<[ReceptionReport]>),
    /// Something flows that the participant does not know of.
    Tell,
    /// The slots have panicked with this message.
    Fail(Arc<str>),
}

/// Packets for viewers on another thread.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct ToRelay {
    pub(crate) packets: Arc<[MediaPacket]>,
    pub(crate) viewers: Viewers,
}

/// Ways to what a participant receives.
#[derive(Default)]
pub(crate) struct Viewer {
    pub(crate) subscriber: Way<ToSubscriber>,
    /// Packets of participants, each batch for all that receive any of it.
    pub(crate) lane: Lane<Arc<[MediaPacket]>>,
    /// Packets for which the lane had no room.
    pub(crate) undelivered: AtomicU64,
}

pub(crate) type Viewers = Arc<[Arc<Viewer>]>;

impl Viewer {
    /// Hands packets on. A viewer that has no room loses them, as on a network.
    pub(crate) fn hand(&self, packets: &Arc<[MediaPacket]>) {
        if !self.lane.push(Arc::clone(packets)) {
            self.undelivered.fetch_add(packets.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Command to a tap.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToTap {
    /// Read anew which tracks there are.
    Tracks,
    /// Packets of a participant, and the reports that came with them.
    Media { packets: Arc<[MediaPacket]>, reports: Arc<[SenderReport]> },
    /// End for good.
    Stop,
}

/// Packet of a published track, read once.
#[derive(Clone, Debug)]
pub(crate) struct MediaPacket {
    pub(crate) track: TrackId,
    pub(crate) encoding: Encoding,
    /// Why it is not forwarded, and its number closed up, in place of its contents.
    pub(crate) contents: Result<Contents, ContentsError>,
    /// Another one than before: it comes after packets that were not forwarded.
    pub(crate) epoch: u32,
    pub(crate) packet: RtpPacket,
    /// Newest frame of redundant sound, by itself; none in other packets.
    pub(crate) plain: Option<Plain>,
}

/// Frame of a packet of redundant sound, for all that do not take such packets.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    /// Payload type of the frame, on the publisher's connection.
    pub(crate) payload_type: u8,
    pub(crate) frame: Arc<[u8]>,
}

impl Plain {
    /// Takes the newest frame out of a payload of redundant sound; none if it is malformed.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let red::Primary { payload_type, frame } = red::primary(payload).ok()?;
        Some(Self { payload_type, frame: Arc::from(frame) })
    }
}

impl MediaPacket {
    /// Returns what a switch looks at.
    pub(crate) fn seen(&self, contents: &Contents) -> Seen {
        Seen {
            encoding: self.encoding,
            entry: contents.entry,
            temporal: contents.temporal,
            layer_sync: contents.layer_sync,
            timestamp: self.packet.timestamp,
        }
    }

    /// Returns what a forwarder rewrites.
    pub(crate) fn incoming(&self) -> Incoming {
        let contents = self.contents.unwrap_or_default();
        Incoming {
            number: self.packet.sequence_number,
            timestamp: self.packet.timestamp,
            marker: self.packet.marker || contents.whole,
            picture_id: contents.picture_id,
            tl0: contents.tl0,
            at: self.packet.at,
            captured: self.packet.captured,
        }
    }
}
