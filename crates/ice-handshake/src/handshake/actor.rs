//! Actor that runs a handshake.
#![allow(clippy::disallowed_methods, reason = "actors tell their cores the time")]

use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use callboard_supervision::{Exit, ExitReason};

use super::handle::Lifeline;
use super::messages::*;
use super::{ComponentId, Handshake, HandshakeData, HandshakeError, Init, PlainSession, Step};

/// Actor that runs one [`Handshake`]: feeds it datagrams and the time, reports the results to its owner, and stops.
///
/// Its overall deadline runs from when its component is ready. If it dies (by a panic, or with its thread), its owner
/// learns so by [`monitor`](callboard_supervision::monitor). If its owner ends or drops its [`HandshakeHandle`], it
/// closes.
///
/// [`HandshakeHandle`]: super::HandshakeHandle
pub struct HandshakeActor {
    component: ComponentId,
    /// `None` once it is complete or has failed.
    handshake: Option<Box<dyn Handshake>>,
    owner: Recipient<HandshakeEvent>,
    /// Lifeline to the owner, until this actor has started.
    lifeline: Option<Lifeline>,
    deadline: Duration,
    ready: bool,
    /// Result of a handshake that is complete before the component is ready.
    finished: Option<HandshakeData>,
    consumed: u64,
    kept: Vec<Bytes>,
    wake_up: Option<(Instant, SpawnHandle)>,
}

impl HandshakeActor {
    /// Creates an actor for this component; its owner gets all events, and holds the other end of the lifeline.
    pub(super) fn new(
        component: ComponentId,
        handshake: Box<dyn Handshake>,
        deadline: Duration,
        owner: Recipient<HandshakeEvent>,
        lifeline: Option<Lifeline>,
    ) -> Self {
        Self {
            component,
            handshake: Some(handshake),
            owner,
            lifeline,
            deadline,
            ready: false,
            finished: None,
            consumed: 0,
            kept: Vec::new(),
            wake_up: None,
        }
    }

    /// Lets the handshake do something, and carries out its step. All calls of the handshake go through here.
    fn drive(
        &mut self,
        ctx: &mut Context<Self>,
        call: impl FnOnce(&mut dyn Handshake, Instant) -> Step,
    ) {
        // A handshake that is complete before the component is ready, or is over, has nothing more to do.
        if self.finished.is_some() {
            return;
        }
        let Some(handshake) = &mut self.handshake else { return };
        let step = call(&mut **handshake, Instant::now());
        self.obey(step, ctx);
        self.set_wake_up(ctx);
    }

    fn obey(&mut self, step: Step, ctx: &mut Context<Self>) {
        match step {
            Step::Ok => {}
            Step::Packets(packets) => self.transmit(packets),
            Step::Finished(data) => self.finish(data, ctx),
            Step::FinishedWithPackets(data, packets) => {
                self.transmit(packets);
                self.finish(data, ctx);
            }
            Step::Failed(error) => self.fail(error, ctx),
            Step::FailedWithPackets(error, packets) => {
                self.transmit(packets);
                self.fail(error, ctx);
            }
            Step::Closed if self.ready => self.fail(HandshakeError::ClosedByPeer, ctx),
            Step::Closed => self.end(HandshakeOutput::Closed, ctx),
        }
    }

    fn transmit(&self, packets: Vec<Bytes>) {
        if !packets.is_empty() {
            self.tell(HandshakeOutput::Transmit { packets, consumed: self.consumed });
        }
    }

    fn finish(&mut self, data: HandshakeData, ctx: &mut Context<Self>) {
        if !self.ready {
            self.finished = Some(data);
            return;
        }
        let Some(handshake) = self.handshake.take() else { return };
        let (consumed, kept) = (self.consumed, std::mem::take(&mut self.kept));
        let finished = Finished { data, session: handshake.into_session(), consumed, kept };
        self.end(HandshakeOutput::Finished(finished), ctx);
    }

    fn fail(&mut self, error: HandshakeError, ctx: &mut Context<Self>) {
        self.end(HandshakeOutput::Failed(error), ctx);
    }

