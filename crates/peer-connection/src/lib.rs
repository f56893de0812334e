//! A WebRTC peer connection (W3C `RTCPeerConnection`) as a supervised actor.
//!
//! [`PeerConnections`] is the pool of media threads: a UDP port for each thread, and the supervisors of peer
//! connections and their handshakes. [`PeerConnections::open`] opens a peer connection from an [`Api`] (codecs,
//! interceptors, settings; made once) and a [`Configuration`] (servers, certificate, handshake; for one peer
//! connection). The [`messages`] are its commands; its owner receives [`PeerConnectionEvent`]s.
//!
//! ```
//! use actix::prelude::*;
//! use callboard_peer_connection::messages::*;
//! use callboard_peer_connection::*;
//!
//! /// Answers every offer.
//! async fn answer(
//!     connections: &PeerConnections,
//!     owner: Recipient<PeerConnectionEvent>,
//!     offer: SessionDescription,
//! ) -> Result<(PeerConnectionHandle, SessionDescription), Box<dyn std::error::Error>> {
//!     let connection = connections.open(&Api::default(), Configuration::default(), owner).await?;
//!     let accepted = connection.send(AcceptOffer(offer)).await??;
//!     // Candidates follow as `ConnectionEvent::IceCandidate`, for the peer's addIceCandidate.
//!     Ok((connection, accepted.answer))
//! }
//! ```
//!
//! # Guarantees
//!
//! * Every operation is answered, with its result or with its own error; a refused operation has changed nothing.
//! * The owner receives [`ConnectionEvent::Closed`] exactly once, as the last event, for every cause of the end.
//! * Nothing that a peer sends ends more than its own connection, or makes anything grow without bound.
//! * A connection that either side has closed, or that has lost its owner, leaves nothing behind.

mod actor;
pub mod api;
mod batch;
mod candidate;
mod channels;
mod data_channel;
mod default_handshake;
mod description;
mod engine;
pub mod error;
mod event;
#[cfg(fuzzing)]
pub mod fuzzing;
mod header_extensions;
mod id_map;
mod jsep;
mod logging;
mod loss_injection;
mod media;
mod media_sink;
mod media_thread;
pub mod messages;
mod outgoing_packets;
mod owner_queue;
mod owners;
mod pool;
mod sctp;
pub mod sdp;
mod session;
mod slots;
mod state;
mod stats;

pub use actor::PeerConnection;
pub use api::{
    Api, ApiSettings, Codec, Configuration, Flow, Interceptor, InterceptorRegistry, MediaEngine,
    MediaMode,
};
pub use callboard_transport::gather::IceServer;
pub use candidate::IceCandidate;
pub use data_channel::{DataChannelId, DataChannelInfo, DataChannelOptions, DataChannelState};
pub use description::{SdpType, SessionDescription};
pub use event::{
    CloseReason, ConnectionEvent, DataChannelMessage, FailureReason, PacketBatch,
    PeerConnectionEvent, PeerConnectionId, ReceptionReport, SenderReport,
};
pub use header_extensions::{
    CaptureTime, HeaderExtension, HeaderExtensions, PlayoutDelay, VideoFormat, VideoLayer,
    VideoLayers, VideoOrientation,
};
pub use jsep::{AnsweredSections, RejectedSection, RejectionReason};
pub use logging::RateLimitedLog;
pub use media::{
    Direction, KeyframeRequestKind, LocalTrack, ParseRidError, ReceivedSample, Rid,
    RtpCodecCapability, RtpPacket, Sample, SenderId, SenderPosition, TrackKind, TransceiverId,
    Vp8Rewrite,
};
pub use owners::{ConnectionOwners, OWNER_PREFIX};
pub use pool::{
    OpenError, PeerConnectionHandle, PeerConnections, PeerConnectionsOptions, StartPoolError,
};
pub use sctp::SctpViolation;
pub use session::PeerConnectionCounters;
pub use state::{
    DtlsTransportState, IceConnectionState, IceGatheringState, PeerConnectionState, SignalingState,
};
pub use stats::{
    CertificateStats, CodecStats, DataChannelStats, DtlsRole, IceCandidatePairStats,
    IceCandidateStats, InboundRtpStreamStats, OutboundRtpStreamStats, PeerConnectionStats,
    RemoteInboundRtpStreamStats, RemoteOutboundRtpStreamStats, Stats, StatsDictionary, StatsReport,
    TlsVersion, TransportStats,
};
