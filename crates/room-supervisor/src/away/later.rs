//! News that waits for other news, so that both cost one frame; not for long.

use std::time::Duration;

use tokio::time::Instant;

/// When news is told that need not be told at once: with other news, or when there is much of it, or after a pause.
#[derive(Debug, Default)]
pub(super) struct Later {
    count: usize,
    /// When the first of it came.
    since: Option<Instant>,
    /// Whether its owner looks again.
    is_awaited: bool,
}

impl Later {
    /// Notes so much news.
    pub(super) fn add(&mut self, now: Instant, count: usize) {
        if count > 0 {
            self.count += count;
            self.since.get_or_insert(now);
        }
    }

    /// Returns whether the news is to be told now, also by itself: there is as much as this, or it has waited.
    pub(super) fn is_due(&self, now: Instant, much: usize) -> bool {
        self.since.is_some_and(|since| self.count >= much || now >= since + PAUSE)
    }

    /// Notes that all is told; returns how much it was.
    pub(super) fn take(&mut self) -> usize {
        self.since = None;
        std::mem::take(&mut self.count)
    }

    /// Returns after which time to look again; none if there is nothing to tell, or that was asked before.
    pub(super) fn look_again(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since.filter(|_| !self.is_awaited)?;
        self.is_awaited = true;
        let left = (since + PAUSE).saturating_duration_since(now);
        // What cannot be told now, though it is due, is told by who can.
        Some(if left.is_zero() { PAUSE } else { left })
    }

    /// Notes that the time to look again has come.
    pub(super) fn looks(&mut self) {
        self.is_awaited = false;
    }
}

/// Time for which news waits for other news. Clients do not wait for it: it returns credit, and lets texts be
/// forgotten.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_told_when_it_is_much_or_has_waited() {
        let (mut later, start) = (Later::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!later.is_due(at(500), 0));
        assert_eq!(later.look_again(at(0)), None);

        later.add(at(0), 1);
        later.add(at(15), 1);

        assert!(later.is_due(at(15), 2), "it is much");
        assert!(!later.is_due(at(45), 3));
        assert!(later.is_due(at(50), 3), "it has waited");
        assert_eq!(later.look_again(at(20)), Some(Duration::from_millis(30)));
        assert_eq!(later.look_again(at(20)), None, "it was asked before");

        later.looks();
        assert_eq!(later.look_again(at(150)), Some(PAUSE), "no loop, though it cannot be told");
        assert_eq!(later.take(), 2);
        later.looks();
        assert!(!later.is_due(at(50), 0));
        assert_eq!(later.look_again(at(50)), None, "all is told");
    }

    #[test]
    fn what_comes_after_the_last_was_told_waits_as_long() {
        let (mut later, start) = (Later::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        later.add(at(0), 1);
        assert_eq!(later.look_again(at(0)), Some(Duration::from_millis(50)));
        _ = later.take();
        later.add(at(40), 1);

        later.looks();

        assert!(!later.is_due(at(50), 2));
        assert_eq!(later.look_again(at(50)), Some(Duration::from_millis(40)));
    }
}
