//! Token buckets by key, in bounded memory. Those of guesses read the clock themselves.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::Instant as Clock;

use crate::admission::subscriber;

/// Token buckets by key: each allows a burst at once, then one token per interval.
///
/// A bucket that is full again is forgotten. If there are too many others, an arbitrary part of them is forgotten:
/// limits per address do not stop a client with thousands of addresses anyway.
#[derive(Debug)]
pub struct Buckets<K> {
    burst: u32,
    every: Duration,
    /// Time at which each bucket is full again (the "theoretical arrival time" of GCRA).
    full_at: Mutex<HashMap<K, Instant>>,
}

/// Rate limiter of guesses of credentials or tokens, by address: a burst of wrong ones, then one per interval. Cheap to
/// clone; all clones count together.
///
/// ```
/// # use std::time::Duration;
/// # use callboard_websocket::Guesses;
/// let guesses = Guesses::new(10, Duration::from_secs(3));
/// let address = "192.0.2.1".parse()?;
/// match guesses.check(address) {
///     Ok(()) => guesses.wrong(address), // if they are
///     Err(wait) => println!("429, Retry-After: {}", wait.as_secs() + 1),
/// }
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Guesses(Arc<Buckets<IpAddr>>);

impl Guesses {
    /// Allows each address `burst` wrong guesses at once, then one per `every`.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self(Arc::new(Buckets::new(burst, every)))
    }

    /// Checks whether this address may try. Call it before the credentials are checked; otherwise the address can go on
    /// guessing.
    ///
    /// # Errors
    /// The time to wait.
    pub fn check(&self, address: IpAddr) -> Result<(), Duration> {
        self.0.check(&subscriber(address), Clock::now().into_std())
    }

    /// Counts a wrong guess of this address.
    pub fn wrong(&self, address: IpAddr) {
        // One guess too many is refused next time.
        _ = self.0.take(subscriber(address), Clock::now().into_std());
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Creates buckets of `burst` tokens that get one per `every`, which is a year at most.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every: every.min(LONGEST), full_at: Mutex::default() }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The time until there is one.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.take_some(key, 1, now)
    }

    /// Takes this many tokens, or none. A bucket never holds more than a burst.
    ///
    /// # Errors
    /// The time until there are as many.
    pub fn take_some(&self, key: K, tokens: u32, now: Instant) -> Result<(), Duration> {
        let cost = self.every.saturating_mul(tokens);
        let mut table = self.table();
        let full_at = table.get(&key).map_or(now, |&at| at.max(now));
        self.wait(full_at, now, cost).map_or(Ok(()), Err)?;
        if table.len() >= MAX_KEYS {
            table.retain(|_, at| *at > now);
        }
        if table.len() >= MAX_KEYS {
            // In the order of a hash table, which no client can know.
            let mut keep = false;
            table.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        table.insert(key, full_at + cost);
        Ok(())
    }

    /// Checks whether there is a token.
    ///
    /// # Errors
    /// The time until there is one.
    pub fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        match self.table().get(key) {
            Some(&full_at) => self.wait(full_at.max(now), now, self.every).map_or(Ok(()), Err),
            None if self.burst == 0 => Err(self.every),
            None => Ok(()),
        }
    }

    fn wait(&self, full_at: Instant, now: Instant, cost: Duration) -> Option<Duration> {
        let owed = full_at.duration_since(now) + cost;
        owed.checked_sub(self.every.saturating_mul(self.burst)).filter(|wait| !wait.is_zero())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        // Every change is one insertion, or leaves a smaller table.
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest interval: practically for ever, and still within the range of the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Number of buckets at most: about 300 KiB.
const MAX_KEYS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_each_time() {
        let buckets = Buckets::new(3, Duration::from_secs(10));
        let now = Clock::now().into_std();
        let at = |seconds| now + Duration::from_secs(seconds);

        for _ in 0..3 {
            assert_eq!(buckets.check(&'a', now), Ok(()));
            assert_eq!(buckets.take('a', now), Ok(()));
        }
        assert_eq!(buckets.take('a', now), Err(Duration::from_secs(10)));
        assert_eq!(buckets.check(&'a', at(4)), Err(Duration::from_secs(6)));
        assert_eq!(buckets.take('b', at(4)), Ok(()), "another has its own");
        assert_eq!(buckets.take('a', at(10)), Ok(()));
        assert_eq!(buckets.take('a', at(10)), Err(Duration::from_secs(10)));
        for _ in 0..3 {
            assert_eq!(buckets.take('a', at(1_000)), Ok(()), "no more than a burst is saved");
        }
        assert!(buckets.take('a', at(1_000)).is_err());
    }

    #[test]
    fn several_are_taken_at_once_or_none() {
        let buckets = Buckets::new(10, Duration::from_secs(1));
        let now = Clock::now().into_std();

        assert_eq!(buckets.take_some('a', 8, now), Ok(()));
        assert_eq!(buckets.take_some('a', 5, now), Err(Duration::from_secs(3)));
        assert_eq!(buckets.take_some('a', 2, now), Ok(()), "what was refused cost nothing");
        assert_eq!(buckets.take_some('a', 5, now + Duration::from_secs(5)), Ok(()));
        assert!(buckets.take_some('b', 11, now).is_err());
    }

    #[test]
    fn one_that_is_never_to_fill_again_counts_as_well() {
        let guesses = Guesses::new(2, Duration::MAX);
        let address = [192, 0, 2, 1].into();

        for _ in 0..2 {
            assert_eq!(guesses.check(address), Ok(()));
            guesses.wrong(address);
        }
        assert!(guesses.check(address).is_err_and(|wait| wait > LONGEST / 2));
    }

    #[test]
    fn however_many_come_the_table_is_bounded() {
        let buckets = Buckets::new(1, Duration::from_secs(3_600));
        let now = Clock::now().into_std();

        for key in 0..3 * MAX_KEYS {
            assert_eq!(buckets.take(key, now), Ok(()));
        }

        assert!(buckets.table().len() <= MAX_KEYS);
        assert!(buckets.take(3 * MAX_KEYS - 1, now).is_err(), "the last one is known");
    }
}
