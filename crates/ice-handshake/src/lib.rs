//! Handshakes of peer connections as swappable supervised actors, and stand-alone ICE endpoints.
//!
//! This crate knows nothing of SDP, rooms or HTTP, and builds on the sockets and candidates of [`callboard_transport`].
//! Its modules, from the top:
//!
//! * [`endpoint`]: a stand-alone ICE endpoint, for applications without SDP. Start here.
//! * [`handshake`]: turns a connected pair of addresses into a secured session: [`Dtls`](handshake::Dtls),
//!   [`Psk`](handshake::Psk), [`Plain`](handshake::Plain), or an application's own; each run by a
//!   [`HandshakeActor`](handshake::HandshakeActor). Also inside an `Rtc` of str0m, over a
//!   [`DtlsBridge`](handshake::DtlsBridge).
//!
//! A [`HandshakeSlot`](handshake::HandshakeSlot) is what an actor needs for its component's handshake; a
//! [`Wrap`](handshake::Wrap) changes another handshake.
//!
//! # A handshake of your own
//!
//! Both sides send a password; the session that follows carries payloads as they are.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use bytes::Bytes;
//! use callboard_ice_handshake::endpoint::EndpointOptions;
//! use callboard_ice_handshake::handshake::*;
//!
//! struct Password(&'static [u8]);
//!
//! impl Handshake for Password {
//!     fn connection_ready(&mut self, _: Instant) -> Step {
//!         Step::Packets(vec![Bytes::from_static(self.0)])
//!     }
//!
//!     fn recv_from_peer(&mut self, _: Instant, datagram: &[u8]) -> Step {
//!         if datagram == self.0 {
//!             Step::FinishedWithPackets(HandshakeData::None, vec![Bytes::from_static(self.0)])
//!         } else {
//!             Step::Failed(HandshakeError::custom("wrong password"))
//!         }
//!     }
//!
//!     fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
//!         datagram.starts_with(b"password:")
//!     }
//! }
//!
//! // The line that swaps it in: this, or `Arc::new(Dtls::generate()?)`, or `Arc::new(Plain)`, …
//! let options = EndpointOptions::new(Arc::new(|_: &ComponentInfo| Password(b"password:sesame")));
//! # let mut handshake = options.handshake.new_handshake(&ComponentInfo::new(ComponentId(1), true));
//! # assert!(matches!(handshake.recv_from_peer(Instant::now(), b"password:sesame"), Step::FinishedWithPackets(..)));
//! ```

pub mod endpoint;
pub mod handshake;

pub use callboard_transport::Label;
