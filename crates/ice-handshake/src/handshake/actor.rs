//! Actor that runs a handshake.

use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::{Drive, Driver, Exit, ExitReason};

use super::core::HandshakeCore;
use super::messages::*;
use super::{ComponentId, Handshake};

/// Actor that runs one [`Handshake`]: feeds it datagrams and the time, reports the results to its owner, and stops.
///
/// Its overall deadline runs from when its component is ready. If it dies (by a panic, or with its thread), its owner
/// learns so by [`monitor`](callboard_supervision::monitor). If its owner ends or drops its [`HandshakeHandle`], it
/// closes.
///
/// [`HandshakeHandle`]: super::HandshakeHandle
pub struct HandshakeActor {
    component: ComponentId,
    driver: Driver<HandshakeCore>,
    owner: Recipient<HandshakeEvent>,
    /// Lifeline to the owner, until this actor has started.
    lifeline: Option<Lifeline>,
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
        let driver = Driver::new(HandshakeCore::new(handshake, deadline));
        Self { component, driver, owner, lifeline }
    }
}

impl Drive<HandshakeCore> for HandshakeActor {
    fn driver(&mut self) -> &mut Driver<HandshakeCore> {
        &mut self.driver
    }

    fn carry_out(&mut self, output: HandshakeOutput, ctx: &mut Context<Self>) {
        let over = match output {
            HandshakeOutput::InitData { .. } | HandshakeOutput::Transmit { .. } => false,
            HandshakeOutput::Finished(_) | HandshakeOutput::Failed(_) | HandshakeOutput::Closed => {
                true
            }
        };
        // A handful at its start and end, and one for each datagram that the bounded mailbox let in.
        self.owner.do_send(HandshakeEvent { component: self.component, output });
        if over {
            ctx.exit(ExitReason::Normal);
        }
    }
}

impl Actor for HandshakeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(lifeline) = self.lifeline.take() {
            ctx.spawn(lifeline.into_actor(self).map(|_, actor, ctx| {
                actor.drive(ctx, |core, _| core.close());
            }));
        }
        self.drive(ctx, |core, _| core.init());
    }
}

impl Handler<ConnectionReady> for HandshakeActor {
    type Result = ();

    fn handle(
        &mut self,
        ConnectionReady { round_trip_time }: ConnectionReady,
        ctx: &mut Context<Self>,
    ) {
        self.drive(ctx, |core, now| core.connection_ready(now, round_trip_time));
    }
}

impl Handler<Datagram> for HandshakeActor {
    type Result = ();

    fn handle(&mut self, Datagram(datagram): Datagram, ctx: &mut Context<Self>) {
        self.drive(ctx, |core, now| core.handle_datagram(now, datagram));
    }
}

impl Handler<SetRemoteInitData> for HandshakeActor {
    type Result = ();

    fn handle(&mut self, SetRemoteInitData(data): SetRemoteInitData, ctx: &mut Context<Self>) {
        self.drive(ctx, |core, _| core.set_remote_init_data(data));
    }
}

/// Datagrams that may wait. A server's flight has six; more is a flood, and DTLS repeats what is lost.
const MAILBOX: usize = 64;
