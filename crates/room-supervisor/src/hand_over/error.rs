//! Errors of the hand-over.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Error of handing rooms over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// The file could not be written, or not be read again.
    #[error("the rooms are not handed over: {0}")]
    Io(#[from] io::Error),
    /// The rooms are those of a node of a cluster, in which another node may take their names meanwhile.
    #[error("the rooms are not handed over: they belong to a cluster")]
    InCluster,
}

/// Reason why a file with handed-over rooms is ignored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadHandOverError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no regular file, belongs to another user, or others may read it.
    #[error("it is not a private file of this user")]
    NotPrivate,
    /// It is none of this format, or is damaged.
    #[error("it is no file of handed-over rooms: {0}")]
    Malformed(#[source] serde_json::Error),
    /// It has a newer format.
    #[error("it has format {0}, which is newer than this program")]
    Newer(u32),
    /// It was written this long ago, and all clients' grace periods are over.
    #[error("it was written {0:?} ago, and the clients are gone")]
    Expired(Duration),
}
