//! Actor of a whole endpoint.

use std::collections::BTreeMap;

use actix::prelude::*;
use callboard_supervision::{
    ChildSpec, Down, Exit, ExitReason, Restart, SupervisorRef, defer_start, monitor,
};
use callboard_transport::mux::MuxHandle;

use super::component_actor::{
    AddRemoteCandidate, ComponentActor, ComponentCommand, ComponentEvent, Seal,
};
use super::sdp::{parse_candidate, parse_sdp};
use super::*;
use crate::handshake::{ComponentId, InitData};

/// Actor of an [`IceEndpoint`]: passes the application's commands to its components, and their events to the
/// application.
pub struct Endpoint {
    options: EndpointOptions,
    credentials: Credentials,
    remote: Option<Credentials>,
    /// Whether we have restarted ICE, and the peer has not yet.
    restarting: bool,
    muxes: Vec<MuxHandle>,
    supervisor: SupervisorRef,
    components: BTreeMap<ComponentId, Addr<ComponentActor>>,
    monitors: Vec<(callboard_supervision::MonitorId, ComponentId)>,
    /// Init data of the handshakes that have returned it; other events wait until all have.
    init_data: BTreeMap<ComponentId, InitData>,
    held: Option<Vec<EndpointEvent>>,
    gathering: Vec<ComponentId>,
    owner: Recipient<EndpointEvent>,
}

impl Endpoint {
    pub(super) fn new(
        options: EndpointOptions,
        muxes: Vec<MuxHandle>,
        supervisor: SupervisorRef,
        owner: Recipient<EndpointEvent>,
    ) -> Self {
        Self {
            options,
            credentials: Credentials::random(),
            remote: None,
            restarting: false,
            muxes,
            supervisor,
            components: BTreeMap::new(),
            monitors: Vec::new(),
            init_data: BTreeMap::new(),
            held: Some(Vec::new()),
            gathering: Vec::new(),
            owner,
        }
    }

    fn tell(&mut self, event: EndpointEvent) {
        match &mut self.held {
            Some(held) => held.push(event),
            // Bounded by the application's commands, see the components; payloads are not among these events.
            None => self.owner.do_send(event),
        }
    }

    /// Sends the waiting events: every handshake has returned its init data.
    fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        for (component, data) in std::mem::take(&mut self.init_data) {
            self.owner.do_send(EndpointEvent::HandshakeInitData { component, data });
        }
        self.owner.do_send(EndpointEvent::LocalCredentials(self.credentials.clone()));
        held.into_iter().for_each(|event| self.owner.do_send(event));
    }

    fn command(&self, command: impl Fn() -> ComponentCommand) {
        for component in self.components.values() {
            // One for each command of the application.
            component.do_send(command());
        }
    }

    fn restart(&mut self) {
        self.credentials = Credentials::random();
        self.tell(EndpointEvent::LocalCredentials(self.credentials.clone()));
        self.gathering = self.components.keys().copied().collect();
        self.command(|| ComponentCommand::Restart(self.credentials.clone()));
    }

    fn set_remote(&mut self, credentials: Credentials) {
        let is_new = self.remote.as_ref().is_some_and(|known| *known != credentials);
        // The peer has restarted ICE by itself: its checks will be answered with new credentials of our own, too.
        if is_new && !std::mem::replace(&mut self.restarting, false) {
            self.restart();
        }
        self.remote = Some(credentials.clone());
        self.command(|| ComponentCommand::SetRemoteCredentials(credentials.clone()));
    }

    fn component(&self, id: ComponentId) -> Option<Addr<ComponentActor>> {
        self.components.get(&id).cloned()
    }

    /// Starts the components; the endpoint has started when they have.
    fn start_components(&mut self, ctx: &mut Context<Self>) {
        let starting = defer_start();
        let (supervisor, options, credentials) =
            (self.supervisor.clone(), self.options.clone(), self.credentials.clone());
        let (muxes, events) = (self.muxes.clone(), ctx.address().recipient());
        let start = async move {
            let (components, handshakes) =
                (supervisor.supervisor("components")?, supervisor.supervisor("handshakes")?);
            let mut started = Vec::new();
            for (at, mux) in muxes.into_iter().enumerate() {
                let id = ComponentId(at as u16 + 1);
                let (options, credentials, handshakes, events) =
                    (options.clone(), credentials.clone(), handshakes.clone(), events.clone());
                let make = move || {
                    let (options, credentials) = (options.clone(), credentials.clone());
                    ComponentActor::new(
                        id,
                        options,
                        credentials,
                        mux.clone(),
                        handshakes.clone(),
                        events.clone(),
                    )
                };
                let name = format!("component {id}");
                let spec = ChildSpec::new(name.clone(), make).restart(Restart::Temporary);
                components.start_child(spec).await.map_err(|error| error.to_string())?;
                let actor = components
                    .child::<ComponentActor>(&name)?
                    .addr()
                    .ok_or("it has ended at once")?;
                started.push((id, actor));
            }
            Ok::<_, Box<dyn std::error::Error>>(started)
        };
        ctx.wait(start.into_actor(self).map(move |started, endpoint, ctx| match started {
            Ok(started) => {
                for (id, actor) in started {
                    let monitor = monitor(&actor, ctx.address().recipient());
                    endpoint.monitors.push((monitor.id, id));
                    endpoint.components.insert(id, actor);
                }
                starting.ready();
            }
            Err(error) => {
                starting.fail(callboard_supervision::StartError::failed(error.to_string()))
            }
        }));
    }
}

