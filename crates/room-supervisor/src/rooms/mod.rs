//! Supervisor of all rooms.

mod builder;
mod counts;
mod moving;
mod moving_all;
mod opening;
mod placing;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use callboard_cluster::Cluster;
use callboard_outbox::CloseFrame;
use callboard_supervision::{
    ActorPath, ArbiterPool, ChildSpec, Flags, NoSupervisorError, StartChildError, StartError,
    Status, SupervisorRef, SupervisorSpec,
};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

pub use self::builder::RoomsBuilder;
use self::counts::MoveCounters;
pub use self::counts::{MoveCounts, RoomCounts};
pub use self::moving::MoveRoomError;
pub use self::moving_all::MovedRooms;
use self::placing::Placing;
use crate::away::Hub;
use crate::error::{SendToMembersError, StartRoomError, StartRoomsError, TellError};
use crate::hand_over::HandOver;
use crate::handle::RoomHandle;
use crate::message::To;
use crate::options::{AnyRoomOptions, ROOM, RoomOptions};
use crate::peer_id::PeerId;
use crate::registry::RoomRegistry;
use crate::room::Room;
use crate::tell::Tell;

/// Function that makes the options of a room which is requested by name; none if there is no such room.
pub type OpenOnDemand = dyn Fn(&str) -> Option<AnyRoomOptions> + Send + Sync;

/// All rooms of a server: their supervisor and their registry. Cheap to clone, usable from any thread.
///
/// Rooms share some threads ([`RoomsBuilder::threads`]): with more rooms than threads, a room that blocks its thread
/// delays the other rooms on the same thread.
#[derive(Clone)]
pub struct Rooms {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    registry: Arc<dyn RoomRegistry>,
    on_demand: Option<Box<OpenOnDemand>>,
    /// Permits for rooms that are open on demand.
    places: Arc<Semaphore>,
    /// Turn to open a room, for each name.
    opening: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    start: Mutex<Box<dyn FnMut() -> Vec<AnyRoomOptions> + Send>>,
    /// Cluster in which the names of rooms are claimed.
    pub(crate) cluster: Option<Cluster>,
    /// Rooms of a cluster that are opened at the start, by name: they are opened later if another node has them then.
    at_start: Mutex<HashMap<Arc<str>, AnyRoomOptions>>,
    /// Links to rooms of other nodes, if the cluster has lines.
    pub(crate) hub: Option<Arc<Hub>>,
    /// Rooms that other nodes are to open, if the cluster has lines.
    placing: Option<Placing>,
    /// Threads of the rooms that have no placement of their own; none if they run on their supervisor's thread.
    threads: Option<ArbiterPool>,
    home: Mutex<Option<Home>>,
    /// Root of the tree of their own, if they were started in one.
    root: Mutex<Option<SupervisorRef>>,
    /// Error of the last start, if it failed.
    refused: Mutex<Option<StartRoomsError>>,
    /// Whether all rooms are being closed for good.
    pub(crate) closing: AtomicBool,
    pub(crate) hand_over: Arc<HandOver>,
    moves: MoveCounters,
}

/// Turns of the callers that open a room of one name.
struct Turns<'a> {
    shared: &'a Shared,
    name: &'a str,
}

impl Turns<'_> {
    fn of_this_name(&self) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.all().entry(self.name.to_owned()).or_default())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        // Every change is one insertion or removal.
        self.shared.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turns<'_> {
    /// Forgets the name when no other caller waits: each caller that waits holds the turn too.
    fn drop(&mut self) {
        let mut all = self.all();
        if all.get(self.name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            all.remove(self.name);
        }
    }
}

/// Supervisor of the rooms, and the thread on which it runs.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) supervisor: SupervisorRef,
    pub(crate) arbiter: ArbiterHandle,
    /// Identity of the specification from which it was started; the same through all its restarts.
    spec: Arc<()>,
}

