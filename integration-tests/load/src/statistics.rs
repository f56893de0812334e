//! Statistics of the rounds of a measurement.

use std::fmt;

/// Median of some rounds, with the smallest and the largest of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Creates the spread of these rounds, if there are any.
    pub(crate) fn of(rounds: &[f64]) -> Option<Self> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let (middle, count) = (sorted.len() / 2, sorted.len());
        let median = match count % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Self { least, median, most })
    }
}

/// The smallest and the largest.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.2}–{:.2}", self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let median = |rounds: &[f64]| Spread::of(rounds).unwrap().median;

        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[7.0, 100.0, 1.0, 8.0, 9.0]), 8.0);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_spread_is_from_the_smallest_round_to_the_largest() {
        let spread = Spread::of(&[2.0, 10.0, 1.5]).unwrap();

        assert_eq!((spread.least, spread.most), (1.5, 10.0));
        assert_eq!(format!("{spread:>12}"), "  1.50–10.00");
    }
}
