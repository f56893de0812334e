//! Handle of a peer's client, for code on the server.

use std::borrow::Cow;
use std::fmt;
#[cfg(feature = "rpc")]
use std::future::pending;
#[cfg(feature = "webrtc")]
use std::net::IpAddr;
#[cfg(feature = "rpc")]
use std::pin::pin;
use std::sync::{Arc, Weak};
#[cfg(feature = "rpc")]
use std::time::Duration;

#[cfg(all(feature = "rpc", feature = "webrtc"))]
use callboard_peer_connection::error::DeliverDataError;
#[cfg(feature = "webrtc")]
use callboard_peer_connection::error::SendDataError;
#[cfg(feature = "webrtc")]
use callboard_peer_connection::{DataChannelMessage, LocalTrack, PeerConnectionHandle};
#[cfg(feature = "webrtc")]
use callboard_room_supervisor::To;
use callboard_room_supervisor::{
    CloseError, CloseFrame, Outbox, OutboxClosedError, PeerId, RoomMessage,
};
use callboard_websocket::SocketLink;
#[cfg(feature = "rpc")]
use futures_util::future::{Either, select};
#[cfg(any(feature = "rpc", feature = "webrtc"))]
use serde::Serialize;
#[cfg(feature = "webrtc")]
use serde_json::json;
#[cfg(feature = "rpc")]
use serde_json::{Value, value::RawValue};

#[cfg(feature = "rpc")]
use crate::error_text::unreadable;
use crate::moves::{Move, MoveError};
#[cfg(feature = "rpc")]
use crate::rpc::{CallRefused, CallTable, NoOutcome};
#[cfg(all(feature = "rpc", feature = "webrtc"))]
use crate::server_peer::EVENTS;
#[cfg(feature = "webrtc")]
use crate::server_peer::{
    AddServerTrackError, Channels, MediaOwner, SendToChannelError, ServerTrack,
};

/// Handle of a peer's client, usable from any thread. Cheap to clone.
#[derive(Clone)]
pub struct PeerRef {
    client: Arc<Client>,
}

/// What leads to one client. A room keeps it with the member.
pub(crate) struct Client {
    pub(crate) peer_id: PeerId,
    /// Address that its first socket came from.
    #[cfg(feature = "webrtc")]
    pub(crate) address: Option<IpAddr>,
    pub(crate) outbox: Arc<Outbox>,
    /// Issues its resume tokens.
    pub(crate) link: Weak<SocketLink>,
    #[cfg(feature = "rpc")]
    pub(crate) call_table: Arc<CallTable>,
    #[cfg(feature = "webrtc")]
    pub(crate) channels: Channels,
    #[cfg(feature = "webrtc")]
    pub(crate) media_owner: MediaOwner,
}

/// Reason why a call of a client's function has no result.
#[cfg(feature = "rpc")]
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
    /// The data channel has ended before the client had confirmed the call: it runs or not.
    #[error("the data channel has ended before the client had confirmed the call")]
    Lost,
    /// The client did not answer in time.
    #[error("the client did not answer in time")]
    TimedOut,
    /// The client answered with this error.
    #[error("{0}")]
    Refused(String),
}

impl PeerRef {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// Returns the id of the peer.
    pub fn peer_id(&self) -> PeerId {
        self.client.peer_id
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.client.address
    }

