//! Choice of the encoding of simulcast whose frames are taken: the largest that comes.

use std::time::{Duration, Instant};

use crate::core::switch::Encoding;

/// Choice of one encoding of a track, changed at key frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice {
    current: Option<Encoding>,
    /// When another one came first after the last frame of the current one.
    others_since: Option<Instant>,
    /// Heights of pictures, by the places of their encodings; 0 where that is not known.
    heights: [u16; MOST],
}

impl Choice {
    /// Returns the encoding whose frames are taken.
    pub(crate) fn current(&self) -> Option<Encoding> {
        self.current
    }

    /// Notes that something of an encoding has come.
    pub(crate) fn hears(&mut self, encoding: Encoding, at: Instant) {
        if self.current != Some(encoding) {
            self.others_since.get_or_insert(at);
        }
    }

    /// Notes the height of an encoding's pictures, as a key frame tells it.
    pub(crate) fn measures(&mut self, encoding: Encoding, height: u16) {
        if let Some(known) = self.heights.get_mut(usize::from(encoding)) {
            *known = height;
        }
    }

    /// Returns whether this frame is taken.
    pub(crate) fn takes(&mut self, encoding: Encoding, keyframe: bool, at: Instant) -> bool {
        let takes = self.current == Some(encoding) || keyframe && self.wants(encoding, at);
        if takes {
            (self.current, self.others_since) = (Some(encoding), None);
        }
        takes
    }

    /// Returns whether a key frame of this encoding would be taken.
    pub(crate) fn wants(&self, encoding: Encoding, at: Instant) -> bool {
        let is_gone = |since| at.saturating_duration_since(since) >= GONE;
        self.current.is_none_or(|current| self.is_as_large(encoding, current))
            || self.others_since.is_some_and(is_gone)
    }

    /// Returns whether the pictures of an encoding are as large as the other's: by their heights, or where these are
    /// not known by their places in the offer, the lowest first.
    fn is_as_large(&self, encoding: Encoding, other: Encoding) -> bool {
        let height = |of: Encoding| self.heights.get(usize::from(of)).copied().unwrap_or(0);
        match (height(encoding), height(other)) {
            (0, _) | (_, 0) => encoding >= other,
            (one, two) => (one, encoding) >= (two, other),
        }
    }
}

/// Encodings of a track whose heights are known.
const MOST: usize = 8;

/// Time for which others come and the current encoding does not, after which it is taken for gone: its sender has
/// turned it off. A picture that stands still is sent once a second, in all encodings. Viewers ask for the next one
/// soon after this, and that key frame is taken.
const GONE: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    fn choice() -> (Choice, impl Fn(u64) -> Instant) {
        let begin = tokio::time::Instant::now().into_std();
        (Choice::default(), move |ms| begin + Duration::from_millis(ms))
    }

    #[test]
    fn the_largest_encoding_that_comes_is_taken_from_a_key_frame_on() {
        let (mut choice, at) = choice();

        assert!(!choice.takes(1, false, at(0)));
        assert!(choice.takes(1, true, at(10)));
        assert!(!choice.takes(2, false, at(20)));
        assert!(choice.takes(1, false, at(30)));
        assert!(choice.takes(2, true, at(40)));
        assert!(!choice.takes(1, true, at(50)));
        assert!(!choice.wants(1, at(50)) && choice.wants(2, at(50)));
        assert_eq!(choice.current(), Some(2));
    }

    #[test]
    fn of_encodings_whose_heights_are_known_the_highest_is_taken() {
        let (mut choice, at) = choice();
        let key = |choice: &mut Choice, encoding, height, ms| {
            choice.measures(encoding, height);
            choice.takes(encoding, true, at(ms))
        };

        assert!(key(&mut choice, 2, 180, 0), "the lowest, which is offered last");
        assert!(key(&mut choice, 0, 720, 10));
        assert!(!key(&mut choice, 1, 360, 20));
        assert!(!key(&mut choice, 2, 180, 30) && !choice.wants(2, at(30)));
        assert!(choice.takes(0, false, at(40)));
        choice.hears(1, at(50));
        assert!(choice.takes(1, true, at(450)), "the highest is gone");
        assert!(choice.wants(0, at(460)) && !choice.wants(2, at(460)));
    }

    #[test]
    fn the_next_encoding_is_wanted_soon_after_the_largest_is_gone() {
        let (mut choice, at) = choice();
        assert!(choice.takes(2, true, at(0)));

        choice.hears(1, at(30));
        choice.hears(1, at(63));

        assert!(!choice.wants(1, at(429)));
        assert!(choice.wants(1, at(430)));
        assert!(!choice.takes(1, false, at(430)));
        assert!(choice.takes(1, true, at(500)));
        assert!(!choice.wants(0, at(501)));
    }

    #[test]
    fn an_encoding_that_is_as_slow_as_the_others_is_not_gone() {
        let (mut choice, at) = choice();
        assert!(choice.takes(2, true, at(0)));

        for second in 1..5 {
            for encoding in 0..2 {
                choice.hears(encoding, at(1_000 * second));
                assert!(!choice.takes(encoding, true, at(1_000 * second + 5)));
            }
            choice.hears(2, at(1_000 * second + 10));
            assert!(choice.takes(2, false, at(1_000 * second + 20)));
        }
    }
}
