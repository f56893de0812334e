//! Roster of a room whose home was another node: it adopts the members that their nodes offer, and tells each client
//! the difference between what it knows and what is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem::take;
use std::sync::Arc;

use bytestring::ByteString;
use callboard_cluster::NodeId;
use serde_json::Map;
use tokio::time::Instant;

use super::entries::{Entry, State};
use super::{Phase, Roster, Step};
use crate::error::JoinError;
use crate::link::{Batch, Tag};
use crate::member::Member;
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;
use crate::told_left::ToldLeft;

/// Peers that a client has been told are in the room, with itself: sorted.
pub(crate) type View = Arc<Vec<PeerId>>;

/// Member that an earlier home of the room has admitted.
pub(crate) struct Offered {
    pub(crate) member: Member,
    pub(crate) view: View,
    /// Place of the last tag that its client was sent.
    pub(crate) seen: u64,
}

/// Message of a peer, by the number that it has for all homes of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) peer: PeerId,
    pub(crate) number: u64,
}

/// What the members of an earlier home have brought.
#[derive(Debug, Default)]
pub(super) struct Adoption {
    /// Members that have not been told what has changed, and what they know.
    views: HashMap<PeerId, View>,
    /// Nodes that have offered all of their members.
    offered: HashSet<NodeId>,
    /// Nodes that had links to an earlier home, as those say that have offered theirs.
    expected: HashSet<NodeId>,
    /// Those of them that have not come in time.
    given_up: HashSet<NodeId>,
    /// Places of messages that some have, and that may be sent again.
    places: BTreeMap<Origin, u64>,
    /// The last place that each member has.
    seen: HashMap<PeerId, u64>,
    /// Peers whose departure was told though no one has said that they left. They do not come again.
    pub(super) told_left: ToldLeft,
    /// Peers on which an earlier home may have decided.
    undecided: HashSet<PeerId>,
    /// Whether members were adopted, and told what they did not know.
    is_over: bool,
}

impl Roster {
    /// Begins as that of the room's home, with the members of this node, which was an edge of another.
    pub(crate) fn come_home(&mut self, members: Vec<(PeerId, View, u64)>, left: ToldLeft) {
        self.phase = Phase::Restarting;
        self.departed.clear();
        let adoption = self.adoption.get_or_insert_default();
        adoption.offered.clear();
        adoption.expected.clear();
        adoption.given_up.clear();
        adoption.places.clear();
        adoption.told_left = left;
        adoption.undecided.clear();
        let states: Vec<_> =
            self.entries.iter().map(|entry| (entry.member.peer_id(), entry.state())).collect();
        for (peer, state) in states {
            match state {
                State::Member | State::Stale => self.entries.set(peer, State::Stale),
                // The others are told by what they know.
                State::Departed { .. } => self.entries.remove(peer),
                // No home has decided on it, as far as is known here.
                _ => {
                    self.entries.set(peer, State::Reserved);
                    self.adoption.get_or_insert_default().undecided.insert(peer);
                }
            }
        }
        for (peer, view, seen) in members {
            if self.entries.state(peer) == Some(State::Stale) {
                self.note_offered(peer, view, seen);
            }
        }
    }

    /// Adds a member of another node that an earlier home has admitted.
    ///
    /// # Errors
    /// [`JoinError`]: it cannot be a member any more.
    pub(crate) fn offer(&mut self, offered: Offered) -> Result<(), JoinError> {
        let Offered { member, view, seen } = offered;
        let peer = member.peer_id();
        if self.is_closed() || self.was_told_left(peer) {
            return Err(JoinError::RoomUnavailable);
        }
        if self.entries.get(peer).is_some() {
            return Err(JoinError::PeerIdTaken);
        }
        self.entries.insert(Entry::reserved(member, Map::new()));
        self.entries.set(peer, State::Stale);
        self.note_offered(peer, view, seen);
        // Until it is a member again, what it says waits its turn.
        self.is_frozen = true;
        Ok(())
    }

    fn note_offered(&mut self, peer: PeerId, view: View, seen: u64) {
        self.tags.get_or_insert_default().follow(seen);
        let adoption = self.adoption.get_or_insert_default();
        adoption.views.insert(peer, view);
        adoption.seen.insert(peer, seen);
    }

