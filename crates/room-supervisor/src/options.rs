//! Options with which a room is opened.

use std::any::TypeId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callboard_cluster::{Cluster, Hold};
use callboard_supervision::{
    ArbiterPool, AutoShutdown, ChildSpec, Flags, Placement, Restart, Shutdown, StartError,
    SupervisorSpec, catch_panic,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::actor::RoomActor;
use crate::context::RoomContext;
use crate::error::{RoomOptionsError, StartRoomError};
use crate::hand_over::HandOver;
use crate::handle::RoomHandle;
use crate::link::{Away, Opened, Opener};
use crate::name_registration::NameRegistration;
use crate::registry::RoomRegistry;
use crate::room::{Open, OpenedRoom, Room};
use crate::room_name;
use crate::settings::{OnCrash, OnLapse, RoomSettings};
use crate::shared::{RoomKind, Shared};
use crate::snapshot::Snapshot;
use crate::tenure::{self, Tenure};

/// Options with which a room is opened.
pub struct RoomOptions<R: Room> {
    name: Arc<str>,
    custom: R::Options,
    registry: Option<Arc<dyn RoomRegistry>>,
    on_crash: OnCrash,
    join_timeout: Duration,
    max_peers: Option<usize>,
    close_when_empty: bool,
    snapshot_version: u32,
    intensity: (u32, Duration),
    placement: Option<Placement>,
    cluster: Option<Cluster>,
    on_lapse: OnLapse,
    across_nodes: bool,
}

impl<R: Room> RoomOptions<R> {
    /// Creates the options of a room of this name, whose `on_init` gets `custom`.
    pub fn new(name: impl Into<Arc<str>>, custom: R::Options) -> Self {
        Self {
            name: name.into(),
            custom,
            registry: None,
            on_crash: OnCrash::default(),
            join_timeout: JOIN_TIMEOUT,
            max_peers: None,
            close_when_empty: false,
            snapshot_version: 0,
            intensity: (3, Duration::from_secs(10)),
            placement: None,
            cluster: None,
            on_lapse: OnLapse::default(),
            across_nodes: true,
        }
    }

    /// Sets the registry in which the room registers its name. Default: the registry of the [`Rooms`](crate::Rooms)
    /// that open it; they do not find it in another one.
    pub fn registry(self, registry: Arc<dyn RoomRegistry>) -> Self {
        Self { registry: Some(registry), ..self }
    }

    /// Sets what happens to the room's peers when it crashes. Default: [`OnCrash::Readopt`].
    pub fn on_crash(self, on_crash: OnCrash) -> Self {
        Self { on_crash, ..self }
    }

    /// Sets how many members the room may have; one more is rejected with `room_is_full`, and `on_join` is not asked.
    /// Members of a room that has crashed are readopted in any case. A peer whose client is away and may still resume
    /// its session keeps its place. A room for 0 does not open. Default: no limit.
    pub fn max_peers(self, peers: usize) -> Self {
        Self { max_peers: Some(peers), ..self }
    }

    /// Sets how long `on_join` may take. Default: 5 s.
    pub fn join_timeout(self, join_timeout: Duration) -> Self {
        Self { join_timeout, ..self }
    }

    /// Sets whether the room is closed when the last peer has left. Default: no.
    pub fn close_when_empty(self, close_when_empty: bool) -> Self {
        Self { close_when_empty, ..self }
    }

    /// Sets the version of what [`Room::snapshot`] returns: raise it when an older program could not read that any
    /// more. A snapshot of an older version is given to [`Room::restore`], which sees its
    /// [version](crate::Snapshot::version); one of a newer version is not, and the room begins anew. Default: 0.
    pub fn snapshot_version(self, version: u32) -> Self {
        Self { snapshot_version: version, ..self }
    }

    /// Sets how many crashes are allowed within `period` before the room is given up. Default: 3 in 10 s.
    pub fn intensity(self, intensity: u32, period: Duration) -> Self {
        Self { intensity: (intensity, period), ..self }
    }

    /// Sets the thread on which the room runs: its callbacks delay all other actors there while they block. Default:
    /// one of the threads that the [`Rooms`](crate::Rooms) have [for their rooms](crate::RoomsBuilder::threads), its
    /// own as long as there are no more rooms than threads; outside of any [`Rooms`](crate::Rooms) its supervisor's
    /// thread. For a room that is known to block, use `Placement::Pool(ArbiterPool::new(1))`, which gives it a thread
    /// without any other room.
    pub fn placement(self, placement: Placement) -> Self {
        Self { placement: Some(placement), ..self }
    }

    /// Sets the cluster in which the room's name is claimed before the room opens, for a room outside of any
    /// [`Rooms`](crate::Rooms). Default: the cluster of the [`Rooms`](crate::RoomsBuilder::cluster) that open it.
    pub fn cluster(self, cluster: &Cluster) -> Self {
        Self { cluster: Some(cluster.clone()), ..self }
    }

    /// Sets what becomes of the room when this node may have lost it to another. Without a cluster it has no effect.
    /// Default: [`OnLapse::ShutDoor`].
    pub fn on_lapse(self, on_lapse: OnLapse) -> Self {
        Self { on_lapse, ..self }
    }

    /// Sets whether the room takes peers of other nodes of the cluster, if that has
    /// [lines](callboard_cluster::Cluster::lines). If not, they are sent to the room's node
    /// ([`StartRoomError::Elsewhere`]). Give all nodes the same. Default: yes.
    pub fn across_nodes(self, across_nodes: bool) -> Self {
        Self { across_nodes, ..self }
    }

    /// Returns the room's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Erases the room type, for [`Rooms`](crate::Rooms).
    pub fn erase(self) -> AnyRoomOptions {
        let Self {
            name,
            custom,
            registry,
            on_crash,
            join_timeout,
            max_peers,
            close_when_empty,
            snapshot_version,
            intensity,
            placement,
            cluster,
            on_lapse,
            across_nodes,
        } = self;
        let open = Arc::new(move |context: &RoomContext, snapshot: Option<&Snapshot>| {
            let restored = snapshot.and_then(|snapshot| restored::<R>(&custom, snapshot, context));
            let is_restored = restored.is_some();
            let room = restored.map_or_else(|| R::on_init(&custom, context), Ok)?;
            Ok(OpenedRoom { room: Box::new(room), is_restored })
        });
        let settings = RoomSettings {
            on_crash,
            join_timeout,
            max_peers,
            close_when_empty,
            snapshot_version,
            reopens: false,
        };
        let (id, forwards_directly) = (TypeId::of::<R>(), R::FORWARDS_DIRECTLY);
        let kind = RoomKind { id, forwards_directly, snapshot_version };
        let (opener, away, hold, place, inherited) = Default::default();
        AnyRoomOptions {
            name,
            kind,
            registry,
            settings,
            intensity,
            placement,
            open,
            cluster,
            on_lapse,
            across_nodes,
            opener,
            away,
            hold,
            place,
            inherited,
            reopens: false,
        }
    }
}

/// Creates a room from a snapshot; none if that fails, which is logged.
fn restored<R: Room>(custom: &R::Options, from: &Snapshot, context: &RoomContext) -> Option<R> {
    let restored = catch_panic("restore", || R::restore(custom, from, context));
    let error = match restored {
        Ok(Ok(room)) => return Some(room),
        Ok(Err(error)) | Err(error) => error,
    };
    log::warn!("room {:?} begins anew, it was not restored: {error}", context.name());
    None
}

/// [`RoomOptions`] of any room type.
pub struct AnyRoomOptions {
    pub(crate) name: Arc<str>,
    kind: RoomKind,
    registry: Option<Arc<dyn RoomRegistry>>,
    settings: RoomSettings,
    intensity: (u32, Duration),
    placement: Option<Placement>,
    open: Arc<Open>,
    cluster: Option<Cluster>,
    on_lapse: OnLapse,
    /// Whether peers of other nodes can join.
    pub(crate) across_nodes: bool,
    /// Opens links to other nodes, if there are lines.
    opener: Option<Arc<Opener>>,
    /// Link to the room, if another node runs it.
    away: Option<Opened>,
    /// Hold of the name, if it has been claimed.
    hold: Option<Hold>,
    /// Permit of a room that is open on demand.
    place: Option<OwnedSemaphorePermit>,
    /// Whether the room is opened again when it is asked for.
    pub(crate) reopens: bool,
    /// What an earlier process has handed over.
    inherited: Option<Arc<HandOver>>,
}

impl<R: Room> From<RoomOptions<R>> for AnyRoomOptions {
    fn from(options: RoomOptions<R>) -> Self {
        options.erase()
    }
}

impl AnyRoomOptions {
    /// Checks that a client could join the room.
    pub(crate) fn check(&self) -> Result<(), RoomOptionsError> {
        room_name::check(&self.name)?;
        if self.settings.max_peers == Some(0) {
            return Err(RoomOptionsError::NoPlaces(self.name.to_string()));
        }
        Ok(())
    }

    /// Returns the same options once more, without a hold and a permit.
    pub(crate) fn again(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            kind: self.kind,
            registry: self.registry.clone(),
            settings: self.settings,
            intensity: self.intensity,
            placement: self.placement.clone(),
            open: Arc::clone(&self.open),
            cluster: self.cluster.clone(),
            on_lapse: self.on_lapse,
            across_nodes: self.across_nodes,
            opener: self.opener.clone(),
            away: None,
            hold: None,
            place: None,
            inherited: self.inherited.clone(),
            reopens: self.reopens,
        }
    }

    /// Claims the room's name in its own cluster, or else in this one, if there is one.
    ///
    /// # Errors
    /// [`StartRoomError::Elsewhere`], [`StartRoomError::Unavailable`]
    pub(crate) async fn claim(
        &mut self,
        default: Option<&Cluster>,
        opener: Option<&Arc<Opener>>,
    ) -> Result<(), StartRoomError> {
        self.cluster = self.cluster.take().or_else(|| default.cloned());
        self.opener = opener.filter(|_| self.across_nodes).cloned();
        if let Some(cluster) = &self.cluster {
            self.hold = Some(tenure::claim(cluster, &self.name).await?);
        }
        Ok(())
    }

    /// Gives the room a permit, which it keeps until nothing of it runs any more.
    pub(crate) fn in_place(self, place: OwnedSemaphorePermit) -> Self {
        Self { place: Some(place), ..self }
    }

    /// Lets the room begin with what an earlier process has handed over of it.
    pub(crate) fn inheriting(self, inherited: &Arc<HandOver>) -> Self {
        Self { inherited: Some(Arc::clone(inherited)), ..self }
    }

    /// Returns the room's node in the tree: a small supervisor with the room in it, to which the peers are added.
    ///
    /// It ends when the room is stopped, and when the room has crashed too often.
    pub(crate) fn node(
        self,
        registry: Arc<dyn RoomRegistry>,
        threads: Option<&ArbiterPool>,
    ) -> (RoomHandle, ChildSpec) {
        let Parts { handle, registration, room, flags } = self.parts(registry, threads);
        let node = registration.node(move || SupervisorSpec::new(flags).child(room()));
        (handle, node)
    }

    /// Returns the node in two parts: a node without the room, and the room, to be added to it. The start of the node
    /// does not wait for the room's callbacks.
    pub(crate) fn opening(
        self,
        registry: Arc<dyn RoomRegistry>,
        threads: Option<&ArbiterPool>,
    ) -> (RoomHandle, ChildSpec, ChildSpec) {
        let Parts { handle, registration, room, flags } = self.parts(registry, threads);
        (handle, registration.node(move || SupervisorSpec::new(flags)), room())
    }

    /// Makes it a room that another node runs.
    pub(crate) fn away(self, opened: Opened) -> Self {
        Self { away: Some(opened), ..self }
    }

    fn parts(
        self,
        registry: Arc<dyn RoomRegistry>,
        threads: Option<&ArbiterPool>,
    ) -> Parts<impl Fn() -> ChildSpec + Send + use<>> {
        let checked = self.check().map_err(|error| StartError::failed(error.to_string()));
        let Self {
            name,
            kind,
            registry: own,
            settings,
            intensity: (intensity, period),
            placement,
            open,
            cluster,
            on_lapse,
            across_nodes: _,
            opener,
            away,
            hold,
            place,
            inherited,
            reopens,
        } = self;
        let settings = RoomSettings { reopens, ..settings };
        let placement = placement.or_else(|| threads.cloned().map(Placement::Pool));
        let placement = placement.unwrap_or_default();
        let registry = own.unwrap_or(registry);
        let tenure = cluster.map(|cluster| Tenure::new(cluster, opener, on_lapse, hold));
        let (away, link) = away
            .map(|Opened { link, parts, epoch }| (Away::new(link, epoch, Arc::new([])), parts))
            .unzip();
        let shared = Shared::new(name, kind, registry.peers(), tenure, away);
        let handle = RoomHandle { shared: Arc::clone(&shared) };
        let registration = NameRegistration {
            shared: Arc::clone(&shared),
            registry,
            checked,
            inherited,
            _place: place,
        };
        let flags = Flags::one_for_one()
            .intensity(intensity, period)
            .auto_shutdown(AutoShutdown::AnySignificant);
        let link = Arc::new(Mutex::new(link));
        let room = move || {
            let (shared, open) = (Arc::clone(&shared), Arc::clone(&open));
            let link = Arc::clone(&link);
            let room = ChildSpec::try_new(ROOM, move || {
                let link = link.lock().unwrap_or_else(PoisonError::into_inner).take();
                std::future::ready(RoomActor::begin(&shared, &open, settings, link))
            });
            let room = room.restart(Restart::Transient).significant(true).shutdown(ROOM_SHUTDOWN);
            room.placement(placement.clone())
        };
        Parts { handle, registration, room, flags }
    }
}

/// Parts of a room's node in the tree.
struct Parts<F> {
    handle: RoomHandle,
    registration: NameRegistration,
    /// Function that makes the spec of the child that is the room.
    room: F,
    flags: Flags,
}

/// Name of a room's actor, below the supervisor that has the room's name.
pub(crate) const ROOM: &str = "room";
/// Longest time for `on_join`.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the default time for `on_join`, because a room handles no other message during `on_join`.
const ROOM_SHUTDOWN: Shutdown = Shutdown::Timeout(Duration::from_secs(10));
