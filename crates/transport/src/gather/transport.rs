//! Transport of one component: everything that it sends and receives goes through it.
#![allow(clippy::disallowed_methods, reason = "the driver tells the gatherer the time")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::Stream;
use futures_util::future::{AbortHandle, abortable};
use is::Candidate;
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc};

use super::server_connection::{ServerConnection, ServerEvent};
use super::{
    CandidateError, Gatherer, GathererOptions, GathererOutput, IceServer, IceTransportPolicy,
    LocalCandidate, check_remote,
};
use crate::Label;
use crate::mux::{
    AddUfragError, CachedAnswer, Datagram, DropReason, Inbox, MuxHandle, PacketClass,
    ReflexiveCache, Route, RouteOptions, SendOutcome, Stun, Transmit, note_reader,
};

/// Options of a component's transport.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// STUN and TURN servers. Default: none.
    pub servers: Vec<IceServer>,
    /// Kinds of candidates to gather. Default: all.
    pub policy: IceTransportPolicy,
    /// Longest wait for a STUN server. Default: 5 s.
    pub stun_timeout: Duration,
    /// Longest wait for a TURN server. Default: 10 s.
    pub turn_timeout: Duration,
    /// Limits of the receive queue.
    pub route: RouteOptions,
    /// Configuration of TLS for `turns:` servers. Default: trust the certificates that the system trusts.
    pub tls: Option<Arc<ClientConfig>>,
    /// Prefix of log lines. Default: none.
    pub label: Label,
}

impl Default for TransportOptions {
    fn default() -> Self {
        let GathererOptions { servers, policy, stun_timeout, turn_timeout, .. } =
            GathererOptions::default();
        Self {
            servers,
            policy,
            stun_timeout,
            turn_timeout,
            route: RouteOptions::default(),
            tls: None,
            label: Label::default(),
        }
    }
}

/// Event of a [`Transport`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "an owner must handle each")]
pub enum TransportEvent {
    /// A datagram was received, through the mux or through a relay.
    Datagram(Datagram),
    /// A candidate was found.
    Candidate(LocalCandidate),
    /// A server gave no candidate.
    CandidateError(CandidateError),
    /// Gathering is complete.
    GatheringDone,
    /// The relay of a candidate is lost. It is tried again, and reported as a new candidate if that succeeds.
    CandidateLost(Candidate),
}

/// Transport of one component: its route in the mux, its gatherer, its relays.
///
/// It belongs to one thread. Dropping it ends all of them; allocations on TURN servers are released, as far as that
/// takes no longer than a second.
pub struct Transport {
    shared: Rc<Shared>,
    /// Task that serves the gatherer; only with servers.
    task: Option<AbortHandle>,
}

/// Events of a [`Transport`]: a stream without end.
pub struct TransportEvents {
    inbox: Inbox,
    shared: Rc<Shared>,
    /// Whether datagrams come before events next: neither may keep the other from being delivered.
    datagrams_first: bool,
    /// Items left to deliver before other tasks of this thread get their turn.
    turn: usize,
}

struct Shared {
    route: Route,
    gatherer: RefCell<Gatherer>,
    connections: RefCell<Vec<ServerConnection>>,
    /// `None` without TURN servers.
    server_events: Option<mpsc::Sender<ServerEvent>>,
    events: RefCell<VecDeque<TransportEvent>>,
    reader: RefCell<Option<Waker>>,
    /// Wakes the task, so that it reads the gatherer's time-out again.
    wake_task: Notify,
    /// Time at which the task will wake up in any case.
    next_wake_up: Cell<Option<Instant>>,
    /// Whether it has gathered before.
    gathered: Cell<bool>,
    /// Results for the gatherer that the task passes on: resolved names, and answers that other connections have
    /// received.
    lookups: RefCell<VecDeque<LookupResult>>,
    tls: Option<Arc<ClientConfig>>,
}

enum LookupResult {
    Resolved(usize, Result<Vec<SocketAddr>, String>),
    /// Answer of this server about this address that another connection received; `None` if that connection gave up.
    Mapped(SocketAddr, SocketAddr, Option<SocketAddr>),
}

