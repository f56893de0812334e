//! What connections are made of: codecs, what is done for media on the way, the template of both, and one
//! connection's configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_ice_handshake::handshake::{
    Certificate, Dtls, HandshakeFactory, Role, SrtpProfile, Version,
};
use callboard_transport::gather::{IceServer, IceTransportPolicy};
use callboard_transport::mux::RouteOptions;

use crate::error::AddTrackError;
use crate::media::*;

/// The codecs of connections (webrtc-rs' and Pion's `MediaEngine`).
///
/// Order is preference: of a kind of media, the first that both sides have is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaEngine {
    codecs: Vec<Codec>,
}

/// A codec that connections can negotiate. Callboard carries its frames; it encodes and decodes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// `audio/opus` (RFC 7587)
    Opus,
    /// `audio/PCMU` (RFC 3551)
    Pcmu,
    /// `audio/PCMA` (RFC 3551)
    Pcma,
    /// `audio/G722` (RFC 3551)
    G722,
    /// `audio/CN`, comfort noise (RFC 3389)
    ComfortNoise,
    /// `video/VP8` (RFC 7741)
    Vp8,
    /// `video/VP9` (RFC 9628)
    Vp9,
    /// `video/H264` (RFC 6184)
    H264,
    /// `video/H265` (RFC 7798)
    H265,
    /// `video/AV1`
    Av1,
}

impl Codec {
    /// What it is a codec of.
    pub fn kind(self) -> TrackKind {
        match self {
            Self::Opus | Self::Pcmu | Self::Pcma | Self::G722 | Self::ComfortNoise => {
                TrackKind::Audio
            }
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => TrackKind::Video,
        }
    }

    /// Its name in SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::ComfortNoise => "CN",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Av1 => "AV1",
        }
    }
}

impl Default for MediaEngine {
    /// Those of browsers: Opus, G.722, PCMU, PCMA; VP8, VP9, H.264, AV1.
    fn default() -> Self {
        use Codec::*;
        Self { codecs: vec![Opus, G722, Pcmu, Pcma, Vp8, Vp9, H264, Av1] }
    }
}

impl MediaEngine {
    /// No codecs: for data channels alone.
    pub fn empty() -> Self {
        Self { codecs: Vec::new() }
    }

    /// These codecs.
    pub fn of(codecs: impl IntoIterator<Item = Codec>) -> Self {
        codecs.into_iter().fold(Self::empty(), Self::codec)
    }

    /// And this one.
    pub fn codec(mut self, codec: Codec) -> Self {
        if !self.codecs.contains(&codec) {
            self.codecs.push(codec);
        }
        self
    }

    /// All of them, best first.
    pub fn codecs(&self) -> &[Codec] {
        &self.codecs
    }

    /// Whether one of them is meant.
    pub(crate) fn has(&self, wanted: &RtpCodecCapability) -> bool {
        self.codecs.iter().any(|codec| {
            Some(codec.kind()) == wanted.kind()
                && wanted.name().is_none_or(|name| name.eq_ignore_ascii_case(codec.name()))
        })
    }

    pub(crate) fn check_track(&self, track: &LocalTrack) -> Result<(), AddTrackError> {
        if track.codec.kind().is_some() && self.has(&track.codec) {
            Ok(())
        } else {
            Err(AddTrackError::InvalidTrack(track.codec.mime_type.clone()))
        }
    }
}

/// What is done for media on its way (webrtc-rs' and Pion's interceptor registry).
#[derive(Clone)]
pub struct Registry {
    /// Ask for lost packets (RFC 4585 NACK), and answer such requests. Default: yes.
    pub nack: bool,
    /// Send them again as a stream of their own (RFC 4588 RTX). Default: yes.
    pub rtx: bool,
    /// Time between sender and receiver reports of audio (RFC 3550). Default: 5 s.
    pub audio_report_interval: Duration,
    /// The same of video. Default: 1 s.
    pub video_report_interval: Duration,
    /// Tell the sender when each packet arrived (transport-wide congestion control). Default: yes.
    pub transport_wide_feedback: bool,
    /// Estimate what the path to the peer carries, beginning with so many bits per second. Default: none is estimated.
    pub bandwidth_estimation: Option<u64>,
    /// What looks at all media, in this order. Default: nothing.
    pub taps: Vec<Arc<dyn Tap>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            nack: true,
            rtx: true,
            audio_report_interval: Duration::from_secs(5),
            video_report_interval: Duration::from_secs(1),
            transport_wide_feedback: true,
            bandwidth_estimation: None,
            taps: Vec::new(),
        }
    }
}

