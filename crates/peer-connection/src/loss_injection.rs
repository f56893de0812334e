//! Fault injection: loss of datagrams.

use crate::error::InjectLossError;
use crate::event::PeerConnectionId;

/// Selector of the datagrams to lose: the same ones each time, for the same connection.
pub(crate) struct Loss {
    ratio: f64,
    random: fastrand::Rng,
}

impl Loss {
    /// Creates a selector for this share; none for a share of 0.
    pub(crate) fn of(ratio: f64, id: PeerConnectionId) -> Result<Option<Self>, InjectLossError> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(InjectLossError::BadRatio(ratio));
        }
        let (high, low) = id.0.as_u64_pair();
        let random = fastrand::Rng::with_seed(high ^ low);
        Ok((ratio > 0.0).then_some(Self { ratio, random }))
    }

    /// Returns whether the next datagram is lost.
    pub(crate) fn next(&mut self) -> bool {
        self.random.f64() < self.ratio
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn lost(ratio: f64, id: u128) -> Vec<bool> {
        let mut loss = Loss::of(ratio, PeerConnectionId(Uuid::from_u128(id))).unwrap().unwrap();
        (0..10_000).map(|_| loss.next()).collect()
    }

    #[test]
    fn the_part_is_as_large_as_asked_for_and_the_same_each_time() {
        let count = |lost: &[bool]| lost.iter().filter(|&&lost| lost).count();

        let first = lost(0.2, 7);
        assert!((1_800..2_200).contains(&count(&first)), "{}", count(&first));
        assert_eq!(first, lost(0.2, 7));
        assert_ne!(first, lost(0.2, 8));
        assert_eq!(count(&lost(1.0, 7)), 10_000);
    }

    #[test]
    fn what_is_no_part_is_refused_and_nothing_turns_it_off() {
        let id = PeerConnectionId(Uuid::from_u128(7));
        assert!(Loss::of(0.0, id).unwrap().is_none());
        for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Loss::of(ratio, id).is_err(), "{ratio}");
        }
    }
}
