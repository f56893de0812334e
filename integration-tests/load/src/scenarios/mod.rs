//! What is done to a server, and what is measured meanwhile.

mod churn;
mod fanout;
mod idle;
mod messages;
mod relay;
mod storm;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Subcommand;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::client::Client;
use crate::report::Measured;
use crate::servers::{Process, Server};

/// What is done to a server.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// WebSocket peers in rooms of five who say nothing: memory, and how fast they come in.
    Idle {
        /// How many.
        #[arg(default_value_t = 1_000)]
        peers: usize,
    },
    /// Pairs that send each other messages of 1 KiB, each its next one when the answer is there.
    Relay {
        /// How many pairs.
        #[arg(default_value_t = 50)]
        pairs: usize,
        /// For how long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// One room, in which one peer sends messages of 1 KiB to all others, each when the last has reached everybody.
    Fanout {
        /// How many hear it.
        #[arg(default_value_t = 100)]
        receivers: usize,
        /// For how long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Peers who come, say something and go, one in ten without a goodbye: what of them is kept.
    Churn {
        /// How many at a time.
        #[arg(default_value_t = 50)]
        peers: usize,
        /// For how long.
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// Everybody joins one room at once.
    Storm {
        /// How many.
        #[arg(default_value_t = 500)]
        peers: usize,
    },
    /// Messages to an actor, within one process: to a plain one, and to a supervised child.
    Messages {
        /// For how long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle { peers } => write!(f, "idle {peers}"),
            Self::Relay { pairs, seconds } => write!(f, "relay {pairs}, {seconds} s"),
            Self::Fanout { receivers, seconds } => write!(f, "fanout {receivers}, {seconds} s"),
            Self::Churn { peers, seconds } => write!(f, "churn {peers}, {seconds} s"),
            Self::Storm { peers } => write!(f, "storm {peers}"),
            Self::Messages { seconds } => write!(f, "messages, {seconds} s"),
        }
    }
}

impl Scenario {
    /// What it is about, the floor first.
    pub(crate) fn servers(&self) -> &'static [Server] {
        match self {
            Self::Messages { .. } => &[Server::Plain, Server::Supervised],
            _ => &[Server::Tokio, Server::Actors, Server::Callboard],
        }
    }

    /// Whether it is within what one machine can be asked for.
    pub(crate) fn check(&self, servers: &[Server]) -> Result<(), String> {
        if let Some(other) = servers.iter().find(|server| !self.servers().contains(server)) {
            return Err(format!("{self}: nothing that {other} could do"));
        }
        let (clients, seconds) = match *self {
            Self::Idle { peers } | Self::Storm { peers } => (peers, 1),
            Self::Relay { pairs, seconds } => (pairs.saturating_mul(2), seconds),
            Self::Churn { peers, seconds } => (peers, seconds),
            Self::Fanout { receivers, seconds } => (receivers.saturating_add(1), seconds),
            // Sender and actor.
            Self::Messages { seconds } => (2, seconds),
        };
        if !(2..=MOST_CLIENTS).contains(&clients) {
            return Err(format!("{clients} clients: from 2 to {MOST_CLIENTS} can be had"));
        }
        if !(1..=MOST_SECONDS).contains(&seconds) {
            return Err(format!("{seconds} s: from 1 to {MOST_SECONDS} can be had"));
        }
        Ok(())
    }

    pub(crate) async fn measure(&self, server: &Process) -> io::Result<Measured> {
        match *self {
            Self::Idle { peers } => idle::measure(server, peers).await,
            Self::Relay { pairs, seconds } => {
                relay::measure(server, pairs, Duration::from_secs(seconds)).await
            }
            Self::Fanout { receivers, seconds } => {
                fanout::measure(server, receivers, Duration::from_secs(seconds)).await
            }
            Self::Churn { peers, seconds } => {
                churn::measure(server, peers, Duration::from_secs(seconds)).await
            }
            Self::Storm { peers } => storm::measure(server, peers).await,
            Self::Messages { seconds } => {
                messages::measure(server, Duration::from_secs(seconds)).await
            }
        }
    }
}

/// So many clients, in rooms of so many, some at a time.
async fn join_all(server: SocketAddr, clients: usize, room_size: usize) -> io::Result<Vec<Client>> {
    let joining = (0..clients)
        .map(|at| async move { Client::join(server, &format!("room-{}", at / room_size)).await });
    stream::iter(joining).buffer_unordered(AT_ONCE).try_collect().await
}

/// 1 KiB of text.
fn kibibyte() -> String {
    "x".repeat(1_024)
}

/// Clients of one process; each takes a descriptor here and one in the server.
const MOST_CLIENTS: usize = 20_000;
const MOST_SECONDS: u64 = 600;
/// How many join at once, where it is not the joining that is measured.
const AT_ONCE: usize = 64;
