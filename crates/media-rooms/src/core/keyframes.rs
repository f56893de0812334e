//! Requests for key frames of one encoding: merged over all viewers, limited in rate, repeated until one comes.

use std::time::{Duration, Instant};

/// Requests for key frames of one encoding.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keyframes {
    wanted: bool,
    asked: Option<Instant>,
    /// Requests since the last key frame, or since another viewer wanted one.
    attempts: usize,
}

impl Keyframes {
    /// Records that a viewer needs a key frame.
    pub(crate) fn want(&mut self) {
        (self.wanted, self.attempts) = (true, 0);
    }

    /// Records that a key frame has begun: all that wait can begin with it.
    pub(crate) fn came(&mut self) {
        (self.wanted, self.attempts) = (false, 0);
    }

    /// Returns whether to ask the publisher now.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        if self.due(now).is_none_or(|due| due > now) {
            return false;
        }
        (self.asked, self.attempts) = (Some(now), self.attempts + 1);
        true
    }

    /// Returns when to ask next, if at all.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let wait = WAITS[self.attempts.min(WAITS.len() - 1)];
        self.wanted.then(|| self.asked.map_or(now, |asked| asked + wait))
    }
}

/// Shortest time between two requests, after so many without a key frame. The first is also the limit for requests that
/// were answered: an encoder would do little else.
const WAITS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns at which milliseconds of a minute the publisher is asked.
    fn asked(mut viewers: impl FnMut(u32, &mut Keyframes)) -> Vec<u32> {
        let (mut keyframes, begin) = (Keyframes::default(), tokio::time::Instant::now().into_std());
        let asked = (0..60_000).step_by(10).filter(|&at| {
            viewers(at, &mut keyframes);
            keyframes.poll(begin + MS * at)
        });
        asked.collect()
    }

    #[test]
    fn the_first_viewer_is_served_at_once_and_repeated_until_it_comes() {
        let asked = asked(|at, keyframes| match at {
            1_000 => keyframes.want(),
            20_000 => keyframes.came(),
            _ => {}
        });

        assert_eq!(asked, [1_000, 1_500, 2_500, 7_500, 12_500, 17_500]);
    }

    #[test]
    fn a_thousand_wishes_are_two_requests_a_second() {
        let asked = asked(|_, keyframes| {
            keyframes.want();
            keyframes.came();
            keyframes.want();
        });

        assert_eq!(asked.len(), 120);
    }

    #[test]
    fn a_viewer_who_comes_after_many_attempts_does_not_wait_for_the_next() {
        let asked = asked(|at, keyframes| {
            if at == 0 || at == 10_000 {
                keyframes.want();
            }
        });

        assert!(asked.contains(&10_000), "{asked:?}");
    }
}
