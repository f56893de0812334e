//! State of a room that outlives its actor: its roster, and the way to the actor that runs it now.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Recipient;
use arc_swap::ArcSwapOption;
use callboard_cluster::NodeId;
use callboard_outbox::{CloseFrame, Outbox};
use callboard_supervision::SupervisorRef;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::arrivals::Arrivals;
use crate::command::RoomCommand;
use crate::credit::Counted;
use crate::error::{ForwardError, JoinError, KickError};
use crate::link::{Away, Tag};
use crate::member::Member;
use crate::message::RoomMessage;
use crate::parked::Parked;
use crate::peer_id::PeerId;
use crate::peer_index;
use crate::roster::{Offered, Origin, Roster};
use crate::server_messages::Description;
use crate::snapshot::Snapshot;
use crate::tenure::{RETRY_AFTER, ROOM_LOST, Tenure};
use crate::wake_ups::WakeUps;

/// State of a room that survives a crash of its actor.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    kind: RoomKind,
    roster: Mutex<Roster>,
    /// Way to the room's actor, while it runs.
    mailbox: ArcSwapOption<Recipient<RoomCommand>>,
    /// The room's own supervisor.
    node: ArcSwapOption<SupervisorRef>,
    /// Whether the room's name is registered for it.
    registered: AtomicBool,
    /// Wakes those that wait until the room runs, is closed, or has freed its name.
    changes: Notify,
    /// Number of messages of the application that the room has not handled.
    told: AtomicUsize,
    /// Index of the registry in which the room is found, if that has one.
    peers: Option<PeerIndex>,
    /// Right to the name, in a cluster.
    tenure: Option<Box<Tenure>>,
    /// State with which the first instance begins, in place of `on_init`.
    snapshot: Mutex<Option<Snapshot>>,
    /// Way to the room's home, if another node runs it; also while that has died, and no other is known.
    away: ArcSwapOption<Away>,
    /// Whether the room was closed here, and may go on at another node.
    may_go_on: AtomicBool,
    pub(crate) parked: Parked,
    pub(crate) arrivals: Arrivals,
}

/// What a room is, apart from its name and state.
#[derive(Clone, Copy)]
pub(crate) struct RoomKind {
    /// Type of the room.
    pub(crate) id: TypeId,
    /// [`Room::FORWARDS_DIRECTLY`](crate::Room::FORWARDS_DIRECTLY)
    pub(crate) forwards_directly: bool,
    /// [`RoomOptions::snapshot_version`](crate::RoomOptions::snapshot_version)
    pub(crate) snapshot_version: u32,
}

/// Index of rooms by the peers that have memberships in them, which a registry keeps
/// ([`RoomRegistry::peers`](crate::RoomRegistry::peers)). Cheap to clone.
#[derive(Clone, Default)]
pub struct PeerIndex(Arc<peer_index::PeerIndex<InRoom>>);

/// Room as the place of a peer.
#[derive(Clone)]
struct InRoom(Arc<Shared>);

impl PartialEq for InRoom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PeerIndex {
    /// Returns the rooms in which a peer has a membership.
    pub(crate) fn rooms(&self, peer: PeerId) -> impl Iterator<Item = Arc<Shared>> + use<> {
        self.0.places(peer).into_iter().map(|InRoom(room)| room)
    }
}