    /// Notes that a node has offered all of its members, which messages of guests they have, and which nodes had links
    /// to the last home as far as it knows.
    pub(crate) fn offered_all(&mut self, node: NodeId, tags: Vec<Tag>, edges: Vec<NodeId>) {
        let adoption = self.adoption.get_or_insert_default();
        adoption.offered.insert(node);
        adoption.expected.extend(edges);
        for Tag { place, peer, number } in tags {
            adoption.places.insert(Origin { peer, number }, place);
            self.tags.get_or_insert_default().follow(place);
        }
    }

    /// Notes that these nodes had links to an earlier home.
    pub(crate) fn expect_offers_of(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        self.adoption.get_or_insert_default().expected.extend(nodes);
    }

    /// Returns the nodes but this one that had links to an earlier home, as far as is known, and may still offer their
    /// members.
    pub(crate) fn awaited(&self, here: &NodeId) -> impl Iterator<Item = &NodeId> {
        let adoption = self.adoption.as_deref().into_iter();
        adoption.flat_map(move |Adoption { expected, offered, given_up, .. }| {
            let comes = move |node: &&NodeId| !offered.contains(node) && !given_up.contains(node);
            expected.iter().filter(move |node| *node != here).filter(comes)
        })
    }

    /// Returns whether a node has said which ones had links to an earlier home.
    pub(crate) fn expects_offers(&self) -> bool {
        self.adoption.as_ref().is_some_and(|adoption| !adoption.expected.is_empty())
    }

    /// Does not wait for this node, whose peers have left with it.
    pub(crate) fn expect_no_offer_of(&mut self, node: NodeId) {
        self.adoption.get_or_insert_default().given_up.insert(node);
    }

    /// Waits no more for nodes that have not offered their members.
    pub(crate) fn give_up_offers(&mut self) {
        if let Some(Adoption { expected, offered, given_up, .. }) = self.adoption.as_deref_mut() {
            given_up.extend(expected.difference(offered).cloned());
        }
    }

    /// Returns whether there are members of an earlier home that were not told yet what they do not know. If not, the
    /// room's messages need not wait for them.
    pub(crate) fn adopts(&mut self) -> bool {
        let adopts = self.adoption.as_ref().is_some_and(|adoption| !adoption.views.is_empty());
        self.is_frozen &= adopts;
        adopts
    }

    /// Returns a message about a member that comes or goes, for those who learn of it in this way: members that are
    /// being adopted learn by what they know. None if there is no one else.
    pub(super) fn to_those_who_know(&self, message: RoomMessage) -> Option<RoomMessage> {
        let views = self.adoption.as_deref().map(|adoption| &adoption.views);
        let Some(views) = views.filter(|views| !views.is_empty()) else { return Some(message) };
        let others = self.visible().map(Member::peer_id).filter(|peer| !views.contains_key(peer));
        let others: Vec<PeerId> = others.collect();
        (!others.is_empty()).then(|| message.to(To::Peers(others)))
    }

    /// Returns whether a peer is one of those that are being adopted, also if it has left meanwhile.
    pub(super) fn is_adopted(&self, peer: PeerId) -> bool {
        self.adoption.as_ref().is_some_and(|adoption| adoption.views.contains_key(&peer))
    }

    /// Takes the peers whose departure is to be announced, but of those that are being adopted.
    pub(super) fn take_departed(&mut self) -> Vec<PeerId> {
        let departed = take(&mut self.departed);
        let (adopted, departed) = departed.into_iter().partition(|&peer| self.is_adopted(peer));
        self.departed = adopted;
        departed
    }

    /// Notes that these peers are said to have left, though they may not know it. Those that an earlier home has
    /// admitted leave the room, and are returned.
    pub(crate) fn were_told_left(
        &mut self,
        peers: impl IntoIterator<Item = PeerId>,
    ) -> Vec<Member> {
        let (now, mut gone) = (Instant::now(), Vec::new());
        for peer in peers {
            let adoption = self.adoption.get_or_insert_default();
            adoption.told_left.note(peer, now);
            if !adoption.seen.contains_key(&peer) {
                continue;
            }
            let Some(entry) = self.entries.get(peer) else { continue };
            let (member, state) = (entry.member.clone(), entry.state());
            match state {
                State::Member => self.depart(peer, true),
                State::Stale | State::Asking { known: true } => self.depart(peer, false),
                _ => continue,
            }
            gone.push(member);
        }
        gone
    }

