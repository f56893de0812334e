//! Room actor: carries out what the stage decides. No packet passes through it.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;
use callboard_peer_connection::messages::SetMediaSink;
use callboard_supervision::{Down, MonitorId, MonitorRef, monitor};

use super::start;
use crate::event::{MediaEvent, ParticipantId};
use crate::messages::{Settle, ToPublisher, ToSubscriber};
use crate::shared::Shared;
use crate::stage::Output;

/// Actor of one media room.
pub(crate) struct RoomActor {
    shared: Arc<Shared>,
    watched: HashMap<MonitorId, Watched>,
}

/// What a monitor is for; dropping a [`MonitorRef`] leaves the monitor in place.
struct Watched {
    participant: ParticipantId,
    what: Part,
    monitor: MonitorRef,
}

#[derive(Clone, Copy)]
enum Part {
    Connection,
    Actors,
}

impl RoomActor {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), watched: HashMap::new() }
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        loop {
            let output = self.shared.stage().poll_output();
            let Some(output) = output else { return };
            self.carry_out(output, ctx);
        }
    }

    fn carry_out(&mut self, output: Output, ctx: &mut Context<Self>) {
        match output {
            // Each for a change of the stage. One that is down reads the stage when it starts.
            Output::Assign(id) => {
                if let Some(seat) = self.shared.seat(id) {
                    seat.subscriber.do_send(ToSubscriber::Assign);
                }
            }
            Output::FanOut(id) => {
                if let Some(seat) = self.shared.seat(id) {
                    seat.publisher.do_send(ToPublisher::FanOut);
                }
            }
            Output::Tell(id, event) => {
                if let Some(seat) = self.shared.seat(id) {
                    seat.tell(event);
                }
            }
            Output::Watch(id) => self.watch(id, ctx),
            Output::Stop(id) => self.stop(id, ctx),
        }
    }

    /// Watches a participant's connection and actors, and starts the actors if they do not run: they end with the
    /// room's supervisor, which may have been restarted.
    fn watch(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        let shared = Arc::clone(&self.shared);
        let starting = async move {
            // They usually run already.
            _ = start(&shared, id).await;
        };
        ctx.spawn(starting.into_actor(self).map(move |(), this, ctx| {
            if !this.shared.stage().contains(id) {
                // It has left meanwhile.
                return this.stop(id, ctx);
            }
            let to = ctx.address().recipient();
            let connection = this.shared.seat(id).and_then(|seat| seat.connection.address());
            let (Some(connection), Some(actors)) = (connection, this.shared.participant(id)) else {
                return this.left(id, ctx);
            };
            this.note(id, Part::Connection, monitor(&connection, to.clone()));
            this.note(id, Part::Actors, actors.monitor(to));
        }));
    }

    fn note(&mut self, participant: ParticipantId, what: Part, monitor: MonitorRef) {
        self.watched.insert(monitor.id, Watched { participant, what, monitor });
    }

    fn stop(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        for (_, watched) in self.watched.extract_if(|_, watched| watched.participant == id) {
            watched.monitor.demonitor();
        }
        let shared = Arc::clone(&self.shared);
        let stopping = async move {
            if let Ok(supervisor) = shared.supervisor() {
                // They may have been given up.
                _ = supervisor.terminate_child(&id.to_string()).await;
            }
            // Only now it may join anew; its packets are its owner's again.
            if let Some(seat) = shared.remove_seat(id) {
                _ = seat.connection.try_send(SetMediaSink(None));
            }
        };
        ctx.spawn(stopping.into_actor(self));
    }

    fn left(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        self.shared.stage().leave(id);
        self.settle(ctx);
    }

    fn failed(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        if let Some(seat) = self.shared.seat(id).filter(|_| self.shared.stage().contains(id)) {
            log::warn!("media of participant {id} has failed too often, and is given up");
            seat.tell(MediaEvent::Failed);
        }
        self.left(id, ctx);
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.shared.room.leads_to(ctx.address().recipient());
        // Those that have left, and whose end an earlier instance has not seen.
        let seated = self.shared.seated().into_iter();
        let gone: Vec<_> = seated.filter(|&id| !self.shared.stage().contains(id)).collect();
        gone.into_iter().for_each(|id| self.stop(id, ctx));
        self.shared.stage().restate();
        self.settle(ctx);
    }
}

impl Handler<Settle> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Settle, ctx: &mut Context<Self>) {
        self.settle(ctx);
    }
}

impl Handler<Down> for RoomActor {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Context<Self>) {
        match self.watched.remove(&down.monitor) {
            Some(Watched { participant, what: Part::Connection, .. }) => {
                self.left(participant, ctx);
            }
            Some(Watched { participant, what: Part::Actors, .. }) => self.failed(participant, ctx),
            None => {}
        }
    }
}
