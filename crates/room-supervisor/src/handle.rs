//! The handle of a room, and the place of one peer in it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwapOption;
use callboard_supervision::{ChildSpec, StartChildError, SupervisorRef};
use serde_json::{Map, Value};
use tokio::time::{sleep, timeout};

use crate::actor::{Depart, Forward, ForwardFrom, Join, RoomActor, Stop};
use crate::auth::AuthData;
use crate::error::{ForwardError, JoinError};
use crate::message::Message;
use crate::outbox::{Close, Outbox};
use crate::peer_id::PeerId;
use crate::seats::{Seat, Seats};
use crate::server_messages::Description;

/// A room by its name: leads to its actor through all restarts. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct RoomHandle {
    pub(crate) shared: Arc<Shared>,
}

/// What stays of a room when its actor crashes.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    seats: Mutex<Seats>,
    actor: ArcSwapOption<Addr<RoomActor>>,
    node: ArcSwapOption<SupervisorRef>,
    /// Its last words were said.
    pub(crate) orderly: AtomicBool,
}

impl Shared {
    pub(crate) fn new(name: Arc<str>) -> Arc<Self> {
        let (actor, node) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Arc::new(Self {
            name,
            seats: Mutex::default(),
            actor,
            node,
            orderly: AtomicBool::new(false),
        })
    }

    pub(crate) fn seats(&self) -> MutexGuard<'_, Seats> {
        // Every change is one call on `Seats`, none of which panics halfway.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room is put into its tree: whatever closed it there before is over.
    pub(crate) fn reopen(&self) {
        self.seats().reopen();
        self.orderly.store(false, Ordering::Relaxed);
    }

    pub(crate) fn runs_as(&self, actor: Option<Addr<RoomActor>>) {
        self.actor.store(actor.map(Arc::new));
    }

    pub(crate) fn stands_at(&self, node: SupervisorRef) {
        self.node.store(Some(Arc::new(node)));
    }

    /// Tell everybody that the room is gone, and take their seats.
    pub(crate) fn close(&self, details: &Value, close: Close) {
        let seats = self.seats().close();
        for (peer, seat) in seats {
            tell_closed(peer, &seat, details, close);
        }
    }

    /// Tell one peer that the room is gone, and take its seat.
    pub(crate) fn dismiss(&self, peer: PeerId, details: &Value, close: Close) {
        let seat = self.seats().vacate(peer);
        if let Some(seat) = seat {
            tell_closed(peer, &seat, details, close);
        }
    }
}

fn tell_closed(peer: PeerId, seat: &Seat, details: &Value, close: Close) {
    // One that is being closed already has been told why.
    _ = seat.outbox.push(Message::error(peer, Description::RoomClosed, details).encode());
    seat.outbox.close(close);
}

impl RoomHandle {
    /// The name under which it is registered.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether its actor runs now: not so while it is being restarted, and after its end.
    pub fn is_running(&self) -> bool {
        self.addr().is_some()
    }

    /// Whether it is closed for good: stopped, given up, or closed because it was empty. It cannot be joined any more.
    pub fn is_closed(&self) -> bool {
        self.shared.seats().is_closed()
    }

    /// Who has joined, in no particular order.
    pub fn peers(&self) -> Vec<PeerId> {
        self.shared.seats().joined().map(|(peer, _)| peer).collect()
    }

    /// The room's own supervisor in the tree: its children are `room` and the peers.
    pub fn supervisor(&self) -> Option<SupervisorRef> {
        self.shared.node.load().as_deref().cloned()
    }

    /// Start a peer's actor below the room. It ends with the room.
    ///
    /// # Errors
    /// [`StartChildError`]
    pub async fn start_peer(&self, spec: ChildSpec) -> Result<(), StartChildError> {
        // While the room is opened, or restarted, its name is found before the room is up.
        _ = timeout(STARTING, self.is_up()).await;
        match self.supervisor() {
            Some(supervisor) => supervisor.start_child(spec).await.map(|_| ()),
            None => Err(callboard_supervision::NoSupervisor.into()),
        }
    }

    /// Resolves when the room runs, or is closed.
    async fn is_up(&self) {
        while !self.is_running() && !self.shared.seats().is_closed() {
            sleep(LOOK).await;
        }
    }

    /// Forward a message of the server's own: to those in [`Message::to`], as if [`Message::from`] had sent it.
    ///
    /// # Errors
    /// [`ForwardError`]; nobody got the message then.
    pub async fn forward_message(&self, message: Message) -> Result<(), ForwardError> {
        let actor = self.addr().ok_or(ForwardError::RoomUnavailable)?;
        actor.send(Forward(message)).await.map_err(|_| ForwardError::RoomUnavailable)?
    }

    /// Close the room: everyone is told "Room closed" with these details and closed with 1000, after which `callboard.js` stays
    /// away; `on_terminate` runs.
    /// Resolves when that is done, nothing of the room runs any more, and its name is free. It is not restarted.
    pub async fn stop(&self, details: impl Into<Value>) {
        self.stop_with(details.into(), Close::NORMAL).await;
    }

