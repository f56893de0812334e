//! Callboard, an actor framework for WebRTC servers: supervised rooms, peers and peer connections.
//!
//! This crate brings the others under one name. A server of one's own is a [`Room`](rooms::Room) and a
//! [`Peer`](signaling::Peer):
//!
//! ```
//! use actix_web::{App, HttpServer};
//! use callboard::prelude::*;
//! use callboard::supervision::MainError;
//!
//! struct Quiz;
//!
//! impl Room for Quiz {
//!     type Options = ();
//!
//!     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
//!         Ok(Self)
//!     }
//! }
//!
//! struct Player;
//!
//! impl Peer for Player {
//!     type Options = ();
//!
//!     async fn on_init(_: &InitContext, auth: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
//!         if auth.metadata == "open=sesame" { Ok(Self.into()) } else { Err("who are you?".into()) }
//!     }
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), MainError> {
//!     let quiz = || vec![RoomOptions::<Quiz>::new("quiz", ()).max_peers(10).into()];
//!     let rooms = Rooms::builder().open_at_start(quiz).build();
//!     let signaling = Signaling::new(PeerOptions::<Player>::new((), rooms.clone()));
//!     let app = move || App::new().configure(signaling.at(&["/{room}"]));
//! # /*
//!     let server = tune(HttpServer::new(app)).bind("127.0.0.1:8081")?;
//!     Ok(run(rooms, server).await?)
//! # */
//! #   use callboard_client::{Client, ClientOptions};
//! #   let server = tune(HttpServer::new(app).workers(1)).bind("127.0.0.1:0")?;
//! #   let address = server.addrs()[0];
//! #   let join = async |query| {
//! #       let address = format!("ws://{address}/quiz?open={query}");
//! #       Client::connect(&address, ClientOptions::new()).await
//! #   };
//! #   let clients = async {
//! #       assert!(join("barley").await.is_err());
//! #       assert!(join("sesame").await.is_ok());
//! #   };
//! #   tokio::select! {
//! #       ended = run(rooms, server) => Ok(ended?),
//! #       () = clients => Ok(()),
//! #   }
//! }
//! ```
//!
//! | feature | on by default | what it brings |
//! |---|---|---|
//! | | always | [`supervision`]: OTP's supervisors for actix actors |
//! | `signaling` | yes | [`rooms`], [`signaling`] and the [`prelude`] |
//! | `webrtc` | no | module `webrtc`: peer connections; clients' WebRTC peers on the server; modules `media_rooms`, `handshake` and `transport`. Builds str0m |
//! | `rpc` | no | `signaling::rpc`: functions that clients call, and the other way round |
//! | `jwt` | no | `signaling::jwt`: authentication by JSON Web Tokens |
//! | `admin` | no | module `admin`: the supervision tree over HTTP, fault injection, metrics, health |
//! | `cluster` | no | module `cluster`: rooms on many nodes, each on one of them at a time |
//! | `nats` | no | `cluster::Nats`: the directory of nodes on many machines. Builds async-nats |
//! | `tls` | no | connections over TLS; module `tls`: a certificate that can be replaced while the server runs. Builds rustls |

#[cfg(feature = "admin")]
pub use callboard_admin as admin;
#[cfg(feature = "cluster")]
pub use callboard_cluster as cluster;
#[cfg(feature = "webrtc")]
pub use callboard_ice_handshake::handshake;
#[cfg(feature = "webrtc")]
pub use callboard_media_rooms as media_rooms;
#[cfg(feature = "webrtc")]
pub use callboard_peer_connection as webrtc;
#[cfg(feature = "signaling")]
pub use callboard_room_supervisor as rooms;
#[cfg(feature = "signaling")]
pub use callboard_signaling as signaling;
pub use callboard_supervision as supervision;
#[cfg(feature = "webrtc")]
pub use callboard_transport as transport;
#[cfg(feature = "tls")]
pub use callboard_websocket::tls;

#[cfg(feature = "signaling")]
pub mod prelude;
