//! Codecs, interceptors, template and configuration of peer connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_ice_handshake::handshake::{
    Certificate, Dtls, HandshakeFactory, Role, SrtpProfile, Version,
};
use callboard_transport::gather::{IceServer, IceTransportPolicy};
use callboard_transport::mux::RouteOptions;

use crate::error::AddTrackError;
use crate::header_extensions::HeaderExtension;
use crate::jsep::Chosen;
use crate::media::*;

/// The codecs of connections (webrtc-rs' and Pion's `MediaEngine`).
///
/// Order is preference: of each kind of media, the first codec that both sides have is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaEngine {
    codecs: Vec<Codec>,
}

/// A codec that connections can negotiate. Callboard carries its frames; it neither encodes nor decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// `audio/opus` (RFC 7587)
    Opus,
    /// `audio/red`: Opus with copies of earlier frames (RFC 2198), beside [`Opus`](Self::Opus), which it needs. Where
    /// it is negotiated, Chromium sends it in place of plain Opus. In RTP mode its packets are handed over as they
    /// come. Firefox does not have it, and cannot offer again where this side has offered first: Opus has another
    /// payload type then than its own.
    Red,
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
    /// Returns whether it is a codec of audio or of video.
    pub fn kind(self) -> TrackKind {
        match self {
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma | Self::G722 | Self::ComfortNoise => {
                TrackKind::Audio
            }
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => TrackKind::Video,
        }
    }

    /// Returns its name in SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Red => "red",
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
    /// Returns the codecs of browsers: Opus, G.722, PCMU, PCMA; VP8, VP9, H.264, AV1.
    fn default() -> Self {
        use Codec::*;
        Self { codecs: vec![Opus, G722, Pcmu, Pcma, Vp8, Vp9, H264, Av1] }
    }
}

impl MediaEngine {
    /// Creates an engine without codecs: for data channels alone.
    pub fn empty() -> Self {
        Self { codecs: Vec::new() }
    }

    /// Creates an engine with these codecs.
    pub fn of(codecs: impl IntoIterator<Item = Codec>) -> Self {
        codecs.into_iter().fold(Self::empty(), Self::codec)
    }

    /// Adds a codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        if !self.codecs.contains(&codec) {
            self.codecs.push(codec);
        }
        self
    }

    /// Returns all codecs, best first.
    pub fn codecs(&self) -> &[Codec] {
        &self.codecs
    }

    /// Returns whether this describes one of the codecs.
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

/// The handling of media on its way (webrtc-rs' and Pion's interceptor registry).
#[derive(Clone)]
pub struct InterceptorRegistry {
    /// Whether to ask for lost packets (RFC 4585 NACK), and to answer such requests. Default: yes.
    pub nack: bool,
    /// Whether to send them again as a separate stream (RFC 4588 RTX). Default: yes.
    pub rtx: bool,
    /// Interval of sender and receiver reports of audio (RFC 3550). Default: 5 s.
    pub audio_report_interval: Duration,
    /// The same interval for video. Default: 1 s.
    pub video_report_interval: Duration,
    /// Whether to tell the sender when each packet arrived (transport-wide congestion control). Default: yes.
    pub transport_wide_feedback: bool,
    /// Initial bandwidth estimate of the path to the peer, in bits per second. Default: none, and nothing is estimated;
    /// peers that only receive are not asked when each packet arrived. 0 is the same as none.
    pub bandwidth_estimation: Option<u64>,
    /// Interceptors of all media, in this order. Default: none.
    pub interceptors: Vec<Arc<dyn Interceptor>>,
}

impl Default for InterceptorRegistry {
    fn default() -> Self {
        Self {
            nack: true,
            rtx: true,
            audio_report_interval: Duration::from_secs(5),
            video_report_interval: Duration::from_secs(1),
            transport_wide_feedback: true,
            bandwidth_estimation: None,
            interceptors: Vec::new(),
        }
    }
}

impl InterceptorRegistry {
    /// Adds an interceptor of all media, after those that were added before.
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    pub(crate) fn interceptors(&self) -> &[Arc<dyn Interceptor>] {
        &self.interceptors
    }
}

impl fmt::Debug for InterceptorRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterceptorRegistry")
            .field("nack", &self.nack)
            .field("rtx", &self.rtx)
            .field("transport_wide_feedback", &self.transport_wide_feedback)
            .field("bandwidth_estimation", &self.bandwidth_estimation)
            .field("interceptors", &self.interceptors.len())
            .finish_non_exhaustive()
    }
}

