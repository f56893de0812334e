//! Actor of a room that is away: what its peers on this node say goes to the home, and what comes back to them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use callboard_outbox::{CloseFrame, OutboxLimits};
use callboard_supervision::{Exit, ExitReason, has_panicked};
use tokio::sync::oneshot;

use crate::actor::{ABANDONED, ROOM_LOST};
use crate::auth::PublicMetadata;
use crate::command::RoomCommand;
use crate::credit::Credit;
use crate::error::{ForwardError, JoinError};
use crate::link::{
    Assembly, Batch, FrameError, Joining, Link, Part, Parts, Refusal, Seat, ToEdge, ToHome, stream,
};
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::shared::Shared;
use crate::wake_ups::WakeUps;

/// Actor of a room that is away. It ends with the link to the home.
pub(crate) struct AwayActor {
    shared: Arc<Shared>,
    parts: Option<Parts>,
    assembly: Assembly,
    /// Peers of this node that the home knows, or has been asked about.
    seats: BTreeMap<Seat, Guest>,
    /// Seats by the peers' ids.
    by_peer: HashMap<PeerId, Seat>,
    last: Seat,
    /// Members as the home has told of them.
    members: BTreeMap<PeerId, Member>,
    /// Whether the room is opened here again when it is asked for: then it ends when it is empty.
    reopens: bool,
}

struct Guest {
    member: Member,
    answer: Option<Answer>,
    /// Told when it has no seat at the home any more.
    detaching: Option<oneshot::Sender<()>>,
    /// Credits for messages that the home has not handled.
    credits: VecDeque<Credit<Member>>,
}

type Answer = oneshot::Sender<Result<(), JoinError>>;

impl AwayActor {
    pub(crate) fn new(shared: Arc<Shared>, parts: Parts, reopens: bool) -> Self {
        Self {
            shared,
            parts: Some(parts),
            assembly: Assembly::default(),
            seats: BTreeMap::new(),
            by_peer: HashMap::new(),
            last: 0,
            members: BTreeMap::new(),
            reopens,
        }
    }

    fn link(&self) -> Option<&Link> {
        self.shared.away().map(|away| &away.link)
    }

    fn send(&self, header: &ToHome, payload: &[&[u8]]) {
        if let Some(link) = self.link() {
            link.send(header, payload);
        }
    }

    /// Asks the home to admit a peer.
    fn join(&mut self, peer: PeerId, answer: Answer, ctx: &mut Context<Self>) {
        let asked = self.shared.roster().ask(peer, None);
        let member = match asked {
            Ok(Some(member)) => member,
            Ok(None) => {
                _ = answer.send(Ok(()));
                return;
            }
            Err(error) => {
                _ = answer.send(Err(error));
                return self.close_if_empty(ctx);
            }
        };
        let seat = self.by_peer.get(&peer).and_then(|seat| self.seats.get_mut(seat));
        if let Some(guest) = seat.filter(|guest| guest.member.is_same(&member)) {
            // It asks again, as a peer does that was restarted meanwhile.
            guest.answer = Some(answer);
            return;
        }
        let welcome = self.shared.roster().take_welcome(peer);
        let joining = Joining::new(member.auth(), &welcome);
        let OutboxLimits { messages, bytes } = member.outbox().limits();
        let seat = self.add_seat(member.clone(), answer);
        let texts = joining.lengths();
        let header = ToHome::Join { seat, peer, texts, messages, bytes };
        self.send(&header, &joining.payload());
    }

    fn add_seat(&mut self, member: Member, answer: Answer) -> Seat {
        self.last += 1;
        self.by_peer.insert(member.peer_id(), self.last);
        let (answer, credits) = (Some(answer), VecDeque::new());
        self.seats.insert(self.last, Guest { member, answer, detaching: None, credits });
        self.last
    }

    /// Ends the seat of a peer that goes on at another node.
    fn detach(&mut self, member: &Member, answer: oneshot::Sender<()>) {
        let Some(&seat) = self.by_peer.get(&member.peer_id()) else { return };
        let guest = self.seats.get_mut(&seat).filter(|guest| guest.member.is_same(member));
        let Some(guest) = guest else { return };
        guest.detaching = Some(answer);
        self.send(&ToHome::Detach { seat }, &[]);
    }

    fn detached(&mut self, seat: Seat) {
        let Some(Guest { member, detaching, .. }) = self.seats.remove(&seat) else { return };
        let peer = member.peer_id();
        self.forget(seat, peer);
        self.shared.forget(&member);
        self.replace_member(Member::remote(peer, member.public().clone()));
        _ = detaching.map(|answer| answer.send(()));
    }

