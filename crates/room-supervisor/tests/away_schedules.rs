//! Random schedules of joins, messages, departures, nodes that come and go, homes that die, and moves, in one room over
//! three nodes, against a model: what each client has seen must be what happened.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard_cluster::{Embedded, Epoch, MemoryWire, WireFaults};
use callboard_room_supervisor::*;
use common::Client;
use common::nodes::{Node, within};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client joins at this node.
    Join(usize),
    /// A client leaves.
    Leave(usize),
    /// A client speaks to all.
    ToAll(usize),
    /// A client speaks to two others, or to one and to no one.
    ToTwo(usize, usize, usize),
    /// A node is stopped, and another takes its place.
    Replace(usize),
    /// The node that has the room dies without a word, and another takes its place.
    KillHome,
    /// The room moves to this node, if it can.
    Move(usize),
}

/// Steps among which homes die and rooms move, as often as this.
fn steps(deaths: u32, moves: u32) -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        4 => (0..3_usize).prop_map(Step::Join),
        2 => any::<usize>().prop_map(Step::Leave),
        6 => any::<usize>().prop_map(Step::ToAll),
        4 => any::<(usize, usize, usize)>().prop_map(|(from, to, other)| Step::ToTwo(from, to, other)),
        1 => (0..3_usize).prop_map(Step::Replace),
        deaths => Just(Step::KillHome),
        moves => (0..3_usize).prop_map(Step::Move),
    ];
    proptest::collection::vec(one, 1..40)
}

/// Counts joins and departures, as the room sees them: each home by itself.
struct Hall {
    epoch: Option<Epoch>,
    counts: Arc<Counts>,
}

/// Members of each home, by its epoch.
type Counts = Mutex<BTreeMap<Option<Epoch>, BTreeSet<PeerId>>>;

impl Hall {
    fn members<T>(&self, count: impl FnOnce(&mut BTreeSet<PeerId>) -> T) -> T {
        count(self.counts.lock().unwrap().entry(self.epoch).or_default())
    }
}

impl Room for Hall {
    type Options = Arc<Counts>;

    fn on_init(counts: &Arc<Counts>, room: &RoomContext) -> Result<Self, Rejection> {
        let hall = Self { epoch: room.epoch(), counts: Arc::clone(counts) };
        hall.members(|_| ());
        Ok(hall)
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        assert!(self.members(|members| members.insert(auth.peer_id)), "it joins twice");
        Ok(())
    }

    fn on_leave(&mut self, peer: PeerId, _: &RoomContext) {
        assert!(self.members(|members| members.remove(&peer)), "it leaves twice");
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of(&self.members(|members| members.clone())).ok()
    }

    fn restore(
        counts: &Arc<Counts>,
        members: &Snapshot,
        room: &RoomContext,
    ) -> Result<Self, String> {
        let hall = Self { epoch: room.epoch(), counts: Arc::clone(counts) };
        let restored = members.read().map_err(|error| error.to_string())?;
        hall.members(|members| *members = restored);
        Ok(hall)
    }
}

/// A client, and what it has seen.
struct Watcher {
    client: Client,
    node: usize,
    /// Whom it believes to be in the room beside itself.
    others: BTreeSet<PeerId>,
    /// Who has left: none of them comes again.
    gone: BTreeSet<PeerId>,
    /// Numbers of the messages of each sender.
    heard: BTreeMap<PeerId, Vec<u64>>,
    /// Messages that it should hear, if their senders stay.
    due: BTreeMap<PeerId, Vec<u64>>,
    /// Number of lists with an unknown addressee that it has sent, and of errors that it was told.
    refused: (usize, usize),
    /// Number of its lists with an addressee that has left since, perhaps before the room had the list.
    in_doubt: usize,
}

