//! Media on its way in and out.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Session, SessionOutput};
use crate::api::{Flow, MediaMode};
use crate::engine::SenderOptions;
use crate::error::*;
use crate::event::{ConnectionEvent, SenderReport};
use crate::jsep::Transceiver;
use crate::media::*;
use crate::messages::WriteRtp;
use crate::state::*;

/// State of each sender beside its transceiver's.
#[derive(Debug, Default)]
pub(super) struct Senders {
    clocks: HashMap<(SenderId, Option<Rid>), Clock>,
    tones: HashMap<SenderId, Tones>,
}

/// Time of a stream of samples, in units of its codec's clock.
#[derive(Debug, Default)]
struct Clock {
    next: u64,
}

/// Tones that wait to be played.
#[derive(Debug)]
struct Tones {
    waiting: VecDeque<char>,
    duration: Duration,
    gap: Duration,
    next: Instant,
}

impl Senders {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.tones.values().map(|tones| tones.next).min()
    }
}

impl Session {
    pub(super) fn sample_received(
        &mut self,
        mut sample: ReceivedSample,
    ) -> Option<ConnectionEvent> {
        let interceptors = self.api.registry.interceptors();
        let pass = interceptors
            .iter()
            .all(|interceptor| interceptor.sample_received(&mut sample) == Flow::Pass);
        pass.then_some(ConnectionEvent::Sample(sample))
    }

    pub(super) fn packet_received(&mut self, mut packet: RtpPacket) -> Option<ConnectionEvent> {
        let interceptors = self.api.registry.interceptors();
        let pass = interceptors
            .iter()
            .all(|interceptor| interceptor.packet_received(&mut packet) == Flow::Pass);
        pass.then_some(ConnectionEvent::Packet(packet))
    }

    /// Returns the event of a report; forwarders of packets need it, others do not see RTP times.
    pub(super) fn report_received(&self, report: SenderReport) -> Option<ConnectionEvent> {
        let is_wanted = self.api.settings.media_mode == MediaMode::Rtp;
        is_wanted.then_some(ConnectionEvent::SenderReport(report))
    }

    /// Tells the peer's reports on what is sent to it; forwarders of packets need them, others have the statistics.
    pub(super) fn tell_receptions(&mut self) {
        let receptions = std::mem::take(&mut self.receptions);
        if !receptions.is_empty() && self.api.settings.media_mode == MediaMode::Rtp {
            let event = ConnectionEvent::ReceptionReports(receptions);
            self.output.push_back(SessionOutput::Event(event));
        }
    }

    /// Returns the transceiver of a sender that may send now.
    fn sending(&self, sender: SenderId) -> Result<&Transceiver, WriteError> {
        let transceiver = self.jsep.transceivers().by_sender(sender).ok_or(WriteError::NotFound)?;
        let allowed = transceiver.current.is_some_and(Direction::sends)
            && transceiver.direction.sends()
            && transceiver.track.is_some();
        if !allowed {
            return Err(WriteError::NotSending);
        }
        if self.states.dtls != DtlsTransportState::Connected {
            return Err(WriteError::NotConnected);
        }
        Ok(transceiver)
    }

    /// Writes a frame. A refused one is counted: the application may not have waited for the answer.
    pub(crate) fn write_sample(
        &mut self,
        now: Instant,
        sender: SenderId,
        sample: Sample,
    ) -> Result<(), WriteError> {
        self.take_sample(now, sender, sample).inspect_err(|_| self.counters.writes_refused += 1)
    }

    fn take_sample(
        &mut self,
        now: Instant,
        sender: SenderId,
        mut sample: Sample,
    ) -> Result<(), WriteError> {
        if self.api.settings.media_mode != MediaMode::Samples {
            return Err(WriteError::OtherMode);
        }
        let transceiver = self.sending(sender)?;
        let id = transceiver.id;
        let codec = transceiver.track.as_ref().map(|track| track.codec.clone()).unwrap_or_default();
        let interceptors = self.api.registry.interceptors();
        if !interceptors
            .iter()
            .all(|interceptor| interceptor.sample_sent(sender, &mut sample) == Flow::Pass)
        {
            return Ok(());
        }
        let clock = self.senders.clocks.entry((sender, sample.rid)).or_default();
        let result = self.engine.write_sample(id, &codec, &sample, now, |rate| {
            let time = sample.timestamp.unwrap_or(clock.next);
            let units = sample.duration.as_nanos() * u128::from(rate) / 1_000_000_000;
            clock.next = time.wrapping_add(units as u64);
            time
        });
        self.step(now);
        result
    }

