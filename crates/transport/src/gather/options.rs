//! Options of a gatherer.

use std::net::SocketAddr;
use std::time::Duration;

use super::IceServer;
use crate::Label;

/// Kinds of candidates to gather (W3C `RTCIceTransportPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "W3C's")]
pub enum IceTransportPolicy {
    /// All kinds.
    #[default]
    All,
    /// Only relay candidates: the peer does not learn our addresses.
    Relay,
}

/// Options of a [`Gatherer`](super::Gatherer).
#[derive(Clone, Debug)]
pub struct GathererOptions {
    /// Addresses of host candidates: the [advertised addresses](crate::mux::MuxHandle::host_addresses) of the mux.
    pub hosts: Vec<SocketAddr>,
    /// STUN and TURN servers. Default: none.
    pub servers: Vec<IceServer>,
    /// Kinds of candidates to gather. Default: all.
    pub policy: IceTransportPolicy,
    /// Longest wait for a STUN server. Default: 5 s.
    pub stun_timeout: Duration,
    /// Longest wait for a TURN server. Default: 10 s.
    pub turn_timeout: Duration,
    /// Prefix of log lines. Default: none.
    pub label: Label,
}

impl Default for GathererOptions {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            servers: Vec::new(),
            policy: IceTransportPolicy::All,
            stun_timeout: Duration::from_secs(5),
            turn_timeout: Duration::from_secs(10),
            label: Label::default(),
        }
    }
}
