//! Gathering: finds the candidates of this side, and keeps the relays behind some of them.
//!
//! A [`Gatherer`] finds candidates; it is sans-IO, one for each component. A [`Transport`] is the driver around it:
//! everything that a component sends and receives goes through it, by the [mux](crate::mux) or by a TURN server.

mod credentials;
mod driver;
mod frames;
mod gatherer;
mod options;
mod output;
mod relay;
mod remote;
mod server;
mod stream;
mod stun;

pub use credentials::{TurnCredentials, ephemeral_turn_credentials};
pub use driver::{Transport, TransportEvent, TransportEvents, TransportOptions};
pub use gatherer::Gatherer;
pub use options::{GathererOptions, IceTransportPolicy};
pub use output::{CandidateError, GathererOutput, LocalCandidate, RelayId, RelayTransport};
pub use remote::{CheckRemoteError, check_remote};
pub use server::{IceServer, IceServerError, IceUrl, Scheme, ServerTransport};
