//! Limits on the number of connections, in all and per address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Count of the connections of a route, in all and per address.
#[derive(Debug, Default)]
pub struct ConnectionCount(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Error: one more connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "each has an HTTP status of its own")]
pub enum TooMany {
    /// There are too many connections.
    #[error("too many connections")]
    InAll,
    /// There are too many connections from this address.
    #[error("too many connections from this address")]
    FromThere,
}

/// One counted connection. Dropping it gives its place back.
#[derive(Debug)]
pub struct Admission {
    connections: Arc<ConnectionCount>,
    address: IpAddr,
}

impl ConnectionCount {
    /// Counts one more connection from this address.
    ///
    /// # Errors
    /// [`TooMany`] if there are `in_all` already, or `from_there` from this address.
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        in_all: usize,
        from_there: usize,
    ) -> Result<Admission, TooMany> {
        let address = subscriber(address);
        let mut counts = self.lock();
        if counts.all >= in_all {
            return Err(TooMany::InAll);
        }
        if counts.by_address.get(&address).is_some_and(|&count| count >= from_there) {
            return Err(TooMany::FromThere);
        }
        counts.all += 1;
        *counts.by_address.entry(address).or_default() += 1;
        Ok(Admission { connections: Arc::clone(self), address })
    }

    /// Counts a connection in place of an earlier one that still counts.
    ///
    /// # Errors
    /// [`TooMany`], as of [`admit`](Self::admit), with the earlier one, which keeps its place.
    pub fn readmit(
        self: &Arc<Self>,
        old: Option<Admission>,
        address: IpAddr,
        in_all: usize,
        from_there: usize,
    ) -> Result<Admission, (Option<Admission>, TooMany)> {
        let Some(old) = old else {
            return self.admit(address, in_all, from_there).map_err(|too_many| (None, too_many));
        };
        if old.address == subscriber(address) {
            return Ok(old);
        }
        // One more for a moment, but no more connections than before.
        match self.admit(address, in_all.saturating_add(1), from_there) {
            Ok(new) => Ok(new),
            Err(too_many) => Err((Some(old), too_many)),
        }
    }

    /// Returns how many connections there are.
    pub fn count(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// Returns the address that limits apply to: in IPv6 a subscriber has a whole /64 (RFC 6177).
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_in_all_and_from_one_address_until_they_end() {
        let connections = Arc::new(ConnectionCount::default());
        let admit = |address: &str| connections.admit(address.parse().unwrap(), 3, 2);

        let a = admit("10.0.0.1").unwrap();
        let _b = admit("10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), TooMany::FromThere);
        let _c = admit("::1").unwrap();
        assert_eq!(admit("10.0.0.2").unwrap_err(), TooMany::InAll);
        drop(a);
        admit("::ffff:10.0.0.1").unwrap();
        assert_eq!(connections.lock().by_address.len(), 2);
    }

    #[test]
    fn one_that_comes_back_takes_its_own_place() {
        let connections = Arc::new(ConnectionCount::default());
        let readmit = |old, address: &str| connections.readmit(old, address.parse().unwrap(), 2, 1);

        let a = readmit(None, "10.0.0.1").unwrap();
        let b = readmit(None, "10.0.0.2").unwrap();
        assert_eq!(readmit(None, "10.0.0.3").unwrap_err().1, TooMany::InAll);
        let a = readmit(Some(a), "10.0.0.1").unwrap();
        let (a, too_many) = readmit(Some(a), "10.0.0.2").unwrap_err();
        assert_eq!(too_many, TooMany::FromThere);
        let a = readmit(a, "10.0.0.3").unwrap();

        assert_eq!(connections.lock().all, 2);
        drop((a, b));
        assert_eq!(connections.lock().all, 0);
        assert!(connections.lock().by_address.is_empty());
    }
}
