//! A peer connection to the server, for data channels. It is replaced when it is lost, until it is closed.

pub(crate) mod current_connection;
mod task;

use std::sync::Arc;

use actix::Arbiter;
use callboard_peer_connection::error::SendDataError;
use callboard_peer_connection::messages::SendData;
use callboard_peer_connection::{
    Configuration, DataChannelId, DataChannelMessage, DataChannelOptions, PeerConnectionHandle,
    PeerConnectionsOptions,
};
use tokio::sync::mpsc;

use crate::ClientHandle;
use crate::error::SendMessageError;
use crate::event::{ChannelData, ClientState};
use crate::shared::Shared;

/// Options of a client's peer connection.
#[derive(Clone, Debug)]
pub struct WebRtcOptions {
    channels: Vec<(String, DataChannelOptions)>,
    configuration: Configuration,
    pool: PeerConnectionsOptions,
}

impl Default for WebRtcOptions {
    fn default() -> Self {
        let pool = PeerConnectionsOptions {
            media_threads: 1,
            handshake_threads: 0,
            ..PeerConnectionsOptions::default()
        };
        Self { channels: Vec::new(), configuration: Configuration::default(), pool }
    }
}

impl WebRtcOptions {
    /// Creates options without data channels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a data channel with this label, to the peer connection and to each that replaces it.
    pub fn channel(mut self, label: impl Into<String>, options: DataChannelOptions) -> Self {
        self.channels.push((label.into(), options));
        self
    }

    /// Sets the ICE servers and the rest of W3C's configuration. Default: none.
    pub fn configuration(mut self, configuration: Configuration) -> Self {
        self.configuration = configuration;
        self
    }

    /// Sets the threads and sockets. Default: one thread, with a port of its own, as a browser's connections have: a
    /// server tells connections apart by their addresses.
    pub fn pool(mut self, pool: PeerConnectionsOptions) -> Self {
        self.pool = pool;
        self
    }
}

/// Reason why a client has no peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenPeerConnectionError {
    /// A client has one peer connection at a time.
    #[error("there is one already")]
    AlreadyOpen,
    /// Peer connections are actors, and this thread has no actix system.
    #[error("there is no actix system on this thread")]
    NoSystem,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

impl ClientHandle {
    /// Opens a peer connection to the server, with the data channels of its options. It is reopened when it is lost,
    /// until it is closed. Its states come as [`ClientEvent::PeerConnection`](crate::ClientEvent::PeerConnection). Call
    /// it where an actix system runs: the connection's actors are placed there.
    ///
    /// # Errors
    /// [`OpenPeerConnectionError`]
    pub fn open_peer_connection(
        &self,
        options: WebRtcOptions,
    ) -> Result<(), OpenPeerConnectionError> {
        let arbiter = Arbiter::try_current().ok_or(OpenPeerConnectionError::NoSystem)?;
        let shared = self.shared();
        if shared.with(|core| core.state()) == ClientState::Closed {
            return Err(OpenPeerConnectionError::Closed);
        }
        let (tell, signals) = mpsc::channel(MAX_SIGNALS);
        let number = {
            let mut links = shared.links();
            if links.current.is_some() {
                return Err(OpenPeerConnectionError::AlreadyOpen);
            }
            links.open(tell)
        };
        let (shared, delays) = (Arc::clone(shared), self.delays());
        arbiter.spawn_fn(move || {
            actix::spawn(task::run(shared, number, options, delays, signals));
        });
        Ok(())
    }

    /// Closes the peer connection for good. Does nothing if there is none.
    pub fn close_peer_connection(&self) {
        let link = self.shared().links().current.take();
        if link.is_some() {
            self.shared().with(|core| {
                core.signal(core.session_number(), "webrtc:close", &serde_json::json!({}))
            });
        }
    }

    /// Sends to the peer's code on the server: over the data channel with this label if it is open, else texts over the
    /// WebSocket. When one takes over from the other, messages may overtake each other.
    ///
    /// # Errors
    /// [`SendMessageError`]; `QueueFull` also if the other side of the channel reads too slowly, `TooLarge` also if the
    /// channel takes no message as large as this.
    pub async fn send_data(
        &self,
        channel: &str,
        data: impl Into<ChannelData>,
    ) -> Result<(), SendMessageError> {
        let open = self.shared().links().open_channel(channel);
        let data = data.into();
        let Some((connection, id)) = open else {
            return self.send_data_by_websocket(channel, data);
        };
        let message = match data.clone() {
            ChannelData::Text(text) => DataChannelMessage::Text(text),
            ChannelData::Binary(bytes) => DataChannelMessage::Binary(bytes.into()),
        };
        match connection.send(SendData { channel: id, message }).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SendDataError::BufferFull)) => Err(SendMessageError::QueueFull),
            Ok(Err(SendDataError::TooLarge { limit, .. })) => {
                Err(SendMessageError::TooLarge { max_bytes: limit })
            }
            Ok(Err(SendDataError::Empty)) => Err(SendMessageError::Empty),
            // It has just closed.
            _ => self.send_data_by_websocket(channel, data),
        }
    }
}

impl Shared {
    fn open_channel_of(
        &self,
        number: u64,
        label: &str,
        channel: (PeerConnectionHandle, DataChannelId),
    ) {
        if let Some(channels) = self.links().channels_of(number) {
            channels.insert(label.to_owned(), channel);
        }
    }

    /// Returns whether there was such a channel.
    fn close_channel_of(&self, number: u64, label: &str) -> bool {
        let mut links = self.links();
        links.channels_of(number).is_some_and(|channels| channels.remove(label).is_some())
    }
}

/// Signals of the server that wait for the connection.
const MAX_SIGNALS: usize = 256;
