//! What a handshake passes to its application: the init data for the peer, and the result.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::dtls::{DtlsCounters, Version};
use super::{Fingerprint, Role, SrtpKeys};

/// Init data: what a handshake returns at its start, for the application to carry to the peer.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum InitData {
    /// No init data.
    #[default]
    None,
    /// Fingerprints of the certificate that will be shown; of a peer's, any may match.
    Fingerprints(Vec<Fingerprint>),
    /// Init data of an application's own handshake.
    Custom(Arc<dyn Any + Send + Sync>),
}

/// Result of a complete handshake.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum HandshakeData {
    /// No result.
    #[default]
    None,
    /// Result of a DTLS handshake.
    Dtls(Box<DtlsData>),
    /// Result of an application's own handshake.
    Custom(Arc<dyn Any + Send + Sync>),
}

/// Result of a DTLS handshake.
#[derive(Clone)]
#[non_exhaustive]
pub struct DtlsData {
    /// Negotiated version.
    pub version: Version,
    /// Role of this side.
    pub role: Role,
    /// Keys for SRTP (RFC 5764); `None` if the peer does not support it.
    pub srtp: Option<SrtpKeys>,
    /// Certificate of the peer, DER; `None` with a pre-shared key.
    pub peer_certificate: Option<Vec<u8>>,
    /// Fingerprint of the peer's certificate by SHA-256.
    pub peer_fingerprint: Option<Fingerprint>,
    /// Counts of what was kept away from the handshake.
    pub counters: DtlsCounters,
}

impl fmt::Debug for DtlsData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsData")
            .field("version", &self.version)
            .field("role", &self.role)
            .field("srtp", &self.srtp)
            .field("peer_fingerprint", &self.peer_fingerprint)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for InitData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Fingerprints(fingerprints) => fingerprints.fmt(f),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

impl fmt::Debug for HandshakeData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Dtls(data) => data.fmt(f),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}
