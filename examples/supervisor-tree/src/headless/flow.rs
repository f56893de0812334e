//! Bookkeeping of whether messages flow, and since when without a break: no actix, no clock.

use std::time::{Duration, Instant};

/// Arrivals of messages of one kind.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Time of sending and time of arrival of each.
    arrivals: Vec<(Instant, Instant)>,
}

impl Flow {
    /// Records an arrival.
    pub(crate) fn mark(&mut self, sent: Instant, arrived: Instant) {
        if self.arrivals.len() >= KEPT {
            self.arrivals.drain(..KEPT / 2);
        }
        self.arrivals.push((sent, arrived));
    }

    /// Returns how long after this moment messages flowed again; none while that is not known. They flow again from the
    /// first arrival of a message sent after that moment that was followed by no gap.
    pub(crate) fn recovered(&self, injected: Instant, now: Instant) -> Option<Duration> {
        let after = self.arrivals.iter().rev().take_while(|(sent, _)| *sent >= injected);
        let mut since: Option<Instant> = None;
        for (_, arrived) in after {
            let next = since.unwrap_or(now);
            if next.saturating_duration_since(*arrived) > GAP {
                break;
            }
            since = Some(*arrived);
        }
        let since = since?;
        let settled = now.saturating_duration_since(since) >= SETTLED;
        settled.then(|| since.saturating_duration_since(injected))
    }
}

/// Pause in arrivals that counts as a gap: several times the interval of the messages.
pub(crate) const GAP: Duration = Duration::from_millis(300);
/// Time without a gap after which messages flow.
const SETTLED: Duration = Duration::from_millis(400);
const KEPT: usize = 2_000;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use super::*;

    fn at(flow: &mut Flow, start: Instant, times: impl IntoIterator<Item = u64>) {
        for time in times {
            let time = start + Duration::from_millis(time);
            flow.mark(time, time);
        }
    }

    #[test]
    fn it_flows_again_from_the_first_arrival_after_the_last_gap() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut flow = Flow::default();
        at(&mut flow, start, (0..=1_000).step_by(50));

        // None of the effects of the fault has happened yet.
        assert_eq!(flow.recovered(start + ms(1_000), start + ms(1_050)), None);
        // Some messages that were under way, then a gap.
        at(&mut flow, start, [1_050]);
        assert_eq!(flow.recovered(start + ms(1_020), start + ms(2_000)), None);
        at(&mut flow, start, (2_000..=2_500).step_by(50));
        assert_eq!(flow.recovered(start + ms(1_020), start + ms(2_510)), Some(ms(980)));
        // Messages have stopped again.
        assert_eq!(flow.recovered(start + ms(1_020), start + ms(3_000)), None);
    }

    #[test]
    fn what_was_sent_before_the_fault_says_nothing() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut flow = Flow::default();
        for late in (500..=1_500).step_by(50) {
            flow.mark(start, start + ms(late));
        }
        assert_eq!(flow.recovered(start + ms(1), start + ms(1_500)), None);
    }
}
