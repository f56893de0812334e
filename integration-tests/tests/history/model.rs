//! Model of a cluster that does everything right, and writes its history.

use std::collections::{BTreeMap, BTreeSet};

use integration_tests::history::{Bounds, Event, FaultKind, Line, OnLapse, Phase, VERSION};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A client comes to a node, or loses its connection and comes back as another peer.
    Join(usize, usize),
    /// A client loses its connection and resumes its session.
    Resume(usize),
    /// A client leaves.
    Out(usize),
    /// A client speaks to all.
    ToAll(usize),
    /// A client speaks to some, itself included; or to some and one that is not there.
    ToList(usize, bool),
    /// A node is killed while a client speaks, and started again.
    Kill(usize, usize),
    /// A node stands still for longer than its hold; what it sends when it goes on is late.
    Pause(usize, usize),
    /// The directory is away.
    Directory,
    /// A node hands over its rooms and clients while one of them speaks.
    Drain(usize, usize),
    /// A room goes to the next node while a client speaks.
    Move(usize, usize),
    /// The wall clock of a node is set.
    Clock(usize),
    /// Time passes, and all agree.
    Calm,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS;
    let node = || 0..NODES.len();
    let one = prop_oneof![
        6 => (client(), node()).prop_map(|(client, node)| Step::Join(client, node)),
        2 => client().prop_map(Step::Resume),
        1 => client().prop_map(Step::Out),
        8 => client().prop_map(Step::ToAll),
        4 => (client(), any::<bool>()).prop_map(|(client, known)| Step::ToList(client, known)),
        1 => (node(), client()).prop_map(|(node, client)| Step::Kill(node, client)),
        1 => (node(), client()).prop_map(|(node, client)| Step::Pause(node, client)),
        1 => Just(Step::Directory),
        1 => (node(), client()).prop_map(|(node, client)| Step::Drain(node, client)),
        1 => (0..ROOMS.len(), client()).prop_map(|(room, client)| Step::Move(room, client)),
        1 => node().prop_map(Step::Clock),
        1 => Just(Step::Calm),
    ];
    proptest::collection::vec(one, 1..60)
}

/// All that can happen, at least once.
pub(crate) fn all_steps() -> Vec<Step> {
    let mut steps: Vec<Step> =
        (0..CLIENTS).map(|client| Step::Join(client, client % NODES.len())).collect();
    let talk = |steps: &mut Vec<Step>| {
        steps.extend((0..CLIENTS).map(Step::ToAll));
        steps.extend((0..CLIENTS).flat_map(|one| [true, false].map(|all| Step::ToList(one, all))));
    };
    for step in [
        Step::Calm,
        Step::Resume(1),
        Step::Join(2, 0),
        Step::Kill(0, 1),
        Step::Calm,
        Step::Pause(1, 2),
        Step::Directory,
        Step::Drain(2, 3),
        Step::Move(0, 4),
        Step::Calm,
        Step::Clock(1),
        Step::Calm,
        Step::Kill(1, 0),
        Step::Resume(1),
        Step::Out(3),
        Step::Calm,
    ] {
        talk(&mut steps);
        steps.push(step);
    }
    steps
}

#[derive(Default)]
struct Client {
    room: usize,
    node: usize,
    peer: Option<String>,
    is_in: bool,
    socket: u64,
    n: u64,
    roster: BTreeSet<String>,
}

struct Room {
    home: usize,
    life: u64,
    epoch: u64,
}

struct Model {
    t: u64,
    lines: Vec<Line>,
    clients: Vec<Client>,
    rooms: Vec<Room>,
    number: u64,
}

/// Returns the history of these steps.
pub(crate) fn history(steps: &[Step]) -> Vec<Line> {
    let mut model = Model {
        // Beyond what a number of JSON has exactly in other languages.
        t: 1 << 54,
        lines: Vec::new(),
        clients: (0..CLIENTS)
            .map(|at| Client { room: at % ROOMS.len(), ..Client::default() })
            .collect(),
        rooms: (0..ROOMS.len()).map(|home| Room { home, life: 1, epoch: 10 }).collect(),
        number: 0,
    };
    model.write("run", Event::Begin { version: VERSION });
    model.write("run", Event::Bounds(Bounds::default()));
    for node in NODES {
        model.write(node, Event::Begin { version: VERSION });
    }
    model.count(Phase::Start);
    (0..ROOMS.len()).for_each(|room| model.opens(room, Vec::new()));
    for step in steps {
        model.step(*step);
        model.prove();
    }
    model.calm();
    model.count(Phase::End);
    // Until all is overdue that has not come.
    model.t += 60_000 * MILLISECOND;
    model.calm();
    model.lines
}

