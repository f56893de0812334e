//! Bitrates.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// Bitrate in bits per second. Calculations saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

impl Bitrate {
    /// No bit at all.
    pub const ZERO: Self = Self(0);

    /// Creates a bitrate from bits per second.
    pub const fn from_bps(bits: u64) -> Self {
        Self(bits)
    }

    /// Creates a bitrate from kilobits (1,000 bits) per second.
    pub const fn from_kbps(kilobits: u64) -> Self {
        Self(kilobits.saturating_mul(1_000))
    }

    /// Returns the bits per second.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// Returns so many hundredths of this bitrate, rounded down.
    pub(super) fn percent(self, percent: u64) -> Self {
        Self((u128::from(self.0) * u128::from(percent) / 100).try_into().unwrap_or(u64::MAX))
    }

    /// Returns the lowest bitrate whose so many hundredths are not less than this one.
    pub(super) fn percent_of(self, percent: u64) -> Self {
        let whole = (u128::from(self.0) * 100).div_ceil(percent.into());
        Self(whole.try_into().unwrap_or(u64::MAX))
    }
}

impl Add for Bitrate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bitrate {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Bitrate {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Bitrate {
    fn sum<I: Iterator<Item = Self>>(bitrates: I) -> Self {
        bitrates.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bits @ 0..1_000 => write!(f, "{bits} bit/s"),
            bits @ 1_000..1_000_000 => write!(f, "{} kbit/s", bits / 1_000),
            bits => write!(f, "{:.1} Mbit/s", bits as f64 / 1e6),
        }
    }
}
