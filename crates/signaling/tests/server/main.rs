//! The routes of signaling, with real clients: in one program, since each takes ten seconds to build. Tests that
//! measure their process, or change it, are programs of their own beside it.

#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod admin;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod admin_routes;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod client_texts;
#[cfg(feature = "rpc")]
mod closing;
mod closing_handshake;
#[path = "../common/mod.rs"]
mod common;
mod connecting;
mod failing;
mod forbidden;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod inside;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod media;
mod messages;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
#[path = "../../../peer-connection/tests/peers/mod.rs"]
mod peers;
#[cfg(feature = "webrtc")]
mod resume;
#[cfg(feature = "rpc")]
mod resume_ends;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod rooms;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod rpc;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod server_offers;
#[cfg(feature = "webrtc")]
mod server_peer;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod server_peer_again;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod server_peer_offers;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod server_peer_states;
mod service;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod sizes;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod tracks;
#[cfg(all(feature = "rpc", feature = "webrtc"))]
mod wishes;
