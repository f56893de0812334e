//! Handle of a room, and membership of one peer in it.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwapOption;
use callboard_outbox::{CloseFrame, Outbox};
use callboard_supervision::{ChildSpec, StartChildError, SupervisorRef};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::actor::{Depart, Forward, ForwardFrom, Join, RoomActor, Stop, TellMessage};
use crate::auth::AuthData;
use crate::context::RoomContext;
use crate::error::{ForwardError, JoinError, KickError, SendToMembersError, TellError};
use crate::member::{Member, NewMember};
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;
use crate::room::Tell;
use crate::roster::{Phase, Roster};
use crate::server_messages::Description;
use crate::wake_ups::WakeUps;

/// Handle of a room by its name: leads to its actor through all restarts. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct RoomHandle {
    pub(crate) shared: Arc<Shared>,
}

/// State of a room that survives a crash of its actor.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    /// Type of the room.
    kind: TypeId,
    roster: Mutex<Roster>,
    actor: ArcSwapOption<Addr<RoomActor>>,
    node: ArcSwapOption<SupervisorRef>,
    /// Whether the room's name is registered for it.
    registered: AtomicBool,
    /// Wakes those that wait until the room runs, is closed, or has freed its name.
    changes: Notify,
    /// Number of messages of the application that the room has not handled.
    told: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(name: Arc<str>, kind: TypeId) -> Arc<Self> {
        let (actor, node) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        let (registered, changes) = (AtomicBool::new(false), Notify::new());
        let (roster, told) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { name, kind, roster, actor, node, registered, changes, told })
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        // Every change is one call on the roster, none of which panics halfway.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets the state when the room's node starts in its tree: an earlier close there is over.
    pub(crate) fn reopen(&self) {
        self.roster().reopen();
    }

    pub(crate) fn runs_as(&self, actor: Option<Addr<RoomActor>>) {
        self.actor.store(actor.map(Arc::new));
        self.changes.notify_waiters();
    }

    /// Records whether the room's name is registered for it.
    pub(crate) fn set_registered(&self, registered: bool) {
        self.registered.store(registered, Ordering::Release);
        self.changes.notify_waiters();
    }

    pub(crate) fn stands_at(&self, node: SupervisorRef) {
        self.node.store(Some(Arc::new(node)));
    }

    /// Closes the room in good order: tells all peers that it is gone.
    pub(crate) fn close(&self, details: &Value, close: CloseFrame) {
        let members = self.roster().close();
        self.changes.notify_waiters();
        tell_closed(&members, details, close);
    }

    /// Closes a room that nothing runs of any more: tells all peers that it is gone.
    pub(crate) fn give_up(&self, details: &Value, close: CloseFrame) {
        let members = self.roster().give_up();
        self.changes.notify_waiters();
        tell_closed(&members, details, close);
    }

    /// Tells all peers that the room is gone for them, while it goes on without any.
    pub(crate) fn dismiss(&self, details: &Value, close: CloseFrame) {
        let members = self.roster().dismiss();
        tell_closed(&members, details, close);
    }

    /// Puts a message into the outboxes of its addressees: of all or of none.
    pub(crate) fn deliver(
        &self,
        message: &RoomMessage,
        wake_ups: &WakeUps,
    ) -> Result<(), ForwardError> {
        let full = {
            let roster = self.roster();
            let receivers = roster.receivers(message)?;
            wake_ups.put(&message.encode(), receivers)
        };
        // Not while the roster is locked: it calls back.
        full.iter().for_each(|outbox| outbox.close(CloseFrame::TOO_SLOW));
        wake_ups.flush_when_due();
        Ok(())
    }
}

