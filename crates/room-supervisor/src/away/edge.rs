//! Peers of this node in a room that another node runs: what they say goes to the home, and what comes back to them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use callboard_cluster::NodeId;
use callboard_outbox::{CloseFrame, OutboxLimits};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::returning::{Answer, Returning, Unhandled};
use super::view::{Views, told};
use crate::auth::PublicMetadata;
use crate::credit::Credit;
use crate::error::JoinError;
use crate::link::{
    Assembly, Batch, FrameError, Joining, Offer, Part, Progress, Refusal, Seat, Tag, ToEdge, ToHome,
};
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::roster::View;
use crate::shared::Shared;
use crate::tenure::{ROOM_LOST, Tenure};
use crate::told_left::ToldLeft;
use crate::wake_ups::WakeUps;

/// Peers of this node in a room that another node runs. It outlives the link to one home: while there is none, joins
/// and messages wait.
pub(crate) struct Edge {
    shared: Arc<Shared>,
    assembly: Assembly,
    /// Whether the link to the home is open.
    is_linked: bool,
    /// Peers of this node that the home knows, or is to be asked about.
    seats: BTreeMap<Seat, Guest>,
    /// Seats by the peers' ids.
    by_peer: HashMap<PeerId, Seat>,
    last: Seat,
    /// Members as the home has told of them.
    members: BTreeMap<PeerId, Member>,
    views: Views,
    /// Messages of guests that have come, and whose own nodes may not know that they were handled.
    tags: VecDeque<Tag>,
    /// Nodes that have links to the home.
    edges: Vec<NodeId>,
    /// Node to which the home has given the room.
    moved: Option<NodeId>,
    /// The home lives, and is an edge now.
    has_moved: bool,
}

struct Guest {
    member: Member,
    /// Answer to its join, until the room has decided.
    answer: Option<Answer>,
    /// Told when it has no seat at the home any more.
    detaching: Option<oneshot::Sender<Progress>>,
    /// It comes from another node, and the home keeps it a member until it has its seat.
    arrives: bool,
    /// Whether a home has admitted it.
    is_member: bool,
    /// Number of its last message.
    number: u64,
    /// Messages that the home has not handled.
    unhandled: VecDeque<Unhandled>,
    /// What its client has been told of the members.
    view: View,
    /// Place of the last tag that its client has been sent.
    seen: u64,
}

/// What follows from something that the home has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    /// The room is not there any more, and may be somewhere else.
    Seek,
    /// The room was closed for good.
    Close,
}

impl Edge {
    pub(crate) fn new(shared: Arc<Shared>, is_linked: bool) -> Self {
        Self {
            shared,
            assembly: Assembly::default(),
            is_linked,
            seats: BTreeMap::new(),
            by_peer: HashMap::new(),
            last: 0,
            members: BTreeMap::new(),
            views: Views::default(),
            tags: VecDeque::new(),
            edges: Vec::new(),
            moved: None,
            has_moved: false,
        }
    }

    /// Creates the edge of a node that was the room's home, with the members that it has: what each of them has been
    /// told, and the messages of guests.
    pub(crate) fn of_former_home(
        shared: Arc<Shared>,
        members: Vec<Member>,
        view: &View,
        seen: u64,
        tags: Vec<Tag>,
        left: ToldLeft,
    ) -> Self {
        let edges = shared.tenure().map(Tenure::edges).unwrap_or_default();
        let mut edge = Self { tags: tags.into(), edges, ..Self::new(shared, false) };
        edge.views.left = left;
        for member in members {
            let number = member.number();
            let seat = edge.take_seat(member, None);
            if let Some(guest) = edge.seats.get_mut(&seat) {
                (guest.is_member, guest.view) = (true, Arc::clone(view));
                (guest.seen, guest.number) = (seen, number);
            }
        }
        edge
    }

    /// Returns the node to which the home has given the room, once. The former home is an edge from then on.
    pub(crate) fn take_moved(&mut self, from: &NodeId) -> Option<NodeId> {
        let moved = self.moved.take()?;
        self.edges.push(from.clone());
        self.has_moved = true;
        Some(moved)
    }

    fn send(&self, header: &ToHome, payload: &[&[u8]]) {
        if self.is_linked
            && let Some(away) = self.shared.away()
        {
            away.link.send(header, payload);
        }
    }