impl Watcher {
    fn see(&mut self, event: &str, message: &Value) {
        let peer =
            || -> PeerId { serde_json::from_value(message["data"]["peer_id"].clone()).unwrap() };
        match event {
            "joined" => {
                let peer = peer();
                assert!(self.others.insert(peer), "joined twice");
                assert!(!self.gone.contains(&peer), "joined after it left");
            }
            "left" => {
                let peer = peer();
                assert!(self.others.remove(&peer), "left twice, or before it joined");
                self.gone.insert(peer);
            }
            "number" => {
                let from: PeerId = serde_json::from_value(message["from"].clone()).unwrap();
                let number = message["data"].as_u64().unwrap();
                assert!(self.others.contains(&from), "of one that is not in the room");
                let heard = self.heard.entry(from).or_default();
                assert!(heard.last().is_none_or(|last| *last < number), "{heard:?}, {number}");
                heard.push(number);
            }
            "error" => {
                assert_eq!(message["data"]["description"], "No such peer", "{message}");
                self.refused.1 += 1;
                assert!(self.refused.1 <= self.refused.0 + self.in_doubt);
            }
            "room_restarted" => {
                let peers: BTreeSet<PeerId> =
                    serde_json::from_value(message["data"]["peers"].clone()).unwrap();
                let known = self.others.iter().chain([&self.client.id]).copied().collect();
                assert_eq!(peers, known, "it was told before who is there");
            }
            other => panic!("{other}"),
        }
    }

    /// Sees what waits for it.
    fn read(&mut self) {
        while let Some(delivered) = self.client.take() {
            let Deliver::Frame(text) = delivered else { panic!("{delivered:?}") };
            let message: Value = serde_json::from_str(&text).unwrap();
            self.see(message["event"].as_str().unwrap(), &message);
        }
    }

    /// Sees all that it must.
    async fn read_all(&mut self, members: &BTreeSet<PeerId>) {
        while !self.is_done(members) {
            let next = tokio::time::timeout(PATIENCE, self.client.event()).await;
            let Ok((event, message)) = next else { panic!("{}", self.lacks(members)) };
            self.see(&event, &message);
        }
    }

    /// Says what it has not seen.
    fn lacks(&self, members: &BTreeSet<PeerId>) -> String {
        let heard = |from| self.heard.get(from);
        let due: Vec<_> = self.due.iter().map(|(from, due)| (from, due, heard(from))).collect();
        let Self { client, node, others, refused, in_doubt, .. } = self;
        format!(
            "{} at {node} knows {others:?} of {members:?}; {refused:?} of its lists were refused, \
             {in_doubt} in doubt; due and heard: {due:?}",
            client.id
        )
    }

    /// Returns whether it has seen all that it must.
    fn is_done(&self, members: &BTreeSet<PeerId>) -> bool {
        let others = self.others.iter().chain([&self.client.id]).copied().collect::<BTreeSet<_>>();
        let heard = |from: &PeerId, number: &u64| {
            self.heard.get(from).is_some_and(|heard| heard.contains(number))
        };
        let due = self.due.iter().filter(|(from, _)| members.contains(from));
        others == *members
            && self.refused.0 <= self.refused.1
            && due.clone().all(|(from, due)| due.iter().all(|number| heard(from, number)))
    }
}

struct World {
    directory: Embedded,
    wire: MemoryWire,
    nodes: Vec<Node>,
    names: usize,
    counts: Arc<Counts>,
    watchers: Vec<Watcher>,
    /// Nodes that are said to be dead.
    dead: Vec<Node>,
    /// Lists: who sent them, their numbers, and their addressees.
    lists: Vec<(PeerId, u64, Vec<PeerId>)>,
    number: u64,
}

impl World {
    async fn new(seed: u64) -> Self {
        let wire = MemoryWire::with_seed(seed);
        let faults = WireFaults::default().loss(0.02).duplication(0.02);
        wire.set_faults(faults.delay(Duration::ZERO..Duration::from_millis(2)));
        let mut world = Self {
            directory: Embedded::new(),
            wire,
            nodes: Vec::new(),
            names: 0,
            counts: Arc::default(),
            watchers: Vec::new(),
            dead: Vec::new(),
            lists: Vec::new(),
            number: 0,
        };
        for _ in 0..3 {
            let node = world.node().await;
            world.nodes.push(node);
        }
        world.nodes[0].open("demo").await;
        world
    }