/// Interceptor: sees media on its way, and may change or drop it. It runs on the media thread: it must not block.
pub trait Interceptor: Send + Sync + 'static {
    /// Handles a frame that was received.
    fn sample_received(&self, _: &mut ReceivedSample) -> Flow {
        Flow::Pass
    }

    /// Handles a frame before it is sent.
    fn sample_sent(&self, _: SenderId, _: &mut Sample) -> Flow {
        Flow::Pass
    }

    /// Handles a packet that was received.
    fn packet_received(&self, _: &mut RtpPacket) -> Flow {
        Flow::Pass
    }

    /// Handles a packet before it is sent.
    fn packet_sent(&self, _: SenderId, _: &mut RtpPacket) -> Flow {
        Flow::Pass
    }
}

/// Decision of an interceptor about a frame or packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// The frame or packet goes on.
    #[default]
    Pass,
    /// The frame or packet is dropped.
    Drop,
}

/// Form in which media is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MediaMode {
    /// Whole frames: [`Sample`] and [`ReceivedSample`].
    #[default]
    Samples,
    /// Packets: [`RtpPacket`]. For forwarding without a look inside.
    Rtp,
}

/// The template of connections: immutable, cheap to clone, used for any number of connections (Pion's `API`).
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) inner: Arc<ApiInner>,
}

#[derive(Clone)]
pub(crate) struct ApiInner {
    pub(crate) media_engine: MediaEngine,
    pub(crate) registry: InterceptorRegistry,
    pub(crate) settings: ApiSettings,
    pub(crate) handshake: Option<Arc<MakeHandshake>>,
}

impl ApiInner {
    /// Returns how many bytes SCTP holds for sending, of all channels together; the rest waits in the channels' own
    /// queues.
    pub(crate) fn sctp_buffer(&self) -> usize {
        (256 << 10).max(self.settings.max_message_size as usize)
    }

    /// Returns the header extensions that connections may agree on.
    pub(crate) fn extensions(&self) -> Chosen {
        Chosen::new(&self.settings.extensions, self.registry.transport_wide_feedback)
    }
}

/// Makes a connection's handshake from the DTLS that the connection would otherwise have.
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

/// Settings that all connections of an [`Api`] share, beside codecs and interceptors.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Form in which media is handed over. Default: samples.
    pub media_mode: MediaMode,
    /// Whether to be an ICE-lite agent (RFC 8445 §2.5): for servers with public addresses; host candidates alone.
    /// Default: no.
    pub ice_lite: bool,
    /// DTLS role in answers to offers that leave it open. Default: server. The server chooses the SRTP profile, and so
    /// gets AES-GCM also from browsers, which as servers prefer AES-CM. As client this side offers AES-GCM alone, and
    /// saves a round trip.
    pub answering_role: Role,
    /// Whether to offer to be the DTLS client, rather than leave the role open. Default: no.
    pub offer_active: bool,
    /// Only allowed version of DTLS. Default: 1.3 with a peer that has it, else 1.2.
    pub dtls_version: Option<Version>,
    /// SRTP profiles, best first. Default: AES-128-GCM, AES-256-GCM, AES-128-CM-SHA1-80; without the last as DTLS
    /// client.
    pub srtp_profiles: Option<Vec<SrtpProfile>>,
    /// Largest message of a data channel that the peer may send, in bytes. This side sends messages of the same size,
    /// or of 256 KiB if that is more; the peer may accept less. Default: 256 KiB.
    pub max_message_size: u32,
    /// Bytes that may wait to be sent on each data channel. Default: 4 MiB.
    pub max_buffered_amount: usize,
    /// Largest number of data channels, of both sides together. Default: 1,024.
    pub max_data_channels: usize,
    /// Largest number of media sections in a remote description; one with more is refused before it is parsed
    /// ([`TooManySections`](crate::error::DescriptionError::TooManySections)). Each costs CPU time and memory. An
    /// answer may always have as many as this side's offer. Default: 64.
    pub max_sections: usize,
    /// Received bytes and events that may wait for the owner; an owner that does not keep up loses media, and loses the
    /// connection when data or states have no more room. Default: 8 MiB, 16,384.
    pub max_unread: (usize, usize),
    /// Bounds of the receive queue, which holds datagrams from the network.
    pub route: RouteOptions,
    /// Time without any inbound traffic after which a connection is `disconnected`. Default: 5 s.
    pub disconnected_timeout: Duration,
    /// Time without a path, at the start or after one was lost, after which a connection is `failed`. Default: 30 s.
    pub failed_timeout: Duration,
    /// Time after which a `failed` connection is closed, with the reason. Default: 30 s; with none, only the
    /// application closes it.
    pub failed_close_timeout: Option<Duration>,
    /// Whether to write candidates into local descriptions as well. Default: no; they are sent one by one as events.
    pub inline_candidates: bool,
    /// Header extensions that are offered, and agreed to where a peer offers them, beside those that every connection
    /// has. Each packet that carries one is some bytes longer. Default: audio level, send time, video orientation.
    pub extensions: Vec<HeaderExtension>,
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
            extensions: HeaderExtension::DEFAULT.into(),
        }
    }
}

