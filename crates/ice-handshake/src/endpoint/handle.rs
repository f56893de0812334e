//! Handle of an endpoint, for its application.

use actix::dev::ToEnvelope;
use actix::prelude::*;
use callboard_supervision::{
    AutoShutdown, CallError, ChildId, ChildRef, ChildSpec, Flags, Restart, StartSupervisorError,
    SupervisorRef, SupervisorSpec, TreeSnapshot,
};
use callboard_transport::mux::{BindError, MuxHandle, UdpMux};

use super::{Endpoint, EndpointEvent, EndpointOptions};

/// Stand-alone ICE endpoint. Cheap to clone, usable from any thread.
///
/// It takes the [messages](super) of this module, and sends [`EndpointEvent`]s to its owner.
#[derive(Clone, Debug)]
pub struct IceEndpoint {
    supervisor: SupervisorRef,
    actor: ChildRef<Endpoint>,
}

/// Error of starting an endpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartEndpointError {
    /// The sockets could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The number of components is not supported: at least one is needed, and a shared mux can serve only one.
    #[error("{0} components cannot be served")]
    Components(u16),
    /// One of the actors did not start.
    #[error(transparent)]
    Start(#[from] StartSupervisorError),
}

impl IceEndpoint {
    /// Starts an endpoint as a tree of its own on this thread. Its `owner` gets all events.
    ///
    /// # Errors
    /// [`StartEndpointError`] if the number of components is not supported, or its sockets or actors fail to start.
    pub async fn start(
        options: EndpointOptions,
        owner: Recipient<EndpointEvent>,
    ) -> Result<Self, StartEndpointError> {
        let muxes = bind(&options)?;
        let name = options.stream.clone();
        // The children learn their supervisor before this function could ask the tree for it.
        let (tell, told) = std::sync::mpsc::channel();
        let spec =
            Self::spec(name.clone(), options, muxes, owner, move |itself| _ = tell.send(itself));
        let root = SupervisorSpec::new(
            Flags::one_for_one().intensity(0, PERIOD).auto_shutdown(AutoShutdown::AnySignificant),
        )
        .child(spec.significant(true).restart(Restart::Temporary))
        .start_as(name)
        .await?;
        let endpoint = told.recv().expect("it has been started");
        let actor = endpoint.child("endpoint").expect("its supervisor has been started with it");
        Ok(Self { supervisor: root, actor })
    }

    /// Returns an endpoint as a child spec for a supervisor of the application. `started` gets its handle, at each
    /// start.
    ///
    /// The child is temporary: an endpoint that has failed has lost its peer, which knows other credentials.
    ///
    /// # Errors
    /// [`StartEndpointError`] if the number of components is not supported, or its sockets cannot be bound.
    pub fn child(
        id: impl Into<ChildId>,
        options: EndpointOptions,
        owner: Recipient<EndpointEvent>,
        mut started: impl FnMut(Self) + Send + 'static,
    ) -> Result<ChildSpec, StartEndpointError> {
        let muxes = bind(&options)?;
        let spec = Self::spec(id.into(), options, muxes, owner, move |supervisor| {
            if let Ok(actor) = supervisor.child("endpoint") {
                started(Self { supervisor, actor });
            }
        });
        Ok(spec.restart(Restart::Temporary))
    }

    fn spec(
        id: impl Into<ChildId>,
        options: EndpointOptions,
        muxes: Vec<MuxHandle>,
        owner: Recipient<EndpointEvent>,
        mut tell: impl FnMut(SupervisorRef) + Send + 'static,
    ) -> ChildSpec {
        let shared = options.mux.is_some();
        ChildSpec::try_supervisor(id, move |itself| {
            let flags = Flags::one_for_all()
                .intensity(0, PERIOD)
                .auto_shutdown(AutoShutdown::AnySignificant);
            let mut spec = SupervisorSpec::new(flags);
            if !shared {
                let readers = Flags::one_for_one();
                let muxes = muxes.clone();
                spec = spec.child(ChildSpec::supervisor("sockets", move || {
                    muxes.iter().cloned().enumerate().fold(
                        SupervisorSpec::new(readers),
                        |spec, (at, mux)| {
                            spec.child(ChildSpec::new(format!("udp {}", at + 1), move || {
                                UdpMux::new(mux.clone())
                            }))
                        },
                    )
                }));
            }
            let (options, muxes, owner, supervisor) =
                (options.clone(), muxes.clone(), owner.clone(), itself.clone());
            let endpoint = move || {
                Endpoint::new(options.clone(), muxes.clone(), supervisor.clone(), owner.clone())
            };
            tell(itself);
            Ok(spec
                .child(ChildSpec::supervisor("handshakes", || {
                    SupervisorSpec::dynamic(Flags::one_for_one())
                }))
                .child(ChildSpec::supervisor("components", || {
                    SupervisorSpec::dynamic(Flags::one_for_one())
                }))
                .child(
                    ChildSpec::new("endpoint", endpoint)
                        .restart(Restart::Transient)
                        .significant(true),
                ))
        })
    }

    /// Sends it a message, and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`] if it has ended.
    pub async fn send<M>(&self, message: M) -> Result<M::Result, CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Endpoint: Handler<M>,
        Context<Endpoint>: ToEnvelope<Endpoint, M>,
    {
        self.actor.send(message).await
    }

    /// Sends it a message, if it has room; payloads may be lost.
    ///
    /// # Errors
    /// [`CallError`] if it has ended or has no room.
    pub fn try_send<M>(&self, message: M) -> Result<(), CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Endpoint: Handler<M>,
        Context<Endpoint>: ToEnvelope<Endpoint, M>,
    {
        self.actor.try_send(message)
    }

    /// Closes every component and stops the whole tree. It has ended when this resolves.
    pub async fn stop(&self) {
        if self.send(super::CloseEndpoint).await.is_ok() {
            self.supervisor.ended().await;
        }
        self.supervisor.stop().await;
    }

    /// Returns whether it runs.
    pub fn is_running(&self) -> bool {
        self.actor.is_running()
    }

    /// Returns its supervisor, which supervises its sockets, its components, and their handshakes.
    pub fn supervisor(&self) -> &SupervisorRef {
        &self.supervisor
    }

    /// Returns a snapshot of its tree.
    pub fn snapshot(&self) -> TreeSnapshot {
        self.supervisor.snapshot()
    }
}

/// Binds a mux for each component.
fn bind(options: &EndpointOptions) -> Result<Vec<MuxHandle>, StartEndpointError> {
    match (&options.mux, options.components) {
        (_, 0) => Err(StartEndpointError::Components(0)),
        (Some(mux), 1) => Ok(vec![mux.clone()]),
        (Some(_), components) => Err(StartEndpointError::Components(components)),
        (None, components) if components > MOST_COMPONENTS => {
            Err(StartEndpointError::Components(components))
        }
        (None, components) => (0..components)
            .map(|_| MuxHandle::bind(options.sockets.clone()).map_err(Into::into))
            .collect(),
    }
}

/// Most components of one endpoint (RFC 8839 §5.1: up to 256).
const MOST_COMPONENTS: u16 = 256;
/// Period of the restart intensity; of no effect with an intensity of 0.
const PERIOD: std::time::Duration = std::time::Duration::from_secs(5);
