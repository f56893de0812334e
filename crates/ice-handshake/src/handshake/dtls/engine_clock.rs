//! Clock of an engine, which would wait longer than its deadline for lost datagrams.

use std::time::{Duration, Instant};

/// Time of an engine. The engine doubles its pauses without end, which on a path with much loss takes longer than any
/// deadline; so a pause that has lasted long enough is over, and the engine's clock is ahead of ours from then on.
///
/// An engine that is connected may still have to repeat its last flight: in DTLS 1.3 a client is connected when it has
/// sent that, and only the client itself repeats it (RFC 9147 §5.8.1). So its pauses stay short for a while. Then they
/// are its own, before its repetitions are used up: an engine must not end because its peer never acknowledges.
#[derive(Clone, Copy)]
pub(super) struct EngineClock {
    ahead: Duration,
    /// Our time, at the last call.
    now: Instant,
    /// Time for which the engine waits, by its clock, and since when it waits, by ours.
    waiting: Option<(Instant, Instant)>,
    connected: Option<Instant>,
}

impl EngineClock {
    pub(super) fn new(born: Instant) -> Self {
        Self { ahead: Duration::ZERO, now: born, waiting: None, connected: None }
    }

    /// Returns our time, at the last call.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Notes that the engine is connected.
    pub(super) fn connected(&mut self) {
        self.connected.get_or_insert(self.now);
    }

    /// Returns whether the engine is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// Returns the engine's time.
    pub(super) fn pass(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        if let Some((at, since)) = self.waiting
            && self.longest(at, since).is_some_and(|longest| self.now >= since + longest)
        {
            self.ahead = self.ahead.max(at.saturating_duration_since(self.now));
        }
        self.now + self.ahead
    }

    /// Returns when, by our time, what the engine waits for is due.
    pub(super) fn wait(&mut self, at: Instant) -> Instant {
        let since = match self.waiting {
            Some((same, since)) if same == at => since,
            _ => self.now,
        };
        self.waiting = Some((at, since));
        let ours = at.checked_sub(self.ahead).unwrap_or(at);
        match self.longest(at, since) {
            Some(longest) => ours.min(since + longest),
            None => ours,
        }
    }

    /// Returns the longest pause that begins then; `None` where the engine's own pause applies.
    fn longest(&self, at: Instant, since: Instant) -> Option<Duration> {
        // The engine's deadline must not come by waiting.
        if at.saturating_duration_since(since + self.ahead) >= IDLE {
            return None;
        }
        let Some(connected) = self.connected else { return Some(LONGEST_PAUSE) };
        match since.saturating_duration_since(connected) {
            after if after < SOON => Some(LONGEST_PAUSE),
            after if after < LATE => Some(LONGER_PAUSE),
            _ => None,
        }
    }
}

/// Longest pause: on a path that loses a third of all datagrams, a flight gets through in three or four attempts,
/// within two seconds.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Time after the connection during which the longest pause applies: about twelve repetitions.
const SOON: Duration = Duration::from_secs(4);
/// Time after the connection until which longer pauses apply: seven more of the 24 repetitions that an engine has.
const LATE: Duration = Duration::from_secs(25);
const LONGER_PAUSE: Duration = Duration::from_secs(3);
/// Wait beyond which an engine waits only for its deadline, which is a year, or none, where dimpl says ten years.
const IDLE: Duration = Duration::from_secs(30 * 24 * 3_600);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "virtual time begins now")]
mod tests {
    use super::*;

    /// Returns how often an engine that is connected at once repeats, within this time, what is never acknowledged.
    fn repetitions(within: Duration) -> u32 {
        let born = Instant::now();
        let mut clock = EngineClock::new(born);
        clock.connected();
        let (mut rto, mut count) = (Duration::from_millis(100), 0);
        let mut at = clock.pass(born) + rto;
        loop {
            let due = clock.wait(at);
            if due > born + within {
                return count;
            }
            assert!(clock.pass(due) >= at, "it is time by the engine's clock as well");
            count += 1;
            rto *= 2;
            at = clock.pass(due) + rto;
        }
    }

    #[test]
    fn a_last_flight_is_repeated_often_and_not_until_repetitions_are_used_up() {
        assert!((10..=14).contains(&repetitions(Duration::from_secs(4))));
        // Within an hour, and within a day.
        assert!(repetitions(Duration::from_secs(3_600)) <= 22);
        assert!(repetitions(Duration::from_secs(24 * 3_600)) <= 22);
    }

    #[test]
    fn an_engine_that_waits_for_nothing_is_left_alone() {
        for connected in [true, false] {
            let born = Instant::now();
            let mut clock = EngineClock::new(born);
            if connected {
                clock.connected();
            }
            let idle = born + 12 * IDLE;
            assert_eq!(clock.wait(idle), idle);
            let later = born + Duration::from_secs(10);
            assert_eq!(clock.pass(later), later, "its clock is not ahead");
        }
    }
}
