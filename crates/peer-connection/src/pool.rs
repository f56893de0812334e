//! Pool of media threads: their ports, and the supervisors of connections and handshakes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use callboard_supervision::{
    ArbiterPool, CallError, ChildId, ChildRef, ChildSpec, Flags, Placement, Restart, Shutdown,
    StartChildError, StartSupervisorError, SupervisorRef, SupervisorSpec, TreeSnapshot,
};
use callboard_transport::mux::{
    BindError, MuxCounters, MuxHandle, PortChoice, UdpMux, UdpMuxOptions,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::actor::{HandshakeHost, PeerConnection};
use crate::data_channel::DataChannelId;
use crate::error::DeliverDataError;
use crate::event::{DataChannelMessage, PeerConnectionEvent, PeerConnectionId};
use crate::media_thread::MediaThread;
use crate::messages::DeliverData;
use crate::{Api, Configuration};

/// Options of a pool of media threads.
#[derive(Clone, Debug)]
pub struct PeerConnectionsOptions {
    /// Number of threads for connections, each with one UDP port for all its connections. Default: one for each core.
    pub media_threads: usize,
    /// Number of threads for handshakes; 0 to run them beside their connections. Default: 1, so that many joins at once
    /// do not delay media.
    pub handshake_threads: usize,
    /// The sockets. With a fixed port and several threads, each takes the next port.
    pub sockets: UdpMuxOptions,
    /// Time that a handshake may take, from the moment that there is a path. Default: 10 s.
    pub handshake_deadline: Duration,
}

impl Default for PeerConnectionsOptions {
    fn default() -> Self {
        Self {
            media_threads: std::thread::available_parallelism().map_or(1, usize::from),
            handshake_threads: 1,
            sockets: UdpMuxOptions::default(),
            handshake_deadline: Duration::from_secs(10),
        }
    }
}

/// The pool of peer connections: a supervision tree of media threads, their sockets, the connections, and the
/// handshakes. Cheap to clone, usable from any thread.
///
/// ```no_run
/// use actix::prelude::*;
/// use callboard_peer_connection::messages::*;
/// use callboard_peer_connection::*;
///
/// struct Owner;
///
/// impl Actor for Owner {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<PeerConnectionEvent> for Owner {
///     type Result = ();
///     fn handle(&mut self, event: PeerConnectionEvent, _: &mut Self::Context) {
///         println!("{:?}", event.event);
///     }
/// }
///
/// # #[actix::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connections = PeerConnections::start(PeerConnectionsOptions::default()).await?;
/// let owner = Owner.start();
/// let connection = connections.open(&Api::default(), Configuration::default(), owner.recipient()).await?;
/// let channel = connection.send(CreateDataChannel::new("chat")).await??;
/// let offer = connection.send(CreateOffer::default()).await??;
/// connection.send(SetLocalDescription(Some(offer))).await??;
/// # _ = channel;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PeerConnections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    supervisor: SupervisorRef,
    connections: SupervisorRef,
    handshakes: SupervisorRef,
    handshake_placement: Option<Placement>,
    handshake_deadline: Duration,
    threads: Vec<MediaThread>,
    next: AtomicUsize,
}

/// Reason why a pool did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartPoolError {
    /// A port could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// One of the pool's actors did not start.
    #[error(transparent)]
    Start(#[from] StartSupervisorError),
}

/// Reason why a connection was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such media thread.
    #[error("there is no media thread {0}")]
    NoThread(usize),
    /// The connection's actor did not start.
    #[error(transparent)]
    Start(#[from] StartChildError),
    /// The connection has ended already.
    #[error("the connection has ended")]
    Ended,
}

impl PeerConnections {
    /// Starts a pool as a tree of its own. Needs a running actix [`System`].
    ///
    /// # Errors
    /// [`StartPoolError`]
    pub async fn start(options: PeerConnectionsOptions) -> Result<Self, StartPoolError> {
        let (tell, told) = std::sync::mpsc::channel();
        let spec = Self::child("peer-connections", options, move |pool| _ = tell.send(pool))?;
        let root = SupervisorSpec::new(Flags::one_for_one()).child(spec).start_as("webrtc").await?;
        let pool = told.recv().expect("it has been started");
        let Shared {
            connections,
            handshakes,
            handshake_placement,
            handshake_deadline,
            threads,
            ..
        } = &*pool.shared;
        // Stopped as a whole.
        Ok(Self {
            shared: Arc::new(Shared {
                supervisor: root,
                connections: connections.clone(),
                handshakes: handshakes.clone(),
                handshake_placement: handshake_placement.clone(),
                handshake_deadline: *handshake_deadline,
                threads: threads.clone(),
                next: AtomicUsize::new(0),
            }),
        })
    }

