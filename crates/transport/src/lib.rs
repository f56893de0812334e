//! Sockets and ICE candidates of WebRTC servers.
//!
//! This crate knows nothing of handshakes, SDP, rooms or HTTP.
//!
//! * [`gather`]: host, server-reflexive and relay candidates; [`Transport`](gather::Transport), through which one
//!   component sends and receives.
//! * [`mux`]: one UDP port for all connections of a thread.
//!
//! Log lines about a connection begin with its [`Label`].

pub mod gather;
mod label;
pub mod mux;

pub use label::Label;
