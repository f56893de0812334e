//! Behaviour of peers, as an application writes it.

use std::future::Future;
use std::time::Duration;

use actix_web::HttpRequest;
#[cfg(feature = "webrtc")]
use callboard_peer_connection::{
    Configuration, DataChannelMessage, PeerConnectionState, ReceivedSample,
};
use callboard_room_supervisor::{AuthData, PeerId, Rejection, RoomHandle, RoomMessage, Snapshot};
use serde_json::{Map, Value};

use crate::peer_ref::PeerRef;
#[cfg(feature = "webrtc")]
use crate::server_peer::{ClientTrack, EndReason, ServerTrack};

/// The behaviour of the peers behind one WebSocket route; the value is one peer's state.
///
/// Only [`on_init`](Self::on_init) must be written. A peer that panics in
/// [`on_receive`](Self::on_receive) is restarted once, from [`on_init`](Self::on_init), while its connection stays open
/// and no other peer notices; after a second panic the client is closed with 1011.
pub trait Peer: Send + Unpin + Sized + 'static {
    /// Custom options that [`on_init`](Self::on_init) gets: set in [`PeerOptions`](crate::PeerOptions).
    type Options: Clone + Send + Sync + 'static;

    /// Takes credentials, metadata and the room's name from the request that opens the WebSocket. Default: the room is
    /// the route's `{room}`, the metadata is the query string as it was sent, and there are no credentials.
    ///
    /// # Errors
    /// The request is answered with 400, and the detail. The default fails on a route without `{room}`.
    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let room = request.match_info().get("room").ok_or("this address names no room")?;
        let metadata = request.query_string().into();
        Ok(JoinRequest { metadata, room: room.to_owned(), ..JoinRequest::default() })
    }

    /// Authenticates the client, and creates its peer. May take up to
    /// [`PeerOptions::init_timeout`](crate::PeerOptions::init_timeout).
    ///
    /// # Errors
    /// The request is answered with 401, and the detail.
    fn on_init(
        context: &InitContext,
        auth: &AuthData,
        options: &Self::Options,
    ) -> impl Future<Output = Result<PeerInit<Self>, Rejection>>;

    /// Handles the peer's admission to the room. The client has been sent its `authenticated`, and none of its messages
    /// has been processed. After a crash it is called again, in the new instance.
    fn on_joined(&mut self, context: &PeerContext) {
        _ = context;
    }

    /// Handles a message of the client: returns it, changed or not, to pass it on; none swallows it. Default: passes it
    /// on.
    fn on_receive(&mut self, message: RoomMessage, context: &PeerContext) -> Option<RoomMessage> {
        _ = context;
        Some(message)
    }

    /// Handles the opening or closing of a data channel of the client.
    #[cfg(feature = "webrtc")]
    fn on_channel(&mut self, event: ChannelEvent<'_>, context: &PeerContext) {
        _ = (event, context);
    }

    /// Handles a message on a data channel, or over the WebSocket in its stead (`webrtc:send`), that is not a call of a
    /// [hook](crate::rpc).
    #[cfg(feature = "webrtc")]
    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &PeerContext) {
        _ = (channel, data, context);
    }

    /// Handles the begin or end of a track that the client sends to the server. After a crash of the peer the new
    /// instance is told all tracks that there are. Not called where media is the room's
    /// ([`WebRtc::media`](crate::WebRtc::media)). Default: does nothing.
    #[cfg(feature = "webrtc")]
    fn on_track(&mut self, event: TrackEvent<'_>, context: &PeerContext) {
        _ = (event, context);
    }

    /// Handles a frame of a track that the client sends. Frames come in order; of those that the peer does not take in
    /// time the oldest are lost ([`ClientTrack::dropped`]). [`ServerTrack::forward`] sends it to another client. In RTP
    /// mode there are none: packets go to a [sink](callboard_peer_connection::messages::SetMediaSink) of
    /// [`PeerRef::connection`]. Default: does nothing.
    #[cfg(feature = "webrtc")]
    fn on_sample(&mut self, track: &ClientTrack, sample: &ReceivedSample, context: &PeerContext) {
        _ = (track, sample, context);
    }

    /// Handles that the client needs a key frame of a track that the server sends to it, because it cannot show
    /// anything before: a forwarder asks the track's source ([`ClientTrack::request_keyframe`]). Default: does nothing.
    #[cfg(feature = "webrtc")]
    fn on_keyframe_request(&mut self, track: &ServerTrack, context: &PeerContext) {
        _ = (track, context);
    }

    /// Sets the configuration of the client's peer connection to the server: ICE servers with credentials of its own, a
    /// handshake or a certificate of its own, for example. Called for each peer connection, before it is opened;
    /// `configuration` is that of [`WebRtc::configuration`](crate::WebRtc::configuration). Default: no change.
    #[cfg(feature = "webrtc")]
    fn configuration(
        &mut self,
        configuration: Configuration,
        context: &PeerContext,
    ) -> Configuration {
        _ = context;
        configuration
    }

    /// Handles a change of state of the client's peer connection to the server.
    ///
    /// [`Failed`](PeerConnectionState::Failed) and [`Closed`](PeerConnectionState::Closed) come with the reason, the
    /// other states with none. A peer connection that has failed for want of a path may become `Connected` again after
    /// an ICE restart; otherwise it is `Closed` later, for the same reason. Default: does nothing.
    ///
    /// ```
    /// use callboard_peer_connection::{CloseReason, FailureReason, PeerConnectionState};
    /// use callboard_signaling::{PeerContext, EndReason};
    ///
    /// fn on_webrtc_state(state: PeerConnectionState, reason: Option<&EndReason>, context: &PeerContext) {
    ///     match reason {
    ///         Some(EndReason::Connection(CloseReason::Failed(FailureReason::PathLost(silence)))) => {
    ///             println!("{} has been silent for {silence:?}", context.peer_id);
    ///         }
    ///         Some(reason) if !reason.is_plain() => println!("{}: {state:?}: {reason}", context.peer_id),
    ///         _ => {}
    ///     }
    /// }
    /// ```
    #[cfg(feature = "webrtc")]
    fn on_webrtc_state(
        &mut self,
        state: PeerConnectionState,
        reason: Option<&EndReason>,
        context: &PeerContext,
    ) {
        _ = (state, reason, context);
    }

    /// Returns the state, with which [another process](callboard_room_supervisor::RoomsBuilder::hand_over_file) goes on
    /// when this one is replaced; none if there is nothing to keep. No other callback follows. After a panic here the
    /// peer has no snapshot. Default: none; the peer begins with [`on_init`](Self::on_init) in the other process.
    fn snapshot(&self) -> Option<Snapshot> {
        None
    }

    /// Creates the peer from the [snapshot](Self::snapshot) of an earlier process, in place of
    /// [`on_init`](Self::on_init). Its client may come back later, or is there already, and noticed nothing:
    /// [`on_joined`](Self::on_joined) is not called. May take up to
    /// [`PeerOptions::init_timeout`](crate::PeerOptions::init_timeout). The snapshot's version is not newer than
    /// [`PeerOptions::snapshot_version`](crate::PeerOptions::snapshot_version).
    ///
    /// # Errors
    /// A reason, which is logged. As after a panic, the peer begins with `on_init` instead: the client stays unless
    /// that rejects it, and `on_joined` is called. Default: there is always one.
    fn restore(
        context: &InitContext,
        auth: &AuthData,
        options: &Self::Options,
        snapshot: Snapshot,
    ) -> impl Future<Output = Result<Self, String>> {
        _ = (context, auth, options, snapshot);
        std::future::ready(Err("it has no `restore`".to_owned()))
    }

    /// Handles the normal end of the peer. Not called when another process goes on with it.
    fn on_terminate(&mut self, context: &PeerContext) {
        _ = context;
    }
}

