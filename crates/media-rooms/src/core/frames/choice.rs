//! Choice of the encoding of simulcast whose frames are taken: the largest that comes.

use std::time::{Duration, Instant};

use crate::core::switch::Encoding;

/// Choice of one encoding of a track, changed at key frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice {
    current: Option<(Encoding, Instant)>,
}

impl Choice {
    /// Returns whether this frame is taken.
    pub(crate) fn takes(&mut self, encoding: Encoding, keyframe: bool, at: Instant) -> bool {
        let is_current = self.current.is_some_and(|(current, _)| current == encoding);
        let takes = is_current || keyframe && self.wants(encoding, at);
        if takes {
            self.current = Some((encoding, at));
        }
        takes
    }

    /// Returns whether a key frame of this encoding would be taken.
    pub(crate) fn wants(&self, encoding: Encoding, at: Instant) -> bool {
        self.current.is_none_or(|(current, last)| {
            encoding >= current || at.saturating_duration_since(last) > GONE
        })
    }
}

/// Silence after which an encoding is taken for gone: its sender has turned it off.
const GONE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_encoding_that_comes_is_taken_from_a_key_frame_on() {
        let (mut choice, begin) = (Choice::default(), tokio::time::Instant::now().into_std());
        let at = |ms| begin + Duration::from_millis(ms);

        assert!(!choice.takes(1, false, at(0)));
        assert!(choice.takes(1, true, at(10)));
        assert!(!choice.takes(2, false, at(20)));
        assert!(choice.takes(1, false, at(30)));
        assert!(choice.takes(2, true, at(40)));
        assert!(!choice.takes(1, true, at(50)));
        assert!(!choice.wants(1, at(50)) && choice.wants(2, at(50)));

        assert!(!choice.takes(1, false, at(1_050)), "the larger one is gone");
        assert!(choice.takes(1, true, at(1_060)));
    }
}