    pub(crate) async fn stop_with(&self, details: Value, close: Close) {
        // At once, past the room's actor: it may be waiting for an `on_join`.
        self.shared.close(&details, close);
        let supervisor = self.supervisor();
        if let Some(actor) = self.addr() {
            // A room that crashes meanwhile is stopped all the same, below.
            _ = actor.send(Stop { details, close }).await;
        }
        if let Some(supervisor) = supervisor {
            supervisor.stop().await;
        }
    }

    /// Resolves when nothing of the room runs any more.
    pub async fn ended(&self) {
        if let Some(supervisor) = self.supervisor() {
            supervisor.ended().await;
        }
    }

    /// Give a peer a place in the room. It has not joined yet: see [`Lease::join`].
    ///
    /// # Errors
    /// [`JoinError::RoomUnavailable`] if the room is closed.
    pub fn seat(&self, auth: AuthData, outbox: Arc<Outbox>) -> Result<Lease, JoinError> {
        self.seat_with(auth, outbox, Map::new())
    }

    /// Give a peer a place in the room, and have its `authenticated` tell it this besides.
    ///
    /// # Errors
    /// [`JoinError::RoomUnavailable`] if the room is closed.
    pub fn seat_with(
        &self,
        auth: AuthData,
        outbox: Arc<Outbox>,
        welcome: Map<String, Value>,
    ) -> Result<Lease, JoinError> {
        let auth = Arc::new(auth);
        if !self.shared.seats().take(Arc::clone(&auth), Arc::clone(&outbox), welcome) {
            return Err(JoinError::RoomUnavailable);
        }
        Ok(Lease { room: self.clone(), auth, outbox, in_flight: Arc::default() })
    }

    pub(crate) fn closed_in_good_order(&self) -> bool {
        self.shared.orderly.load(Ordering::Relaxed)
    }

    pub(crate) fn addr(&self) -> Option<Addr<RoomActor>> {
        self.shared.actor.load().as_deref().filter(|actor| actor.connected()).cloned()
    }
}

impl fmt::Debug for RoomHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHandle").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// A peer's place in a room. The peer has left when it is dropped, so it is to be kept where the peer's last restart
/// ends: in its [`ChildSpec`].
#[derive(Debug)]
pub struct Lease {
    room: RoomHandle,
    auth: Arc<AuthData>,
    outbox: Arc<Outbox>,
    in_flight: Arc<AtomicUsize>,
}

impl Lease {
    /// Who it is for.
    pub fn peer_id(&self) -> PeerId {
        self.auth.peer_id
    }

    /// Who it is for, with all that is known.
    pub fn auth(&self) -> &Arc<AuthData> {
        &self.auth
    }

    /// The room.
    pub fn room(&self) -> &RoomHandle {
        &self.room
    }

    /// The way to the peer's client.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Ask the room to let the peer in. When it does, the others have been sent `joined` and then this peer
    /// `authenticated`. A peer that is in already (its actor was restarted) stays, and nobody is told anything.
    ///
    /// # Errors
    /// [`JoinError`]
    pub async fn join(&self) -> Result<(), JoinError> {
        let actor = self.room.addr().ok_or(JoinError::RoomUnavailable)?;
        match actor.send(Join(self.auth.peer_id)).await {
            Ok(joined) => joined,
            Err(_) => Err(JoinError::RoomCrashed),
        }
    }

    /// Send the peer's message to the room, which forwards it. Answers at once; an unknown addressee is told to the
    /// client later ("No such peer").
    ///
    /// # Errors
    /// [`ForwardError::TooManyInFlight`] while the room has not dealt with 1,024 earlier ones,
    /// [`ForwardError::RoomUnavailable`] while it is down.
    pub fn forward(&self, message: Message) -> Result<(), ForwardError> {
        let actor = self.room.shared.actor.load();
        let Some(actor) = actor.as_deref().filter(|actor| actor.connected()) else {
            return Err(ForwardError::RoomUnavailable);
        };
        let credit = InFlight::new(&self.in_flight).ok_or(ForwardError::TooManyInFlight)?;
        // Bounded by the credit.
        actor.do_send(ForwardFrom { peer: self.auth.peer_id, message, credit });
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.outbox.close(Close::FAILED);
        self.room.shared.seats().depart(self.auth.peer_id);
        // One for each peer; a room that closes itself when it is empty wants to know of those who never joined as
        // well. A room that is down looks at its seats when it is back.
        if let Some(actor) = self.room.addr() {
            actor.do_send(Depart);
        }
    }
}

/// One message of a peer that its room has not dealt with.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Option<Self> {
        let credit = Self(Arc::clone(count));
        (count.fetch_add(1, Ordering::Relaxed) < MAX_IN_FLIGHT).then_some(credit)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a room may take to start.
const STARTING: Duration = Duration::from_secs(5);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(2);
/// How many messages of one peer may wait for its room: as many as a client may send at once by default, and a bound on the
/// room's mailbox.
const MAX_IN_FLIGHT: usize = 1_024;