impl Rooms {
    /// Creates rooms with the default registry, none of them opened on demand.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns the specification of the rooms' supervisor, for a supervision tree. The rooms can be used once it has
    /// started. It does not start while the rooms run in another tree.
    pub fn child_spec(&self, id: &str) -> ChildSpec {
        let (shared, spec) = (Arc::clone(&self.shared), Arc::new(()));
        ChildSpec::async_supervisor(id, move |supervisor| {
            let (shared, spec) = (Arc::clone(&shared), Arc::clone(&spec));
            async move {
                let rooms = shared.begin(supervisor, &spec).map_err(|error| {
                    let failed = StartError::failed(error.to_string());
                    *lock(&shared.refused) = Some(error);
                    failed
                })?;
                let rooms = shared.claim_all(rooms).await;
                // A room that is given up does not affect the others, so no restart is ever counted here.
                let flags = Flags::one_for_one().intensity(0, Duration::from_secs(1));
                let (registry, threads) = (&shared.registry, shared.threads.as_ref());
                let nodes = rooms.into_iter().map(|options| {
                    options.inheriting(&shared.hand_over).node(Arc::clone(registry), threads).1
                });
                if let Some(hub) = &shared.hub {
                    hub.finds_by(shared.finder());
                }
                if let Some(placing) = &shared.placing {
                    placing.begin(Arc::downgrade(&shared));
                }
                Rooms { shared: Arc::clone(&shared) }.begin_inherited();
                Ok(nodes.fold(SupervisorSpec::new(flags), SupervisorSpec::child))
            }
        })
    }

    /// Starts the rooms as the root of a tree of their own.
    ///
    /// # Errors
    /// [`StartRoomsError`]
    pub async fn start(&self) -> Result<SupervisorRef, StartRoomsError> {
        *lock(&self.shared.refused) = None;
        let root = SupervisorSpec::new(Flags::one_for_one()).child(self.child_spec("rooms"));
        let root = root.start_as("server").await.map_err(|error| {
            let refused = lock(&self.shared.refused).take();
            refused.unwrap_or(StartRoomsError::Supervisor(error))
        })?;
        *lock(&self.shared.root) = Some(root.clone());
        Ok(root)
    }

    /// Returns the root of the tree in which [`start`](Self::start) has started them, while that runs.
    pub fn tree(&self) -> Option<SupervisorRef> {
        lock(&self.shared.root).clone().filter(SupervisorRef::is_running)
    }

    /// Returns whether the rooms' supervisor runs: it has been started, and not stopped.
    pub fn is_running(&self) -> bool {
        self.home().is_some_and(|home| home.supervisor.is_running())
    }

