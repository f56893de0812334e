//! Actor that runs one ICE component.

use actix::prelude::*;
use bytes::Bytes;
use callboard_supervision::{Core, Down, Drive, Driver, Exit, ExitReason, SupervisorRef};
use callboard_transport::Label;
use callboard_transport::gather::{Transport, TransportEvent};
use callboard_transport::mux::MuxHandle;
use is::Candidate;

use super::component::{Component, ComponentOutput};
use super::sdp::write_candidate;
use super::{
    ComponentError, Credentials, EndpointEvent, EndpointOptions, SendPayloadError,
    SetRemoteCandidateError,
};
use crate::handshake::{
    ComponentId, ComponentInfo, Finished, HandshakeEvent, HandshakeOutput, HandshakeOwner,
    HandshakeSlot, HandshakeSpec, InitData,
};

/// Event of a component, for its endpoint.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum ComponentEvent {
    /// The init data of its handshake.
    InitData(ComponentId, InitData),
    GatheringDone(ComponentId),
    /// An event for the owner.
    Tell(EndpointEvent),
    /// A payload for the owner, dropped if the owner does not keep up.
    Payload(ComponentId, Bytes),
}

/// Command of an endpoint to its components.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum ComponentCommand {
    Gather,
    SetRemoteCredentials(Credentials),
    Restart(Credentials),
    SetRemoteInitData(InitData),
    RemoteCandidatesDone,
    Close,
}

#[derive(Message)]
#[rtype(result = "Result<(), SetRemoteCandidateError>")]
pub(super) struct AddRemoteCandidate(pub(super) Candidate);

#[derive(Message)]
#[rtype(result = "Result<(), SendPayloadError>")]
pub(super) struct Seal(pub(super) Bytes);

/// Actor that runs one [`Component`].
pub(super) struct ComponentActor {
    id: ComponentId,
    options: EndpointOptions,
    driver: Driver<Component>,
    credentials: Credentials,
    /// Credentials from before an ICE restart: the peer's checks use them until it knows the new ones.
    old_credentials: Option<Credentials>,
    mux: MuxHandle,
    transport: Option<Transport>,
    handshakes: SupervisorRef,
    handshake: HandshakeSlot,
    events: Recipient<ComponentEvent>,
}

impl ComponentActor {
    pub(super) fn new(
        id: ComponentId,
        options: EndpointOptions,
        credentials: Credentials,
        mux: MuxHandle,
        handshakes: SupervisorRef,
        events: Recipient<ComponentEvent>,
    ) -> Self {
        let core = Component::new(&options, &credentials);
        Self {
            id,
            options,
            driver: Driver::new(core),
            credentials,
            old_credentials: None,
            mux,
            transport: None,
            handshakes,
            handshake: HandshakeSlot::default(),
            events,
        }
    }

    fn tell(&self, event: EndpointEvent) {
        // Bounded by the application's commands and ICE's time-outs; payloads are not among these events.
        self.events.do_send(ComponentEvent::Tell(event));
    }

    fn finish(&mut self, finished: Finished, ctx: &mut Context<Self>) {
        let Finished { data, session, kept, .. } = finished;
        self.tell(EndpointEvent::HandshakeFinished { component: self.id, data });
        self.drive(ctx, |core, now| core.finish(now, session, kept));
    }

    fn label(&self) -> Label {
        Label::new(self.child_id())
    }

    fn child_id(&self) -> String {
        format!("{} {}", self.options.stream, self.id)
    }
}

impl Drive<Component> for ComponentActor {
    fn driver(&mut self) -> &mut Driver<Component> {
        &mut self.driver
    }

    fn carry_out(&mut self, output: ComponentOutput, ctx: &mut Context<Self>) {
        let id = self.id;
        match output {
            ComponentOutput::Transmit(transmit) => {
                if let Some(transport) = &self.transport {
                    // What the system does not take is lost, as on the network.
                    _ = transport.send(transmit.borrow());
                }
            }
            ComponentOutput::Validate(remote) => {
                if let Some(transport) = &self.transport {
                    transport.validate(remote);
                }
            }
            ComponentOutput::Handshake(datagram) => self.handshake.datagram(datagram),
            ComponentOutput::Selected { local, remote } => {
                if let Some(old) = self.old_credentials.take()
                    && let Some(transport) = &self.transport
                {
                    transport.remove_ufrag(&old.ufrag);
                }
                self.tell(EndpointEvent::NewSelectedPair { component: id, local, remote });
            }
            ComponentOutput::Ready(round_trip_time) => {
                self.tell(EndpointEvent::ComponentReady(id));
                self.handshake.connection_ready(round_trip_time, ctx);
            }
            ComponentOutput::Disconnected => self.tell(EndpointEvent::ComponentDisconnected(id)),
            ComponentOutput::Reconnected => self.tell(EndpointEvent::ComponentReconnected(id)),
            ComponentOutput::Payload(payload) => {
                if self.events.try_send(ComponentEvent::Payload(id, payload)).is_err() {
                    log::debug!(
                        "{}a payload was dropped: its endpoint does not keep up",
                        self.label()
                    );
                }
            }
            ComponentOutput::Closed => self.tell(EndpointEvent::ComponentClosed(id)),
            ComponentOutput::Failed(error) => {
                self.tell(EndpointEvent::ComponentFailed { component: id, error })
            }
        }
    }
}