impl Actor for Endpoint {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.start_components(ctx);
    }
}

impl Handler<ComponentEvent> for Endpoint {
    type Result = ();

    fn handle(&mut self, event: ComponentEvent, _: &mut Context<Self>) {
        match event {
            ComponentEvent::InitData(id, data) => {
                self.init_data.insert(id, data);
                if self.init_data.len() == self.muxes.len() {
                    self.release();
                }
            }
            ComponentEvent::GatheringDone(id) => {
                let waiting = self.gathering.len();
                self.gathering.retain(|component| *component != id);
                if waiting > 0 && self.gathering.is_empty() {
                    self.tell(EndpointEvent::CandidateGatheringDone);
                }
            }
            ComponentEvent::Tell(event) => self.tell(event),
            ComponentEvent::Payload(component, payload) => {
                if self.owner.try_send(EndpointEvent::Payload { component, payload }).is_err() {
                    let stream = &self.options.stream;
                    log::debug!(
                        "{stream} {component}: a payload was dropped: the endpoint's owner does not keep up"
                    );
                }
            }
        }
    }
}

impl Handler<Down> for Endpoint {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        let Some((_, id)) = self.monitors.iter().find(|(monitor, _)| *monitor == down.monitor)
        else {
            return;
        };
        let id = *id;
        self.components.remove(&id);
        if down.reason.is_abnormal() {
            let error = ComponentError::ActorEnded(down.reason);
            self.tell(EndpointEvent::ComponentFailed { component: id, error });
        }
    }
}

impl Handler<GatherCandidates> for Endpoint {
    type Result = ();

    fn handle(&mut self, _: GatherCandidates, _: &mut Context<Self>) {
        self.gathering = self.components.keys().copied().collect();
        self.command(|| ComponentCommand::Gather);
    }
}

impl Handler<SetRemoteCredentials> for Endpoint {
    type Result = Result<(), CredentialsError>;

    fn handle(&mut self, message: SetRemoteCredentials, _: &mut Context<Self>) -> Self::Result {
        let SetRemoteCredentials(Credentials { ufrag, password }) = message;
        self.set_remote(Credentials::new(ufrag, password)?);
        Ok(())
    }
}

impl Handler<SetRemoteCandidate> for Endpoint {
    type Result = ResponseFuture<Result<(), SetRemoteCandidateError>>;

