//! RoomRegistry of rooms by name.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use thiserror::Error;

use crate::handle::RoomHandle;

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
}

/// RoomRegistry that keeps the names in a map in this process.
#[derive(Debug, Default)]
pub struct LocalRegistry(RwLock<HashMap<String, RoomHandle>>);

impl RoomRegistry for LocalRegistry {
    fn register(&self, name: &str, room: RoomHandle) -> Result<(), RegisterError> {
        let mut rooms = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if rooms.contains_key(name) {
            return Err(RegisterError(name.to_owned()));
        }
        rooms.insert(name.to_owned(), room);
        Ok(())
    }

    fn unregister(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn lookup(&self, name: &str) -> Option<RoomHandle> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