impl Actor for ComponentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let mut options = self.options.transport.clone();
        options.label = self.label();
        let (transport, events) = Transport::open(&self.mux, options);
        // Credentials are random: no other route has them.
        _ = transport.add_ufrag(&self.credentials.ufrag);
        self.transport = Some(transport);
        ctx.add_stream(events);

        let mut spec = HandshakeSpec::new(
            ComponentInfo::new(self.id, self.options.controlling).with_label(self.label()),
            self.options.handshake.clone(),
        );
        spec.deadline = self.options.handshake_deadline;
        spec.placement = self.options.handshake_placement.clone();
        let child_id = self.child_id();
        self.handshake.start(&self.handshakes, child_id, spec, ctx);
        self.drive(ctx, Component::handle_timeout);
    }
}

impl StreamHandler<TransportEvent> for ComponentActor {
    fn handle(&mut self, event: TransportEvent, ctx: &mut Context<Self>) {
        let component = self.id;
        match event {
            TransportEvent::Datagram(datagram) => self.drive(ctx, |core, now| {
                core.handle_datagram(
                    now,
                    datagram.source,
                    datagram.destination,
                    datagram.class,
                    datagram.contents,
                );
            }),
            TransportEvent::Candidate(found) => {
                let added =
                    self.drive(ctx, |core, now| core.add_local_candidate(now, found.candidate));
                if let Some(candidate) = added {
                    let candidate = write_candidate(component, &candidate);
                    self.tell(EndpointEvent::NewCandidate { component, candidate });
                }
            }
            TransportEvent::CandidateError(error) => {
                self.tell(EndpointEvent::CandidateError { component, error })
            }
            TransportEvent::CandidateLost(candidate) => {
                self.drive(ctx, |core, now| core.remove_local_candidate(now, &candidate));
            }
            TransportEvent::GatheringDone => {
                self.drive(ctx, Component::gathered);
                self.events.do_send(ComponentEvent::GatheringDone(component));
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {
        // The mux is gone; operations under way run into their time-outs.
    }
}

impl HandshakeOwner for ComponentActor {
    fn handshake_slot(&mut self) -> &mut HandshakeSlot {
        &mut self.handshake
    }

    fn handle_handshake(&mut self, output: HandshakeOutput, ctx: &mut Context<Self>) {
        match output {
            HandshakeOutput::InitData { data, .. } => {
                self.events.do_send(ComponentEvent::InitData(self.id, data))
            }
            HandshakeOutput::Transmit { packets, .. } => {
                self.drive(ctx, |core, _| core.transmit(packets))
            }
            HandshakeOutput::Finished(finished) => self.finish(finished, ctx),
            HandshakeOutput::Failed(error) => {
                self.drive(ctx, |core, _| core.give_up(Some(error.into())))
            }
            HandshakeOutput::Closed => self.drive(ctx, |core, _| core.give_up(None)),
        }
    }
}

impl Handler<HandshakeEvent> for ComponentActor {
    type Result = ();

    fn handle(&mut self, event: HandshakeEvent, ctx: &mut Context<Self>) {
        HandshakeSlot::handle_event(self, event, ctx);
    }
}

impl Handler<Down> for ComponentActor {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Context<Self>) {
        HandshakeSlot::handle_down(self, down, ctx);
    }
}

impl Handler<ComponentCommand> for ComponentActor {
    type Result = ();

    fn handle(&mut self, command: ComponentCommand, ctx: &mut Context<Self>) {
        match command {
            ComponentCommand::Gather => {
                if let Some(transport) = &self.transport {
                    transport.gather();
                }
            }
            ComponentCommand::SetRemoteCredentials(credentials) => {
                if self.driver.core().remote_credentials().as_ref() != Some(&credentials) {
                    self.drive(ctx, |core, now| core.set_remote_credentials(now, &credentials));
                }
            }
            ComponentCommand::Restart(credentials) => {
                if let Some(transport) = &self.transport {
                    if let Some(older) = self.old_credentials.take() {
                        transport.remove_ufrag(&older.ufrag);
                    }
                    _ = transport.add_ufrag(&credentials.ufrag);
                    self.old_credentials =
                        Some(std::mem::replace(&mut self.credentials, credentials.clone()));
                }
                self.drive(ctx, |core, now| core.restart(now, &credentials));
                if let Some(transport) = &self.transport {
                    transport.gather();
                }
            }
            ComponentCommand::SetRemoteInitData(data) => self.handshake.set_remote_init_data(data),
            ComponentCommand::RemoteCandidatesDone => {
                self.drive(ctx, Component::remote_candidates_done)
            }
            ComponentCommand::Close => {
                self.handshake.close();
                self.drive(ctx, |core, _| core.close());
                ctx.exit(ExitReason::Normal);
            }
        }
    }
}

impl Handler<AddRemoteCandidate> for ComponentActor {
    type Result = Result<(), SetRemoteCandidateError>;

    fn handle(
        &mut self,
        AddRemoteCandidate(candidate): AddRemoteCandidate,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        self.drive(ctx, |core, now| core.add_remote_candidate(now, candidate))
    }
}

impl Handler<Seal> for ComponentActor {
    type Result = Result<(), SendPayloadError>;

    fn handle(&mut self, Seal(payload): Seal, ctx: &mut Context<Self>) -> Self::Result {
        self.drive(ctx, |core, now| core.send(now, &payload))
    }
}

impl From<ExitReason> for ComponentError {
    fn from(reason: ExitReason) -> Self {
        Self::ActorEnded(reason)
    }
}

/// Commands and payloads of the application, which waits for each, or loses those without room.
const MAILBOX: usize = 256;
