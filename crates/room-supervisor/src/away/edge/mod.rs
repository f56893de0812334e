//! Peers of this node in a room that another node runs: what they say goes to the home, and what comes back to them.

mod homes;
mod lists;
mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_cluster::NodeId;
use callboard_outbox::{CloseFrame, OutboxLimits};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::shared::{Listening, SharedEdge};
use super::WINDOW;
use super::later::Later;
use super::returning::{Answer, Unhandled};
use super::view::{Told, Views, told};
use crate::auth::PublicMetadata;
use crate::credit::Credit;
use crate::error::JoinError;
use crate::link::{
    Assembly, Batch, FrameError, Joining, Part, Progress, Refusal, Seat, Tag, ToEdge, ToHome,
};
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::roster::View;
use crate::server_messages::lists_members;
use crate::shared::Shared;
use crate::tenure::ROOM_LOST;
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
    /// Batches of the home that were handled, and that it has not been told of.
    took: Later,
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
    /// The present home was asked to tell its client who is a member.
    awaits_list: bool,
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
            took: Later::default(),
        }
    }

    /// Creates the edge of a node that was the room's home, with the members that it has: what each of them has been
    /// told, and the messages of guests; and the nodes that had links to it.
    pub(crate) fn of_former_home(
        shared: Arc<Shared>,
        members: Vec<Member>,
        view: &View,
        seen: u64,
        tags: Vec<Tag>,
        left: ToldLeft,
        edges: Vec<NodeId>,
    ) -> Self {
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

    /// Returns the node to which the home has given the room, once. The former home is an edge from then on; one that
    /// has not given it away is none.
    pub(crate) fn take_moved(&mut self, from: &NodeId) -> Option<NodeId> {
        self.edges.retain(|node| node != from);
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
            awaits_list: false,
        };
        self.seats.insert(self.last, guest);
        self.last
    }

    /// Ends the seat of a peer that goes on at another node.
    pub(crate) fn detach(&mut self, member: &Member, answer: oneshot::Sender<Progress>) {
        let Some(&seat) = self.by_peer.get(&member.peer_id()) else { return };
        let guest = self.seats.get_mut(&seat).filter(|guest| guest.member.is_same(member));
        // Without a home, it waits for the next.
        let Some(guest) = guest else { return };
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
        let took = self.took.take();
        self.send(&forwarding(seat, number, &message, took), &[message.data.get().as_bytes()]);
        if let Some(guest) = self.seats.get_mut(&seat) {
            guest.unhandled.push_back((number, message, credit));
        }
    }

    /// Tells the home which batches were handled, if it is time.
    fn tell_took(&mut self) {
        if self.took.is_due(Instant::now(), MANY) {
            let batches = self.took.take();
            self.send(&ToHome::Took { batches, lists: Vec::new() }, &[]);
        }
    }

    /// Returns after which time to [look](Self::looks) again whether the home is to be told something, if that was not
    /// asked before.
    fn look_again(&mut self) -> Option<Duration> {
        self.took.look_again(Instant::now())
    }

    fn looks(&mut self) {
        self.took.looks();
        self.tell_took();
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

    /// Handles what has come from the home. Of what cannot be read, nothing is done.
    fn handle_part(&mut self, part: Part) -> Result<Next, FrameError> {
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
        let mut places = batch.frames.iter().flat_map(|(_, places)| places);
        if places.any(|&place| place >= texts.len()) {
            return Err(FrameError::Payload);
        }
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
                let text = texts[place].clone();
                self.note(&seats, told[place].as_ref(), tags.get(&place).copied());
                if matches!(told[place], Some(Told::All(_))) && lists_members(&text) {
                    self.lists_came(&seats);
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
        self.took.add(Instant::now(), 1);
        self.tell_took();
        Ok(())
    }

    /// Notes what the clients of these seats know by the next text.
    fn note(&mut self, seats: &[Seat], told: Option<&Told>, tag: Option<u64>) {
        self.views.next_text();
        // Most tell nothing of the members, and many are no message of a guest.
        if told.is_none() && tag.is_none() {
            return;
        }
        for seat in seats {
            let Some(guest) = self.seats.get_mut(seat) else { continue };
            if let Some(told) = told {
                guest.view = self.views.update(&guest.view, told);
            }
            guest.seen = guest.seen.max(tag.unwrap_or_default());
        }
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

fn forwarding(seat: Seat, number: u64, message: &RoomMessage, took: usize) -> ToHome {
    let (event, to) = (message.event.clone(), message.to.clone().map(Into::into));
    ToHome::Forward { seat, number, event, to, took }
}

/// Batches after which the home is told at once: half of what it sends ahead.
const MANY: usize = WINDOW / 2;
