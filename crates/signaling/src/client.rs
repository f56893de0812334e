//! The client of a peer, as the server's code holds it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use callboard_peer_connection::{DataChannelMessage, PeerConnectionHandle};
use callboard_room_supervisor::{Close, Message, Outbox, OutboxClosed, PeerId, To};
use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::control::unreadable;
use crate::rpc::{Desk, NoOutcome, NotCalled};
use crate::server_peer::{Channels, EVENTS, SendDataError};

/// The client of a peer, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct PeerRef {
    pub(crate) peer_id: PeerId,
    /// Whence its first socket came.
    pub(crate) address: Option<IpAddr>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) channels: Channels,
}

/// Why a function of a client has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallClientError {
    /// The arguments cannot be written as JSON.
    #[error("the arguments are no JSON: {0}")]
    Args(String),
    /// Too many calls wait for this client.
    #[error("too many calls wait for this client")]
    TooMany,
    /// The client is gone.
    #[error("the client is gone")]
    Gone,
    /// It did not answer in time.
    #[error("the client did not answer in time")]
    TimedOut,
    /// It answered with this error.
    #[error("{0}")]
    Refused(String),
}

/// Why a client is not closed in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// A server does not close with this code.
    #[error("{0} is no code to close a client with")]
    Code(u16),
    /// The reason is longer than 123 bytes (RFC 6455 §5.5).
    #[error("the reason is longer than 123 bytes")]
    LongReason,
}

impl PeerRef {
    /// Send a message to the client, as it is.
    ///
    /// # Errors
    /// [`OutboxClosed`] if the connection is being closed.
    pub fn send_to_client(&self, message: &Message) -> Result<(), OutboxClosed> {
        self.outbox.push(message.encode())
    }

    /// Send to the client on the data channel of this label; text goes over the WebSocket while there is no such
    /// channel (`webrtc:data`). What becomes of it afterwards is not told: a channel whose buffer is full drops it.
    ///
    /// # Errors
    /// [`SendDataError`]
    pub fn send_data(&self, label: &str, message: DataChannelMessage) -> Result<(), SendDataError> {
        if let Some(channel) = self.channels.find(label) {
            return channel.try_send(label, message);
        }
        let DataChannelMessage::Text(text) = message else {
            return Err(SendDataError::NeedsChannel);
        };
        self.push("webrtc:data", &json!({ "channel": label, "data": text }))
            .map_err(|_| SendDataError::Gone)
    }

    /// Call a function that the client has registered, over the data channel `events` if it is open, else over the
    /// WebSocket. `args` are a tuple or a list; what is neither is the only argument.
    ///
    /// # Errors
    /// [`CallClientError`]
    pub async fn call(
        &self,
        function: &str,
        args: &impl Serialize,
        deadline: Duration,
    ) -> Result<Value, CallClientError> {
        let args = list(args).map_err(|error| CallClientError::Args(error.to_string()))?;
        let (text, mut waiting) =
            self.desk.call_client(function, &args).map_err(|error| match error {
                NotCalled::TooMany => CallClientError::TooMany,
                NotCalled::Closed => CallClientError::Gone,
            })?;
        self.say(text)?;
        match waiting.wait(deadline).await {
            // Its depth is bounded by what is read at all.
            Ok(Ok(data)) => serde_json::from_str(data.get())
                .map_err(|error| CallClientError::Refused(unreadable(&error).to_owned())),
            Ok(Err(error)) => Err(CallClientError::Refused(error)),
            Err(NoOutcome::Gone) => Err(CallClientError::Gone),
            Err(NoOutcome::TimedOut) => {
                // It need not hear of it.
                _ = self.say(waiting.cancel_text());
                Err(CallClientError::TimedOut)
            }
        }
    }

    /// Say something of RPC: by the data channel, or by the WebSocket if there is none or it is busy.
    pub(crate) fn say(&self, text: String) -> Result<(), CallClientError> {
        if let Some(channel) = self.channels.find(EVENTS)
            && channel.try_send(EVENTS, DataChannelMessage::Text(text.clone())).is_ok()
        {
            return Ok(());
        }
        self.outbox.push(text.into()).map_err(|_| CallClientError::Gone)
    }

    /// The client's WebRTC connection to this server, if there is one. Tracks, transceivers and data channels that are added to it
    /// are offered to the client; its descriptions are set by the server peer alone. A client that connects anew has another one,
    /// with nothing of what was added to the last.
    pub fn connection(&self) -> Option<PeerConnectionHandle> {
        self.channels.connection()
    }

    /// How many of the client's calls of hooks run.
    pub fn running_hooks(&self) -> usize {
        self.desk.running()
    }

    /// Stop the peer: its connection is closed with 1000, after which `callboard.js` stays away, and it leaves its room.
    pub fn stop(&self) {
        self.outbox.close(Close::NORMAL);
    }

    /// Close the client's connection after what it has been sent before, with this code and reason; the peer leaves its room at
    /// once, and cannot be resumed. After 1000 and 4000 to 4999 `callboard.js` stays away, for good: for clients that are kicked
    /// out. After the others it comes back in a while, as a new peer: 1001 (the server goes away), 1008 (the client did
    /// what it must not), 1011 (an error of the server's), 1012 (a restart), 1013 (try again later), and 3000 to 3999.
    ///
    /// The first one to close a client is the one that counts. What differs from client to client is best sent as a message
    /// before.
    ///
    /// # Errors
    /// [`CloseError`]; nothing happens then.
    pub fn close(&self, code: u16, reason: &'static str) -> Result<(), CloseError> {
        if !matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999) {
            return Err(CloseError::Code(code));
        }
        if reason.len() > LONGEST_REASON {
            return Err(CloseError::LongReason);
        }
        self.outbox.close(Close { code, reason });
        Ok(())
    }

    /// A message of the server's to this client alone.
    pub(crate) fn push(&self, event: &str, data: &impl Serialize) -> Result<(), OutboxClosed> {
        match Message::new(event, data) {
            Ok(message) => self.outbox.push(message.to(To::Peers(vec![self.peer_id])).encode()),
            Err(error) => {
                log::error!("{event} cannot be written as JSON: {error}");
                Ok(())
            }
        }
    }
}

/// Arguments as a list.
fn list(args: &impl Serialize) -> Result<Box<RawValue>, serde_json::Error> {
    let args = match serde_json::to_value(args)? {
        Value::Null => Value::Array(Vec::new()),
        list @ Value::Array(_) => list,
        one => Value::Array(vec![one]),
    };
    serde_json::value::to_raw_value(&args)
}

impl fmt::Debug for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerRef").field("peer_id", &self.peer_id).finish_non_exhaustive()
    }
}

/// What a close frame has room for beside its code, in bytes (RFC 6455 §5.5).
const LONGEST_REASON: usize = 123;