    fn close(&mut self, ctx: &mut Context<Self>) {
        if let Some(mut handshake) = self.handshake.take() {
            self.transmit(handshake.close());
            self.end(HandshakeOutput::Closed, ctx);
        }
    }

    fn end(&mut self, output: HandshakeOutput, ctx: &mut Context<Self>) {
        self.handshake = None;
        self.tell(output);
        ctx.exit(ExitReason::Normal);
    }

    fn tell(&self, output: HandshakeOutput) {
        // A handful at its start and end, and one for each datagram that the bounded mailbox let in.
        self.owner.do_send(HandshakeEvent { component: self.component, output });
    }

    fn set_wake_up(&mut self, ctx: &mut Context<Self>) {
        let due = self.handshake.as_ref().and_then(|handshake| handshake.poll_timeout());
        if due == self.wake_up.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.wake_up.take() {
            ctx.cancel_future(timer);
        }
        if let Some(at) = due {
            let wait = at.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP);
            let timer = ctx.run_later(wait, |actor, ctx| {
                actor.wake_up = None;
                actor.drive(ctx, |handshake, now| handshake.handle_timeout(now));
            });
            self.wake_up = Some((at, timer));
        }
    }
}

impl Actor for HandshakeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(lifeline) = self.lifeline.take() {
            ctx.spawn(lifeline.into_actor(self).map(|_, actor, ctx| actor.close(ctx)));
        }
        let Some(handshake) = &mut self.handshake else { return };
        match handshake.init() {
            Init::Ok(data) => self.tell(HandshakeOutput::InitData { data, finished: false }),
            Init::Finished(data) => {
                self.tell(HandshakeOutput::InitData { data, finished: true });
                self.handshake = Some(Box::new(Done));
                self.finished = Some(HandshakeData::None);
            }
        }
    }
}

impl Handler<ConnectionReady> for HandshakeActor {
    type Result = ();

    fn handle(
        &mut self,
        ConnectionReady { round_trip_time }: ConnectionReady,
        ctx: &mut Context<Self>,
    ) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        if let Some(data) = self.finished.take() {
            return self.finish(data, ctx);
        }
        let deadline = self.deadline;
        ctx.run_later(deadline, move |actor, ctx| {
            if let Some(handshake) = &mut actor.handshake {
                // The peer may have a longer deadline, or none.
                let packets = handshake.close();
                actor.transmit(packets);
                actor.fail(HandshakeError::DeadlineExceeded(deadline), ctx);
            }
        });
        self.drive(ctx, |handshake, now| {
            if let Some(time) = round_trip_time {
                handshake.set_round_trip_time(time);
            }
            handshake.connection_ready(now)
        });
    }
}

impl Handler<Datagram> for HandshakeActor {
    type Result = ();

    fn handle(&mut self, Datagram(datagram): Datagram, ctx: &mut Context<Self>) {
        let Some(handshake) = &self.handshake else { return };
        self.consumed += 1;
        if self.finished.is_some() || !handshake.is_handshake_packet(&datagram) {
            if self.kept.len() < KEPT {
                self.kept.push(datagram);
            }
            return;
        }
        self.drive(ctx, |handshake, now| handshake.recv_from_peer(now, &datagram));
    }
}

impl Handler<SetRemoteInitData> for HandshakeActor {
    type Result = ();

    fn handle(&mut self, SetRemoteInitData(data): SetRemoteInitData, _: &mut Context<Self>) {
        if let Some(handshake) = &mut self.handshake {
            handshake.set_remote_init_data(data);
        }
    }
}

/// Placeholder for a handshake that was finished at its start: none of its functions may be called again.
struct Done;

impl Handshake for Done {
    fn connection_ready(&mut self, _: Instant) -> Step {
        Step::Ok
    }

    fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
        Step::Ok
    }

    fn into_session(self: Box<Self>) -> Box<dyn super::Session> {
        Box::new(PlainSession::default())
    }
}

/// Datagrams that may wait. A server's flight has six; more is a flood, and DTLS repeats what is lost.
const MAILBOX: usize = 64;
/// Datagrams kept for the session: early media of a peer that was ready first.
const KEPT: usize = 64;
/// Longest time until a handshake is called again, if it names no earlier time.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);