    async fn node(&mut self) -> Node {
        self.names += 1;
        let counts = Arc::clone(&self.counts);
        let open =
            move |name: &str| Some(RoomOptions::<Hall>::new(name, Arc::clone(&counts)).into());
        let name = format!("n{}", self.names);
        Node::on_wire(&self.directory, &self.wire, &name, |rooms| rooms.on_demand(open)).await
    }

    async fn step(&mut self, step: Step) {
        let count = self.watchers.len();
        match step {
            Step::Join(node) => self.join(node).await,
            Step::Leave(at) if count > 0 => {
                let watcher = self.watchers.remove(at % count);
                self.doubt(watcher.client.id);
            }
            Step::ToAll(from) if count > 0 => {
                let ids = self.watchers.iter().map(|watcher| watcher.client.id).collect();
                self.say(from % count, To::All, ids);
            }
            Step::ToTwo(from, to, other) if count > 2 => {
                let [from, mut to, mut other] = [from, to, other].map(|at| at % count);
                // Three different ones.
                while to == from {
                    to = (to + 1) % count;
                }
                while other == from || other == to {
                    other = (other + 1) % count;
                }
                let one = self.watchers[to].client.id;
                match (to % 2 == 0).then(PeerId::random) {
                    Some(unknown) => {
                        self.watchers[from].refused.0 += 1;
                        self.say(from, To::Peers(vec![one, unknown]), Vec::new());
                    }
                    None => {
                        let ids = vec![one, self.watchers[other].client.id];
                        self.say(from, To::Peers(ids.clone()), ids);
                    }
                }
            }
            Step::Replace(at) => {
                let room = self.nodes[at].rooms.lookup("demo");
                let node = self.node().await;
                within(std::mem::replace(&mut self.nodes[at], node).stop()).await;
                // It may have become the home until it was stopped.
                self.lose(at, room.is_some_and(|room| room.home().is_none()));
            }
            Step::KillHome => {
                let Some(at) = (0..3).find(|&at| self.is_home(at)) else { return };
                let node = self.node().await;
                let home = std::mem::replace(&mut self.nodes[at], node);
                home.kill(&self.wire, &self.nodes.iter().collect::<Vec<_>>()).await;
                self.dead.push(home);
                self.lose(at, true);
            }
            Step::Move(to) => {
                let Some(at) = (0..3).find(|&at| self.is_home(at)) else { return };
                let to = self.nodes[to].cluster.node().clone();
                // It may be on its way there, or be there.
                _ = within(self.nodes[at].rooms.move_room("demo", &to)).await;
            }
            _ => {}
        }
    }

    fn is_home(&self, at: usize) -> bool {
        self.nodes[at].rooms.lookup("demo").is_some_and(|room| room.home().is_none())
    }

    /// Notes that the clients of a node are gone, and with the home what it had not passed on.
    fn lose(&mut self, at: usize, is_home: bool) {
        let (gone, stay) = std::mem::take(&mut self.watchers)
            .into_iter()
            .partition(|watcher: &Watcher| watcher.node == at);
        self.watchers = stay;
        gone.iter().for_each(|watcher: &Watcher| self.doubt(watcher.client.id));
        if is_home {
            for watcher in &mut self.watchers {
                watcher.due.clear();
                let untold = watcher.refused.0.saturating_sub(watcher.refused.1);
                watcher.refused.0 -= untold;
                watcher.in_doubt += untold;
            }
        }
    }

    async fn join(&mut self, node: usize) {
        loop {
            let room = self.nodes[node].open("demo").await;
            // One that is empty is about to be closed here.
            let Ok(client) = Client::with_id(&room, PeerId::random()) else {
                within(room.freed()).await;
                continue;
            };
            let mut client = client;
            within(client.join()).await.unwrap();
            let peers = client.expect("authenticated").await["peers"].clone();
            let others = serde_json::from_value(peers).unwrap();
            self.watchers.push(Watcher {
                client,
                node,
                others,
                gone: BTreeSet::new(),
                heard: BTreeMap::new(),
                due: BTreeMap::new(),
                refused: (0, 0),
                in_doubt: 0,
            });
            return;
        }
    }