    fn handle(&mut self, message: SetRemoteCandidate, _: &mut Context<Self>) -> Self::Result {
        let SetRemoteCandidate { component, candidate } = message;
        let actor = self.component(component);
        Box::pin(async move {
            let actor = actor.ok_or(SetRemoteCandidateError::OtherComponent)?;
            let candidate = parse_candidate(component, &candidate)?;
            actor
                .send(AddRemoteCandidate(candidate))
                .await
                .unwrap_or(Err(SetRemoteCandidateError::OtherComponent))
        })
    }
}

impl Handler<ParseRemoteSdp> for Endpoint {
    type Result = ResponseFuture<Result<usize, ParseRemoteSdpError>>;

    fn handle(
        &mut self,
        ParseRemoteSdp(sdp): ParseRemoteSdp,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let (credentials, candidates) = match parse_sdp(&sdp) {
            Ok(parsed) => parsed,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        self.set_remote(credentials);
        let components = self.components.clone();
        Box::pin(async move {
            let mut taken = 0;
            for (id, candidate) in candidates {
                let (Some(actor), Ok(candidate)) =
                    (components.get(&id), parse_candidate(id, &candidate))
                else {
                    continue;
                };
                taken += usize::from(matches!(
                    actor.send(AddRemoteCandidate(candidate)).await,
                    Ok(Ok(()))
                ));
            }
            Ok(taken)
        })
    }
}

impl Handler<RemoteCandidatesDone> for Endpoint {
    type Result = ();

    fn handle(
        &mut self,
        RemoteCandidatesDone(component): RemoteCandidatesDone,
        _: &mut Context<Self>,
    ) {
        if let Some(component) = self.component(component) {
            // One for each command of the application.
            component.do_send(ComponentCommand::RemoteCandidatesDone);
        }
    }
}

impl Handler<SetRemoteHandshakeInitData> for Endpoint {
    type Result = ();

    fn handle(&mut self, message: SetRemoteHandshakeInitData, _: &mut Context<Self>) {
        let SetRemoteHandshakeInitData { component, data } = message;
        for (id, actor) in &self.components {
            if component.is_none_or(|component| component == *id) {
                actor.do_send(ComponentCommand::SetRemoteInitData(data.clone()));
            }
        }
    }
}

impl Handler<SendPayload> for Endpoint {
    type Result = ResponseActFuture<Self, Result<(), SendPayloadError>>;

    fn handle(
        &mut self,
        SendPayload { component, payload }: SendPayload,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let actor = self.component(component);
        let send = async move {
            match actor {
                Some(actor) => {
                    actor.send(Seal(payload)).await.unwrap_or(Err(SendPayloadError::NoComponent))
                }
                None => Err(SendPayloadError::NoComponent),
            }
        };
        Box::pin(send.into_actor(self).map(move |sent, endpoint, _| {
            if let Err(error) = sent {
                // One for each payload that the application sends.
                endpoint.tell(EndpointEvent::CouldNotSendPayload { component, error });
            }
            sent
        }))
    }
}

impl Handler<RestartEndpointIce> for Endpoint {
    type Result = ();

    fn handle(&mut self, _: RestartEndpointIce, _: &mut Context<Self>) {
        self.restarting = self.remote.is_some();
        self.restart();
    }
}

impl Handler<CloseEndpoint> for Endpoint {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: CloseEndpoint, _: &mut Context<Self>) -> Self::Result {
        let components: Vec<_> = std::mem::take(&mut self.components).into_values().collect();
        let close = async move {
            for component in components {
                // A component that does not answer is stopped by its supervisor.
                _ = component.send(ComponentCommand::Close).await;
            }
        };
        Box::pin(close.into_actor(self).map(|(), _, ctx| ctx.exit(ExitReason::Normal)))
    }
}

/// Commands and payloads of the application, and events of components.
const MAILBOX: usize = 1_024;
