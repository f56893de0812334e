//! Hand-over of all rooms to the process that replaces this one, through a file.
//!
//! Clients are disconnected first, then peers stop, then rooms are frozen: so all that was received is in a snapshot or
//! in an outbox. The next process opens the rooms with their members, whose clients come back.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use actix::Arbiter;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::StartRoomError;
use crate::frozen::{FreezeError, FrozenRoom};
use crate::hand_over::*;
use crate::handle::RoomHandle;
use crate::peer_id::PeerId;
use crate::rooms::{Rooms, RoomsBuilder};

/// What was handed over ([`Rooms::hand_over_to_file`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandedOver {
    /// Number of rooms.
    pub rooms: usize,
    /// Number of rooms without a [snapshot](crate::Room::snapshot), which begin anew.
    pub without_snapshot: usize,
    /// Number of peers whose clients can come back.
    pub peers: usize,
    /// Size of the file, in bytes.
    pub bytes: usize,
}

impl RoomsBuilder {
    /// Sets the file through which one process hands its rooms over to the next: it is read now, removed when the rooms
    /// start, and written at SIGTERM by `run` and `Run` of `callboard-signaling`, by
    /// [`hand_over_to_file`](Rooms::hand_over_to_file). So a server restarts for a deploy, and its clients stay. Rooms
    /// begin with their [snapshots](crate::Room::snapshot) and members; clients that may resume their sessions do so,
    /// and those that do not come back in time leave. The file holds credentials and must be in a folder of the
    /// server's own. One that is corrupted, too old, or another user's is logged and ignored
    /// ([`Rooms::hand_over_error`]); what is no such file is not removed. Not for the
    /// rooms of a [cluster](Self::cluster), which do not start with it
    /// ([`StartRoomsError::HandOverInCluster`](crate::StartRoomsError::HandOverInCluster)). Default: none.
    pub fn hand_over_file(self, path: impl Into<PathBuf>) -> Self {
        self.handed_over(HandOver::read(path.into(), wall_clock()))
    }
}

impl Rooms {
    /// Returns the file of [`RoomsBuilder::hand_over_file`].
    pub fn hand_over_path(&self) -> Option<&Path> {
        self.hand_over().path()
    }

    /// Returns why the file of [`RoomsBuilder::hand_over_file`] was ignored.
    pub fn hand_over_error(&self) -> Option<&ReadHandOverError> {
        self.hand_over().read_error()
    }

    /// Hands all rooms over to the next process, which [reads](RoomsBuilder::hand_over_file) this file: disconnects
    /// their clients, stops their peers, freezes the rooms, takes their [snapshots](crate::Room::snapshot), and writes
    /// all that, with what waits in the outboxes. No more rooms are opened. Rooms and peers are at their ends then, and
    /// none of their callbacks is called any more: end the process. Takes a second where a client is silent and does
    /// not answer, 2.5 s where one goes on sending, and 2 s where a room does not stop, which is handed over without a
    /// snapshot.
    ///
    /// The file is written beside its place and moved there when it is complete; only the server's user can read it.
    ///
    /// # Errors
    /// [`HandOverError`]. If the file cannot be created, or there is no space for it, nothing has happened; if it could
    /// not be completed, the rooms go on without their clients.
    pub async fn hand_over_to_file(
        &self,
        path: impl Into<PathBuf>,
    ) -> Result<HandedOver, HandOverError> {
        if self.shared.cluster.is_some() {
            return Err(HandOverError::InCluster);
        }
        let (path, likely) = (path.into(), self.likely_bytes());
        let draft = blocking(move || Draft::begin(path, likely)).await?;
        let was_closing = self.set_closing(true);
        let keepers = self.hand_over().keepers();
        // First all, because each may send to those of the others as long as it hears its client.
        _ = timeout(DISCONNECT, join_all(keepers.iter().map(|(_, it)| it.disconnect()))).await;
        let keeping = keepers.iter().map(|(number, it)| {
            let (number, keeping) = (*number, it.keep());
            async move { (number, timeout(KEEP, keeping).await.unwrap_or_default()) }
        });
        let kept = Kept::new(join_all(keeping).await);
        // One of a cluster's may be another node's by the time that the next process starts.
        let here = self.list().into_iter().filter(|room| room.shared.tenure().is_none());
        let rooms = join_all(here.map(freeze)).await;
        let records: Vec<RoomRecord> = rooms.iter().map(|it| kept.record(it)).collect();
        let handed_over = HandedOver {
            rooms: records.len(),
            without_snapshot: records.iter().filter(|room| room.snapshot.is_none()).count(),
            peers: records.iter().map(RoomRecord::count_kept).sum(),
            bytes: 0,
        };
        let document = Document::new(records, wall_clock());
        let written = blocking(move || {
            let text = serde_json::to_vec(&document).map_err(io::Error::from)?;
            // What cannot be read again would cost all.
            Document::read(&text).map_err(io::Error::other)?;
            draft.finish(&text).map(|()| text.len())
        });
        match written.await {
            Ok(bytes) => {
                for (room, frozen) in rooms {
                    // One that did not stop calls no `on_terminate` either.
                    room.shared.roster().hand_over();
                    frozen.into_iter().for_each(FrozenRoom::hand_over);
                }
                Ok(HandedOver { bytes, ..handed_over })
            }
            Err(error) => {
                drop(rooms);
                keepers.iter().for_each(|(_, it)| it.go_on());
                self.set_closing(was_closing);
                Err(error)
            }
        }
    }

