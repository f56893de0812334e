//! How a room is opened.

use std::sync::Arc;
use std::time::Duration;

use callboard_supervision::{
    AutoShutdown, ChildSpec, Flags, Placement, Restart, Shutdown, StartError, SupervisorSpec,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::actor::{Manners, RoomActor};
use crate::handle::{RoomHandle, Shared};
use crate::outbox::Close;
use crate::registry::Registry;
use crate::room::{ErasedRoom, Room};

/// What becomes of the peers of a room that crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnCrash {
    /// The room is restarted and its peers join again (`on_join` runs for each); their connections stay, and their
    /// clients get `room_restarted`.
    #[default]
    Readopt,
    /// The room is restarted empty; its clients get "Room closed", `crashed`, and are disconnected. (The original's way.)
    Close,
}

/// How a room is opened.
pub struct RoomOptions<R: Room> {
    name: Arc<str>,
    custom: R::Options,
    registry: Option<Arc<dyn Registry>>,
    on_crash: OnCrash,
    join_timeout: Duration,
    close_when_empty: bool,
    intensity: (u32, Duration),
    placement: Placement,
}

impl<R: Room> RoomOptions<R> {
    /// A room of this name, whose `on_init` gets `custom`.
    pub fn new(name: impl Into<Arc<str>>, custom: R::Options) -> Self {
        Self {
            name: name.into(),
            custom,
            registry: None,
            on_crash: OnCrash::default(),
            join_timeout: JOIN_TIMEOUT,
            close_when_empty: false,
            intensity: (3, Duration::from_secs(10)),
            placement: Placement::default(),
        }
    }

    /// Where it registers its name. Default: the registry of the [`Rooms`](crate::Rooms) that open it; in another one
    /// they do not find it.
    pub fn registry(self, registry: Arc<dyn Registry>) -> Self {
        Self { registry: Some(registry), ..self }
    }

    /// What becomes of its peers when it crashes. Default: [`OnCrash::Readopt`].
    pub fn on_crash(self, on_crash: OnCrash) -> Self {
        Self { on_crash, ..self }
    }

    /// How long `on_join` may take. Default: 5 s.
    pub fn join_timeout(self, join_timeout: Duration) -> Self {
        Self { join_timeout, ..self }
    }

    /// Close it when the last peer has left. Default: no.
    pub fn close_when_empty(self, close_when_empty: bool) -> Self {
        Self { close_when_empty, ..self }
    }

    /// How many crashes within how long are borne before the room is given up. Default: 3 in 10 s.
    pub fn intensity(self, intensity: u32, period: Duration) -> Self {
        Self { intensity: (intensity, period), ..self }
    }

    /// Which thread it runs on. Default: that of its supervisor.
    pub fn arbiter(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Options whose room type does not matter, for [`Rooms`](crate::Rooms).
    pub fn erase(self) -> AnyRoomOptions {
        let Self {
            name,
            custom,
            registry,
            on_crash,
            join_timeout,
            close_when_empty,
            intensity,
            placement,
        } = self;
        let open = Arc::new(move || Ok(Box::new(R::on_init(&custom)?) as Box<dyn ErasedRoom>));
        let manners = Manners { on_crash, join_timeout, close_when_empty };
        AnyRoomOptions { name, registry, manners, intensity, placement, open, place: None }
    }
}

/// [`RoomOptions`] of whatever room type.
pub struct AnyRoomOptions {
    pub(crate) name: Arc<str>,
    registry: Option<Arc<dyn Registry>>,
    manners: Manners,
    intensity: (u32, Duration),
    placement: Placement,
    open: Arc<dyn Fn() -> Result<Box<dyn ErasedRoom>, String> + Send + Sync>,
    /// Its place among those that are open on demand.
    place: Option<OwnedSemaphorePermit>,
}

impl<R: Room> From<RoomOptions<R>> for AnyRoomOptions {
    fn from(options: RoomOptions<R>) -> Self {
        options.erase()
    }
}

impl AnyRoomOptions {
    /// It keeps this place until nothing of it runs any more.
    pub(crate) fn in_place(self, place: OwnedSemaphorePermit) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The room's node in the tree: a small supervisor with the room in it, to which the peers are added.
    ///
    /// It ends when the room is stopped, and when the room has crashed too often.
    pub(crate) fn node(self, registry: Arc<dyn Registry>) -> (RoomHandle, ChildSpec) {
        let Self {
            name,
            registry: own,
            manners,
            intensity: (intensity, period),
            placement,
            open,
            place,
        } = self;
        let shared = Shared::new(Arc::clone(&name));
        let handle = RoomHandle { shared: Arc::clone(&shared) };
        let registry = own.unwrap_or(registry);
        let tenancy = Arc::new(Tenancy { shared, registry, _place: place });
        let spec = ChildSpec::try_supervisor(Arc::clone(&name), move |node| {
            tenancy.begin()?;
            tenancy.shared.reopen();
            tenancy.shared.stands_at(node);
            let flags = Flags::one_for_one()
                .intensity(intensity, period)
                .auto_shutdown(AutoShutdown::AnySignificant);
            let (shared, open) = (Arc::clone(&tenancy.shared), Arc::clone(&open));
            let room = ChildSpec::try_new("room", move || {
                let opened = open().map(|room| RoomActor::new(Arc::clone(&shared), room, manners));
                std::future::ready(opened.map_err(StartError::Failed))
            });
            let room = room.restart(Restart::Transient).significant(true).shutdown(ROOM_SHUTDOWN);
            Ok(SupervisorSpec::new(flags).child(room.arbiter(placement.clone())))
        });
        (handle, spec.restart(Restart::Temporary))
    }
}

/// The room's claim to its name: from its start until nothing of it runs any more.
struct Tenancy {
    shared: Arc<Shared>,
    registry: Arc<dyn Registry>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Tenancy {
    /// Registers the name, unless it is this room's already.
    fn begin(&self) -> Result<(), StartError> {
        if self.holds_name() {
            return Ok(());
        }
        let room = RoomHandle { shared: Arc::clone(&self.shared) };
        self.registry
            .register(&self.shared.name, room)
            .map_err(|error| StartError::failed(error.to_string()))
    }

    fn holds_name(&self) -> bool {
        let registered = self.registry.lookup(&self.shared.name);
        registered.is_some_and(|room| Arc::ptr_eq(&room.shared, &self.shared))
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        if self.holds_name() {
            self.registry.unregister(&self.shared.name);
        }
        // Nobody is left here if the room was closed in good order.
        self.shared.close(&"crashed".into(), Close::ROOM_FAILED);
    }
}

/// How long `on_join` may take.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than `on_join` may take, for a room that is deciding hears nothing else.
const ROOM_SHUTDOWN: Shutdown = Shutdown::Timeout(Duration::from_secs(10));
