//! Room that goes to another node: how its actor stops here, and becomes that of an edge.

use std::sync::Arc;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use callboard_supervision::catch_panic;

use super::RoomActor;
use crate::arrivals::RoomState;
use crate::away::{Edge, SharedEdge};
use crate::command::{CannotMove, Departure, Leave};
use crate::link::Away;
use crate::peer_id::PeerId;
use crate::room::ErasedRoom;
use crate::roster::Leaving;
use crate::settings::OnCrash;
use crate::snapshot::Snapshot;
use crate::tenure::Tenure;

impl RoomActor {
    /// Stops the room where it is, and works no message until it is known whether another node has it.
    pub(super) fn depart_to(&mut self, Leave { answer, fate }: Leave, ctx: &mut Context<Self>) {
        // Whose caller has given up meanwhile, goes on.
        if answer.is_closed() {
            return;
        }
        let state = self.state_to_move();
        let stays = state.is_err();
        self.context.wake_ups.flush();
        if stays {
            _ = answer.send(state);
            return;
        }
        if answer.send(state).is_err() {
            return self.roster().freeze(false);
        }
        let fate = async move { fate.await.ok() };
        ctx.wait(fate.into_actor(self).map(|departure, this, ctx| match departure {
            Some(departure) => this.become_edge(departure, ctx),
            None => {
                this.roster().freeze(false);
                _ = this.has_lapsed(ctx);
            }
        }));
    }

    /// Freezes the room, unless it cannot move: one that waits for members of an earlier home stays as frozen as it is.
    fn state_to_move(&mut self) -> Result<RoomState, CannotMove> {
        let tenure = self.shared.tenure().ok_or(CannotMove::Busy)?;
        let members = {
            let mut roster = self.shared.roster();
            let members = roster.members_to_move().ok_or(CannotMove::Busy)?;
            roster.freeze(true);
            members
        };
        let snapshot = self.snapshot();
        if snapshot.is_none() && self.settings.on_crash == OnCrash::Close {
            self.roster().freeze(false);
            return Err(CannotMove::NoSnapshot);
        }
        let mut nodes = tenure.edges();
        nodes.push(tenure.cluster.node().clone());
        nodes.sort();
        nodes.dedup();
        Ok(RoomState { snapshot, members, nodes })
    }

    /// Returns the room's state, if it gives that. A panic here must not cost the room its members, nor the others
    /// theirs.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let room = self.room.as_deref();
        let snapshot = catch_panic("snapshot", || room.and_then(ErasedRoom::snapshot));
        let snapshot = snapshot.unwrap_or_else(|panic| {
            log::error!("room {:?} has no snapshot, it panicked: {panic}", self.shared.name);
            None
        });
        let version = self.settings.snapshot_version;
        snapshot.map(|snapshot| snapshot.with_version(version))
    }

    /// Goes on as an edge of the node that has the room now: offers it the members of this node.
    fn become_edge(&mut self, Departure { gave, link, parts }: Departure, ctx: &mut Context<Self>) {
        let ticks = self.ticks.take().map(|(_, ticks)| ticks);
        for task in ticks.into_iter().chain(self.hold_watch.take()) {
            ctx.cancel_future(task);
        }
        let shared = Arc::clone(&self.shared);
        // Before the actors of guests see that the room has gone, and end.
        let edges = shared.tenure().map(Tenure::edges).unwrap_or_default();
        let Leaving { members, guests, view, tags, seen, left } = {
            let mut roster = shared.roster();
            let shown = roster.list_visible();
            // What is sent from now on goes to the other node: no sender finds the roster without its guests.
            shared.set_away(Some(Away::new(link, gave.given.epoch, shown)));
            roster.become_edge()
        };
        guests.iter().for_each(|guest| shared.forget(guest));
        // It goes on there: no callback is due here.
        self.room = None;
        (self.lapsed, self.waiting) = (false, None);
        let mut edge =
            Edge::of_former_home(Arc::clone(&shared), members, &view, seen, tags, left, edges);
        // One that was closed meanwhile is told so by the command that follows, and tells it the other node.
        let is_closed = self.roster().is_closed();
        if !is_closed {
            edge.follow();
        }
        self.edge = Some(SharedEdge::new(edge));
        if let Some(tenure) = shared.tenure() {
            tenure.end();
            // They leave for the other node as well.
            tenure.tell_guests();
        }
        drop(gave);
        self.listen(parts, ctx);
        if !is_closed {
            self.end_edge_if_empty(ctx);
        }
    }

    /// Lets in the members of a room that another node has given to this one: they are what its state knows.
    pub(super) fn take_in(&mut self, members: Vec<PeerId>, ctx: &mut Context<Self>) {
        self.shared.gathered(Some(members));
        if let Some(tenure) = self.shared.tenure() {
            tenure.expect_guests_of(Vec::new());
            // Nothing else may be told of those who have come.
            tenure.tell_guests();
        }
        // Of those that were offered while the room left its former home its state does not know.
        if !self.roster().adoptable().is_empty() {
            return self.adopt(ctx);
        }
        self.adopted(ctx);
    }
}
