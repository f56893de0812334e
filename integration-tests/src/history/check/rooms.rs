//! Invariants of rooms and the nodes that run them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::world::{MILLISECOND, World};
use super::{Found, Invariant, Rule};
use crate::history::line::{Event, FaultKind, Line, OnLapse};

#[derive(Default)]
pub(super) struct Rooms<'a> {
    doors: Holds<'a>,
    /// Of rooms that are closed when their holds are over.
    lives: Holds<'a>,
    /// Members of all instances.
    instances: HashMap<Instance<'a>, BTreeSet<&'a str>>,
    /// Instances that were opened last.
    current: HashMap<&'a str, Instance<'a>>,
    /// Numbers of pauses of nodes, and when they ended.
    pauses: HashMap<u64, &'a [String]>,
    resumed: HashMap<&'a str, u64>,
}

/// Node, room, number.
type Instance<'a> = (&'a str, &'a str, u64);

/// Holds of rooms by their numbers, as far as it is known when they were good.
#[derive(Default)]
struct Holds<'a> {
    spans: HashMap<&'a str, BTreeMap<u64, Span<'a>>>,
    /// Pairs that were found already.
    found: HashSet<(&'a str, u64, u64)>,
}

/// Time in which a hold is known to have been good.
struct Span<'a> {
    node: &'a str,
    first: usize,
    last: usize,
}

impl<'a> Holds<'a> {
    /// Notes a hold that may have been good before this line.
    fn know(&mut self, at: usize, node: &'a str, room: &'a str, epoch: u64) {
        let spans = self.spans.entry(room).or_default();
        spans.entry(epoch).or_insert(Span { node, first: at, last: at });
    }

    fn see(&mut self, at: usize, node: &'a str, room: &'a str, epoch: u64, found: &mut Found) {
        let spans = self.spans.entry(room).or_default();
        let is_new = !spans.contains_key(&epoch);
        let span = spans.entry(epoch).or_insert(Span { node, first: at, last: at });
        span.last = at;
        if span.node != node && self.found.insert((room, epoch, epoch)) {
            let says =
                format!("{room:?} is held by {} and by {node} with epoch {epoch}", span.node);
            found.add(Invariant::OneHome, [span.first, at], says);
        }
        let later = spans.range(epoch + 1..).next();
        if let Some((number, later)) = later
            && self.found.insert((room, epoch, *number))
        {
            let (invariant, says) = match is_new {
                true => {
                    let says =
                        format!("{room:?} is held with epoch {epoch} after one with {number}");
                    (Invariant::EpochsGrow, says)
                }
                false => {
                    let says = format!(
                        "{room:?} is held by {node} with epoch {epoch} while {} has it with {number}",
                        later.node
                    );
                    (Invariant::OneHome, says)
                }
            };
            found.add(invariant, [later.first, at], says);
        }
    }
}

impl<'a> Rule<'a> for Rooms<'a> {
    fn see(&mut self, at: usize, line: &'a Line, world: &World<'a>, found: &mut Found) {
        let by = line.by.as_str();
        match &line.event {
            Event::Door { room, epoch } => self.doors.see(at, by, room, *epoch, found),
            Event::Live { room, epoch, on_lapse: OnLapse::Close } => {
                // What it does when it goes on, it may have begun before it stood still.
                let resumed = self.resumed.get(by).copied().unwrap_or_default();
                match line.t > resumed + AWAKE {
                    true => self.lives.see(at, by, room, *epoch, found),
                    false => self.lives.know(at, by, room, *epoch),
                }
            }
            Event::Opened { room, life, members, .. } => {
                let instance = (by, room.as_str(), *life);
                let is_clock_alone = !world.faults.is_empty()
                    && world.faults.values().all(|fault| fault.kind == FaultKind::Clock);
                if is_clock_alone && self.current.contains_key(room.as_str()) {
                    let says = format!("{room:?} is opened anew since a clock is set");
                    found.add(Invariant::SessionsLast, [at], says);
                }
                let members = members.iter().map(String::as_str).collect();
                self.instances.insert(instance, members);
                self.current.insert(room, instance);
            }
            Event::Admitted { room, life, peer } => {
                let members = self.instances.entry((by, room, *life)).or_default();
                // One that has left may be offered again: by a node that was silent.
                if !members.insert(peer) {
                    let says = format!("`on_join` of {room:?} twice for {peer}");
                    found.add(Invariant::JoinsAndLeaves, [at], says);
                }
            }
            Event::Departed { room, life, peer } => {
                let members = self.instances.entry((by, room, *life)).or_default();
                if !members.remove(peer.as_str()) {
                    let says = format!("`on_leave` of {room:?} for {peer}, which is no member");
                    found.add(Invariant::JoinsAndLeaves, [at], says);
                }
            }
            Event::Closed { room, life } => {
                let instance = (by, room.as_str(), *life);
                if self.current.get(room.as_str()) == Some(&instance) {
                    self.current.remove(room.as_str());
                }
                self.instances.remove(&instance);
            }
            Event::Fault { id, kind: FaultKind::Pause, nodes, .. } => {
                self.pauses.insert(*id, nodes);
            }
            Event::Healed { id } => {
                for node in self.pauses.remove(id).unwrap_or_default() {
                    self.resumed.insert(node, line.t);
                }
            }
            Event::Calm => self.compare(at, world, found),
            _ => {}
        }
    }
}

impl<'a> Rooms<'a> {
    /// Compares what `on_join` and `on_leave` say with who is connected.
    fn compare(&self, at: usize, world: &World<'a>, found: &mut Found) {
        for room in world.rooms() {
            let connected: BTreeSet<&str> =
                world.members(room).filter_map(|(_, client)| client.peer).collect();
            let instance = self.current.get(room).and_then(|one| self.instances.get(one));
            // A node that writes nothing of its rooms is not checked.
            let Some(present) = instance else { continue };
            if *present != connected {
                let says = format!(
                    "{room:?} has {present:?} by `on_join` and `on_leave`, and {connected:?} are connected"
                );
                found.add(Invariant::JoinsAndLeaves, [at], says);
            }
        }
    }
}

/// Time after a pause in which what a room does is not counted.
const AWAKE: u64 = 100 * MILLISECOND;