impl Transport {
    /// Opens a transport in this mux. It gathers when [`gather`](Self::gather) is called, not before. Call it on an
    /// actix thread.
    pub fn open(mux: &MuxHandle, options: TransportOptions) -> (Self, TransportEvents) {
        let TransportOptions { servers, policy, stun_timeout, turn_timeout, route, tls, label } =
            options;
        let (route, inbox) = mux.open_route(route);
        let route = route.with_label(label.clone());
        // Most connections of a server have no STUN or TURN servers; then no task is needed.
        let served = !servers.is_empty();
        let turn = servers.iter().flat_map(|server| &server.urls).any(|url| url.scheme.is_turn());
        let (server_events, to_us) = turn.then(|| mpsc::channel(SERVER_EVENTS)).unzip();
        let gatherer = Gatherer::new(GathererOptions {
            hosts: Vec::new(),
            servers,
            policy,
            stun_timeout,
            turn_timeout,
            label,
        });
        let shared = Rc::new(Shared {
            route,
            gatherer: RefCell::new(gatherer),
            connections: RefCell::default(),
            server_events,
            events: RefCell::default(),
            reader: RefCell::default(),
            wake_task: Notify::new(),
            next_wake_up: Cell::default(),
            gathered: Cell::default(),
            lookups: RefCell::default(),
            tls,
        });
        let task = served.then(|| {
            let (task, handle) = abortable(serve(Rc::clone(&shared), to_us));
            actix::spawn(task);
            handle
        });
        let events = TransportEvents {
            inbox,
            shared: Rc::clone(&shared),
            datagrams_first: true,
            turn: TURN,
        };
        (Self { shared, task }, events)
    }

    /// Starts gathering; starts it again after an ICE restart. See [`Gatherer::gather`].
    pub fn gather(&self) {
        let mux = self.shared.route.mux();
        // At a restart, this machine may have moved to another network just now.
        let hosts = match self.shared.gathered.replace(true) {
            true => mux.host_addresses(),
            false => mux.recent_host_addresses(),
        };
        self.shared.drive(|gatherer, now| gatherer.gather(now, hosts));
    }

    /// Receives STUN requests for this local `ufrag`; see [`Route::add_ufrag`].
    ///
    /// # Errors
    /// [`AddUfragError`] if it belongs to another route.
    pub fn add_ufrag(&self, ufrag: &str) -> Result<(), AddUfragError> {
        self.shared.route.add_ufrag(ufrag)
    }

    /// Stops receiving STUN requests for this `ufrag`.
    pub fn remove_ufrag(&self, ufrag: &str) {
        self.shared.route.remove_ufrag(ufrag);
    }

    /// Receives everything from this address, which ICE has authenticated; see [`Route::validate`].
    pub fn validate(&self, remote: SocketAddr) {
        self.shared.route.validate(remote);
    }

    /// Stops receiving what comes from this address.
    pub fn forget(&self, remote: SocketAddr) {
        self.shared.route.forget(remote);
    }

    /// Sends: from a relayed address through its relay, from any other through the mux. It never waits.
    pub fn send(&self, transmit: Transmit<&[u8]>) -> SendOutcome {
        self.send_segments(transmit, transmit.contents.len())
    }

    /// Sends several datagrams of `segment_size` bytes; the last may be shorter; see
    /// [`Route::send_segments`].
    pub fn send_segments(&self, transmit: Transmit<&[u8]>, segment_size: usize) -> SendOutcome {
        if check_remote(transmit.destination).is_err() {
            return SendOutcome::Dropped(DropReason::NoSocket);
        }
        // Most connections have no relay, and most datagrams of those that have one do not take it.
        let relayed = self.shared.gatherer.borrow().has_relay(transmit.source)
            && self.shared.drive(|gatherer, now| {
                transmit.contents.chunks(segment_size.max(1)).all(|datagram| {
                    gatherer.send(now, transmit.source, transmit.destination, datagram)
                })
            });
        if relayed {
            SendOutcome::Sent
        } else {
            self.shared.route.send_segments(transmit, segment_size)
        }
    }

