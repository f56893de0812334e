//! Errors of lines.

use thiserror::Error;

/// Error of sending a frame to another node.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineError {
    /// 4,096 frames or 4 MiB are not acknowledged: the other node does not keep up. Nothing was sent.
    #[error("the line is full: the other node does not keep up")]
    Full,
    /// The line is not up, or is another one. Nothing was sent.
    #[error("the line is down")]
    Down,
    /// The frame is longer than 256 KiB, or the service's name than 32 bytes.
    #[error("the frame is too large")]
    TooLarge,
}

/// Error: this process has a taker of the service already, or the name is not 1 to 32 bytes long.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("service {0:?} has a taker already, or no valid name")]
pub struct ServiceTaken(pub &'static str);