    /// Takes the seat of a peer that has come from another node.
    fn adopt(&mut self, member: Member, answer: Answer) {
        let peer = member.peer_id();
        if let Err(error) = self.shared.roster().ask(peer, None) {
            _ = answer.send(Err(error));
            return;
        }
        let seat = self.add_seat(member.clone(), answer);
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

    fn forward(&mut self, peer: PeerId, message: RoomMessage, credit: Credit<Member>) {
        if self.shared.roster().sender(peer).is_none() {
            return;
        }
        let Some(&seat) = self.by_peer.get(&peer) else { return };
        let RoomMessage { event, data, to, .. } = message;
        let to = to.map(Into::into);
        self.send(&ToHome::Forward { seat, event, to }, &[data.get().as_bytes()]);
        if let Some(guest) = self.seats.get_mut(&seat) {
            guest.credits.push_back(credit);
        }
    }

    /// Tells the home of the peers that have left.
    fn depart(&mut self) {
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

    fn close_if_empty(&mut self, ctx: &mut Context<Self>) {
        let mut roster = self.shared.roster();
        // One that was closed meanwhile ends in any case.
        let ends = if self.reopens { roster.close_if_empty() } else { roster.is_closed() };
        drop(roster);
        if ends {
            self.end(ctx);
        }
    }

    /// Closes the room here, because it is not at its home any more, or that cannot be reached.
    fn lose(&mut self, ctx: &mut Context<Self>) {
        self.shared.close(&"elsewhere".into(), ROOM_LOST);
        self.end(ctx);
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        self.shared.roster().terminate();
        ctx.exit(ExitReason::Normal);
    }

    fn handle_message(
        &mut self,
        message: ToEdge,
        payload: Bytes,
        ctx: &mut Context<Self>,
    ) -> Result<(), FrameError> {
        match message {
            // The second is the answer on a link of its own.
            ToEdge::Opened | ToEdge::Taken(_) => {}
            ToEdge::Ended => self.lose(ctx),
            ToEdge::Batch(batch) => {
                let (public, texts) = batch.read_payload(payload)?;
                let Batch { came, gone, frames, closed, joined, handled, detached, .. } = batch;
                let came = came.into_iter().map(|(peer, _)| peer).zip(public).collect();
                self.change_members(came, &gone);
                let (wake_ups, mut full) = (WakeUps::default(), Vec::new());
                for (seats, places) in frames {
                    let guests = || seats.iter().filter_map(|seat| self.seats.get(seat));
                    for place in places {
                        let text = texts.get(place).ok_or(FrameError::Payload)?.clone();
                        let outboxes = guests().map(|guest| guest.member.outbox());
                        full.extend(wake_ups.put(text, outboxes));
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
                for (seat, messages) in handled {
                    if let Some(guest) = self.seats.get_mut(&seat) {
                        guest.credits.drain(..messages.min(guest.credits.len()));
                    }
                }
                self.send(&ToHome::Took, &[]);
            }
        }
        Ok(())
    }

    /// Handles the room's decision on a peer.
    fn joined(&mut self, seat: Seat, refusal: Option<Refusal>) {
        let Some(guest) = self.seats.get_mut(&seat) else { return };
        let (answer, peer) = (guest.answer.take(), guest.member.peer_id());
        let joined = match refusal {
            None => {
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

impl Actor for AwayActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.shared.roster().started();
        if let Some(parts) = self.parts.take() {
            ctx.add_stream(stream(parts));
        }
        self.shared.runs_as(Some(ctx.address().recipient()));
        // Who has asked for it may have given up meanwhile.
        ctx.run_later(ABANDONED, |this, ctx| this.close_if_empty(ctx));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.shared.runs_as(None);
        if let Some(away) = self.shared.away() {
            away.end();
        }
        if !has_panicked() && !self.shared.roster().is_closed() {
            self.shared.close(&"shutdown".into(), CloseFrame::GOING_AWAY);
        }
        self.shared.roster().terminate();
    }
}

impl StreamHandler<Part> for AwayActor {
    fn handle(&mut self, part: Part, ctx: &mut Self::Context) {
        let handled = match self.assembly.add(part) {
            Ok(Some((message, payload))) => self.handle_message(message, payload, ctx),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = handled {
            log::warn!("room {:?}: its home sends what cannot be read: {error}", self.shared.name);
            self.lose(ctx);
        }
    }

    /// The line to the home has ended.
    fn finished(&mut self, ctx: &mut Self::Context) {
        self.lose(ctx);
    }
}

impl Handler<RoomCommand> for AwayActor {
    type Result = ();

    fn handle(&mut self, command: RoomCommand, ctx: &mut Self::Context) {
        match command {
            RoomCommand::Join { peer, answer } => self.join(peer, answer, ctx),
            RoomCommand::ForwardFrom { peer, message, credit } => {
                self.forward(peer, message, credit);
            }
            RoomCommand::Detach { member, answer } => self.detach(&member, answer),
            RoomCommand::Adopt { member, answer } => self.adopt(member, answer),
            RoomCommand::Depart => {
                self.depart();
                self.close_if_empty(ctx);
            }
            RoomCommand::Forward { answer, .. } => {
                _ = answer.send(Err(ForwardError::RoomUnavailable));
            }
            RoomCommand::Stop { details, close, done } => {
                self.shared.close(&details, close);
                self.end(ctx);
                _ = done.send(());
            }
            // A message of the application stays on its node, a room is handed over by its home, and nothing here makes
            // marks.
            RoomCommand::Tell(_) | RoomCommand::Freeze { .. } | RoomCommand::Mark(_) => {}
        }
    }
}
