//! Errors of media rooms.

use callboard_peer_connection::Codec;
use callboard_peer_connection::error::{OfferSlotsError, SetDescriptionError};
use callboard_supervision::{CallError, NoSupervisorError, StartChildError};

/// Error of a peer connection that does not join a media room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinMediaRoomError {
    /// The room has ended.
    #[error("the media room has ended")]
    Ended(#[from] NoSupervisorError),
    /// The connection is in the room already.
    #[error("the connection has joined already")]
    Joined,
    /// The connection has ended.
    #[error(transparent)]
    Connection(#[from] CallError),
    /// An actor of the participant did not start.
    #[error(transparent)]
    Start(#[from] StartChildError),
}

/// Error of wishes that are not followed; those before stay in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WishError {
    /// There are wishes for more tracks than are taken, or more are in order.
    #[error("wishes for more than {} tracks", crate::Wishes::MOST_TRACKS)]
    TooMany,
    /// The participant has left, or its media was given up.
    #[error("the participant has left")]
    Left,
}

/// Error of an offer that is not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptMediaOfferError {
    /// The connection has ended.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The offer cannot be used.
    #[error(transparent)]
    Description(#[from] SetDescriptionError),
    /// Another offer came between.
    #[error(transparent)]
    Slots(#[from] OfferSlotsError),
}

/// Error of a tap that is not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartTapError {
    /// The room has ended.
    #[error("the media room has ended")]
    Ended(#[from] NoSupervisorError),
    /// The room has a tap of this name.
    #[error("the media room has a tap of this name")]
    Taken,
    /// The tap did not start.
    #[error(transparent)]
    Start(StartChildError),
}

impl From<StartChildError> for StartTapError {
    fn from(error: StartChildError) -> Self {
        match error {
            StartChildError::AlreadyStarted => Self::Taken,
            other => Self::Start(other),
        }
    }
}

/// Error of a track that a [bot](crate::Bot) does not publish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No packets are made of frames of this codec.
    #[error("frames of {0:?} cannot be sent")]
    Codec(Codec),
    /// The policy of the room refuses it, the bot has published four tracks of this kind, or it has left.
    #[error("the track is refused")]
    Refused,
}

/// Error of a frame that is not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteFrameError {
    /// The bot has left.
    #[error("the bot has left")]
    Ended,
    /// Frames have 4 MiB at most, packets of Opus 1,150 bytes.
    #[error("the frame is too large")]
    TooLarge,
    /// It is empty, or of H.264 without a start code.
    #[error("the frame is malformed")]
    Malformed,
}