impl Model {
    fn write(&mut self, by: &str, event: Event) {
        self.t += MILLISECOND;
        self.lines.push(Line { t: self.t, by: by.to_owned(), event });
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Returns the clients that are in a room.
    fn members(&self, room: usize) -> Vec<usize> {
        (0..CLIENTS)
            .filter(|at| self.clients[*at].room == room && self.clients[*at].is_in)
            .collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join(client, node) => {
                self.lose(client, None);
                self.comes(client, node);
            }
            Step::Resume(client) if self.clients[client].is_in => {
                let node = self.clients[client].node;
                self.moves(client, node);
            }
            Step::Out(client) if self.clients[client].is_in => {
                self.write(&name(client), Event::Out);
                self.clients[client].is_in = false;
                self.departs(client);
            }
            Step::ToAll(client) => self.say(client, None),
            Step::ToList(client, known) => {
                let room = self.clients[client].room;
                let mut list: Vec<String> = self
                    .members(room)
                    .into_iter()
                    .filter_map(|at| self.clients[at].peer.clone())
                    .collect();
                if !known {
                    list.push("stranger".to_owned());
                }
                self.say(client, Some(list));
            }
            Step::Kill(node, client) => self.kill(node, client),
            Step::Pause(node, client) => self.pause(node, client),
            Step::Directory => {
                let id = self.fault(FaultKind::Directory, Vec::new());
                for node in NODES {
                    self.write("run", Event::Health { node: node.to_owned(), status: Some(200) });
                }
                (0..CLIENTS).for_each(|client| self.say(client, None));
                self.write("run", Event::Healed { id });
            }
            Step::Drain(node, client) => self.drain(node, client),
            Step::Move(room, client) => {
                let home = self.rooms[room].home;
                let next = (home + 1) % NODES.len();
                let id = self.gentle(FaultKind::Move, &[home, next]);
                self.move_room(room, next, client);
                self.healed(id);
            }
            Step::Clock(node) => {
                let id = self.gentle(FaultKind::Clock, &[node]);
                (0..CLIENTS).for_each(|client| self.say(client, None));
                self.healed(id);
            }
            Step::Calm => self.calm(),
            Step::Resume(_) | Step::Out(_) => {}
        }
    }

    fn comes(&mut self, client: usize, node: usize) {
        let peer = format!("P{}", self.next());
        let room = self.clients[client].room;
        let socket = self.asks(client, node);
        let (home, life) = (self.rooms[room].home, self.rooms[room].life);
        let admitted = Event::Admitted { room: ROOMS[room].to_owned(), life, peer: peer.clone() };
        self.write(NODES[home], admitted);
        let members = self.members(room);
        for other in &members {
            self.write(&name(*other), Event::Joined { peer: peer.clone() });
            self.clients[*other].roster.insert(peer.clone());
        }
        let peers: Vec<String> =
            members.iter().filter_map(|other| self.clients[*other].peer.clone()).collect();
        let entered = Event::In {
            socket,
            room: ROOMS[room].to_owned(),
            peer: peer.clone(),
            peers: peers.clone(),
        };
        self.write(&name(client), entered);
        let client = &mut self.clients[client];
        (client.peer, client.is_in, client.node) = (Some(peer), true, node);
        client.roster = peers.into_iter().collect();
    }

    fn asks(&mut self, client: usize, node: usize) -> u64 {
        self.clients[client].socket += 1;
        let socket = self.clients[client].socket;
        let room = ROOMS[self.clients[client].room].to_owned();
        self.write(&name(client), Event::Asks { socket, room, node: NODES[node].to_owned() });
        socket
    }

    /// A client takes its session to a node.
    fn moves(&mut self, client: usize, node: usize) {
        let before = self.clients[client].socket;
        let socket = self.asks(client, node);
        let peer = self.clients[client].peer.clone().expect("it is in");
        let token = format!("T{}", self.next());
        // The client may read the one end before the other.
        let lost = Event::Lost { socket: before, code: Some(1000) };
        let resumed = Event::Resumed { socket, peer, token };
        let [first, second] =
            if socket.is_multiple_of(2) { [resumed, lost] } else { [lost, resumed] };
        self.write(&name(client), first);
        self.write(&name(client), second);
        self.clients[client].node = node;
    }

