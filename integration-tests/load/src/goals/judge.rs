//! Judging: which of a goal's figures counts, and whether its rounds meet the goal.

use crate::statistics::Spread;

/// Rounds of one figure: ours, and those of the baseline, which were measured in turn with them.
pub(super) struct Rounds {
    pub(super) ours: Vec<f64>,
    pub(super) baseline: Option<Vec<f64>>,
}

/// Figure that is compared with a goal.
#[derive(Debug, PartialEq)]
pub(super) struct Compared {
    /// Median of the baseline's rounds.
    pub(super) baseline: Option<f64>,
    /// Median of our rounds.
    pub(super) ours: f64,
    /// The figure itself; with a baseline, the ratio to it in each round.
    pub(super) is: Spread,
}

/// Result of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    NotMet,
    /// There are too few rounds.
    NotJudged,
}

impl Rounds {
    fn compare(&self) -> Option<Compared> {
        let ours = Spread::of(&self.ours)?.median;
        let Some(baseline) = &self.baseline else {
            return Some(Compared { baseline: None, ours, is: Spread::of(&self.ours)? });
        };
        // Other work on the machine affects the two measurements of a round alike.
        let ratios: Vec<f64> = self.ours.iter().zip(baseline).map(|(a, b)| a / b).collect();
        let baseline = Spread::of(baseline)?.median;
        Some(Compared { baseline: Some(baseline), ours, is: Spread::of(&ratios)? })
    }
}

/// Returns the figure with the largest median; none if there are no figures, or one has no rounds.
pub(super) fn worst(figures: &[Rounds]) -> Option<Compared> {
    let compared: Option<Vec<Compared>> = figures.iter().map(Rounds::compare).collect();
    compared?.into_iter().max_by(|one, other| one.is.median.total_cmp(&other.is.median))
}

impl Verdict {
    /// Compares the median of this many rounds, or `always` the largest of them, with the most that the goal allows.
    pub(super) fn of(is: Spread, most: f64, always: bool, rounds: u32) -> Self {
        match (if always { is.most } else { is.median }) <= most {
            _ if rounds < ENOUGH => Self::NotJudged,
            true => Self::Met,
            // Also if there is no number.
            false => Self::NotMet,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::NotJudged => "not judged",
        }
    }
}

/// Number of rounds from which the median is judged.
pub(super) const ENOUGH: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(ours: &[f64], baseline: Option<&[f64]>) -> Rounds {
        Rounds { ours: ours.to_vec(), baseline: baseline.map(<[f64]>::to_vec) }
    }

    #[test]
    fn a_round_is_compared_with_the_baselines_round_beside_it() {
        // The machine was three times slower in the second round.
        let both = rounds(&[1.0, 3.3, 1.2], Some(&[1.0, 3.0, 1.0]));

        let Compared { baseline, ours, is } = worst(&[both]).unwrap();

        assert_eq!((baseline, ours), (Some(1.0), 1.2));
        assert_eq!((is.least, is.median, is.most), (1.0, 3.3 / 3.0, 1.2));
    }

    #[test]
    fn without_a_baseline_the_figure_itself_counts() {
        let Compared { baseline, ours, is } = worst(&[rounds(&[3.0, 1.0, 2.0], None)]).unwrap();

        assert_eq!((baseline, ours), (None, 2.0));
        assert_eq!((is.least, is.median, is.most), (1.0, 2.0, 3.0));
    }

    #[test]
    fn the_figure_with_the_largest_median_is_the_worst() {
        // The first has the largest round.
        let figures = [rounds(&[1.0, 9.0, 1.0], None), rounds(&[2.0, 2.0, 2.0], None)];

        assert_eq!(worst(&figures).unwrap().ours, 2.0);
    }

    #[test]
    fn a_figure_that_was_not_measured_is_not_passed_over() {
        assert_eq!(worst(&[]), None);
        assert_eq!(worst(&[rounds(&[1.0], None), rounds(&[], None)]), None);
        assert_eq!(worst(&[rounds(&[1.0], Some(&[]))]), None);
    }

    #[test]
    fn the_median_of_at_least_five_rounds_is_judged() {
        let is = Spread { least: 1.0, median: 2.0, most: 9.0 };

        let of = |is, most, rounds| Verdict::of(is, most, false, rounds);
        assert_eq!(of(is, 2.0, 5), Verdict::Met);
        assert_eq!(of(is, 1.9, 5), Verdict::NotMet);
        assert_eq!(of(is, 2.0, 4), Verdict::NotJudged);
        assert_eq!(of(Spread { median: f64::NAN, ..is }, 2.0, 5), Verdict::NotMet);
    }

    #[test]
    fn what_must_always_hold_is_judged_by_the_largest_round() {
        let is = Spread { least: 1.0, median: 2.0, most: 9.0 };

        assert_eq!(Verdict::of(is, 8.9, true, 5), Verdict::NotMet);
        assert_eq!(Verdict::of(is, 9.0, true, 5), Verdict::Met);
    }
}
