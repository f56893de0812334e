//! What a room of a cluster does when its hold is over.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use futures_util::future::{Either, select};

use super::RoomActor;
use crate::shared::Shared;
use crate::tenure::{Anew, ROOM_LOST, Tenure};

impl RoomActor {
    /// Waits for the end of the room's hold, beside all else.
    pub(super) fn watch_hold(&mut self, ctx: &mut Context<Self>) {
        if self.shared.tenure().is_none() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let over = async move {
            if let Some(tenure) = shared.tenure() {
                tenure.over().await;
            }
        };
        let over = over.into_actor(self).map(|(), this, ctx| {
            // One that is cancelled in the pass in which it ends gets here nevertheless.
            if this.hold_watch.take().is_some() {
                _ = this.has_lapsed(ctx);
            }
        });
        self.hold_watch = Some(ctx.spawn(over));
    }

    /// Looks whether the room's hold is over, and does what follows. Returns whether the room has ended of it. At the
    /// beginning of each turn: a process that stood still must know it before it does anything.
    pub(super) fn has_lapsed(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(tenure) = self.shared.tenure() else { return false };
        if self.lapsed || tenure.is_good() {
            return tenure.is_fenced();
        }
        self.lapsed = true;
        let name = &self.shared.name;
        if tenure.closes() {
            log::warn!("room {name:?}: this node may have lost it, and it is closed");
            self.close(&"lapsed".into(), ROOM_LOST, ctx);
            return true;
        }
        log::warn!(
            "room {name:?}: this node may have lost it, and it takes no join until it has it"
        );
        self.claim_anew(Duration::ZERO, ctx);
        false
    }

    /// Claims the room's name anew, after a pause.
    fn claim_anew(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        let shared = Arc::clone(&self.shared);
        let claiming = async move {
            tokio::time::sleep(pause).await;
            let tenure: Option<&Tenure> = shared.tenure();
            match tenure {
                Some(tenure) => tenure.claim_anew(&shared.name).await,
                None => Anew::Lost,
            }
        };
        ctx.spawn(claiming.into_actor(self).map(|claimed, this, ctx| match claimed {
            // The room has gone to another node.
            _ if this.edge.is_some() => {}
            Anew::Held => {
                log::info!("room {:?}: this node has it again", this.shared.name);
                this.lapsed = false;
                this.watch_hold(ctx);
                // The other nodes learn of the new claim.
                this.shared.tenure().inspect(|tenure| tenure.tell_guests());
            }
            Anew::Unknown(time) => this.claim_anew(time, ctx),
            Anew::Lost => {
                log::warn!(
                    "room {:?}: another node has it, and it is closed here",
                    this.shared.name
                );
                this.close(&"elsewhere".into(), ROOM_LOST, ctx);
            }
        }));
    }
}

/// Waits for something that a room does; none if the room must do nothing any more before it is done. It is not polled
/// again then.
pub(super) async fn unless_fenced<F: Future>(shared: &Shared, something: F) -> Option<F::Output> {
    let tenure = shared.tenure().filter(|tenure| tenure.closes());
    let Some(tenure) = tenure else { return Some(something.await) };
    match select(pin!(tenure.over()), pin!(something)).await {
        Either::Left(_) => None,
        Either::Right((done, _)) => Some(done),
    }
}
