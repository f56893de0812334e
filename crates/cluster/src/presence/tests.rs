//! Nodes with presences, a directory that tells late, and a network that loses, duplicates and reorders.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::core::{Core, Output};
use super::format::{Datagram, Entry};
use crate::boot_time::BootTime;
use crate::node_id::NodeId;

const NODES: usize = 3;

struct World {
    now: BootTime,
    nodes: Vec<Node>,
    /// Datagrams under way: from, to, bytes.
    under_way: Vec<(usize, usize, Bytes)>,
    /// Ways that are cut.
    cuts: BTreeSet<(usize, usize)>,
    processes: u128,
    keys: u64,
}

struct Node {
    core: Core,
    process: Uuid,
    /// Whether its session runs.
    runs: bool,
    tracked: Vec<(u64, Entry)>,
    /// What the directory has to tell it yet: node, process, whether it runs.
    untold: VecDeque<(usize, Uuid, bool)>,
    /// Who is there, as its listeners know, by key.
    told: BTreeMap<Bytes, NodeId>,
}

fn id(node: usize) -> NodeId {
    NodeId::new(format!("n{node}")).unwrap()
}

impl World {
    fn new() -> Self {
        let node = |node: usize| {
            let process = Uuid::from_u128(node as u128 + 1);
            Node {
                core: Core::new(id(node), process),
                process,
                runs: true,
                tracked: Vec::new(),
                untold: VecDeque::new(),
                told: BTreeMap::new(),
            }
        };
        let mut world = Self {
            now: BootTime::from(Duration::from_secs(1_000)),
            nodes: (0..NODES).map(node).collect(),
            under_way: Vec::new(),
            cuts: BTreeSet::new(),
            processes: NODES as u128,
            keys: 0,
        };
        (0..NODES).for_each(|node| world.say(node, true));
        world
    }

    /// Lets the directory say to all that the session of a node's process runs, or has ended.
    fn say(&mut self, node: usize, runs: bool) {
        self.nodes[node].runs = runs;
        let process = self.nodes[node].process;
        self.nodes.iter_mut().for_each(|other| other.untold.push_back((node, process, runs)));
    }

    fn hear(&mut self, node: usize) {
        if let Some((other, process, runs)) = self.nodes[node].untold.pop_front() {
            self.feed(node, |core, now| core.handle_session(now, &id(other), process, runs));
        }
    }

    fn feed<R>(&mut self, node: usize, input: impl FnOnce(&mut Core, BootTime) -> R) -> R {
        let result = input(&mut self.nodes[node].core, self.now);
        while let Some(output) = self.nodes[node].core.poll_output() {
            match output {
                Output::Send(to, bytes) => {
                    let to = (0..NODES).find(|node| id(*node) == to).unwrap();
                    self.send(node, to, bytes);
                }
                Output::Broadcast(bytes) => {
                    let others = (0..NODES).filter(|other| *other != node);
                    others.for_each(|other| self.send(node, other, bytes.clone()));
                }
                Output::Joined(of, entry) => {
                    let before = self.nodes[node].told.insert(entry.key.clone(), of);
                    assert!(before.is_none(), "{entry:?} joins twice");
                }
                Output::Left(of, entry) => {
                    let before = self.nodes[node].told.remove(&entry.key);
                    assert_eq!(before, Some(of), "{entry:?} leaves that had not joined");
                }
            }
        }
        result
    }

    fn send(&mut self, from: usize, to: usize, bytes: Bytes) {
        if !self.cuts.contains(&(from, to)) && self.under_way.len() < 500 {
            self.under_way.push((from, to, bytes));
        }
    }

    fn deliver(&mut self, place: usize, copy: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let place = place % self.under_way.len();
        let (from, to, bytes) =
            if copy { self.under_way[place].clone() } else { self.under_way.remove(place) };
        let datagram = Datagram::decode(bytes).unwrap();
        self.feed(to, |core, now| core.handle_datagram(now, &id(from), datagram));
    }