    /// A client's connection is lost, and its peer ends.
    fn lose(&mut self, client: usize, code: Option<u16>) {
        if self.clients[client].is_in {
            let socket = self.clients[client].socket;
            self.write(&name(client), Event::Lost { socket, code });
            self.clients[client].is_in = false;
            self.departs(client);
        }
    }

    fn departs(&mut self, client: usize) {
        let room = self.clients[client].room;
        let Some(peer) = self.clients[client].peer.take() else { return };
        let (home, life) = (self.rooms[room].home, self.rooms[room].life);
        let departed = Event::Departed { room: ROOMS[room].to_owned(), life, peer: peer.clone() };
        self.write(NODES[home], departed);
        for other in self.members(room) {
            if self.clients[other].roster.remove(&peer) {
                self.write(&name(other), Event::Left { peer: peer.clone() });
            }
        }
    }

    fn sends(&mut self, client: usize, to: Option<Vec<String>>) -> u64 {
        self.clients[client].n += 1;
        let n = self.clients[client].n;
        self.write(&name(client), Event::Sent { n, to });
        n
    }

    fn say(&mut self, client: usize, to: Option<Vec<String>>) {
        if !self.clients[client].is_in {
            return;
        }
        let n = self.sends(client, to.clone());
        if to.iter().flatten().any(|peer| peer == "stranger") {
            self.write(
                &name(client),
                Event::Told { what: "No such peer".to_owned(), peers: vec!["stranger".to_owned()] },
            );
            return;
        }
        self.arrives(client, n, to.is_some());
    }

    fn arrives(&mut self, client: usize, n: u64, to_itself: bool) {
        let from = self.clients[client].peer.clone().expect("it is in");
        for other in self.members(self.clients[client].room) {
            if other != client || to_itself {
                let got = Event::Got { from: from.clone(), client: name(client), n };
                self.write(&name(other), got);
            }
        }
    }

    fn opens(&mut self, room: usize, members: Vec<String>) {
        let Room { home, life, epoch } = self.rooms[room];
        let room = ROOMS[room].to_owned();
        self.write(NODES[home], Event::Opened { room, life, epoch, members });
    }

    /// Each room shows that it is there.
    fn prove(&mut self) {
        for (at, room) in ROOMS.iter().enumerate() {
            let (node, epoch) = (NODES[self.rooms[at].home], self.rooms[at].epoch);
            self.write(node, Event::Door { room: (*room).to_owned(), epoch });
            let on_lapse = OnLapse::Close;
            self.write(node, Event::Live { room: (*room).to_owned(), epoch, on_lapse });
        }
    }

    fn fault(&mut self, kind: FaultKind, nodes: Vec<String>) -> u64 {
        let id = self.next();
        // A room is spared where neither it nor its clients are hit.
        let spares = ROOMS.iter().enumerate().filter(|(room, _)| {
            let hit = |node: usize| nodes.iter().any(|one| one == NODES[node]);
            !hit(self.rooms[*room].home)
                && !self.members(*room).iter().any(|at| hit(self.clients[*at].node))
        });
        let spares = spares.map(|(_, room)| (*room).to_owned()).collect();
        self.write("run", Event::Fault { id, kind, nodes, spares, says: format!("{kind:?}") });
        id
    }

    /// What the client says meanwhile is lost, if the node had it.
    fn kill(&mut self, node: usize, client: usize) {
        let lost = self.clients[client].is_in && self.rooms[self.clients[client].room].home == node;
        if lost {
            self.sends(client, None);
        }
        let id = self.fault(FaultKind::Kill, vec![NODES[node].to_owned()]);
        self.take_over(node, &[]);
        self.write(NODES[node], Event::Begin { version: VERSION });
        self.count(Phase::Start);
        self.write("run", Event::Healed { id });
    }