    /// Returns whether all rooms are being closed ([`stop_all`](Self::stop_all)), and no more are opened.
    pub fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Relaxed)
    }

    /// Returns the [cluster](RoomsBuilder::cluster) in which the names of rooms are claimed.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.shared.cluster.as_ref()
    }

    pub(crate) fn home(&self) -> Option<Home> {
        lock(&self.shared.home).clone()
    }

    /// Opens a room under this supervisor.
    ///
    /// # Errors
    /// [`StartRoomError`]
    pub async fn start_supervised<R: Room>(
        &self,
        options: RoomOptions<R>,
    ) -> Result<RoomHandle, StartRoomError> {
        self.open(options.erase()).await
    }

    /// Returns the room of this name.
    pub fn lookup(&self, name: &str) -> Option<RoomHandle> {
        self.shared.registry.lookup(name)
    }

    /// Returns the room whose actor is at this path of the tree, if it runs on this node.
    pub fn room_at(&self, path: &ActorPath) -> Option<RoomHandle> {
        let (mut above, mut names) = (path.names(), path.names().rev());
        if names.next() != Some(ROOM) || above.next_back().is_none() {
            return None;
        }
        let room = self.lookup(names.next()?).filter(|room| room.home().is_none())?;
        room.supervisor()?.path().names().eq(above).then_some(room)
    }

    /// Returns the room of this name; a room that is not open is opened if that is done
    /// [on demand](RoomsBuilder::on_demand).
    ///
    /// # Errors
    /// [`StartRoomError::NoSuchRoom`] if there is none, and the errors of opening it.
    pub async fn find_or_open(&self, name: &str) -> Result<RoomHandle, StartRoomError> {
        if let Some(room) = self.lookup(name) {
            return Ok(room);
        }
        match self.open_on_demand(name).await {
            // Another caller opened it first.
            Err(StartRoomError::AlreadyStarted) => {
                self.lookup(name).ok_or(StartRoomError::NoSuchRoom)
            }
            opened => opened,
        }
    }

    /// Opens the room of this name, if that is done [on demand](RoomsBuilder::on_demand) and it is not open.
    ///
    /// # Errors
    /// [`StartRoomError`]: `AlreadyStarted`, `NoSuchRoom`, `TooManyRooms`, and others.
    pub async fn open_on_demand(&self, name: &str) -> Result<RoomHandle, StartRoomError> {
        self.open_by_name(name, self.shared.placing.as_ref()).await
    }

    /// Opens a room on demand at this node, without asking the policy.
    async fn open_on_demand_here(&self, name: &str) -> Result<RoomHandle, StartRoomError> {
        self.open_by_name(name, None).await
    }

    async fn open_by_name(
        &self,
        name: &str,
        placing: Option<&Placing>,
    ) -> Result<RoomHandle, StartRoomError> {
        let open = self.shared.on_demand.as_ref().and_then(|open| open(name));
        let (mut options, counted) = match (self.shared.at_start(name), open) {
            (Some(options), _) => (options, false),
            (None, Some(options)) => (options, true),
            (None, None) => return Err(StartRoomError::NoSuchRoom),
        };
        // Many callers may ask for a room that is not open yet: the first opens it.
        let turns = Turns { shared: &self.shared, name };
        let turn = turns.of_this_name();
        let _turn = turn.lock().await;
        if self.lookup(name).is_some() {
            return Err(StartRoomError::AlreadyStarted);
        }
        if let Some(placing) = placing.filter(|_| options.across_nodes) {
            placing.place(name).await;
        }
        options.reopens = true;
        if !counted {
            return self.open(options).await;
        }
        let place = Arc::clone(&self.shared.places).try_acquire_owned();
        let place = place.map_err(|_| StartRoomError::TooManyRooms)?;
        self.open(options.in_place(place)).await
    }

    /// Returns whether there is a room of this name, or would be one on demand. Opens none. Says nothing of the other
    /// nodes of a cluster.
    pub fn knows(&self, name: &str) -> bool {
        self.lookup(name).is_some()
            || lock(&self.shared.at_start).contains_key(name)
            || self.shared.on_demand.as_ref().is_some_and(|open| open(name).is_some())
    }

    /// Returns the names of the rooms that are open, in no particular order.
    pub fn names(&self) -> Vec<String> {
        self.shared.registry.names()
    }

    /// Returns the rooms that are open, in no particular order.
    pub fn list(&self) -> Vec<RoomHandle> {
        self.names().iter().filter_map(|name| self.lookup(name)).collect()
    }

    /// Returns the room that this peer is a member of; none if the room and the peer are both of other nodes. Finds it
    /// by the registry's [index](RoomRegistry::peers); looks into one room after the other if that has none.
    pub fn find_peer(&self, peer: PeerId) -> Option<RoomHandle> {
        let is_member = |room: &RoomHandle| room.member(peer).is_some();
        let Some(index) = self.shared.registry.peers() else {
            return self.list().into_iter().find(is_member);
        };
        let mut rooms = index.rooms(peer).map(|shared| RoomHandle { shared }).filter(is_member);
        rooms.find(|room| self.lookup(room.name()).is_some_and(|found| found.is_same(room)))
    }

    /// Sends a message of the server to members of the room of this name ([`RoomHandle::send`]).
    ///
    /// # Errors
    /// [`SendToMembersError`]
    pub fn send(
        &self,
        room: &str,
        to: impl Into<To>,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<(), SendToMembersError> {
        self.lookup(room).ok_or(SendToMembersError::NoSuchRoom)?.send(to, event, data)
    }

    /// Sends a message of the server to a peer, whichever room it is in ([`find_peer`](Self::find_peer)).
    ///
    /// # Errors
    /// [`SendToMembersError`]
    pub fn send_to_peer(
        &self,
        peer: PeerId,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<(), SendToMembersError> {
        self.find_peer(peer).ok_or(SendToMembersError::NoSuchRoom)?.send(peer, event, data)
    }

    /// Sends a message of the application to the room of this name, which must be of type `R` ([`RoomHandle::tell`]).
    ///
    /// # Errors
    /// [`TellError`]
    pub fn tell<R: Tell<T>, T: Send + 'static>(
        &self,
        room: &str,
        message: T,
    ) -> Result<(), TellError> {
        self.lookup(room).ok_or(TellError::NoSuchRoom)?.tell::<R, T>(message)
    }

    /// Closes the room of this name ([`RoomHandle::stop`]). Returns whether there was one.
    pub async fn close(&self, room: &str, details: impl Into<Value>) -> bool {
        let Some(room) = self.lookup(room) else { return false };
        room.stop(details).await;
        true
    }

    /// Closes every room, all at once: their clients are told "Room closed" with these details and closed with 1001
    /// (going away). For a server that shuts down: no more rooms are opened until the rooms' supervisor is started
    /// anew.
    pub async fn stop_all(&self, details: impl Into<Value>) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let details = details.into();
        let stops = self.list().into_iter().map(|room| {
            let details = details.clone();
            async move { room.stop_with(details, CloseFrame::GOING_AWAY).await }
        });
        join_all(stops).await;
    }

    async fn open(&self, options: AnyRoomOptions) -> Result<RoomHandle, StartRoomError> {
        options.check()?;
        if self.is_closing() {
            return Err(StartRoomError::ShuttingDown);
        }
        let gone = || StartRoomError::Start(StartChildError::NoSupervisor(NoSupervisorError));
        let Home { supervisor, arbiter, .. } = self.home().ok_or_else(gone)?;
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        // Continues even if the caller stops waiting.
        arbiter.spawn(async move { _ = tell.send(shared.open(&supervisor, options).await) });
        told.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Shared {
    /// Begins an instance of the rooms' supervisor; returns the rooms that it opens at the start.
    fn begin(
        &self,
        supervisor: SupervisorRef,
        spec: &Arc<()>,
    ) -> Result<Vec<AnyRoomOptions>, StartRoomsError> {
        if self.cluster.is_some() && self.hand_over.path().is_some() {
            return Err(StartRoomsError::HandOverInCluster);
        }
        {
            let mut home = lock(&self.home);
            let elsewhere = home.as_ref().filter(|home| !Arc::ptr_eq(&home.spec, spec));
            if elsewhere.is_some_and(|home| home.supervisor.snapshot().status != Status::Stopped) {
                return Err(StartRoomsError::AlreadyStarted);
            }
            if let Some(hub) = &self.hub {
                hub.runs_on(Arbiter::current());
            }
            *home = Some(Home { supervisor, arbiter: Arbiter::current(), spec: Arc::clone(spec) });
        }
        self.closing.store(false, Ordering::Relaxed);
        let rooms = lock(&self.start)();
        rooms.iter().try_for_each(AnyRoomOptions::check)?;
        Ok(rooms)
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("names", &self.names()).finish()
    }
}

/// Returns the handle and the specification of a room in an application's own supervision tree, found by name in
/// `registry`. The room is temporary: change that with [`ChildSpec::restart`] to open it again after it was given up.
pub fn room_child_spec<R: Room>(
    options: RoomOptions<R>,
    registry: Arc<dyn RoomRegistry>,
) -> (RoomHandle, ChildSpec) {
    options.erase().node(registry, None)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