    /// Notes that these peers may leave, of whose node nothing is heard any more.
    pub(crate) fn lost_node_of(&mut self, peers: impl IntoIterator<Item = PeerId>) {
        let told_left = &mut self.adoption.get_or_insert_default().told_left;
        peers.into_iter().for_each(|peer| told_left.note(peer, Instant::now()));
    }

    /// Takes what these peers know, until it is [returned](Self::return_views).
    pub(super) fn take_views(&mut self, peers: &[PeerId]) -> Vec<(PeerId, View)> {
        let Some(adoption) = &mut self.adoption else { return Vec::new() };
        peers.iter().filter_map(|peer| adoption.views.remove_entry(peer)).collect()
    }

    pub(super) fn forget_views(&mut self) {
        if let Some(adoption) = &mut self.adoption {
            adoption.views.clear();
        }
    }

    pub(super) fn return_views(&mut self, views: Vec<(PeerId, View)>) {
        if !views.is_empty() {
            self.adoption.get_or_insert_default().views.extend(views);
        }
    }

    /// Forgets which nodes have offered their members.
    pub(crate) fn forget_offers(&mut self) {
        if let Some(adoption) = &mut self.adoption {
            adoption.offered.clear();
            adoption.expected.clear();
            adoption.given_up.clear();
        }
    }

    /// Returns whether members of an earlier home were adopted.
    pub(crate) fn has_adopted(&self) -> bool {
        self.adoption.as_ref().is_some_and(|adoption| adoption.is_over)
    }

    /// Returns the members to be adopted: those that this instance of the room has not decided on.
    pub(crate) fn adoptable(&self) -> Vec<Member> {
        let Some(adoption) = &self.adoption else { return Vec::new() };
        let is_new = |member: &&Member| adoption.views.contains_key(&member.peer_id());
        self.select(|state| state == State::Stale).filter(is_new).cloned().collect()
    }

    /// Returns whether clients were told that this peer has left, in the name of a node that did not come.
    pub(crate) fn was_told_left(&self, peer: PeerId) -> bool {
        let told_left = self.adoption.as_ref().map(|adoption| &adoption.told_left);
        told_left.is_some_and(|told_left| told_left.contains(peer, Instant::now()))
    }

    /// Returns whether an earlier home has admitted this peer, and the others were told that it has left, before it
    /// learnt of either.
    pub(super) fn was_decided_and_told_left(&mut self, peer: PeerId) -> bool {
        let undecided = self.adoption.as_mut().is_some_and(|it| it.undecided.remove(&peer));
        undecided && self.was_told_left(peer)
    }

    /// Tells the members that were adopted what they do not know, and the others of them; and whether the room was
    /// restarted. Returns false if there are none.
    pub(super) fn reconcile(&mut self, is_restarted: bool) -> bool {
        let Some(adoption) = &mut self.adoption else { return false };
        let views = take(&mut adoption.views);
        if views.is_empty() {
            return false;
        }
        adoption.is_over = true;
        let present: BTreeSet<PeerId> = self.members().map(Member::peer_id).collect();
        let new: BTreeSet<PeerId> =
            present.iter().filter(|peer| views.contains_key(peer)).copied().collect();
        let old: Vec<PeerId> = present.difference(&new).copied().collect();
        self.tell_departed_to(&old, &views);
        let mut groups: HashMap<&[PeerId], Vec<PeerId>> = HashMap::new();
        for peer in &new {
            groups.entry(views[peer].as_slice()).or_default().push(*peer);
        }
        for (known, members) in groups {
            let known: BTreeSet<PeerId> = known.iter().copied().collect();
            for &gone in known.difference(&present) {
                self.tell(RoomMessage::left(gone), members.clone());
                self.adoption.get_or_insert_default().told_left.note(gone, Instant::now());
            }
            for &come in present.difference(&known) {
                let others = members.iter().copied().filter(|peer| *peer != come).collect();
                self.tell_joined(come, others);
            }
        }
        for &come in &new {
            self.tell_joined(come, old.clone());
        }
        let peers: Vec<PeerId> = present.into_iter().collect();
        let restarted = RoomMessage::room_restarted(&peers);
        let to = if old.is_empty() { To::All } else { To::Peers(new.iter().copied().collect()) };
        if is_restarted && !new.is_empty() {
            self.steps.push_back(Step::Tell(restarted.to(to)));
        }
        true
    }