fn tell_closed(members: &[Member], details: &Value, close: CloseFrame) {
    for member in members {
        let closed = RoomMessage::error(member.peer_id(), Description::RoomClosed, details);
        // A client that is being closed already has been told why.
        _ = member.outbox().push(closed.encode());
        member.outbox().close(close);
    }
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
        self.shared.roster().is_closed()
    }

    /// Returns the ids of the members, in no particular order.
    pub fn peers(&self) -> Vec<PeerId> {
        self.shared.roster().visible().map(Member::peer_id).collect()
    }

    /// Returns the members, in no particular order.
    pub fn members(&self) -> Vec<Member> {
        self.shared.roster().visible().cloned().collect()
    }

    /// Returns the member with this id.
    pub fn member(&self, peer: PeerId) -> Option<Member> {
        self.shared.roster().visible_member(peer).cloned()
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.shared.roster().visible().count()
    }

    /// Returns whether the room has no members.
    pub fn is_empty(&self) -> bool {
        self.shared.roster().visible().next().is_none()
    }

    /// Sends a message of the server to a member, to some, or to all: to all of the addressees, or to none. It does not
    /// pass through `on_forward`, and does not wait for the room: also while the room is being restarted.
    ///
    /// # Errors
    /// [`SendToMembersError`]
    pub fn send(
        &self,
        to: impl Into<To>,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<(), SendToMembersError> {
        let message = RoomMessage::new(event, data)?.to(to.into());
        Ok(self.shared.deliver(&message, &WakeUps::default())?)
    }

    /// Sends a message of the server to all members, as [`send`](Self::send) does.
    ///
    /// # Errors
    /// [`SendToMembersError::Data`]
    pub fn broadcast(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<(), SendToMembersError> {
        self.send(To::All, event, data)
    }

    /// Sends a message of the application to the room, which must be of type `R`. It waits in the room's mailbox behind
    /// what was sent before; those that wait while the room crashes are lost.
    ///
    /// # Errors
    /// [`TellError`]
    pub fn tell<R: Tell<T>, T: Send + 'static>(&self, message: T) -> Result<(), TellError> {
        if self.shared.kind != TypeId::of::<R>() {
            return Err(TellError::OtherType);
        }
        let actor = self.addr().ok_or(TellError::RoomUnavailable)?;
        let credit = Credit::new(self.clone()).ok_or(TellError::TooManyInFlight)?;
        let on_tell = Box::new(move |room: &mut dyn Any, context: &RoomContext| {
            if let Some(room) = room.downcast_mut::<R>() {
                room.on_tell(message, context);
            }
        });
        // Bounded by the credit.
        actor.do_send(TellMessage { on_tell, credit });
        Ok(())
    }

    /// Closes the connection of a member with this code and reason, after what it has been sent before. The member
    /// leaves as soon as its peer has ended. [`CloseFrame::new`] says which codes there are, and which clients come
    /// back.
    ///
    /// # Errors
    /// [`KickError`]; nothing happens then.
    pub fn kick(&self, peer: PeerId, code: u16, reason: &'static str) -> Result<(), KickError> {
        let frame = CloseFrame::new(code, reason)?;
        self.member(peer).ok_or(KickError::NoSuchPeer)?.outbox().close(frame);
        Ok(())
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
        _ = timeout(STARTING, self.running()).await;
        match self.supervisor() {
            Some(supervisor) => supervisor.start_child(spec).await.map(|_| ()),
            None => Err(callboard_supervision::NoSupervisorError.into()),
        }
    }

    /// Resolves when the room runs, or is closed for good.
    pub async fn running(&self) {
        self.wait_until(|room| room.is_running() || room.is_closed()).await;
    }

    /// Resolves when the name of the room is free: nothing of it runs any more, and another room can take the name. At
    /// once if the room never had its name.
    pub async fn freed(&self) {
        self.wait_until(|room| !room.shared.registered.load(Ordering::Acquire)).await;
    }

    async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            // Before the check, so that no change is missed.
            let change = self.shared.changes.notified();
            if holds(self) {
                return;
            }
            change.await;
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

    /// Reserves a membership for a peer, which has not joined yet: see [`Membership::join`].
    ///
    /// # Errors
    /// [`JoinError::RoomUnavailable`] if the room is closed.
    pub fn reserve(&self, member: NewMember) -> Result<Membership, JoinError> {
        let (member, welcome) = Member::new(member);
        if !self.shared.roster().reserve(member.clone(), welcome) {
            return Err(JoinError::RoomUnavailable);
        }
        Ok(Membership { room: self.clone(), member })
    }

    pub(crate) fn closed_in_good_order(&self) -> bool {
        matches!(self.shared.roster().phase(), Phase::Closing | Phase::Closed)
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
    member: Member,
}

impl Membership {
    /// Returns the id of the peer.
    pub fn peer_id(&self) -> PeerId {
        self.member.peer_id()
    }

    /// Returns the authentication data of the peer.
    pub fn auth(&self) -> &AuthData {
        self.member.auth()
    }

    /// Returns the room.
    pub fn room(&self) -> &RoomHandle {
        &self.room
    }

    /// Returns the outbox of the peer's client.
    pub fn outbox(&self) -> &Arc<Outbox> {
        self.member.outbox()
    }

    /// Asks the room to admit the peer. When this resolves, the others have been sent `joined` and then this peer
    /// `authenticated`. A peer that is a member already (its actor was restarted) stays a member, and no message is
    /// sent.
    ///
    /// # Errors
    /// [`JoinError`]
    pub async fn join(&self) -> Result<(), JoinError> {
        let actor = self.room.addr().ok_or(JoinError::RoomUnavailable)?;
        match actor.send(Join(self.peer_id())).await {
            Ok(joined) => joined,
            // The room has crashed over what follows an admission: the next instance readopts the peer.
            Err(_) if self.room.shared.roster().visible_member(self.peer_id()).is_some() => Ok(()),
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
        let credit = Credit::new(self.member.clone()).ok_or(ForwardError::TooManyInFlight)?;
        // Bounded by the credit.
        actor.do_send(ForwardFrom { peer: self.peer_id(), message, credit });
        Ok(())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.outbox().close(CloseFrame::FAILED);
        self.room.shared.roster().leave(self.peer_id());
        // One message for each peer; a room that closes itself when it is empty must also learn of peers that never
        // joined. A room that is down checks its roster when it is back.
        if let Some(actor) = self.room.addr() {
            actor.do_send(Depart);
        }
    }
}

/// Credit for one message that a room has not handled.
pub(crate) struct Credit<T: Counted>(T);

/// Sender of messages to a room, with their number.
pub(crate) trait Counted {
    fn in_flight(&self) -> &AtomicUsize;
}

impl<T: Counted> Credit<T> {
    fn new(sender: T) -> Option<Self> {
        let credit = Self(sender);
        let waiting = credit.0.in_flight().fetch_add(1, Ordering::Relaxed);
        (waiting < MAX_IN_FLIGHT).then_some(credit)
    }
}

impl<T: Counted> Drop for Credit<T> {
    fn drop(&mut self) {
        self.0.in_flight().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counted for Member {
    fn in_flight(&self) -> &AtomicUsize {
        self.messages_in_flight()
    }
}

impl Counted for RoomHandle {
    fn in_flight(&self) -> &AtomicUsize {
        &self.shared.told
    }
}

/// Longest wait for a room's start.
const STARTING: Duration = Duration::from_secs(5);
/// Number of messages of one peer, or of the application, that may wait for a room: at least as many as a client may
/// send at once by default, and a bound on the room's mailbox.
const MAX_IN_FLIGHT: usize = 1_024;
