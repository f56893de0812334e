//! Presence of a node, without I/O: the entries of this process, and what is known of those of the others.
//!
//! Each process alone writes its entries, and numbers its changes. Who misses one asks for all. Whether a process lives
//! is said by the directory alone: entries of one that it does not name are not known, so none come back from the dead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::format::{Change, Datagram, Entry, Kind};
use crate::boot_time::BootTime;
use crate::node_id::NodeId;

/// Presence of a node.
#[derive(Debug)]
pub(crate) struct Core {
    here: NodeId,
    process: Uuid,
    own: BTreeMap<u64, Entry>,
    /// Number of the last change of the own entries, and the last id.
    number: u64,
    ids: u64,
    /// Time of the next digest, and the pause after it.
    digest: Option<(BootTime, Duration)>,
    others: BTreeMap<NodeId, Other>,
    outputs: VecDeque<Output>,
}

/// What a core asks its shell to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Send(NodeId, Bytes),
    Broadcast(Bytes),
    Joined(NodeId, Entry),
    Left(NodeId, Entry),
}

/// What is known of another node's process.
#[derive(Debug)]
struct Other {
    process: Uuid,
    entries: BTreeMap<u64, Entry>,
    /// Number of the last change that is in the entries; none before the first snapshot.
    have: Option<u64>,
    /// Number of the last change that is known to have been.
    last: u64,
    /// Changes beyond a gap.
    ahead: BTreeMap<u64, Change>,
    parts: Parts,
    /// Time to ask, if something is missing, and the pause after that.
    ask: (BootTime, Duration),
    /// Asked for all entries: not answered before this time.
    answers_from: BootTime,
    /// The directory has forgotten it, and must name it again until then.
    doubted: Option<BootTime>,
}

impl Core {
    pub(crate) fn new(here: NodeId, process: Uuid) -> Self {
        let (own, others, outputs) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { here, process, own, number: 0, ids: 0, digest: None, others, outputs }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns all entries, and the nodes that they are of.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&NodeId, &Entry)> {
        let own = self.own.values().map(|entry| (&self.here, entry));
        let others = self
            .others
            .iter()
            .flat_map(|(node, other)| other.entries.values().map(move |entry| (node, entry)));
        own.chain(others)
    }

    /// Adds an entry of this process, and returns its id; none if there are too many.
    pub(crate) fn track(&mut self, now: BootTime, entry: Entry) -> Option<u64> {
        if self.own.len() >= MAX_ENTRIES {
            return None;
        }
        self.ids += 1;
        self.own.insert(self.ids, entry.clone());
        self.outputs.push_back(Output::Joined(self.here.clone(), entry.clone()));
        self.change(now, Change::Joined(self.ids, entry));
        Some(self.ids)
    }

    pub(crate) fn untrack(&mut self, now: BootTime, id: u64) {
        if let Some(entry) = self.own.remove(&id) {
            self.outputs.push_back(Output::Left(self.here.clone(), entry));
            self.change(now, Change::Left(id));
        }
    }

    /// Handles that a node's session is of this process now, and whether it runs.
    pub(crate) fn handle_session(
        &mut self,
        now: BootTime,
        node: &NodeId,
        process: Uuid,
        runs: bool,
    ) {
        if *node == self.here {
            return;
        }
        let same = self.others.get(node).is_some_and(|other| other.process == process);
        if same && runs {
            self.others.get_mut(node).into_iter().for_each(|other| other.doubted = None);
        } else if same != runs {
            self.remove(node);
            if runs {
                self.others.insert(node.clone(), Other::new(now, process));
                self.handle_timeout(now);
            }
        }
    }

    /// Handles that the directory has forgotten all sessions: those that live are written again.
    pub(crate) fn handle_forgotten(&mut self, now: BootTime) {
        self.others.values_mut().for_each(|other| other.doubted = Some(now + DOUBT));
    }

