//! Slot of an actor for its component's handshake: starts it, keeps what comes before it runs, and enforces its
//! deadline.

use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use callboard_supervision::{Down, ExitReason, StartChildError, SupervisorRef};

use super::{
    Finished, HandshakeError, HandshakeEvent, HandshakeHandle, HandshakeOutput, HandshakeSpec,
    InitData, start_handshake,
};

/// Actor whose component has a handshake in another actor.
///
/// Its handlers of [`HandshakeEvent`] and [`Down`] are [`HandshakeSlot::handle_event`] and
/// [`HandshakeSlot::handle_down`].
pub trait HandshakeOwner:
    Actor<Context = Context<Self>> + Handler<HandshakeEvent> + Handler<Down>
{
    /// Returns the slot of the handshake.
    fn handshake_slot(&mut self) -> &mut HandshakeSlot;

    /// Handles an output of the handshake.
    ///
    /// Exactly one end is reported: [`Finished`](HandshakeOutput::Finished), with all datagrams that belong
    /// to the session in [`Finished::kept`]; [`Failed`](HandshakeOutput::Failed), also if the handshake could not be
    /// started, its actor died, or its thread is blocked; or [`Closed`](HandshakeOutput::Closed), by the peer. A
    /// handshake that could not be started has empty init data.
    fn handle_handshake(&mut self, output: HandshakeOutput, ctx: &mut Context<Self>);
}

/// Slot of one component for its handshake.
///
/// A handshake is started while its component gathers and connects: what comes before the handshake runs is kept for
/// it. The deadline is also enforced here, because the handshake's own thread may be blocked. At rest, when the
/// handshake is over, a slot takes the memory of a pointer. Dropping it closes a handshake that runs.
#[derive(Debug)]
pub struct HandshakeSlot {
    /// `None` once the handshake is over.
    inner: Option<Box<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    started: Option<Started>,
    /// Handle of the handshake, once it runs.
    handle: Option<HandshakeHandle>,
    /// Whether the component is ready, with the round-trip time of its path if it is known.
    ready: Option<Option<Duration>>,
    remote_init_data: Vec<InitData>,
    early: Vec<Bytes>,
    watchdog: Option<SpawnHandle>,
}

/// Supervisor, child id and deadline of a handshake that was started.
#[derive(Debug)]
struct Started {
    supervisor: SupervisorRef,
    id: String,
    deadline: Duration,
}

impl Default for HandshakeSlot {
    fn default() -> Self {
        Self { inner: Some(Box::default()) }
    }
}

impl HandshakeSlot {
    /// Starts the handshake under this supervisor, as the child `id`. Only the first call counts.
    pub fn start<O: HandshakeOwner>(
        &mut self,
        supervisor: &SupervisorRef,
        id: String,
        spec: HandshakeSpec,
        ctx: &mut Context<O>,
    ) {
        let Some(inner) = &mut self.inner else { return };
        if inner.started.is_some() {
            return;
        }
        let (deadline, address) = (spec.deadline, ctx.address());
        let started = Started { supervisor: supervisor.clone(), id: id.clone(), deadline };
        inner.started = Some(started);
        inner.watch(ctx);
        let supervisor = supervisor.clone();
        let starting = async move { start_handshake(&supervisor, &id, spec, &address).await };
        ctx.spawn(actix::fut::wrap_future(starting).map(Self::handle_started));
    }

    /// Reports that the component is ready, with the round-trip time of its path if it is known. The deadline runs from
    /// here.
    pub fn connection_ready<O: HandshakeOwner>(
        &mut self,
        round_trip_time: Option<Duration>,
        ctx: &mut Context<O>,
    ) {
        let Some(inner) = &mut self.inner else { return };
        if inner.ready.replace(round_trip_time).is_some() {
            return;
        }
        if let Some(handle) = &inner.handle {
            handle.connection_ready(round_trip_time);
        }
        inner.watch(ctx);
    }

    /// Passes on the peer's init data, as the application received it.
    pub fn set_remote_init_data(&mut self, data: InitData) {
        let Some(inner) = &mut self.inner else { return };
        match &inner.handle {
            Some(handle) => handle.set_remote_init_data(data),
            // As often as the application says so, not the peer.
            None => inner.remote_init_data.push(data),
        }
    }

    /// Passes on a datagram from the peer. Until the handshake runs, 32 are kept; more are lost, as on the network.
    pub fn datagram(&mut self, datagram: Bytes) {
        let Some(inner) = &mut self.inner else { return };
        match &mut inner.handle {
            Some(handle) => handle.datagram(datagram),
            None if inner.early.len() < EARLY => inner.early.push(datagram),
            None => {}
        }
    }

    /// Closes the handshake; its owner gets no more events.
    pub fn close(&mut self) {
        // Dropping the handle closes it.
        self.inner = None;
    }

