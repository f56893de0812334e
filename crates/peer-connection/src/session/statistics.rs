//! Statistics of a connection, in W3C's dictionaries.

use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use callboard_ice_handshake::handshake::Fingerprint;

use super::Session;
use super::candidates::RemoteCandidate;
use crate::channels::Channel;
use crate::data_channel::DataChannelId;
use crate::engine::{Candidate, CandidatePairStats, MediaEgressStats, MediaIngressStats};
use crate::jsep::Transceiver;
use crate::media::*;
use crate::sdp::{CandidateType, ParsedCandidate};
use crate::stats::*;

/// Counters of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerConnectionCounters {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes received, in datagrams.
    pub bytes_received: u64,
    /// Bytes sent, in datagrams.
    pub bytes_sent: u64,
    /// Datagrams that did not belong to this connection, and RTP of more sources than there is room for.
    pub datagrams_refused: u64,
    /// Remote candidates that were ignored: names (`….local`), TCP, RTCP alone.
    pub candidates_ignored: u64,
    /// Remote candidates that were not used: addresses to which nothing may be sent, or another generation's.
    pub candidates_refused: u64,
    /// Frames and packets that the application did not take in time.
    pub media_dropped: u64,
    /// Samples, packets, tones and messages of the application that were refused, as with a payload type that was not
    /// negotiated: the answer has the error, and a command that was sent without waiting for one is counted here alone.
    pub writes_refused: u64,
    /// Datagrams, both ways, that fault injection dropped ([`InjectLoss`](crate::messages::InjectLoss)).
    pub datagrams_lost: u64,
    /// SCTP packets of the peer that were kept from the engine: malformed, beyond the window, or of no association.
    pub sctp_packets_dropped: u64,
    /// Data channels of the peer that were closed because there were too many.
    pub data_channels_refused: u64,
}

impl Session {
    /// Returns the statistics (W3C `getStats`). The engine's measurements are up to 1 s old; everything else is
    /// current.
    pub(crate) fn stats(&mut self, now: Instant) -> StatsReport {
        // Nothing wakes the engine for its measurements alone while the connection is at rest.
        if !self.is_closed() {
            self.give_time(now);
        }
        let mut report = StatsReport::default();
        let at = self.milliseconds(now);
        report.add(self.peer_connection_stats(at));
        self.add_transport(&mut report, at);
        for (id, channel) in self.channels.iter() {
            report.add(data_channel(at, id, channel));
        }
        let transceivers: Vec<Transceiver> = self.jsep.transceivers().iter().cloned().collect();
        for transceiver in &transceivers {
            for (payload_type, codec) in self.engine.codecs_of(transceiver.id) {
                report.add(codec_stats(at, payload_type, codec));
            }
        }
        let of = |id: TransceiverId| transceivers.iter().find(|one| one.id == id);
        for ((id, rid), stats) in self.engine.measured().inbound.clone() {
            if let Some(transceiver) = of(id) {
                self.add_inbound(&mut report, transceiver, rid, &stats);
            }
        }
        for ((id, rid), stats) in self.engine.measured().outbound.clone() {
            if let Some(transceiver) = of(id) {
                self.add_outbound(&mut report, transceiver, rid, &stats);
            }
        }
        report
    }

    fn peer_connection_stats(&self, at: f64) -> PeerConnectionStats {
        PeerConnectionStats {
            id: format!("PeerConnection-{}", self.certificate_id()),
            timestamp: at,
            data_channels_opened: self.channels.opened,
            data_channels_closed: self.channels.closed,
            data_channels_requested: self.channels.requested,
            data_channels_accepted: self.channels.accepted,
        }
    }