    pub(crate) fn handle_datagram(&mut self, now: BootTime, node: &NodeId, datagram: Datagram) {
        let Datagram { process, number, kind } = datagram;
        if kind == Kind::Ask {
            self.answer(now, node, process);
            return;
        }
        let Some(other) = self.others.get_mut(node).filter(|other| other.process == process) else {
            return;
        };
        other.last = other.last.max(number);
        match kind {
            Kind::Change(change) => {
                let old = other.have.is_some_and(|have| number <= have);
                if !old && other.ahead.len() < MAX_AHEAD {
                    other.ahead.insert(number, change);
                }
            }
            Kind::Snapshot { part, parts, entries } => {
                if let Some(entries) = other.take_part(number, part, parts, entries) {
                    self.replace(node, number, entries);
                }
            }
            Kind::Digest | Kind::Ask => {}
        }
        self.apply_ahead(node);
        self.handle_timeout(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: BootTime) {
        if let Some((_, pause)) = self.digest.filter(|(due, _)| *due <= now) {
            self.digest = Some((now + pause, (2 * pause).min(LONGEST_PAUSE)));
            self.broadcast(Kind::Digest);
        }
        let gone = |other: &Other| other.doubted.is_some_and(|end| end <= now);
        let gone = self.others.iter().filter(|(_, other)| gone(other));
        let gone: Vec<NodeId> = gone.map(|(node, _)| node.clone()).collect();
        gone.iter().for_each(|node| self.remove(node));
        for (node, other) in &mut self.others {
            let (due, pause) = other.ask;
            if other.misses() && due <= now {
                other.ask = (now + pause, (2 * pause).min(LONGEST_PAUSE));
                let ask = Datagram { process: other.process, number: 0, kind: Kind::Ask };
                self.outputs.push_back(Output::Send(node.clone(), ask.encode()));
            }
        }
    }

    /// Returns when something is due. It is right until the next input.
    pub(crate) fn poll_timeout(&self) -> Option<BootTime> {
        let asks = self.others.values().filter(|other| other.misses()).map(|other| other.ask.0);
        let doubts = self.others.values().filter_map(|other| other.doubted);
        self.digest.map(|(due, _)| due).into_iter().chain(asks).chain(doubts).min()
    }

    fn change(&mut self, now: BootTime, change: Change) {
        self.number += 1;
        self.digest = Some((now + FIRST_PAUSE, 2 * FIRST_PAUSE));
        self.broadcast(Kind::Change(change));
    }

    fn broadcast(&mut self, kind: Kind) {
        let datagram = Datagram { process: self.process, number: self.number, kind };
        self.outputs.push_back(Output::Broadcast(datagram.encode()));
    }

    /// Answers a node that asks for all entries of this process.
    fn answer(&mut self, now: BootTime, node: &NodeId, process: Uuid) {
        // One that the directory does not name yet asks again.
        let Some(other) = self.others.get_mut(node) else { return };
        if process != self.process || now < other.answers_from {
            return;
        }
        other.answers_from = now + ANSWER_PAUSE;
        let mut parts: Vec<Vec<(u64, Entry)>> = vec![Vec::new()];
        let mut bytes = 0;
        for (id, entry) in &self.own {
            bytes += entry.size();
            if bytes > MAX_PART {
                parts.push(Vec::new());
                bytes = entry.size();
            }
            parts.last_mut().into_iter().for_each(|part| part.push((*id, entry.clone())));
        }
        let of = u16::try_from(parts.len()).expect("entries are bounded");
        for (part, entries) in (0..).zip(parts) {
            let kind = Kind::Snapshot { part, parts: of, entries };
            let datagram = Datagram { process: self.process, number: self.number, kind };
            self.outputs.push_back(Output::Send(node.clone(), datagram.encode()));
        }
    }

    /// Puts all entries of a process in place of those that were known.
    fn replace(&mut self, node: &NodeId, number: u64, entries: BTreeMap<u64, Entry>) {
        let Some(other) = self.others.get_mut(node) else { return };
        if other.have.is_some_and(|have| number < have) {
            return;
        }
        let known: BTreeSet<u64> = other.entries.keys().copied().collect();
        for id in known.iter().filter(|id| !entries.contains_key(id)) {
            let left = other.entries.remove(id);
            self.outputs.extend(left.map(|entry| Output::Left(node.clone(), entry)));
        }
        for (id, entry) in entries {
            if !known.contains(&id) {
                other.entries.insert(id, entry.clone());
                self.outputs.push_back(Output::Joined(node.clone(), entry));
            }
        }
        other.have = Some(number);
        other.ahead.retain(|ahead, _| *ahead > number);
        other.ask.1 = FIRST_PAUSE;
    }

    /// Makes the changes whose turn it is.
    fn apply_ahead(&mut self, node: &NodeId) {
        let Some(other) = self.others.get_mut(node) else { return };
        let Some(have) = &mut other.have else { return };
        while let Some(change) = other.ahead.remove(&(*have + 1)) {
            *have += 1;
            match change {
                Change::Joined(id, entry) if other.entries.len() < MAX_ENTRIES => {
                    if other.entries.insert(id, entry.clone()).is_none() {
                        self.outputs.push_back(Output::Joined(node.clone(), entry));
                    }
                }
                Change::Joined(..) => {}
                Change::Left(id) => {
                    let left = other.entries.remove(&id);
                    self.outputs.extend(left.map(|entry| Output::Left(node.clone(), entry)));
                }
            }
        }
    }

    fn remove(&mut self, node: &NodeId) {
        let entries = self.others.remove(node).map(|other| other.entries).unwrap_or_default();
        let left = entries.into_values().map(|entry| Output::Left(node.clone(), entry));
        self.outputs.extend(left);
    }
}

/// Parts of a snapshot that have come.
#[derive(Debug, Default)]
struct Parts {
    /// Number of the snapshot.
    number: u64,
    /// How many there are.
    of: u16,
    there: BTreeMap<u16, Vec<(u64, Entry)>>,
}

impl Other {
    fn new(now: BootTime, process: Uuid) -> Self {
        Self {
            process,
            entries: BTreeMap::new(),
            have: None,
            last: 0,
            ahead: BTreeMap::new(),
            parts: Parts::default(),
            ask: (now, FIRST_PAUSE),
            answers_from: BootTime::ZERO,
            doubted: None,
        }
    }

