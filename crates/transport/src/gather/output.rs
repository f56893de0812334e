//! Outputs of a gatherer: what it asks of its driver, and what it has found.

use std::net::SocketAddr;

use bytes::Bytes;
use is::Candidate;

use super::IceUrl;
use crate::mux::Transmit;

/// Candidate of this side.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalCandidate {
    /// The candidate.
    pub candidate: Candidate,
    /// Server from which it comes; `None` for a host candidate.
    pub url: Option<IceUrl>,
}

impl LocalCandidate {
    /// Combines a candidate with the server from which it comes.
    pub fn new(candidate: Candidate, url: Option<IceUrl>) -> Self {
        Self { candidate, url }
    }
}

/// Failure of a server to give a candidate (W3C `RTCPeerConnectionIceErrorEvent`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateError {
    /// URL of the server.
    pub url: IceUrl,
    /// Local address from which the server was asked, if it was.
    pub address: Option<SocketAddr>,
    /// STUN error code (300–699), or 701 if the server was not reached.
    pub code: u16,
    /// Reason given by the server, or by this side.
    pub text: String,
}

/// Number of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId(pub u32);

/// Transport protocol between this side and a relay's server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayTransport {
    /// UDP socket of its own.
    Udp,
    /// TCP connection.
    Tcp,
    /// TLS connection; the server's certificate must be valid for this name.
    Tls(String),
}

/// Action that a [`Gatherer`](super::Gatherer) requests of its driver.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "who drives a gatherer must carry out each")]
pub enum GathererOutput {
    /// Look this name up, and pass the result to [`handle_resolved`](super::Gatherer::handle_resolved).
    Resolve {
        /// Number of the server, to pass with the result.
        server: usize,
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Look for another connection's answer of this server about this address: pass it to
    /// [`handle_mapped`](super::Gatherer::handle_mapped), or call [`ask`](super::Gatherer::ask).
    LookUp {
        /// Our address.
        host: SocketAddr,
        /// Address of the STUN server.
        server: SocketAddr,
    },
    /// A STUN server has answered, or not: for other connections that wait for the same answer.
    Mapped {
        /// Our address.
        host: SocketAddr,
        /// Address of the STUN server.
        server: SocketAddr,
        /// Our address as the server sees it; `None` without an answer.
        mapped: Option<SocketAddr>,
    },
    /// Send this STUN request to its server, through the mux.
    Transmit(Transmit<Bytes>),
    /// Open a connection to a TURN server, and report when it is [open](super::Gatherer::handle_open) or
    /// [lost](super::Gatherer::handle_lost).
    Open {
        /// Number of the relay.
        relay: RelayId,
        /// Transport protocol to use.
        transport: RelayTransport,
        /// Address of the server.
        server: SocketAddr,
    },
    /// Send this to a relay's server.
    TransmitToRelay {
        /// Number of the relay.
        relay: RelayId,
        /// Datagram, or a piece of the stream.
        contents: Bytes,
    },
    /// Close the connection to a TURN server, once everything given to it before is sent.
    Close {
        /// Number of the relay.
        relay: RelayId,
    },
    /// A datagram came from a peer, through a relay.
    Received {
        /// Address of the peer.
        source: SocketAddr,
        /// Our relayed address.
        destination: SocketAddr,
        /// Payload.
        contents: Bytes,
    },
    /// A candidate was found.
    Candidate(LocalCandidate),
    /// A server gave no candidate.
    CandidateError(CandidateError),
    /// The relay of a candidate is lost.
    CandidateLost(Candidate),
    /// Gathering is complete.
    Done,
}