impl fmt::Debug for PeerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIndex").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        name: Arc<str>,
        kind: RoomKind,
        peers: Option<PeerIndex>,
        tenure: Option<Tenure>,
        away: Option<Away>,
    ) -> Arc<Self> {
        let (mailbox, node) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        let (registered, changes) = (AtomicBool::new(false), Notify::new());
        let (roster, told) = (Mutex::default(), AtomicUsize::new(0));
        let snapshot = Mutex::default();
        let tenure = tenure.map(Box::new);
        let away = ArcSwapOption::from(away.map(Arc::new));
        Arc::new(Self {
            name,
            kind,
            roster,
            mailbox,
            node,
            registered,
            changes,
            told,
            peers,
            tenure,
            snapshot,
            away,
            parked: Parked::default(),
            arrivals: Arrivals::default(),
            may_go_on: AtomicBool::new(false),
        })
    }

    /// Returns the way to the room's home, if another node runs it.
    pub(crate) fn away(&self) -> Option<Arc<Away>> {
        self.away.load_full()
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load().is_some()
    }

    /// Sets the way to the room's home; none if that is this node.
    pub(crate) fn set_away(&self, away: Option<Away>) {
        self.away.store(away.map(Arc::new));
        self.notify();
    }

    /// Wakes those that wait for a change of the room.
    pub(crate) fn notify(&self) {
        self.changes.notify_waiters();
    }

    /// Returns the version of snapshots that the room can read.
    pub(crate) fn snapshot_version(&self) -> u32 {
        self.kind.snapshot_version
    }

    /// Returns the room's right to its name, if it is a room of a cluster.
    pub(crate) fn tenure(&self) -> Option<&Tenure> {
        self.tenure.as_deref()
    }

    /// Returns whether the room must do nothing any more: another node may run it.
    pub(crate) fn is_fenced(&self) -> bool {
        self.tenure().is_some_and(Tenure::is_fenced) && !self.is_away()
    }

    /// Returns whether peers may join the room, as far as its name is concerned.
    ///
    /// # Errors
    /// [`JoinError::DoorShut`]
    pub(crate) fn door(&self) -> Result<(), JoinError> {
        let shut = self.tenure().is_some_and(|tenure| !tenure.is_good()) && !self.is_away();
        if shut { Err(JoinError::DoorShut { retry_after: RETRY_AFTER }) } else { Ok(()) }
    }

    /// Takes the snapshot with which the next instance begins, unless its version is newer than this.
    pub(crate) fn take_snapshot(&self, version: u32) -> Option<Snapshot> {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if snapshot.version() > version {
            let (name, newer) = (&self.name, snapshot.version());
            log::warn!(
                "room {name:?} begins anew: its snapshot has version {newer}, newer than {version}"
            );
            return None;
        }
        Some(snapshot)
    }

    /// Returns whether the room is of this type.
    pub(crate) fn is_of(&self, kind: TypeId) -> bool {
        self.kind.id == kind
    }

    /// Returns whether messages go to their addressees without the room's `on_forward`.
    pub(crate) fn forwards_directly(&self) -> bool {
        self.kind.forwards_directly && !self.is_away()
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        // Every change is one call on the roster, and no such call panics halfway.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets the state when the room's node starts in its tree: an earlier close there is over.
    pub(crate) fn reopen(&self) {
        self.roster().reopen();
    }

    /// Records that the room's actor runs and is reached by this, or that it has ended.
    pub(crate) fn runs_as(&self, mailbox: Option<Recipient<RoomCommand>>) {
        self.mailbox.store(mailbox.map(Arc::new));
        self.changes.notify_waiters();
    }

    /// Returns the way to the room's actor, if it runs.
    pub(crate) fn mailbox(&self) -> Option<Arc<Recipient<RoomCommand>>> {
        self.mailbox.load_full().filter(|mailbox| mailbox.connected())
    }

    /// Records whether the room's name is registered for it.
    pub(crate) fn set_registered(&self, registered: bool) {
        self.registered.store(registered, Ordering::Release);
        self.changes.notify_waiters();
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Acquire)
    }

    pub(crate) fn set_supervisor(&self, node: SupervisorRef) {
        self.node.store(Some(Arc::new(node)));
    }

    pub(crate) fn node(&self) -> Option<SupervisorRef> {
        self.node.load().as_deref().cloned()
    }

    /// Resolves when this holds of the room: that it runs, is closed, has freed its name, or has its home elsewhere.
    pub(crate) async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            // Before the check, so that no change is missed.
            let change = self.changes.notified();
            if holds(self) {
                return;
            }
            change.await;
        }
    }

    /// Adds a peer that may join ([`Roster::reserve`]).
    pub(crate) fn reserve(
        self: &Arc<Self>,
        member: Member,
        welcome: Map<String, Value>,
    ) -> Result<(), JoinError> {
        let peer = member.peer_id();
        if self.is_registered() {
            self.door()?;
        }
        let mut roster = self.roster();
        // Just now it may have gone to another node: its guests join it there.
        let is_gone = member.is_guest() && self.is_away();
        (!is_gone).then(|| roster.reserve(member, welcome)).ok_or(JoinError::RoomUnavailable)??;
        drop(roster);
        if let Some(PeerIndex(index)) = &self.peers {
            index.insert(peer, InRoom(Arc::clone(self)));
        }
        Ok(())
    }

    /// Begins with what an earlier process has handed over: the room's state, its members, and those who have left.
    pub(crate) fn inherit(
        self: &Arc<Self>,
        snapshot: Option<Snapshot>,
        members: Vec<Member>,
        departed: Vec<Member>,
    ) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
        if let Some(PeerIndex(index)) = &self.peers {
            for member in &members {
                index.insert(member.peer_id(), InRoom(Arc::clone(self)));
            }
        }
        self.roster().begin_with(members, departed);
    }

    /// Adds a member of another node that an earlier home of the room has admitted ([`Roster::offer`]).
    pub(crate) fn offer(self: &Arc<Self>, offered: Offered) -> Result<(), JoinError> {
        let peer = offered.member.peer_id();
        self.roster().offer(offered)?;
        if let Some(PeerIndex(index)) = &self.peers {
            index.insert(peer, InRoom(Arc::clone(self)));
        }
        Ok(())
    }

    /// Notes that a node has offered all members of an earlier home that it has ([`Roster::offered_all`]).
    pub(crate) fn offered_all(&self, node: &NodeId, tags: Vec<Tag>, edges: Vec<NodeId>) {
        self.roster().offered_all(node.clone(), tags, edges);
        self.changes.notify_waiters();
    }

    /// Ends a membership: closes the client, and lets the peer leave.
    pub(crate) fn end_membership(self: &Arc<Self>, member: &Member) {
        member.outbox().close(CloseFrame::FAILED);
        self.leave(member);
        self.say_that_one_left();
    }

    /// Lets the room look who has left. One message for each peer; a room that closes itself when it is empty must also
    /// learn of peers that never joined. A room that is down checks its roster when it is back.
    pub(crate) fn say_that_one_left(&self) {
        if let Some(mailbox) = self.mailbox() {
            mailbox.do_send(RoomCommand::Depart);
        }
    }

    /// Handles the end of a peer's membership.
    pub(crate) fn leave(self: &Arc<Self>, member: &Member) {
        let peer = member.peer_id();
        self.roster().leave(member);
        if let Some(PeerIndex(index)) = &self.peers {
            index.remove(peer, &InRoom(Arc::clone(self)));
        }
    }

    /// Forgets a member of a room that is away: it goes on at another node.
    pub(crate) fn forget(self: &Arc<Self>, member: &Member) {
        self.roster().forget(member);
        if let Some(PeerIndex(index)) = &self.peers {
            index.remove(member.peer_id(), &InRoom(Arc::clone(self)));
        }
    }

    /// Closes the connection of a member.
    pub(crate) fn kick(
        &self,
        peer: PeerId,
        code: u16,
        reason: impl Into<Cow<'static, str>>,
    ) -> Result<(), KickError> {
        let frame = CloseFrame::new(code, reason)?;
        if let Some(away) = self.away() {
            return away.kick(peer, frame);
        }
        let member = self.roster().visible_member(peer).cloned();
        // Not while the roster is locked: it calls back.
        member.ok_or(KickError::NoSuchPeer)?.outbox().close(frame);
        Ok(())
    }

    /// Closes the room in good order: tells all peers that it is gone. If it is this node that ends, or has lost the
    /// room, peers of other nodes are not told: for them it goes on elsewhere.
    pub(crate) fn close(&self, details: &Value, close: CloseFrame) {
        let may_go_on = close == CloseFrame::GOING_AWAY || close == ROOM_LOST;
        let mut members = {
            let mut roster = self.roster();
            if !roster.is_closed() {
                self.may_go_on.store(may_go_on, Ordering::Release);
            }
            roster.close()
        };
        self.changes.notify_waiters();
        if may_go_on {
            members.retain(|member| !member.is_guest());
        }
        tell_closed(&members, details, &close);
    }

    /// Closes the room if no peer has a membership. It may go on for those that another node has and has not offered
    /// yet. Returns whether the room is closed.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut roster = self.roster();
        if !roster.is_closed() && roster.close_if_empty() {
            self.may_go_on.store(true, Ordering::Release);
        }
        roster.is_closed()
    }

    /// Returns whether the room is closed for good, on all nodes.
    pub(crate) fn is_over(&self) -> bool {
        self.roster().is_closed() && !self.may_go_on.load(Ordering::Acquire)
    }

    /// Tells a member that the room is gone for it.
    pub(crate) fn close_member(&self, member: &Member, details: &Value, close: CloseFrame) {
        tell_closed(std::slice::from_ref(member), details, &close);
    }

    /// Closes a room that nothing runs of any more: tells all peers that it is gone.
    pub(crate) fn give_up(&self, details: &Value, close: CloseFrame) {
        let members = self.roster().give_up();
        self.changes.notify_waiters();
        tell_closed(&members, details, &close);
    }

    /// Tells all peers that the room is gone for them, while it goes on without any.
    pub(crate) fn dismiss(&self, details: &Value, close: CloseFrame) {
        let members = self.roster().dismiss();
        tell_closed(&members, details, &close);
    }

    /// Puts a message into the outboxes of its addressees: of all or of none.
    pub(crate) fn deliver(
        &self,
        message: &RoomMessage,
        origin: Option<Origin>,
        wake_ups: &WakeUps,
    ) -> Result<(), ForwardError> {
        if let Some(away) = self.away() {
            return away.send(message);
        }
        if self.is_fenced() {
            return Err(ForwardError::RoomUnavailable);
        }
        let mut roster = self.roster();
        if let Some(away) = self.away() {
            // Just now it has gone to another node.
            drop(roster);
            return away.send(message);
        }
        if origin.is_none() && roster.is_gathering() {
            return roster.hold_back(message);
        }
        let full = put(&mut roster, message, origin, wake_ups)?;
        drop(roster);
        // Not while the roster is locked: it calls back.
        full.iter().for_each(|outbox| outbox.close(CloseFrame::TOO_SLOW));
        wake_ups.flush_when_due();
        Ok(())
    }

    /// Puts a peer's message into the outboxes of its addressees, without the room's actor. Returns false if it must go
    /// through that, and nothing was done.
    pub(crate) fn deliver_directly(
        &self,
        sender: &Member,
        message: &RoomMessage,
        origin: Origin,
    ) -> bool {
        // What the peer said before comes first: the room has delivered it when it returns the credit.
        let has_sent = || sender.in_flight().load(Ordering::Acquire) > 0;
        if !self.forwards_directly() || has_sent() || self.is_fenced() {
            return false;
        }
        let (frame, wake_ups) = (message.encode(), WakeUps::default());
        let full = {
            let mut roster = self.roster();
            if self.is_away() {
                return false;
            }
            let tagged = roster.tags_what_comes_of(Some(origin)).then(|| frame.clone());
            let Some(full) = roster
                .direct_receivers(sender, message, Some(origin))
                .map(|receivers| wake_ups.put(frame, receivers))
            else {
                return false;
            };
            roster.tag(tagged, Some(origin));
            sender.set_handled(origin.number);
            full
        };
        // Not while the roster is locked: it calls back.
        full.iter().for_each(|outbox| outbox.close(CloseFrame::TOO_SLOW));
        wake_ups.flush();
        true
    }
}

/// Puts a message into the outboxes of its addressees, of all or of none. Returns those that are full.
pub(crate) fn put(
    roster: &mut Roster,
    message: &RoomMessage,
    origin: Option<Origin>,
    wake_ups: &WakeUps,
) -> Result<Vec<Arc<Outbox>>, ForwardError> {
    let receivers = roster.receivers(message, origin)?;
    let text = message.encode();
    let tagged = roster.tags_what_comes_of(origin).then(|| text.clone());
    let full = wake_ups.put(text, receivers);
    roster.tag(tagged, origin);
    Ok(full)
}

fn tell_closed(members: &[Member], details: &Value, close: &CloseFrame) {
    for member in members {
        let closed = RoomMessage::error(member.peer_id(), Description::RoomClosed, details);
        // A client that is being closed already has been told why.
        _ = member.outbox().push(closed.encode());
        member.outbox().close(close.clone());
    }
}

impl Counted for Arc<Shared> {
    fn in_flight(&self) -> &AtomicUsize {
        &self.told
    }
}
