//! The transport under a peer connection: sockets, candidates, and handshakes that run as swappable supervised actors.

pub mod endpoint;
pub mod gather;
pub mod handshake;
pub mod mux;
