//! Roster of a room that goes from one node to another, by the will of both.

use std::mem::take;
use std::sync::Arc;

use super::entries::{Entry, State};
use super::{Phase, Roster, Step, View};
use crate::error::ForwardError;
use crate::link::Tag;
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::told_left::ToldLeft;

/// What is left of a room at the node that it leaves.
pub(crate) struct Leaving {
    /// Members of this node.
    pub(crate) members: Vec<Member>,
    /// Peers of other nodes.
    pub(crate) guests: Vec<Member>,
    /// Peers that each member has been told of.
    pub(crate) view: View,
    /// Messages of guests whose nodes may not know that they were handled.
    pub(crate) tags: Vec<Tag>,
    /// Place of the last tag, which all members of this node have.
    pub(crate) seen: u64,
    /// Peers that were said to have left.
    pub(crate) left: ToldLeft,
}

/// Where a room is on its way from one node to another.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// It is about to leave this node.
    is_leaving: bool,
    /// What the server has sent since the room came to this node, until its members are here.
    held_back: Option<Vec<RoomMessage>>,
    /// It is closed as soon as its members are here.
    stops: bool,
}

impl Roster {
    /// Notes whether the room is about to go to another node, so that none of its members does so by itself, and
    /// nothing is sent to it that could not follow it. Returns false if it is so already.
    pub(crate) fn set_moving(&mut self, is_moving: bool) -> bool {
        std::mem::replace(&mut self.moving.is_leaving, is_moving) != is_moving
    }

    pub(crate) fn is_moving(&self) -> bool {
        self.moving.is_leaving
    }

    /// Returns the peers that the room's state knows to be members; none if the room does not rest.
    pub(crate) fn members_to_move(&self) -> Option<Vec<PeerId>> {
        let rests = |state| {
            matches!(state, State::Reserved | State::Member | State::Departed { admitted: true })
        };
        let rests = self.entries.iter().all(|entry| rests(entry.state()))
            && self.phase == Phase::Open
            && self.steps.is_empty()
            && self.current.is_none()
            && !self.is_frozen;
        let known = |state| matches!(state, State::Member | State::Departed { .. });
        rests.then(|| self.select(known).map(Member::peer_id).collect())
    }

    /// Goes on as that of an edge.
    pub(crate) fn become_edge(&mut self) -> Leaving {
        // Peers that other nodes have offered meanwhile are not known: they offer them again where the room is.
        let known = |entry: &&Entry| {
            entry.state() != State::Reserved && !self.is_adopted(entry.member.peer_id())
        };
        let view = self.entries.iter().filter(known).map(|entry| entry.member.peer_id());
        let view: View = Arc::new(view.collect());
        let left = self.adoption.take().map(|it| it.told_left).unwrap_or_default();
        (self.is_frozen, self.moving) = (false, Moving::default());
        self.departed.clear();
        let (mut members, mut guests) = (Vec::new(), Vec::new());
        let all: Vec<_> =
            self.entries.iter().map(|entry| (entry.member.clone(), entry.state())).collect();
        for (member, state) in all {
            match state {
                _ if member.is_guest() => {
                    self.entries.remove(member.peer_id());
                    guests.push(member);
                }
                State::Member => members.push(member),
                // Their clients go, and the others are told by what they know.
                State::Departed { .. } => self.entries.remove(member.peer_id()),
                _ => {}
            }
        }
        let tags = take(&mut self.tags);
        let (tags, seen) = tags.map(|tags| (tags.all(), tags.last())).unwrap_or_default();
        Leaving { members, guests, view, tags, seen, left }
    }

    /// Waits for the members that come with the room: what the server sends waits as well, so that it reaches all.
    pub(crate) fn gather(&mut self) {
        self.moving.held_back = Some(Vec::new());
    }

    /// Notes that the room is to be closed when its members are here: that is all they are told. Returns false if it
    /// does not wait for them.
    pub(crate) fn stop_when_gathered(&mut self) -> bool {
        self.moving.stops = self.is_gathering();
        self.moving.stops
    }

    pub(crate) fn is_gathering(&self) -> bool {
        self.moving.held_back.is_some()
    }

    /// Keeps a message of the server until the members are here.
    ///
    /// # Errors
    /// [`ForwardError::TooManyInFlight`]
    pub(crate) fn hold_back(&mut self, message: &RoomMessage) -> Result<(), ForwardError> {
        let held_back = self.moving.held_back.get_or_insert_default();
        if held_back.len() >= MOST_HELD_BACK {
            return Err(ForwardError::TooManyInFlight);
        }
        held_back.push(message.clone());
        Ok(())
    }

    /// Returns what was held back: all members are here.
    pub(crate) fn has_gathered(&mut self) -> Vec<RoomMessage> {
        take(&mut self.moving.held_back).unwrap_or_default()
    }

    /// Lets in the members that have come with the room, and notes those that have not as gone.
    pub(crate) fn arrived(&mut self, members: Vec<PeerId>) {
        let adoptable = self.adoptable().iter().map(Member::peer_id).collect::<Vec<_>>();
        let (known, unknown): (Vec<_>, Vec<_>) =
            adoptable.into_iter().partition(|peer| members.contains(peer));
        known.into_iter().for_each(|peer| self.entries.set(peer, State::Member));
        self.phase = if self.is_closed() { self.phase } else { Phase::Open };
        // The room is asked about the others, which other nodes have offered while it left its former home.
        self.is_frozen = !unknown.is_empty();
        if self.moving.stops {
            // They are told that the room is closed, and nothing else.
            return self.forget_views();
        }
        let unknown = self.take_views(&unknown);
        let is_here = |peer: &PeerId| self.entries.state(*peer) == Some(State::Member);
        let gone: Vec<PeerId> = members.into_iter().filter(|peer| !is_here(peer)).collect();
        self.steps.extend(gone.into_iter().map(Step::Leave));
        self.reconcile(false);
        self.return_views(unknown);
        self.announce_departures();
    }
}

/// Number of messages of the server that wait for the members at most.
const MOST_HELD_BACK: usize = 1_024;

#[cfg(test)]
mod tests {
    use callboard_outbox::{Outbox, OutboxLimits};
    use serde_json::Map;

    use super::*;
    use crate::auth::AuthData;
    use crate::member::NewMember;
    use crate::roster::Offered;

    fn member(peer: PeerId) -> NewMember {
        NewMember::new(AuthData::new(peer), Arc::new(Outbox::new(OutboxLimits::default())))
    }

    #[test]
    fn what_is_offered_while_a_room_goes_its_members_do_not_know() {
        let (mut roster, [ann, bob]) = (Roster::default(), [(); 2].map(|()| PeerId::random()));
        roster.started();
        roster.reserve(Member::new(member(ann)).0, Map::new()).unwrap();
        roster.ask(ann, None).unwrap();
        roster.answered(ann, Ok(())).unwrap();
        while roster.poll_output().is_some() {}
        assert_eq!(roster.members_to_move(), Some(vec![ann]));
        roster.freeze(true);

        let (guest, view) = (Member::new(member(bob).guest()).0, Arc::new(vec![bob]));
        roster.offer(Offered { member: guest, view, seen: 0 }).unwrap();
        let Leaving { members, guests, view, .. } = roster.become_edge();

        let ids = |members: Vec<Member>| members.iter().map(Member::peer_id).collect::<Vec<_>>();
        assert_eq!((ids(members), ids(guests), &*view), (vec![ann], vec![bob], &vec![ann]));
    }
}
