//! Events of str0m, in this crate's types.

use std::sync::Arc;
use std::time::Duration;

use str0m::Event;

use super::peer_clock::StreamTime;
use super::{Engine, EngineEvent, MediaEgressStats, convert, extension_values};
use crate::event::{ReceptionReport, SenderReport};
use crate::media::*;

impl Engine {
    pub(super) fn translate(&mut self, event: Event) -> Option<EngineEvent> {
        Some(match event {
            Event::IceConnectionStateChange(state) => EngineEvent::Ice(convert::ice(state)),
            Event::Connected => EngineEvent::Connected,
            Event::Closed => EngineEvent::Closed,
            Event::ChannelOpen(key, _) => {
                if self.placeholders.contains(&key) {
                    return None;
                }
                EngineEvent::ChannelOpen(key)
            }
            Event::ChannelData(data) => {
                if self.placeholders.contains(&data.id) {
                    return None;
                }
                EngineEvent::ChannelData { key: data.id, binary: data.binary, data: data.data }
            }
            Event::ChannelClose(key) => EngineEvent::ChannelClosed(key),
            Event::MediaData(data) => {
                let transceiver = *self.transceivers.get(&data.mid)?;
                let rid = data.rid.and_then(convert::rid);
                let keyframe = data.is_keyframe();
                let counts = self.measured.frames_received.entry((transceiver, rid)).or_default();
                counts.0 += 1;
                counts.1 += u64::from(keyframe);
                let codec = self
                    .codecs
                    .entry(*data.pt)
                    .or_insert_with(|| Arc::new(convert::codec(&data.params)));
                let time = StreamTime {
                    timestamp: data.time.numer() as u32,
                    clock_rate: data.time.frequency().get(),
                };
                let received = data.network_time;
                EngineEvent::Sample(ReceivedSample {
                    transceiver,
                    rid,
                    codec: Arc::clone(codec),
                    payload_type: *data.pt,
                    timestamp: data.time.numer(),
                    received,
                    captured: self.peer_clock.captured((transceiver, rid), time, received),
                    contiguous: data.contiguous,
                    keyframe,
                    audio_level: data.ext_vals.audio_level,
                    data: data.data,
                })
            }
            Event::RtpPacket(packet) => {
                let (mid, rid) = {
                    let mut api = self.rtc.direct_api();
                    let stream = api.stream_rx(&packet.header.ssrc)?;
                    (stream.mid(), stream.rid())
                };
                let transceiver = *self.transceivers.get(&mid)?;
                let rid = rid.and_then(convert::rid);
                let time = StreamTime {
                    timestamp: packet.header.timestamp,
                    clock_rate: packet.time.frequency().get(),
                };
                let at = packet.timestamp;
                EngineEvent::Packet(RtpPacket {
                    transceiver,
                    rid,
                    payload_type: *packet.header.payload_type,
                    sequence_number: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    at,
                    captured: self.peer_clock.captured((transceiver, rid), time, at),
                    audio_level: packet.header.ext_vals.audio_level,
                    extensions: extension_values::received(packet.header.ext_vals),
                    payload: packet.payload,
                    vp8: None,
                })
            }
            Event::KeyframeRequest(request) => EngineEvent::KeyframeWanted {
                transceiver: *self.transceivers.get(&request.mid)?,
                rid: request.rid.and_then(convert::rid),
                kind: convert::keyframe(request.kind),
            },
            Event::StreamPaused(paused) => EngineEvent::Paused {
                transceiver: *self.transceivers.get(&paused.mid)?,
                rid: paused.rid.and_then(convert::rid),
                paused: paused.paused,
            },
            Event::SenderFeedback(report) => {
                let report = SenderReport {
                    transceiver: *self.transceivers.get(&report.mid)?,
                    rid: report.rid.and_then(convert::rid),
                    ntp: report.sender_info.ntp_time,
                    rtp_time: report.sender_info.rtp_time.numer() as u32,
                    received: report.received_at,
                };
                self.peer_clock.handle_report(&report);
                EngineEvent::SenderReport(report)
            }
            Event::EgressBitrateEstimate(estimate) => convert::estimate(estimate)?,
            Event::PeerStats(stats) => {
                self.measured.peer = Some(stats);
                return None;
            }
            Event::MediaIngressStats(stats) => {
                let key = (*self.transceivers.get(&stats.mid)?, stats.rid.and_then(convert::rid));
                self.measured.inbound.insert(key, stats);
                return None;
            }
            Event::MediaEgressStats(stats) => {
                let key = (*self.transceivers.get(&stats.mid)?, stats.rid.and_then(convert::rid));
                let report = self.reception(key, &stats);
                self.measured.outbound.insert(key, stats);
                EngineEvent::ReceptionReport(report?)
            }
            _ => return None,
        })
    }

    /// Returns what the peer has reported on a stream since its last statistics, if it has.
    fn reception(
        &self,
        (transceiver, rid): (TransceiverId, Option<Rid>),
        stats: &MediaEgressStats,
    ) -> Option<ReceptionReport> {
        let (remote, lost) = (stats.remote.as_ref()?, stats.loss.filter(|lost| lost.is_finite())?);
        let clock = self.params(stats.mid).next()?.spec().clock_rate.get();
        Some(ReceptionReport {
            transceiver,
            rid,
            fraction_lost: lost.into(),
            packets_lost: remote.packets_lost,
            jitter: Duration::from_secs_f64(f64::from(remote.jitter) / f64::from(clock)),
            round_trip_time: stats.rtt,
        })
    }
}
