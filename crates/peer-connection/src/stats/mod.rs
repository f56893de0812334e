//! Statistics: W3C's dictionaries (webrtc-stats), which serialise to the JSON that browsers have.

use std::collections::BTreeMap;

use callboard_ice_handshake::handshake::{Role, SrtpProfile, Version};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::data_channel::DataChannelState;
use crate::media::TrackKind;
use crate::sdp::CandidateType;
use crate::state::{DtlsTransportState, IceConnectionState};

/// Statistics of a connection (W3C `RTCStatsReport`, webrtc-stats): dictionaries by their ids, in JSON as browsers have
/// them.
///
/// | dictionary | filled | not filled |
/// |---|---|---|
/// | `peer-connection` | `dataChannelsOpened`, `dataChannelsClosed`; also the former `…Requested`, `…Accepted` | |
/// | `transport` | bytes and packets both ways, `iceState`, `iceLocalUsernameFragment`, `dtlsState`, `dtlsRole`, `tlsVersion`, `srtpCipher`, the selected pair, certificates | `dtlsCipher`, `iceRole`, the count of pair changes beyond the first |
/// | `candidate-pair` | the selected one: bytes, packets, round-trip times, responses, `availableOutgoingBitrate` | the others; requests and consent requests |
/// | `local-candidate`, `remote-candidate` | address, port, type, priority, foundation, user fragment, URL | `relayProtocol`, priority and foundation of peer-reflexive ones |
/// | `certificate` | fingerprint, algorithm, certificate | issuer chain |
/// | `data-channel` | everything | |
/// | `codec` | everything | |
/// | `inbound-rtp` | SSRC, mid, rid, packets and bytes with retransmissions, jitter, NACK, PLI and FIR counts, frames and key frames received, `fractionLost` of the last report | `packetsLost`, and all that takes a decoder or jitter buffer |
/// | `outbound-rtp` | SSRC, mid, rid, packets and bytes with retransmissions, NACK, PLI and FIR counts, `active` | retransmissions by themselves, and all that takes an encoder |
/// | `remote-inbound-rtp` | packets and fraction lost, jitter, round-trip time; from the first receiver report on | their totals |
/// | `remote-outbound-rtp` | packets, bytes, round-trip time; from the first sender report on | `remoteTimestamp`, `reportsSent` |
/// | `media-source`, `media-playout` | – | nothing is captured or played here |
///
/// Measurements of media are up to 1 s old.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatsReport(BTreeMap<String, Stats>);

impl StatsReport {
    pub(crate) fn add(&mut self, stats: impl Into<Stats>) {
        let stats = stats.into();
        self.0.insert(stats.id().to_owned(), stats);
    }

    /// Returns the dictionary of this id.
    pub fn get(&self, id: &str) -> Option<&Stats> {
        self.0.get(id)
    }

    /// Returns all dictionaries, ordered by their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Stats> {
        self.0.values()
    }

    /// Returns all dictionaries of a type, ordered by their ids: `report.of::<TransportStats>()`.
    pub fn of<D: StatsDictionary>(&self) -> impl Iterator<Item = &D> {
        self.iter().filter_map(D::of)
    }
}

impl Serialize for StatsReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, stats) in &self.0 {
            map.serialize_entry(id, stats)?;
        }
        map.end()
    }
}

/// A dictionary of a [`StatsReport`], one of the variants of [`Stats`].
pub trait StatsDictionary: Sized + 'static {
    /// Returns the dictionary, if it is of this type.
    fn of(stats: &Stats) -> Option<&Self>;
}

