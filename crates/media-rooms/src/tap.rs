//! Taps: an application gets the packets and whole frames of a room's tracks.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use callboard_peer_connection::{Codec, RtpPacket, TrackKind};
use callboard_supervision::Placement;

use crate::event::{ParticipantId, TrackId, TrackInfo};
use crate::shared::Shared;
use crate::tap_seat::TapSeat;

/// Application's part of a tap, which gets what the room forwards: nothing of muted tracks, and of many voices the
/// loudest.
///
/// It runs on one of two threads for the taps of its room, or where it is [placed](TapOptions::placement). One that is
/// slow, or blocks, loses packets ([`TapHandle::lost`]) and holds up the taps that share its thread, and no viewer;
/// pictures go on with the next key frame. One that panics is made anew by its factory, and told all
/// tracks again.
pub trait MediaTap: Unpin + 'static {
    /// Handles a track that was chosen. Told before anything of it comes.
    fn track_added(&mut self, track: &TrackInfo) {
        _ = track;
    }

    /// Handles the end of a track. Nothing of it comes any more. A tap of [one track](TapOptions::track) is told as
    /// well where that has ended before this instance began.
    fn track_removed(&mut self, track: TrackId) {
        _ = track;
    }

    /// Handles a packet, in the order of arrival; of simulcast those of each encoding that comes.
    fn packet(&mut self, track: &TrackInfo, packet: &RtpPacket) {
        _ = (track, packet);
    }

    /// Handles a frame of Opus, VP8 or H.264, complete and in order. Pictures begin with a key frame, also after a
    /// loss. Of simulcast the largest encoding is taken that comes; it changes at key frames.
    fn frame(&mut self, track: &TrackInfo, frame: &Frame) {
        _ = (track, frame);
    }
}

/// Complete frame of a track.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Frame {
    /// Codec of its data: [`Opus`](Codec::Opus), [`Vp8`](Codec::Vp8) or [`H264`](Codec::H264).
    pub codec: Codec,
    /// The frame, as a decoder takes it; H.264 as a byte stream with start codes (Annex B), at most 4 MiB.
    pub data: Arc<[u8]>,
    /// Whether a decoder can begin here; with any sound it can.
    pub keyframe: bool,
    /// Whether something before it was lost.
    pub after_loss: bool,
    /// Time in units of the codec's clock, as the sender counts it.
    pub timestamp: u32,
    /// When it was captured, on this machine's clock: never before the frame before it. The tracks of one participant
    /// are in step as soon as it has reported on its clocks (RFC 3550 §6.4.1), which browsers do within seconds; until
    /// then, arrival counts.
    pub captured: Instant,
    /// Width and height in pixels, of a VP8 key frame.
    pub size: Option<(u16, u16)>,
}

/// Options of a tap.
#[derive(Clone, Debug)]
pub struct TapOptions {
    pub(crate) name: String,
    pub(crate) kind: Option<TrackKind>,
    pub(crate) participant: Option<ParticipantId>,
    pub(crate) track: Option<TrackId>,
    pub(crate) placement: Option<Placement>,
}

impl TapOptions {
    /// Creates the options of a tap of all tracks. It is `tap:NAME` in the room's tree.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, kind: None, participant: None, track: None, placement: None }
    }

    /// Chooses the tracks of this kind. Default: both kinds.
    pub fn kind(mut self, kind: TrackKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Chooses the tracks of this participant. Default: all participants.
    pub fn participant(mut self, participant: ParticipantId) -> Self {
        self.participant = Some(participant);
        self
    }

    /// Chooses this track. Default: all tracks.
    pub fn track(mut self, track: TrackId) -> Self {
        self.track = Some(track);
        self
    }

    /// Sets the thread on which the tap runs. It should be none of the connections: a tap that blocks there holds up
    /// all media. Default: one of two threads that all taps of the room share, which begin with the first taps.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = Some(placement);
        self
    }

    pub(crate) fn chooses(&self, track: &TrackInfo) -> bool {
        self.kind.is_none_or(|kind| kind == track.kind)
            && self.participant.is_none_or(|participant| participant == track.participant)
            && self.track.is_none_or(|id| id == track.id)
    }
}

/// Handle of a tap. The tap ends when this is dropped, or with the room.
#[must_use = "the tap ends when this is dropped"]
pub struct TapHandle {
    shared: Arc<Shared>,
    seat: Arc<TapSeat>,
}

impl TapHandle {
    pub(crate) fn new(shared: Arc<Shared>, seat: Arc<TapSeat>) -> Self {
        Self { shared, seat }
    }

    /// Returns how many packets the tap has lost because it was slow, or was being restarted.
    pub fn lost(&self) -> u64 {
        self.seat.lost()
    }

    /// Returns whether the tap runs: it has not been given up, which it is for good after a fourth fault in 10 s, and
    /// the room goes on. While the room's supervisor is being restarted, no tap runs.
    pub fn is_running(&self) -> bool {
        let supervisor = self.shared.supervisor().ok();
        let own = supervisor.and_then(|it| it.supervisor(&self.seat.name).ok());
        own.is_some_and(|own| own.is_running())
    }

    /// Returns whether it was given up: after a fourth fault in 10 s, for good.
    pub fn is_given_up(&self) -> bool {
        self.seat.has_ended()
    }

    /// Resolves when it [is given up](Self::is_given_up), or this handle is dropped. The future does not keep the tap,
    /// and restarts of the room's supervisor do not end it.
    pub fn given_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let seat = Arc::clone(&self.seat);
        async move { seat.ended().await }
    }

    /// Ends the tap. Resolves when its last instance is gone, and dropped.
    pub async fn stop(self) {
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        drop(self);
        ended(&shared, &seat).await;
    }

    /// Resolves when the tap has been given up, or the room has ended.
    pub(crate) async fn ended(&self) {
        ended(&self.shared, &self.seat).await;
    }
}

/// Resolves when the room has no tap of this seat.
async fn ended(shared: &Shared, seat: &TapSeat) {
    if let Ok(supervisor) = shared.supervisor() {
        tokio::select! {
            () = supervisor.removed(&seat.name) => {}
            _ = supervisor.ended() => {}
        }
    }
}

impl Drop for TapHandle {
    fn drop(&mut self) {
        self.shared.remove_tap(&self.seat);
        self.seat.end();
    }
}

impl fmt::Debug for TapHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapHandle")
            .field("name", &self.seat.name)
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