    #[cfg(any(feature = "rpc", feature = "webrtc"))]
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.client.outbox
    }

    #[cfg(feature = "rpc")]
    pub(crate) fn call_table(&self) -> &Arc<CallTable> {
        &self.client.call_table
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn channels(&self) -> &Channels {
        &self.client.channels
    }

    /// Sends a message to the client, as it is.
    ///
    /// # Errors
    /// [`OutboxClosedError`] if the connection is being closed.
    pub fn send_to_client(&self, message: &RoomMessage) -> Result<(), OutboxClosedError> {
        self.client.outbox.push(message.encode())
    }

    /// Sends to the client on the data channel with this label; without such a channel, text goes over the WebSocket
    /// (`webrtc:data`). Delivery is not reported: a channel whose buffer is full drops the message. An empty message is
    /// refused, since a channel cannot send one.
    ///
    /// # Errors
    /// [`SendToChannelError`]
    #[cfg(feature = "webrtc")]
    pub fn send_data(
        &self,
        label: &str,
        message: DataChannelMessage,
    ) -> Result<(), SendToChannelError> {
        if message.is_empty() {
            return Err(SendToChannelError::Channel(SendDataError::Empty));
        }
        if let Some(channel) = self.client.channels.find(label) {
            return channel.try_send(label, message);
        }
        let DataChannelMessage::Text(text) = message else {
            return Err(SendToChannelError::NeedsChannel);
        };
        self.push("webrtc:data", &json!({ "channel": label, "data": text }))
            .map_err(|_| SendToChannelError::Gone)
    }

    /// Sends to the client on the data channel with this label, unless more than `max_buffered_amount` bytes wait there
    /// to be sent or confirmed: then the message is dropped, so that a client on a slow path gets fewer messages
    /// instead of old ones. Whether it was dropped is not reported. Never goes over the WebSocket. An empty message is
    /// refused.
    ///
    /// # Errors
    /// [`SendToChannelError`]; [`NoChannel`](SendToChannelError::NoChannel) without such a channel.
    #[cfg(feature = "webrtc")]
    pub fn send_lossy(
        &self,
        label: &str,
        message: DataChannelMessage,
        max_buffered_amount: usize,
    ) -> Result<(), SendToChannelError> {
        if message.is_empty() {
            return Err(SendToChannelError::Channel(SendDataError::Empty));
        }
        let channel = self.client.channels.find(label);
        let channel = channel.ok_or_else(|| SendToChannelError::NoChannel(label.to_owned()))?;
        channel.try_send_lossy(label, message, max_buffered_amount)
    }

    /// Calls a function that the client has registered, over the data channel `events` if it is open, else over the
    /// WebSocket. `args` is a tuple or a list; any other value is the only argument. A call is sent once: if its data
    /// channel ends, the answer to a call that the client had confirmed comes over the WebSocket.
    ///
    /// # Errors
    /// [`CallClientError`]
    #[cfg(feature = "rpc")]
    pub async fn call(
        &self,
        function: &str,
        args: &impl Serialize,
        deadline: Duration,
    ) -> Result<Value, CallClientError> {
        let args = list(args).map_err(|error| CallClientError::Args(error.to_string()))?;
        let (text, mut waiting) =
            self.client.call_table.call_client(function, &args).map_err(|error| match error {
                CallRefused::TooMany => CallClientError::TooMany,
                CallRefused::Closed => CallClientError::Gone,
            })?;
        #[cfg(feature = "webrtc")]
        let lost = self.send_call(text)?;
        #[cfg(not(feature = "webrtc"))]
        let lost = {
            self.say_by_websocket(text)?;
            pending()
        };
        let outcome = match select(pin!(waiting.wait(deadline)), pin!(lost)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => return Err(CallClientError::Lost),
        };
        match outcome {
            // Its depth is bounded by the limits on what is read.
            Ok(Ok(data)) => serde_json::from_str(data.get())
                .map_err(|error| CallClientError::Refused(unreadable(&error).to_owned())),
            Ok(Err(error)) => Err(CallClientError::Refused(error)),
            Err(NoOutcome::Gone) => Err(CallClientError::Gone),
            Err(NoOutcome::TimedOut) => {
                // The client need not receive it.
                _ = self.say(waiting.cancel_text());
                Err(CallClientError::TimedOut)
            }
        }
    }

    /// Sends a call: over the data channel, or over the WebSocket if there is none, or it is busy, or refuses the call.
    /// The future completes if the call may be lost.
    #[cfg(all(feature = "rpc", feature = "webrtc"))]
    fn send_call(&self, text: String) -> Result<impl Future<Output = ()> + use<>, CallClientError> {
        let delivery = self.deliver(&text);
        if delivery.is_none() {
            self.say_by_websocket(text.clone())?;
        }
        let client = self.clone();
        Ok(async move {
            let delivered = match delivery {
                Some(delivery) => delivery.await,
                None => Ok(()),
            };
            match delivered {
                Ok(()) => {}
                // Who waits for a client that is gone is told otherwise.
                Err(DeliverDataError::NotSent(_)) => _ = client.say_by_websocket(text),
                Err(_) => return,
            }
            pending().await
        })
    }

    /// Sends the answer to a call: over the data channel, or over the WebSocket if there is none, or it is busy, or
    /// ends before the client has confirmed the answer. To be called on the thread of an actor.
    #[cfg(all(feature = "rpc", feature = "webrtc"))]
    pub(crate) fn answer(&self, text: String) {
        let client = self.clone();
        let delivery = self.deliver(&text);
        // A client that is gone needs no answer.
        let by_websocket = move || _ = client.say_by_websocket(text);
        let Some(delivery) = delivery else { return by_websocket() };
        actix::spawn(async move {
            if delivery.await.is_err() {
                by_websocket();
            }
        });
    }

    /// Sends a frame of RPC over the data channel; none if there is no channel that takes it.
    #[cfg(all(feature = "rpc", feature = "webrtc"))]
    fn deliver(
        &self,
        text: &str,
    ) -> Option<impl Future<Output = Result<(), DeliverDataError>> + Send + use<>> {
        let channel = self.client.channels.find(EVENTS)?;
        channel.deliver(DataChannelMessage::Text(text.to_owned()))
    }

    /// Sends a frame of RPC that may be lost: over the data channel, or over the WebSocket if there is none or it is
    /// busy.
    #[cfg(feature = "rpc")]
    fn say(&self, text: String) -> Result<(), CallClientError> {
        #[cfg(feature = "webrtc")]
        if let Some(channel) = self.client.channels.find(EVENTS)
            && channel.try_send(EVENTS, DataChannelMessage::Text(text.clone())).is_ok()
        {
            return Ok(());
        }
        self.say_by_websocket(text)
    }

    #[cfg(feature = "rpc")]
    fn say_by_websocket(&self, text: String) -> Result<(), CallClientError> {
        self.client.outbox.push(text.into()).map_err(|_| CallClientError::Gone)
    }

    /// Returns the client's peer connection to this server, if there is one. Tracks, transceivers and data channels
    /// that are added to it are offered to the client; only the server peer sets its descriptions. A client that
    /// connects anew has another peer connection, without anything that was added to the last one.
    #[cfg(feature = "webrtc")]
    pub fn connection(&self) -> Option<PeerConnectionHandle> {
        self.client.channels.connection()
    }

    /// Sends the client a track, which the server offers to it: at once, or when it has a peer connection, and again on
    /// each that replaces it. In a browser `callboard.js` reports it as `track`. The client gets what is written to the
    /// handle ([`ServerTrack::forward`], [`ServerTrack::write`]); the track ends with the last clone of it.
    ///
    /// # Errors
    /// [`AddServerTrackError`]
    #[cfg(feature = "webrtc")]
    pub fn add_track(&self, track: LocalTrack) -> Result<ServerTrack, AddServerTrackError> {
        match self.client.media_owner {
            MediaOwner::Application => self.client.channels.tracks().send(track),
            MediaOwner::Room => Err(AddServerTrackError::MediaRoom),
            MediaOwner::NoOne => Err(AddServerTrackError::Disabled),
        }
    }

    /// Returns how many calls of hooks by this client are running.
    #[cfg(feature = "rpc")]
    pub fn running_hooks(&self) -> usize {
        self.client.call_table.running()
    }

    /// Moves the client to the server at this address: it connects there and joins as a new peer, with the credentials
    /// that it has used here, while its connection to this server lasts; then this peer leaves. Shorthand for
    /// [`move_by`](Self::move_by) with [`Move::to`].
    ///
    /// # Errors
    /// [`MoveError`]
    pub fn move_to(&self, url: impl Into<String>) -> Result<(), MoveError> {
        self.move_by(&Move::to(url))
    }

    /// Moves the client to another address, or to another server behind the address that it knows: it opens a second
    /// connection while this one lasts, and then closes this one with 1000. A client that does not get there stays.
    /// Clients that do not know the event `moved` stay as well.
    ///
    /// # Errors
    /// [`MoveError`]; nothing was sent then.
    pub fn move_by(&self, to: &Move) -> Result<(), MoveError> {
        let resume = || self.client.link.upgrade()?.offer_resumption();
        let text = to.encode(self.client.peer_id, resume)?;
        self.client.outbox.push(text).map_err(|_| MoveError::Gone)
    }

    /// Stops the peer: its connection is closed with 1000, after which `callboard.js` does not come back, and it leaves
    /// its room.
    pub fn stop(&self) {
        self.client.outbox.close(CloseFrame::NORMAL);
    }

    /// Closes the client's connection with this code and reason, after what it has been sent before; the peer leaves
    /// its room at once, and cannot be resumed. [`CloseFrame::new`] says which codes there are, and which clients come
    /// back.
    ///
    /// Only the first close of a client takes effect. The reason has at most 123 bytes.
    ///
    /// # Errors
    /// [`CloseError`]; nothing happens then.
    pub fn close(&self, code: u16, reason: impl Into<Cow<'static, str>>) -> Result<(), CloseError> {
        self.client.outbox.close(CloseFrame::new(code, reason)?);
        Ok(())
    }

    /// Sends a message from the server to this client alone.
    #[cfg(feature = "webrtc")]
    pub(crate) fn push(&self, event: &str, data: &impl Serialize) -> Result<(), OutboxClosedError> {
        match RoomMessage::new(event, data) {
            Ok(message) => {
                self.client.outbox.push(message.to(To::Peers(vec![self.client.peer_id])).encode())
            }
            Err(error) => {
                log::error!("{event} cannot be written as JSON: {error}");
                Ok(())
            }
        }
    }
}

/// Writes arguments as a JSON list.
#[cfg(feature = "rpc")]
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
        f.debug_struct("PeerRef").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}
