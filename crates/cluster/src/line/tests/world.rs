//! Two nodes and the network between them, by a clock that stands until it is moved on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::boot_time::BootTime;
use crate::line::core::{Ids, Line, Output};
use crate::line::datagram::{Datagram, Frame, Kind, MAX_BODY};
use crate::line::error::LineError;
use crate::line::window::{WINDOW_BYTES, WINDOW_FRAMES};

/// Two nodes, 0 and 1, and the datagrams between them.
pub(super) struct World {
    now: BootTime,
    pub(super) nodes: [Node; 2],
    /// Datagrams under way to each node.
    pub(super) under_way: [Vec<Bytes>; 2],
    processes: u128,
    /// Frames that were sent, by the pair of line ids: the sender's, the receiver's.
    sent: BTreeMap<(u64, u64), Vec<u64>>,
    next: u64,
}

/// Node, and what its service was told.
pub(super) struct Node {
    pub(super) line: Line,
    pub(super) process: Uuid,
    /// Line that is up, as the service knows.
    told: Option<Told>,
    /// Own ids of all lines that were up.
    used: BTreeSet<u64>,
    pub(super) ups: usize,
    pub(super) downs: usize,
    pub(super) unreachable: usize,
    /// Frames that were taken, on all lines.
    pub(super) taken: Vec<u64>,
}

struct Told {
    /// Line ids: the other side's, this side's.
    pair: (u64, u64),
    process: Uuid,
    taken: usize,
}

impl World {
    pub(super) fn new() -> Self {
        let node = |process: u128| Node {
            line: Line::new(Ids::new(Uuid::from_u128(process << 96))),
            process: Uuid::from_u128(process << 96),
            told: None,
            used: BTreeSet::new(),
            ups: 0,
            downs: 0,
            unreachable: 0,
            taken: Vec::new(),
        };
        Self {
            now: BootTime::from(Duration::from_secs(1_000)),
            nodes: [node(1), node(2)],
            under_way: [Vec::new(), Vec::new()],
            processes: 2,
            sent: BTreeMap::new(),
            next: 0,
        }
    }

    /// Opens lines until both nodes have the same one.
    pub(super) fn with_line() -> Self {
        let mut world = Self::new();
        world.feed(0, Line::open);
        world.settle();
        assert_eq!((world.nodes[0].ups, world.nodes[1].ups), (1, 1));
        world
    }

    pub(super) fn now(&self) -> BootTime {
        self.now
    }

    pub(super) fn feed<R>(
        &mut self,
        node: usize,
        input: impl FnOnce(&mut Line, BootTime) -> R,
    ) -> R {
        let result = input(&mut self.nodes[node].line, self.now);
        self.collect(node);
        result
    }

    /// Sends the next frame. Returns whether it could be.
    pub(super) fn send(&mut self, node: usize, bytes: usize) -> bool {
        let number = self.next;
        let body = [&number.to_be_bytes()[..], &vec![0; bytes]].concat();
        let sent = self.feed(node, |line, now| line.send(now, None, "test", body.into()));
        let (frames, bytes) = self.nodes[node].line.backlog();
        assert!(frames <= WINDOW_FRAMES && bytes <= WINDOW_BYTES, "{frames} frames, {bytes} bytes");
        if sent.is_ok() {
            self.next += 1;
        } else {
            assert!(bytes < MAX_BODY || matches!(sent, Err(LineError::Full | LineError::Down)));
        }
        sent.is_ok()
    }

    /// Delivers the datagram at this place of those under way; a copy of it may stay.
    pub(super) fn deliver(&mut self, node: usize, place: usize, copy: bool) {
        if self.under_way[node].is_empty() {
            return;
        }
        let place = place % self.under_way[node].len();
        let datagram = if copy {
            self.under_way[node][place].clone()
        } else {
            self.under_way[node].remove(place)
        };
        let datagram = Datagram::decode(datagram).unwrap();
        self.feed(node, |line, now| line.handle_datagram(now, datagram));
    }

