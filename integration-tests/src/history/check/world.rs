//! What is known of clients, nodes and faults at a line of a history.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::history::line::{Bounds, Event, FaultKind, Line};

/// State before a line.
#[derive(Default)]
pub(super) struct World<'a> {
    pub(super) bounds: Bounds,
    pub(super) clients: BTreeMap<&'a str, Client<'a>>,
    /// All peers that there ever are, also those whose clients are not told so.
    pub(super) known: HashSet<&'a str>,
    /// Clients of all peers that there were.
    pub(super) peers: HashMap<&'a str, &'a str>,
    /// Nodes that have opened each room last.
    pub(super) homes: HashMap<&'a str, &'a str>,
    pub(super) faults: BTreeMap<u64, Fault<'a>>,
    /// Time of the last end of a fault.
    healed: Option<u64>,
}

/// A client.
#[derive(Default)]
pub(super) struct Client<'a> {
    pub(super) room: &'a str,
    /// Node of its last WebSocket.
    pub(super) node: &'a str,
    /// Its peer, which may have ended.
    pub(super) peer: Option<&'a str>,
    pub(super) state: State,
    /// Whom it believes to be in the room beside itself.
    pub(super) roster: BTreeSet<&'a str>,
    /// Number of its WebSocket.
    pub(super) socket: u64,
    /// Line at which it was admitted last.
    pub(super) since: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// It has no connection, and wants one.
    #[default]
    Lost,
    In,
    /// It has left for good.
    Out,
}

/// A fault that is not over.
pub(super) struct Fault<'a> {
    pub(super) kind: FaultKind,
    spares: &'a [String],
}

impl<'a> World<'a> {
    /// Creates the world before the first of these lines.
    pub(super) fn new(lines: &'a [Line]) -> Self {
        let known = lines.iter().filter_map(|line| match &line.event {
            Event::In { peer, .. } | Event::Admitted { peer, .. } => Some(peer.as_str()),
            _ => None,
        });
        Self { known: known.collect(), ..Self::default() }
    }

    pub(super) fn apply(&mut self, at: usize, line: &'a Line) {
        let by = line.by.as_str();
        match &line.event {
            Event::Asks { room, node, .. } => {
                let client = self.clients.entry(by).or_default();
                (client.room, client.node) = (room, node);
            }
            Event::In { socket, room, peer, peers } => {
                self.peers.insert(peer, by);
                let client = self.clients.entry(by).or_default();
                client.room = room;
                client.peer = Some(peer);
                client.state = State::In;
                client.roster = peers.iter().map(String::as_str).collect();
                client.socket = *socket;
                client.since = at;
            }
            Event::Resumed { socket, peer, .. } => {
                let client = self.clients.entry(by).or_default();
                client.peer = Some(peer);
                client.state = State::In;
                client.socket = *socket;
            }
            Event::Lost { socket, .. } => {
                if let Some(client) = self.clients.get_mut(by)
                    && client.state == State::In
                    // Not one that another has taken the place of.
                    && client.socket == *socket
                {
                    client.state = State::Lost;
                }
            }
            Event::Out => {
                if let Some(client) = self.clients.get_mut(by) {
                    client.state = State::Out;
                }
            }
            Event::Joined { peer } => {
                if let Some(client) = self.clients.get_mut(by) {
                    client.roster.insert(peer);
                }
            }
            Event::Left { peer } => {
                if let Some(client) = self.clients.get_mut(by) {
                    client.roster.remove(peer.as_str());
                }
            }
            Event::Opened { room, .. } => _ = self.homes.insert(room, by),
            Event::Bounds(bounds) => self.bounds = *bounds,
            Event::Fault { id, kind, spares, .. } => {
                self.faults.insert(*id, Fault { kind: *kind, spares });
            }
            Event::Healed { id } => {
                self.faults.remove(id);
                self.healed = Some(line.t);
            }
            _ => {}
        }
    }

    /// Returns whether a time has passed until which something should have happened. The time begins anew, with this
    /// length, when a fault ends.
    pub(super) fn is_overdue(&self, due: &mut u64, length: u64, now: u64) -> bool {
        if now <= *due {
            return false;
        }
        if !self.faults.is_empty() {
            *due = now + length;
        } else if let Some(healed) = self.healed {
            *due = (*due).max(healed + length);
        }
        now > *due
    }

    /// Returns whether a fault is not over, and none of those may cost anything.
    pub(super) fn is_gentle(&self) -> bool {
        !self.faults.is_empty() && !self.is_rough()
    }

    /// Returns whether a node hands over its clients.
    pub(super) fn is_drain(&self) -> bool {
        self.faults.values().any(|fault| fault.kind == FaultKind::Drain)
    }

    /// Returns whether a fault is not over that may cost something.
    pub(super) fn is_rough(&self) -> bool {
        self.faults.values().any(|fault| !fault.kind.is_gentle())
    }

    pub(super) fn wait(&self) -> u64 {
        self.bounds.wait_ms * MILLISECOND
    }

    /// Returns whether a fault is not over, and none of those must be noticed in this room.
    pub(super) fn is_spared(&self, room: &str) -> bool {
        let spared = |fault: &Fault<'_>| fault.spares.iter().any(|spared| spared == room);
        !self.faults.is_empty() && self.faults.values().all(spared)
    }

    /// Returns whether the room, or one of these clients, is on one of these nodes. A room is if its home is not known.
    pub(super) fn is_hit(&self, nodes: &[String], room: &str, clients: [&str; 2]) -> bool {
        let hit = |node: &str| nodes.iter().any(|one| one == node);
        self.homes.get(room).is_none_or(|home| hit(home))
            || clients.iter().filter_map(|name| self.clients.get(name)).any(|one| hit(one.node))
    }

    /// Returns the clients that are in this room, with their names.
    pub(super) fn members(&self, room: &str) -> impl Iterator<Item = (&'a str, &Client<'a>)> {
        let members = self.clients.iter().filter(move |(_, client)| {
            client.room == room && client.state == State::In && client.peer.is_some()
        });
        members.map(|(name, client)| (*name, client))
    }

    /// Returns the rooms in which clients were.
    pub(super) fn rooms(&self) -> BTreeSet<&'a str> {
        self.clients.values().map(|client| client.room).collect()
    }
}

/// Nanoseconds of a millisecond.
pub(super) const MILLISECOND: u64 = 1_000_000;