    /// Writes a packet. It goes out with the next [`Session::flush`], together with others. A refused one is counted.
    pub(crate) fn write_packet(
        &mut self,
        sender: SenderId,
        packet: RtpPacket,
    ) -> Result<(), WriteError> {
        self.take_packet(sender, packet).inspect_err(|_| self.counters.writes_refused += 1)
    }

    /// Writes packets as [`Self::write_packet`] does.
    pub(crate) fn write_packets(&mut self, packets: impl IntoIterator<Item = WriteRtp>) {
        let mut run = None;
        for WriteRtp { sender, packet } in packets {
            // They come in runs of one sender, and nothing changes meanwhile.
            let transceiver = match run {
                Some((last, transceiver)) if last == sender => transceiver,
                _ => self.may_write(sender).ok(),
            };
            run = Some((sender, transceiver));
            let written = transceiver.map(|id| self.pass_packet(id, sender, packet));
            if !matches!(written, Some(Ok(()))) {
                self.counters.writes_refused += 1;
            }
        }
    }

    fn take_packet(&mut self, sender: SenderId, packet: RtpPacket) -> Result<(), WriteError> {
        let transceiver = self.may_write(sender)?;
        self.pass_packet(transceiver, sender, packet)
    }

    /// Returns the transceiver of a sender through which packets may be sent now.
    fn may_write(&self, sender: SenderId) -> Result<TransceiverId, WriteError> {
        if self.api.settings.media_mode != MediaMode::Rtp {
            return Err(WriteError::OtherMode);
        }
        Ok(self.sending(sender)?.id)
    }

    fn pass_packet(
        &mut self,
        transceiver: TransceiverId,
        sender: SenderId,
        mut packet: RtpPacket,
    ) -> Result<(), WriteError> {
        let interceptors = self.api.registry.interceptors();
        if !interceptors
            .iter()
            .all(|interceptor| interceptor.packet_sent(sender, &mut packet) == Flow::Pass)
        {
            return Ok(());
        }
        self.packets_wait += 1;
        self.engine.write_packet(transceiver, packet)
    }

    pub(crate) fn configure_sender(
        &mut self,
        sender: SenderId,
        resend: Option<(usize, Duration)>,
        paced: Option<bool>,
    ) -> Result<(), TransceiverError> {
        let transceiver =
            self.jsep.transceivers().by_sender(sender).ok_or(TransceiverError::NotFound)?;
        let (id, encodings) = (transceiver.id, transceiver.send_encodings.clone());
        let options = SenderOptions { encodings, resend, paced, is_applied: false };
        self.quiet_until = None;
        self.engine.configure_sender(id, options);
        Ok(())
    }

    pub(crate) fn sender_position(
        &self,
        sender: SenderId,
        rid: Option<Rid>,
    ) -> Option<SenderPosition> {
        let transceiver = self.jsep.transceivers().by_sender(sender)?;
        self.engine.position(transceiver.id, rid)
    }

    pub(crate) fn set_bitrate(&mut self, now: Instant, minimum: u64, desired: u64) -> bool {
        let is_estimated = self.api.registry.bandwidth_estimation.is_some();
        if is_estimated {
            self.engine.set_bitrate(minimum, desired);
            self.step(now);
        }
        is_estimated
    }

    pub(crate) fn estimate(&self) -> Option<u64> {
        self.estimate
    }

    pub(crate) fn reset_estimate(&mut self, now: Instant, initial: u64) -> bool {
        let is_estimated = self.api.registry.bandwidth_estimation.is_some();
        if is_estimated {
            self.engine.reset_estimate(initial);
            self.step(now);
        }
        is_estimated
    }

