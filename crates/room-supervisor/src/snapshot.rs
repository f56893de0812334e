//! Snapshots: the state of a room, or of a peer, as JSON that another process reads.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use thiserror::Error;

/// State of a [`Room`](crate::Room) at one moment, from which another process goes on
/// ([`Room::restore`](crate::Room::restore)). JSON text, [256 KiB](Self::MAX_BYTES) at most.
///
/// ```
/// use callboard_room_supervisor::Snapshot;
///
/// let snapshot = Snapshot::of(&["white", "black"])?;
/// assert_eq!(snapshot.read::<Vec<String>>()?, ["white", "black"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    data: Box<RawValue>,
}

/// Error of making a [`Snapshot`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The state cannot be written as JSON.
    #[error("the state cannot be written as JSON: {0}")]
    Data(#[source] serde_json::Error),
    /// The state has this many bytes as JSON, more than [`Snapshot::MAX_BYTES`].
    #[error("the state has {0} bytes as JSON, more than {max}", max = Snapshot::MAX_BYTES)]
    TooLarge(usize),
}

impl Snapshot {
    /// Largest snapshot, in bytes of JSON: 256 KiB.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Creates a snapshot of this state, of version 0. The room's
    /// [`snapshot_version`](crate::RoomOptions::snapshot_version) replaces that.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub fn of(state: &(impl Serialize + ?Sized)) -> Result<Self, SnapshotError> {
        let data = to_raw_value(state).map_err(SnapshotError::Data)?;
        if data.get().len() > Self::MAX_BYTES {
            return Err(SnapshotError::TooLarge(data.get().len()));
        }
        Ok(Self { version: 0, data })
    }

    /// Reads the state.
    ///
    /// # Errors
    /// The state is of another form.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data.get())
    }

    /// Returns the version of the program's state that was written: not newer than that of the reader.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Sets the version of the program's state.
    pub fn with_version(self, version: u32) -> Self {
        Self { version, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_too_large_or_no_json_is_an_error() {
        let large = "x".repeat(Snapshot::MAX_BYTES - 1);
        assert!(matches!(
            Snapshot::of(&large),
            Err(SnapshotError::TooLarge(bytes)) if bytes == Snapshot::MAX_BYTES + 1
        ));
        assert!(Snapshot::of(&large[1..]).is_ok());
        let no_json = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(matches!(Snapshot::of(&no_json), Err(SnapshotError::Data(_))));
    }

    #[test]
    fn a_snapshot_is_written_with_its_version() {
        let snapshot = Snapshot::of(&7).unwrap().with_version(3);

        let text = serde_json::to_string(&snapshot).unwrap();
        let read: Snapshot = serde_json::from_str(&text).unwrap();

        assert_eq!(text, r#"{"version":3,"data":7}"#);
        assert_eq!((read.version(), read.read::<u8>().unwrap()), (3, 7));
        assert!(read.read::<String>().is_err());
    }
}
