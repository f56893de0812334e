//! Invariants of what clients know of each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::world::{Client, MILLISECOND, State, World};
use super::{Found, Invariant, Rule};
use crate::history::line::{Event, Line};

#[derive(Default)]
pub(super) struct Peers<'a> {
    /// Peers that have left, by the client that was told.
    gone: HashMap<&'a str, HashMap<&'a str, usize>>,
    /// Peers that have joined again after they had left, by the client that was told: that must be a restart.
    again: BTreeMap<(&'a str, &'a str), Owed>,
    /// When clients were told last that their room has restarted.
    restarted: HashMap<&'a str, u64>,
    /// Peers that have ended, by the client that must be told.
    owed: BTreeMap<(&'a str, &'a str), Owed>,
    /// Clients that have lost their connections in a drain, and must resume their sessions.
    moving: BTreeMap<&'a str, Owed>,
    looked: u64,
}

/// What must come before a time.
struct Owed {
    due: u64,
    lines: Vec<usize>,
}

impl<'a> Rule<'a> for Peers<'a> {
    fn see(&mut self, at: usize, line: &'a Line, world: &World<'a>, found: &mut Found) {
        self.look(line.t, world, found);
        let by = line.by.as_str();
        match &line.event {
            Event::Resumed { .. } => _ = self.moving.remove(by),
            Event::In { peer, peers, .. } => {
                if let Some(Owed { lines, .. }) = self.moving.remove(by) {
                    lost(by, [lines, vec![at]].concat(), found);
                }
                let distinct: BTreeSet<&String> = peers.iter().collect();
                if distinct.len() != peers.len() || peers.contains(peer) {
                    let says = format!("{by} is told of members twice, or of itself");
                    found.add(Invariant::JoinedThenLeft, [at], says);
                }
                self.gone.remove(by);
                self.forget(by);
                if let Some(client) = world.clients.get(by)
                    && let Some(before) = client.peer
                    && before != peer
                {
                    self.ended(at, line, before, client.room, world);
                }
            }
            Event::Out => {
                self.moving.remove(by);
                self.forget(by);
                if let Some(client) = world.clients.get(by)
                    && let Some(peer) = client.peer
                {
                    self.ended(at, line, peer, client.room, world);
                }
            }
            Event::Lost { socket, .. } => {
                let client = world.clients.get(by);
                let is_in =
                    |client: &&Client<'_>| client.state == State::In && client.socket == *socket;
                if let Some(client) = client.filter(is_in)
                    && world.is_gentle()
                {
                    let lines = vec![client.since, at];
                    if world.is_drain() {
                        // It has another one already.
                        self.moving.insert(by, Owed { due: line.t + world.wait(), lines });
                    } else {
                        lost(by, lines, found);
                    }
                }
                self.forget(by);
            }
            Event::Joined { peer } => {
                let Some(client) = world.clients.get(by) else { return };
                if client.roster.contains(peer.as_str()) || client.peer == Some(peer) {
                    let says = format!("{by} is told that {peer} has joined, which is there");
                    found.add(Invariant::JoinedThenLeft, [client.since, at], says);
                }
                if let Some(left) = self.gone.get(by).and_then(|gone| gone.get(peer.as_str())) {
                    let lines = vec![*left, at];
                    if world.is_gentle() {
                        let says = format!("{by} is told in a move that {peer} is back");
                        found.add(Invariant::MovesAreUntold, lines.clone(), says);
                    }
                    // Its own client may be told alone: its node was silent, and offers it again.
                    let owner = world.peers.get(peer.as_str());
                    let restarted = owner.and_then(|owner| self.restarted.get(owner));
                    if restarted.is_none_or(|then| then + world.wait() < line.t) {
                        let due = line.t + world.wait();
                        self.again.insert((by, peer), Owed { due, lines });
                    }
                }
            }
            Event::Left { peer } => {
                let Some(client) = world.clients.get(by) else { return };
                if !client.roster.contains(peer.as_str()) {
                    let says = format!("{by} is told that {peer} has left, which is not there");
                    let before = self.gone.get(by).and_then(|gone| gone.get(peer.as_str()));
                    let lines = [before.copied().unwrap_or(client.since), at];
                    found.add(Invariant::JoinedThenLeft, lines, says);
                }
                let owner = world.peers.get(peer.as_str()).and_then(|name| world.clients.get(name));
                let is_there =
                    owner.is_some_and(|it| it.state == State::In && it.peer == Some(peer.as_str()));
                if is_there && world.is_gentle() {
                    let says =
                        format!("{by} is told in a move that {peer} has left, which is there");
                    found.add(Invariant::MovesAreUntold, [client.since, at], says);
                }
                self.gone.entry(by).or_default().insert(peer, at);
                self.owed.remove(&(by, peer.as_str()));
            }
            // What has changed was told before.
            Event::Told { what, .. } if what == "room_restarted" => {
                self.restarted.insert(by, line.t);
                self.again.retain(|(client, peer), _| {
                    *client != by && world.peers.get(peer) != Some(&by)
                });
                if world.is_gentle() {
                    let says = format!("{by} is told in a move that the room has restarted");
                    found.add(Invariant::MovesAreUntold, [at], says);
                }
            }
            Event::Calm => compare(at, world, found),
            _ => {}
        }
    }
}

