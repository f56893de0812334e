//! Membership of one peer in a room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callboard_outbox::Outbox;

use crate::auth::AuthData;
use crate::command::{RoomCommand, ask};
use crate::credit::Credit;
use crate::error::{ForwardError, JoinError};
use crate::handle::RoomHandle;
use crate::member::{Member, NewMember};
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::roster::Origin;
use crate::server_messages::lists_members;

/// Membership of a peer in a room; dropping it is leaving. Keep it where it outlives all restarts of the peer: in the
/// peer's [`ChildSpec`](callboard_supervision::ChildSpec).
#[derive(Debug)]
pub struct Membership {
    room: RoomHandle,
    member: Member,
    /// Whether the member goes on with another membership: then dropping this one is not leaving.
    passed_on: AtomicBool,
}

impl RoomHandle {
    /// Reserves a membership for a peer, which has not joined yet: see [`Membership::join`].
    ///
    /// # Errors
    /// [`JoinError::RoomUnavailable`] if the room is closed; [`JoinError::PeerIdTaken`] while a peer of the same id has
    /// a membership, and until its departure was announced.
    pub fn reserve(&self, member: NewMember) -> Result<Membership, JoinError> {
        let (member, welcome) = Member::new(member);
        self.shared.reserve(member.clone(), welcome)?;
        Ok(Membership::new(self.clone(), member))
    }
}

impl Membership {
    /// Creates the membership of a member that the room's roster has.
    pub(crate) fn new(room: RoomHandle, member: Member) -> Self {
        Self { room, member, passed_on: AtomicBool::new(false) }
    }

    /// Ends the membership without leaving: the member goes on with another one. Returns false if that was done before.
    pub(crate) fn retire(&self) -> bool {
        !self.passed_on.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

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
        let mailbox = self.room.shared.mailbox().ok_or(JoinError::RoomUnavailable)?;
        let peer = self.peer_id();
        match ask(&mailbox, |answer| RoomCommand::Join { peer, answer }).await {
            Ok(joined) => joined,
            // The room has crashed over what follows an admission: the next instance readopts the peer.
            Err(_) if self.room.shared.roster().visible_member(peer).is_some() => Ok(()),
            Err(_) => Err(JoinError::RoomCrashed),
        }
    }

    /// Sends the peer's client the list of members (`room_members`), in order with all else that is sent to it. For a
    /// client that has lost its connection: what was written into that may have said who came and went, and is lost.
    ///
    /// The list comes behind all that waits, and once if it is asked for again meanwhile; also from the next instance
    /// of a room that fails, and the next home of a room whose node has died.
    pub fn list_members(&self) {
        let shared = &self.room.shared;
        // One that waits is newer than all that was lost.
        if !self.outbox().any_waiting(lists_members)
            && shared.roster().owe_list(self.peer_id())
            && let Some(mailbox) = shared.mailbox()
        {
            // One for each member, until it is handled.
            mailbox.do_send(RoomCommand::ListMembers);
        }
    }

    /// Forwards the peer's message: by the room, or at once if that [forwards
    /// directly](crate::Room::FORWARDS_DIRECTLY). Does not wait for the room; the client is told of an unknown
    /// addressee later ("No such peer").
    ///
    /// # Errors
    /// [`ForwardError::TooManyInFlight`] while the room has not handled 1,024 earlier ones,
    /// [`ForwardError::RoomUnavailable`] while it is down.
    pub fn forward(&self, message: RoomMessage) -> Result<(), ForwardError> {
        self.forward_as(message, 0)
    }

    /// Forwards the peer's message that has this number at its own node; 0 if that is this one.
    pub(crate) fn forward_as(&self, message: RoomMessage, number: u64) -> Result<(), ForwardError> {
        let message = RoomMessage { from: Some(self.peer_id()), ..message };
        let origin = Origin { peer: self.peer_id(), number };
        if self.room.shared.deliver_directly(&self.member, &message, origin) {
            return Ok(());
        }
        let mailbox = self.room.shared.mailbox().ok_or(ForwardError::RoomUnavailable)?;
        let credit = Credit::new(self.member.clone()).ok_or(ForwardError::TooManyInFlight)?;
        let rest = match self.room.shared.away().filter(|_| number == 0) {
            Some(away) => away.forward(&self.member, message, credit),
            None => Some((message, credit)),
        };
        if let Some((message, credit)) = rest {
            // Bounded by the credit.
            mailbox.do_send(RoomCommand::ForwardFrom { origin, message, credit });
        }
        Ok(())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.passed_on.load(Ordering::Acquire) {
            self.room.shared.say_that_one_left();
        } else {
            self.room.shared.end_membership(&self.member);
        }
    }
}