    /// Returns the mux to which this transport belongs.
    pub fn mux(&self) -> &MuxHandle {
        self.shared.route.mux()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // The connections to the servers send what is queued, and end.
        self.shared.drive(|gatherer, now| gatherer.close(now));
        self.shared.connections.borrow_mut().clear();
        self.shared.route.close();
        self.task.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("route", &self.shared.route.id()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TransportEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.inbox.len();
        f.debug_struct("TransportEvents").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl TransportEvents {
    /// Returns the next event, or notes whom to wake when there is one: [`Stream::poll_next`] for a stream without end.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<TransportEvent> {
        if self.turn == 0 {
            self.turn = TURN;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn -= 1;
        self.datagrams_first = !self.datagrams_first;
        // An answer among the datagrams may produce an event, so these are looked at once more.
        for datagrams in [self.datagrams_first, !self.datagrams_first, false] {
            if datagrams {
                let inbox = &mut self.inbox;
                while let Poll::Ready(Some(datagram)) = Pin::new(&mut *inbox).poll_next(context) {
                    if !self.shared.is_answer(&datagram) {
                        return Poll::Ready(TransportEvent::Datagram(datagram));
                    }
                }
            } else if let Some(event) = self.shared.next_event() {
                return Poll::Ready(event);
            }
        }
        note_reader(&mut self.shared.reader.borrow_mut(), context.waker());
        self.turn = TURN;
        Poll::Pending
    }
}

impl Stream for TransportEvents {
    type Item = TransportEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TransportEvent>> {
        self.get_mut().poll_event(cx).map(Some)
    }
}

impl Shared {
    /// Lets the gatherer do something, and carries out its outputs. All calls of the gatherer go through here.
    fn drive<R>(self: &Rc<Self>, call: impl FnOnce(&mut Gatherer, Instant) -> R) -> R {
        let now = Instant::now();
        let result = call(&mut self.gatherer.borrow_mut(), now);
        let mut changed = false;
        loop {
            let output = self.gatherer.borrow_mut().poll_output();
            let Some(output) = output else { break };
            changed = true;
            self.carry_out(now, output);
        }
        // Without output it may still have moved the time-out forward.
        if changed || self.is_due_earlier(now) {
            self.wake_task.notify_one();
        }
        result
    }

    fn is_due_earlier(&self, now: Instant) -> bool {
        let due = self.gatherer.borrow_mut().poll_timeout(now);
        due.is_some_and(|due| self.next_wake_up.get().is_none_or(|at| due < at))
    }

    fn carry_out(self: &Rc<Self>, now: Instant, output: GathererOutput) {
        match output {
            GathererOutput::Resolve { server, host, port } => self.resolve(server, host, port),
            GathererOutput::LookUp { host, server } => self.look_up(now, host, server),
            GathererOutput::Mapped { host, server, mapped } => {
                self.cache().store(now, host, server, mapped)
            }
            GathererOutput::Transmit(transmit) => {
                self.route.send(transmit.borrow());
            }
            GathererOutput::Open { relay, transport, server } => {
                if let Some(tell) = self.server_events.clone() {
                    let connection =
                        ServerConnection::open(relay, transport, server, self.tls.clone(), tell);
                    self.connections.borrow_mut().push(connection);
                }
            }
            GathererOutput::TransmitToRelay { relay, contents } => {
                if let Some(connection) =
                    self.connections.borrow().iter().find(|connection| connection.relay == relay)
                {
                    // If the connection is too slow for the relayed data, some of it is lost.
                    _ = connection.send(contents);
                }
            }
            GathererOutput::Close { relay } => {
                self.connections.borrow_mut().retain(|connection| connection.relay != relay)
            }
            GathererOutput::Received { source, destination, contents } => {
                let class = match PacketClass::of(&contents) {
                    // An application's payload may begin with any byte.
                    PacketClass::Stun if Stun::parse(&contents).is_none() => PacketClass::Other,
                    class => class,
                };
                let datagram = Datagram { source, destination, contents, class, received: now };
                self.tell(TransportEvent::Datagram(datagram));
            }
            GathererOutput::Candidate(found) => self.tell(TransportEvent::Candidate(found)),
            GathererOutput::CandidateError(error) => {
                self.tell(TransportEvent::CandidateError(error))
            }
            GathererOutput::CandidateLost(candidate) => {
                self.tell(TransportEvent::CandidateLost(candidate))
            }
            GathererOutput::Done => self.tell(TransportEvent::GatheringDone),
        }
    }

    fn tell(&self, event: TransportEvent) {
        let mut events = self.events.borrow_mut();
        let relayed = |event: &TransportEvent| matches!(event, TransportEvent::Datagram(_));
        if relayed(&event) && events.len() >= EVENTS {
            // The oldest datagram makes room; an event of the gatherer is never dropped.
            if let Some(at) = events.iter().position(relayed) {
                events.remove(at);
            }
        }
        events.push_back(event);
        drop(events);
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    fn next_event(&self) -> Option<TransportEvent> {
        let mut events = self.events.borrow_mut();
        let event = events.pop_front();
        // There may be no other event for a long time: free the memory.
        if let Some(TransportEvent::GatheringDone) = event {
            events.shrink_to_fit();
        }
        event
    }

    /// Returns whether a datagram is a STUN server's answer to the gatherer.
    fn is_answer(self: &Rc<Self>, datagram: &Datagram) -> bool {
        datagram.class == PacketClass::Stun
            && self.drive(|gatherer, now| {
                gatherer.handle_datagram(now, datagram.source, &datagram.contents)
            })
    }

    fn resolve(self: &Rc<Self>, server: usize, host: String, port: u16) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self
                .take_lookup(LookupResult::Resolved(server, Ok(vec![SocketAddr::new(ip, port)])));
        }
        let this = Rc::downgrade(self);
        actix::spawn(async move {
            let addresses = tokio::net::lookup_host((host.as_str(), port)).await;
            let addresses = addresses.map(Iterator::collect).map_err(|error| error.to_string());
            Self::take_lookup_later(&this, LookupResult::Resolved(server, addresses));
        });
    }

    fn look_up(self: &Rc<Self>, now: Instant, host: SocketAddr, server: SocketAddr) {
        match self.cache().look_up(now, host, server) {
            CachedAnswer::Address(mapped) => {
                self.take_lookup(LookupResult::Mapped(host, server, Some(mapped)))
            }
            CachedAnswer::Unknown => self.take_lookup(LookupResult::Mapped(host, server, None)),
            CachedAnswer::Pending(answer) => {
                let this = Rc::downgrade(self);
                actix::spawn(async move {
                    Self::take_lookup_later(
                        &this,
                        LookupResult::Mapped(host, server, answer.await.ok()),
                    );
                });
            }
        }
    }

    fn take_lookup(&self, result: LookupResult) {
        self.lookups.borrow_mut().push_back(result);
        self.wake_task.notify_one();
    }

    /// Handles the result of a look-up, if the transport still exists by then.
    fn take_lookup_later(this: &Weak<Self>, result: LookupResult) {
        if let Some(this) = this.upgrade() {
            this.take_lookup(result);
        }
    }

    fn cache(&self) -> &ReflexiveCache {
        &self.route.mux().shared.reflexive
    }
}

/// Wakes the gatherer at its time-outs, and passes results and data from servers to it.
async fn serve(shared: Rc<Shared>, mut server_events: Option<mpsc::Receiver<ServerEvent>>) {
    loop {
        let results = std::mem::take(&mut *shared.lookups.borrow_mut());
        for result in results {
            shared.drive(|gatherer, now| match result {
                LookupResult::Resolved(server, addresses) => {
                    gatherer.handle_resolved(now, server, addresses)
                }
                LookupResult::Mapped(host, server, Some(mapped)) => {
                    gatherer.handle_mapped(host, server, mapped)
                }
                LookupResult::Mapped(host, server, None) => gatherer.ask(now, host, server),
            });
        }
        let due = shared.gatherer.borrow_mut().poll_timeout(Instant::now());
        shared.next_wake_up.set(due);
        let sleep = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let server_event = async {
            match &mut server_events {
                Some(server_events) => server_events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => shared.drive(|gatherer, now| gatherer.handle_timeout(now)),
            () = shared.wake_task.notified() => {}
            Some(server_event) = server_event => shared.drive(|gatherer, now| match server_event {
                ServerEvent::Open(relay, local) => gatherer.handle_open(now, relay, local),
                ServerEvent::Bytes(relay, bytes) => gatherer.handle_relay(now, relay, &bytes),
                ServerEvent::Lost(relay, why) => gatherer.handle_lost(now, relay, why),
            }),
        }
    }
}

/// Datagrams from TURN servers that the component has not read yet; more are dropped.
const SERVER_EVENTS: usize = 512;
/// Events that wait; if datagrams from relays exceed it, the oldest of them are dropped.
const EVENTS: usize = 512;
/// Items delivered before others get their turn: a reader that always finds another would never let go of its thread.
/// 64 datagrams take less than a millisecond.
const TURN: usize = 64;