    fn track(&mut self, node: usize) {
        self.keys += 1;
        let key = Bytes::from(format!("key {}", self.keys));
        let entry = Entry { presence: Bytes::from_static(b"users"), key, meta: Bytes::new() };
        let number = self.feed(node, |core, now| core.track(now, entry.clone())).unwrap();
        self.nodes[node].tracked.push((number, entry));
    }

    fn untrack(&mut self, node: usize, place: usize) {
        if !self.nodes[node].tracked.is_empty() {
            let place = place % self.nodes[node].tracked.len();
            let (number, _) = self.nodes[node].tracked.remove(place);
            self.feed(node, |core, now| core.untrack(now, number));
        }
    }

    /// Replaces the process. The directory tells of the end of the old one first if it was sealed.
    fn restart(&mut self, node: usize, sealed: bool) {
        if sealed {
            self.say(node, false);
        }
        self.processes += 1;
        let process = Uuid::from_u128(self.processes);
        let new = &mut self.nodes[node];
        (new.core, new.process) = (Core::new(id(node), process), process);
        new.tracked.clear();
        new.told.clear();
        self.say(node, true);
        let known = self.nodes.iter().map(|other| (other.process, other.runs)).enumerate();
        let known = known.map(|(other, (process, runs))| (other, process, runs)).collect();
        self.nodes[node].untold = known;
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        (0..NODES).for_each(|node| self.feed(node, Core::handle_timeout));
    }

    /// Nothing goes wrong any more: all is told and delivered, for two minutes.
    fn settle(&mut self) {
        self.cuts.clear();
        for _ in 0..240 {
            for node in 0..NODES {
                while !self.nodes[node].untold.is_empty() {
                    self.hear(node);
                }
            }
            while !self.under_way.is_empty() {
                self.deliver(0, false);
            }
            self.wait(Duration::from_millis(500));
        }
    }

