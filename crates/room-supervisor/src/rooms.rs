//! The supervisor of all rooms.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_supervision::{
    ChildSpec, Flags, NoSupervisor, StartChildError, StartSupervisorError, SupervisorRef,
    SupervisorSpec,
};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::error::StartRoomError;
use crate::handle::RoomHandle;
use crate::options::{AnyRoomOptions, RoomOptions};
use crate::outbox::Close;
use crate::registry::{LocalRegistry, Registry};
use crate::room::Room;

/// Makes the options of a room that somebody asks for by name; none if there is to be no such room.
pub type OpenOnDemand = dyn Fn(&str) -> Option<AnyRoomOptions> + Send + Sync;

/// All rooms of a server: their supervisor and their registry. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Rooms {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Arc<dyn Registry>,
    on_demand: Option<Box<OpenOnDemand>>,
    /// For rooms that are open on demand.
    places: Arc<Semaphore>,
    /// Whose turn it is to open a room of this name.
    opening: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    start: Mutex<Box<dyn FnMut() -> Vec<AnyRoomOptions> + Send>>,
    supervisor: Mutex<Option<SupervisorRef>>,
    /// All rooms are being closed for good.
    closing: AtomicBool,
}

/// The turns of those who open a room of one name.
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
    /// Nothing stays when nobody waits: who waits has the turn too.
    fn drop(&mut self) {
        let mut all = self.all();
        if all.get(self.name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            all.remove(self.name);
        }
    }
}

/// Makes [`Rooms`].
pub struct RoomsBuilder {
    registry: Arc<dyn Registry>,
    on_demand: Option<Box<OpenOnDemand>>,
    max_on_demand: usize,
    start: Box<dyn FnMut() -> Vec<AnyRoomOptions> + Send>,
}

impl Rooms {
    /// Rooms with the default registry, none of them opened on demand.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Rooms to be set up.
    pub fn builder() -> RoomsBuilder {
        RoomsBuilder {
            registry: Arc::new(LocalRegistry::default()),
            on_demand: None,
            max_on_demand: MAX_ON_DEMAND,
            start: Box::new(Vec::new),
        }
    }

    /// Their place in a supervision tree. The rooms can be used once it has started.
    pub fn child_spec(&self, id: &str) -> ChildSpec {
        let shared = Arc::clone(&self.shared);
        ChildSpec::try_supervisor(id, move |supervisor| {
            *shared.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
            shared.closing.store(false, Ordering::Relaxed);
            let rooms = (shared.start.lock().unwrap_or_else(PoisonError::into_inner))();
            // A room that is given up does not touch the others, so nothing is ever counted here.
            let flags = Flags::one_for_one().intensity(0, Duration::from_secs(1));
            let nodes =
                rooms.into_iter().map(|options| options.node(Arc::clone(&shared.registry)).1);
            Ok(nodes.fold(SupervisorSpec::new(flags), SupervisorSpec::child))
        })
    }

    /// Start them as the root of a tree of their own.
    ///
    /// # Errors
    /// [`StartSupervisorError`]
    pub async fn start(&self) -> Result<SupervisorRef, StartSupervisorError> {
        SupervisorSpec::new(Flags::one_for_one())
            .child(self.child_spec("rooms"))
            .start_as("server")
            .await
    }

    /// Whether their supervisor runs: they have been started, and not stopped.
    pub fn is_running(&self) -> bool {
        self.supervisor().is_some_and(|supervisor| supervisor.addr().is_some())
    }