    /// Asks the home to admit a peer. Returns false if the peer has been answered, and there may be none left.
    pub(crate) fn join(&mut self, peer: PeerId, answer: Answer) -> bool {
        let asked = self.shared.roster().ask(peer, None);
        let member = match asked {
            Ok(Some(member)) => member,
            Ok(None) => {
                _ = answer.send(Ok(()));
                return true;
            }
            Err(error) => {
                _ = answer.send(Err(error));
                return false;
            }
        };
        let seat = self.by_peer.get(&peer).and_then(|seat| self.seats.get_mut(seat));
        if let Some(guest) = seat.filter(|guest| guest.member.is_same(&member)) {
            // It asks again, as a peer does that was restarted meanwhile.
            guest.answer = Some(answer);
            return true;
        }
        let seat = self.add_seat(member.clone(), answer);
        self.send_join(seat, &member, false);
        true
    }

    fn add_seat(&mut self, member: Member, answer: Answer) -> Seat {
        self.take_seat(member, Some(answer))
    }

    fn take_seat(&mut self, member: Member, answer: Option<Answer>) -> Seat {
        self.last += 1;
        self.by_peer.insert(member.peer_id(), self.last);
        let guest = Guest {
            member,
            answer,
            detaching: None,
            arrives: false,
            is_member: false,
            number: 0,
            unhandled: VecDeque::new(),
            view: View::default(),
            seen: 0,
        };
        self.seats.insert(self.last, guest);
        self.last
    }

    /// Ends the seat of a peer that goes on at another node.
    pub(crate) fn detach(&mut self, member: &Member, answer: oneshot::Sender<Progress>) {
        let Some(&seat) = self.by_peer.get(&member.peer_id()) else { return };
        let guest = self.seats.get_mut(&seat).filter(|guest| guest.member.is_same(member));
        // Without a home, it goes nowhere.
        let Some(guest) = guest.filter(|_| self.is_linked) else { return };
        guest.detaching = Some(answer);
        self.send(&ToHome::Detach { seat }, &[]);
    }

    fn detached(&mut self, seat: Seat) {
        let Some(guest) = self.seats.remove(&seat) else { return };
        let Guest { member, detaching, seen, number, .. } = guest;
        let peer = member.peer_id();
        self.forget(seat, peer);
        self.shared.forget(&member);
        self.replace_member(Member::remote(peer, member.public().clone()));
        _ = detaching.map(|answer| answer.send(Progress { seen, number }));
    }

    /// Takes the seat of a peer that has come from another node.
    pub(crate) fn adopt(&mut self, member: Member, progress: Progress, answer: Answer) {
        let peer = member.peer_id();
        if let Err(error) = self.shared.roster().ask(peer, None) {
            _ = answer.send(Err(error));
            return;
        }
        if !self.is_linked {
            self.shared.roster().turn_away(peer);
            _ = answer.send(Err(JoinError::RoomUnavailable));
            return;
        }
        let seat = self.add_seat(member.clone(), answer);
        // What its client does not know yet waits for it, and is no harm to tell of twice here.
        let known = self.members.keys().copied().chain([peer]).collect::<BTreeSet<_>>();
        if let Some(guest) = self.seats.get_mut(&seat) {
            (guest.arrives, guest.view) = (true, Arc::new(known.into_iter().collect()));
            (guest.seen, guest.number) = (progress.seen, progress.number);
        }
        self.send(&ToHome::Adopt { seat, peer }, &[]);
        self.replace_member(member);
    }

    /// Shows this in place of what the home has told of the same member.
    fn replace_member(&mut self, member: Member) {
        if let Some(known) = self.members.get_mut(&member.peer_id()) {
            *known = member;
            self.show_members();
        }
    }

    fn show_members(&self) {
        if let Some(away) = self.shared.away() {
            away.set_members(self.members.values().cloned().collect());
        }
    }

    /// Asks the home to admit a peer; `again`, if an earlier one was asked.
    fn send_join(&self, seat: Seat, member: &Member, again: bool) {
        if !self.is_linked {
            return;
        }
        let peer = member.peer_id();
        let welcome = self.shared.roster().welcome(peer);
        let joining = Joining::new(member.auth(), &welcome);
        let OutboxLimits { messages, bytes } = member.outbox().limits();
        let texts = joining.lengths();
        let join = ToHome::Join { seat, peer, texts, messages, bytes, again };
        self.send(&join, &joining.payload());
    }

    pub(crate) fn forward(&mut self, peer: PeerId, message: RoomMessage, credit: Credit<Member>) {
        if self.shared.roster().sender(peer).is_none() {
            return;
        }
        let Some(&seat) = self.by_peer.get(&peer) else { return };
        let Some(guest) = self.seats.get_mut(&seat) else { return };
        guest.number += 1;
        let number = guest.number;
        // It goes on from there also after the room was here.
        guest.member.set_number(number);
        guest.unhandled.push_back((number, message, credit));
        if let Some((_, message, _)) =
            self.seats.get(&seat).and_then(|guest| guest.unhandled.back())
        {
            self.send_message(seat, number, message);
        }
    }

