//! Invariants of messages.

use std::collections::{BTreeMap, HashMap};

use super::world::{MILLISECOND, World};
use super::{Found, Invariant, Rule};
use crate::history::line::{Event, FaultKind, Line};

#[derive(Default)]
pub(super) struct Messages<'a> {
    /// All that were sent, by their senders and numbers.
    sent: HashMap<(&'a str, u64), Sent<'a>>,
    /// Messages that must still arrive, by receiver, sender and number.
    due: BTreeMap<(&'a str, &'a str, u64), Due>,
    /// Number and line of the last message from a peer (the second) to a client (the first). Those of a client's former
    /// peer may come later than those of its present one.
    last: HashMap<(&'a str, &'a str), (u64, usize)>,
    /// Latencies in rooms that must notice nothing of faults: beside them, and without a fault.
    spared: Latencies<'a>,
    looked: u64,
}

struct Sent<'a> {
    at: usize,
    t: u64,
    room: &'a str,
    to: Option<&'a [String]>,
    /// Whether the room must notice nothing of the faults that there are.
    is_spared: bool,
    /// Line of a receipt.
    got: Option<usize>,
}

struct Due {
    until: u64,
    at: usize,
    is_spared: bool,
    in_move: bool,
}

#[derive(Default)]
struct Latencies<'a> {
    beside_faults: Vec<u64>,
    without: HashMap<&'a str, Vec<u64>>,
    /// Rooms that were spared once.
    rooms: Vec<&'a str>,
    limit: u64,
    at: usize,
}

impl<'a> Rule<'a> for Messages<'a> {
    fn see(&mut self, at: usize, line: &'a Line, world: &World<'a>, found: &mut Found) {
        self.look(line.t, world, found);
        let by = line.by.as_str();
        match &line.event {
            Event::Sent { n, to } => self.sent(at, line, *n, to.as_deref(), world),
            Event::Got { from, client, n } => self.got(at, line, [from, client], *n, world, found),
            Event::Out => self.due.retain(|(to, from, _), _| *to != by && *from != by),
            Event::Lost { .. } => self.explain(by, world),
            Event::In { .. } => {
                // Another peer, to which what was sent before may be new.
                self.last.retain(|(to, _), _| *to != by);
                self.explain(by, world);
            }
            // An announcement of something that costs nothing.
            Event::Told { what, .. } if what == "moved" => {}
            Event::Told { peers, .. } if !peers.is_empty() => self.refused(by, peers),
            Event::Told { .. } => self.explain(by, world),
            Event::Joined { peer } | Event::Left { peer } => {
                if let Some(other) = world.peers.get(peer.as_str()) {
                    self.explain_between(by, other, world);
                }
            }
            Event::Fault { kind, nodes, spares, .. } => {
                for room in spares {
                    if !self.spared.rooms.contains(&room.as_str()) {
                        self.spared.rooms.push(room);
                    }
                }
                if *kind == FaultKind::Kill {
                    self.died(nodes, world);
                }
            }
            _ => {}
        }
        self.spared.limit = world.bounds.latency_ms * MILLISECOND;
        self.spared.at = at;
    }

    fn end(&mut self, found: &mut Found) {
        let Latencies { beside_faults, without, rooms, limit, at } = &mut self.spared;
        let mut before: Vec<u64> =
            rooms.iter().filter_map(|room| without.get(room)).flatten().copied().collect();
        if before.len() < ENOUGH || beside_faults.len() < ENOUGH {
            return;
        }
        let (before, beside) = (p99(&mut before), p99(beside_faults));
        if beside > (2 * before).max(*limit) {
            let says = format!(
                "in rooms beside faults the p99 of latency is {} ms, and {} ms otherwise",
                beside / MILLISECOND,
                before / MILLISECOND
            );
            found.add(Invariant::BystandersNoticeNothing, [*at], says);
        }
    }
}

impl<'a> Messages<'a> {
    fn sent(
        &mut self,
        at: usize,
        line: &'a Line,
        n: u64,
        to: Option<&'a [String]>,
        world: &World<'a>,
    ) {
        let by = line.by.as_str();
        let Some(sender) = world.clients.get(by) else { return };
        let (room, is_spared) = (sender.room, world.is_spared(sender.room));
        self.sent.insert((by, n), Sent { at, t: line.t, room, to, is_spared, got: None });
        let Some(own) = sender.peer else { return };
        let knows = |peer: &String| sender.roster.contains(peer.as_str()) || own == peer;
        // All or none: the sender is told of a list with one that is not there.
        if to.is_some_and(|list| !list.iter().all(knows)) {
            return;
        }
        for (name, receiver) in world.members(room) {
            let Some(peer) = receiver.peer else { continue };
            let is_addressed = match to {
                Some(list) => list.iter().any(|one| one == peer),
                None => name != by,
            };
            let know_each_other =
                name == by || sender.roster.contains(peer) && receiver.roster.contains(own);
            if is_addressed && know_each_other {
                let (until, in_move) = (line.t + world.wait(), world.is_gentle());
                self.due.insert((name, by, n), Due { until, at, is_spared, in_move });
            }
        }
    }