    /// Whether all rooms are being closed ([`stop_all`](Self::stop_all)), and no more are opened.
    pub fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Relaxed)
    }

    fn supervisor(&self) -> Option<SupervisorRef> {
        self.shared.supervisor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Open a room under this supervisor.
    ///
    /// # Errors
    /// [`StartRoomError`]
    pub async fn start_supervised<R: Room>(
        &self,
        options: RoomOptions<R>,
    ) -> Result<RoomHandle, StartRoomError> {
        self.open(options.erase()).await
    }

    /// The room of this name.
    pub fn lookup(&self, name: &str) -> Option<RoomHandle> {
        self.shared.registry.lookup(name)
    }

    /// The room of this name; one that is not open is opened if that is done [on demand](RoomsBuilder::on_demand).
    ///
    /// # Errors
    /// [`StartRoomError::NoSuchRoom`] if there is none, and the errors of opening it.
    pub async fn find_or_open(&self, name: &str) -> Result<RoomHandle, StartRoomError> {
        if let Some(room) = self.lookup(name) {
            return Ok(room);
        }
        match self.open_on_demand(name).await {
            // Somebody else was quicker.
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
        let open = self.shared.on_demand.as_ref().and_then(|open| open(name));
        let options = open.ok_or(StartRoomError::NoSuchRoom)?;
        // Many may come for one that is not open yet: the first opens it.
        let turns = Turns { shared: &self.shared, name };
        let turn = turns.of_this_name();
        let _turn = turn.lock().await;
        if self.lookup(name).is_some() {
            return Err(StartRoomError::AlreadyStarted);
        }
        let place = Arc::clone(&self.shared.places).try_acquire_owned();
        let place = place.map_err(|_| StartRoomError::TooManyRooms)?;
        self.open(options.in_place(place)).await
    }

    /// Whether there is a room of this name, or would be one if somebody asked for it. Opens none.
    pub fn knows(&self, name: &str) -> bool {
        self.lookup(name).is_some()
            || self.shared.on_demand.as_ref().is_some_and(|open| open(name).is_some())
    }

    /// The names of the rooms that are open, in no particular order.
    pub fn names(&self) -> Vec<String> {
        self.shared.registry.names()
    }

    /// Close every room, all at once: their clients are told "Room closed" with these details and closed with 1001
    /// (going away). For a server that shuts down: no more rooms are opened until the rooms' supervisor is started anew.
    pub async fn stop_all(&self, details: impl Into<Value>) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let details = details.into();
        let rooms = self.names().into_iter().filter_map(|name| self.lookup(&name));
        let stops = rooms.map(|room| {
            let details = details.clone();
            async move { room.stop_with(details, Close::GOING_AWAY).await }
        });
        join_all(stops).await;
    }

    async fn open(&self, options: AnyRoomOptions) -> Result<RoomHandle, StartRoomError> {
        if self.is_closing() {
            return Err(StartRoomError::ShuttingDown);
        }
        let supervisor = self.supervisor().ok_or(StartChildError::NoSupervisor(NoSupervisor))?;
        let name = Arc::clone(&options.name);
        let (handle, spec) = options.node(Arc::clone(&self.shared.registry));
        match supervisor.start_child(spec).await {
            Ok(_) => Ok(handle),
            Err(StartChildError::AlreadyStarted | StartChildError::AlreadyPresent) => {
                Err(StartRoomError::AlreadyStarted)
            }
            Err(_) if self.lookup(&name).is_some() => Err(StartRoomError::AlreadyStarted),
            Err(error) => Err(error.into()),
        }
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

impl RoomsBuilder {
    /// Keep the names elsewhere. Default: [`LocalRegistry`].
    pub fn registry(self, registry: Arc<dyn Registry>) -> Self {
        Self { registry, ..self }
    }

    /// Open a room when the first peer asks for it by name. Give its options
    /// [`close_when_empty`](RoomOptions::close_when_empty) to have it closed when the last one leaves. Default: no.
    pub fn on_demand(
        self,
        open: impl Fn(&str) -> Option<AnyRoomOptions> + Send + Sync + 'static,
    ) -> Self {
        Self { on_demand: Some(Box::new(open)), ..self }
    }

    /// How many rooms may be open on demand at once; for one more, [`find_or_open`](Rooms::find_or_open) fails with
    /// [`TooManyRooms`](StartRoomError::TooManyRooms). Default: 16,384. An empty one takes about 6 KiB.
    pub fn max_on_demand(self, rooms: usize) -> Self {
        Self { max_on_demand: rooms.min(Semaphore::MAX_PERMITS), ..self }
    }

    /// Rooms that are opened when the supervisor starts, and again when it is restarted. Default: none.
    pub fn open_at_start(
        self,
        start: impl FnMut() -> Vec<AnyRoomOptions> + Send + 'static,
    ) -> Self {
        Self { start: Box::new(start), ..self }
    }

    /// The rooms, not running yet.
    pub fn build(self) -> Rooms {
        let Self { registry, on_demand, max_on_demand, start } = self;
        let (start, supervisor) = (Mutex::new(start), Mutex::default());
        let (places, closing) = (Arc::new(Semaphore::new(max_on_demand)), AtomicBool::new(false));
        let opening = Mutex::default();
        let shared = Shared { registry, on_demand, places, opening, start, supervisor, closing };
        Rooms { shared: Arc::new(shared) }
    }
}

/// A room in one's own supervision tree, found by name in `registry`. It is temporary: change that with
/// [`ChildSpec::restart`] to have it opened again after it was given up.
pub fn room_child_spec<R: Room>(
    options: RoomOptions<R>,
    registry: Arc<dyn Registry>,
) -> (RoomHandle, ChildSpec) {
    options.erase().node(registry)
}

/// As many as there may be connections by default.
const MAX_ON_DEMAND: usize = 16_384;
