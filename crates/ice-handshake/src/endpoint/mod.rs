//! A stand-alone ICE endpoint, for applications without SDP.
//!
//! An [`IceEndpoint`] consists of `n` ICE components (RFC 8445), each with its sockets, its candidates and its
//! handshake, as actors under one supervisor. The application carries the endpoint's events to the peer by any means,
//! and passes those of the peer's endpoint to its own as messages; then payloads go both ways.
//!
//! ```
//! use std::sync::Arc;
//!
//! use actix::prelude::*;
//! use callboard_ice_handshake::endpoint::*;
//! use callboard_ice_handshake::handshake::Plain;
//! use callboard_transport::mux::InterfaceFilter;
//! # use tokio::sync::mpsc;
//!
//! /// Passes on an endpoint's events.
//! struct Owner(mpsc::UnboundedSender<EndpointEvent>);
//! # impl Actor for Owner { type Context = Context<Self>; }
//!
//! impl Handler<EndpointEvent> for Owner {
//!     type Result = ();
//!     fn handle(&mut self, event: EndpointEvent, _: &mut Context<Self>) {
//!         _ = self.0.send(event);
//!     }
//! }
//!
//! # #[actix::main]
//! # async fn main() {
//! let mut options = EndpointOptions::new(Arc::new(Plain));
//! options.sockets.interfaces = InterfaceFilter::with_loopback();
//! let (sender, mut events) = mpsc::unbounded_channel();
//! let owner = Owner(sender).start();
//! let endpoint = IceEndpoint::start(options, owner.recipient()).await.unwrap();
//!
//! endpoint.send(GatherCandidates).await.unwrap();
//! while let Some(event) = events.recv().await {
//!     match event {
//!         EndpointEvent::LocalCredentials(credentials) => println!("to the peer: {}", credentials.ufrag),
//!         EndpointEvent::NewCandidate { candidate, .. } => println!("to the peer: {candidate}"),
//!         EndpointEvent::CandidateGatheringDone => break,
//!         _ => {}
//!     }
//! }
//! endpoint.stop().await;
//! # }
//! ```

mod actor;
mod component;
mod component_actor;
mod handle;
mod messages;
mod options;
mod sdp;

pub use actor::Endpoint;
pub use handle::{IceEndpoint, StartEndpointError};
pub use messages::*;
pub use options::EndpointOptions;
