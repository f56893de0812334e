//! Handle of a room, for all code outside of its callbacks.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::NodeId;
use callboard_outbox::CloseFrame;
use callboard_supervision::{ChildSpec, StartChildError, SupervisorRef};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::command::{RoomCommand, ask};
use crate::error::{ForwardError, KickError, SendToMembersError};
use crate::member::Member;
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;
use crate::roster::Phase;
use crate::shared::Shared;
use crate::wake_ups::WakeUps;

/// Handle of a room by its name: leads to its actor through all restarts. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct RoomHandle {
    pub(crate) shared: Arc<Shared>,
}

impl RoomHandle {
    /// Returns the name under which the room is registered.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the node of the [cluster](crate::RoomsBuilder::cluster) that runs the room; none if it runs here. A room
    /// that another node runs is joined, and reached by this handle, as one that runs here. Its callbacks run there.
    /// If that node dies, another takes its place, perhaps this one.
    pub fn home(&self) -> Option<NodeId> {
        self.shared.away().map(|away| away.node().clone())
    }

    /// Resolves when the room's [home](Self::home) is another than this.
    pub async fn home_changed(&self, from: Option<&NodeId>) {
        let home = |room: &Shared| room.away().map(|away| away.node().clone());
        self.shared.wait_until(|room| home(room).as_ref() != from).await;
    }

    /// Returns whether the room's actor runs now: false while it is being restarted, and after its end.
    pub fn is_running(&self) -> bool {
        self.shared.mailbox().is_some()
    }

    /// Returns whether the room's home is reached: always if that is this node.
    pub fn is_reachable(&self) -> bool {
        let is_reached = self.shared.away().is_none_or(|away| !away.link.is_closed());
        is_reached && !self.shared.roster().is_moving()
    }

    /// Returns whether the room is closed for good: stopped, given up, or closed because it was empty. It cannot be
    /// joined any more.
    pub fn is_closed(&self) -> bool {
        self.shared.roster().is_closed()
    }

    /// Returns the ids of the members, in no particular order.
    pub fn peers(&self) -> Vec<PeerId> {
        if let Some(away) = self.shared.away() {
            return away.members().iter().map(Member::peer_id).collect();
        }
        self.shared.roster().visible().map(Member::peer_id).collect()
    }

    /// Returns the members, in no particular order. The list is made when it is first asked for after one has come or
    /// gone, and shared until the next does. If [another node](Self::home) runs the room, they are those that it has
    /// told of.
    pub fn members(&self) -> Arc<[Member]> {
        if let Some(away) = self.shared.away() {
            return away.members();
        }
        self.shared.roster().list_visible()
    }

    /// Returns the member with this id.
    pub fn member(&self, peer: PeerId) -> Option<Member> {
        if let Some(away) = self.shared.away() {
            return away.member(peer);
        }
        self.shared.roster().visible_member(peer).cloned()
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        if let Some(away) = self.shared.away() {
            return away.members().len();
        }
        self.shared.roster().count_visible()
    }

    /// Returns whether the room has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        Ok(self.shared.deliver(&message, None, &WakeUps::default())?)
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

    /// Closes the connection of a member with this code and reason, after what it has been sent before. The member
    /// leaves as soon as its peer has ended. [`CloseFrame::new`] says which codes there are, and which clients come
    /// back. The reason has at most 123 bytes.
    ///
    /// # Errors
    /// [`KickError`]; nothing happens then.
    pub fn kick(
        &self,
        peer: PeerId,
        code: u16,
        reason: impl Into<Cow<'static, str>>,
    ) -> Result<(), KickError> {
        self.shared.kick(peer, code, reason)
    }

    /// Returns the room's own supervisor in the tree: its children are `room` and the peers.
    pub fn supervisor(&self) -> Option<SupervisorRef> {
        self.shared.node()
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
        self.shared.wait_until(|room| room.mailbox().is_some() || room.roster().is_closed()).await;
    }

    /// Resolves when the name of the room is free: nothing of it runs any more, and another room can take the name. At
    /// once if the room never had its name.
    pub async fn freed(&self) {
        self.shared.wait_until(|room| !room.is_registered()).await;
    }

    /// Forwards a message from the server: to the addressees in [`RoomMessage::to`], as if [`RoomMessage::from`] had
    /// sent it.
    ///
    /// # Errors
    /// [`ForwardError`]; no peer got the message then. [`ForwardError::RoomUnavailable`] if [another node](Self::home)
    /// runs the room.
    pub async fn forward_message(&self, message: RoomMessage) -> Result<(), ForwardError> {
        let mailbox = self.shared.mailbox().ok_or(ForwardError::RoomUnavailable)?;
        let forwarded = ask(&mailbox, |answer| RoomCommand::Forward { message, answer }).await;
        forwarded.map_err(|_| ForwardError::RoomUnavailable)?
    }

    /// Closes the room: all clients are told "Room closed" with these details and closed with 1000, after which
    /// `callboard.js` does not reconnect; `on_terminate` runs.
    /// Resolves when that is done, nothing of the room runs any more, and its name is free. The room is not restarted.
    /// If [another node](Self::home) runs it, it is closed there too, and on all nodes.
    pub async fn stop(&self, details: impl Into<Value>) {
        let details = details.into();
        // One that is on its way between two nodes is closed where it is then, so that all are told.
        _ = timeout(MOVING, self.shared.rests()).await;
        if let Some(away) = self.shared.away() {
            away.stop(&details);
        }
        self.stop_with(details, CloseFrame::NORMAL).await;
    }

    pub(crate) async fn stop_with(&self, details: Value, close: CloseFrame) {
        // At once, without the room's actor: it may be waiting for an `on_join`.
        self.shared.close(&details, close.clone());
        let supervisor = self.supervisor();
        if let Some(mailbox) = self.shared.mailbox() {
            // A room that crashes meanwhile is stopped below.
            _ = ask(&mailbox, |done| RoomCommand::Stop { details, close, done }).await;
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

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn closed_in_good_order(&self) -> bool {
        matches!(self.shared.roster().phase(), Phase::Closing | Phase::Closed)
    }
}

impl fmt::Debug for RoomHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHandle").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// Longest wait for a room that moves to another node.
const MOVING: Duration = Duration::from_secs(5);
/// Longest wait for a room's start.
const STARTING: Duration = Duration::from_secs(5);
