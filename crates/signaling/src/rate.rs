//! How much a client may send.

use std::time::{Duration, Instant};

/// How much a client may send within a window of time.
///
/// What is over it is dropped, and the client told once in each window; a client that sends twice as much is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages and frames of every kind. Default: 300.
    pub messages: u32,
    /// Bytes. Default: 4 MiB.
    pub bytes: usize,
    /// The window. Default: 10 s.
    pub window: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        Self { messages: 300, bytes: 4 << 20, window: Duration::from_secs(10) }
    }
}

impl Rate {
    /// No limit at all, for measuring and for clients one trusts.
    pub const UNLIMITED: Self =
        Self { messages: u32::MAX, bytes: usize::MAX, window: Duration::from_secs(10) };
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// Over the rate, for the first time in this window: tell the client.
    Tell,
    /// Over the rate; it has been told.
    Drop,
    /// Over twice the rate.
    Close,
}

/// What one client has sent in the current window.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    since: Option<Instant>,
    messages: u32,
    bytes: usize,
    told: bool,
}

impl Meter {
    pub(crate) fn count(&mut self, rate: &Rate, now: Instant, bytes: usize) -> Verdict {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= rate.window) {
            (self.since, self.messages, self.bytes, self.told) = (Some(now), 0, 0, false);
        }
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        let over = |factor: usize| {
            self.messages > rate.messages.saturating_mul(factor as u32)
                || self.bytes > rate.bytes.saturating_mul(factor)
        };
        match (over(2), over(1)) {
            (true, _) => Verdict::Close,
            (false, true) if std::mem::replace(&mut self.told, true) => Verdict::Drop,
            (false, true) => Verdict::Tell,
            (false, false) => Verdict::Pass,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use super::*;

    const RATE: Rate = Rate { messages: 2, bytes: 100, window: Duration::from_secs(1) };

    #[test]
    fn a_client_over_the_rate_is_told_once_and_closed_at_twice_the_rate() {
        let (start, mut meter) = (Instant::now(), Meter::default());

        let verdicts: Vec<_> = (0..5).map(|_| meter.count(&RATE, start, 1)).collect();

        use Verdict::*;
        assert_eq!(verdicts, [Pass, Pass, Tell, Drop, Close]);
    }

    #[test]
    fn a_new_window_begins_anew() {
        let (start, mut meter) = (Instant::now(), Meter::default());

        assert_eq!(meter.count(&RATE, start, 101), Verdict::Tell);
        assert_eq!(meter.count(&RATE, start + RATE.window, 100), Verdict::Pass);
        assert_eq!(meter.count(&RATE, start + RATE.window, 101), Verdict::Close);
    }
}
