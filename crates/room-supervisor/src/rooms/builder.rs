//! Builder of the rooms of a server.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use callboard_cluster::{Cluster, RoomPlacement};
use callboard_supervision::ArbiterPool;
use tokio::sync::Semaphore;

use super::counts::MoveCounters;
use super::placing::Placing;
use super::{OpenOnDemand, Rooms, Shared};
use crate::away::Hub;
use crate::hand_over::HandOver;
use crate::options::AnyRoomOptions;
use crate::registry::{LocalRegistry, RoomRegistry};

/// Builder of [`Rooms`].
pub struct RoomsBuilder {
    registry: Arc<dyn RoomRegistry>,
    on_demand: Option<Box<OpenOnDemand>>,
    max_on_demand: usize,
    threads: usize,
    start: Box<dyn FnMut() -> Vec<AnyRoomOptions> + Send>,
    cluster: Option<Cluster>,
    hand_over: HandOver,
    policy: Option<Box<dyn RoomPlacement>>,
}

impl Rooms {
    /// Returns a builder with the defaults.
    pub fn builder() -> RoomsBuilder {
        RoomsBuilder {
            registry: Arc::new(LocalRegistry::default()),
            on_demand: None,
            max_on_demand: MAX_ON_DEMAND,
            threads: threads(),
            start: Box::new(Vec::new),
            cluster: None,
            hand_over: HandOver::default(),
            policy: None,
        }
    }
}

impl RoomsBuilder {
    /// Sets the registry, to keep the names elsewhere. Default: [`LocalRegistry`].
    pub fn registry(self, registry: Arc<dyn RoomRegistry>) -> Self {
        Self { registry, ..self }
    }

    /// Opens a room when the first peer asks for it by name. Give its options
    /// [`close_when_empty`](crate::RoomOptions::close_when_empty) to close it when the last peer leaves, and if none
    /// has joined in 30 s. Default: no.
    pub fn on_demand(
        self,
        open: impl Fn(&str) -> Option<AnyRoomOptions> + Send + Sync + 'static,
    ) -> Self {
        Self { on_demand: Some(Box::new(open)), ..self }
    }

    /// Sets how many rooms may be open on demand at once; for one more, [`find_or_open`](Rooms::find_or_open) fails
    /// with [`TooManyRooms`](crate::StartRoomError::TooManyRooms). Default: 16,384. An empty room takes about 6 KiB.
    pub fn max_on_demand(self, rooms: usize) -> Self {
        Self { max_on_demand: rooms.min(Semaphore::MAX_PERMITS), ..self }
    }

    /// Sets how many threads the rooms share, at most; each is started when a room needs it. A new room gets a thread
    /// without another room if there is one, and no thread that a room blocks if there is another. So a room whose
    /// callbacks block delays no other room as long as there are no more rooms than threads; with more, it delays the
    /// rooms on its thread. Default: as many as there are cores, at least 4 and at most 16. With 0 they run on their
    /// supervisor's thread. A thread takes about 60 KiB.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Sets the rooms that are opened when the supervisor starts, and again when it is restarted. Default: none.
    pub fn open_at_start(
        self,
        start: impl FnMut() -> Vec<AnyRoomOptions> + Send + 'static,
    ) -> Self {
        Self { start: Box::new(start), ..self }
    }

    /// Sets the cluster that this server is a node of: a room then opens only if no other node has one of its name,
    /// and [`find_or_open`](Rooms::find_or_open) says [which node has it](crate::StartRoomError::Elsewhere). Start the
    /// cluster's actor before the rooms, and stop it after them. A room of [`open_at_start`](Self::open_at_start) that
    /// another node has then is no error: here it opens when it is asked for and free. Default: none, and rooms cost
    /// nothing more.
    ///
    /// If the cluster has [lines](Cluster::lines), a room that another node has opens here all the same, if this node
    /// has options for its name: its peers here are members of the room there
    /// ([`RoomHandle::home`](crate::RoomHandle::home)).
    pub fn cluster(self, cluster: &Cluster) -> Self {
        Self { cluster: Some(cluster.clone()), ..self }
    }

    /// Sets which node of the [cluster](Self::cluster) opens a room on demand that no node has:
    /// [`Local`](callboard_cluster::Local), [`Hash`](callboard_cluster::Hash),
    /// [`LeastLoad`](callboard_cluster::LeastLoad), or a policy of your own. Needs lines; a room that is not shared
    /// [across nodes](crate::RoomOptions::across_nodes) is opened where it is asked for. If the node does not open it
    /// within 2 s, this one does. Default: where it is asked for.
    pub fn place(self, policy: impl RoomPlacement) -> Self {
        Self { policy: Some(Box::new(policy)), ..self }
    }

    pub(crate) fn handed_over(self, hand_over: HandOver) -> Self {
        Self { hand_over, ..self }
    }

    /// Builds the rooms, which do not run yet.
    pub fn build(self) -> Rooms {
        let Self { registry, on_demand, max_on_demand, threads, start, cluster, hand_over, policy } =
            self;
        let placing = cluster.as_ref().and_then(|cluster| Placing::new(cluster, policy));
        let hand_over = Arc::new(hand_over);
        let lines = cluster.as_ref().and_then(Cluster::lines);
        let hub = lines.and_then(|lines| {
            let hub = Hub::serve(lines, Arc::clone(&registry), Arc::clone(&hand_over));
            hub.inspect_err(|error| log::error!("rooms of other nodes are not reached: {error}"))
                .ok()
        });
        let shared = Shared {
            registry,
            on_demand,
            places: Arc::new(Semaphore::new(max_on_demand)),
            opening: Mutex::default(),
            start: Mutex::new(start),
            cluster,
            hub,
            placing,
            at_start: Mutex::default(),
            threads: (threads > 0).then(|| ArbiterPool::growing(threads)),
            home: Mutex::default(),
            root: Mutex::default(),
            refused: Mutex::default(),
            closing: AtomicBool::new(false),
            hand_over,
            moves: MoveCounters::default(),
        };
        Rooms { shared: Arc::new(shared) }
    }
}

/// Returns the default number of threads for rooms.
fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.clamp(*THREADS.start(), *THREADS.end())
}

/// Default limit of rooms on demand: that of connections.
const MAX_ON_DEMAND: usize = 16_384;
/// Limits of the default number of threads. On a small machine there are more threads than cores: they are for rooms
/// that wait, not for rooms that compute.
const THREADS: RangeInclusive<usize> = 4..=16;