    /// Returns whether a change is known to be missing.
    fn misses(&self) -> bool {
        self.have.is_none_or(|have| have < self.last)
    }

    /// Takes a part of a snapshot. Returns all entries once all parts are there.
    fn take_part(
        &mut self,
        number: u64,
        part: u16,
        parts: u16,
        entries: Vec<(u64, Entry)>,
    ) -> Option<BTreeMap<u64, Entry>> {
        if parts > MAX_PARTS || number < self.parts.number {
            return None;
        }
        if (number, parts) != (self.parts.number, self.parts.of) {
            self.parts = Parts { number, of: parts, there: BTreeMap::new() };
        }
        self.parts.there.insert(part, entries);
        if self.parts.there.len() < usize::from(parts) {
            return None;
        }
        let all = std::mem::take(&mut self.parts.there).into_values().flatten();
        Some(all.take(MAX_ENTRIES).collect())
    }
}

/// Entries of a process.
pub(super) const MAX_ENTRIES: usize = 65_536;
/// Changes beyond a gap: more are forgotten, and come with the next snapshot.
const MAX_AHEAD: usize = 1_024;
/// Bytes of a part of a snapshot, at most, and parts.
const MAX_PART: usize = 200 * 1024;
const MAX_PARTS: u16 = 2_048;
/// Pauses between two digests, and between two questions: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Shortest time between two answers to a node.
const ANSWER_PAUSE: Duration = Duration::from_millis(500);
/// Time in which a directory that has forgotten all must name a node again.
const DOUBT: Duration = Duration::from_secs(60);