    fn send_message(&self, seat: Seat, number: u64, message: &RoomMessage) {
        let RoomMessage { event, data, to, .. } = message;
        let (event, to) = (event.clone(), to.clone().map(Into::into));
        self.send(&ToHome::Forward { seat, number, event, to }, &[data.get().as_bytes()]);
    }

    /// Tells the home of the peers that have left.
    pub(crate) fn depart(&mut self) {
        let mut roster = self.shared.roster();
        roster.forget_departed();
        let gone = self.seats.iter().filter(|(_, guest)| !roster.has(&guest.member));
        let gone: Vec<_> = gone.map(|(&seat, guest)| (seat, guest.member.peer_id())).collect();
        drop(roster);
        for (seat, peer) in gone {
            self.forget(seat, peer);
            self.send(&ToHome::Leave { seat }, &[]);
        }
    }

    fn forget(&mut self, seat: Seat, peer: PeerId) {
        self.seats.remove(&seat);
        if self.by_peer.get(&peer) == Some(&seat) {
            self.by_peer.remove(&peer);
        }
    }

    /// Handles that the link to the home is over: what is said waits for the next one.
    pub(crate) fn lose_link(&mut self) {
        self.is_linked = false;
        self.assembly = Assembly::default();
        // Those between two nodes are lost with the home, which kept their places. One that gives the room away keeps
        // none for a peer that has not gone.
        if self.moved.is_none() {
            self.seats.values_mut().for_each(|guest| guest.detaching = None);
        }
        let arriving = self.seats.iter().filter(|(_, guest)| guest.arrives);
        for seat in arriving.map(|(&seat, _)| seat).collect::<Vec<_>>() {
            let Some(guest) = self.seats.remove(&seat) else { continue };
            let peer = guest.member.peer_id();
            if self.by_peer.get(&peer) == Some(&seat) {
                self.by_peer.remove(&peer);
            }
            self.shared.roster().turn_away(peer);
            _ = guest.answer.map(|answer| answer.send(Err(JoinError::RoomUnavailable)));
        }
    }

    /// Goes on with the home to which [`Shared::away`] leads now: offers it the members, and sends what no home has
    /// handled.
    pub(crate) fn follow(&mut self) {
        (self.is_linked, self.has_moved) = (true, false);
        self.members.clear();
        // Until that says so itself: it may die before.
        let edges = self.edges.clone();
        let mut last = None;
        for (&seat, guest) in self.seats.iter().filter(|(_, guest)| guest.is_member) {
            let (peer, outbox) = (guest.member.peer_id(), guest.member.outbox());
            let joining = Joining::new(guest.member.auth(), &serde_json::Map::new());
            let OutboxLimits { messages, bytes } = outbox.limits();
            let same = last.is_some_and(|last| Arc::ptr_eq(last, &guest.view));
            last = Some(&guest.view);
            let view = (!same).then(|| guest.view.to_vec());
            let (texts, seen) = (joining.lengths(), guest.seen);
            let offer = Offer { seat, peer, texts, messages, bytes, seen, view };
            self.send(&ToHome::Offer(offer), &joining.payload());
        }
        let tags = self.tags.iter().copied().collect();
        let left = self.views.left.list(Instant::now()).collect();
        self.send(&ToHome::Offered { tags, edges, left }, &[]);
        for (&seat, guest) in &self.seats {
            for (number, message, _) in &guest.unhandled {
                self.send_message(seat, *number, message);
            }
            if guest.detaching.is_some() {
                self.send(&ToHome::Detach { seat }, &[]);
            }
            if !guest.is_member {
                self.send_join(seat, &guest.member, true);
            }
        }
    }

    /// Ends the edge: the room comes to this node.
    pub(crate) fn come_home(&mut self) -> Returning {
        let (mut members, mut messages, mut joins) = (Vec::new(), Vec::new(), Vec::new());
        for guest in take(&mut self.seats).into_values() {
            let peer = guest.member.peer_id();
            messages.extend(guest.unhandled.into_iter().map(|unhandled| (peer, unhandled)));
            if guest.is_member {
                members.push((peer, guest.view, guest.seen));
            }
            joins.extend(guest.answer.map(|answer| (peer, answer)));
        }
        let tags = take(&mut self.tags).into();
        let (edges, has_moved) = (take(&mut self.edges), self.has_moved);
        let left = take(&mut self.views.left);
        Returning { members, tags, messages, joins, edges, left, has_moved }
    }