impl<'a> Peers<'a> {
    /// Drops what a client should be told, since it is no member any more.
    fn forget(&mut self, client: &str) {
        self.owed.retain(|(name, _), _| *name != client);
        self.again.retain(|(name, _), _| *name != client);
    }

    fn ended(&mut self, at: usize, line: &Line, peer: &'a str, room: &str, world: &World<'a>) {
        let due = line.t + world.bounds.left_ms * MILLISECOND;
        for (name, client) in world.members(room) {
            if name != line.by && client.roster.contains(peer) {
                self.owed.insert((name, peer), Owed { due, lines: vec![client.since, at] });
            }
        }
    }

    fn look(&mut self, now: u64, world: &World<'a>, found: &mut Found) {
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        self.moving.retain(|client, owed| {
            if now > owed.due {
                lost(client, std::mem::take(&mut owed.lines), found);
            }
            now <= owed.due
        });
        let length = world.bounds.left_ms * MILLISECOND;
        self.owed.retain(|(client, peer), owed| {
            let is_overdue = world.is_overdue(&mut owed.due, length, now);
            if is_overdue {
                let says = format!("{client} was not told that {peer} has left");
                found.add(Invariant::EachEndIsTold, owed.lines.clone(), says);
            }
            !is_overdue
        });
        self.again.retain(|(client, peer), owed| {
            let is_overdue = world.is_overdue(&mut owed.due, world.wait(), now);
            if is_overdue {
                let says = format!("{client} is told that {peer} has joined, after it had left");
                found.add(Invariant::JoinedThenLeft, owed.lines.clone(), says);
            }
            !is_overdue
        });
    }
}

fn lost(client: &str, lines: Vec<usize>, found: &mut Found) {
    let says = format!("{client} loses its connection in a move");
    found.add(Invariant::MovesAreUntold, lines, says);
}

/// Compares what all clients know with who is connected.
fn compare(at: usize, world: &World<'_>, found: &mut Found) {
    for room in world.rooms() {
        let connected: BTreeSet<&str> =
            world.members(room).filter_map(|(_, client)| client.peer).collect();
        for (name, client) in world.members(room) {
            let knows: BTreeSet<&str> = client.roster.iter().copied().chain(client.peer).collect();
            if knows != connected {
                let more: Vec<_> = knows.difference(&connected).collect();
                let less: Vec<_> = connected.difference(&knows).collect();
                let says = format!(
                    "{name} in {room:?} believes in {more:?}, which are not there, and misses {less:?}"
                );
                found.add(Invariant::OneRoster, [client.since, at], says);
            }
        }
    }
}

/// Time between two looks at what is overdue.
const LOOK: u64 = 100 * MILLISECOND;