    /// Notes that a peer has left: it is not known whether the room had the lists with it before.
    fn doubt(&mut self, peer: PeerId) {
        for (from, number, _) in self.lists.extract_if(.., |(_, _, to)| to.contains(&peer)) {
            for watcher in &mut self.watchers {
                watcher.in_doubt += usize::from(watcher.client.id == from);
                if let Some(due) = watcher.due.get_mut(&from) {
                    due.retain(|due| *due != number);
                }
            }
        }
    }

    /// Lets a client speak. Those must hear it whom it knows: a room that was opened anew need not have the members
    /// yet that other nodes will offer.
    fn say(&mut self, from: usize, to: To, mut due: Vec<PeerId>) {
        self.number += 1;
        let sender = &mut self.watchers[from];
        sender.read();
        match &to {
            To::Peers(peers) if !peers.iter().all(|peer| sender.others.contains(peer)) => {
                sender.in_doubt += usize::from(!due.is_empty());
                due.clear();
            }
            _ => due.retain(|peer| sender.others.contains(peer)),
        }
        if let To::Peers(peers) = &to
            && !due.is_empty()
        {
            self.lists.push((self.watchers[from].client.id, self.number, peers.clone()));
        }
        let sender = &self.watchers[from].client;
        let message = RoomMessage::new("number", &json!(self.number)).unwrap().to(to);
        sender.membership.as_ref().unwrap().forward(message).unwrap();
        let from = sender.id;
        for watcher in &mut self.watchers {
            if due.contains(&watcher.client.id) && watcher.client.id != from {
                watcher.due.entry(from).or_default().push(self.number);
            }
        }
    }

    /// Lets all arrive, and compares.
    async fn check(mut self) {
        let members: BTreeSet<_> = self.watchers.iter().map(|watcher| watcher.client.id).collect();
        for watcher in &mut self.watchers {
            watcher.read_all(&members).await;
        }
        let counted = || self.counts.lock().unwrap().values().next_back().cloned();
        common::nodes::until_or(
            // One that has died with all of its peers saw none leave.
            || members.is_empty() || counted().unwrap_or_default() == members,
            || format!("the room has {:?}, and not {members:?}", self.counts.lock().unwrap()),
        )
        .await;
        for node in &self.nodes {
            let Some(room) = node.rooms.lookup("demo") else { continue };
            let shown = || room.peers().into_iter().collect::<BTreeSet<_>>();
            common::nodes::until_or(
                || room.is_closed() || shown() == members,
                || {
                    format!(
                        "{} of {:?} has {:?}, and not {members:?}",
                        node.cluster.node(),
                        room.home(),
                        shown()
                    )
                },
            )
            .await;
        }
        // And nothing more that contradicts it.
        for watcher in &mut self.watchers {
            watcher.read();
            // Of one that came and went, either may still be on its way.
            watcher.read_all(&members).await;
        }
        drop(self.watchers);
        for node in self.nodes.into_iter().chain(self.dead) {
            node.cable.cut(false);
            within(node.stop()).await;
        }
    }
}

/// Longest time until something must come.
const PATIENCE: Duration = Duration::from_secs(30);

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn what_clients_see_is_what_happened_where_homes_die(steps in steps(1, 0), seed in any::<u64>()) {
        happen(steps, seed);
    }

    #[test]
    fn what_clients_see_is_what_happened_where_rooms_move_and_homes_die(steps in steps(1, 2), seed in any::<u64>()) {
        happen(steps, seed);
    }
}

fn happen(steps: Vec<Step>, seed: u64) {
    actix::System::new().block_on(async {
        let mut world = World::new(seed).await;
        for step in steps {
            world.step(step).await;
        }
        world.check().await;
    });
}
