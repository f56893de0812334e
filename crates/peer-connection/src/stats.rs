//! Statistics in W3C's shape.

use serde::Serialize;
use serde_json::{Map, Value};

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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct StatsReport(pub Map<String, Value>);

impl StatsReport {
    /// Returns all dictionaries of a type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Map<String, Value>> {
        let all = self.0.values().filter_map(Value::as_object);
        all.filter(move |one| one.get("type").and_then(Value::as_str) == Some(kind))
    }
}