    /// Every node whose session runs knows exactly its own entries and those of the others whose sessions run.
    fn check(&self) {
        for (node, this) in self.nodes.iter().enumerate().filter(|(_, this)| this.runs) {
            let mut expected = BTreeMap::new();
            for (other, that) in self.nodes.iter().enumerate() {
                if that.runs {
                    let keys = that.tracked.iter().map(|(_, entry)| entry.key.clone());
                    expected.extend(keys.map(|key| (key, id(other))));
                }
            }
            let known: BTreeMap<_, _> = this
                .core
                .entries()
                .map(|(node, entry)| (entry.key.clone(), node.clone()))
                .collect();
            assert_eq!(known, expected, "at node {node}");
            assert_eq!(this.told, expected, "as told at node {node}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Track(usize),
    Untrack(usize, usize),
    Deliver(usize),
    DeliverInOrder(usize),
    Duplicate(usize),
    Lose(usize),
    Hear(usize),
    Cut(usize, usize, bool),
    Wait(u64),
    Restart(usize, bool),
    Seal(usize),
    EnterAgain(usize),
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (node, place) = (|| 0..NODES, || 0..64_usize);
    prop_oneof![
        6 => node().prop_map(Step::Track),
        4 => (node(), place()).prop_map(|(node, place)| Step::Untrack(node, place)),
        8 => place().prop_map(Step::Deliver),
        8 => place().prop_map(Step::DeliverInOrder),
        2 => place().prop_map(Step::Duplicate),
        4 => place().prop_map(Step::Lose),
        6 => node().prop_map(Step::Hear),
        2 => (node(), node(), any::<bool>()).prop_map(|(from, to, cut)| Step::Cut(from, to, cut)),
        4 => (1..5_000_u64).prop_map(Step::Wait),
        1 => (node(), any::<bool>()).prop_map(|(node, sealed)| Step::Restart(node, sealed)),
        1 => node().prop_map(Step::Seal),
        1 => node().prop_map(Step::EnterAgain),
        1 => node().prop_map(Step::Forget),
    ]
}

fn happen(world: &mut World, step: Step) {
    match step {
        Step::Track(node) => world.track(node),
        Step::Untrack(node, place) => world.untrack(node, place),
        Step::Deliver(place) => world.deliver(place, false),
        Step::DeliverInOrder(number) => (0..number).for_each(|_| world.deliver(0, false)),
        Step::Duplicate(place) => world.deliver(place, true),
        Step::Lose(place) => {
            if !world.under_way.is_empty() {
                let place = place % world.under_way.len();
                world.under_way.remove(place);
            }
        }
        Step::Hear(node) => world.hear(node),
        Step::Cut(from, to, cut) => {
            if cut {
                world.cuts.insert((from, to))
            } else {
                world.cuts.remove(&(from, to))
            };
        }
        Step::Wait(ms) => world.wait(Duration::from_millis(ms)),
        Step::Restart(node, sealed) => world.restart(node, sealed),
        // It lives, but was found dead: its entries are gone until it has entered again.
        Step::Seal(node) => world.say(node, false),
        Step::EnterAgain(node) => world.say(node, true),
        Step::Forget(node) => {
            world.feed(node, |core, now| core.handle_forgotten(now));
            // Those that live write their sessions again.
            let again = world.nodes.iter().enumerate().filter(|(_, other)| other.runs);
            let again: Vec<_> = again.map(|(other, that)| (other, that.process, true)).collect();
            world.nodes[node].untold.extend(again);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// The world itself checks that each entry joins before it leaves, and does neither twice.
    #[test]
    fn after_splits_crashes_and_losses_all_know_the_same_and_no_one_who_is_gone(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| happen(&mut world, step));
        world.settle();
        world.check();
    }
}

#[test]
fn entries_of_a_process_that_the_directory_does_not_name_are_not_known() {
    let mut world = World::new();
    world.track(1);
    while !world.under_way.is_empty() {
        world.deliver(0, false);
    }
    assert!(world.nodes[0].told.is_empty());

    world.settle();
    assert_eq!(world.nodes[0].told.len(), 1);
}

#[test]
fn a_sealed_node_has_no_entries_even_if_more_of_it_comes_later() {
    let mut world = World::new();
    world.track(1);
    world.settle();
    world.track(1);
    let late = world.under_way.clone();
    world.say(1, false);
    world.settle();
    assert!(world.nodes[0].told.is_empty());

    world.under_way.extend(late);
    world.settle();

    assert!(world.nodes[0].told.is_empty());
}

#[test]
fn a_snapshot_of_many_entries_comes_in_parts_and_the_loss_of_one_is_mended() {
    let mut world = World::new();
    for _ in 0..500 {
        world.keys += 1;
        let key = Bytes::from(format!("key {}", world.keys));
        let meta = Bytes::from(vec![0; 1_000]);
        let entry = Entry { presence: Bytes::from_static(b"users"), key, meta };
        let number = world.feed(1, |core, now| core.track(now, entry.clone())).unwrap();
        world.nodes[1].tracked.push((number, entry));
        world.under_way.clear();
    }
    while !world.nodes[0].untold.is_empty() {
        world.hear(0);
        world.hear(1);
    }
    // Its question, answered in three parts.
    world.under_way.retain(|(from, to, _)| (*from, *to) == (0, 1));
    world.deliver(0, false);
    let parts = world.under_way.iter().filter(|(from, _, _)| *from == 1).count();
    assert!(parts >= 3, "{parts}");
    world.under_way.retain(|(from, _, _)| *from == 1);
    world.under_way.remove(1);

    world.settle();
    world.check();
}

#[test]
fn what_the_directory_forgets_for_good_is_gone() {
    let mut world = World::new();
    world.track(1);
    world.settle();
    world.feed(0, |core, now| core.handle_forgotten(now));
    world.feed(0, |core, now| core.handle_session(now, &id(2), Uuid::from_u128(3), true));

    world.wait(Duration::from_secs(59));
    assert_eq!(world.nodes[0].told.len(), 1);
    world.wait(Duration::from_secs(2));

    assert!(world.nodes[0].told.is_empty());
    assert_eq!(world.nodes[0].core.poll_timeout(), None);
}
