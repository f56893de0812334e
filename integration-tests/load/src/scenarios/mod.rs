//! Scenarios: what is done to a server, and what is measured meanwhile.

pub(crate) mod browsers;
pub(crate) mod busy;
pub(crate) mod bystander;
mod call;
mod churn;
mod connect;
pub(crate) mod crowd;
mod cut;
mod data;
mod fanout;
mod gather;
pub(crate) mod growth;
mod idle;
mod late;
mod limits;
mod messages;
mod name;
mod participant;
mod recovery;
mod relay;
mod rest;
mod rtp;
pub(crate) mod saturate;
mod soak;
mod storm;
mod track;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use self::browsers::Viewer;
use self::busy::Busy;
use self::growth::Axis;
pub(crate) use self::limits::largest_crowd;
use self::track::Flow;
use crate::client::Client;
use crate::report::Measured;
use crate::servers::{Process, Server};

/// Load on a server, with its parameters.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Silent WebSocket peers in rooms of five: memory, and how fast they join.
    Idle {
        /// How many peers.
        #[arg(default_value_t = 1_000)]
        peers: usize,
        /// Give each a peer connection to the server as well.
        #[arg(long)]
        connections: bool,
    },
    /// Pairs that send each other messages of 1 KiB, each the next one when the answer has come.
    Relay {
        /// How many pairs.
        #[arg(default_value_t = 50)]
        pairs: usize,
        /// For how long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// One room, in which one peer sends messages of 1 KiB to all others, each when the last has reached all of them.
    Fanout {
        /// How many receivers.
        #[arg(default_value_t = 100)]
        receivers: usize,
        /// For how long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Peers that join, say something and leave, one in ten without a goodbye: what the server keeps of them.
    Churn {
        /// How many at a time.
        #[arg(default_value_t = 50)]
        peers: usize,
        /// For how long.
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// All peers join one room at once.
    Storm {
        /// How many peers.
        #[arg(default_value_t = 500)]
        peers: usize,
    },
    /// Peers in rooms of five, one of them with a WebRTC connection, which all send messages while
    /// their actors are killed.
    Recovery {
        /// How many peers.
        #[arg(default_value_t = 50)]
        peers: usize,
        /// For how long they are killed.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// How many processes keep CPUs busy meanwhile.
        #[arg(long, default_value_t = 0)]
        busy: usize,
    },
    /// A call whose participants see and hear each other through the server, while its actors are killed.
    Interrupt {
        /// How many participants.
        #[arg(default_value_t = 5)]
        participants: usize,
        /// For how long they are killed.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// How many processes keep CPUs busy meanwhile.
        #[arg(long, default_value_t = 0)]
        busy: usize,
    },
    /// Participants that join one call, one after the other, and see and hear those who are in.
    Gather {
        /// How many participants.
        #[arg(default_value_t = 50)]
        participants: usize,
        /// In which time they join.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Messages to an actor, within one process: to a plain one, and to a supervised child.
    Messages {
        /// For how long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Peer connections, from the offer to the open data channel.
    Connect {
        /// How many connections.
        #[arg(default_value_t = 200)]
        peers: usize,
        /// How many at a time.
        #[arg(long, default_value_t = 10)]
        at_once: usize,
    },
    /// One client that talks on a data channel while others connect, all at once.
    Bystander {
        /// How many clients connect.
        #[arg(default_value_t = 200)]
        peers: usize,
    },
    /// Peers in rooms of two, and connections with a data channel: each says something each second.
    Crowd {
        /// How many peers.
        #[arg(default_value_t = 20_000)]
        peers: usize,
        /// How many connections.
        #[arg(long, default_value_t = 2_000)]
        connections: usize,
        /// For how long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// The same load, spread over more and more peers, rooms, connections, viewers or calls: CPU per message at each
    /// size.
    Growth {
        /// What there is more and more of; by default peers, rooms and connections, one after the other.
        of: Option<Axis>,
        /// The largest size.
        #[arg(long)]
        most: Option<usize>,
        /// How often the load takes turns with rest at each size; each turn takes a second.
        #[arg(long, default_value_t = 2)]
        turns: u32,
        /// Draw the costs into this SVG.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Silent peer connections with a data channel: memory.
    Rest {
        /// How many connections.
        #[arg(default_value_t = 500)]
        peers: usize,
    },
    /// Messages on data channels, which the server sends back.
    Data {
        /// How many connections.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// How many messages are under way on each connection, within 256 KiB.
        #[arg(long, default_value_t = 32)]
        window: usize,
        /// Sizes of the messages in bytes, one after the other.
        #[arg(long, value_delimiter = ',', default_value = "100,1024,65536")]
        sizes: Vec<usize>,
        /// For how long with each size.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Video packets of 1.2 kB, which the server forwards from each publisher to all subscribers.
    Rtp {
        /// How many publishers.
        #[arg(default_value_t = 1)]
        publishers: usize,
        /// How many subscribers.
        #[arg(default_value_t = 20)]
        receivers: usize,
        /// How many packets each publisher sends in a second, evenly.
        #[arg(long, default_value_t = 1_000)]
        rate: u32,
        /// Send as a camera does, in place of that: 30 frames a second, each of 8 to 10 packets at once.
        #[arg(long, conflicts_with = "rate")]
        burst: bool,
        /// Percentage of the packets that subscribers lose, and ask for again.
        #[arg(long, default_value_t = 0.0)]
        loss: f64,
        /// Measure servers with an estimate of each subscriber's bandwidth as well, which paces what they send.
        #[arg(long)]
        estimate: bool,
        /// For how long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Participants that each send video in bursts and sound to all others, on one connection.
    Call {
        /// How many participants.
        #[arg(default_value_t = 10)]
        participants: usize,
        /// Measure servers with an estimate of each participant's bandwidth as well.
        #[arg(long)]
        estimate: bool,
        /// For how long.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// A publisher that sends more than the server can forward, to viewers that stand still: how much goes out.
    Saturate {
        /// How many viewers.
        #[arg(default_value_t = 200)]
        viewers: usize,
        /// For how long, at most 10: later the server takes the viewers for lost.
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
    /// Participants of calls that come and go, one in four without a goodbye: what the server keeps of them.
    Soak {
        /// How many at a time.
        #[arg(default_value_t = 20)]
        participants: usize,
        /// For how long.
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
    },
    /// A link to a viewer of three that is cut to 1 Mbit/s and freed. Needs root, `ip` and `tc`.
    Cut,
    /// Forced switches between the layers of a picture, in a browser. Needs root, Chromium and Firefox.
    Switches {
        /// The browser that watches.
        viewer: Viewer,
        /// How many switches.
        #[arg(default_value_t = 1_000)]
        times: u32,
        /// Round trip time to the server, in milliseconds.
        #[arg(long, default_value_t = 20)]
        round_trip: u64,
    },
    /// Viewers that come one by one in a browser, until the first frame is shown. Needs root, Chromium and Firefox.
    Arrivals {
        /// The browser that watches.
        viewer: Viewer,
        /// How many viewers.
        #[arg(default_value_t = 20)]
        times: u32,
        /// Round trip time to the server, in milliseconds.
        #[arg(long, default_value_t = 0)]
        round_trip: u64,
    },
    /// A server that is killed, and started again by its supervisor, during a call of Chromium and Firefox. Needs root.
    Restarts {
        /// How often it is killed.
        #[arg(default_value_t = 5)]
        times: u32,
        /// Round trip time to the server, in milliseconds.
        #[arg(long, default_value_t = 0)]
        round_trip: u64,
    },
    /// Viewers that come one by one while a publisher sends video, with key frames on request alone.
    Late {
        /// How many viewers.
        #[arg(default_value_t = 20)]
        viewers: usize,
    },
}

impl Scenario {
    /// Returns the scenarios that it consists of: itself, but one growth after the other.
    pub(crate) fn each(self) -> Vec<Self> {
        match self {
            Self::Growth { of: None, most, turns, svg } => {
                let growth = |axis| {
                    let svg = svg.clone();
                    Self::Growth { of: Some(axis), most, turns, svg }
                };
                Axis::USUAL.map(growth).into()
            }
            one => vec![one],
        }
    }

    /// Returns whether it measures how much a server grows; a server that has been measured already grows no more.
    pub(crate) fn is_about_memory(&self) -> bool {
        matches!(self, Self::Idle { .. } | Self::Rest { .. } | Self::Churn { .. })
    }

    /// Returns the servers that can be measured, first the baseline of the ratios.
    pub(crate) fn servers(&self) -> &'static [Server] {
        match self {
            Self::Idle { connections: true, .. } => &[Server::Callboard, Server::Media],
            Self::Idle { .. } => {
                &[Server::Tokio, Server::Actors, Server::Callboard, Server::Tuned, Server::Media]
            }
            Self::Relay { .. } | Self::Fanout { .. } | Self::Churn { .. } | Self::Storm { .. } => {
                &[Server::Tokio, Server::Actors, Server::Callboard, Server::Tuned]
            }
            Self::Connect { .. } | Self::Bystander { .. } | Self::Rest { .. } => {
                &[Server::Str0m, Server::Callboard]
            }
            Self::Crowd { .. } => &[Server::Callboard, Server::Tuned],
            Self::Growth { of, .. } => of.map_or(&[], Axis::servers),
            Self::Recovery { .. } => &[Server::Tree],
            Self::Interrupt { .. } | Self::Gather { .. } => &[Server::Media],
            Self::Call { .. } | Self::Late { .. } => &[Server::Str0m, Server::Gso, Server::Rooms],
            Self::Saturate { .. } => &[Server::Rooms, Server::Spread, Server::Gso],
            Self::Soak { .. } => &[Server::Media],
            Self::Cut => &[Server::Link],
            Self::Switches { .. } | Self::Arrivals { .. } | Self::Restarts { .. } => {
                &[Server::Pages]
            }
            Self::Messages { .. } => &[Server::Plain, Server::Supervised],
            Self::Data { .. } => &[Server::Str0m, Server::Callboard, Server::Far, Server::Udp],
            Self::Rtp { loss, .. } => {
                let all = &[
                    Server::Str0m,
                    Server::Gso,
                    Server::Callboard,
                    Server::Rooms,
                    Server::Far,
                    Server::Udp,
                ];
                // What the last one loses stays lost.
                if *loss > 0.0 { &all[..5] } else { all }
            }
        }
    }

    /// Returns whether servers that can are measured with an estimate of bandwidth as well.
    pub(crate) fn estimates(&self) -> bool {
        matches!(self, Self::Rtp { estimate: true, .. } | Self::Call { estimate: true, .. })
    }

    pub(crate) async fn measure(&self, server: &Process) -> io::Result<Measured> {
        match *self {
            Self::Idle { peers, connections } => idle::measure(server, peers, connections).await,
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
            Self::Recovery { peers, seconds, busy } => {
                let _busy = Busy::start(busy)?;
                recovery::measure(server, peers, Duration::from_secs(seconds)).await
            }
            Self::Messages { seconds } => {
                messages::measure(server, Duration::from_secs(seconds)).await
            }
            Self::Connect { peers, at_once } => connect::measure(server, peers, at_once).await,
            Self::Bystander { peers } => bystander::measure(server, peers).await,
            Self::Crowd { peers, connections, seconds } => {
                crowd::measure(server, peers, connections, Duration::from_secs(seconds)).await
            }
            Self::Growth { of, most, turns, .. } => {
                let axis = of.ok_or(io::ErrorKind::InvalidInput)?;
                let sizes = axis.sizes(most).map_err(io::Error::other)?;
                growth::measure(server, axis, &sizes, turns).await
            }
            Self::Rest { peers } => rest::measure(server, peers).await,
            Self::Data { connections, window, ref sizes, seconds } => {
                let time = Duration::from_secs(seconds);
                data::measure(server, connections, window, sizes, time).await
            }
            Self::Rtp { publishers, receivers, rate, burst, loss, seconds, .. } => {
                let flow = if burst { Flow::VIDEO } else { Flow::evenly(rate) };
                let time = Duration::from_secs(seconds);
                rtp::measure(server, publishers, receivers, flow, loss / 1e2, time).await
            }
            Self::Call { participants, seconds, .. } => {
                call::measure(server, participants, Duration::from_secs(seconds)).await
            }
            Self::Late { viewers } => late::measure(server, viewers).await,
            Self::Saturate { viewers, seconds } => {
                saturate::measure(server, viewers, Duration::from_secs(seconds)).await
            }
            Self::Soak { participants, minutes } => {
                soak::measure(server, participants, Duration::from_secs_f64(minutes * 60.0)).await
            }
            Self::Cut => cut::measure(server).await,
            Self::Switches { viewer, times, round_trip } => {
                let round_trip = Duration::from_millis(round_trip);
                browsers::switches(server, viewer, times, round_trip).await
            }
            Self::Arrivals { viewer, times, round_trip } => {
                let round_trip = Duration::from_millis(round_trip);
                browsers::arrivals(server, viewer, times, round_trip).await
            }
            Self::Restarts { times, round_trip } => {
                browsers::restarts(server, times, Duration::from_millis(round_trip)).await
            }
            Self::Interrupt { participants, seconds, busy } => {
                let _busy = Busy::start(busy)?;
                recovery::media::measure(server, participants, Duration::from_secs(seconds)).await
            }
            Self::Gather { participants, seconds } => {
                gather::measure(server, participants, Duration::from_secs(seconds)).await
            }
        }
    }
}

/// Joins this many clients, in rooms of this size, some at a time.
async fn join_all(server: &Process, clients: usize, room_size: usize) -> io::Result<Vec<Client>> {
    joining(server, clients, room_size).try_collect().await
}

/// Returns the clients in the order in which they have joined.
fn joining(
    server: &Process,
    clients: usize,
    room_size: usize,
) -> impl Stream<Item = io::Result<Client>> + use<> {
    let server = server.endpoint();
    let joining = (0..clients).map(move |at| async move {
        Client::join(server, &format!("room-{}", at / room_size)).await
    });
    stream::iter(joining).buffer_unordered(AT_ONCE)
}

/// Returns 1 KiB of text.
fn kibibyte() -> String {
    "x".repeat(1_024)
}

/// Clients that join at the same time, where joining itself is not measured.
const AT_ONCE: usize = 64;