    /// Handles what has come from the home.
    pub(crate) fn handle_part(&mut self, part: Part) -> Result<Next, FrameError> {
        match self.assembly.add(part)? {
            // The second is the answer on a link of its own.
            Some((
                ToEdge::Opened { .. } | ToEdge::Ready | ToEdge::Unwilling(_) | ToEdge::Taken(_),
                _,
            ))
            | None => Ok(Next::GoOn),
            Some((ToEdge::Gone, _)) => Ok(Next::Seek),
            Some((ToEdge::Ended, _)) => Ok(Next::Close),
            Some((ToEdge::Batch(batch), payload)) => {
                self.handle_batch(batch, payload)?;
                Ok(Next::GoOn)
            }
        }
    }

    fn handle_batch(&mut self, batch: Batch, payload: Bytes) -> Result<(), FrameError> {
        let (public, texts) = batch.read_payload(payload)?;
        let Batch { came, gone, frames, closed, joined, detached, .. } = batch;
        let Batch { handled, tags, settled, edges, epoch, moved, .. } = batch;
        self.moved = moved.or(self.moved.take());
        if !edges.is_empty() {
            self.edges = edges;
        }
        if let (Some(epoch), Some(away)) = (epoch, self.shared.away()) {
            away.set_epoch(epoch);
            self.shared.notify();
        }
        let came = came.into_iter().map(|(peer, _)| peer).zip(public).collect();
        self.change_members(came, &gone);
        self.tags.extend(tags.iter().map(|(_, tag)| tag));
        let tags: HashMap<usize, u64> =
            tags.into_iter().map(|(text, tag)| (text, tag.place)).collect();
        let told: Vec<_> = texts.iter().map(|text| told(text)).collect();
        self.views.hear(told.iter().flatten());
        let (wake_ups, mut full) = (WakeUps::default(), Vec::new());
        for (seats, places) in frames {
            for place in places {
                let text = texts.get(place).ok_or(FrameError::Payload)?.clone();
                self.views.next_text();
                for seat in &seats {
                    let Some(guest) = self.seats.get_mut(seat) else { continue };
                    if let Some(told) = &told[place] {
                        guest.view = self.views.update(&guest.view, told);
                    }
                    guest.seen = guest.seen.max(tags.get(&place).copied().unwrap_or_default());
                }
                let guests = seats.iter().filter_map(|seat| self.seats.get(seat));
                full.extend(wake_ups.put(text, guests.map(|guest| guest.member.outbox())));
            }
        }
        full.iter().for_each(|outbox| outbox.close(CloseFrame::TOO_SLOW));
        wake_ups.flush();
        for (seat, code, reason) in closed {
            if let Some(guest) = self.seats.get(&seat) {
                let close = CloseFrame::new(code, reason).unwrap_or(CloseFrame::FAILED);
                guest.member.outbox().close(close);
            }
        }
        joined.into_iter().for_each(|(seat, error)| self.joined(seat, error));
        detached.into_iter().for_each(|seat| self.detached(seat));
        for (seat, number) in handled {
            if let Some(guest) = self.seats.get_mut(&seat) {
                while guest.unhandled.front().is_some_and(|(its, ..)| *its <= number) {
                    guest.unhandled.pop_front();
                }
            }
        }
        while self.tags.front().is_some_and(|tag| tag.place <= settled) {
            self.tags.pop_front();
        }
        self.send(&ToHome::Took, &[]);
        Ok(())
    }

    /// Handles the room's decision on a peer.
    fn joined(&mut self, seat: Seat, refusal: Option<Refusal>) {
        let Some(guest) = self.seats.get_mut(&seat) else { return };
        if guest.is_member {
            // The next home has not taken it: its client comes back as another peer.
            if let Some(refusal) = refusal {
                log::info!(
                    "peer {} is not taken by its room's next home: {refusal:?}",
                    guest.member.peer_id()
                );
                self.shared.close_member(&guest.member, &"elsewhere".into(), ROOM_LOST);
            }
            return;
        }
        let (answer, peer) = (guest.answer.take(), guest.member.peer_id());
        let joined = match refusal {
            None => {
                (guest.is_member, guest.arrives) = (true, false);
                self.shared.roster().admitted_elsewhere(peer);
                Ok(())
            }
            Some(refusal) => {
                self.shared.roster().turn_away(peer);
                self.forget(seat, peer);
                Err(JoinError::from(refusal))
            }
        };
        _ = answer.map(|answer| answer.send(joined));
    }

    fn change_members(&mut self, came: Vec<(PeerId, PublicMetadata)>, gone: &[PeerId]) {
        if came.is_empty() && gone.is_empty() {
            return;
        }
        for peer in gone {
            self.members.remove(peer);
        }
        for (peer, public) in came {
            let seat = self.by_peer.get(&peer).and_then(|seat| self.seats.get(seat));
            let member = seat.map(|guest| guest.member.clone());
            let member = member.unwrap_or_else(|| Member::remote(peer, public));
            self.members.insert(peer, member);
        }
        self.show_members();
    }
}
