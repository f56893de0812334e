//! Rate limits of one client, as token buckets, without a clock.

use std::time::Instant;

/// Rate limit of one client: one token bucket of messages and one of bytes.
///
/// A full bucket lets a burst through, and refills evenly with time. A message that finds a bucket empty is dropped,
/// and the client is warned; once as much has been dropped as a bucket holds, the client is closed. Dropped messages
/// are forgotten once both buckets are full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages and frames of every kind per second, on average. Default: 250, which is enough for input at 240 Hz.
    pub messages_per_second: u32,
    /// Messages and frames in a burst, such as after a network that was stuck for some seconds. Default: 1,000.
    pub burst_messages: u32,
    /// Bytes per second, on average. Default: 400 KiB.
    pub bytes_per_second: u32,
    /// Bytes in a burst; a larger message is never let through. Default: 4 MiB.
    pub burst_bytes: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            messages_per_second: 250,
            burst_messages: 1_000,
            bytes_per_second: 400 << 10,
            burst_bytes: 4 << 20,
        }
    }
}

impl Rate {
    /// No limit at all, for benchmarks and for trusted clients.
    pub const UNLIMITED: Self = Self {
        messages_per_second: u32::MAX,
        burst_messages: u32::MAX,
        bytes_per_second: u32::MAX,
        burst_bytes: u32::MAX,
    };
}

/// Decision about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a verdict that is not known cannot be carried out")]
pub enum RateVerdict {
    /// Within the rate.
    Pass,
    /// Over the rate, and the client must be warned: at most four times before the client is closed or has calmed down.
    Tell,
    /// Over the rate; the client has been warned.
    Drop,
    /// Over the rate for too long: the client is closed.
    Close,
}

/// Usage of one client.
#[derive(Debug, Default)]
pub struct RateMeter {
    /// Time at which the levels were computed.
    at: Option<Instant>,
    /// Missing tokens in the bucket of messages, in billionths of a message.
    messages: u64,
    /// Missing tokens in the bucket of bytes, in billionths of a byte.
    bytes: u64,
    dropped_messages: u32,
    dropped_bytes: u32,
    warnings: u8,
}

impl RateMeter {
    /// Counts a message of this many bytes, and decides about it.
    pub fn count(&mut self, rate: &Rate, now: Instant, bytes: usize) -> RateVerdict {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.refill(rate, now);
        let messages_lack = self.messages.saturating_add(BILLION);
        let bytes_lack = self.bytes.saturating_add(billionths(bytes));
        if messages_lack <= billionths(rate.burst_messages)
            && bytes_lack <= billionths(rate.burst_bytes)
        {
            (self.messages, self.bytes) = (messages_lack, bytes_lack);
            return RateVerdict::Pass;
        }
        self.dropped_messages = self.dropped_messages.saturating_add(1);
        self.dropped_bytes = self.dropped_bytes.saturating_add(bytes);
        let warned = self.warnings;
        // The first one is always reported.
        if warned > 0
            && (self.dropped_messages > rate.burst_messages
                || self.dropped_bytes > rate.burst_bytes)
        {
            return RateVerdict::Close;
        }
        let share = |dropped: u32, of: u32| u64::from(dropped) * 4 / u64::from(of.max(1));
        let quarter = share(self.dropped_messages, rate.burst_messages)
            .max(share(self.dropped_bytes, rate.burst_bytes));
        if u64::from(warned) > quarter.min(MAX_WARNINGS - 1) {
            return RateVerdict::Drop;
        }
        self.warnings += 1;
        RateVerdict::Tell
    }

    /// Returns the number of messages dropped since the client was last within its rate.
    pub fn dropped(&self) -> u32 {
        self.dropped_messages
    }

    fn refill(&mut self, rate: &Rate, now: Instant) {
        let since = self.at.map_or(0, |at| {
            let nanoseconds = now.saturating_duration_since(at).as_nanos();
            u64::try_from(nanoseconds).unwrap_or(u64::MAX)
        });
        if self.at.is_none_or(|at| at < now) {
            self.at = Some(now);
        }
        let filled = |per_second: u32| since.saturating_mul(per_second.into());
        self.messages = self.messages.saturating_sub(filled(rate.messages_per_second));
        self.bytes = self.bytes.saturating_sub(filled(rate.bytes_per_second));
        if (self.messages, self.bytes) == (0, 0) {
            (self.dropped_messages, self.dropped_bytes, self.warnings) = (0, 0, 0);
        }
    }
}

fn billionths(amount: u32) -> u64 {
    u64::from(amount) * BILLION
}