    /// Returns the spec of a pool as a child of an application's supervisor. `started` gets its handle, at each start.
    ///
    /// # Errors
    /// [`StartPoolError`], of its sockets.
    pub fn child(
        id: impl Into<ChildId>,
        options: PeerConnectionsOptions,
        mut started: impl FnMut(Self) + Send + 'static,
    ) -> Result<ChildSpec, StartPoolError> {
        let threads = bind(&options)?;
        let handshake_pool =
            (options.handshake_threads > 0).then(|| ArbiterPool::new(options.handshake_threads));
        let spec = ChildSpec::try_supervisor(id, move |itself| {
            let spec = SupervisorSpec::new(Flags::one_for_one());
            let readers = threads.clone();
            let spec = spec
                .child(ChildSpec::supervisor("sockets", move || {
                    let readers = readers.iter().enumerate();
                    readers.fold(SupervisorSpec::new(Flags::one_for_one()), |spec, (at, thread)| {
                        let mux = thread.mux.clone();
                        let child =
                            ChildSpec::new(format!("udp {at}"), move || UdpMux::new(mux.clone()));
                        spec.child(child.placement(Placement::Pool(thread.pool.clone())))
                    })
                }))
                .child(ChildSpec::supervisor("handshakes", || {
                    SupervisorSpec::dynamic(Flags::one_for_one())
                }))
                .child(ChildSpec::supervisor("connections", || {
                    SupervisorSpec::dynamic(Flags::one_for_one())
                }));
            started(Self {
                shared: Arc::new(Shared {
                    connections: itself.clone(),
                    handshakes: itself.clone(),
                    supervisor: itself,
                    handshake_placement: handshake_pool.clone().map(Placement::Pool),
                    handshake_deadline: options.handshake_deadline,
                    threads: threads.clone(),
                    next: AtomicUsize::new(0),
                }),
            });
            Ok(spec)
        });
        Ok(spec.restart(Restart::Permanent))
    }

    /// Opens a connection on the next media thread in turn. The owner receives all events of the connection.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        &self,
        api: &Api,
        configuration: Configuration,
        owner: Recipient<PeerConnectionEvent>,
    ) -> Result<PeerConnectionHandle, OpenError> {
        let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.open_on(turn % self.shared.threads.len(), api, configuration, owner).await
    }

    /// Opens a connection on this media thread: connections that forward to each other do so best from one thread.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open_on(
        &self,
        thread: usize,
        api: &Api,
        configuration: Configuration,
        owner: Recipient<PeerConnectionEvent>,
    ) -> Result<PeerConnectionHandle, OpenError> {
        let thread = self.shared.threads.get(thread).cloned().ok_or(OpenError::NoThread(thread))?;
        let id = PeerConnectionId(Uuid::new_v4());
        let placement = Placement::Pool(thread.pool.clone());
        let handshakes = HandshakeHost {
            supervisor: self.supervisor_of("handshakes"),
            placement: self.shared.handshake_placement.clone().unwrap_or_else(|| placement.clone()),
            deadline: self.shared.handshake_deadline,
        };
        let api = api.clone();
        let spec = ChildSpec::try_new(id.to_string(), move || {
            let connection = PeerConnection::new(
                &api,
                &configuration,
                thread.clone(),
                handshakes.clone(),
                id,
                owner.clone(),
            );
            std::future::ready(
                connection
                    .map_err(|error| callboard_supervision::StartError::Failed(error.to_string())),
            )
        })
        // Not restarted: the peer knows the old instance, and a connection that has failed cannot be resumed.
        .restart(Restart::Temporary)
        .shutdown(Shutdown::Timeout(STOPPING))
        .placement(placement);
        let connections = self.supervisor_of("connections");
        connections.start_child(spec).await?;
        let actor = connections.child(&id.to_string()).map_err(|_| OpenError::Ended)?;
        Ok(PeerConnectionHandle { id, actor })
    }

    fn supervisor_of(&self, name: &str) -> SupervisorRef {
        let here =
            if name == "handshakes" { &self.shared.handshakes } else { &self.shared.connections };
        here.supervisor(name).unwrap_or_else(|_| here.clone())
    }

    /// Returns whether this connection runs.
    pub fn exists(&self, id: PeerConnectionId) -> bool {
        self.get(id).is_some_and(|connection| connection.is_open())
    }

    /// Returns a connection by its id.
    pub fn get(&self, id: PeerConnectionId) -> Option<PeerConnectionHandle> {
        let actor = self.supervisor_of("connections").child(&id.to_string()).ok()?;
        Some(PeerConnectionHandle { id, actor })
    }

    /// Returns the number of media threads.
    pub fn media_threads(&self) -> usize {
        self.shared.threads.len()
    }

    /// Returns where a media thread's connections run: an owner that is placed there too receives media without a
    /// change of threads, which is most of the cost of forwarding. It must not block.
    pub fn placement(&self, thread: usize) -> Option<Placement> {
        self.shared.threads.get(thread).map(|thread| Placement::Pool(thread.pool.clone()))
    }

    /// Returns the UDP port of each media thread.
    pub fn ports(&self) -> Vec<u16> {
        self.shared.threads.iter().map(|thread| thread.mux.port()).collect()
    }

    /// Returns the counters of each media thread's sockets.
    pub fn mux_counters(&self) -> Vec<MuxCounters> {
        self.shared.threads.iter().map(|thread| thread.mux.counters()).collect()
    }

    /// Returns the sockets of each media thread.
    pub fn muxes(&self) -> Vec<MuxHandle> {
        self.shared.threads.iter().map(|thread| thread.mux.clone()).collect()
    }

    /// Returns the supervisor of the connections, each by its [id](PeerConnectionId).
    pub fn connections(&self) -> SupervisorRef {
        self.supervisor_of("connections")
    }

    /// Returns the supervisor of the handshakes under way, each by its connection's id.
    pub fn handshakes(&self) -> SupervisorRef {
        self.supervisor_of("handshakes")
    }

    /// Returns the supervisor of the whole pool.
    pub fn supervisor(&self) -> &SupervisorRef {
        &self.shared.supervisor
    }

    /// Returns a snapshot of the supervision tree.
    pub fn snapshot(&self) -> TreeSnapshot {
        self.shared.supervisor.snapshot()
    }

    /// Closes all connections, and stops the pool. The pool has ended when this resolves.
    pub async fn stop(&self) {
        self.shared.supervisor.stop().await;
    }
}

