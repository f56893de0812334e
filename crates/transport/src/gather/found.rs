//! What a gatherer is told to look for, and what it says.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use is::Candidate;

#[cfg(doc)]
use super::Gatherer;
use super::{IceServer, IceUrl};
use crate::Label;

/// Which candidates are wanted (W3C `RTCIceTransportPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IceTransportPolicy {
    /// All.
    #[default]
    All,
    /// Only those of relays: the peer does not learn our addresses.
    Relay,
}

/// What to gather.
#[derive(Clone, Debug)]
pub struct GathererOptions {
    /// Host candidates: the [advertised addresses](crate::mux::MuxHandle::host_addresses) of the mux.
    pub hosts: Vec<SocketAddr>,
    /// STUN and TURN servers. Default: none.
    pub servers: Vec<IceServer>,
    /// Default: all.
    pub policy: IceTransportPolicy,
    /// How long to wait for a STUN server. Default: 5 s.
    pub stun_timeout: Duration,
    /// How long to wait for a TURN server. Default: 10 s.
    pub turn_timeout: Duration,
    /// What lines of the log begin with. Default: nothing.
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

/// A candidate of this side.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalCandidate {
    /// It.
    pub candidate: Candidate,
    /// The server that it comes from; none for a host candidate.
    pub url: Option<IceUrl>,
}

impl LocalCandidate {
    /// A candidate, and the server that it comes from.
    pub fn new(candidate: Candidate, url: Option<IceUrl>) -> Self {
        Self { candidate, url }
    }
}

/// A server that did not give a candidate (W3C `RTCPeerConnectionIceErrorEvent`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateError {
    /// The server.
    pub url: IceUrl,
    /// From where it was asked, if it was.
    pub address: Option<SocketAddr>,
    /// The STUN error code (300–699), or 701: not reached.
    pub code: u16,
    /// The server's reason, or ours.
    pub text: String,
}

/// A relay's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId(pub u32);

/// What leads to a relay's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayTransport {
    /// A UDP socket of its own.
    Udp,
    /// A TCP connection.
    Tcp,
    /// A TLS connection; the server's certificate must be for this name.
    Tls(String),
}

/// What a [`Gatherer`] wants done.
#[derive(Debug)]
pub enum Output {
    /// Look this name up, and [tell](Gatherer::handle_resolved).
    Resolve {
        /// To tell with.
        server: usize,
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// Somebody may know already what this server says of this address: [tell](Gatherer::handle_mapped), or have it
    /// [asked](Gatherer::ask).
    LookUp {
        /// Our address.
        host: SocketAddr,
        /// The STUN server.
        server: SocketAddr,
    },
    /// A STUN server has answered, or not: for those who wait for the same.
    Mapped {
        /// Our address.
        host: SocketAddr,
        /// The STUN server.
        server: SocketAddr,
        /// Our address as it sees it.
        mapped: Option<SocketAddr>,
    },
    /// Send this from our address `source`, through the mux.
    Transmit {
        /// Our address.
        source: SocketAddr,
        /// A STUN server.
        destination: SocketAddr,
        /// A request.
        contents: Bytes,
    },
    /// Open a way to a TURN server, and tell when it is [open](Gatherer::handle_open) or [lost](Gatherer::handle_lost).
    Open {
        /// Which.
        relay: RelayId,
        /// How.
        transport: RelayTransport,
        /// Where.
        server: SocketAddr,
    },
    /// Send this to a relay's server.
    TransmitToRelay {
        /// Which.
        relay: RelayId,
        /// A datagram, or a piece of the stream.
        contents: Bytes,
    },
    /// Close the way to a TURN server, once what was said before is sent.
    Close {
        /// Which.
        relay: RelayId,
    },
    /// A datagram from a peer, through a relay.
    Received {
        /// The peer.
        source: SocketAddr,
        /// Our relayed address.
        destination: SocketAddr,
        /// What it sent.
        contents: Bytes,
    },
    /// A candidate was found.
    Candidate(LocalCandidate),
    /// A server gave none.
    CandidateError(CandidateError),
    /// A candidate's relay is gone.
    CandidateLost(Candidate),
    /// That was all.
    Done,
}