/// Units per token: in one nanosecond a bucket regains as many units as it gets tokens per second.
const BILLION: u64 = 1_000_000_000;
/// Number of warnings before a client is closed.
const MAX_WARNINGS: u64 = 4;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use std::time::Duration;

    use super::*;
    use RateVerdict::*;

    const RATE: Rate =
        Rate { messages_per_second: 2, burst_messages: 2, bytes_per_second: 100, burst_bytes: 100 };

    #[test]
    fn a_client_over_the_rate_is_told_and_then_closed() {
        let (start, mut meter) = (Instant::now(), RateMeter::default());

        let verdicts: Vec<_> = (0..5).map(|_| meter.count(&RATE, start, 1)).collect();

        assert_eq!(verdicts, [Pass, Pass, Tell, Tell, Close]);
    }

    #[test]
    fn a_bucket_fills_evenly_and_no_further_than_its_size() {
        let (start, mut meter) = (Instant::now(), RateMeter::default());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);

        assert_eq!(meter.count(&RATE, start, 101), Tell, "it fits into no bucket");
        assert_eq!(meter.count(&RATE, start, 100), Pass);
        assert_eq!(meter.count(&RATE, after(490), 50), Tell);
        assert_eq!(meter.count(&RATE, after(500), 50), Pass);
        assert_eq!(meter.count(&RATE, after(60_000), 1), Pass);
        assert_eq!(meter.count(&RATE, after(60_000), 1), Pass);
        assert_eq!(meter.count(&RATE, after(60_000), 1), Tell);
    }

    #[test]
    fn input_of_a_game_passes_by_default_beside_pings_and_candidates() {
        let (start, mut meter, rate) = (Instant::now(), RateMeter::default(), Rate::default());
        let candidates = (0..60).map(|_| (Duration::ZERO, 300));
        let input = (0..144 * 600).map(|tick| (Duration::from_secs(tick) / 144, 120));
        let pings = (0..40).map(|beat| (Duration::from_secs(15 * beat), 4));
        let mut sent: Vec<_> = candidates.chain(input).chain(pings).collect();
        sent.sort();

        for (at, bytes) in sent {
            assert_eq!(meter.count(&rate, start + at, bytes), Pass, "{at:?}");
        }
    }

    #[test]
    fn a_client_whose_network_was_stuck_for_some_seconds_is_not_punished() {
        let (start, mut meter, rate) = (Instant::now(), RateMeter::default(), Rate::default());
        let mut verdicts = Vec::new();

        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            // Five seconds of input arrive at once.
            let count = if second % 5 == 0 { 5 * 144 } else { 0 };
            verdicts.extend((0..count).map(|_| meter.count(&rate, now, 100)));
        }

        assert!(verdicts.iter().all(|verdict| *verdict == Pass));
    }

    /// Random clients against what a limit promises.
    #[test]
    fn what_passes_is_bounded_and_a_close_comes_after_a_warning_and_not_to_those_who_calm_down() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let rate = Rate {
                messages_per_second: random.u32(1..500),
                burst_messages: random.u32(1..500),
                bytes_per_second: random.u32(100..10_000),
                burst_bytes: random.u32(100..10_000),
            };
            let (start, mut meter) = (Instant::now(), RateMeter::default());
            let (mut elapsed, mut passed, mut bytes) = (Duration::ZERO, 0_u64, 0_u64);
            let mut warnings = 0;
            for _ in 0..2_000 {
                elapsed += Duration::from_micros(random.u64(0..20_000));
                let size = random.u32(0..200);
                match meter.count(&rate, start + elapsed, size as usize) {
                    Pass => {
                        (passed, bytes) = (passed + 1, bytes + u64::from(size));
                        if meter.dropped() == 0 {
                            warnings = 0;
                        }
                    }
                    Tell => {
                        if meter.dropped() == 1 {
                            warnings = 0;
                        }
                        warnings += 1;
                        assert!(warnings <= MAX_WARNINGS, "seed {seed}");
                        if random.bool() {
                            // It heeds the warning: both buckets fill.
                            elapsed += Duration::from_secs(500);
                        }
                    }
                    Drop => assert!(warnings > 0, "seed {seed}"),
                    Close => {
                        assert!(warnings > 0, "seed {seed}: closed without a word");
                        let full = meter.dropped() > rate.burst_messages
                            || meter.dropped_bytes > rate.burst_bytes;
                        assert!(full, "seed {seed}: closed too early");
                        break;
                    }
                }
                let most = |per_second: u32, burst: u32| {
                    elapsed.as_secs_f64() * f64::from(per_second) + f64::from(burst) + 1e-3
                };
                assert!(
                    passed as f64 <= most(rate.messages_per_second, rate.burst_messages),
                    "seed {seed}"
                );
                assert!(
                    bytes as f64 <= most(rate.bytes_per_second, rate.burst_bytes),
                    "seed {seed}"
                );
            }
        }
    }

    #[test]
    fn a_client_within_the_rate_is_never_told_anything() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let rate = Rate { messages_per_second: random.u32(1..500), ..Rate::default() };
            let (start, mut meter) = (Instant::now(), RateMeter::default());
            let apart = Duration::from_secs(1) / rate.messages_per_second + Duration::from_nanos(1);

            for number in 0..5_000 {
                // Late by chance, within what a burst makes good.
                let late = Duration::from_micros(random.u64(0..1_000_000));
                let now = start + apart * number + late;
                assert_eq!(meter.count(&rate, now, 10), Pass, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_client_that_never_heeds_a_warning_is_closed_however_little_it_is_over() {
        let (start, rate) = (Instant::now(), Rate::default());
        for percent in [102, 110, 150, 1_000] {
            let mut meter = RateMeter::default();
            let apart = Duration::from_secs(1) * 100 / (rate.messages_per_second * percent);
            let mut verdicts = (0..).map(|number| meter.count(&rate, start + apart * number, 10));

            assert!(verdicts.by_ref().take(1_000_000).any(|verdict| verdict == Close), "{percent}");
        }
    }
}
