//! Limits of the scenarios: what one machine can run.

use integration_tests::{network, program};

use super::Scenario;
use super::growth::Axis;
use crate::descriptors;
use crate::servers::Server;

impl Scenario {
    /// Checks that one machine can run this.
    pub(crate) fn check(&self, servers: &[Server]) -> Result<(), String> {
        if let Some(other) = servers.iter().find(|server| !self.servers().contains(server)) {
            return Err(format!("{self}: {other} does not support it"));
        }
        let (clients, most, seconds) = match *self {
            Self::Idle { peers, connections: true } => (peers, MOST_CONNECTIONS, 1),
            Self::Idle { peers, .. } | Self::Storm { peers } => (peers, MOST_CLIENTS, 1),
            Self::Relay { pairs, seconds } => (pairs.saturating_mul(2), MOST_CLIENTS, seconds),
            Self::Churn { peers, seconds } => (peers, MOST_CLIENTS, seconds),
            Self::Recovery { peers, seconds, .. } => (peers, MOST_TARGETS, seconds),
            Self::Fanout { receivers, seconds } => {
                (receivers.saturating_add(1), MOST_CLIENTS, seconds)
            }
            Self::Connect { peers, .. } | Self::Bystander { peers } | Self::Rest { peers } => {
                (peers, MOST_CONNECTIONS, 1)
            }
            Self::Crowd { peers, seconds, .. } => (peers, MOST_CLIENTS, seconds),
            Self::Growth { of, most, turns, .. } => {
                let axis = of.ok_or("growth of what?")?;
                let size = axis.sizes(most)?.last().copied().unwrap_or_default();
                // One connection is enough here.
                (size * axis.clients() + 1, MOST_CLIENTS, turns.into())
            }
            // The sender and the actor.
            Self::Messages { seconds } => (2, MOST_CLIENTS, seconds),
            // One connection is enough here.
            Self::Data { connections, seconds, .. } => {
                (connections.saturating_add(1), MOST_CONNECTIONS, seconds)
            }
            Self::Rtp { publishers, receivers, seconds, .. } => {
                (publishers.saturating_add(receivers), MOST_CONNECTIONS, seconds)
            }
            Self::Call { participants, seconds, .. }
            | Self::Interrupt { participants, seconds, .. }
            | Self::Gather { participants, seconds } => (participants, MOST_PARTICIPANTS, seconds),
            // And the publisher.
            Self::Late { viewers } => (viewers.saturating_add(1), MOST_CONNECTIONS, 1),
            Self::Saturate { viewers, seconds } => {
                (viewers.saturating_add(1), MOST_CONNECTIONS, seconds)
            }
            Self::Soak { participants, .. } => (participants, MOST_PARTICIPANTS, 1),
            Self::Cut | Self::Restarts { .. } => (4, MOST_PARTICIPANTS, 1),
            // The one that sends, and the one that watches.
            Self::Switches { .. } | Self::Arrivals { .. } => (2, MOST_PARTICIPANTS, 1),
        };
        if !(2..=most).contains(&clients) {
            return Err(format!("{clients} clients: from 2 to {most} can be had"));
        }
        match self {
            Self::Connect { at_once: 0, .. } => return Err("one at once is the least".to_owned()),
            Self::Data { window: 0, .. } => return Err("a window of 1 is the least".to_owned()),
            Self::Data { sizes, .. } if sizes.iter().any(|size| !(1..=LARGEST).contains(size)) => {
                return Err(format!("messages of 1 to {LARGEST} B can be had"));
            }
            Self::Restarts { times, .. } if !(1..=MOST_RESTARTS).contains(times) => {
                return Err(format!("from 1 to {MOST_RESTARTS} restarts can be had"));
            }
            Self::Switches { times: 0, .. } | Self::Arrivals { times: 0, .. } => {
                return Err("once is the least".to_owned());
            }
            Self::Saturate { seconds, .. } if *seconds > MOST_STANDING => {
                return Err(format!("viewers stand still for at most {MOST_STANDING} s"));
            }
            Self::Soak { minutes, .. } if !(LEAST_MINUTES..=MOST_MINUTES).contains(minutes) => {
                return Err(format!("from {LEAST_MINUTES} to {MOST_MINUTES} minutes can be had"));
            }
            Self::Rtp { publishers: 0, .. } | Self::Rtp { receivers: 0, .. } => {
                return Err("one who sends and one who listens are the least".to_owned());
            }
            Self::Crowd { peers, .. } if !peers.is_multiple_of(2) => {
                return Err("each peer needs another one in its room".to_owned());
            }
            Self::Crowd { connections, .. } if *connections > MOST_CONNECTIONS => {
                return Err(format!("at most {MOST_CONNECTIONS} connections can be had"));
            }
            Self::Recovery { busy, .. } | Self::Interrupt { busy, .. } if *busy > MOST_BUSY => {
                return Err(format!("at most {MOST_BUSY} busy processes can be had"));
            }
            Self::Rtp { loss, .. } if !(0.0..=MOST_LOSS).contains(loss) => {
                return Err(format!("from 0 to {MOST_LOSS} % may be lost"));
            }
            Self::Rtp { loss, .. } if *loss > 0.0 && servers.contains(&Server::Udp) => {
                return Err("udp sends nothing again".to_owned());
            }
            Self::Rtp { rate, .. } if !(1..=MOST_PACKETS).contains(rate) => {
                return Err(format!("from 1 to {MOST_PACKETS} packets a second can be had"));
            }
            _ => {}
        }
        if !(1..=MOST_SECONDS).contains(&seconds) {
            return Err(format!("{seconds} s: from 1 to {MOST_SECONDS} can be had"));
        }
        Ok(())
    }

