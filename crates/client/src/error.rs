//! Errors of connecting, sending and calling, and the errors that a server reports.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// Reason why a client has not joined a room.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is not one of a WebSocket, or an option cannot be sent.
    #[error("not an address that can be connected to: {0}")]
    Address(String),
    /// There is no server, or it does not speak the protocol.
    #[error("no WebSocket: {0}")]
    Unreachable(String),
    /// The server has refused the WebSocket.
    #[error("refused: {0}")]
    Refused(UpgradeRefusal),
    /// The room has rejected the client (`Could not join room`), for this reason.
    #[error("the room has rejected the client: {0}")]
    Rejected(Value),
    /// The WebSocket was closed before the client had joined.
    #[error("closed before it had joined, with {code}: {reason}")]
    Closed {
        /// Close code; 1006 if there was no close frame, 1005 if it had no code.
        code: u16,
        /// Reason that the server gives.
        reason: String,
    },
    /// The server has sent the client to an address to which it may not go, or servers have sent it from one to the
    /// other.
    #[error("{0}")]
    Moved(MoveFailure),
    /// The client has not joined within [`join_timeout`](crate::ClientOptions::join_timeout).
    #[error("not joined in time")]
    Timeout,
}

/// Reason why a client does not go where its server sends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveFailure {
    /// The address is not one of a WebSocket, or not over TLS although the present one is.
    #[error("not to be moved to that address")]
    Address,
    /// Servers have sent the client from one to the other, more than eight times within a minute.
    #[error("servers send the client from one to the other")]
    TooOften,
    /// No connection was made there, or the client was not admitted; this says why.
    #[error("not connected there: {0}")]
    Lost(String),
}

/// The server's refusal of an upgrade request: an HTTP status other than 101.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub struct UpgradeRefusal {
    /// HTTP status.
    pub status: u16,
    /// Error of the table in the protocol, such as `no_such_room`; empty if another program has answered.
    pub error: String,
    /// The application's detail; null if there is none.
    pub detail: Value,
    /// What the application says beside it, any JSON; null if there is nothing.
    pub details: Value,
    /// How long the server asks to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

/// The status, then what there is of error, detail and details: `401 unauthorized: banned: {"days":3}`.
impl fmt::Display for UpgradeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.error.is_empty() {
            write!(f, " {}", self.error)?;
        }
        for part in [&self.detail, &self.details] {
            match part {
                Value::Null => {}
                Value::String(text) => write!(f, ": {text}")?,
                other => write!(f, ": {other}")?,
            }
        }
        Ok(())
    }
}

/// Reason why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendMessageError {
    /// Too much waits to be sent.
    #[error("too much waits to be sent")]
    QueueFull,
    /// The server has closed a connection over a message that exceeded its limit.
    #[error("the server takes no message of more than {max_bytes} bytes")]
    TooLarge {
        /// The server's limit, in bytes.
        max_bytes: usize,
    },
    /// The data cannot be written as JSON.
    #[error("no JSON: {0}")]
    Json(String),
    /// Bytes need a data channel, and none with this label is open.
    #[error("no data channel with this label is open")]
    NoChannel,
    /// An empty message of a data channel, which cannot be sent.
    #[error("empty messages cannot be sent")]
    Empty,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

/// Reason why a call of the server's function has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallFunctionError {
    /// The server has answered with an error, such as `unknown_function` or a reason of the function's own.
    #[error("{error}")]
    Hook {
        /// The error.
        error: String,
        /// For `invalid_args`: index of the wrong argument, from 0.
        argument: Option<u64>,
        /// For `invalid_args`: what was expected.
        detail: Option<String>,
        /// What the function says beside the error, any JSON; null if there is nothing.
        details: Value,
    },
    /// The arguments are no list, or cannot be written as JSON. Nothing was sent.
    #[error("arguments that cannot be sent: {0}")]
    Arguments(String),
    /// Too much waits to be sent. Nothing was sent.
    #[error("too much waits to be sent")]
    QueueFull,
    /// There was no answer in time. A cancellation of the call was sent to the server.
    #[error("no answer in time")]
    Timeout,
    /// There is no connection; or it was lost, and the session could not be resumed: the call may have run or not.
    #[error("the connection was lost; the call may have run or not")]
    Disconnected,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

/// An error that the server reports.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{description}: {details}")]
#[non_exhaustive]
pub struct ServerError {
    /// The description in the form of a name, such as `no_such_peer`.
    pub code: String,
    /// Description of the protocol, such as `No such peer`.
    pub description: String,
    /// Details; null if there are none.
    pub details: Value,
}

impl ServerError {
    pub(crate) fn new(description: &str, details: Value) -> Self {
        let code = description.to_lowercase().replace(' ', "_");
        Self { code, description: description.to_owned(), details }
    }
}

/// Something that has failed in the same way too often, after which the client is closed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct GaveUpError {
    /// What has failed, in words.
    pub why: String,
    /// Close code of the last connection; 1006 if there was none.
    pub code: u16,
    /// Reason that was given for its end.
    pub reason: String,
    /// Error that the server has reported before it closed the last connection.
    pub error: Option<ServerError>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_says_all_that_the_server_said_and_no_more() {
        let says = |error: &str, detail: Value, details: Value| {
            let (error, retry_after) = (error.to_owned(), None);
            let refusal = UpgradeRefusal { status: 401, error, detail, details, retry_after };
            ConnectError::Refused(refusal).to_string()
        };

        assert_eq!(says("", Value::Null, Value::Null), "refused: 401");
        assert_eq!(says("unauthorized", Value::Null, Value::Null), "refused: 401 unauthorized");
        assert_eq!(
            says("unauthorized", "who are you?".into(), Value::Null),
            "refused: 401 unauthorized: who are you?"
        );
        assert_eq!(
            says("unauthorized", "banned".into(), json!({ "days": 3 })),
            r#"refused: 401 unauthorized: banned: {"days":3}"#
        );
    }
}
