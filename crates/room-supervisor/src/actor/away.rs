//! Room that another node runs: its actor here passes on what its peers say, and looks for the next home if that node
//! dies.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use callboard_cluster::{ClaimError, Epoch, Hold, NodeId};
use callboard_outbox::CloseFrame;
use callboard_supervision::{Exit, ExitReason};
use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep, timeout};

use super::readopt::{GATHERING, OFFERING, has_all_offers, wait_for_offers};
use super::{ABANDONED, RoomActor};
use crate::arrivals::{Arrival, RoomState};
use crate::away::{Edge, Next, Returning, Unhandled};
use crate::command::RoomCommand;
use crate::error::ForwardError;
use crate::link::{Away, OpenError, Opened, Part, Parts, stream};
use crate::peer_id::PeerId;
use crate::room::OpenedRoom;
use crate::roster::Origin;
use crate::settings::OnCrash;
use crate::shared::Shared;
use crate::tenure::ROOM_LOST;

/// Reason why an edge has lost the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The line to it has ended: it is dead, or cannot be reached.
    LineDown,
    /// It says that the room is not there any more, or the directory does.
    Left,
}

/// Home that was found for a room.
enum Found {
    /// This node has claimed the room.
    Here(Hold),
    There(Opened),
    /// The home has given the room to this node.
    Given(Arrival),
    /// None, for this reason.
    Nothing(&'static str),
}

/// What waits for a room that comes to this node, until it has adopted its members.
pub(super) struct Waiting {
    messages: Vec<(PeerId, Unhandled)>,
    joins: Vec<RoomCommand>,
}

impl RoomActor {
    pub(super) fn start_away(&mut self, ctx: &mut Context<Self>) {
        self.roster().started();
        if let Some(parts) = self.link.take() {
            self.listen(parts, ctx);
        }
        // Who has asked for it may have given up meanwhile.
        ctx.run_later(ABANDONED, |this, ctx| {
            if this.edge.is_some() {
                this.end_edge_if_empty(ctx);
            }
        });
    }

    pub(super) fn listen(&mut self, parts: Parts, ctx: &mut Context<Self>) {
        let (edge, away) = (self.edge.as_ref(), self.shared.away());
        self.listening = edge.zip(away).map(|(edge, away)| edge.listen(&away));
        self.stream = Some(ctx.add_stream(stream(parts)));
        self.watch_claim(ctx);
    }

    /// Leaves the home when the directory says that another node has claimed the room, whether it knows that or not.
    fn watch_claim(&mut self, ctx: &mut Context<Self>) {
        let Some(away) = self.shared.away() else { return };
        let shared = Arc::clone(&self.shared);
        let watching = async move {
            if let Some(tenure) = shared.tenure() {
                // A home that claims the room again goes on with its peers, or else closes the link. One that was
                // started anew is at the end of another line.
                let mut seen = (away.node().clone(), away.epoch());
                while seen.0 == *away.node() {
                    seen = tenure.cluster.claimed_after(&shared.name, seen.1).await;
                }
                // A home that has given the room away says so, after all that it has to say besides.
                sleep(GIVING).await;
            }
        };
        let watching = watching.into_actor(self).map(|(), this, ctx| {
            // One that is cancelled in the pass in which it ends gets here nevertheless.
            if this.watch.take().is_some() && this.edge.is_some() {
                this.lose_home(Cause::Left, ctx);
            }
        });
        self.watch = Some(ctx.spawn(watching));
    }

    pub(super) fn stop_away(&mut self, has_panicked: bool) {
        if let Some(away) = self.shared.away() {
            away.end();
        }
        if !has_panicked && !self.roster().is_closed() {
            self.shared.close(&"shutdown".into(), CloseFrame::GOING_AWAY);
        }
        self.roster().terminate();
    }

