//! Outputs of the session, and the ways in which a connection ends.

use std::sync::Arc;
use std::time::Instant;

use super::{ABNORMAL, UNANSWERED};
use crate::address::Address;
use crate::error::{ConnectError, GaveUpError, MoveFailure, UpgradeRefusal};
use crate::event::StateChange;

/// What the shell does for the session.
#[derive(Debug, PartialEq)]
pub(crate) enum SessionOutput {
    /// Opens a WebSocket.
    Open {
        to: Arc<Address>,
        resume: Option<String>,
    },
    /// Sends a ping that the server answers when it has read all that was sent before; nothing else is sent meanwhile.
    Drain,
    /// Opens a second WebSocket, while the first one lasts.
    OpenNext {
        to: Arc<Address>,
        resume: Option<String>,
    },
    /// Closes the second WebSocket, or ends the attempt to open one.
    DropNext {
        code: Option<u16>,
    },
    /// Closes the first WebSocket, and goes on with the second one.
    Switch(Instant),
    /// The client stays where it is.
    MoveFailed(MoveFailure),
    /// Closes the WebSocket, or ends the attempt to open one, and forgets it. Without a code no close frame is sent:
    /// the server has said nothing that was read, and may take what is sent for an answer to its token.
    Drop {
        code: Option<u16>,
    },
    /// Sends `ping`.
    Ping,
    /// The client has joined for the first time.
    Admitted,
    /// The client has not joined.
    Failed(ConnectError),
    Changed(StateChange),
    GaveUp(GaveUpError),
}

/// The way in which an attempt or a connection has ended.
#[derive(Debug)]
pub(crate) enum Loss {
    /// There is no server, or it speaks another protocol.
    Unreachable(String),
    Refused(UpgradeRefusal),
    /// The connection has ended.
    Ended {
        code: u16,
        reason: String,
    },
    /// The server has broken the protocol.
    Violation {
        code: u16,
        reason: String,
    },
    /// This client has waited too long.
    Unanswered(&'static str),
    /// The server has sent the client where it does not go.
    Moved(MoveFailure),
    /// The application has cut the connection.
    Cut,
}

impl Loss {
    /// Returns the close code, and the reason in words.
    pub(super) fn said(&self) -> (u16, String) {
        match self {
            Self::Unreachable(why) => (ABNORMAL, why.clone()),
            Self::Refused(refusal) => (ABNORMAL, refusal.to_string()),
            Self::Ended { code, reason } | Self::Violation { code, reason } => {
                (*code, reason.clone())
            }
            Self::Unanswered(what) => (UNANSWERED, (*what).to_owned()),
            Self::Moved(failure) => (UNANSWERED, failure.to_string()),
            Self::Cut => (ABNORMAL, "cut by the application".to_owned()),
        }
    }
}