    pub(crate) fn request_keyframe(
        &mut self,
        now: Instant,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        kind: KeyframeRequestKind,
    ) -> Result<(), KeyframeError> {
        if self.jsep.transceivers().get(transceiver).is_none() {
            return Err(KeyframeError::NotFound);
        }
        let result = self.engine.request_keyframe(transceiver, rid, kind);
        self.step(now);
        result
    }

    /// Plays tones (W3C `RTCDTMFSender.insertDTMF`); they replace those that wait. Refused ones are counted.
    pub(crate) fn insert_dtmf(
        &mut self,
        now: Instant,
        sender: SenderId,
        tones: &str,
        duration: Duration,
        gap: Duration,
    ) -> Result<(), DtmfError> {
        let taken = self.take_tones(now, sender, tones, duration, gap);
        taken.inspect_err(|_| self.counters.writes_refused += 1)
    }

    fn take_tones(
        &mut self,
        now: Instant,
        sender: SenderId,
        tones: &str,
        duration: Duration,
        gap: Duration,
    ) -> Result<(), DtmfError> {
        let transceiver = self.jsep.transceivers().by_sender(sender).ok_or(DtmfError::NotFound)?;
        let id = transceiver.id;
        let sends = transceiver.kind == TrackKind::Audio && self.sending(sender).is_ok();
        if !sends || !self.engine.has_tones(id) {
            return Err(DtmfError::CannotInsert);
        }
        let tones: VecDeque<char> = tones.chars().map(|tone| tone.to_ascii_uppercase()).collect();
        if let Some(bad) = tones.iter().find(|tone| **tone != ',' && event_of(**tone).is_none()) {
            return Err(DtmfError::NoTone(*bad));
        }
        if tones.len() > MOST_TONES {
            return Err(DtmfError::TooMany);
        }
        let duration = duration.clamp(Duration::from_millis(40), Duration::from_millis(6_000));
        let gap = gap.clamp(Duration::from_millis(50), Duration::from_millis(6_000));
        self.senders.tones.insert(sender, Tones { waiting: tones, duration, gap, next: now });
        self.play_tones(now);
        self.step(now);
        Ok(())
    }

    pub(super) fn play_tones(&mut self, now: Instant) {
        let due: Vec<SenderId> = self
            .senders
            .tones
            .iter()
            .filter(|(_, tones)| tones.next <= now)
            .map(|(sender, _)| *sender)
            .collect();
        for sender in due {
            let Some(mut tones) = self.senders.tones.remove(&sender) else { continue };
            let tone = tones.waiting.pop_front();
            if let Some(tone) = tone {
                match event_of(tone) {
                    Some(event) => {
                        self.play(now, sender, event, tones.duration);
                        tones.next = now + tones.duration + tones.gap;
                    }
                    // W3C §7.3: a comma is a pause of two seconds.
                    None => tones.next = now + Duration::from_secs(2),
                }
                self.senders.tones.insert(sender, tones);
            }
            self.output
                .push_back(SessionOutput::Event(ConnectionEvent::ToneChange { sender, tone }));
        }
    }

    fn play(&mut self, now: Instant, sender: SenderId, event: u8, duration: Duration) {
        let Ok(transceiver) = self.sending(sender) else { return };
        let id = transceiver.id;
        let codec = transceiver.track.as_ref().map(|track| track.codec.clone()).unwrap_or_default();
        let clock = self.senders.clocks.entry((sender, None)).or_default();
        let played = self.engine.write_tone(id, &codec, event, duration, now, |rate| {
            let time = clock.next;
            let units = duration.as_nanos() * u128::from(rate) / 1_000_000_000;
            clock.next = time.wrapping_add(units as u64);
            time
        });
        if let Err(error) = played {
            log::debug!("{}: a tone was not played: {error}", self.id);
        }
    }
}

/// Returns the event code of a tone (RFC 4733 §3.2).
fn event_of(tone: char) -> Option<u8> {
    match tone {
        '0'..='9' => Some(tone as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        'A'..='D' => Some(tone as u8 - b'A' + 12),
        _ => None,
    }
}

/// Most tones that may wait: no telephone keypad sends more at once.
const MOST_TONES: usize = 256;
