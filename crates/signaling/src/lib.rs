//! Signaling for WebRTC servers: clients connect by WebSocket, are authenticated, and join a room.
//!
//! An application writes a [`Peer`] (authentication, what its client may say) and a
//! [`Room`](callboard_room_supervisor::Room) (admission, what is forwarded), and mounts them into any actix-web app.
//! Every peer is a supervised actor below its room. This crate's README describes the protocol.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use actix_web::middleware::from_fn;
//! use actix_web::{App, HttpRequest, HttpServer};
//! use callboard_room_supervisor::{AuthData, PeerId, Room, RoomContext, RoomOptions, Rooms};
//! use callboard_signaling::*;
//! use serde_json::{Map, Value};
//!
//! struct Lobby;
//!
//! impl Room for Lobby {
//!     type Options = ();
//!
//!     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
//!         Ok(Self)
//!     }
//!
//!     fn on_joined(&mut self, peer: PeerId, room: &RoomContext) {
//!         _ = room.send(peer, "welcome", &format!("{} of us are here", room.len()));
//!     }
//! }
//!
//! struct Guest;
//!
//! impl Peer for Guest {
//!     type Options = &'static str;
//!
//!     fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
//!         let token = request.headers().get("authorization").ok_or("no token")?.to_str()?;
//!         let credentials = Map::from_iter([("token".to_owned(), Value::from(token))]);
//!         let room = request.match_info().query("room").to_owned();
//!         Ok(JoinRequest { credentials, room, ..JoinRequest::default() })
//!     }
//!
//!     async fn on_init(_: &InitContext, auth: &AuthData, secret: &&'static str) -> Result<PeerInit<Self>, Rejection> {
//!         if auth.credentials["token"] == *secret { Ok(Guest.into()) } else { Err("wrong token".into()) }
//!     }
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     let lobby = || vec![RoomOptions::<Lobby>::new("lobby", ()).into()];
//!     let rooms = Rooms::builder().open_at_start(lobby).build();
//!     let signaling = Signaling::new(PeerOptions::<Guest>::new("secret", rooms.clone()));
//!     // No client holds a connection with a request's body that never comes.
//!     let bodies = || from_fn(body_within(Duration::from_secs(10)));
//!     let app = move || App::new().configure(signaling.at(&["/socket/{room}"])).wrap(bodies());
//!     run(rooms, tune(HttpServer::new(app)).bind("127.0.0.1:8080")?).await
//! }
//! ```
//!
//! [`run`] starts the rooms, serves, and at SIGINT or SIGTERM tells every client "Room closed" before it returns. The
//! server must run in an actix [`System`](actix::System), as it does under `#[actix_web::main]`. With thousands of
//! mostly idle clients, [`http_service`] instead of `HttpServer` halves what each of them costs.
//!
//! Features, all on by default: `webrtc` gives clients a WebRTC peer on the server, and builds str0m; `rpc` lets
//! clients call functions of the server and the other way round; `tls` is needed by a server that has connections over
//! TLS, and builds rustls.
//!
//! # Rooms and clients from anywhere
//!
//! Callbacks of a room get a [`RoomContext`](callboard_room_supervisor::RoomContext); all other code reaches rooms and
//! their members by [`Rooms`](callboard_room_supervisor::Rooms), which is cheap to clone. [`RoomPeers`] leads from a
//! room to its clients and their data channels.
//!
//! ```
//! use actix_web::HttpResponse;
//! use actix_web::web::{Data, Path};
//! use callboard_peer_connection::DataChannelMessage;
//! use callboard_room_supervisor::{PeerId, Rooms, To};
//! use callboard_signaling::RoomPeers;
//!
//! /// Tells all members of all rooms.
//! async fn announce(rooms: Data<Rooms>, text: String) -> HttpResponse {
//!     for room in rooms.list() {
//!         _ = room.broadcast("news", &text);
//!         room.send_data("chat", To::All, DataChannelMessage::Text(text.clone()));
//!     }
//!     HttpResponse::NoContent().finish()
//! }
//!
//! /// Closes a client's connection; the code says whether it may come back.
//! async fn kick(rooms: Data<Rooms>, peer: Path<PeerId>) -> HttpResponse {
//!     let room = rooms.find_peer(*peer);
//!     match room.is_some_and(|room| room.kick(*peer, 4000, "by the operator").is_ok()) {
//!         true => HttpResponse::NoContent().finish(),
//!         false => HttpResponse::NotFound().finish(),
//!     }
//! }
//! ```

mod actor;
mod client_script;
mod client_text;
#[cfg(feature = "webrtc")]
mod control;
mod control_event;
mod counters;
mod drain;
mod error_text;
mod fields;
#[cfg(feature = "webrtc")]
mod follow;
#[cfg(all(any(test, fuzzing), feature = "webrtc"))]
pub mod fuzzing;
mod health_check;
mod json_log;
#[cfg(feature = "webrtc")]
mod json_members;
#[cfg(feature = "jwt")]
pub mod jwt;
mod kept;
mod limits;
#[cfg(feature = "webrtc")]
mod media_event;
mod moves;
mod options;
mod peer;
mod peer_ref;
mod room_peers;
mod room_quota;
mod route;
#[cfg(feature = "rpc")]
pub mod rpc;
mod run;
#[cfg(feature = "webrtc")]
pub mod server_peer;
mod session;
mod signaling;
#[cfg(feature = "webrtc")]
mod wish;

pub use callboard_room_supervisor::{CloseError, Rejection, is_room_name};
pub use callboard_websocket::{
    Guesses, Origins, Place, Rate, RouteGuard, Serve, TrustedProxies, TrustedProxiesError,
    body_within, connections_ended, http_service, on_connect, tune,
};
#[cfg(feature = "tls")]
pub use callboard_websocket::{https_service, tls};
pub use client_script::client_script;
pub use counters::{Count, Counters};
pub use drain::Drain;
pub use health_check::{HealthCheckError, check_health};
pub use json_log::json_log_line;
pub use limits::Limits;
pub use moves::{Move, MoveError};
pub use options::PeerOptions;
#[cfg(feature = "webrtc")]
pub use peer::{ChannelEvent, TrackEvent};
pub use peer::{InitContext, JoinRequest, Peer, PeerContext, PeerInit, SocketOptions};
#[cfg(feature = "rpc")]
pub use peer_ref::CallClientError;
pub use peer_ref::PeerRef;
pub use room_peers::RoomPeers;
#[cfg(feature = "rpc")]
pub use rpc::Hooks;
pub use run::{Run, run};
#[cfg(feature = "webrtc")]
pub use server_peer::{
    AddServerTrackError, ClientTrack, DescriptionBudget, EndReason, ServerTrack, WebRtc,
    WebRtcLimits, WriteTrackError,
};
pub use signaling::Signaling;

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
