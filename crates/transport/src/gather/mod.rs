//! Gathering: finds the candidates of this side, and keeps the relays behind some of them.
//!
//! A [`Gatherer`] finds candidates; it is sans-IO, one for each component. A [`Transport`] is the driver around it:
//! everything that a component sends and receives goes through it, by the [mux](crate::mux) or by a TURN server.

mod credentials;
mod gatherer;
mod ice_server;
mod options;
mod output;
mod relay;
mod remote_address;
mod server_connection;
mod stun;
mod transport;
mod turn_framing;

pub use credentials::{TurnCredentials, ephemeral_turn_credentials};
pub use gatherer::Gatherer;
pub use ice_server::{IceServer, IceServerError, IceUrl, Scheme, ServerTransport};
pub use options::{GathererOptions, IceTransportPolicy};
pub use output::{CandidateError, GathererOutput, LocalCandidate, RelayId, RelayTransport};
pub use remote_address::{CheckRemoteError, check_remote};
pub use transport::{Transport, TransportEvent, TransportEvents, TransportOptions};
