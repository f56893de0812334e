//! Lines of a history, and how they are read from files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the format: the one that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// Line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Time in nanoseconds of the machine's monotonic clock (`CLOCK_MONOTONIC`).
    pub t: u64,
    /// Name of the client, the node, or the run.
    pub by: String,
    /// What has happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Event {
    /// A process begins its file.
    Begin {
        /// Version of the format.
        version: u32,
    },

    /// A client opens a WebSocket.
    Asks {
        /// Number of the WebSocket, which this client has not used before.
        socket: u64,
        /// Room that it wants to join.
        room: String,
        /// Node that it has chosen.
        node: String,
    },
    /// A client was admitted (`authenticated`).
    In {
        /// Number of the WebSocket.
        socket: u64,
        /// Room.
        room: String,
        /// Id of its peer.
        peer: String,
        /// Ids of the other members.
        peers: Vec<String>,
    },
    /// A client has resumed its session (`resumed`).
    Resumed {
        /// Number of the WebSocket.
        socket: u64,
        /// Id of its peer.
        peer: String,
        /// Token with which it did, or a digest of it.
        token: String,
    },
    /// A client's request for a WebSocket was refused.
    Refused {
        /// Number of the WebSocket.
        socket: u64,
        /// HTTP status.
        status: u16,
    },
    /// A client's WebSocket is over, or could not be opened.
    Lost {
        /// Number of the WebSocket.
        socket: u64,
        /// Close code, if there was a close frame.
        code: Option<u16>,
    },
    /// A client leaves for good, of its own accord.
    Out,
    /// A client is told that another has joined.
    Joined {
        /// Its peer.
        peer: String,
    },
    /// A client is told that another has left.
    Left {
        /// Its peer.
        peer: String,
    },
    /// A client is told something else that may explain a lost message: the description of an error, or the name of
    /// another event, such as `room_restarted`.
    Told {
        /// What it is told.
        what: String,
        /// Peers that it is told of: of an error that says that they are not there, it explains only lists with them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        peers: Vec<String>,
    },
    /// A client is about to send a message.
    Sent {
        /// Number: each message of a client has a greater one.
        n: u64,
        /// Receivers; none: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Vec<String>>,
    },
    /// A client has received a message.
    Got {
        /// Sender, as the server says.
        from: String,
        /// Client that has sent it, as the message says.
        client: String,
        /// Number.
        n: u64,
    },

    /// A node has opened a room, or has restarted it.
    Opened {
        /// Room.
        room: String,
        /// Number of this instance of the room, which this node has not used for the room before.
        life: u64,
        /// Number of the node's hold.
        epoch: u64,
        /// Members that it has from the instance before, about which it was not asked again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        members: Vec<String>,
    },
    /// A room took joins at this time.
    Door {
        /// Room.
        room: String,
        /// Number of the node's hold.
        epoch: u64,
    },
    /// A room did something at this time.
    Live {
        /// Room.
        room: String,
        /// Number of the node's hold.
        epoch: u64,
        /// What the room does when its hold is over.
        on_lapse: OnLapse,
    },
    /// A room has admitted a peer (`on_join`).
    Admitted {
        /// Room.
        room: String,
        /// Number of the instance.
        life: u64,
        /// Peer.
        peer: String,
    },
    /// A peer that a room had admitted has left (`on_leave`).
    Departed {
        /// Room.
        room: String,
        /// Number of the instance.
        life: u64,
        /// Peer.
        peer: String,
    },
    /// A room was closed in good order (`on_terminate`), or handed over.
    Closed {
        /// Room.
        room: String,
        /// Number of the instance.
        life: u64,
    },
    /// Things of a node, or of the servers of its directory, that must not become more.
    Counts {
        /// When they were counted.
        phase: Phase,
        /// Their numbers.
        of: BTreeMap<String, u64>,
    },

    /// Limits by which the run is checked.
    Bounds(Bounds),
    /// A fault begins.
    Fault {
        /// Number of the fault.
        id: u64,
        /// What kind of a fault it is.
        kind: FaultKind,
        /// Nodes that it hits.
        nodes: Vec<String>,
        /// Rooms that must notice nothing of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spares: Vec<String>,
        /// What is done, in words.
        says: String,
    },
    /// A fault is over.
    Healed {
        /// Number of the fault.
        id: u64,
    },
    /// A node was asked how many of its sessions in the directory have ended.
    Sessions {
        /// Node.
        node: String,
        /// Number of those of its present process.
        ended: u64,
    },
    /// A node was asked whether it lives (`/healthz`).
    Health {
        /// Node.
        node: String,
        /// HTTP status; none if there was no answer.
        status: Option<u16>,
    },
    /// The time for which things may differ is over: all must agree now.
    Calm,
}

/// What kind of a fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A node's process is killed: what it had taken is lost.
    Kill,
    /// A node's process stands still.
    Pause,
    /// Packets are lost between nodes, or between nodes and servers.
    Network,
    /// Servers of the directory are killed, stand still, or lose what they have stored.
    Directory,
    /// A node's wall clock is set. Everything that follows is counted by other clocks.
    Clock,
    /// A node hands over its rooms and clients, and ends.
    Drain,
    /// A room goes to another node on purpose.
    Move,
}

impl FaultKind {
    /// Returns whether it costs nothing: no message is lost, and no client is told anything but where to go.
    pub fn is_gentle(self) -> bool {
        matches!(self, Self::Clock | Self::Drain | Self::Move)
    }
}

/// What a room does when its hold is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLapse {
    /// It goes on, and takes no join.
    ShutDoor,
    /// It is closed.
    Close,
}

/// When things were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the first client.
    Start,
    /// After the last client and the last fault.
    End,
}

/// Limits by which a run is checked, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Longest time in which a message arrives, and in which a client that asks is told something. It begins anew when
    /// a fault ends. Default: 5,000.
    pub wait_ms: u64,
    /// Longest time from the end of a peer until the others are told. It begins anew when a fault ends. Default:
    /// 15,000.
    pub left_ms: u64,
    /// For rooms that must notice nothing of a fault: p99 up to which the latency of messages is not compared with that
    /// of other times. Default: 50.
    pub latency_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { wait_ms: 5_000, left_ms: 15_000, latency_ms: 50 }
    }
}

/// Reason why a history cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Cause.
        error: io::Error,
    },
    /// A line is none of a history.
    #[error("{}:{number}: {error}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        number: usize,
        /// Cause.
        error: serde_json::Error,
    },
    /// A file does not begin with this version of the format.
    #[error("{}: it does not begin with version {VERSION} of the format", path.display())]
    Version {
        /// Path of the file.
        path: PathBuf,
    },
}

/// Reads the files of a history, and returns their lines in the order of their times.
///
/// # Errors
///
/// [`ReadError`]
pub fn read(paths: &[impl AsRef<Path>]) -> Result<Vec<Line>, ReadError> {
    let mut lines = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let text = fs::read_to_string(path)
            .map_err(|error| ReadError::File { path: path.to_owned(), error })?;
        lines.extend(parse(path, &text)?);
    }
    // Lines of one process at the same time stay in their order.
    lines.sort_by_key(|line: &Line| line.t);
    Ok(lines)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Line>, ReadError> {
    let mut lines = Vec::new();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            // Its process was killed while it wrote.
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => {
                let (path, number) = (path.to_owned(), at + 1);
                return Err(ReadError::Line { path, number, error });
            }
        }
    }
    match lines.first() {
        Some(Line { event: Event::Begin { version: VERSION }, .. }) | None => Ok(lines),
        Some(_) => Err(ReadError::Version { path: path.to_owned() }),
    }
}
