//! What a server grows by, and to which sizes.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use crate::servers::Server;

/// What there is more and more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Axis {
    /// Peers in rooms of five.
    Peers,
    /// Rooms of two peers.
    Rooms,
    /// Peer connections.
    Connections,
    /// Viewers of one call, in which one participant sends.
    Viewers,
    /// Calls in which one participant sends to two.
    Calls,
}

impl Axis {
    /// Those that are measured by default.
    pub(crate) const USUAL: [Self; 3] = [Self::Peers, Self::Rooms, Self::Connections];

    /// Returns the sizes: each is ten times the last, and the largest is `most`, or the largest of the goal.
    ///
    /// # Errors
    ///
    /// If that cannot be.
    pub(crate) fn sizes(self, most: Option<usize>) -> Result<Vec<usize>, String> {
        let (least, largest) = match self {
            Self::Peers => (10, 10_000),
            Self::Rooms => (1, 1_000),
            Self::Connections => (1, 2_000),
            Self::Viewers => (2, 200),
            Self::Calls => (1, 200),
        };
        let most = most.unwrap_or(largest);
        if !(least..=largest).contains(&most) {
            return Err(format!("{most} {self}: from {least} to {largest} can be had"));
        }
        if self == Self::Peers && !most.is_multiple_of(self.members()) {
            return Err(format!("{most} peers: they are in rooms of {}", self.members()));
        }
        let smaller = std::iter::successors(Some(least), |size| Some(size * 10));
        Ok(smaller.take_while(|size| *size < most).chain([most]).collect())
    }

    /// Returns how many units of clients that talk with each other there are at a size.
    pub(super) fn units(self, size: usize) -> usize {
        match self {
            Self::Peers => size / self.members(),
            Self::Rooms | Self::Connections | Self::Calls => size,
            Self::Viewers => 1,
        }
    }

    /// Returns how many of them talk with each other.
    pub(super) fn members(self) -> usize {
        match self {
            Self::Peers => 5,
            Self::Rooms | Self::Connections | Self::Viewers | Self::Calls => 1,
        }
    }

    /// Returns whether each size has units of its own, since the same ones do not grow.
    pub(super) fn starts_anew(self) -> bool {
        self == Self::Viewers
    }

    /// Returns how many clients there are of each.
    pub(in crate::scenarios) fn clients(self) -> usize {
        match self {
            Self::Peers | Self::Connections => 1,
            // A WebSocket and a peer connection of each participant.
            Self::Rooms | Self::Viewers => 2,
            Self::Calls => 6,
        }
    }

    /// Returns the time until the server is at rest after it has grown.
    pub(super) fn settling(self) -> Duration {
        match self {
            Self::Peers | Self::Rooms => Duration::from_secs(1),
            // Connectivity checks become rarer.
            Self::Connections | Self::Viewers | Self::Calls => Duration::from_secs(3),
        }
    }

    /// Returns the servers that can be measured, first the baseline.
    pub(in crate::scenarios) fn servers(self) -> &'static [Server] {
        match self {
            Self::Peers | Self::Rooms => &[Server::Tokio, Server::Callboard],
            Self::Connections => &[Server::Str0m, Server::Callboard],
            Self::Viewers | Self::Calls => &[Server::Gso, Server::Rooms, Server::Media],
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peers => "peers",
            Self::Rooms => "rooms",
            Self::Connections => "connections",
            Self::Viewers => "viewers",
            Self::Calls => "calls",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_ten_times_the_last() {
        assert_eq!(Axis::Peers.sizes(None).unwrap(), [10, 100, 1_000, 10_000]);
        assert_eq!(Axis::Connections.sizes(None).unwrap(), [1, 10, 100, 1_000, 2_000]);
        assert_eq!(Axis::Rooms.sizes(Some(30)).unwrap(), [1, 10, 30]);
        assert_eq!(Axis::Rooms.sizes(Some(1)).unwrap(), [1]);
        assert_eq!(Axis::Viewers.sizes(None).unwrap(), [2, 20, 200]);
        assert_eq!(Axis::Calls.sizes(None).unwrap(), [1, 10, 100, 200]);
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        assert!(Axis::Peers.sizes(Some(5)).is_err());
        assert!(Axis::Peers.sizes(Some(12)).is_err());
        assert!(Axis::Connections.sizes(Some(3_000)).is_err());
        assert!(Axis::Rooms.sizes(Some(0)).is_err());
    }
}