    /// Others take the rooms and clients of a node that is gone.
    fn take_over(&mut self, node: usize, stay: &[usize]) {
        let next = (node + 1) % NODES.len();
        let gone: Vec<usize> = (0..CLIENTS)
            .filter(|at| {
                let client = &self.clients[*at];
                let hit = client.node == node || self.rooms[client.room].home == node;
                client.is_in && hit && !stay.contains(at)
            })
            .collect();
        for client in &gone {
            let socket = self.clients[*client].socket;
            self.write(&name(*client), Event::Lost { socket, code: Some(1012) });
            self.clients[*client].is_in = false;
        }
        let rooms: Vec<usize> =
            (0..ROOMS.len()).filter(|at| self.rooms[*at].home == node).collect();
        for client in &gone {
            if rooms.contains(&self.clients[*client].room) {
                // Its room knew nothing more.
                self.clients[*client].peer = None;
            } else {
                self.departs(*client);
            }
        }
        for room in rooms {
            let room_now = &mut self.rooms[room];
            (room_now.home, room_now.epoch) = (next, room_now.epoch + 3);
            room_now.life += 1;
            self.opens(room, Vec::new());
        }
        for client in gone {
            self.comes(client, next);
        }
    }

    fn pause(&mut self, node: usize, client: usize) {
        let other = (0..CLIENTS).find(|at| {
            let (one, two) = (&self.clients[*at], &self.clients[client]);
            *at != client && one.is_in && two.is_in && one.room == two.room
        });
        let id = self.fault(FaultKind::Pause, vec![NODES[node].to_owned()]);
        let hit = self.clients[client].node == node;
        let late = (hit && other.is_some()).then(|| self.sends(client, None));
        self.t += 20_000 * MILLISECOND;
        self.write("run", Event::Healed { id });
        if let Some(n) = late {
            self.arrives(client, n, false);
        }
    }

    fn drain(&mut self, node: usize, client: usize) {
        let next = (node + 1) % NODES.len();
        let id = self.gentle(FaultKind::Drain, &[node]);
        for room in 0..ROOMS.len() {
            if self.rooms[room].home == node {
                self.move_room(room, next, client);
            }
        }
        for client in 0..CLIENTS {
            if self.clients[client].is_in && self.clients[client].node == node {
                self.write(
                    &name(client),
                    Event::Told { what: "moved".to_owned(), peers: Vec::new() },
                );
                self.say(client, None);
                self.moves(client, next);
                self.say(client, None);
            }
        }
        self.healed(id);
    }

    /// A room goes to a node, with its members, and with what a client says meanwhile.
    fn move_room(&mut self, room: usize, next: usize, client: usize) {
        let waits = self.clients[client].is_in && self.clients[client].room == room;
        let n = waits.then(|| self.sends(client, None));
        let Room { life, home, .. } = self.rooms[room];
        self.write(NODES[home], Event::Closed { room: ROOMS[room].to_owned(), life });
        let now = &mut self.rooms[room];
        (now.home, now.epoch, now.life) = (next, now.epoch + 1, now.life + 1);
        let members = self.members(room).into_iter();
        let members = members.filter_map(|at| self.clients[at].peer.clone()).collect();
        self.opens(room, members);
        if let Some(n) = n {
            self.arrives(client, n, false);
        }
    }

    /// A fault begins that costs nothing.
    fn gentle(&mut self, kind: FaultKind, nodes: &[usize]) -> u64 {
        let id = self.fault(kind, nodes.iter().map(|node| NODES[*node].to_owned()).collect());
        self.sessions(id);
        id
    }

    fn healed(&mut self, id: u64) {
        self.sessions(id);
        self.write("run", Event::Healed { id });
    }

    /// Sessions have ended before this fault, and none ends now.
    fn sessions(&mut self, ended: u64) {
        for node in NODES {
            self.write("run", Event::Sessions { node: node.to_owned(), ended });
        }
    }

    fn calm(&mut self) {
        self.t += 5_000 * MILLISECOND;
        self.write("run", Event::Calm);
    }

    fn count(&mut self, phase: Phase) {
        let of = BTreeMap::from([("descriptors".to_owned(), 20), ("actors".to_owned(), 7)]);
        for node in NODES {
            self.write(node, Event::Counts { phase, of: of.clone() });
        }
    }
}

fn name(client: usize) -> String {
    format!("client {client}")
}

pub(crate) const MILLISECOND: u64 = 1_000_000;
const CLIENTS: usize = 8;
const NODES: [&str; 3] = ["a1", "b2", "c3"];
const ROOMS: [&str; 2] = ["demo", "other"];
