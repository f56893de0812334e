//! Statistics of a connection, in W3C's dictionaries.

use std::time::{Duration, Instant, UNIX_EPOCH};

use callboard_ice_handshake::handshake::{Fingerprint, Role, SrtpProfile, Version};
use serde_json::{Value, json};

use super::Session;
use crate::channels::DataChannelState;
use crate::jsep::Transceiver;
use crate::media::*;
use crate::stats::StatsReport;

/// Counters of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
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
        let mut report = StatsReport::default();
        let mut add = |id: String, kind: &str, at: f64, mut members: Value| {
            if let Some(members) = members.as_object_mut() {
                members.retain(|_, value| !value.is_null());
                members.insert("id".to_owned(), json!(id));
                members.insert("type".to_owned(), json!(kind));
                members.insert("timestamp".to_owned(), json!(at));
            }
            report.0.insert(id, members);
        };
        let at = self.milliseconds(now);

        add(
            format!("PeerConnection-{}", self.certificate_id()),
            "peer-connection",
            at,
            json!({
                "dataChannelsOpened": self.channels.opened,
                "dataChannelsClosed": self.channels.closed,
                "dataChannelsRequested": self.channels.requested,
                "dataChannelsAccepted": self.channels.accepted,
            }),
        );
        let local_certificate = format!("CF{}", self.certificate_id());
        let fingerprint = self.certificate.fingerprint();
        add(
            local_certificate.clone(),
            "certificate",
            at,
            certificate(&fingerprint, Some(self.certificate.certificate())),
        );
        let mut remote_certificate = None;
        if let Some(data) = &self.negotiated
            && let Some(fingerprint) = &data.peer_fingerprint
        {
            let id = format!("CF{}", short(&fingerprint.to_string()));
            add(
                id.clone(),
                "certificate",
                at,
                certificate(fingerprint, data.peer_certificate.as_deref()),
            );
            remote_certificate = Some(id);
        }

        let pair = self
            .engine
            .measured()
            .peer
            .as_ref()
            .and_then(|peer| peer.selected_candidate_pair.clone());
        for (candidate, url) in self.local_candidates() {
            add(
                format!("I{}", short(&candidate.addr().to_string())),
                "local-candidate",
                at,
                json!({
                    "transportId": TRANSPORT,
                    "address": candidate.addr().ip().to_string(),
                    "port": candidate.addr().port(),
                    "protocol": "udp",
                    "candidateType": candidate_type(&candidate.to_sdp_string()),
                    "priority": candidate.prio(),
                    "foundation": word(&candidate.to_sdp_string(), 0),
                    "usernameFragment": self.ufrags.back(),
                    "url": url,
                }),
            );
        }
        for candidate in self.remote_candidates() {
            add(
                format!("R{}", short(&candidate.address.to_string())),
                "remote-candidate",
                at,
                json!({
                    "transportId": TRANSPORT,
                    "address": candidate.address.ip().to_string(),
                    "port": candidate.address.port(),
                    "protocol": "udp",
                    "candidateType": candidate.kind,
                    "priority": candidate.priority,
                    "foundation": candidate.foundation,
                    "usernameFragment": candidate.ufrag,
                }),
            );
        }
        let mut pair_id = None;
        if let Some(pair) = &pair {
            let (local, remote) = (pair.local.addr, pair.remote.addr);
            let remote_id = format!("R{}", short(&remote.to_string()));
            if !self.remote_candidates().iter().any(|candidate| candidate.address == remote) {
                // Found by the peer's checks: it was in no description and no signaling message.
                add(
                    remote_id.clone(),
                    "remote-candidate",
                    at,
                    json!({
                        "transportId": TRANSPORT,
                        "address": remote.ip().to_string(),
                        "port": remote.port(),
                        "protocol": "udp",
                        "candidateType": "prflx",
                    }),
                );
            }
            let id = format!("CP{}", short(&format!("{local}{remote}")));
            add(
                id.clone(),
                "candidate-pair",
                at,
                json!({
                    "transportId": TRANSPORT,
                    "localCandidateId": format!("I{}", short(&local.to_string())),
                    "remoteCandidateId": remote_id,
                    "state": "succeeded",
                    "nominated": true,
                    "packetsSent": self.counters.datagrams_sent,
                    "packetsReceived": self.counters.datagrams_received,
                    "bytesSent": self.counters.bytes_sent,
                    "bytesReceived": self.counters.bytes_received,
                    "currentRoundTripTime": pair.current_round_trip_time.map(|time| time.as_secs_f64()),
                    "totalRoundTripTime": pair.total_round_trip_time.as_secs_f64(),
                    "responsesReceived": pair.responses_received,
                    "availableOutgoingBitrate": self.engine.measured().peer.as_ref()
                        .and_then(|peer| peer.bwe_tx).map(|bitrate| bitrate.as_u64()),
                }),
            );
            pair_id = Some(id);
        }
        let data = self.negotiated.as_ref();
        add(
            TRANSPORT.to_owned(),
            "transport",
            at,
            json!({
                "bytesSent": self.counters.bytes_sent,
                "bytesReceived": self.counters.bytes_received,
                "packetsSent": self.counters.datagrams_sent,
                "packetsReceived": self.counters.datagrams_received,
                "iceState": self.states.ice.name(),
                "iceLocalUsernameFragment": self.ufrags.back(),
                "dtlsState": self.states.dtls().name(),
                "dtlsRole": match data.map(|data| data.role) {
                    Some(Role::Client) => "client",
                    Some(Role::Server) => "server",
                    None => "unknown",
                },
                "tlsVersion": data.map(|data| match data.version {
                    Version::Dtls12 => "FEFD",
                    Version::Dtls13 => "FEFC",
                }),
                "srtpCipher": data.and_then(|data| data.srtp_profile).map(|profile| match profile {
                    SrtpProfile::Aes128Gcm => "AEAD_AES_128_GCM",
                    SrtpProfile::Aes256Gcm => "AEAD_AES_256_GCM",
                    SrtpProfile::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
                _ => "unknown",
                }),
                "selectedCandidatePairId": pair_id,
                "selectedCandidatePairChanges": u64::from(pair.is_some()),
                "localCertificateId": local_certificate,
                "remoteCertificateId": remote_certificate,
            }),
        );

        for (id, channel) in self.channels.iter() {
            let traffic = channel.traffic;
            add(
                format!("D{id}"),
                "data-channel",
                at,
                json!({
                    "label": channel.spec.label,
                    "protocol": channel.spec.protocol,
                    "dataChannelIdentifier": channel.stream,
                    "state": match channel.state {
                        DataChannelState::Connecting => "connecting",
                        DataChannelState::Open => "open",
                        DataChannelState::Closing => "closing",
                    },
                    "messagesSent": traffic.messages_sent,
                    "bytesSent": traffic.bytes_sent,
                    "messagesReceived": traffic.messages_received,
                    "bytesReceived": traffic.bytes_received,
                }),
            );
        }

        let transceivers: Vec<Transceiver> = self.jsep.transceivers().iter().cloned().collect();
        for transceiver in &transceivers {
            for (payload_type, codec) in self.engine.codecs_of(transceiver.id) {
                add(
                    format!("C{payload_type}"),
                    "codec",
                    at,
                    json!({
                        "transportId": TRANSPORT,
                        "payloadType": payload_type,
                        "mimeType": codec.mime_type,
                        "clockRate": codec.clock_rate,
                        "channels": (codec.channels > 0).then_some(codec.channels),
                        "sdpFmtpLine": (!codec.sdp_fmtp_line.is_empty()).then_some(&codec.sdp_fmtp_line),
                    }),
                );
            }
        }
        let of = |id: TransceiverId| transceivers.iter().find(|one| one.id == id);
        let inbound: Vec<_> = self
            .engine
            .measured()
            .inbound
            .iter()
            .map(|(key, stats)| (*key, stats.clone()))
            .collect();
        for ((id, rid), stats) in inbound {
            let Some(transceiver) = of(id) else { continue };
            let (ssrc, _) = self.engine.ssrcs(id, rid);
            let clock =
                self.engine.codecs_of(id).first().map_or(90_000, |(_, codec)| codec.clock_rate);
            let (frames, keyframes) =
                self.engine.measured().frames_received.get(&(id, rid)).copied().unwrap_or_default();
            let video = transceiver.kind == TrackKind::Video;
            let key = stream_key(transceiver, rid);
            let remote = stats.remote.as_ref().map(|_| format!("RO{key}"));
            add(
                format!("IT{key}"),
                "inbound-rtp",
                self.milliseconds(stats.timestamp),
                json!({
                    "transportId": TRANSPORT,
                    "kind": transceiver.kind.name(),
                    "mid": transceiver.mid,
                    "rid": rid.map(|rid| rid.to_string()),
                    "ssrc": ssrc,
                    "remoteId": remote,
                    "packetsReceived": stats.packets,
                    "bytesReceived": stats.bytes,
                    "jitter": f64::from(stats.jitter) / f64::from(clock),
                    "nackCount": video.then_some(stats.nacks),
                    "pliCount": video.then_some(stats.plis),
                    "firCount": video.then_some(stats.firs),
                    "framesReceived": video.then_some(frames),
                    "keyFramesReceived": video.then_some(keyframes),
                    "fractionLost": stats.loss,
                }),
            );
            if let Some(remote) = &stats.remote {
                add(
                    format!("RO{key}"),
                    "remote-outbound-rtp",
                    self.milliseconds(stats.timestamp),
                    json!({
                        "transportId": TRANSPORT,
                        "kind": transceiver.kind.name(),
                        "ssrc": ssrc,
                        "localId": format!("IT{key}"),
                        "packetsSent": remote.packets,
                        "bytesSent": remote.bytes,
                        "roundTripTime": stats.rtt.map(|time| time.as_secs_f64()),
                    }),
                );
            }
        }
        let outbound: Vec<_> = self
            .engine
            .measured()
            .outbound
            .iter()
            .map(|(key, stats)| (*key, stats.clone()))
            .collect();
        for ((id, rid), stats) in outbound {
            let Some(transceiver) = of(id) else { continue };
            let (_, ssrc) = self.engine.ssrcs(id, rid);
            let clock =
                self.engine.codecs_of(id).first().map_or(90_000, |(_, codec)| codec.clock_rate);
            let video = transceiver.kind == TrackKind::Video;
            let key = stream_key(transceiver, rid);
            let remote = stats.remote.as_ref().map(|_| format!("RI{key}"));
            add(
                format!("OT{key}"),
                "outbound-rtp",
                self.milliseconds(stats.timestamp),
                json!({
                    "transportId": TRANSPORT,
                    "kind": transceiver.kind.name(),
                    "mid": transceiver.mid,
                    "rid": rid.map(|rid| rid.to_string()),
                    "ssrc": ssrc,
                    "remoteId": remote,
                    "active": transceiver.current.is_some_and(Direction::sends),
                    "packetsSent": stats.packets,
                    "bytesSent": stats.bytes,
                    "nackCount": stats.nacks,
                    "pliCount": video.then_some(stats.plis),
                    "firCount": video.then_some(stats.firs),
                }),
            );
            if let Some(remote) = &stats.remote {
                add(
                    format!("RI{key}"),
                    "remote-inbound-rtp",
                    self.milliseconds(stats.timestamp),
                    json!({
                        "transportId": TRANSPORT,
                        "kind": transceiver.kind.name(),
                        "ssrc": ssrc,
                        "localId": format!("OT{key}"),
                        "packetsLost": remote.packets_lost,
                        "fractionLost": stats.loss,
                        "jitter": f64::from(remote.jitter) / f64::from(clock),
                        "roundTripTime": stats.rtt.map(|time| time.as_secs_f64()),
                    }),
                );
            }
        }
        report
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

fn certificate(fingerprint: &Fingerprint, der: Option<&[u8]>) -> Value {
    let text = fingerprint.to_string();
    let value = text.split_once(' ').map_or(text.as_str(), |(_, value)| value);
    json!({
        "fingerprint": value,
        "fingerprintAlgorithm": fingerprint.algorithm(),
        "base64Certificate": der.map(|der| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der)),
    })
}

fn stream_key(transceiver: &Transceiver, rid: Option<Rid>) -> String {
    let mid = transceiver.mid.as_deref().unwrap_or_default();
    match rid {
        Some(rid) => format!("{mid}-{rid}"),
        None => mid.to_owned(),
    }
}

fn candidate_type(candidate: &str) -> Option<String> {
    word(candidate, 7)
}

fn word(candidate: &str, at: usize) -> Option<String> {
    let words = candidate.trim_start_matches("candidate:");
    words.split_ascii_whitespace().nth(at).map(str::to_owned)
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