    /// Adds the transport, with its certificates, candidates and selected pair.
    fn add_transport(&self, report: &mut StatsReport, at: f64) {
        let local_certificate = self.local_certificate(at);
        let remote_certificate = self.remote_certificate(at);
        for (candidate, url) in self.local_candidates() {
            report.add(Stats::LocalCandidate(self.local_candidate(at, candidate, url)));
        }
        for candidate in self.remote_candidates() {
            report.add(Stats::RemoteCandidate(remote_candidate(at, candidate)));
        }
        let peer = self.engine.measured().peer.as_ref();
        let pair = peer.and_then(|peer| peer.selected_candidate_pair.as_ref());
        let pair = pair.map(|pair| {
            let remote = pair.remote.addr;
            if !self.remote_candidates().iter().any(|candidate| candidate.address == remote) {
                report.add(Stats::RemoteCandidate(peer_reflexive(at, remote)));
            }
            self.pair(at, pair)
        });
        report.add(self.transport(at, &local_certificate, remote_certificate.as_ref(), &pair));
        report.add(local_certificate);
        remote_certificate.into_iter().for_each(|certificate| report.add(certificate));
        pair.into_iter().for_each(|pair| report.add(pair));
    }

    fn local_certificate(&self, at: f64) -> CertificateStats {
        let fingerprint = self.certificate.fingerprint();
        certificate(at, &fingerprint, Some(self.certificate.certificate()))
    }

    fn remote_certificate(&self, at: f64) -> Option<CertificateStats> {
        let data = self.negotiated.as_ref()?;
        let fingerprint = data.peer_fingerprint.as_ref()?;
        Some(certificate(at, fingerprint, data.peer_certificate.as_deref()))
    }

    fn local_candidate(
        &self,
        at: f64,
        candidate: &Candidate,
        url: Option<&str>,
    ) -> IceCandidateStats {
        let address = candidate.addr();
        let text = candidate.to_sdp_string();
        let line = ParsedCandidate::parse(&text);
        IceCandidateStats {
            id: format!("I{}", short(&address.to_string())),
            timestamp: at,
            transport_id: TRANSPORT.to_owned(),
            address: address.ip().to_string(),
            port: address.port(),
            protocol: UDP,
            candidate_type: line.as_ref().map_or(CandidateType::Host, |line| line.kind),
            priority: Some(candidate.prio()),
            foundation: line.map(|line| line.foundation.to_owned()),
            username_fragment: self.ufrags.back().cloned(),
            url: url.map(str::to_owned),
        }
    }

    fn pair(&self, at: f64, pair: &CandidatePairStats) -> IceCandidatePairStats {
        let (local, remote) = (pair.local.addr, pair.remote.addr);
        let peer = self.engine.measured().peer.as_ref();
        IceCandidatePairStats {
            id: format!("CP{}", short(&format!("{local}{remote}"))),
            timestamp: at,
            transport_id: TRANSPORT.to_owned(),
            local_candidate_id: format!("I{}", short(&local.to_string())),
            remote_candidate_id: remote_id(remote),
            state: "succeeded",
            nominated: true,
            packets_sent: self.counters.datagrams_sent,
            packets_received: self.counters.datagrams_received,
            bytes_sent: self.counters.bytes_sent,
            bytes_received: self.counters.bytes_received,
            total_round_trip_time: pair.total_round_trip_time.as_secs_f64(),
            responses_received: pair.responses_received,
            current_round_trip_time: pair.current_round_trip_time.map(|time| time.as_secs_f64()),
            available_outgoing_bitrate: peer
                .and_then(|peer| peer.bwe_tx)
                .map(|bitrate| bitrate.as_u64()),
        }
    }

    fn transport(
        &self,
        at: f64,
        local: &CertificateStats,
        remote: Option<&CertificateStats>,
        pair: &Option<IceCandidatePairStats>,
    ) -> TransportStats {
        let data = self.negotiated.as_ref();
        TransportStats {
            id: TRANSPORT.to_owned(),
            timestamp: at,
            bytes_sent: self.counters.bytes_sent,
            bytes_received: self.counters.bytes_received,
            packets_sent: self.counters.datagrams_sent,
            packets_received: self.counters.datagrams_received,
            ice_state: self.states.ice,
            dtls_state: self.states.dtls(),
            dtls_role: data.map(|data| data.role).into(),
            selected_candidate_pair_changes: u64::from(pair.is_some()),
            local_certificate_id: local.id.clone(),
            ice_local_username_fragment: self.ufrags.back().cloned(),
            tls_version: data.map(|data| data.version.into()),
            srtp_cipher: data.and_then(|data| data.srtp_profile).map(srtp_cipher),
            selected_candidate_pair_id: pair.as_ref().map(|pair| pair.id.clone()),
            remote_certificate_id: remote.map(|certificate| certificate.id.clone()),
        }
    }

