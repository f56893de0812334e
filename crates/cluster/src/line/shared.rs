//! State that the actor of lines and their handles share.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use actix::Recipient;
use bytes::Bytes;
use callboard_supervision::catch_panic;
use futures_util::task::AtomicWaker;
use uuid::Uuid;

use super::bundle;
use super::core::{Ids, Line, LineId, Output};
use super::datagram::{Frame, MAX_SERVICE};
use super::error::LineError;
use super::facts::LineFacts;
use super::messages::WakeUp;
use super::{LineEvent, Taker};
use crate::boot_time::BootTime;
use crate::clock::Clock;
use crate::node_id::NodeId;
use crate::presence::{self, Shared as Presence};
use crate::topics::{self, Topics};
use crate::wire::{Arrival, Wire};

/// State that the actor of lines and their handles share.
///
/// Any thread may feed a line. What it asks for waits for the actor: what is to be sent is put together with all else
/// that goes to the same node, and what the services must be told is told in order and without the lock.
pub(crate) struct Shared {
    here: NodeId,
    process: Uuid,
    clock: Clock,
    wire: Arc<dyn Wire>,
    /// What gets the datagrams that are no line's.
    topics: Arc<Topics>,
    presence: Arc<Presence>,
    state: Mutex<State>,
    services: Mutex<BTreeMap<&'static str, Service>>,
    numbers: AtomicU64,
    /// Wakes the actor up to send.
    sender: AtomicWaker,
    /// Datagrams that could not be read.
    malformed: AtomicU64,
}

struct State {
    ids: Ids,
    lines: BTreeMap<NodeId, Line>,
    /// Datagrams that are about to be sent. Those of a line are in its window, or answer what has come of it.
    unsent: BTreeMap<NodeId, Vec<Bytes>>,
    /// What the services must be told.
    untold: VecDeque<(NodeId, Output)>,
    /// Instance of the actor that runs, and how it is woken up.
    actor: Option<(u64, Recipient<WakeUp>)>,
    /// Whether this process is known to be the one of its node's name.
    entered: bool,
    /// Time when the actor looks at the lines next.
    wakes: Option<BootTime>,
    /// It is woken up already.
    woken: bool,
}

struct Service {
    number: u64,
    taker: Arc<Taker>,
    /// Whether it has been told of the lines that there are.
    begun: bool,
}

impl Shared {
    pub(crate) fn new(
        here: NodeId,
        process: Uuid,
        clock: Clock,
        wire: Arc<dyn Wire>,
        (topics, presence): (Arc<Topics>, Arc<Presence>),
    ) -> Self {
        let state = State {
            ids: Ids::new(process),
            lines: BTreeMap::new(),
            unsent: BTreeMap::new(),
            untold: VecDeque::new(),
            actor: None,
            entered: false,
            wakes: None,
            woken: false,
        };
        Self {
            here,
            process,
            clock,
            wire,
            topics,
            presence,
            state: Mutex::new(state),
            services: Mutex::default(),
            numbers: AtomicU64::new(0),
            sender: AtomicWaker::new(),
            malformed: AtomicU64::new(0),
        }
    }

    pub(super) fn here(&self) -> &NodeId {
        &self.here
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    /// Adds a service, and returns the number of its taker; none if it has one.
    pub(super) fn serve(&self, service: &'static str, taker: Arc<Taker>) -> Option<u64> {
        let mut services = lock(&self.services);
        if !(1..=MAX_SERVICE).contains(&service.len()) || services.contains_key(service) {
            return None;
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        services.insert(service, Service { number, taker, begun: false });
        drop(services);
        self.state().wake();
        Some(number)
    }

    pub(super) fn end_service(&self, service: &str, number: u64) {
        let mut services = lock(&self.services);
        if services.get(service).is_some_and(|service| service.number == number) {
            services.remove(service);
        }
    }

    pub(super) fn send(
        &self,
        to: &NodeId,
        line: Option<LineId>,
        service: &'static str,
        body: Bytes,
    ) -> Result<(), LineError> {
        let send = |core: &mut Line, now| core.send(now, line, service, body);
        self.with(to, By::Handle, send).unwrap_or_else(|| {
            if line.is_none() {
                self.want(to);
            }
            Err(LineError::Down)
        })
    }

    pub(super) fn connect(&self, to: &NodeId) {
        if self.with(to, By::Handle, Line::open).is_none() {
            self.want(to);
        }
    }

    /// Notes that a line is to be opened once lines run.
    fn want(&self, to: &NodeId) {
        if *to != self.here {
            self.state().line(to).want();
        }
    }

    pub(super) fn keep(&self, to: &NodeId) {
        if *to == self.here {
            return;
        }
        // While lines do not run, it is opened when they do.
        self.state().line(to).add_keeper();
        self.with(to, By::Handle, Line::tend_kept);
    }

    pub(super) fn release(&self, to: &NodeId) {
        if let Some(line) = self.state().lines.get_mut(to) {
            line.release();
        }
    }

    pub(super) fn up(&self, to: &NodeId) -> Option<(LineId, Uuid)> {
        self.state().lines.get(to)?.up()
    }

    pub(super) fn facts(&self) -> Vec<LineFacts> {
        self.state().lines.iter().map(|(node, line)| LineFacts::of(node, line)).collect()
    }

    pub(super) fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed) + self.topics.malformed() + self.presence.malformed()
    }