    /// Tells old members of the departures that were not announced. New ones never learn of these peers, or by what
    /// they know.
    fn tell_departed_to(&mut self, old: &[PeerId], views: &HashMap<PeerId, View>) {
        for peer in take(&mut self.departed) {
            if self.entries.state(peer) == Some(State::Departed { admitted: true }) {
                self.steps.push_back(Step::Leave(peer));
            }
            self.entries.remove(peer);
            if !views.contains_key(&peer) {
                self.tell(RoomMessage::left(peer), old.to_vec());
            }
        }
    }

    fn tell_joined(&mut self, peer: PeerId, to: Vec<PeerId>) {
        if let Some(member) = self.member(peer) {
            self.tell(RoomMessage::joined(peer, member.public()), to);
        }
    }

    fn tell(&mut self, message: RoomMessage, to: Vec<PeerId>) {
        if !to.is_empty() {
            self.steps.push_back(Step::AnnounceTo(message.to(To::Peers(to))));
        }
    }

    /// Returns whether a member is not sent what a peer says: one that has not been told of that peer yet.
    pub(super) fn is_unknown(&self, from: Option<PeerId>) -> impl Fn(PeerId) -> bool {
        let views = self.adoption.as_deref().map(|it| &it.views).filter(|views| !views.is_empty());
        let known = views.zip(from);
        move |peer| {
            known.is_some_and(|(views, from)| {
                views.get(&peer).is_some_and(|view| !view.contains(&from))
            })
        }
    }

    /// Returns whether a member has what has come of a message already: by an earlier home of the room.
    pub(crate) fn has_seen(&self, origin: Option<Origin>) -> impl Fn(PeerId) -> bool {
        let adoption = self.adoption.as_deref();
        let seen = origin
            .zip(adoption)
            .and_then(|(origin, adoption)| Some((*adoption.places.get(&origin)?, &adoption.seen)));
        move |peer| {
            seen.is_some_and(|(place, seen)| seen.get(&peer).is_some_and(|its| *its >= place))
        }
    }

    /// Returns whether what comes of a message is tagged: its sender is a guest, which might send it again to another
    /// home.
    pub(crate) fn tags_what_comes_of(&self, origin: Option<Origin>) -> bool {
        let guest = origin.filter(|origin| origin.number > 0);
        guest.is_some_and(|guest| self.member(guest.peer).is_some_and(Member::is_guest))
    }

    /// Tags what has come of a message.
    pub(crate) fn tag(&mut self, text: Option<ByteString>, origin: Option<Origin>) {
        if let (Some(text), Some(Origin { peer, number })) = (text, origin) {
            self.tags.get_or_insert_default().tag(text, peer, number);
        }
    }

    /// Adds the tags of these texts to a batch.
    pub(crate) fn tags_of(&self, texts: &[ByteString], batch: &mut Batch) {
        if let Some(tags) = &self.tags {
            tags.add_to(texts, batch);
        }
    }

    /// Forgets what a peer has brought that leaves.
    pub(super) fn forget_brought(&mut self, peer: PeerId) {
        self.settle(peer, u64::MAX);
        if let Some(adoption) = &mut self.adoption {
            adoption.seen.remove(&peer);
        }
    }

    /// Returns the last place that was given to what has come of a message.
    pub(crate) fn last_place(&self) -> u64 {
        self.tags.as_ref().map_or(0, |tags| tags.last())
    }

    /// Notes that the node of a guest knows that its messages up to this number were handled.
    pub(crate) fn settle(&mut self, peer: PeerId, number: u64) {
        if let Some(tags) = &mut self.tags {
            tags.settle(peer, number);
        }
        if let Some(adoption) = &mut self.adoption {
            let settled = adoption.places.range(..=Origin { peer, number });
            let settled = settled.rev().map(|(origin, _)| *origin).take_while(|it| it.peer == peer);
            for origin in settled.collect::<Vec<_>>() {
                adoption.places.remove(&origin);
            }
        }
    }
}

#[cfg(test)]
mod tests;
