//! A sender whose pictures are late, and a viewer that reads by its reports how sound and picture are played in step.

use std::collections::HashMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use callboard_peer_connection::messages::WriteRtp;
use callboard_peer_connection::*;

use super::{Client, Heard, SOUND};

/// Sound, and the picture of the same moment, each 20 ms.
pub(crate) struct Lips {
    begin: tokio::time::Instant,
    /// Time that a picture takes from its capture to its sender's connection.
    late: Duration,
    /// Moments whose sound and picture were sent.
    sent: [u32; 2],
}

/// What a viewer knows of the times of a stream.
#[derive(Default)]
pub(crate) struct Heeded {
    /// Whether it is of pictures, and the moment and RTP time of the packet that came last.
    latest: Option<(bool, u32, u32)>,
    /// Time of the stream's first moment by the report that came last, in s since 1970.
    pub(crate) reported: Option<f64>,
    /// The same by the last packet's time of capture, in s since the sender began.
    pub(crate) captured: Option<f64>,
}

impl Lips {
    pub(crate) fn new(late: Duration) -> Self {
        Self { begin: tokio::time::Instant::now(), late, sent: [0; 2] }
    }

    /// Sends what is due by now.
    pub(crate) async fn talk(&mut self, client: &Client) {
        for kind in [0, 1] {
            let late = [Duration::ZERO, self.late][kind];
            while self.begin + STEP * self.sent[kind] + late <= tokio::time::Instant::now() {
                let moment = self.sent[kind];
                self.sent[kind] += 1;
                client.write_of(kind, moment, (self.begin + STEP * moment).into_std()).await;
            }
        }
    }

    /// Notes what a viewer has received.
    pub(crate) fn listen(&self, viewer: &mut Client, heeded: &mut HashMap<TransceiverId, Heeded>) {
        while viewer.heard.try_recv().is_ok() {}
        while let Ok(Heard::Connection(event)) = viewer.told.try_recv() {
            match event {
                ConnectionEvent::Packet(packet) => {
                    let moment = packet.payload.last_chunk().map(|it| u32::from_be_bytes(*it));
                    let moment = moment.expect("what was sent");
                    let of = heeded.entry(packet.transceiver).or_default();
                    let is_picture = packet.payload.len() != SOUND.len();
                    of.latest = Some((is_picture, moment, packet.timestamp));
                    let since = |captured: Instant| {
                        let begin = self.begin.into_std();
                        captured.duration_since(begin).as_secs_f64() - after_first(moment)
                    };
                    of.captured = packet.captured.map(since);
                }
                ConnectionEvent::SenderReport(report) => {
                    let of = heeded.entry(report.transceiver).or_default();
                    let Some((is_picture, moment, timestamp)) = of.latest else { continue };
                    let rate = if is_picture { 90_000.0 } else { 48_000.0 };
                    let ticks = report.rtp_time.wrapping_sub(timestamp).cast_signed();
                    let day = report.ntp.duration_since(UNIX_EPOCH).expect("it is later");
                    let apart = f64::from(ticks) / rate + after_first(moment);
                    of.reported = Some(day.as_secs_f64() - apart);
                }
                _ => {}
            }
        }
    }
}

impl Client {
    /// Sends the sound or the picture of a moment.
    async fn write_of(&self, kind: usize, moment: u32, captured: Instant) {
        let key = [0x90, 0x80, 0x80 | (moment >> 8 & 0x7f) as u8, moment as u8, 0, 0, 0];
        let start = [0x9d, 1, 0x2a, 64, 1, 180, 0, 0];
        let mut payload = if kind == 0 { SOUND.to_vec() } else { [&key[..], &start].concat() };
        payload.resize([SOUND.len() - 4, 200][kind], 0xfc);
        payload.extend(moment.to_be_bytes());
        let packet = RtpPacket {
            transceiver: TransceiverId(self.server.id().0),
            rid: None,
            payload_type: self.payload_types[kind],
            sequence_number: moment.into(),
            timestamp: moment * [960, 1_800][kind],
            marker: kind == 1,
            at: tokio::time::Instant::now().into_std(),
            captured: Some(captured),
            payload: payload.into(),
            audio_level: None,
            vp8: None,
            extensions: HeaderExtensions::default(),
        };
        let sender = self.senders[kind];
        self.connection.send(WriteRtp { sender, packet }).await.unwrap().unwrap();
    }
}

/// Returns the s from the first moment to another.
fn after_first(moment: u32) -> f64 {
    f64::from(moment) * STEP.as_secs_f64()
}

const STEP: Duration = Duration::from_millis(20);
