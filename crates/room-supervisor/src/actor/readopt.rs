//! Members that a new instance of a room takes over: after a crash, or from an earlier home.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt, ActorStreamExt};
use actix::prelude::*;
use callboard_supervision::asked_to_stop;
use futures_util::future::{Either, select};
use futures_util::stream;
use tokio::time::timeout;

use super::RoomActor;
use super::lapse::unless_fenced;
use crate::error::JoinError;
use crate::member::Member;
use crate::peer_id::PeerId;
use crate::room::Readopt;
use crate::shared::Shared;

impl RoomActor {
    /// Readopts the members after a crash, without telling the others; then tells all members of the restart, and of
    /// peers that are members no more.
    pub(super) fn readopt(&mut self, ctx: &mut Context<Self>) {
        let members = self.roster().readopt();
        self.carry_out();
        self.readopt_these(members, ctx);
    }

    /// Adopts the members of an earlier home of the room, as it readopts its own after a crash.
    pub(super) fn adopt(&mut self, ctx: &mut Context<Self>) {
        let members = self.roster().adoptable();
        self.readopt_these(members, ctx);
    }

    fn readopt_these(&mut self, members: Vec<Member>, ctx: &mut Context<Self>) {
        if members.is_empty() {
            return self.readopted(ctx);
        }
        let (context, room) = (Rc::clone(&self.context), self.room.take());
        let (limit, shared) = (self.settings.join_timeout, Arc::clone(&self.shared));
        let asking = async move {
            let Some(mut room) = room else { return (None, members, None) };
            let readopting = timeout(limit, room.on_readopt(&members, &context));
            let readopting = unless_fenced(&shared, context.wake_ups.meanwhile(readopting));
            let answer = readopting.await.and_then(Result::ok);
            (Some(room), members, answer)
        };
        ctx.wait(asking.into_actor(self).map(|(room, members, answer), this, ctx| {
            this.room = room;
            if !this.has_lapsed(ctx) {
                this.readopt_as(answer, members, ctx);
            }
        }));
    }

    fn readopt_as(
        &mut self,
        answer: Option<Readopt>,
        members: Vec<Member>,
        ctx: &mut Context<Self>,
    ) {
        match answer {
            Some(Readopt::OneByOne) => {
                let asking = stream::iter(members).into_actor(self);
                let asking = asking.then(|member, this, _| this.readopt_one(member.peer_id()));
                ctx.wait(asking.finish().map(|(), this, ctx| this.readopted(ctx)));
            }
            Some(Readopt::AllBut(rejected)) => {
                let mut rejected: std::collections::HashMap<_, _> = rejected.into_iter().collect();
                let mut roster = self.roster();
                for peer in members.iter().map(Member::peer_id) {
                    let rejected = rejected.remove(&peer).map(JoinError::Rejected);
                    _ = roster.answered(peer, rejected.map_or(Ok(()), Err));
                }
                drop(roster);
                self.readopted(ctx);
            }
            None => {
                for peer in members.iter().map(Member::peer_id) {
                    _ = self.roster().answered(peer, Err(JoinError::TimedOut));
                }
                self.readopted(ctx);
            }
        }
    }

    fn readopt_one(&mut self, peer: PeerId) -> impl ActorFuture<Self, Output = ()> + use<> {
        // A room that has lost its name is closed when all are passed over.
        let fenced = self.shared.is_fenced();
        let asked = (!fenced).then(|| self.roster().ask(peer, None).ok().flatten()).flatten();
        let asking = asked.map(|member| self.ask(member));
        let asking: Box<dyn ActorFuture<Self, Output = _> + Unpin> = match asking {
            Some(asking) => Box::new(Box::pin(asking)),
            // It has left.
            None => Box::new(actix::fut::ready(Ok(()))),
        };
        asking.map(|_, this: &mut Self, _| {
            if !this.shared.is_fenced() {
                this.carry_out();
            }
        })
    }

    fn readopted(&mut self, ctx: &mut Context<Self>) {
        if self.has_lapsed(ctx) {
            return;
        }
        let more = {
            let mut roster = self.roster();
            // What was offered meanwhile.
            let more = roster.adoptable();
            if more.is_empty() {
                roster.readopted();
            }
            more
        };
        if !more.is_empty() {
            return self.readopt_these(more, ctx);
        }
        self.adopted(ctx);
    }

    /// Adopts members of an earlier home that another node has offered.
    pub(super) fn adopt_offered(&mut self, ctx: &mut Context<Self>) {
        let (is_due, has_adopted, is_empty) = {
            let mut roster = self.roster();
            (roster.adopts(), roster.has_adopted(), roster.adoptable().is_empty())
        };
        if !is_due {
            // Those of whom another node knows that they have left.
            self.roster().announce_departures();
            return self.settle(ctx);
        }
        // All of them may have left meanwhile.
        if is_empty || (has_adopted && has_all_offers(&self.shared)) {
            return self.adopt(ctx);
        }
        let shared = Arc::clone(&self.shared);
        let offers = async move {
            let all = |shared: &Shared| shared.roster().expects_offers() && has_all_offers(shared);
            wait_for_offers(&shared, OFFERING, all).await
        };
        ctx.wait(offers.into_actor(self).map(|may_go_on, this, ctx| match may_go_on {
            true => this.adopt(ctx),
            false => ctx.stop(),
        }));
    }

    /// Goes on with all members.
    pub(super) fn adopted(&mut self, ctx: &mut Context<Self>) {
        // Peers that come so late are others by then.
        ctx.run_later(TOLD_LEFT, |this, _| this.roster().forget_offers());
        self.settle(ctx);
        self.handle_waiting(ctx);
        self.close_if_empty(ctx);
    }
}

/// Returns whether no node is known any more that may offer members of an earlier home.
pub(super) fn has_all_offers(shared: &Shared) -> bool {
    let roster = shared.roster();
    shared.tenure().is_none_or(|tenure| roster.awaited(tenure.cluster.node()).next().is_none())
}

/// Waits until other nodes have offered their members: so long, and longer for those that live as far as is known.
/// Nodes that come later find that their peers were said to have left. Returns false if the room is asked to stop
/// before: then another node is to have it soon, and no client is told anything of the others.
pub(super) async fn wait_for_offers(
    shared: &Shared,
    first: Duration,
    all: impl Fn(&Shared) -> bool,
) -> bool {
    let waiting = async {
        let is_late = timeout(first, shared.wait_until(&all)).await.is_err();
        if is_late {
            let over = |shared: &Shared| all(shared) || !awaits_one_that_lives(shared);
            _ = timeout(GATHERING.saturating_sub(first), shared.wait_until(over)).await;
        }
    };
    if let Either::Left(_) = select(pin!(asked_to_stop()), pin!(waiting)).await {
        return false;
    }
    shared.roster().give_up_offers();
    true
}

fn awaits_one_that_lives(shared: &Shared) -> bool {
    let Some(tenure) = shared.tenure() else { return false };
    let live = tenure.cluster.nodes();
    let roster = shared.roster();
    roster.awaited(tenure.cluster.node()).any(|node| live.iter().any(|it| it.node == *node))
}

/// Time for which a room waits for the members that other nodes offer it, which may be dead.
pub(super) const OFFERING: Duration = Duration::from_secs(2);
/// Time for which it waits for them where these nodes live, or have lived just now: since its former home has given it
/// to this node.
pub(super) const GATHERING: Duration = Duration::from_secs(5);
/// Time for which a peer that was said to have left cannot come from another node: longer than one looks for a home.
const TOLD_LEFT: Duration = Duration::from_secs(60);