impl Registry {
    /// Have this look at all media; after those that were added before.
    pub fn tap(mut self, tap: impl Tap) -> Self {
        self.taps.push(Arc::new(tap));
        self
    }

    pub(crate) fn taps(&self) -> &[Arc<dyn Tap>] {
        &self.taps
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("nack", &self.nack)
            .field("rtx", &self.rtx)
            .field("transport_wide_feedback", &self.transport_wide_feedback)
            .field("bandwidth_estimation", &self.bandwidth_estimation)
            .field("taps", &self.taps.len())
            .finish_non_exhaustive()
    }
}

/// Looks at media on its way, and may change or drop it. It runs on the media thread: it must not wait.
pub trait Tap: Send + Sync + 'static {
    /// A frame came.
    fn sample_received(&self, _: &mut ReceivedSample) -> Flow {
        Flow::Pass
    }

    /// A frame is to be sent.
    fn sample_sent(&self, _: SenderId, _: &mut Sample) -> Flow {
        Flow::Pass
    }

    /// A packet came.
    fn packet_received(&self, _: &mut RtpPacket) -> Flow {
        Flow::Pass
    }

    /// A packet is to be sent.
    fn packet_sent(&self, _: SenderId, _: &mut RtpPacket) -> Flow {
        Flow::Pass
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    #[default]
    Pass,
    /// It ends here.
    Drop,
}

/// How media is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MediaMode {
    /// As whole frames: [`Sample`] and [`ReceivedSample`].
    #[default]
    Samples,
    /// As packets: [`RtpPacket`]. For forwarding without a look inside.
    Rtp,
}

/// The template of connections: immutable, cheap to clone, used for as many as one likes (Pion's `API`).
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) inner: Arc<ApiInner>,
}

#[derive(Clone)]
pub(crate) struct ApiInner {
    pub(crate) media_engine: MediaEngine,
    pub(crate) registry: Registry,
    pub(crate) settings: ApiSettings,
    pub(crate) handshake: Option<Arc<MakeHandshake>>,
}

impl ApiInner {
    /// What SCTP holds to be sent of all channels together, in bytes; what it does not take waits in the channels' own queues.
    pub(crate) fn sctp_buffer(&self) -> usize {
        (256 << 10).max(self.settings.max_message_size as usize)
    }
}

/// Makes a connection's handshake out of the DTLS that it would have.
type MakeHandshake = dyn Fn(Dtls) -> Arc<dyn HandshakeFactory> + Send + Sync;

impl fmt::Debug for ApiInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("media_engine", &self.media_engine)
            .field("registry", &self.registry)
            .field("settings", &self.settings)
            .field("custom_handshake", &self.handshake.is_some())
            .finish()
    }
}