    /// Notes that this process has entered the cluster under its node's name, or that another process has.
    pub(crate) fn set_entered(&self, entered: bool) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.entered, entered);
        if before != entered {
            state.wake();
        }
    }

    /// Notes that a node's session is of this process now, and whether it runs.
    pub(crate) fn handle_session(&self, node: &NodeId, process: Uuid, runs: bool) {
        if *node == self.here {
            if runs && process != self.process {
                self.set_entered(false);
            }
            return;
        }
        if self.state().lines.contains_key(node) {
            self.with(node, By::Handle, |line, now| line.handle_session(now, process, runs));
        }
    }

    /// Begins with an instance of the actor, and returns its number. What an earlier instance had is over.
    pub(super) fn attach(&self, actor: Recipient<WakeUp>) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.close();
        (state.actor, state.woken) = (Some((number, actor)), false);
        drop(state);
        self.transmit();
        number
    }

    /// Ends with an instance of the actor: all lines end, if no later instance has begun.
    pub(super) fn detach(&self, instance: u64) {
        let mut state = self.state();
        if !state.is_present(instance) {
            return;
        }
        state.actor = None;
        state.close();
        drop(state);
        self.transmit();
        self.tell();
    }

    /// Does what is due. Returns when the next is; none if a later instance of the actor has begun.
    pub(super) fn tend(&self, instance: u64) -> Option<Option<BootTime>> {
        let now = self.clock.boot();
        let mut state = self.state();
        if !state.is_present(instance) {
            return None;
        }
        if state.entered {
            let nodes: Vec<NodeId> = state.lines.keys().cloned().collect();
            for node in nodes {
                state.feed(&node, |line| line.handle_timeout(now));
            }
        } else {
            state.close();
        }
        state.lines.retain(|_, line| !line.is_idle());
        state.unsent.retain(|_, datagrams| !datagrams.is_empty());
        state.woken = false;
        state.wakes = state.lines.values().filter_map(Line::poll_timeout).min();
        let wakes = state.wakes;
        drop(state);
        self.transmit();
        self.tell();
        Some(wakes.into_iter().chain(self.presence.tend()).min())
    }

    /// Handles what has arrived.
    pub(super) fn arrived(&self, instance: u64, Arrival { from, datagram }: Arrival) {
        if from == self.here || !self.state().is_present(instance) {
            return;
        }
        match datagram.first() {
            Some(&topics::FORMAT) => return self.topics.arrived(from, datagram),
            Some(&presence::FORMAT) => return self.presence.arrived(&from, datagram),
            _ => {}
        }
        let mut malformed = None;
        self.with(&from, By::Actor, |line, now| {
            for datagram in bundle::unpack(datagram) {
                match datagram {
                    Ok(datagram) => line.handle_datagram(now, datagram),
                    Err(error) => malformed = Some(error),
                }
            }
        });
        if let Some(error) = malformed {
            self.malformed.fetch_add(1, Ordering::Relaxed);
            log::debug!("a datagram of node {from} cannot be read: {error}");
        }
        self.transmit();
        self.tell();
    }

    /// Feeds the line to a node, and wakes the actor up if it must do something. None if lines do not run.
    fn with<R>(
        &self,
        to: &NodeId,
        by: By,
        input: impl FnOnce(&mut Line, BootTime) -> R,
    ) -> Option<R> {
        let now = self.clock.boot();
        let mut state = self.state();
        if !state.entered || state.actor.is_none() || *to == self.here {
            return None;
        }
        let (result, due) = state.feed(to, |line| (input(line, now), line.poll_timeout()));
        let earlier = due.is_some_and(|due| state.wakes.is_none_or(|wakes| due < wakes));
        if earlier || (by == By::Handle && !state.untold.is_empty()) {
            state.wake();
        }
        let sends =
            by == By::Handle && state.unsent.get(to).is_some_and(|unsent| !unsent.is_empty());
        drop(state);
        if sends {
            self.sender.wake();
        }
        Some(result)
    }

    /// Sends what waits for it, and does so again when this task is woken up. Called by the actor alone.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) {
        self.sender.register(cx.waker());
        self.transmit();
    }

    /// Sends what waits for it. Called by the actor alone.
    fn transmit(&self) {
        let mut state = self.state();
        let waiting = state.unsent.iter_mut().filter(|(_, datagrams)| !datagrams.is_empty());
        let waiting: Vec<_> =
            waiting.map(|(node, datagrams)| (node.clone(), take(datagrams))).collect();
        drop(state);
        for (node, datagrams) in waiting {
            let packed = bundle::pack(&datagrams);
            packed.into_iter().for_each(|datagram| self.wire.send(&self.here, &node, datagram));
        }
    }

    /// Tells the services what they have not been told. Called by the actor alone.
    fn tell(&self) {
        self.begin_services();
        loop {
            // A service that is told may send, and may serve another.
            let untold = take(&mut self.state().untold);
            if untold.is_empty() {
                return;
            }
            for (node, output) in untold {
                self.tell_one(node, output);
            }
        }
    }

    fn tell_one(&self, node: NodeId, output: Output) {
        let services = lock(&self.services);
        let taker_of = |(name, service): (&&'static str, &Service)| {
            service.begun.then(|| (*name, Arc::clone(&service.taker)))
        };
        if let Output::Frame(_, _, frame) = &output {
            let meant = services.iter().find(|(name, _)| frame.service == name.as_bytes());
            let taker = meant.and_then(taker_of);
            drop(services);
            if let (Some((name, taker)), Some(event)) = (taker, event(node, output)) {
                call(name, &*taker, event);
            }
            return;
        }
        let takers: Vec<_> = services.iter().filter_map(taker_of).collect();
        drop(services);
        let Some(event) = event(node, output) else { return };
        for (name, taker) in takers {
            call(name, &*taker, event.clone());
        }
    }

    /// Tells new services of the lines that are up, as far as the others have been told of them.
    fn begin_services(&self) {
        let mut services = lock(&self.services);
        let new = services.iter_mut().filter(|(_, service)| !service.begun);
        let new: Vec<_> = new
            .map(|(name, service)| {
                service.begun = true;
                (*name, Arc::clone(&service.taker))
            })
            .collect();
        drop(services);
        if new.is_empty() {
            return;
        }
        let state = self.state();
        let untold = |line: LineId| {
            let is_up =
                |(_, output): &(NodeId, Output)| matches!(output, Output::Up(up, _) if *up == line);
            state.untold.iter().any(is_up)
        };
        let ups = state.lines.iter().filter_map(|(node, line)| Some((node.clone(), line.up()?)));
        let ups: Vec<_> = ups.filter(|(_, (line, _))| !untold(*line)).collect();
        drop(state);
        for (name, taker) in new {
            for (node, (line, process)) in ups.clone() {
                call(name, &*taker, LineEvent::Up { node, process, line });
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn is_present(&self, instance: u64) -> bool {
        self.actor.as_ref().is_some_and(|(present, _)| *present == instance)
    }

    /// Feeds the line to a node, and keeps what it sends and what the services must be told.
    fn feed<R>(&mut self, node: &NodeId, input: impl FnOnce(&mut Line) -> R) -> R {
        if !self.lines.contains_key(node) {
            self.line(node);
        }
        let Self { lines, unsent, untold, .. } = self;
        let line = lines.get_mut(node).expect("it was looked for");
        let result = input(line);
        while let Some(output) = line.poll_output() {
            match output {
                Output::Send(datagram) => match unsent.get_mut(node) {
                    Some(waiting) => waiting.push(datagram),
                    None => _ = unsent.insert(node.clone(), vec![datagram]),
                },
                told => untold.push_back((node.clone(), told)),
            }
        }
        result
    }

    fn line(&mut self, node: &NodeId) -> &mut Line {
        let ids = &self.ids;
        self.lines.entry(node.clone()).or_insert_with(|| Line::new(ids.clone()))
    }

    /// Ends all lines.
    fn close(&mut self) {
        let nodes: Vec<NodeId> = self.lines.keys().cloned().collect();
        nodes.iter().for_each(|node| self.feed(node, Line::close));
    }

    fn wake(&mut self) {
        if let Some((_, actor)) = self.actor.as_ref().filter(|_| !self.woken) {
            // One at a time.
            actor.do_send(WakeUp);
            self.woken = true;
        }
    }
}

/// Who feeds a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The actor, which tells the services itself.
    Actor,
    /// A handle, on any thread.
    Handle,
}

/// Returns the event that services are told of this.
fn event(node: NodeId, output: Output) -> Option<LineEvent> {
    match output {
        Output::Up(line, process) => Some(LineEvent::Up { node, process, line }),
        Output::Down(line, process) => Some(LineEvent::Down { node, process, line }),
        Output::Frame(line, process, Frame { body: frame, .. }) => {
            Some(LineEvent::Frame { node, process, line, frame })
        }
        Output::Unreachable => Some(LineEvent::Unreachable { node }),
        Output::Send(_) => None,
    }
}

/// Gives an event to a service. One that panics loses the event, and harms no other.
fn call(name: &str, taker: &Taker, event: LineEvent) {
    if let Err(panic) = catch_panic(name, || taker(event)) {
        log::error!("service {name:?} of lines has panicked: {panic}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No application code runs under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
