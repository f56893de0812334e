//! A cluster of cores around one directory, with clocks that run at different rates, in steps.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::store::Store;
use crate::boot_time::{BootTime, Now};
use crate::core::{Call, CallId, Core, Identity, Output, Probed, Proof, Refused, Ticket, Timing};
use crate::directory::{Change, DirectoryError};
use crate::node_id::NodeId;
use crate::record::Epoch;

/// What the world does to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Well,
    /// Its process stands still: it is told nothing, and its time passes.
    Paused,
    /// Its calls are not carried out, and it sees no changes.
    CutOff,
    /// Its calls are carried out, but it does not hear the outcome.
    Deaf,
    /// It does not hear the outcome of its calls, and they are carried out once it is well again.
    Late,
    /// It sees no changes, and is not told so: its stream hangs, and so does every other that it asks for. That lasts
    /// until it asks for another one when it is well again.
    Blind,
}

pub(super) const MODES: [Mode; 6] =
    [Mode::Well, Mode::Paused, Mode::CutOff, Mode::Deaf, Mode::Late, Mode::Blind];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    core: Core,
    mode: Mode,
    /// Local time, in tenths of a step.
    clock: u64,
    rate: u64,
    /// Its stream of changes says nothing, and will not.
    hung: bool,
    /// Number of changes that it has seen; none if it must be told all that there is.
    seen: Option<usize>,
    late: Vec<Call>,
    process: Uuid,
    /// Where its process listens.
    address: Option<SocketAddr>,
    /// Its process was killed.
    killed: bool,
    /// Connections to its process are refused, though it lives.
    refuses: bool,
}

/// A cluster, and one room that every node wants all the time, unless it is not wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    nodes: Vec<Node>,
    store: Store,
    steps: u64,
    tickets: u64,
    /// Room that is being given: by whose request, and to which node its word goes.
    word: Option<(Ticket, usize)>,
    /// Whether all nodes want the room.
    pub(super) wanted: bool,
    /// Greatest epoch that was held, and by whom.
    top: (Epoch, usize),
    pub(super) refusals: Vec<Refused>,
    /// Sessions of earlier processes that were replaced.
    pub(super) replaced: usize,
    /// Sessions that were sealed because their processes were gone.
    pub(super) refusals_proven: usize,
}

/// Breach of what must hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// Two nodes hold the room at once.
    HeldTwice,
    /// A hold has no greater epoch than one before it.
    EpochStoodStill,
}

impl World {
    /// Creates a world with nodes whose clocks make so many tenths of a step in a step.
    pub(super) fn new(timing: Timing, rates: &[u64]) -> Self {
        Self::with(&rates.iter().map(|&rate| (timing, rate)).collect::<Vec<_>>(), false)
    }

    /// Creates a world with nodes of these times and rates, whose processes listen or do not.
    pub(super) fn with(nodes: &[(Timing, u64)], listen: bool) -> Self {
        let node = |(number, &(timing, rate)): (usize, &(Timing, u64))| {
            let me = Identity {
                node: NodeId::new(format!("n{number}")).unwrap(),
                url: Some(format!("wss://n{number}")),
                zone: None,
                process: Uuid::from_u128(number as u128),
                term: 1,
                unique: false,
                liveness: listen.then(|| SocketAddr::from(([192, 0, 2, 1], 7400 + number as u16))),
            };
            let (process, address) = (me.process, me.liveness);
            Node {
                core: Core::new(me, timing),
                mode: Mode::Well,
                clock: 1_000,
                rate,
                hung: false,
                seen: None,
                late: Vec::new(),
                process,
                address,
                killed: false,
                refuses: false,
            }
        };
        let nodes: Vec<Node> = nodes.iter().enumerate().map(node).collect();
        let top = (Epoch::default(), usize::MAX);
        let (store, refusals) = (Store::default(), Vec::new());
        let mut world = Self {
            nodes,
            store,
            steps: 0,
            tickets: 0,
            word: None,
            wanted: true,
            top,
            refusals,
            replaced: 0,
            refusals_proven: 0,
        };
        (0..world.nodes.len()).for_each(|number| world.subscribe(number));
        world
    }

    /// Gives a node the stream of changes that it asks for.
    fn subscribe(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        (node.seen, node.hung) = (None, node.mode == Mode::Blind);
        self.tell(number, Core::handle_asked);
    }