/// Handle of a connection, for its application. Cheap to clone, usable from any thread; it keeps nothing alive.
#[derive(Clone, Debug)]
pub struct PeerConnectionHandle {
    id: PeerConnectionId,
    actor: ChildRef<PeerConnection>,
}

impl PeerConnectionHandle {
    /// Returns the connection's id.
    pub fn id(&self) -> PeerConnectionId {
        self.id
    }

    /// Returns whether the connection runs.
    pub fn is_open(&self) -> bool {
        self.actor.is_running()
    }

    /// Returns the connection's actor, if it runs.
    pub fn address(&self) -> Option<Addr<PeerConnection>> {
        self.actor.addr()
    }

    /// Sends a message, and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`], when the connection has ended.
    pub async fn send<M>(&self, message: M) -> Result<M::Result, CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        PeerConnection: Handler<M>,
        Context<PeerConnection>: ToEnvelope<PeerConnection, M>,
    {
        self.actor.send(message).await
    }

    /// Sends a message if the mailbox has room, and does not wait. The answer is lost: of media and data, those that
    /// are refused are counted
    /// ([`PeerConnectionCounters::writes_refused`](crate::PeerConnectionCounters::writes_refused)).
    ///
    /// # Errors
    /// [`CallError`], when the connection has ended or has no room.
    pub fn try_send<M>(&self, message: M) -> Result<(), CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        PeerConnection: Handler<M>,
        Context<PeerConnection>: ToEnvelope<PeerConnection, M>,
    {
        self.actor.try_send(message)
    }

    /// Sends a message on a data channel if the mailbox has room. The future completes once the peer's SCTP has
    /// acknowledged the message (RFC 9260 §6.2), or the channel has ended before; the peer's application may not have
    /// seen it yet. On a channel that gives messages up, a given up one counts as acknowledged.
    ///
    /// # Errors
    /// [`CallError`], when the connection has ended or has no room. The future has [`DeliverDataError`].
    pub fn deliver(
        &self,
        channel: DataChannelId,
        message: DataChannelMessage,
    ) -> Result<impl Future<Output = Result<(), DeliverDataError>> + Send + use<>, CallError> {
        let (told, receipt) = oneshot::channel();
        self.actor.try_send(DeliverData { channel, message, told })?;
        Ok(async { receipt.await.unwrap_or(Err(DeliverDataError::Lost)) })
    }

    /// Closes the connection with a goodbye to the peer. Does nothing if it has ended.
    pub async fn close(&self) {
        _ = self.send(crate::messages::Close).await;
    }
}

/// Binds a port for each media thread.
fn bind(options: &PeerConnectionsOptions) -> Result<Vec<MediaThread>, StartPoolError> {
    let count = options.media_threads.max(1);
    (0..count)
        .map(|at| {
            let mut sockets = options.sockets.clone();
            sockets.port = match sockets.port {
                PortChoice::Fixed(port) => PortChoice::Fixed(port.saturating_add(at as u16)),
                PortChoice::Range(range) => PortChoice::Range(part(range, at)),
                // Each has one of its own.
                other => other,
            };
            let (pool, mux) = (ArbiterPool::new(1), MuxHandle::bind(sockets)?);
            Ok(MediaThread { index: at, pool, mux })
        })
        .collect()
}

/// Returns the part of a port range from this thread's port on: the ports before it are the other threads'.
fn part(range: RangeInclusive<u16>, at: usize) -> RangeInclusive<u16> {
    let first = range.start().saturating_add(at as u16).min(*range.end());
    first..=*range.end()
}

/// Time for the goodbyes of connections that are stopped.
const STOPPING: Duration = Duration::from_secs(1);
