//! Registry of rooms by name.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use thiserror::Error;

use crate::handle::RoomHandle;
use crate::shared::PeerIndex;

/// Error: the name is registered already.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a room named `{0}` is registered")]
pub struct RegisterError(pub String);

/// Registry in which rooms are found by name. A room registers itself when it starts, and its name is free again
/// when it has ended.
///
/// The default is [`LocalRegistry`]. Another one may keep names elsewhere as well, or change how they are compared. It
/// is called from many threads and must not block.
pub trait RoomRegistry: Send + Sync + 'static {
    /// Registers a room under a name.
    ///
    /// # Errors
    /// [`RegisterError`]; the room is not opened then.
    fn register(&self, name: &str, room: RoomHandle) -> Result<(), RegisterError>;
    /// Frees a name.
    fn unregister(&self, name: &str);
    /// Returns the room of this name.
    fn lookup(&self, name: &str) -> Option<RoomHandle>;
    /// Returns all names, in no particular order.
    fn names(&self) -> Vec<String>;
    /// Returns the index with which [`Rooms::find_peer`](crate::Rooms::find_peer) finds a peer at once: the same one
    /// each time. The rooms of this registry keep it. Default: none, and each room is looked into.
    fn peers(&self) -> Option<PeerIndex> {
        None
    }
}

/// Registry that keeps the names in a map in this process, with an index of the peers.
#[derive(Debug, Default)]
pub struct LocalRegistry {
    rooms: RwLock<HashMap<String, RoomHandle>>,
    peers: PeerIndex,
}

impl RoomRegistry for LocalRegistry {
    fn register(&self, name: &str, room: RoomHandle) -> Result<(), RegisterError> {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        if rooms.contains_key(name) {
            return Err(RegisterError(name.to_owned()));
        }
        rooms.insert(name.to_owned(), room);
        Ok(())
    }

    fn unregister(&self, name: &str) {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn lookup(&self, name: &str) -> Option<RoomHandle> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn peers(&self) -> Option<PeerIndex> {
        Some(self.peers.clone())
    }
}
