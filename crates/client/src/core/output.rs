//! Outputs of the core: what its shell does.

use std::sync::Arc;

use serde_json::Value;

use crate::address::Address;
use crate::error::{CallFunctionError, ConnectError};
use crate::event::ClientEvent;

/// What the shell does for the core.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    /// Opens a WebSocket.
    Open { to: Arc<Address>, resume: Option<String> },
    /// Opens a second WebSocket, while the first one lasts.
    OpenNext { to: Arc<Address>, resume: Option<String> },
    /// Closes the second WebSocket, or ends the attempt to open one.
    DropNext { code: Option<u16> },
    /// Closes the first WebSocket, and goes on with the second one.
    Switch,
    /// Sends what is left, and closes the WebSocket, without a close frame if there is no code; or ends the attempt to
    /// open one.
    Drop { code: Option<u16>, left: Vec<String> },
    /// The client has joined for the first time.
    Admitted,
    /// The client has not joined.
    Failed(ConnectError),
    /// Event for the application.
    Event(ClientEvent),
    /// A call of this client has ended.
    Done(u64, Result<Value, CallFunctionError>),
    /// The server calls a function. The answer is due.
    Run { id: Value, function: String, args: Vec<Value> },
    /// Something for the peer connection, if there is one.
    Signal(Signal),
}

/// Something for a peer connection to the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Signal {
    /// A `webrtc:…` event.
    Event { event: String, data: Value },
    /// The server refuses what was sent in this event.
    Refused { event: String, error: String },
    /// The session goes on over another WebSocket.
    Resumed,
    /// The client is a new peer, which has no peer connection yet: the session with this number.
    NewSession(u64),
}