    pub(super) fn handle_away(&mut self, command: RoomCommand, ctx: &mut Context<Self>) {
        let Some(edge) = self.edge.clone() else { return };
        match command {
            RoomCommand::Join { peer, answer } => {
                if edge.with(|edge| edge.join(peer, answer)) == Some(false) {
                    self.end_edge_if_empty(ctx);
                }
            }
            RoomCommand::ForwardFrom { origin, message, credit } => {
                edge.with(|edge| edge.forward(origin.peer, message, credit));
            }
            RoomCommand::Detach { member, answer } => {
                edge.with(|edge| edge.detach(&member, answer));
            }
            RoomCommand::Adopt { member, progress, answer } => {
                edge.with(|edge| edge.adopt(member, progress, answer));
            }
            RoomCommand::Depart => {
                edge.with(Edge::depart);
                self.end_edge_if_empty(ctx);
            }
            RoomCommand::ListMembers => _ = edge.with(Edge::ask_for_lists),
            RoomCommand::Forward { answer, .. } => {
                _ = answer.send(Err(ForwardError::RoomUnavailable));
            }
            RoomCommand::Stop { details, close, done } => {
                if close == CloseFrame::NORMAL
                    && let Some(away) = self.shared.away()
                {
                    // If it was closed before the room went to another node.
                    away.stop(&details);
                }
                self.shared.close(&details, close);
                self.end_edge(ctx);
                _ = done.send(());
            }
            // A message of the application stays on its node, a room is handed over by its home, and what was marked
            // before it has gone is handled there.
            RoomCommand::Tell(_)
            | RoomCommand::Freeze { .. }
            | RoomCommand::Leave(_)
            | RoomCommand::AdoptOffered
            | RoomCommand::Mark(_) => {}
        }
    }

    pub(super) fn end_edge_if_empty(&mut self, ctx: &mut Context<Self>) {
        // It is about to be the room's home.
        if self.shared.arrivals.is_expected() && !self.roster().is_closed() {
            return;
        }
        let mut roster = self.roster();
        // One that was closed meanwhile ends in any case.
        let ends = if self.settings.reopens { roster.close_if_empty() } else { roster.is_closed() };
        drop(roster);
        if ends {
            self.end_edge(ctx);
        }
    }

    /// Closes the room here: it was closed at its home, or no home is found.
    fn close_edge(&mut self, reason: &str, ctx: &mut Context<Self>) {
        log::info!("room {:?} is closed here: {reason}", self.shared.name);
        self.shared.close(&"elsewhere".into(), ROOM_LOST);
        self.end_edge(ctx);
    }

    fn end_edge(&mut self, ctx: &mut Context<Self>) {
        self.roster().terminate();
        ctx.exit(ExitReason::Normal);
    }

    /// Handles that the home is lost: looks for the next one, if clients wait for that.
    fn lose_home(&mut self, cause: Cause, ctx: &mut Context<Self>) {
        for task in self.stream.take().into_iter().chain(self.watch.take()) {
            ctx.cancel_future(task);
        }
        if let Some(listening) = self.listening.take() {
            listening.end();
        }
        let (Some(edge), Some(away)) = (&self.edge, self.shared.away()) else { return };
        away.link.close();
        let moved = edge.with(|edge| {
            edge.lose_link();
            edge.take_moved(away.node())
        });
        let moved = moved.flatten();
        // Also by those that have not asked yet to join.
        let is_expected = self.shared.arrivals.is_expected();
        let is_empty = self.shared.roster().is_empty() && !is_expected;
        let is_wanted = !is_empty || !self.settings.reopens;
        let closes = self.settings.on_crash == OnCrash::Close && moved.is_none() && !is_expected;
        if !is_wanted || closes || self.roster().is_closed() {
            return self.close_edge("its home is lost", ctx);
        }
        log::info!("room {:?}: its home {} is lost ({cause:?})", self.shared.name, away.node());
        let (shared, lost) = (Arc::clone(&self.shared), away.epoch());
        // The node that was given the room may die at once, which shows by and by only.
        let within = if moved.is_some() { 2 * SEEKING } else { SEEKING };
        let seeking = async move {
            let finding = find_or_arrive(&shared, lost, cause, moved);
            timeout(within, finding).await.unwrap_or(Found::Nothing("no next home in time"))
        };
        ctx.spawn(seeking.into_actor(self).map(|found, this, ctx| {
            let found_at = match &found {
                Found::Here(_) | Found::Given(_) => "this node".to_owned(),
                Found::There(Opened { link, .. }) => link.node().to_string(),
                Found::Nothing(_) => "none".to_owned(),
            };
            log::info!("room {:?}: its next home is {found_at}", this.shared.name);
            match found {
                Found::Here(hold) => this.come_home(hold, None, ctx),
                Found::Given(Arrival { hold, state }) => this.come_home(hold, Some(state), ctx),
                Found::There(opened) => this.follow(opened, ctx),
                Found::Nothing(reason) => this.close_edge(reason, ctx),
            }
        }));
    }

    /// Goes on with another home.
    fn follow(&mut self, Opened { link, parts, epoch }: Opened, ctx: &mut Context<Self>) {
        let members = self.shared.away().map(|away| away.members()).unwrap_or_default();
        self.shared.set_away(Some(Away::new(link, epoch, members)));
        if let Some(edge) = &self.edge {
            edge.with(Edge::follow);
        }
        self.listen(parts, ctx);
    }