    /// Adds a received stream, and the peer's report of it.
    fn add_inbound(
        &mut self,
        report: &mut StatsReport,
        transceiver: &Transceiver,
        rid: Option<Rid>,
        stats: &MediaIngressStats,
    ) {
        let (at, clock) = (self.milliseconds(stats.timestamp), self.clock_of(transceiver));
        let (ssrc, _) = self.engine.ssrcs(transceiver.id, rid);
        let counted = self.engine.measured().frames_received.get(&(transceiver.id, rid));
        let (frames, keyframes) = counted.copied().unwrap_or_default();
        let (video, key) = (transceiver.kind == TrackKind::Video, stream_key(transceiver, rid));
        let remote = stats.remote.as_ref().map(|remote| RemoteOutboundRtpStreamStats {
            id: format!("RO{key}"),
            timestamp: at,
            transport_id: TRANSPORT.to_owned(),
            kind: transceiver.kind,
            local_id: format!("IT{key}"),
            packets_sent: remote.packets,
            bytes_sent: remote.bytes,
            ssrc,
            round_trip_time: stats.rtt.map(|time| time.as_secs_f64()),
        });
        report.add(InboundRtpStreamStats {
            id: format!("IT{key}"),
            timestamp: at,
            transport_id: TRANSPORT.to_owned(),
            kind: transceiver.kind,
            packets_received: stats.packets,
            bytes_received: stats.bytes,
            jitter: f64::from(stats.jitter) / clock,
            mid: transceiver.mid.clone(),
            rid: rid.map(|rid| rid.to_string()),
            ssrc,
            remote_id: remote.as_ref().map(|remote| remote.id.clone()),
            nack_count: video.then_some(stats.nacks),
            pli_count: video.then_some(stats.plis),
            fir_count: video.then_some(stats.firs),
            frames_received: video.then_some(frames),
            key_frames_received: video.then_some(keyframes),
            fraction_lost: share(stats.loss),
        });
        remote.into_iter().for_each(|remote| report.add(remote));
    }

    /// Adds a sent stream, and the peer's report of it.
    fn add_outbound(
        &mut self,
        report: &mut StatsReport,
        transceiver: &Transceiver,
        rid: Option<Rid>,
        stats: &MediaEgressStats,
    ) {
        let (at, clock) = (self.milliseconds(stats.timestamp), self.clock_of(transceiver));
        let (_, ssrc) = self.engine.ssrcs(transceiver.id, rid);
        let (video, key) = (transceiver.kind == TrackKind::Video, stream_key(transceiver, rid));
        let remote = stats.remote.as_ref().map(|remote| RemoteInboundRtpStreamStats {
            id: format!("RI{key}"),
            timestamp: at,
            transport_id: TRANSPORT.to_owned(),
            kind: transceiver.kind,
            local_id: format!("OT{key}"),
            packets_lost: remote.packets_lost,
            jitter: f64::from(remote.jitter) / clock,
            ssrc,
            fraction_lost: share(stats.loss),
            round_trip_time: stats.rtt.map(|time| time.as_secs_f64()),
        });
        report.add(OutboundRtpStreamStats {
            id: format!("OT{key}"),
            timestamp: at,
            transport_id: TRANSPORT.to_owned(),
            kind: transceiver.kind,
            active: transceiver.current.is_some_and(Direction::sends),
            packets_sent: stats.packets,
            bytes_sent: stats.bytes,
            nack_count: stats.nacks,
            mid: transceiver.mid.clone(),
            rid: rid.map(|rid| rid.to_string()),
            ssrc,
            remote_id: remote.as_ref().map(|remote| remote.id.clone()),
            pli_count: video.then_some(stats.plis),
            fir_count: video.then_some(stats.firs),
        });
        remote.into_iter().for_each(|remote| report.add(remote));
    }

