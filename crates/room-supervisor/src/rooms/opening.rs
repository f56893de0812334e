//! Opening of rooms: here, or as rooms that another node runs.

use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::NodeId;
use callboard_supervision::{ChildSpec, NoSupervisorError, StartChildError, SupervisorRef};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Rooms, Shared, lock};
use crate::away::{FindRoom, Hub};
use crate::error::StartRoomError;
use crate::handle::RoomHandle;
use crate::link::{OpenError, Opened};
use crate::options::AnyRoomOptions;

/// Who runs a room that is about to be opened.
enum Where {
    /// This node.
    Here,
    /// Another node, over this link.
    Away(Opened),
}

impl Shared {
    /// Returns how rooms are found here that other nodes give to this one.
    pub(super) fn finder(self: &Arc<Self>) -> Arc<FindRoom> {
        let shared = Arc::downgrade(self);
        Arc::new(move |name| {
            let rooms = shared.upgrade().map(|shared| Rooms { shared });
            let found = async move {
                let rooms = rooms?;
                match rooms.lookup(&name) {
                    Some(room) => Some(room),
                    None => match rooms.open_on_demand_here(&name).await {
                        Ok(room) => Some(room),
                        // A client has asked for it at the same time.
                        Err(StartRoomError::AlreadyStarted) => rooms.lookup(&name),
                        Err(_) => None,
                    },
                }
            };
            found.boxed()
        })
    }

    /// Returns the options of a room of a cluster that is opened at the start.
    pub(super) fn at_start(&self, name: &str) -> Option<AnyRoomOptions> {
        lock(&self.at_start).get(name).map(AnyRoomOptions::again)
    }

    /// Claims the names of rooms that are opened at the start, if there is a cluster. Returns those that this node may
    /// open; the others are opened when they are asked for.
    pub(super) async fn claim_all(&self, rooms: Vec<AnyRoomOptions>) -> Vec<AnyRoomOptions> {
        let Some(cluster) = &self.cluster else { return rooms };
        *lock(&self.at_start) =
            rooms.iter().map(|options| (Arc::clone(&options.name), options.again())).collect();
        let claims = rooms.into_iter().map(|mut options| async {
            match options.claim(Some(cluster), self.hub.as_ref().map(|hub| hub.opener())).await {
                Ok(()) => Some(options),
                Err(error) => {
                    log::info!("room {:?} is not opened here: {error}", options.name);
                    None
                }
            }
        });
        join_all(claims).await.into_iter().flatten().collect()
    }

    /// Opens a room below its own supervisor, so that no other room waits for its callbacks.
    pub(super) async fn open(
        &self,
        supervisor: &SupervisorRef,
        mut options: AnyRoomOptions,
    ) -> Result<RoomHandle, StartRoomError> {
        // Of a room that is open, its hold says nothing new.
        if self.cluster.is_some() && self.registry.lookup(&options.name).is_some() {
            return Err(StartRoomError::AlreadyStarted);
        }
        let (name, registry) = (Arc::clone(&options.name), Arc::clone(&self.registry));
        let threads = self.threads.as_ref();
        let (handle, node, room) = match self.find(&mut options).await? {
            Where::Here => options.inheriting(&self.hand_over).opening(registry, threads),
            Where::Away(opened) => options.away(opened).opening(registry, threads),
        };
        self.start(supervisor, &name, node, &handle, room).await?;
        Ok(handle)
    }

    /// Claims the name of a room; if another node has it, opens a link to it.
    async fn find(&self, options: &mut AnyRoomOptions) -> Result<Where, StartRoomError> {
        let began = Instant::now();
        loop {
            let opener = self.hub.as_ref().map(|hub| hub.opener());
            let (node, url) = match options.claim(self.cluster.as_ref(), opener).await {
                Ok(()) => return Ok(Where::Here),
                Err(StartRoomError::Elsewhere { node, url }) => (node, url),
                Err(error) => return Err(error),
            };
            let elsewhere = || StartRoomError::Elsewhere { node: node.clone(), url: url.clone() };
            let hub = self.hub.as_ref().filter(|_| options.across_nodes);
            let Some(hub) = hub else { return Err(elsewhere()) };
            match Self::open_link(hub, &node, &options.name).await {
                Ok(link) => return Ok(Where::Away(link)),
                // It is being opened there, or closed.
                Err(OpenError::NotThere) if began.elapsed() < PATIENCE => sleep(PAUSE).await,
                // Perhaps its clients can go there themselves.
                Err(_) if url.is_some() => return Err(elsewhere()),
                Err(_) => return Err(StartRoomError::Unavailable { retry_after: RETRY_AFTER }),
            }
        }
    }

    async fn open_link(hub: &Arc<Hub>, node: &str, room: &str) -> Result<Opened, OpenError> {
        let node = NodeId::new(node).map_err(|_| OpenError::Unreachable)?;
        hub.opener().open(&node, room).await
    }

    async fn start(
        &self,
        supervisor: &SupervisorRef,
        name: &str,
        node: ChildSpec,
        handle: &RoomHandle,
        room: ChildSpec,
    ) -> Result<(), StartRoomError> {
        match supervisor.start_child(node).await {
            Ok(_) => {}
            Err(StartChildError::AlreadyStarted | StartChildError::AlreadyPresent) => {
                return Err(StartRoomError::AlreadyStarted);
            }
            Err(_) if self.registry.lookup(name).is_some() => {
                return Err(StartRoomError::AlreadyStarted);
            }
            Err(error) => return Err(error.into()),
        }
        let node = handle.supervisor().ok_or(StartChildError::NoSupervisor(NoSupervisorError))?;
        if let Err(error) = node.start_child(room).await {
            // It may be gone already.
            _ = supervisor.terminate_child(name).await;
            return Err(error.into());
        }
        Ok(())
    }
}

/// Time for which a room is looked for at its node, while it is being opened or closed there.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);
/// Time after which a client may try again to reach a room whose node does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(3);
