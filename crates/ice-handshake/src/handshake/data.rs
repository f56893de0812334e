//! What a handshake passes to its application: the init data for the peer, and the result.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::{DtlsData, Fingerprint};

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