    /// Returns the clock rate of a transceiver's first codec, in Hz.
    fn clock_of(&self, transceiver: &Transceiver) -> f64 {
        let codecs = self.engine.codecs_of(transceiver.id);
        f64::from(codecs.first().map_or(90_000, |(_, codec)| codec.clock_rate))
    }

    /// Returns milliseconds since 1970, W3C's unit of time.
    fn milliseconds(&self, at: Instant) -> f64 {
        let (began, calendar) = self.started;
        let then = calendar + at.saturating_duration_since(began);
        then.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64() * 1_000.0
    }

    fn certificate_id(&self) -> String {
        short(&self.certificate.fingerprint().to_string())
    }
}

fn certificate(at: f64, fingerprint: &Fingerprint, der: Option<&[u8]>) -> CertificateStats {
    let text = fingerprint.to_string();
    let value = text.split_once(' ').map_or(text.as_str(), |(_, value)| value);
    let encode = |der| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    CertificateStats {
        id: format!("CF{}", short(&text)),
        timestamp: at,
        fingerprint: value.to_owned(),
        fingerprint_algorithm: fingerprint.algorithm().to_owned(),
        base64_certificate: der.map(encode),
    }
}

fn remote_candidate(at: f64, candidate: &RemoteCandidate) -> IceCandidateStats {
    IceCandidateStats {
        candidate_type: candidate.kind,
        priority: Some(candidate.priority),
        foundation: Some(candidate.foundation.clone()),
        username_fragment: candidate.ufrag.clone(),
        ..peer_reflexive(at, candidate.address)
    }
}

/// Returns a candidate that was found by the peer's checks: it was in no description and no signaling message.
fn peer_reflexive(at: f64, address: SocketAddr) -> IceCandidateStats {
    IceCandidateStats {
        id: remote_id(address),
        timestamp: at,
        transport_id: TRANSPORT.to_owned(),
        address: address.ip().to_string(),
        port: address.port(),
        protocol: UDP,
        candidate_type: CandidateType::PeerReflexive,
        priority: None,
        foundation: None,
        username_fragment: None,
        url: None,
    }
}

fn remote_id(address: SocketAddr) -> String {
    format!("R{}", short(&address.to_string()))
}

fn data_channel(at: f64, id: DataChannelId, channel: &Channel) -> DataChannelStats {
    let traffic = channel.traffic;
    DataChannelStats {
        id: format!("D{id}"),
        timestamp: at,
        label: channel.spec.label.clone(),
        protocol: channel.spec.protocol.clone(),
        state: channel.state,
        messages_sent: traffic.messages_sent,
        bytes_sent: traffic.bytes_sent,
        messages_received: traffic.messages_received,
        bytes_received: traffic.bytes_received,
        data_channel_identifier: channel.stream,
    }
}

fn codec_stats(at: f64, payload_type: u8, codec: RtpCodecCapability) -> CodecStats {
    CodecStats {
        id: format!("C{payload_type}"),
        timestamp: at,
        transport_id: TRANSPORT.to_owned(),
        payload_type,
        mime_type: codec.mime_type,
        clock_rate: codec.clock_rate,
        channels: (codec.channels > 0).then_some(codec.channels),
        sdp_fmtp_line: Some(codec.sdp_fmtp_line).filter(|line| !line.is_empty()),
    }
}

fn share(lost: Option<f32>) -> Option<f64> {
    lost.filter(|lost| lost.is_finite()).map(f64::from)
}

fn stream_key(transceiver: &Transceiver, rid: Option<Rid>) -> String {
    let mid = transceiver.mid.as_deref().unwrap_or_default();
    match rid {
        Some(rid) => format!("{mid}-{rid}"),
        None => mid.to_owned(),
    }
}

/// Returns a short name that is derived from a long one.
fn short(text: &str) -> String {
    // FNV-1a: for names that are easy to read, not for secrets.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Id of the one transport, known to users of Specter.
const TRANSPORT: &str = "ice_transport";
const UDP: &str = "udp";
