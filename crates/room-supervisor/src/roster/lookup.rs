//! Look-ups in a roster: members, senders, and the outboxes that a message is put into.

use std::sync::Arc;

use callboard_outbox::Outbox;
use serde_json::{Map, Value};

use super::{Origin, Roster, State};
use crate::error::ForwardError;
use crate::member::Member;
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;

impl Roster {
    /// Returns the additional fields of a peer's `authenticated` message, which its home sends.
    pub(crate) fn welcome(&self, peer: PeerId) -> Map<String, Value> {
        let entry = self.entries.get(peer);
        entry.and_then(|entry| entry.welcome.as_deref().cloned()).unwrap_or_default()
    }

    /// Returns whether this peer has its membership.
    pub(crate) fn has(&self, member: &Member) -> bool {
        let entry = self.entries.get(member.peer_id());
        entry.is_some_and(|entry| {
            entry.member.is_same(member) && !matches!(entry.state(), State::Departed { .. })
        })
    }

    /// Returns the members that this instance of the room has admitted.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.select(|state| state == State::Member)
    }

    /// Returns the members, also those that are to be readopted: the peers that clients see.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Member> {
        self.select(State::is_visible)
    }

    pub(super) fn select(&self, which: impl Fn(State) -> bool) -> impl Iterator<Item = &Member> {
        let entries = self.entries.iter().filter(move |entry| which(entry.state()));
        entries.map(|entry| &entry.member)
    }

    /// Returns how many members this instance of the room has admitted.
    pub(crate) fn count_members(&self) -> usize {
        self.entries.members()
    }

    /// Returns how many members there are, also those that are to be readopted.
    pub(crate) fn count_visible(&self) -> usize {
        self.entries.visible()
    }

    /// Returns the [`members`](Self::members) as a list that is shared with others who ask.
    pub(crate) fn list_members(&mut self) -> Arc<[Member]> {
        if self.entries.members() == self.entries.visible() {
            return self.list_visible();
        }
        // Some are to be readopted, for a short time.
        self.members().cloned().collect()
    }

    /// Returns the [`visible`](Self::visible) members as a list that is shared with others who ask.
    pub(crate) fn list_visible(&mut self) -> Arc<[Member]> {
        self.entries.list_visible()
    }

    /// Returns a member that this instance of the room has admitted.
    pub(crate) fn member(&self, peer: PeerId) -> Option<&Member> {
        let entry = self.entries.get(peer)?;
        (entry.state() == State::Member).then_some(&entry.member)
    }

    /// Returns a member, also one that is to be readopted.
    pub(crate) fn visible_member(&self, peer: PeerId) -> Option<&Member> {
        let entry = self.entries.get(peer)?;
        entry.state().is_visible().then_some(&entry.member)
    }

    /// Returns a peer whose messages the room forwards: a member, also one that has just left.
    pub(crate) fn sender(&self, peer: PeerId) -> Option<&Member> {
        let entry = self.entries.get(peer)?;
        let may_send = matches!(entry.state(), State::Member | State::Departed { admitted: true });
        may_send.then_some(&entry.member)
    }

    /// Returns a peer to which messages can be sent: a member, also one that is to be readopted. One that has just left
    /// counts as well; its outbox is closed.
    fn addressee(&self, peer: PeerId) -> Option<&Member> {
        let entry = self.entries.get(peer)?;
        let has_left = entry.state() == State::Departed { admitted: true };
        (entry.state().is_visible() || has_left).then_some(&entry.member)
    }

    /// Returns the outboxes of a message's addressees, but of those that have the message of this origin already: of
    /// all or of none.
    ///
    /// # Errors
    /// [`ForwardError::NotAddressed`], [`ForwardError::NoSuchPeer`]
    pub(crate) fn receivers<'a>(
        &'a self,
        message: &'a RoomMessage,
        origin: Option<Origin>,
    ) -> Result<impl Iterator<Item = &'a Arc<Outbox>> + use<'a>, ForwardError> {
        let (all, listed): (_, &[PeerId]) = match &message.to {
            None => return Err(ForwardError::NotAddressed),
            Some(To::All) => (true, &[]),
            Some(To::Peers(peers)) => (false, peers),
        };
        if !listed.iter().all(|&peer| self.addressee(peer).is_some()) {
            let unknown = listed.iter().copied().filter(|&peer| self.addressee(peer).is_none());
            return Err(ForwardError::NoSuchPeer(unknown.collect()));
        }
        let others = self.visible().filter(|member| Some(member.peer_id()) != message.from);
        let others = all.then_some(others).into_iter().flatten();
        let listed = listed.iter().filter_map(|&peer| self.addressee(peer));
        let (has_seen, is_unknown) = (self.has_seen(origin), self.is_unknown(message.from));
        let receivers = others.chain(listed).filter(move |member| {
            let peer = member.peer_id();
            !has_seen(peer) && !is_unknown(peer)
        });
        Ok(receivers.map(Member::outbox))
    }

    /// Returns the outboxes of the addressees of a peer's message that may reach them without the room's actor; none if
    /// the message must go through that.
    pub(crate) fn direct_receivers<'a>(
        &'a self,
        sender: &Member,
        message: &'a RoomMessage,
        origin: Option<Origin>,
    ) -> Option<impl Iterator<Item = &'a Arc<Outbox>> + use<'a>> {
        // Until the actor has carried out what is decided, a new member has no `authenticated`, nor what `on_joined`
        // sends, and others have no `joined` or `left`: those come first.
        let is_settled = self.steps.is_empty() && self.current.is_none();
        // A membership that was rejected is no member, even if another peer has its id by now.
        let is_member = self.visible_member(sender.peer_id()).is_some_and(|it| it.is_same(sender));
        let addressees = match message.to.as_ref()? {
            To::All => self.count_visible(),
            To::Peers(peers) => peers.len(),
        };
        let is_free = is_settled && !self.is_frozen;
        (is_free && is_member && addressees <= MAX_DIRECT).then_some(())?;
        self.receivers(message, origin).ok()
    }
}

/// Number of addressees of a message above which the room's actor delivers it: it coalesces wake-ups, and the threads
/// of peers do not wait long for the roster.
const MAX_DIRECT: usize = 64;
