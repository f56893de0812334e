//! Restart budget of a supervisor.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts within the last period (OTP: `add_restart`).
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: VecDeque<Instant>,
}

impl Budget {
    /// Counts one restart; returns `false` if it is one too many and must not be made.
    ///
    /// A restart that is exactly `period` old still counts, as in OTP.
    pub(super) fn spend(&mut self, now: Instant, intensity: u32, period: Duration) -> bool {
        while self.spent.front().is_some_and(|&at| now.saturating_duration_since(at) > period) {
            self.spent.pop_front();
        }
        if self.spent.len() >= intensity as usize {
            return false;
        }
        self.spent.push_back(now);
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_more_than_the_intensity_within_the_period_is_refused() {
        let start = Instant::now();
        let mut budget = Budget::default();

        assert!(budget.spend(start, 2, SECOND));
        assert!(budget.spend(start, 2, SECOND));
        assert!(!budget.spend(start + SECOND, 2, SECOND), "exactly a period old still counts");
        assert!(budget.spend(start + SECOND + Duration::from_nanos(1), 2, SECOND));
    }

    #[test]
    fn an_intensity_of_zero_bears_no_restart() {
        assert!(!Budget::default().spend(Instant::now(), 0, SECOND));
    }
}