/// What all connections of an [`Api`] have in common, beside codecs and interceptors.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// How media is handed over. Default: as samples.
    pub media_mode: MediaMode,
    /// Be an ICE-lite agent (RFC 8445 §2.5): for servers with public addresses; host candidates alone. Default: no.
    pub ice_lite: bool,
    /// The DTLS role of answers to offers that leave it open. Default: the server's, which chooses the SRTP profile, and
    /// so gets AES-GCM also from browsers, which as servers prefer AES-CM. As client it offers AES-GCM alone, and saves
    /// a round trip.
    pub answering_role: Role,
    /// Offer to be the DTLS client, rather than leave it open. Default: no.
    pub offer_active: bool,
    /// The only version of DTLS. Default: 1.3 with a peer that has it, else 1.2.
    pub dtls_version: Option<Version>,
    /// The SRTP profiles, best first. Default: AES-128-GCM, AES-256-GCM, AES-128-CM-SHA1-80; as DTLS client the last
    /// is left out.
    pub srtp_profiles: Option<Vec<SrtpProfile>>,
    /// The largest message of a data channel that the peer may send, in bytes. Of those that are sent the largest has as many
    /// bytes, or 256 KiB if that is more, and the peer may take less. Default: 256 KiB.
    pub max_message_size: u32,
    /// How much may wait to be sent on each data channel, in bytes. Default: 4 MiB.
    pub max_buffered_amount: usize,
    /// How many data channels there may be, of both sides together. Default: 1,024.
    pub max_data_channels: usize,
    /// How many sections of media a remote description may have; one with more is refused before it is read
    /// ([`TooManySections`](crate::error::DescriptionError::TooManySections)). Each costs CPU time and memory. What this
    /// side has offered may be answered whatever it is. Default: 64.
    pub max_sections: usize,
    /// How much that came may wait for the owner, in bytes, and in events; one that does not keep up loses media, and
    /// the connection when data or states have no more room. Default: 8 MiB, 16,384.
    pub max_unread: (usize, usize),
    /// How much may wait to be read from the network.
    pub route: RouteOptions,
    /// Without any inbound traffic for so long, a connection is `disconnected`. Default: 5 s.
    pub disconnected_timeout: Duration,
    /// It is `failed` when no path was found within so long, or none was found again. Default: 30 s.
    pub failed_timeout: Duration,
    /// A connection that has been `failed` for so long is closed, with the reason. Default: 30 s; none: never, the
    /// application does.
    pub failed_close_timeout: Option<Duration>,
    /// Write candidates into local descriptions as well. Default: no; they are told one by one.
    pub inline_candidates: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            media_mode: MediaMode::default(),
            ice_lite: false,
            answering_role: Role::Server,
            offer_active: false,
            dtls_version: None,
            srtp_profiles: None,
            max_message_size: 256 << 10,
            max_buffered_amount: 4 << 20,
            max_data_channels: 1_024,
            max_sections: 64,
            max_unread: (8 << 20, 16_384),
            route: RouteOptions::default(),
            disconnected_timeout: Duration::from_secs(5),
            failed_timeout: Duration::from_secs(30),
            failed_close_timeout: Some(Duration::from_secs(30)),
            inline_candidates: false,
        }
    }
}

impl Api {
    /// Of these codecs and interceptors.
    pub fn new(media_engine: MediaEngine, registry: Registry) -> Self {
        Self::with_settings(media_engine, registry, ApiSettings::default())
    }

    /// And with these settings.
    pub fn with_settings(
        media_engine: MediaEngine,
        registry: Registry,
        settings: ApiSettings,
    ) -> Self {
        Self { inner: Arc::new(ApiInner { media_engine, registry, settings, handshake: None }) }
    }

    /// With a handshake for every connection that is not [given one](Configuration::handshake): made out of the DTLS that
    /// the connection would have, with its own certificate, which it may wrap.
    pub fn handshake(
        mut self,
        make: impl Fn(Dtls) -> Arc<dyn HandshakeFactory> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.inner).handshake = Some(Arc::new(make));
        self
    }

    /// With another [`ApiSettings::max_message_size`]. Costs a copy of the template if it differs.
    pub fn max_message_size(mut self, bytes: u32) -> Self {
        if self.inner.settings.max_message_size != bytes {
            Arc::make_mut(&mut self.inner).settings.max_message_size = bytes;
        }
        self
    }

    /// Its codecs.
    pub fn media_engine(&self) -> &MediaEngine {
        &self.inner.media_engine
    }

    /// Its settings.
    pub fn settings(&self) -> &ApiSettings {
        &self.inner.settings
    }
}

impl Default for Api {
    /// The codecs of browsers, and what browsers do for media.
    fn default() -> Self {
        Self::new(MediaEngine::default(), Registry::default())
    }
}

/// One connection's configuration (W3C `RTCConfiguration`).
#[derive(Clone, Default)]
pub struct Configuration {
    /// STUN and TURN servers. Default: none.
    pub ice_servers: Vec<IceServer>,
    /// Which candidates there are to be. Default: all.
    pub ice_transport_policy: IceTransportPolicy,
    /// This side's certificate. Default: a new one, of random issuer and serial number. One that is used again saves
    /// some 50 µs, and makes connections of one server recognisable.
    pub certificate: Option<Certificate>,
    /// The handshake. Default: what the [`Api`] makes, or DTLS as its [`ApiSettings`] say.
    ///
    /// Its session must be one of DTLS ([`Session::into_engine`](callboard_ice_handshake::handshake::Session::into_engine)),
    /// such as wrappers of [`Dtls`] have; with another the connection fails.
    /// `certificate` must be the one it shows.
    pub handshake: Option<Arc<dyn HandshakeFactory>>,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("ice_servers", &self.ice_servers)
            .field("ice_transport_policy", &self.ice_transport_policy)
            .field("custom_handshake", &self.handshake.is_some())
            .finish_non_exhaustive()
    }
}
