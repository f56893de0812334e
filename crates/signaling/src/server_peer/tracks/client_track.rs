//! Track that a client sends to the server.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_peer_connection::{Rid, TrackKind, TransceiverId};

/// A track that a client sends to the server over its peer connection. Cheap to clone, usable from any thread.
///
/// It is over when the client sends it no more, or has another peer connection
/// ([`TrackEvent::Removed`](crate::TrackEvent)); what is asked of it has no effect then.
#[derive(Clone, Debug)]
pub struct ClientTrack(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    new: NewClientTrack,
    /// Server peer that asks the client for key frames.
    server: Recipient<AskForKeyframe>,
    /// Whether a key frame is wanted that the client has not been asked for.
    wanted: AtomicBool,
    asked: Mutex<Option<Instant>>,
    dropped: AtomicU64,
}

/// What is known of a track when it begins.
#[derive(Debug)]
pub(crate) struct NewClientTrack {
    pub(crate) transceiver: TransceiverId,
    pub(crate) kind: TrackKind,
    pub(crate) mid: String,
    pub(crate) name: String,
    pub(crate) streams: Vec<String>,
    pub(crate) encodings: Vec<Rid>,
}

/// A key frame of this track is wanted.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AskForKeyframe(pub(crate) ClientTrack);

impl ClientTrack {
    pub(crate) fn new(new: NewClientTrack, server: Recipient<AskForKeyframe>) -> Self {
        let (wanted, asked, dropped) = Default::default();
        Self(Arc::new(Shared { new, server, wanted, asked, dropped }))
    }

    /// Returns its identifier: that of the transceiver that receives it.
    pub fn id(&self) -> TransceiverId {
        self.0.new.transceiver
    }

    /// Returns whether it is sound or pictures.
    pub fn kind(&self) -> TrackKind {
        self.0.new.kind
    }

    /// Returns the `a=mid` of its section.
    pub fn mid(&self) -> &str {
        &self.0.new.mid
    }

    /// Returns the client's own id of the track, which another track may have as well.
    pub fn name(&self) -> &str {
        &self.0.new.name
    }

    /// Returns the ids of the streams to which it belongs.
    pub fn streams(&self) -> &[String] {
        &self.0.new.streams
    }

    /// Returns the names of its simulcast encodings, in the order of the client's description; none without simulcast.
    pub fn encodings(&self) -> &[Rid] {
        &self.0.new.encodings
    }

    /// Asks the client for a key frame, of each encoding of simulcast; it is asked twice in a second at most, and
    /// requests that come meanwhile are one. Does nothing for sound.
    pub fn request_keyframe(&self) {
        let is_first =
            self.kind() == TrackKind::Video && !self.0.wanted.swap(true, Ordering::Relaxed);
        if is_first {
            // At most one waits for each track. The track of a server peer that has ended is over.
            self.0.server.do_send(AskForKeyframe(self.clone()));
        }
    }

    /// Returns how many of its frames were lost because the application did not take them in time: it gets the newest
    /// 256 frames of all tracks of its client, and 4 MiB.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn count_dropped(&self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how long to wait before the client may be asked for a key frame again.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        let asked = *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.map_or(Duration::ZERO, |at| (at + PAUSE).saturating_duration_since(now))
    }

    /// Notes that the client is asked.
    pub(crate) fn asked(&self, now: Instant) {
        // What is wanted from now on is another one.
        self.0.wanted.store(false, Ordering::Relaxed);
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

/// Time between two requests for a key frame of a track: each costs the client a large frame.
const PAUSE: Duration = Duration::from_millis(500);
