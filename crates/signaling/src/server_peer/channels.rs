//! Open data channels of one client, shared by all senders, and the client's lasting usage of its limits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "rpc")]
use callboard_peer_connection::error::DeliverDataError;
use callboard_peer_connection::messages::{SendData, SendLossy};
use callboard_peer_connection::{DataChannelId, DataChannelMessage, PeerConnectionHandle};
use callboard_supervision::CallError;

use super::tracks::Tracks;
use super::usage::LastingUsage;

/// Label of the data channel that carries RPC.
pub const EVENTS: &str = "events";

/// Reason why a message was not sent to a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendToChannelError {
    /// There is no open channel with this label.
    #[error("there is no open channel {0:?}")]
    NoChannel(String),
    /// Bytes can be sent only on a data channel, and there is none.
    #[error("bytes need a data channel")]
    NeedsChannel,
    /// The connection is overloaded, or the buffer of its channel is full.
    #[error("too much waits to be sent")]
    Busy,
    /// The channel does not accept it.
    #[error(transparent)]
    Channel(callboard_peer_connection::error::SendDataError),
    /// The client is gone.
    #[error("the client is gone")]
    Gone,
}

/// Open data channels, shared by all senders. Most clients have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channels(Arc<Mutex<Option<Box<Open>>>>);

#[derive(Debug, Default)]
struct Open {
    connection: Option<PeerConnectionHandle>,
    by_label: BTreeMap<String, DataChannelId>,
    labels: BTreeMap<DataChannelId, String>,
    /// Shared with the client's server peers, one after another.
    spent: LastingUsage,
    tracks: Tracks,
}

impl Channels {
    fn with<T>(&self, act: impl FnOnce(&mut Open) -> T) -> T {
        act(self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
    }

    pub(crate) fn connected(
        &self,
        connection: Option<PeerConnectionHandle>,
    ) -> Vec<(DataChannelId, String)> {
        self.with(|open| {
            open.connection = connection;
            open.by_label.clear();
            std::mem::take(&mut open.labels).into_iter().collect()
        })
    }

    /// Returns the usage that lasts as long as the client's peer.
    pub(super) fn spent(&self) -> LastingUsage {
        self.with(|open| open.spent.clone())
    }

    /// Returns the tracks between the client and the server.
    pub(crate) fn tracks(&self) -> Tracks {
        self.with(|open| open.tracks.clone())
    }

    pub(super) fn opened(&self, id: DataChannelId, label: &str) {
        self.with(|open| {
            // If several channels share a label, messages go to the first one that opened.
            open.by_label.entry(label.to_owned()).or_insert(id);
            open.labels.insert(id, label.to_owned());
        });
    }

    pub(super) fn closed(&self, id: DataChannelId) -> Option<String> {
        self.with(|open| {
            let label = open.labels.remove(&id)?;
            if open.by_label.get(&label) == Some(&id) {
                open.by_label.remove(&label);
                let other = open.labels.iter().find(|(_, other)| **other == label);
                if let Some(other) = other.map(|(id, _)| *id) {
                    open.by_label.insert(label.clone(), other);
                }
            }
            Some(label)
        })
    }

    pub(super) fn label(&self, id: DataChannelId) -> Option<String> {
        self.with(|open| open.labels.get(&id).cloned())
    }

    pub(super) fn count(&self) -> usize {
        self.with(|open| open.labels.len())
    }

    pub(crate) fn labels(&self) -> Vec<String> {
        self.with(|open| open.labels.values().cloned().collect())
    }

    pub(crate) fn connection(&self) -> Option<PeerConnectionHandle> {
        self.with(|open| open.connection.clone())
    }

    /// Returns the channel with this label, if it is open.
    pub(crate) fn find(&self, label: &str) -> Option<OpenChannel> {
        self.with(|open| {
            let channel = *open.by_label.get(label)?;
            let connection = open.connection.clone().filter(PeerConnectionHandle::is_open)?;
            Some(OpenChannel { connection, channel })
        })
    }
}

fn refusal(label: &str, error: &CallError) -> SendToChannelError {
    match error {
        CallError::Full => SendToChannelError::Busy,
        _ => SendToChannelError::NoChannel(label.to_owned()),
    }
}

/// An open channel on which any thread can send.
pub(crate) struct OpenChannel {
    connection: PeerConnectionHandle,
    channel: DataChannelId,
}

impl OpenChannel {
    /// Sends without waiting for the result. `label` is for the error.
    pub(crate) fn try_send(
        &self,
        label: &str,
        message: DataChannelMessage,
    ) -> Result<(), SendToChannelError> {
        let sent = self.connection.try_send(SendData { channel: self.channel, message });
        sent.map_err(|error| refusal(label, &error))
    }

    /// Likewise, unless more than so many bytes wait before it.
    pub(crate) fn try_send_lossy(
        &self,
        label: &str,
        message: DataChannelMessage,
        max_buffered_amount: usize,
    ) -> Result<(), SendToChannelError> {
        let message = SendLossy { channel: self.channel, message, max_buffered_amount };
        self.connection.try_send(message).map_err(|error| refusal(label, &error))
    }

    /// Sends without waiting; the future says whether the client has acknowledged the message. Fails if the connection
    /// has ended or is overloaded.
    #[cfg(feature = "rpc")]
    pub(crate) fn deliver(
        &self,
        message: DataChannelMessage,
    ) -> Option<impl Future<Output = Result<(), DeliverDataError>> + Send + use<>> {
        self.connection.deliver(self.channel, message).ok()
    }

    /// Sends, and returns the result.
    pub(super) async fn send(&self, message: DataChannelMessage) -> Result<(), SendToChannelError> {
        let sent = self.connection.send(SendData { channel: self.channel, message }).await;
        sent.map_err(|_| SendToChannelError::Gone)?.map_err(SendToChannelError::Channel)
    }
}
