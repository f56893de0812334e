//! Seats of taps: what the room's other actors and the application know of each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use callboard_peer_connection::SenderReport;
use callboard_supervision::ChildSpec;
use tokio::sync::{Mutex, Notify};

use crate::event::ParticipantId;
use crate::messages::{MediaPacket, ToTap};
use crate::way::Way;

/// Seat of a tap, which outlives its instances.
pub(crate) struct TapSeat {
    /// Name in the tree.
    pub(crate) name: String,
    /// The only participant whose tracks it gets, if there is one.
    pub(crate) only: Option<ParticipantId>,
    pub(crate) way: Way<ToTap>,
    /// Packets that it has lost.
    lost: AtomicU64,
    /// It is to read the tracks anew, and knows that.
    is_told: AtomicBool,
    has_ended: AtomicBool,
    ends: Notify,
    spec: Box<MakeSpec>,
    /// Locked while it is started, by the one who opens it or by the room; whether it was.
    pub(crate) started: Mutex<bool>,
}

/// Function that makes the spec of a tap's supervisor; none when the room is gone.
type MakeSpec = dyn Fn(&Arc<TapSeat>) -> Option<ChildSpec> + Send + Sync;

impl TapSeat {
    pub(crate) fn new(
        name: String,
        only: Option<ParticipantId>,
        spec: impl Fn(&Arc<Self>) -> Option<ChildSpec> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (way, lost, is_told, has_ended, ends, started) = Default::default();
        let spec = Box::new(spec);
        Arc::new(Self { name, only, way, lost, is_told, has_ended, ends, spec, started })
    }

    pub(crate) fn spec(self: &Arc<Self>) -> Option<ChildSpec> {
        (self.spec)(self)
    }

    /// Hands on what a participant has sent. A tap that has no room for it loses it.
    pub(crate) fn hand(
        &self,
        from: ParticipantId,
        packets: &Arc<[MediaPacket]>,
        reports: &Arc<[SenderReport]>,
    ) {
        if self.only.is_some_and(|only| only != from) || !self.way.leads() {
            return;
        }
        let (packets, reports) = (Arc::clone(packets), Arc::clone(reports));
        let count = packets.len() as u64;
        if !self.way.try_send(ToTap::Media { packets, reports }) {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Tells it that tracks have come, gone or changed.
    pub(crate) fn tell_tracks(&self) {
        if !self.is_told.swap(true, Ordering::AcqRel) {
            // One at a time, until it has read them.
            self.way.do_send(ToTap::Tracks);
        }
    }

    /// Notes that it reads the tracks now.
    pub(crate) fn reads_tracks(&self) {
        self.is_told.store(false, Ordering::Release);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Ends the tap. An instance that starts later ends at once.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.ends.notify_waiters();
        // Once for each tap.
        self.way.do_send(ToTap::Stop);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Resolves when the tap has ended, for good.
    pub(crate) async fn ended(&self) {
        // Before the check, so that no end is missed.
        let ends = self.ends.notified();
        if !self.has_ended() {
            ends.await;
        }
    }
}

impl fmt::Debug for TapSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapSeat").field("name", &self.name).finish_non_exhaustive()
    }
}