    pub(super) fn holder(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|&number| self.epoch(number).is_some())
    }

    fn epoch(&self, number: usize) -> Option<Epoch> {
        let node = &self.nodes[number];
        let held = node.core.held(ROOM, BootTime::from_nanos(node.clock));
        held.filter(|_| !node.killed)
    }

    pub(super) fn mode(&self, number: usize) -> Mode {
        self.nodes[number].mode
    }

    pub(super) fn set_mode(&mut self, number: usize, mode: Mode) {
        let node = &mut self.nodes[number];
        // What lost its connection asks for all again. A stream that hangs does so until the node asks for another.
        if node.mode == Mode::CutOff {
            (node.seen, node.hung) = (None, false);
        }
        node.mode = mode;
        node.hung |= mode == Mode::Blind;
        for call in std::mem::take(&mut self.nodes[number].late) {
            _ = self.store.carry_out(call);
        }
    }

    /// Lets the store lose its last changes, as after a power failure. Its connections break.
    pub(super) fn lose(&mut self, changes: usize) -> Result<(), Breach> {
        let left = self.store.changes.len().saturating_sub(changes);
        self.store.changes.truncate(left);
        for number in 0..self.nodes.len() {
            self.nodes[number].seen = None;
            if self.goes_on(number) {
                self.tell(number, |core, now| core.handle_change(now, Change::Lost));
            }
        }
        self.check()
    }

    /// Gives the node's place to another process of the same name, as systemd does; whether a lock proves that the
    /// earlier one has ended. It listens where that did, or nowhere.
    pub(super) fn restart(&mut self, number: usize, timing: Timing, unique: bool) {
        let node = &mut self.nodes[number];
        let me = Identity {
            node: NodeId::new(format!("n{number}")).unwrap(),
            url: None,
            zone: None,
            process: Uuid::from_u128(100 + u128::from(self.steps)),
            term: 1,
            unique,
            liveness: node.address,
        };
        (node.process, node.killed, node.refuses) = (me.process, false, false);
        (node.core, node.mode) = (Core::new(me, timing), Mode::Well);
        self.subscribe(number);
    }

    /// Kills the process of a node.
    pub(super) fn kill(&mut self, number: usize) {
        self.nodes[number].killed = true;
    }

    pub(super) fn is_killed(&self, number: usize) -> bool {
        self.nodes[number].killed
    }

    /// Lets connections to a process be refused though it lives, which must not be.
    pub(super) fn refuse(&mut self, number: usize) {
        self.nodes[number].refuses = true;
    }

    /// Lets the listener of a process fail, which sees that.
    pub(super) fn lose_listener(&mut self, number: usize) -> Result<(), Breach> {
        self.refuse(number);
        self.tell(number, Core::handle_unreachable);
        self.check()
    }

    /// Returns the number of sessions that say an address.
    pub(super) fn listeners(&self) -> usize {
        let sessions = self.store.whole().sessions;
        sessions.iter().filter(|(session, _)| session.liveness.is_some()).count()
    }

    /// Returns whether the process of a node runs and does not stand still.
    fn goes_on(&self, number: usize) -> bool {
        self.mode(number) != Mode::Paused && !self.nodes[number].killed
    }

    /// Lets a node look at the process of another one.
    fn probe(&mut self, number: usize, node: &NodeId, address: SocketAddr) {
        let at = self.nodes.iter().position(|node| node.address == Some(address));
        let at = at.expect("an address of a node");
        let (mode, other) = (self.mode(at), &self.nodes[at]);
        let is_cut = mode == Mode::CutOff || self.mode(number) == Mode::CutOff;
        let probed = match (mode, other) {
            (_, Node { killed: true, .. } | Node { refuses: true, .. }) => Probed::Refused,
            _ if is_cut => Probed::Silent,
            (Mode::Paused, _) => Probed::Mute,
            _ => Probed::Answered(self.id(at), other.process),
        };
        self.tell(number, |core, now| core.handle_probed(now, node, probed));
    }

    /// Gives the room back, and asks no more for it.
    pub(super) fn release(&mut self, number: usize) -> Result<(), Breach> {
        self.tell(number, |core, now| core.handle_release(now, &ROOM.into()));
        self.settle(number)
    }

    /// Number of the records that the store has.
    pub(super) fn records(&self) -> usize {
        let whole = self.store.whole();
        whole.sessions.len() + whole.claims.len()
    }

    /// Returns whether the store has a claim of a node.
    pub(super) fn is_claimed(&self) -> bool {
        self.store.whole().claims.iter().any(|(_, claim, _)| claim.holder.is_some())
    }

    /// Lets the node that holds the room give it to another one, if that is not the same; whether that one expects it,
    /// and whether it hears the word of it.
    pub(super) fn give(&mut self, to: usize, expects: bool, hears: bool) -> Result<(), Breach> {
        (0..self.nodes.len()).try_for_each(|number| self.settle(number))?;
        let Some(holder) = self.holder().filter(|&holder| holder != to) else { return Ok(()) };
        let from = self.epoch(holder).expect("it holds the room");
        let room = || Arc::from(ROOM);
        if expects && self.goes_on(to) {
            let ticket = self.ticket();
            self.tell(to, |core, now| core.handle_expect(now, &room(), ticket, from));
            self.settle(to)?;
        }
        if self.goes_on(holder) {
            let (ticket, node) = (self.ticket(), self.id(to));
            self.word = hears.then_some((ticket, to));
            self.tell(holder, |core, now| core.handle_give(now, &room(), ticket, &node));
            self.settle(holder)?;
        }
        Ok(())
    }

    /// Lets a node expect the room no more, as when the request of a node has come to nothing.
    pub(super) fn expect_no_more(&mut self, number: usize) -> Result<(), Breach> {
        for ticket in 1..=self.tickets {
            let (room, ticket) = (Arc::from(ROOM), Ticket(ticket));
            self.tell(number, |core, now| core.handle_expect_no_more(now, &room, ticket));
        }
        self.settle(number)
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn id(&self, number: usize) -> NodeId {
        NodeId::new(format!("n{number}")).expect("a good name")
    }

    pub(super) fn leave(&mut self, number: usize) -> Result<(), Breach> {
        self.tell(number, Core::handle_leave);
        self.settle(number)
    }

    /// Lets a step of time pass: every node that lives sees the changes, looks at its clock, and asks for the room.
    pub(super) fn step(&mut self) -> Result<(), Breach> {
        self.steps += 1;
        for node in &mut self.nodes {
            node.clock += node.rate;
        }
        self.check()?;
        for number in 0..self.nodes.len() {
            self.settle(number)?;
            let wants = self.wanted && self.goes_on(number) && self.epoch(number).is_none();
            if wants {
                let ticket = self.ticket();
                self.tell(number, |core, now| core.handle_claim(now, &ROOM.into(), ticket));
                self.settle(number)?;
            }
        }
        Ok(())
    }

    /// Carries out all that a node asks for, and shows it the changes.
    fn settle(&mut self, number: usize) -> Result<(), Breach> {
        if !self.goes_on(number) {
            return Ok(());
        }
        self.tell(number, Core::handle_timeout);
        let mut outputs: VecDeque<Output> = VecDeque::new();
        for _ in 0..1_000 {
            self.show_changes(number);
            while let Some(output) = self.nodes[number].core.poll_output() {
                outputs.push_back(output);
            }
            let Some(output) = outputs.pop_front() else {
                let node = &self.nodes[number];
                let (due, now) = (node.core.poll_timeout(), BootTime::from_nanos(node.clock));
                assert!(due > now, "it is due again at once: {node:#?}");
                return Ok(());
            };
            match output {
                Output::Call(id, call) => self.call(number, id, call),
                Output::Refresh => self.subscribe(number),
                Output::Replaced => self.replaced += 1,
                Output::Probe(node, address) => self.probe(number, &node, address),
                Output::Sealed(_, Proof::Refusal) => self.refusals_proven += 1,
                Output::Given(ticket, Ok(given)) => {
                    let word = self.word.filter(|(of, _)| *of == ticket);
                    // One that stands still hears it no more in time.
                    if let Some((_, to)) = word.filter(|(_, to)| self.goes_on(*to)) {
                        self.tell(to, |core, now| {
                            core.handle_given(now, &Arc::from(ROOM), given);
                        });
                    }
                }
                Output::Answer(_, Err(refused)) => {
                    self.refusals.push(refused);
                    let excess = self.refusals.len().saturating_sub(2);
                    self.refusals.drain(..excess);
                }
                _ => {}
            }
            self.check()?;
        }
        panic!("node {number} never rests: {:?}", self.nodes[number]);
    }

    fn show_changes(&mut self, number: usize) {
        if self.nodes[number].hung || self.mode(number) == Mode::CutOff {
            return;
        }
        let seen = self.nodes[number].seen.replace(self.store.changes.len());
        let changes = match seen {
            Some(seen) => {
                (seen..self.store.changes.len()).map(|at| self.store.change(at)).collect()
            }
            None => vec![Change::Whole(self.store.whole())],
        };
        for change in changes {
            self.tell(number, |core, now| core.handle_change(now, change));
        }
    }

    fn call(&mut self, number: usize, id: CallId, call: Call) {
        let unknown = Err(DirectoryError::Unknown("no answer".into()));
        let outcome = match self.mode(number) {
            Mode::Well | Mode::Blind | Mode::Paused => self.store.carry_out(call),
            Mode::CutOff => unknown,
            Mode::Deaf => {
                _ = self.store.carry_out(call);
                unknown
            }
            Mode::Late => {
                self.nodes[number].late.push(call);
                unknown
            }
        };
        self.tell(number, |core, now| core.handle_outcome(now, id, outcome));
    }

    fn tell(&mut self, number: usize, input: impl FnOnce(&mut Core, Now)) {
        let node = &mut self.nodes[number];
        let now = Now { boot: BootTime::from_nanos(node.clock), unix_ms: self.steps };
        input(&mut node.core, now);
    }

    /// Checks that at most one node holds the room, and that the epochs of holds grow.
    fn check(&mut self) -> Result<(), Breach> {
        let mut holders = (0..self.nodes.len()).filter(|&number| self.epoch(number).is_some());
        let Some(holder) = holders.next() else { return Ok(()) };
        if holders.next().is_some() {
            return Err(Breach::HeldTwice);
        }
        let held = self.epoch(holder).expect("it holds the room");
        if held < self.top.0 || held == self.top.0 && holder != self.top.1 {
            return Err(Breach::EpochStoodStill);
        }
        self.top = (held, holder);
        Ok(())
    }
}

/// Returns times with which a session lapses after so many tenths of a step.
pub(super) fn timing(hold: u64) -> Timing {
    Timing::new(Duration::from_nanos(hold))
}

const ROOM: &str = "demo";
