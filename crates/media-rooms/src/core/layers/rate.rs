//! Bitrate and frame rate of an encoding and its temporal layers, over a sliding window of two seconds.

use std::time::{Duration, Instant};

use crate::core::allocate::Bitrate;

/// Counts of the last buckets. They move with the packets, so that the rate of an encoding that pauses stays known.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// Begin of the first bucket, and the last packet; none before any.
    times: Option<(Instant, Instant)>,
    /// Number of the current bucket since the first.
    current: u64,
    buckets: [Bucket; BUCKETS],
}

/// Counts of one bucket for each temporal layer.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    bytes: [u64; TEMPORAL_LAYERS],
    frames: [u32; TEMPORAL_LAYERS],
}

/// Rate of an encoding up to one of its temporal layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TemporalLayer {
    pub(super) temporal: u8,
    pub(super) bitrate: Bitrate,
    pub(super) fps: u32,
}

impl Rate {
    /// Adds a packet. Temporal layers that are too high count as the highest.
    pub(super) fn add(&mut self, now: Instant, temporal: u8, bytes: usize, ends_frame: bool) {
        let (begin, _) = *self.times.get_or_insert((now, now));
        let mut number =
            (now.saturating_duration_since(begin).as_millis() / BUCKET.as_millis()) as u64;
        if number >= self.current + BUCKETS as u64 {
            // All is too old: the measurement begins anew.
            *self = Self { times: Some((now, now)), ..Self::default() };
            number = 0;
        }
        while self.current < number {
            self.current += 1;
            self.buckets[self.current as usize % BUCKETS] = Bucket::default();
        }
        self.times = self.times.map(|(begin, last)| (begin, last.max(now)));
        let bucket = &mut self.buckets[self.current as usize % BUCKETS];
        let temporal = usize::from(temporal).min(TEMPORAL_LAYERS - 1);
        bucket.bytes[temporal] += bytes as u64;
        bucket.frames[temporal] += u32::from(ends_frame);
    }

    /// Returns the temporal layers that were heard, in ascending order; each with all below it.
    pub(super) fn temporal_layers(&self) -> impl Iterator<Item = TemporalLayer> + use<> {
        let mut sum = Bucket::default();
        for bucket in &self.buckets {
            for temporal in 0..TEMPORAL_LAYERS {
                sum.bytes[temporal] += bucket.bytes[temporal];
                sum.frames[temporal] += bucket.frames[temporal];
            }
        }
        let millis = self.covered().as_millis() as u64;
        let (mut bytes, mut frames) = (0, 0);
        (0..TEMPORAL_LAYERS).filter_map(move |temporal| {
            bytes += sum.bytes[temporal];
            frames += u64::from(sum.frames[temporal]);
            (sum.bytes[temporal] > 0).then(|| TemporalLayer {
                temporal: temporal as u8,
                bitrate: Bitrate::from_bps(bytes * 8 * 1_000 / millis),
                fps: ((frames * 1_000 + millis / 2) / millis).try_into().unwrap_or(u32::MAX),
            })
        })
    }

    /// Returns the time to which the counts belong.
    fn covered(&self) -> Duration {
        let Some((begin, last)) = self.times else { return LEAST_COVERED };
        let oldest = (self.current + 1).saturating_sub(BUCKETS as u64);
        let forgotten = BUCKET.saturating_mul(oldest.try_into().unwrap_or(u32::MAX));
        last.saturating_duration_since(begin).saturating_sub(forgotten).max(LEAST_COVERED)
    }
}

const BUCKETS: usize = 8;

/// Duration of a bucket.
const BUCKET: Duration = Duration::from_millis(250);

/// Least time for which a rate is calculated: a track begins with a large frame.
const LEAST_COVERED: Duration = Duration::from_millis(500);

/// Temporal layers that are told apart: VP8's identifier has two bits (RFC 7741 §4.2), and browsers use at most three.
const TEMPORAL_LAYERS: usize = 4;
