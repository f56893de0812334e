//! Actor of the lines: takes what arrives on the wire, keeps time, and tells the services.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::prelude::*;

use super::messages::WakeUp;
use super::shared::Shared;
use crate::wire::Arrival;

/// Actor of the lines of a node. It does not use the common driver, whose timers stand still while the machine sleeps.
pub(crate) struct LinesActor {
    shared: Arc<Shared>,
    /// Number of this instance, once it has started.
    instance: u64,
    timer: Option<SpawnHandle>,
    /// Streams of arrivals in a row that have ended without a datagram.
    empty_streams: u32,
}

impl LinesActor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, instance: u64::MAX, timer: None, empty_streams: 0 }
    }

    fn tend(&mut self, ctx: &mut Context<Self>) {
        let Some(wakes) = self.shared.tend(self.instance) else {
            log::warn!("this instance of the lines has a successor: it ends");
            ctx.terminate();
            return;
        };
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let wait = wakes.map(|wakes| wakes.since(self.shared.clock().boot()));
        // It looks again in good time after the machine has slept, and for what presence has to do by and by.
        let wait = wait.map_or(LONGEST_SLEEP, |wait| wait.clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
        self.timer = Some(ctx.run_later(wait, Self::tend));
    }

    fn listen(&mut self, ctx: &mut Context<Self>) {
        ctx.add_stream(self.shared.wire().arrivals(self.shared.here()));
    }
}

impl Actor for LinesActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.instance = self.shared.attach(ctx.address().recipient());
        self.listen(ctx);
        self.tend(ctx);
        ctx.spawn(SendWhenWoken(Arc::clone(&self.shared)));
    }
}

/// Future in the actor's context that sends what other threads and actors have put in. What they put in before it is
/// polled travels together.
struct SendWhenWoken(Arc<Shared>);

impl ActorFuture<LinesActor> for SendWhenWoken {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut LinesActor,
        _: &mut Context<LinesActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        self.0.poll_send(cx);
        Poll::Pending
    }
}

impl Drop for LinesActor {
    /// Ends all lines, also if the actor has panicked or was killed.
    fn drop(&mut self) {
        self.shared.detach(self.instance);
    }
}

impl StreamHandler<Arrival> for LinesActor {
    fn handle(&mut self, arrival: Arrival, _: &mut Context<Self>) {
        self.empty_streams = 0;
        self.shared.arrived(self.instance, arrival);
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        let pause = FIRST_PAUSE * 2_u32.pow(self.empty_streams.min(MOST_DOUBLINGS));
        self.empty_streams += 1;
        ctx.run_later(pause, Self::listen);
    }
}

impl Handler<WakeUp> for LinesActor {
    type Result = ();

    fn handle(&mut self, WakeUp: WakeUp, ctx: &mut Context<Self>) {
        self.tend(ctx);
    }
}

const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause before the wire is asked again for what arrives. It doubles up to 6.4 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MOST_DOUBLINGS: u32 = 6;