    /// Goes on as the room's home: opens the room, and adopts its members when the other edges have offered theirs.
    /// If the former home has given it away, it goes on with what has come with it.
    fn come_home(&mut self, hold: Hold, state: Option<RoomState>, ctx: &mut Context<Self>) {
        let edge = self.edge.take().and_then(|edge| edge.take());
        let (Some(mut edge), Some(tenure)) = (edge, self.shared.tenure()) else { return };
        let Returning { members, tags, messages, joins, edges, left, has_moved } = edge.come_home();
        let (snapshot, moved) = match state {
            Some(RoomState { snapshot, members, nodes }) => (snapshot, Some((members, nodes))),
            None => (None, None),
        };
        let here = tenure.cluster.node();
        tenure.hold(hold);
        {
            let mut roster = self.shared.roster();
            roster.come_home(members, left);
            roster.offered_all(here.clone(), tags, Vec::new());
            // Until all are members again, what they say waits its turn.
            roster.freeze(true);
            if moved.is_some() {
                roster.gather();
            }
        }
        let home = self.shared.away();
        // It has not given the room away: it is dead, or its peers have left.
        let lost = home.filter(|_| !has_moved && moved.is_none());
        let edges = match &moved {
            Some((_, nodes)) => nodes.iter().filter(|node| *node != here).cloned().collect(),
            None => edges.into_iter().filter(|node| node != here).collect::<Vec<_>>(),
        };
        if moved.is_some() {
            tenure.expect_guests_of(edges.clone());
        }
        {
            let mut roster = self.roster();
            roster.expect_offers_of(edges);
            // Others may take it for one that had peers at an earlier home.
            lost.into_iter().for_each(|lost| roster.expect_no_offer_of(lost.node().clone()));
        }
        self.shared.set_away(None);
        // A panic here is that of a home, which is started anew.
        let snapshot = snapshot.filter(|it| it.version() <= self.settings.snapshot_version);
        let is_restored = match (self.open)(&self.context, snapshot.as_ref()) {
            Ok(OpenedRoom { room, is_restored }) => {
                self.room = Some(room);
                is_restored
            }
            Err(rejection) => {
                log::error!("room {:?} is not opened here: {}", self.shared.name, rejection.text());
                return self.close_edge("it cannot be opened", ctx);
            }
        };
        let joins = joins.into_iter().map(|(peer, answer)| RoomCommand::Join { peer, answer });
        self.waiting = Some(Waiting { messages, joins: joins.collect() });
        self.lapsed = false;
        self.watch_hold(ctx);
        let shared = Arc::clone(&self.shared);
        let first = if moved.is_some() { GATHERING } else { OFFERING };
        let offers = async move { wait_for_offers(&shared, first, has_all_offers).await };
        ctx.wait(offers.into_actor(self).map(move |may_go_on, this, ctx| match moved {
            _ if !may_go_on => ctx.stop(),
            Some((members, _)) if is_restored => this.take_in(members, ctx),
            // It has lost its state, as by a crash.
            Some(_) if this.settings.on_crash == OnCrash::Close => {
                this.shared.dismiss(&"crashed".into(), CloseFrame::ROOM_FAILED);
                this.take_in(Vec::new(), ctx);
            }
            Some(_) => {
                this.shared.gathered(None);
                this.shared.tenure().inspect(|tenure| tenure.expect_guests_of(Vec::new()));
                this.adopt(ctx);
            }
            None => this.adopt(ctx),
        }));
    }

    /// Lets in what has waited for the room.
    pub(super) fn handle_waiting(&mut self, ctx: &mut Context<Self>) {
        let Some(Waiting { messages, joins }) = self.waiting.take() else { return };
        for (peer, (number, message, credit)) in messages {
            let message = crate::message::RoomMessage { from: Some(peer), ..message };
            self.forward_from(Origin { peer, number }, message);
            self.roster().settle(peer, number);
            self.settle(ctx);
            drop(credit);
        }
        let Some(mailbox) = self.shared.mailbox() else { return };
        // By the mailbox, which alone waits while the room decides on a peer: once for each that has waited.
        joins.into_iter().for_each(|join| mailbox.do_send(join));
    }
}

impl StreamHandler<Part> for RoomActor {
    fn handle(&mut self, part: Part, ctx: &mut Self::Context) {
        // What the line still brings after the home was lost is not heard.
        let (Some(edge), Some(_)) = (&self.edge, &self.stream) else { return };
        match edge.handle_part(part) {
            Ok(Next::GoOn) => {}
            Ok(Next::Seek) => self.lose_home(Cause::Left, ctx),
            Ok(Next::Close) => self.close_edge("it is closed at its home", ctx),
            Err(error) => {
                let name = &self.shared.name;
                log::warn!("room {name:?}: its home sends what cannot be read: {error}");
                self.close_edge("its home makes no sense", ctx);
            }
        }
        if let Some(listening) = &self.listening {
            listening.handled();
        }
    }