    /// Handles an event of the handshake.
    pub fn handle_event<O: HandshakeOwner>(
        owner: &mut O,
        event: HandshakeEvent,
        ctx: &mut Context<O>,
    ) {
        match event.output {
            HandshakeOutput::Transmit { packets, consumed } => {
                owner.handshake_slot().confirm(consumed);
                owner.handle_handshake(HandshakeOutput::Transmit { packets, consumed }, ctx);
            }
            HandshakeOutput::Finished(finished) => {
                if let Some(inner) = owner.handshake_slot().end(ctx) {
                    let finished = inner.complete(finished);
                    owner.handle_handshake(HandshakeOutput::Finished(finished), ctx);
                }
            }
            end @ (HandshakeOutput::Failed(_) | HandshakeOutput::Closed) => {
                Self::report_end(owner, end, ctx)
            }
            init @ HandshakeOutput::InitData { .. } => owner.handle_handshake(init, ctx),
        }
    }

    /// Handles the end of the handshake's actor.
    pub fn handle_down<O: HandshakeOwner>(owner: &mut O, down: Down, ctx: &mut Context<O>) {
        // A normal end was reported before, with its result.
        if down.reason != ExitReason::Normal {
            Self::fail(owner, HandshakeError::ActorEnded(down.reason), ctx);
        }
    }

    fn handle_started<O: HandshakeOwner>(
        started: Result<HandshakeHandle, StartChildError>,
        owner: &mut O,
        ctx: &mut Context<O>,
    ) {
        match started {
            Ok(handle) => owner.handshake_slot().run(handle),
            Err(error) => {
                let (data, finished) = (InitData::None, false);
                owner.handle_handshake(HandshakeOutput::InitData { data, finished }, ctx);
                Self::fail(owner, HandshakeError::custom(error.to_string()), ctx);
            }
        }
    }

    /// Gives the handshake what has come so far. If it is over by now, dropping the handle closes it.
    fn run(&mut self, mut handle: HandshakeHandle) {
        let Some(inner) = &mut self.inner else { return };
        for data in std::mem::take(&mut inner.remote_init_data) {
            handle.set_remote_init_data(data);
        }
        if let Some(round_trip_time) = inner.ready {
            handle.connection_ready(round_trip_time);
        }
        for datagram in std::mem::take(&mut inner.early) {
            handle.datagram(datagram);
        }
        inner.handle = Some(handle);
    }

    fn confirm(&mut self, consumed: u64) {
        if let Some(handle) = self.inner.as_mut().and_then(|inner| inner.handle.as_mut()) {
            handle.confirm(consumed);
        }
    }

    fn fail<O: HandshakeOwner>(owner: &mut O, error: HandshakeError, ctx: &mut Context<O>) {
        Self::report_end(owner, HandshakeOutput::Failed(error), ctx);
    }

    fn report_end<O: HandshakeOwner>(owner: &mut O, end: HandshakeOutput, ctx: &mut Context<O>) {
        if owner.handshake_slot().end(ctx).is_some() {
            owner.handle_handshake(end, ctx);
        }
    }

    /// Ends the handshake; returns `None` if it had ended before.
    fn end<O: HandshakeOwner>(&mut self, ctx: &mut Context<O>) -> Option<Box<Inner>> {
        let mut inner = self.inner.take()?;
        if let Some(watchdog) = inner.watchdog.take() {
            ctx.cancel_future(watchdog);
        }
        Some(inner)
    }
}

impl Inner {
    /// Starts the watchdog, if the handshake was started and the component is ready.
    fn watch<O: HandshakeOwner>(&mut self, ctx: &mut Context<O>) {
        let (Some(started), Some(_), None) = (&self.started, &self.ready, &self.watchdog) else {
            return;
        };
        let watchdog =
            ctx.run_later(started.deadline.saturating_add(GRACE), |owner: &mut O, ctx| {
                let Some(mut inner) = owner.handshake_slot().end(ctx) else { return };
                if let Some(Started { supervisor, id, deadline }) = inner.started.take() {
                    let error = HandshakeError::DeadlineExceeded(deadline);
                    owner.handle_handshake(HandshakeOutput::Failed(error), ctx);
                    // The handshake is terminated, with its thread if need be.
                    actix::spawn(async move { supervisor.terminate_child(&id).await });
                }
            });
        self.watchdog = Some(watchdog);
    }

    /// Adds to the datagrams that the handshake has kept for the session those that it has not processed.
    fn complete(mut self: Box<Self>, mut finished: Finished) -> Finished {
        if let Some(handle) = &mut self.handle {
            finished.kept = handle.replay(&mut finished).collect();
        }
        finished
    }
}

/// Datagrams kept that came before the handshake was started.
const EARLY: usize = 32;
/// Time after the handshake's own deadline until the watchdog enforces it.
const GRACE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