impl Api {
    /// Creates a template with these codecs and interceptors.
    pub fn new(media_engine: MediaEngine, registry: InterceptorRegistry) -> Self {
        Self::with_settings(media_engine, registry, ApiSettings::default())
    }

    /// Creates a template with these codecs, interceptors and settings.
    pub fn with_settings(
        media_engine: MediaEngine,
        mut registry: InterceptorRegistry,
        settings: ApiSettings,
    ) -> Self {
        registry.bandwidth_estimation = registry.bandwidth_estimation.filter(|&bits| bits > 0);
        Self { inner: Arc::new(ApiInner { media_engine, registry, settings, handshake: None }) }
    }

    /// Sets how the handshake is made for every connection that is not [given one](Configuration::handshake): from the
    /// DTLS that the connection would have, with its own certificate. The result may wrap that DTLS.
    pub fn handshake(
        mut self,
        make: impl Fn(Dtls) -> Arc<dyn HandshakeFactory> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.inner).handshake = Some(Arc::new(make));
        self
    }

    /// Sets [`ApiSettings::max_message_size`]. Costs a copy of the template if it differs.
    pub fn max_message_size(mut self, bytes: u32) -> Self {
        if self.inner.settings.max_message_size != bytes {
            Arc::make_mut(&mut self.inner).settings.max_message_size = bytes;
        }
        self
    }

    /// Sets [`ApiSettings::media_mode`]. Costs a copy of the template if it differs.
    pub fn media_mode(mut self, mode: MediaMode) -> Self {
        if self.inner.settings.media_mode != mode {
            Arc::make_mut(&mut self.inner).settings.media_mode = mode;
        }
        self
    }

    /// Sets [`InterceptorRegistry::bandwidth_estimation`]. Costs a copy of the template if it differs.
    pub fn bandwidth_estimation(mut self, initial: Option<u64>) -> Self {
        let initial = initial.filter(|&bits| bits > 0);
        if self.inner.registry.bandwidth_estimation != initial {
            Arc::make_mut(&mut self.inner).registry.bandwidth_estimation = initial;
        }
        self
    }

    /// Returns the codecs.
    pub fn media_engine(&self) -> &MediaEngine {
        &self.inner.media_engine
    }

    /// Returns the interceptors.
    pub fn interceptor_registry(&self) -> &InterceptorRegistry {
        &self.inner.registry
    }

    /// Returns the settings.
    pub fn settings(&self) -> &ApiSettings {
        &self.inner.settings
    }
}

impl Default for Api {
    /// Creates a template with the codecs of browsers, and with what browsers do for media.
    fn default() -> Self {
        Self::new(MediaEngine::default(), InterceptorRegistry::default())
    }
}

/// Configuration of one connection (W3C `RTCConfiguration`).
#[derive(Clone, Default)]
pub struct Configuration {
    /// STUN and TURN servers. Default: none.
    pub ice_servers: Vec<IceServer>,
    /// Kinds of candidates to use. Default: all.
    pub ice_transport_policy: IceTransportPolicy,
    /// Certificate of this side. Default: a new one, of random issuer and serial number. A certificate that is used
    /// again saves some 50 µs, and makes connections of one server recognisable.
    pub certificate: Option<Certificate>,
    /// Handshake. Default: the one that the [`Api`] makes, or DTLS as its [`ApiSettings`] say.
    ///
    /// Its session must be one of DTLS
    /// ([`Session::into_engine`](callboard_ice_handshake::handshake::Session::into_engine)), such as wrappers of
    /// [`Dtls`] have; with another the connection fails.
    /// `certificate` must be the one that the handshake shows.
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
