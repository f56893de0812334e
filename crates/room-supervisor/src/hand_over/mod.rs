//! What rooms have from an earlier process, and what they leave to the next one.

mod error;
mod file;
mod inherited;
mod keeper;
mod record;

use std::path::{Path, PathBuf};
use std::ptr::addr_eq;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use self::error::{HandOverError, ReadHandOverError};
pub use self::inherited::RestoredPeer;
pub use self::keeper::{GivenPeer, KeptPeer, PeerKeeper};

pub(crate) use self::file::Draft;
pub(crate) use self::inherited::InheritedRoom;
pub(crate) use self::record::{Document, KeptRecord, MemberRecord, RoomRecord};

use self::inherited::Inherited;

/// What the rooms have from an earlier process, and who keeps their peers for the next one.
#[derive(Default)]
pub(crate) struct HandOver {
    path: Option<PathBuf>,
    keepers: Mutex<Vec<Weak<dyn PeerKeeper>>>,
    inherited: Mutex<Inherited>,
    read_error: Option<ReadHandOverError>,
    /// The file is one of ours, and not removed yet.
    is_to_remove: AtomicBool,
    /// What runs once the rooms do.
    waiting: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl HandOver {
    /// Reads the file of an earlier process, if there is one.
    pub(crate) fn read(path: PathBuf, now: SystemTime) -> Self {
        let (inherited, read_error) = match file::read(&path, now) {
            Ok(Some(document)) => (Inherited::new(document, now), None),
            Ok(None) => (Inherited::default(), None),
            Err(error) => {
                log::error!("{} is ignored: {error}", path.display());
                (Inherited::default(), Some(error))
            }
        };
        // Any other file is left: the path may be a mistake.
        let is_ours = matches!(read_error, None | Some(ReadHandOverError::Expired(_)));
        let (path, inherited) = (Some(path), Mutex::new(inherited));
        let is_to_remove = AtomicBool::new(is_ours);
        Self { path, inherited, read_error, is_to_remove, ..Self::default() }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(crate) fn read_error(&self) -> Option<&ReadHandOverError> {
        self.read_error.as_ref()
    }

    /// Adds a keeper; returns the peers that it inherits.
    pub(crate) fn add_keeper(&self, keeper: Weak<dyn PeerKeeper>) -> Vec<RestoredPeer> {
        let mut keepers = lock(&self.keepers);
        keepers.push(keeper);
        lock(&self.inherited).take_peers(keepers.len() - 1)
    }

    /// Returns the number of a keeper.
    pub(crate) fn number_of(&self, keeper: &Weak<dyn PeerKeeper>) -> Option<usize> {
        let is_it = |one: &Weak<dyn PeerKeeper>| addr_eq(one.as_ptr(), keeper.as_ptr());
        lock(&self.keepers).iter().position(is_it)
    }

    /// Returns the keeper of this number.
    pub(crate) fn keeper(&self, number: usize) -> Option<Arc<dyn PeerKeeper>> {
        lock(&self.keepers).get(number)?.upgrade()
    }

    /// Keeps this until the rooms run.
    pub(crate) fn run_later(&self, task: BoxFuture<'static, ()>) {
        lock(&self.waiting).push(task);
    }

    /// Returns the keepers that are still there, with their numbers.
    pub(crate) fn keepers(&self) -> Vec<(usize, Arc<dyn PeerKeeper>)> {
        let keepers = lock(&self.keepers);
        let all = keepers.iter().enumerate();
        all.filter_map(|(number, keeper)| Some((number, keeper.upgrade()?))).collect()
    }

    /// Begins with the rooms' supervisor; returns the names of the rooms that were inherited, until when they are
    /// opened, and what runs from now on.
    pub(crate) fn begin(self: &Arc<Self>) -> (Vec<String>, Instant, Vec<BoxFuture<'static, ()>>) {
        let mut tasks = std::mem::take(&mut *lock(&self.waiting));
        let (names, ends) = lock(&self.inherited).begin();
        if let Some(ends) = ends {
            let this = Arc::clone(self);
            tasks.push(Box::pin(async move {
                tokio::time::sleep_until(ends).await;
                // Who has come by now is there, and the others leave.
                let late = std::mem::take(&mut *lock(&this.inherited));
                for name in late.rooms() {
                    log::warn!(
                        "room {name:?} was not opened again: its state is lost, its peers leave"
                    );
                }
            }));
        }
        if let Some(path) = &self.path
            && self.is_to_remove.swap(false, Ordering::Relaxed)
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::error!("{} is not removed: {error}", path.display());
        }
        (names, ends.unwrap_or_else(Instant::now), tasks)
    }

    /// Returns what was inherited of the room of this name, once.
    pub(crate) fn take_room(&self, name: &str) -> Option<InheritedRoom> {
        lock(&self.inherited).take_room(name)
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
