//! Handle of a room, and membership of one peer in it.

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
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::seats::{Seat, Seats};
use crate::server_messages::Description;
use callboard_outbox::{CloseFrame, Outbox};

/// Handle of a room by its name: leads to its actor through all restarts. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct RoomHandle {
    pub(crate) shared: Arc<Shared>,
}

/// State of a room that survives a crash of its actor.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    seats: Mutex<Seats>,
    actor: ArcSwapOption<Addr<RoomActor>>,
    node: ArcSwapOption<SupervisorRef>,
    /// Whether the room was closed in good order.
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

    /// Resets the state when the room's node starts in its tree: an earlier close there is over.
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

    /// Tells all peers that the room is gone, and removes their seats.
    pub(crate) fn close(&self, details: &Value, close: CloseFrame) {
        let seats = self.seats().close();
        for (peer, seat) in seats {
            tell_closed(peer, &seat, details, close);
        }
    }

    /// Tells one peer that the room is gone, and removes its seat.
    pub(crate) fn dismiss(&self, peer: PeerId, details: &Value, close: CloseFrame) {
        let seat = self.seats().vacate(peer);
        if let Some(seat) = seat {
            tell_closed(peer, &seat, details, close);
        }
    }
}

fn tell_closed(peer: PeerId, seat: &Seat, details: &Value, close: CloseFrame) {
    // A client that is being closed already has been told why.
    _ = seat.outbox.push(RoomMessage::error(peer, Description::RoomClosed, details).encode());
    seat.outbox.close(close);
}

impl RoomHandle {
    /// Returns the name under which the room is registered.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns whether the room's actor runs now: false while it is being restarted, and after its end.
    pub fn is_running(&self) -> bool {
        self.addr().is_some()
    }

    /// Returns whether the room is closed for good: stopped, given up, or closed because it was empty. It cannot be
    /// joined any more.
    pub fn is_closed(&self) -> bool {
        self.shared.seats().is_closed()
    }

    /// Returns the members, in no particular order.
    pub fn peers(&self) -> Vec<PeerId> {
        self.shared.seats().joined().map(|(peer, _)| peer).collect()
    }

    /// Returns the room's own supervisor in the tree: its children are `room` and the peers.
    pub fn supervisor(&self) -> Option<SupervisorRef> {
        self.shared.node.load().as_deref().cloned()
    }

    /// Starts a peer's actor below the room. It ends with the room.
    ///
    /// # Errors
    /// [`StartChildError`]
    pub async fn start_peer(&self, spec: ChildSpec) -> Result<(), StartChildError> {
        // While the room is being opened or restarted, its name is found before the room is up.
        _ = timeout(STARTING, self.is_up()).await;
        match self.supervisor() {
            Some(supervisor) => supervisor.start_child(spec).await.map(|_| ()),
            None => Err(callboard_supervision::NoSupervisorError.into()),
        }
    }

    /// Resolves when the room runs, or is closed.
    async fn is_up(&self) {
        while !self.is_running() && !self.shared.seats().is_closed() {
            sleep(LOOK).await;
        }
    }

    /// Forwards a message from the server: to the addressees in [`RoomMessage::to`], as if [`RoomMessage::from`] had
    /// sent it.
    ///
    /// # Errors
    /// [`ForwardError`]; no peer got the message then.
    pub async fn forward_message(&self, message: RoomMessage) -> Result<(), ForwardError> {
        let actor = self.addr().ok_or(ForwardError::RoomUnavailable)?;
        actor.send(Forward(message)).await.map_err(|_| ForwardError::RoomUnavailable)?
    }

    /// Closes the room: all clients are told "Room closed" with these details and closed with 1000, after which
    /// `callboard.js` does not reconnect; `on_terminate` runs.
    /// Resolves when that is done, nothing of the room runs any more, and its name is free. The room is not restarted.
    pub async fn stop(&self, details: impl Into<Value>) {
        self.stop_with(details.into(), CloseFrame::NORMAL).await;
    }

    pub(crate) async fn stop_with(&self, details: Value, close: CloseFrame) {
        // At once, without the room's actor: it may be waiting for an `on_join`.
        self.shared.close(&details, close);
        let supervisor = self.supervisor();
        if let Some(actor) = self.addr() {
            // A room that crashes meanwhile is stopped below.
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

    /// Gives a peer a seat in the room. The peer has not joined yet: see [`Membership::join`].
    ///
    /// # Errors
    /// [`JoinError::RoomUnavailable`] if the room is closed.
    pub fn reserve(&self, auth: AuthData, outbox: Arc<Outbox>) -> Result<Membership, JoinError> {
        self.reserve_with(auth, outbox, Map::new())
    }

    /// Gives a peer a seat in the room, and adds the fields of `welcome` to its `authenticated` message.
    ///
    /// # Errors
    /// [`JoinError::RoomUnavailable`] if the room is closed.
    pub fn reserve_with(
        &self,
        auth: AuthData,
        outbox: Arc<Outbox>,
        welcome: Map<String, Value>,
    ) -> Result<Membership, JoinError> {
        let auth = Arc::new(auth);
        if !self.shared.seats().take(Arc::clone(&auth), Arc::clone(&outbox), welcome) {
            return Err(JoinError::RoomUnavailable);
        }
        Ok(Membership { room: self.clone(), auth, outbox, in_flight: Arc::default() })
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

/// Membership of a peer in a room; dropping it is leaving. Keep it where it outlives all restarts of the peer: in the
/// peer's [`ChildSpec`].
#[derive(Debug)]
pub struct Membership {
    room: RoomHandle,
    auth: Arc<AuthData>,
    outbox: Arc<Outbox>,
    in_flight: Arc<AtomicUsize>,
}

impl Membership {
    /// Returns the id of the peer.
    pub fn peer_id(&self) -> PeerId {
        self.auth.peer_id
    }

    /// Returns the authentication data of the peer.
    pub fn auth(&self) -> &Arc<AuthData> {
        &self.auth
    }

    /// Returns the room.
    pub fn room(&self) -> &RoomHandle {
        &self.room
    }

    /// Returns the outbox of the peer's client.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Asks the room to admit the peer. When this resolves, the others have been sent `joined` and then this peer
    /// `authenticated`. A peer that is a member already (its actor was restarted) stays a member, and no message is
    /// sent.
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

    /// Sends the peer's message to the room, which forwards it. Returns at once; the client is told of an unknown
    /// addressee later ("No such peer").
    ///
    /// # Errors
    /// [`ForwardError::TooManyInFlight`] while the room has not handled 1,024 earlier ones,
    /// [`ForwardError::RoomUnavailable`] while it is down.
    pub fn forward(&self, message: RoomMessage) -> Result<(), ForwardError> {
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

impl Drop for Membership {
    fn drop(&mut self) {
        self.outbox.close(CloseFrame::FAILED);
        self.room.shared.seats().depart(self.auth.peer_id);
        // One message for each peer; a room that closes itself when it is empty must also learn of peers that never
        // joined. A room that is down checks its seats when it is back.
        if let Some(actor) = self.room.addr() {
            actor.do_send(Depart);
        }
    }
}

/// Credit for one message of a peer that its room has not handled.
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

/// Longest wait for a room's start.
const STARTING: Duration = Duration::from_secs(5);
/// Interval between checks whether the room has started.
const LOOK: Duration = Duration::from_millis(2);
/// Number of messages of one peer that may wait for its room: at least as many as a client may send at once by
/// default, and a bound on the room's mailbox.
const MAX_IN_FLIGHT: usize = 1_024;
