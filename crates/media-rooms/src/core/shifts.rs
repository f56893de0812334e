//! Map from the numbers of one sender to those of another, which have no gaps where packets were left out on purpose.

use std::collections::VecDeque;

/// Map of increasing numbers. A number that was lost keeps its gap, so that the receiver asks for it; one that was left
/// out has none.
#[derive(Clone, Debug)]
pub(crate) struct Shifts {
    /// The first number, and what it becomes.
    first: (u64, u64),
    /// Highest number that was mapped or left out.
    highest: u64,
    /// Numbers after which others are left out, in order; at most [`KEPT`].
    steps: VecDeque<Step>,
}

/// Numbers that were left out, one after the other.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The number after them.
    after: u64,
    /// How many they are.
    out: u64,
    /// Numbers left out up to here, in all.
    total: u64,
}

impl Shifts {
    /// Creates a map that begins with this number.
    pub(crate) fn new(first: u64, becomes: u64) -> Self {
        Self { first: (first, becomes), highest: first, steps: VecDeque::new() }
    }

    /// Returns what a number becomes. None for one that was left out, or that comes too late to be told.
    pub(crate) fn map(&mut self, number: u64) -> Option<u64> {
        let (first, becomes) = self.first;
        self.highest = self.highest.max(number);
        let since = number.checked_sub(first)?;
        let next = self.steps.partition_point(|step| step.after <= number);
        if self.steps.get(next).is_some_and(|step| number >= step.after - step.out) {
            return None;
        }
        let total = match next.checked_sub(1) {
            Some(last) => self.steps[last].total,
            // Older than the steps that are kept.
            None if self.steps.len() == KEPT => return None,
            None => 0,
        };
        Some(becomes + since - total)
    }

    /// Returns the highest number that was mapped or left out.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Leaves a number out: those after it move up. One that comes late leaves a gap, since later ones have been sent.
    pub(crate) fn leave_out(&mut self, number: u64) {
        if number <= self.highest {
            return;
        }
        self.highest = number;
        match self.steps.back_mut() {
            Some(last) if last.after == number => {
                (last.after, last.out, last.total) = (number + 1, last.out + 1, last.total + 1);
            }
            last => {
                let total = last.map_or(0, |last| last.total) + 1;
                if self.steps.len() == KEPT {
                    self.steps.pop_front();
                }
                self.steps.push_back(Step { after: number + 1, out: 1, total });
            }
        }
    }
}

/// Number of gaps that are remembered for packets that come late: with every second packet left out, the last 256.
const KEPT: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_move_up_over_what_was_left_out() {
        let mut shifts = Shifts::new(1_000, 5);

        assert_eq!(shifts.map(1_000), Some(5));
        shifts.leave_out(1_001);
        shifts.leave_out(1_002);
        assert_eq!(shifts.map(1_003), Some(6));
        assert_eq!(shifts.map(1_005), Some(8), "what is lost keeps its gap");
        assert_eq!(shifts.map(1_004), Some(7), "and comes late");
        assert_eq!(shifts.map(1_001), None, "left out is left out");
        assert_eq!(shifts.map(999), None, "before the first");
    }

    #[test]
    fn a_number_left_out_late_leaves_its_gap() {
        let mut shifts = Shifts::new(1, 1);

        shifts.map(5);
        shifts.leave_out(3);

        assert_eq!(shifts.map(6), Some(6));
    }

    #[test]
    fn memory_is_bounded_and_what_is_too_old_is_refused() {
        let mut shifts = Shifts::new(0, 0);
        for number in 0..10_000 {
            if number % 2 == 0 {
                shifts.map(number);
            } else {
                shifts.leave_out(number);
            }
        }

        assert_eq!(shifts.steps.len(), KEPT);
        assert_eq!(shifts.map(10_000), Some(5_000));
        assert_eq!(shifts.map(9_998), Some(4_999));
        assert_eq!(shifts.map(100), None);
    }

    proptest! {
        /// A model: each number that is left out in order moves all after it.
        #[test]
        fn order_is_kept_and_no_two_numbers_become_one(
            events in proptest::collection::vec((0..40u64, any::<bool>()), 1..300),
        ) {
            let (mut shifts, mut at) = (Shifts::new(0, 0), 0);
            let (mut mapped, mut out) = (std::collections::BTreeMap::new(), Vec::new());
            for (step, left_out) in events {
                // Up to 20 back, and 20 on.
                let number = (at + step).saturating_sub(20);
                if left_out {
                    if number > shifts.highest {
                        out.push(number);
                    }
                    shifts.leave_out(number);
                } else if let Some(became) = shifts.map(number) {
                    prop_assert_eq!(*mapped.entry(number).or_insert(became), became);
                    let moved = out.iter().filter(|&&other| other < number).count() as u64;
                    prop_assert!(!out.contains(&number));
                    prop_assert_eq!(became, number - moved);
                } else {
                    prop_assert!(out.contains(&number) || out.len() > KEPT);
                }
                at = at.max(number);
            }
            let all: Vec<_> = mapped.values().collect();
            prop_assert!(all.is_sorted_by(|one, other| one < other));
        }
    }
}