    fn got(
        &mut self,
        at: usize,
        line: &'a Line,
        [from, client]: [&'a String; 2],
        n: u64,
        world: &World<'a>,
        found: &mut Found,
    ) {
        let by = line.by.as_str();
        self.due.remove(&(by, client.as_str(), n));
        if world.peers.get(from.as_str()) != Some(&client.as_str()) {
            let says = format!("{by} has message {n} of {client} as one of {from}");
            found.add(Invariant::AllOrNothing, [at], says);
        }
        let last = self.last.insert((by, from), (n, at));
        if let Some((before, then)) = last
            && before >= n
        {
            let says = format!("{by} has message {n} of {client} after message {before}");
            found.add(Invariant::Order, [then, at], says);
        }
        let Some(sent) = self.sent.get_mut(&(client.as_str(), n)) else {
            let says = format!("{by} has message {n} of {client}, which was never sent");
            found.add(Invariant::Order, [at], says);
            return;
        };
        sent.got = Some(at);
        let receiver = world.clients.get(by);
        if receiver.is_some_and(|receiver| receiver.room != sent.room) {
            let says = format!("{by} has message {n} of {client} of another room");
            found.add(Invariant::AllOrNothing, [sent.at, at], says);
        }
        if let Some(list) = sent.to {
            let is_addressed = receiver
                .and_then(|receiver| receiver.peer)
                .is_some_and(|peer| list.iter().any(|one| one == peer));
            let stranger = list.iter().find(|one| !world.known.contains(one.as_str()));
            if !is_addressed || stranger.is_some() {
                let says = match stranger {
                    Some(stranger) => {
                        format!(
                            "{by} has message {n} of {client}, of whose addressees {stranger} is none"
                        )
                    }
                    None => format!("{by} has message {n} of {client}, which is not for it"),
                };
                found.add(Invariant::AllOrNothing, [sent.at, at], says);
            }
        }
        let latency = line.t.saturating_sub(sent.t);
        if sent.is_spared {
            self.spared.beside_faults.push(latency);
        } else if world.faults.is_empty() {
            self.spared.without.entry(sent.room).or_default().push(latency);
        }
    }

    /// Explains the lists of this client in which one of these peers is.
    fn refused(&mut self, client: &str, peers: &[String]) {
        let sent = &self.sent;
        self.due.retain(|(_, from, n), _| {
            let list = sent.get(&(*from, *n)).and_then(|sent| sent.to);
            *from != client || !list.is_some_and(|list| list.iter().any(|one| peers.contains(one)))
        });
    }

    /// Explains what is missing from and to this client: it was told of something.
    fn explain(&mut self, client: &str, world: &World<'a>) {
        self.drop_unless_strict(world, |(to, from, _)| *to == client || *from == client);
    }

    fn explain_between(&mut self, one: &str, other: &str, world: &World<'a>) {
        self.drop_unless_strict(world, |(to, from, _)| {
            [*to, *from] == [one, other] || [*to, *from] == [other, one]
        });
    }

    fn drop_unless_strict(
        &mut self,
        world: &World<'a>,
        explains: impl Fn(&(&'a str, &'a str, u64)) -> bool,
    ) {
        let is_rough = world.is_rough();
        self.due.retain(|key, due| {
            // In a move only a fault is an excuse, and for a room that it does not concern there is none.
            let excused = !due.is_spared && (!due.in_move || is_rough);
            !(excused && explains(key))
        });
    }

    /// Explains what was on these nodes, or on its way through them.
    fn died(&mut self, nodes: &[String], world: &World<'a>) {
        let sent = &self.sent;
        self.due.retain(|(to, from, n), due| {
            let room = sent.get(&(*from, *n)).map_or("", |sent| sent.room);
            due.is_spared || !world.is_hit(nodes, room, [*to, *from])
        });
    }

    fn look(&mut self, now: u64, world: &World<'a>, found: &mut Found) {
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        let sent = &self.sent;
        self.due.retain(|(to, from, n), due| {
            let is_overdue = match due.is_spared {
                true => now > due.until,
                false => world.is_overdue(&mut due.until, world.wait(), now),
            };
            if !is_overdue {
                return true;
            }
            let message = sent.get(&(*from, *n));
            let partly =
                message.filter(|message| message.to.is_some()).and_then(|message| message.got);
            let says =
                format!("message {n} of {from} has not reached {to}, and neither was told why");
            match (due, partly) {
                (Due { is_spared: true, at, .. }, _) => {
                    found.add(Invariant::BystandersNoticeNothing, [*at], says);
                }
                (Due { in_move: true, at, .. }, _) => {
                    found.add(Invariant::NoGapInMoves, [*at], says);
                }
                (Due { at, .. }, Some(got)) => {
                    let says = format!("{says}; others of its list have it");
                    found.add(Invariant::AllOrNothing, [*at, got], says);
                }
                (Due { at, .. }, None) => found.add(Invariant::Order, [*at], says),
            }
            false
        });
    }
}

/// Returns the 99th percentile.
fn p99(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() * 99 / 100]
}

/// Number of latencies below which they are not compared.
const ENOUGH: usize = 100;
/// Time between two looks at what is overdue.
const LOOK: u64 = 100 * MILLISECOND;