    /// Returns whether all of it runs in a network of its own, which takes root.
    pub(crate) fn has_a_network(&self) -> bool {
        matches!(
            self,
            Self::Switches { .. } | Self::Arrivals { .. } | Self::Restarts { .. } | Self::Cut
        )
    }

    /// Returns what this machine lacks, if it lacks anything.
    pub(crate) fn lacks(&self) -> Option<String> {
        if !self.has_a_network() {
            return None;
        }
        let needs: &[&str] = match self {
            Self::Cut => &["ip", "tc", "nsenter", "setpriv"],
            _ => &["ip", "chromium", "chromedriver", "firefox-esr", "geckodriver"],
        };
        let missing = needs.iter().find(|name| !program::is_on_the_machine(name));
        match missing {
            Some(name) => Some(format!("{name} is missing; ./integration-tests/run installs it")),
            None => network::can_be_entered().err().map(|error| error.to_string()),
        }
    }

    /// Returns how many descriptors one process needs to have open.
    pub(crate) fn descriptors(&self) -> u64 {
        let clients = match *self {
            // A WebSocket, and a UDP socket.
            Self::Idle { peers, connections: true } => peers * 2,
            // All at once: each has a UDP socket, and sends its offer by TCP.
            Self::Bystander { peers } => peers * 2,
            Self::Idle { peers, .. } | Self::Storm { peers } | Self::Churn { peers, .. } => peers,
            // The connections have a process of their own.
            Self::Crowd { peers, connections, .. } => peers.max(connections),
            Self::Recovery { peers, .. } | Self::Connect { peers, .. } | Self::Rest { peers } => {
                peers * 2
            }
            Self::Growth { of, most, .. } => {
                let size = |axis: Axis| Some(axis.sizes(most).ok()?.last()? * axis.clients());
                of.and_then(size).unwrap_or_default()
            }
            Self::Relay { pairs, .. } => pairs * 2,
            Self::Fanout { receivers, .. } => receivers,
            Self::Messages { .. } => 0,
            Self::Data { connections, .. } => connections,
            Self::Rtp { publishers, receivers, .. } => publishers + receivers,
            Self::Call { participants, .. } => participants,
            // A WebSocket, and a UDP socket.
            Self::Interrupt { participants, .. } | Self::Gather { participants, .. } => {
                participants * 2
            }
            // The viewers have a process of their own.
            Self::Late { viewers } | Self::Saturate { viewers, .. } => viewers + 1,
            Self::Soak { participants, .. } => participants * 2,
            Self::Cut | Self::Switches { .. } | Self::Arrivals { .. } | Self::Restarts { .. } => 0,
        };
        (clients + OTHER_DESCRIPTORS) as u64
    }
}

/// Returns the largest number of a crowd's peers up to `peers` for which a process may have the descriptors.
pub(crate) fn largest_crowd(peers: usize) -> usize {
    let others = OTHER_DESCRIPTORS as u64;
    let most = descriptors::at_most(peers as u64 + others).saturating_sub(others);
    // They are in pairs.
    usize::try_from(most).unwrap_or(peers) & !1
}

/// Most clients of one process; each takes a descriptor here and one in the server.
const MOST_CLIENTS: usize = 20_000;
/// Most connections; each takes a port here, and a handshake.
const MOST_CONNECTIONS: usize = 5_000;
/// Most participants of a call: each sends to all others.
const MOST_PARTICIPANTS: usize = 50;
/// Most peers in the recovery scenario; every fifth has a connection, with a thread of its own.
const MOST_TARGETS: usize = 1_000;
/// Largest message in bytes that all servers take.
const LARGEST: usize = 256 << 10;
const MOST_PACKETS: u32 = 10_000;
/// Largest loss in percent: beyond it, too much is sent again.
const MOST_LOSS: f64 = 20.0;
const MOST_BUSY: usize = 64;
const MOST_SECONDS: u64 = 600;
/// With the time in which sockets fill, less than the silence after which the server closes a connection.
const MOST_STANDING: u64 = 10;
const LEAST_MINUTES: f64 = 0.05;
const MOST_MINUTES: f64 = 24.0 * 60.0;
/// `callboard.js` replaces a peer connection 12 times within ten minutes.
const MOST_RESTARTS: u32 = 12;
/// Descriptors of a server without clients: listeners, event queues, media sockets.
const OTHER_DESCRIPTORS: usize = 100;