    /// The line to the home has ended.
    fn finished(&mut self, ctx: &mut Self::Context) {
        if self.stream.take().is_some() && self.edge.is_some() {
            self.lose_home(Cause::LineDown, ctx);
        }
    }
}

/// Looks for the home of a room, which may be given to this node meanwhile.
async fn find_or_arrive(
    shared: &Shared,
    lost: Epoch,
    cause: Cause,
    moved: Option<NodeId>,
) -> Found {
    let arrived = || async {
        shared.wait_until(|room| room.arrivals.has_arrived()).await;
        shared.arrivals.take()
    };
    let finding = async {
        match moved {
            // The other node may not have it yet, or may be dead by now.
            Some(node) => match timeout(SAYING, open_at(shared, lost, &node)).await {
                Ok(Some(opened)) => Found::There(opened),
                _ => find_home(shared, lost, cause).await,
            },
            None => find_home(shared, lost, cause).await,
        }
    };
    let found = match select(pin!(arrived()), pin!(finding)).await {
        Either::Left((Some(arrival), _)) => return Found::Given(arrival),
        Either::Left((None, finding)) => finding.await,
        Either::Right((found, _)) => found,
    };
    match found {
        // What has come with it is about to be here.
        Found::Here(hold) if hold.was_given() => match timeout(OPENING, arrived()).await {
            Ok(Some(arrival)) => Found::Given(arrival),
            _ => Found::Here(hold),
        },
        found => found,
    }
}

/// Opens a link to the node to which the home has given the room; none if that is this one, or if it has not got it.
async fn open_at(shared: &Shared, lost: Epoch, node: &NodeId) -> Option<Opened> {
    let tenure = shared.tenure().filter(|tenure| tenure.cluster.node() != node)?;
    let opened = tenure.opener.as_ref()?.open(node, &shared.name).await.ok()?;
    (opened.epoch > lost).then_some(opened)
}

/// Looks for the home of a room: claims it, or opens a link to the node that has.
async fn find_home(shared: &Shared, lost: Epoch, cause: Cause) -> Found {
    let no_cluster = Found::Nothing("it is in no cluster");
    let Some(tenure) = shared.tenure() else { return no_cluster };
    let Some(opener) = &tenure.opener else { return no_cluster };
    let began = Instant::now();
    loop {
        let pause = match tenure.cluster.claim(&shared.name).await {
            Ok(hold) => return Found::Here(hold),
            // For it, the peers of this node have left. If it is about to leave the cluster, it will say so.
            Err(ClaimError::Elsewhere(there))
                if there.epoch <= lost && cause == Cause::LineDown =>
            {
                if began.elapsed() > LEAVING {
                    return Found::Nothing("its home goes on without the peers of this node");
                }
                PAUSE
            }
            Err(ClaimError::Elsewhere(there)) => {
                let opening = timeout(OPENING, opener.open(&there.node, &shared.name));
                // A dead node does not answer. Meanwhile another may have claimed the room.
                let claimed = tenure.cluster.claimed_after(&shared.name, there.epoch);
                let opened = match select(pin!(claimed), pin!(opening)).await {
                    Either::Left(_) => Ok(Err(OpenError::NotThere)),
                    Either::Right((opened, _)) => opened,
                };
                match opened {
                    Ok(Ok(opened)) if opened.epoch > lost => return Found::There(opened),
                    Ok(Ok(_)) => return Found::Nothing("its home was claimed before"),
                    // It is being opened there, or closed.
                    Ok(Err(_)) | Err(_) => PAUSE,
                }
            }
            Err(ClaimError::Unavailable { retry_after }) => retry_after.clamp(PAUSE, LONGEST_PAUSE),
            Err(_) => return Found::Nothing("it cannot be claimed"),
        };
        sleep(pause).await;
    }
}

/// Longest time for which clients wait for the next home of their room.
const SEEKING: Duration = Duration::from_secs(10);
/// Longest time for which one node is asked for the room.
const OPENING: Duration = Duration::from_secs(1);
/// Time after which a home to which the line has ended, and that lives, is one that cannot be reached.
const LEAVING: Duration = Duration::from_secs(2);
/// Time in which a home says that it has given the room away.
const GIVING: Duration = Duration::from_secs(2);
/// Time in which the node that was given a room says that it has it: much less than the next home waits for the others
/// if that node is dead.
const SAYING: Duration = Duration::from_millis(500);
/// Bounds of the pause before a home is looked for again.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
