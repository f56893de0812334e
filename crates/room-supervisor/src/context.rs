//! Context of a room: what its callbacks reach of the room itself.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::Epoch;
use serde::Serialize;
use serde_json::Value;

use crate::error::{ForwardError, KickError, SendToMembersError};
use crate::handle::RoomHandle;
use crate::member::Member;
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;
use crate::roster::Origin;
use crate::shared::Shared;
use crate::wake_ups::WakeUps;

/// Context of a room, passed to each of its callbacks: the room's name, its members, and ways to reach them.
///
/// Messages go straight into the outboxes of their receivers, in the order in which they are sent; they do not pass
/// through [`Room::on_forward`](crate::Room::on_forward). A broadcast is serialised once.
///
/// ```
/// use std::time::Duration;
///
/// use callboard_room_supervisor::*;
///
/// /// A race that counts down when two are there.
/// struct Race(u32);
///
/// impl Room for Race {
///     type Options = ();
///
///     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
///         Ok(Self(3))
///     }
///
///     fn on_joined(&mut self, peer: PeerId, room: &RoomContext) {
///         let name = room.member(peer).and_then(|member| member.public().get("name"));
///         _ = room.broadcast("welcome", &name);
///         if room.len() == 2 {
///             room.every(Duration::from_secs(1));
///         }
///     }
///
///     fn on_tick(&mut self, room: &RoomContext) {
///         _ = room.broadcast("countdown", &self.0);
///         match self.0.checked_sub(1) {
///             Some(left) => self.0 = left,
///             None => room.every(Duration::ZERO),
///         }
///     }
/// }
/// ```
pub struct RoomContext {
    shared: Arc<Shared>,
    pub(crate) wake_ups: Rc<WakeUps>,
    closing: Cell<Option<Value>>,
    every: Cell<Option<Duration>>,
}

/// What a callback has asked of the room's actor.
pub(crate) struct Requests {
    /// Details of "Room closed".
    pub(crate) close: Option<Value>,
    /// Period of the ticks; zero: no ticks.
    pub(crate) every: Option<Duration>,
}

impl RoomContext {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (wake_ups, closing, every) = Default::default();
        Self { shared, wake_ups, closing, every }
    }

    /// Returns the name of the room.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns a handle of the room, for code outside of its callbacks.
    pub fn handle(&self) -> RoomHandle {
        RoomHandle { shared: Arc::clone(&self.shared) }
    }

    /// Returns the number of this node's hold of the room in a [cluster](crate::RoomsBuilder::cluster), which is
    /// greater than those of all holds of the room before: a fencing token for what the room writes to. None without a
    /// cluster. It changes when the node has lost the room and claimed it anew ([`OnLapse`](crate::OnLapse)); until
    /// then it is that of the hold that is over.
    pub fn epoch(&self) -> Option<Epoch> {
        self.shared.tenure()?.epoch()
    }

    /// Returns the members, in no particular order. While the room decides on a peer (`on_join`), that peer is none of
    /// them; in `on_leave`, the peer is none of them any more. The list is made when it is first asked for after one
    /// has come or gone, and shared until the next does.
    pub fn members(&self) -> Arc<[Member]> {
        self.shared.roster().list_members()
    }

    /// Returns the member with this id.
    pub fn member(&self, peer: PeerId) -> Option<Member> {
        self.shared.roster().member(peer).cloned()
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.shared.roster().count_members()
    }

    /// Returns whether the room has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message of the server to a member, to some, or to all: to all of the addressees, or to none.
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
        Ok(self.deliver(&message)?)
    }

    /// Sends a message of the server to all members.
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
    /// leaves as soon as its peer has ended. [`CloseFrame::new`](crate::CloseFrame::new) says which codes there are,
    /// and which clients come back. The reason has at most 123 bytes.
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

    /// Closes the room after this callback, as [`RoomHandle::stop`] does: all clients are told "Room closed" with these
    /// details and closed with 1000, `on_terminate` runs, and the room is not restarted.
    pub fn close(&self, details: impl Into<Value>) {
        self.closing.set(Some(details.into()));
    }

    /// Calls [`Room::on_tick`](crate::Room::on_tick) once in each period from now on, in place of an earlier period. A
    /// zero period ends it. Ticks that come while the room is busy, or waits for `on_join`, are left out. A room that
    /// has crashed asks for its ticks again, in `on_init` for example.
    pub fn every(&self, period: Duration) {
        self.every.set(Some(period));
    }

    pub(crate) fn deliver(&self, message: &RoomMessage) -> Result<(), ForwardError> {
        self.deliver_of(message, None)
    }

    /// Delivers what has come of a peer's message.
    pub(crate) fn deliver_of(
        &self,
        message: &RoomMessage,
        origin: Option<Origin>,
    ) -> Result<(), ForwardError> {
        self.shared.deliver(message, origin, &self.wake_ups)
    }

    pub(crate) fn take_requests(&self) -> Requests {
        Requests { close: self.closing.take(), every: self.every.take() }
    }
}

impl fmt::Debug for RoomContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomContext").field("name", &self.name()).finish_non_exhaustive()
    }
}
