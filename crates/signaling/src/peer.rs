//! What a peer does: the behaviour that an application writes.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use actix_web::HttpRequest;
use callboard_peer_connection::{DataChannelMessage, PeerConnectionState};
use callboard_room_supervisor::{AuthData, Message, PeerId, RoomHandle};
use serde_json::{Map, Value};

use crate::client::PeerRef;
use crate::server_peer::EndReason;

/// The behaviour of the peers behind one WebSocket route; the value is one peer's state.
///
/// Only [`parse_request`](Self::parse_request) and [`on_init`](Self::on_init) must be written. A peer that panics in
/// [`on_receive`](Self::on_receive) is restarted once, from [`on_init`](Self::on_init), while its connection stays and
/// nobody else notices; then it is given up and its client closed with 1011.
pub trait Peer: Send + Unpin + Sized + 'static {
    /// What [`on_init`](Self::on_init) gets: set in [`PeerOptions`](crate::PeerOptions).
    type Options: Clone + Send + Sync + 'static;

    /// Take credentials, metadata and the room's name from the request that opens the WebSocket.
    ///
    /// # Errors
    /// The request is answered with 400, and the detail.
    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, BadRequest>;

    /// Decide who the client is, and make its peer. May take its time, up to
    /// [`PeerOptions::init_timeout`](crate::PeerOptions::init_timeout).
    ///
    /// # Errors
    /// The request is answered with 401, and the detail.
    fn on_init(
        context: &InitContext,
        auth: &AuthData,
        options: &Self::Options,
    ) -> impl Future<Output = Result<Init<Self>, Refused>>;

    /// The room has let the peer in, and the client has been sent its `authenticated`; no message of the client's has been
    /// looked at yet. Called again after a crash, in the life that takes the place of the one before.
    fn on_joined(&mut self, context: &Context) {
        _ = context;
    }

    /// The client has sent a message: change it, or swallow it by returning none. Default: pass it on.
    fn on_receive(&mut self, message: Message, context: &Context) -> Option<Message> {
        _ = context;
        Some(message)
    }

    /// A data channel of the client's has opened or closed.
    fn on_channel(&mut self, event: ChannelEvent<'_>, context: &Context) {
        _ = (event, context);
    }

    /// A message has come on a data channel, or over the WebSocket in its stead (`webrtc:send`), that is no call of a
    /// [hook](crate::rpc).
    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &Context) {
        _ = (channel, data, context);
    }

    /// Hears the state of the client's WebRTC connection to the server, whenever it changes.
    ///
    /// With [`Failed`](PeerConnectionState::Failed) and [`Closed`](PeerConnectionState::Closed) comes the reason, with
    /// the others none. A connection that has failed for want of a path may be `Connected` again, after an ICE restart;
    /// otherwise it is `Closed` in time, for the same reason. Default: does nothing.
    ///
    /// ```
    /// use callboard_peer_connection::{CloseReason, FailureReason, PeerConnectionState};
    /// use callboard_signaling::{Context, EndReason};
    ///
    /// fn on_webrtc_state(state: PeerConnectionState, reason: Option<&EndReason>, context: &Context) {
    ///     match reason {
    ///         Some(EndReason::Connection(CloseReason::Failed(FailureReason::PathLost(silence)))) => {
    ///             println!("{} has been silent for {silence:?}", context.peer_id);
    ///         }
    ///         Some(reason) if !reason.is_plain() => println!("{}: {state:?}: {reason}", context.peer_id),
    ///         _ => {}
    ///     }
    /// }
    /// ```
    fn on_webrtc_state(
        &mut self,
        state: PeerConnectionState,
        reason: Option<&EndReason>,
        context: &Context,
    ) {
        _ = (state, reason, context);
    }

    /// The peer ends in good order.
    fn on_terminate(&mut self, context: &Context) {
        _ = context;
    }
}

/// What can happen to a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEvent<'a> {
    /// The channel of this label is open.
    Opened(&'a str),
    /// The channel of this label is closed.
    Closed(&'a str),
}

/// What a request to open a WebSocket says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinRequest {
    /// Such as a user name and a password.
    pub credentials: Map<String, Value>,
    /// Anything else that helps to decide.
    pub metadata: Value,
    /// The room that the client wants to join.
    pub room: String,
}

/// Why a request cannot be understood; for the client to read, so nothing internal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest(pub String);

impl<T: fmt::Display> From<T> for BadRequest {
    fn from(detail: T) -> Self {
        Self(detail.to_string())
    }
}

/// Why a client is not who it should be; for the client to read, so nothing internal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl<T: fmt::Display> From<T> for Refused {
    fn from(detail: T) -> Self {
        Self(detail.to_string())
    }
}

/// A peer that was accepted.
#[derive(Clone, Debug)]
pub struct Init<P> {
    /// Its state.
    pub peer: P,
    /// What is different for its connection.
    pub socket: SocketOptions,
}

impl<P> From<P> for Init<P> {
    fn from(peer: P) -> Self {
        Self { peer, socket: SocketOptions::default() }
    }
}

/// What may differ from one connection to another; none is what [`PeerOptions`](crate::PeerOptions) says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// How long a connection may be silent.
    pub idle_timeout: Option<Duration>,
    /// The largest message, in bytes.
    pub max_message: Option<usize>,
}

/// What is known when a peer is made.
#[derive(Clone, Debug)]
pub struct InitContext {
    /// The peer to be.
    pub peer_id: PeerId,
    /// The room it wants to join. None if it is not open: it is to be opened on demand, or there is none and the client
    /// is not to learn that yet ([`PeerOptions::auth_first`](crate::PeerOptions::auth_first)).
    pub room: Option<RoomHandle>,
}

/// Where a peer is: handed to its callbacks.
#[derive(Clone, Debug)]
pub struct Context {
    /// Its room.
    pub room: RoomHandle,
    /// Itself.
    pub peer_id: PeerId,
    /// Its client; to be kept by whoever wants to talk to it later.
    pub client: PeerRef,
}