/// Writes the dictionaries: their members with W3C's names, and `Stats`, which is one of them.
macro_rules! dictionaries {
    ($(
        $(#[$doc:meta])*
        $name:ident as $($variant:ident)|+ {
            $($(#[$member_doc:meta])* $member:ident: $type:ty,)*
            $(? $(#[$maybe_doc:meta])* $maybe:ident: $maybe_type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize)]
            #[serde(rename_all = "camelCase")]
            #[non_exhaustive]
            pub struct $name {
                /// Id of the dictionary in its report.
                pub id: String,
                /// Time of the measurement, in milliseconds since 1970.
                pub timestamp: f64,
                $($(#[$member_doc])* pub $member: $type,)*
                $(
                    $(#[$maybe_doc])*
                    #[serde(skip_serializing_if = "Option::is_none")]
                    pub $maybe: Option<$maybe_type>,
                )*
            }

            impl StatsDictionary for $name {
                fn of(stats: &Stats) -> Option<&Self> {
                    match stats {
                        $(Stats::$variant(stats))|+ => Some(stats),
                        _ => None,
                    }
                }
            }
        )*

        /// A dictionary of a [`StatsReport`] (W3C `RTCStats`); its type is W3C's `RTCStatsType`.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "type", rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Stats {
            $($(
                #[doc = concat!("See [`", stringify!($name), "`].")]
                $variant($name),
            )+)*
        }

        impl Stats {
            /// Returns the id of the dictionary in its report.
            pub fn id(&self) -> &str {
                match self {
                    $($(Self::$variant(stats))|+ => &stats.id,)*
                }
            }
        }
    };
}

dictionaries! {
    /// Counts of a peer connection (W3C `RTCPeerConnectionStats`).
    PeerConnectionStats as PeerConnection {
        /// Data channels that have opened.
        data_channels_opened: u64,
        /// Data channels that were open and have closed.
        data_channels_closed: u64,
        /// Data channels that this side has created.
        data_channels_requested: u64,
        /// Data channels that the peer has created.
        data_channels_accepted: u64,
    }

    /// A certificate (W3C `RTCCertificateStats`).
    CertificateStats as Certificate {
        /// Fingerprint in hexadecimal digits, with colons.
        fingerprint: String,
        /// Hash function of the fingerprint: `sha-256`.
        fingerprint_algorithm: String,
        ? /// The certificate, DER in Base64.
        base64_certificate: String,
    }

    /// A candidate of either side (W3C `RTCIceCandidateStats`).
    IceCandidateStats as LocalCandidate | RemoteCandidate {
        /// Id of its [`TransportStats`].
        transport_id: String,
        /// IP address.
        address: String,
        /// Port.
        port: u16,
        /// Transport protocol: `udp`.
        protocol: &'static str,
        /// Type of the candidate.
        candidate_type: CandidateType,
        ? /// Priority (RFC 8445 §5.1.2).
        priority: u32,
        ? /// Foundation (RFC 8445 §5.1.1.3).
        foundation: String,
        ? /// User fragment to which it belongs.
        username_fragment: String,
        ? /// URL of the server that it comes from.
        url: String,
    }

    /// The selected pair of candidates (W3C `RTCIceCandidatePairStats`).
    IceCandidatePairStats as CandidatePair {
        /// Id of its [`TransportStats`].
        transport_id: String,
        /// Id of the candidate of this side.
        local_candidate_id: String,
        /// Id of the candidate of the peer.
        remote_candidate_id: String,
        /// State of its checks: `succeeded`.
        state: &'static str,
        /// Whether it was nominated.
        nominated: bool,
        /// Datagrams sent.
        packets_sent: u64,
        /// Datagrams received.
        packets_received: u64,
        /// Bytes sent, in datagrams.
        bytes_sent: u64,
        /// Bytes received, in datagrams.
        bytes_received: u64,
        /// Sum of all round-trip times, in seconds.
        total_round_trip_time: f64,
        /// Responses to checks that have come.
        responses_received: u64,
        ? /// Latest round-trip time, in seconds.
        current_round_trip_time: f64,
        ? /// Estimated bandwidth to the peer, in bits per second.
        available_outgoing_bitrate: u64,
    }

    /// The transport of all media and data (W3C `RTCTransportStats`).
    TransportStats as Transport {
        /// Bytes sent, in datagrams.
        bytes_sent: u64,
        /// Bytes received, in datagrams.
        bytes_received: u64,
        /// Datagrams sent.
        packets_sent: u64,
        /// Datagrams received.
        packets_received: u64,
        /// State of ICE.
        ice_state: IceConnectionState,
        /// State of DTLS.
        dtls_state: DtlsTransportState,
        /// Role of this side in DTLS.
        dtls_role: DtlsRole,
        /// Number of selected pairs so far, counted up to one.
        selected_candidate_pair_changes: u64,
        /// Id of the [`CertificateStats`] of this side.
        local_certificate_id: String,
        ? /// User fragment of this side.
        ice_local_username_fragment: String,
        ? /// Version of DTLS.
        tls_version: TlsVersion,
        ? /// SRTP profile, by its name at IANA.
        srtp_cipher: &'static str,
        ? /// Id of the [`IceCandidatePairStats`].
        selected_candidate_pair_id: String,
        ? /// Id of the [`CertificateStats`] of the peer.
        remote_certificate_id: String,
    }

    /// A data channel (W3C `RTCDataChannelStats`).
    DataChannelStats as DataChannel {
        /// Label of the channel.
        label: String,
        /// Protocol of the application on the channel; empty for none.
        protocol: String,
        /// State of the channel.
        state: DataChannelState,
        /// Messages sent.
        messages_sent: u64,
        /// Bytes sent, without headers.
        bytes_sent: u64,
        /// Messages received.
        messages_received: u64,
        /// Bytes received, without headers.
        bytes_received: u64,
        ? /// Id of the SCTP stream.
        data_channel_identifier: u16,
    }

    /// A negotiated codec (W3C `RTCCodecStats`).
    CodecStats as Codec {
        /// Id of its [`TransportStats`].
        transport_id: String,
        /// Payload type.
        payload_type: u8,
        /// MIME type: `video/VP8`.
        mime_type: String,
        /// Clock rate in Hz.
        clock_rate: u32,
        ? /// Number of audio channels.
        channels: u16,
        ? /// `a=fmtp` parameters.
        sdp_fmtp_line: String,
    }

    /// A received stream of RTP (W3C `RTCInboundRtpStreamStats`).
    InboundRtpStreamStats as InboundRtp {
        /// Id of its [`TransportStats`].
        transport_id: String,
        /// Audio or video.
        kind: TrackKind,
        /// Packets received, with retransmissions.
        packets_received: u64,
        /// Bytes received, with retransmissions.
        bytes_received: u64,
        /// Jitter, in seconds.
        jitter: f64,
        ? /// Mid of its section.
        mid: String,
        ? /// Encoding of simulcast.
        rid: String,
        ? /// SSRC.
        ssrc: u32,
        ? /// Id of the [`RemoteOutboundRtpStreamStats`].
        remote_id: String,
        ? /// Requests for lost packets, sent; of video.
        nack_count: u64,
        ? /// Picture loss indications sent; of video.
        pli_count: u64,
        ? /// Full intra requests sent; of video.
        fir_count: u64,
        ? /// Complete frames received; of video.
        frames_received: u64,
        ? /// Complete key frames received; of video.
        key_frames_received: u64,
        ? /// Share of packets lost, by the last report.
        fraction_lost: f64,
    }

    /// A sent stream of RTP (W3C `RTCOutboundRtpStreamStats`).
    OutboundRtpStreamStats as OutboundRtp {
        /// Id of its [`TransportStats`].
        transport_id: String,
        /// Audio or video.
        kind: TrackKind,
        /// Whether it is negotiated to be sent.
        active: bool,
        /// Packets sent, with retransmissions.
        packets_sent: u64,
        /// Bytes sent, with retransmissions.
        bytes_sent: u64,
        /// Requests for lost packets, received.
        nack_count: u64,
        ? /// Mid of its section.
        mid: String,
        ? /// Encoding of simulcast.
        rid: String,
        ? /// SSRC.
        ssrc: u32,
        ? /// Id of the [`RemoteInboundRtpStreamStats`].
        remote_id: String,
        ? /// Picture loss indications received; of video.
        pli_count: u64,
        ? /// Full intra requests received; of video.
        fir_count: u64,
    }

    /// A sent stream, as the peer reports it (W3C `RTCRemoteInboundRtpStreamStats`).
    RemoteInboundRtpStreamStats as RemoteInboundRtp {
        /// Id of its [`TransportStats`].
        transport_id: String,
        /// Audio or video.
        kind: TrackKind,
        /// Id of the [`OutboundRtpStreamStats`].
        local_id: String,
        /// Packets lost.
        packets_lost: u64,
        /// Jitter, in seconds.
        jitter: f64,
        ? /// SSRC.
        ssrc: u32,
        ? /// Share of packets lost, by the last reports.
        fraction_lost: f64,
        ? /// Round-trip time, in seconds.
        round_trip_time: f64,
    }

    /// A received stream, as the peer reports it (W3C `RTCRemoteOutboundRtpStreamStats`).
    RemoteOutboundRtpStreamStats as RemoteOutboundRtp {
        /// Id of its [`TransportStats`].
        transport_id: String,
        /// Audio or video.
        kind: TrackKind,
        /// Id of the [`InboundRtpStreamStats`].
        local_id: String,
        /// Packets sent.
        packets_sent: u64,
        /// Bytes sent.
        bytes_sent: u64,
        ? /// SSRC.
        ssrc: u32,
        ? /// Round-trip time, in seconds.
        round_trip_time: f64,
    }
}

macro_rules! into_stats {
    ($($name:ident as $variant:ident)*) => {$(
        impl From<$name> for Stats {
            fn from(stats: $name) -> Self {
                Self::$variant(stats)
            }
        }
    )*};
}

// Candidates are of either side.
into_stats! {
    PeerConnectionStats as PeerConnection
    CertificateStats as Certificate
    IceCandidatePairStats as CandidatePair
    TransportStats as Transport
    DataChannelStats as DataChannel
    CodecStats as Codec
    InboundRtpStreamStats as InboundRtp
    OutboundRtpStreamStats as OutboundRtp
    RemoteInboundRtpStreamStats as RemoteInboundRtp
    RemoteOutboundRtpStreamStats as RemoteOutboundRtp
}

/// Role in DTLS (W3C `RTCDtlsRole`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "W3C's")]
pub enum DtlsRole {
    /// This side began the handshake.
    Client,
    /// The peer began the handshake.
    Server,
    /// The handshake is not complete.
    Unknown,
}

impl From<Option<Role>> for DtlsRole {
    fn from(role: Option<Role>) -> Self {
        match role {
            Some(Role::Client) => Self::Client,
            Some(Role::Server) => Self::Server,
            None => Self::Unknown,
        }
    }
}

/// Version of DTLS, in JSON as the four hexadecimal digits that it has on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum TlsVersion {
    /// DTLS 1.2 (RFC 6347).
    #[serde(rename = "FEFD")]
    Dtls12,
    /// DTLS 1.3 (RFC 9147).
    #[serde(rename = "FEFC")]
    Dtls13,
}

impl TlsVersion {
    /// Returns the version's number: `1.2`.
    pub fn number(self) -> &'static str {
        match self {
            Self::Dtls12 => "1.2",
            Self::Dtls13 => "1.3",
        }
    }
}

impl From<Version> for TlsVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Dtls12 => Self::Dtls12,
            Version::Dtls13 => Self::Dtls13,
        }
    }
}

/// Returns the name of an SRTP profile at IANA.
pub(crate) fn srtp_cipher(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::Aes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::Aes256Gcm => "AEAD_AES_256_GCM",
        SrtpProfile::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests;
