//! Track that the server sends to a client.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use callboard_peer_connection::error::AddTrackError;
use callboard_peer_connection::messages::WriteSample;
use callboard_peer_connection::{LocalTrack, ReceivedSample, RtpCodecCapability, Sample};
use callboard_supervision::CallError;

use super::Tracks;

/// A track that the server sends to a client ([`PeerRef::add_track`](crate::PeerRef::add_track)). Cheap to clone,
/// usable from any thread; it ends when the last clone is dropped.
///
/// It stays when the client's peer connection is replaced: the next one carries it as well.
#[derive(Clone, Debug)]
pub struct ServerTrack(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    tracks: Tracks,
    number: u64,
    track: LocalTrack,
    /// Whether the application has been told of a request for a key frame that it has not handled.
    asked: AtomicBool,
}

/// Reason why a client is sent no track.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddServerTrackError {
    /// The route has no WebRTC ([`PeerOptions::webrtc`](crate::PeerOptions::webrtc)).
    #[error("clients of this route have no peer connection")]
    Disabled,
    /// What clients send and receive is the room's ([`WebRtc::media`](crate::WebRtc::media)): write to it as a
    /// [bot](callboard_media_rooms::Bot).
    #[error("the media of this route's clients is their room's")]
    MediaRoom,
    /// The client is sent [`ServerTrack::MOST`] tracks.
    #[error("too many tracks")]
    TooMany,
    /// The client is sent a track with this id.
    #[error("there is a track with this id")]
    AlreadyAdded,
    /// The track's codec is neither `audio/…` nor `video/…`.
    #[error("invalid track: {0}")]
    InvalidTrack(String),
}

/// Reason why a frame was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteTrackError {
    /// The client has no peer connection that has this track: not yet, or it is being replaced.
    #[error("the client has no connection with this track")]
    NotConnected,
    /// The client's peer connection has no room for more.
    #[error("too much waits to be sent")]
    Busy,
    /// The frame is of another codec than the track.
    #[error("a frame of {0} on a track of {1}")]
    OtherCodec(String, String),
    /// The client's peer connection does not accept the track.
    #[error(transparent)]
    Refused(AddTrackError),
}

impl ServerTrack {
    /// Most tracks that the server sends to one client.
    pub const MOST: usize = 64;

    pub(super) fn new(tracks: Tracks, number: u64, track: LocalTrack) -> Self {
        Self(Arc::new(Shared { tracks, number, track, asked: AtomicBool::new(false) }))
    }

    pub(super) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    /// Returns its ids and its codec.
    pub fn track(&self) -> &LocalTrack {
        &self.0.track
    }

    /// Sends a frame, without waiting. What is sent before the client has answered the server's offer is lost, and so
    /// is what its connection [refuses](callboard_peer_connection::PeerConnectionCounters::writes_refused). Only in
    /// [sample mode](callboard_peer_connection::MediaMode::Samples), the default.
    ///
    /// # Errors
    /// [`WriteTrackError`]; the frame is lost.
    pub fn write(&self, sample: Sample) -> Result<(), WriteTrackError> {
        let (connection, sender) = self.0.tracks.sender(self.0.number)?;
        connection.try_send(WriteSample { sender, sample }).map_err(|error| match error {
            CallError::Full => WriteTrackError::Busy,
            _ => WriteTrackError::NotConnected,
        })
    }

    /// Sends a frame that has come from a client, with its time. Of a track in simulcast, forward one encoding
    /// ([`ReceivedSample::rid`]) alone.
    ///
    /// # Errors
    /// [`WriteTrackError`], as of [`write`](Self::write); [`OtherCodec`](WriteTrackError::OtherCodec) if the frame is
    /// not of the track's codec.
    pub fn forward(&self, sample: &ReceivedSample) -> Result<(), WriteTrackError> {
        let codec = &self.0.track.codec;
        if !is_of(&sample.codec, codec) {
            let (frame, track) = (sample.codec.mime_type.clone(), codec.mime_type.clone());
            return Err(WriteTrackError::OtherCodec(frame, track));
        }
        self.write(Sample::from(sample))
    }
}

/// Returns whether this is the codec of a track, which may be a kind alone.
fn is_of(codec: &RtpCodecCapability, track: &RtpCodecCapability) -> bool {
    let is_named = track
        .name()
        .is_none_or(|name| codec.name().is_some_and(|other| other.eq_ignore_ascii_case(name)));
    codec.kind() == track.kind() && is_named
}

impl From<Arc<Shared>> for ServerTrack {
    fn from(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tracks.end(self.number);
    }
}

/// Request of a client for a key frame of a track that is sent to it. Further requests for the track are one with it as
/// long as there is a clone of it.
#[derive(Clone, Debug)]
pub struct KeyframeRequest(Arc<Asked>);

#[derive(Debug)]
struct Asked(ServerTrack);

impl KeyframeRequest {
    /// Returns the request, unless there is one for this track.
    pub(super) fn of(track: ServerTrack) -> Option<Self> {
        let is_first = !track.0.asked.swap(true, Ordering::Relaxed);
        is_first.then(|| Self(Arc::new(Asked(track))))
    }

    /// Returns the track.
    pub fn track(&self) -> &ServerTrack {
        &self.0.0
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.0.asked.store(false, Ordering::Relaxed);
    }
}
