//! Counters of events on a route: those of its peers, and those of its WebSockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard_room_supervisor::Rooms;
use callboard_websocket::{
    ActorKind, Histogram, MetricSource, NamedCounters, NamedDurations, NamedGauges, SocketCount,
    SocketCounters,
};

/// Counters of events, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Those of the WebSockets count for themselves.
    counts: [AtomicU64; COUNTS],
    pub(crate) sockets: Arc<SocketCounters>,
    /// Durations of joins, from the request until the room has admitted the peer.
    pub(crate) joins: Histogram,
    /// Durations of hooks, from the call until the outcome.
    pub(crate) hooks: Histogram,
    /// Rooms of the route, whose places in a cluster are counted.
    rooms: Option<Rooms>,
}

/// Kinds of counted events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Count {
    /// WebSockets opened.
    Opened,
    /// WebSockets ended.
    Ended,
    /// Requests refused because there were too many connections (429 and 503).
    Limited,
    /// Requests refused for their origin (403).
    ForeignOrigin,
    /// Requests that could not be understood (400).
    BadRequest,
    /// Requests of clients that were not accepted (401).
    Unauthorized,
    /// Requests for rooms that do not exist (404).
    NoSuchRoom,
    /// Text messages received.
    Received,
    /// Text messages sent.
    Sent,
    /// Binary frames, which are ignored.
    Binary,
    /// Text messages that were not valid messages.
    Invalid,
    /// Messages dropped because their client sent too many.
    TooMany,
    /// Connections closed because their client did not read.
    TooSlow,
    /// Connections closed because their client was silent.
    Silent,
    /// Connections that had to be cut because their client did not take the close frame.
    Cut,
    /// Callbacks of peers that panicked.
    Panicked,
    /// WebSockets lost whose peers wait for their client to come back.
    Lost,
    /// Clients that came back to their peers.
    Resumed,
    /// Requests to come back that were refused (410).
    CannotResume,
}

impl Count {
    /// Returns what it is to the WebSockets, if they count it.
    fn of_sockets(self) -> Option<SocketCount> {
        Some(match self {
            Self::Opened => SocketCount::Opened,
            Self::Ended => SocketCount::Ended,
            Self::Received => SocketCount::Received,
            Self::Sent => SocketCount::Sent,
            Self::TooSlow => SocketCount::TooSlow,
            Self::Cut => SocketCount::Cut,
            Self::Lost => SocketCount::Lost,
            Self::Resumed => SocketCount::Resumed,
            _ => return None,
        })
    }
}

const ALL: [(Count, &str); COUNTS] = [
    (Count::Opened, "opened"),
    (Count::Ended, "ended"),
    (Count::Limited, "limited"),
    (Count::ForeignOrigin, "foreign_origin"),
    (Count::BadRequest, "bad_request"),
    (Count::Unauthorized, "unauthorized"),
    (Count::NoSuchRoom, "no_such_room"),
    (Count::Received, "received"),
    (Count::Sent, "sent"),
    (Count::Binary, "binary"),
    (Count::Invalid, "invalid"),
    (Count::TooMany, "too_many"),
    (Count::TooSlow, "too_slow"),
    (Count::Silent, "silent"),
    (Count::Cut, "cut"),
    (Count::Panicked, "panicked"),
    (Count::Lost, "lost"),
    (Count::Resumed, "resumed"),
    (Count::CannotResume, "cannot_resume"),
];
const COUNTS: usize = 19;

/// Type of a room as an actor, which is private in its crate.
pub(crate) const ROOM: &str = "callboard_room_supervisor::actor::RoomActor";
/// Beginning of the types of peers as actors.
pub(crate) const PEER: &str = "callboard_signaling::actor::PeerActor<";

impl Counters {
    /// Creates the counters of a route to these rooms.
    pub(crate) fn of(rooms: Rooms) -> Self {
        Self { rooms: Some(rooms), ..Self::default() }
    }

    /// Counts an event that the WebSockets do not count themselves.
    pub(crate) fn add(&self, count: Count) {
        self.counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often this has happened.
    pub fn get(&self, count: Count) -> u64 {
        match count.of_sockets() {
            Some(count) => self.sockets.get(count),
            None => self.counts[count as usize].load(Ordering::Relaxed),
        }
    }

    /// Returns all counts with their names.
    pub fn snapshot(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ALL.iter().map(|&(count, name)| (name, self.get(count)))
    }
}

impl MetricSource for Counters {
    fn events(&self) -> Vec<(&'static str, u64)> {
        self.snapshot().collect()
    }

    fn durations(&self) -> Vec<NamedDurations> {
        let join = NamedDurations {
            name: "join",
            help: "From the request for a WebSocket until the room has let the peer in",
            durations: self.joins.snapshot(),
        };
        let hook = NamedDurations {
            name: "hook",
            help: "From the call of a hook until its outcome",
            durations: self.hooks.snapshot(),
        };
        vec![join, hook]
    }

    fn actors(&self) -> Vec<ActorKind> {
        let rooms = ActorKind { name: "rooms", help: "Rooms that run", type_name: ROOM };
        let peers = ActorKind {
            name: "peers",
            help: "Peers that run, also while their clients are away",
            type_name: PEER,
        };
        vec![rooms, peers]
    }

    fn counters(&self) -> Vec<NamedCounters> {
        let moves = self.rooms.as_ref().and_then(Rooms::count_moves);
        let counters = moves.map(|moves| NamedCounters {
            name: "cluster_moves",
            help: "Moves of rooms of this node to others",
            label: "result",
            values: vec![("moved", moves.moved), ("refused", moves.refused)],
        });
        counters.into_iter().collect()
    }

    fn gauges(&self) -> Vec<NamedGauges> {
        let counts = self.rooms.as_ref().and_then(Rooms::count_by_place);
        let gauges = counts.map(|counts| NamedGauges {
            name: "cluster_rooms",
            help: "Rooms of this node by where they run, and those whose hold is over",
            label: "state",
            values: [("home", counts.home), ("away", counts.away), ("shut", counts.shut)]
                .map(|(state, count)| (state, count as u64))
                .into(),
        });
        gauges.into_iter().collect()
    }
}