    pub(super) fn lose(&mut self, node: usize, place: usize) {
        if !self.under_way[node].is_empty() {
            let place = place % self.under_way[node].len();
            self.under_way[node].remove(place);
        }
    }

    /// Moves the clock on; each node looks at it if `awake`.
    pub(super) fn wait(&mut self, time: Duration, awake: [bool; 2]) {
        self.now = self.now + time;
        for node in [0, 1].into_iter().filter(|node| awake[*node]) {
            self.feed(node, Line::handle_timeout);
        }
    }

    /// Replaces the node's process by another, which knows nothing.
    pub(super) fn restart(&mut self, node: usize) {
        self.processes += 1;
        let process = Uuid::from_u128(self.processes << 96);
        let before = &mut self.nodes[node];
        (before.line, before.process) = (Line::new(Ids::new(process)), process);
        before.told = None;
    }

    /// Restarts the actor alone: all lines end, the process stays.
    pub(super) fn close(&mut self, node: usize) {
        self.feed(node, |line, _| line.close());
    }

    /// Delivers all that is under way, and what follows, in order and without faults, for some seconds.
    pub(super) fn settle(&mut self) {
        self.settle_for(Duration::from_secs(5));
    }

    pub(super) fn settle_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(node) = [0, 1].into_iter().find(|node| !self.under_way[*node].is_empty())
            {
                self.deliver(node, 0, false);
            }
            let due = |node: &Node| node.line.poll_timeout();
            let next = self.nodes.iter().filter_map(due).min().filter(|due| *due < end);
            let wait = next.unwrap_or(end).since(self.now);
            self.wait(wait, [true, true]);
            if next.is_none() {
                return;
            }
        }
    }

    /// Checks what a node is told, and passes on what it sends.
    fn collect(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].line.poll_output() {
            match output {
                Output::Send(datagram) => {
                    self.note(&datagram);
                    self.under_way[1 - node].push(datagram);
                }
                told => self.told(node, told),
            }
        }
    }

    /// Notes a frame that is sent for the first time.
    fn note(&mut self, datagram: &Bytes) {
        let Datagram { from, to, kind } = Datagram::decode(datagram.clone()).unwrap();
        let Kind::Frame(frame) = kind else { return };
        let sent = self.sent.entry((from, to)).or_default();
        let number = content(&frame);
        let place = usize::try_from(frame.number - 1).unwrap();
        assert!(place <= sent.len(), "frame {} after {}", frame.number, sent.len());
        match sent.get(place) {
            Some(before) => assert_eq!(*before, number, "a frame is sent again as another"),
            None => sent.push(number),
        }
    }

    fn told(&mut self, node: usize, output: Output) {
        let this = &mut self.nodes[node];
        match output {
            Output::Up(line, process) => {
                assert!(this.told.is_none(), "up before the line before has ended");
                assert!(this.used.insert(line.0), "a line is up twice");
                let pair = this.line.pair().expect("it is up");
                assert_eq!(pair.1, line.0);
                this.told = Some(Told { pair, process, taken: 0 });
                this.ups += 1;
            }
            Output::Down(line, process) => {
                let told = this.told.take().expect("a line ends that was up");
                assert_eq!((told.pair.1, told.process), (line.0, process));
                this.downs += 1;
            }
            Output::Frame(line, process, frame) => {
                let told = this.told.as_mut().expect("a frame comes of a line that is up");
                assert_eq!((told.pair.1, told.process), (line.0, process));
                let sent = &self.sent[&told.pair];
                assert_eq!(sent.get(told.taken), Some(&content(&frame)), "lost, or twice");
                told.taken += 1;
                this.taken.push(content(&frame));
            }
            Output::Unreachable => this.unreachable += 1,
            Output::Send(_) => unreachable!("it is sent"),
        }
    }
}

fn content(frame: &Frame) -> u64 {
    u64::from_be_bytes(frame.body[..8].try_into().unwrap())
}