    /// Registers who keeps the peers of some rooms, with their clients, when those are handed over. Returns the peers
    /// that the same keeper of an earlier process has kept: the first registers first there, too.
    pub fn register_keeper(&self, keeper: Weak<dyn PeerKeeper>) -> Vec<RestoredPeer> {
        self.hand_over().add_keeper(keeper)
    }

    /// Returns who keeps the peers of the rooms.
    pub fn keepers(&self) -> Vec<Arc<dyn PeerKeeper>> {
        self.hand_over().keepers().into_iter().map(|(_, keeper)| keeper).collect()
    }

    /// Runs this on the thread of the rooms' supervisor: now if that runs, else when it has started.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self.home().filter(|home| home.supervisor.is_running()) {
            Some(home) => _ = home.arbiter.spawn(task),
            None => self.hand_over().run_later(Box::pin(task)),
        }
    }

    fn hand_over(&self) -> &Arc<HandOver> {
        &self.shared.hand_over
    }

    fn set_closing(&self, closing: bool) -> bool {
        self.shared.closing.swap(closing, Ordering::Relaxed)
    }

    /// Opens the rooms that were inherited, once their supervisor has started, and runs what has waited for it.
    pub(crate) fn begin_inherited(&self) {
        let (names, ends, tasks) = self.hand_over().begin();
        let rooms = self.clone();
        let arbiter = Arbiter::current();
        tasks.into_iter().for_each(|task| _ = arbiter.spawn(task));
        arbiter.spawn(async move {
            let opening = |name: String| rooms.clone().open_inherited(name, ends);
            stream::iter(names).for_each_concurrent(OPENED_AT_ONCE, opening).await;
        });
    }

    /// Opens a room that was inherited, if that is done on demand; until then, again and again.
    async fn open_inherited(self, name: String, ends: Instant) {
        loop {
            match self.find_or_open(&name).await {
                // The application may open it later.
                Ok(_) | Err(StartRoomError::NoSuchRoom | StartRoomError::ShuttingDown) => return,
                Err(error) => log::error!("room {name:?} is not opened again yet: {error}"),
            }
            let next = Instant::now() + RETRY;
            if next >= ends {
                return;
            }
            sleep_until(next).await;
        }
    }

    /// Returns how many bytes the file will have, about.
    fn likely_bytes(&self) -> u64 {
        let bytes = |room: &RoomHandle| -> usize {
            room.members().iter().map(|member| PER_PEER + member.outbox().backlog().1).sum()
        };
        let rooms = self.list();
        (rooms.iter().map(|room| PER_ROOM + bytes(room)).sum::<usize>() + PER_ROOM) as u64
    }
}

/// Peers that are kept, by room and id.
struct Kept(HashMap<(String, PeerId), KeptRecord>);

impl Kept {
    fn new(kept: Vec<(usize, Vec<KeptPeer>)>) -> Self {
        let all = kept.into_iter().flat_map(|(keeper, peers)| {
            peers.into_iter().map(move |KeptPeer { peer_id, room, grace, data }| {
                let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                // A value is always JSON.
                let data = serde_json::value::to_raw_value(&data).unwrap_or_default();
                ((room, peer_id), KeptRecord { keeper, grace_ms, data })
            })
        });
        Self(all.collect())
    }

    fn record(&self, (room, frozen): &(RoomHandle, Option<FrozenRoom>)) -> RoomRecord {
        let (members, departed) = room.shared.roster().to_hand_over();
        let members = members.iter().map(|member| {
            let kept = self.0.get(&(room.name().to_owned(), member.peer_id())).cloned();
            // One that is being closed cannot come back.
            MemberRecord::new(member, kept.filter(|_| !member.outbox().is_closed()))
        });
        let departed = departed.iter().map(|member| MemberRecord::new(member, None));
        let written = |record: serde_json::Result<MemberRecord>| {
            record.inspect_err(|error| log::error!("a member is not handed over: {error}")).ok()
        };
        let snapshot = frozen.as_ref().and_then(FrozenRoom::snapshot).cloned();
        let members = members.chain(departed).filter_map(written).collect();
        RoomRecord { name: room.name().to_owned(), snapshot, members }
    }
}

#[expect(clippy::disallowed_methods, reason = "two processes have no other clock in common")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

async fn freeze(room: RoomHandle) -> (RoomHandle, Option<FrozenRoom>) {
    let frozen = room.freeze(FREEZE).await;
    if let Err(error @ FreezeError::TimedOut) = &frozen {
        log::warn!("room {:?} is handed over without a snapshot: {error}", room.name());
    }
    (room, frozen.ok())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, HandOverError> {
    let worked = spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    worked.map_err(HandOverError::Io)
}

/// Time limit for disconnecting clients: longer than a client has to answer a close frame, after peers have started.
const DISCONNECT: Duration = Duration::from_secs(4);
/// Time limit for peers to handle what they have received.
const KEEP: Duration = Duration::from_secs(2);
/// Time limit for a room to handle what it was sent.
const FREEZE: Duration = Duration::from_secs(2);
/// Number of inherited rooms that are opened at once.
const OPENED_AT_ONCE: usize = 16;
/// Time after which one is opened again that could not be.
const RETRY: Duration = Duration::from_secs(1);
/// Likely size of a peer in the file, in bytes, without what waits for it.
const PER_PEER: usize = 1_024;
/// Likely size of a room.
const PER_ROOM: usize = 4_096;