/// Change of a data channel.
#[cfg(feature = "webrtc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent<'a> {
    /// The channel with this label is open.
    Opened(&'a str),
    /// The channel with this label is closed.
    Closed(&'a str),
}

/// Change of a track that a client sends.
#[cfg(feature = "webrtc")]
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TrackEvent<'a> {
    /// The client sends this track from now on.
    Added(&'a ClientTrack),
    /// The client sends it no more, or has another peer connection, on which its tracks are added anew.
    Removed(&'a ClientTrack),
}

/// Content of a request to open a WebSocket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinRequest {
    /// Credentials, such as a user name and a password.
    pub credentials: Map<String, Value>,
    /// Any other data that helps to decide.
    pub metadata: Value,
    /// The room that the client wants to join.
    pub room: String,
}

/// An accepted peer.
#[derive(Clone, Debug)]
pub struct PeerInit<P> {
    /// State of the peer.
    pub peer: P,
    /// Options of its connection that differ from the route's.
    pub socket: SocketOptions,
    /// Public metadata, such as a name: the clients of the other members get it with `joined` and `authenticated`.
    pub public: Map<String, Value>,
}

impl<P> PeerInit<P> {
    /// Sets one field of the public metadata.
    pub fn public(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.public.insert(name.into(), value.into());
        self
    }

    /// Sets the options of its connection that differ from the route's.
    pub fn socket(self, socket: SocketOptions) -> Self {
        Self { socket, ..self }
    }
}

impl<P> From<P> for PeerInit<P> {
    fn from(peer: P) -> Self {
        Self { peer, socket: SocketOptions::default(), public: Map::new() }
    }
}

/// Options of one connection; none means the value in [`PeerOptions`](crate::PeerOptions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Maximum silence of the connection.
    pub idle_timeout: Option<Duration>,
    /// Largest message, in bytes.
    pub max_message: Option<usize>,
}

/// Context in which a peer is created.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InitContext {
    /// Id that the peer will have.
    pub peer_id: PeerId,
    /// The room that it wants to join. None if the room is not open: then it is opened on demand later, or it does not
    /// exist and the client must not learn that yet ([`PeerOptions::auth_first`](crate::PeerOptions::auth_first)).
    pub room: Option<RoomHandle>,
}

/// Context of a peer, passed to its callbacks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerContext {
    /// Room of the peer.
    pub room: RoomHandle,
    /// Id of the peer.
    pub peer_id: PeerId,
    /// Client of the peer; keep a clone to talk to it later.
    pub client: PeerRef,
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    struct Guest;

    impl Peer for Guest {
        type Options = ();

        async fn on_init(
            _: &InitContext,
            _: &AuthData,
            (): &(),
        ) -> Result<PeerInit<Self>, Rejection> {
            Ok(Self.into())
        }
    }

    #[test]
    fn by_default_the_room_is_the_paths_and_the_metadata_is_the_query() {
        let request =
            TestRequest::with_uri("/socket/hall?name=J%C3%BCrgen&open").param("room", "hall");
        let expected = JoinRequest {
            room: "hall".to_owned(),
            metadata: "name=J%C3%BCrgen&open".into(),
            ..JoinRequest::default()
        };
        assert_eq!(Guest::parse_request(&request.to_http_request()), Ok(expected));
    }

    #[test]
    fn by_default_an_address_without_a_room_is_refused() {
        let request = TestRequest::with_uri("/socket").to_http_request();
        assert!(Guest::parse_request(&request).is_err());
    }
}
