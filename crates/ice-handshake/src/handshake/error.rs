//! Error of a failed handshake.

use std::time::Duration;

use callboard_supervision::ExitReason;

/// Reason for which a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer's certificate has none of the announced fingerprints.
    #[error("the peer's certificate has the fingerprint {found}, which is none of those announced")]
    FingerprintMismatch {
        /// Fingerprint of the certificate received, by SHA-256.
        found: String,
    },
    /// No fingerprint was announced to compare the peer's certificate with.
    #[error("no usable fingerprint of the peer's certificate was announced")]
    NoFingerprint,
    /// The handshake was not complete within its time.
    #[error("the handshake did not finish within {0:?}")]
    DeadlineExceeded(Duration),
    /// The actor that ran the handshake ended before it was complete.
    #[error("the handshake's actor ended: {0}")]
    ActorEnded(ExitReason),
    /// The DTLS engine cannot go on.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// The peer closed before the handshake was complete.
    #[error("the peer closed during the handshake")]
    ClosedByPeer,
    /// An error of an application's own handshake.
    #[error("{0}")]
    Custom(String),
}

impl HandshakeError {
    /// Creates an error of an application's own handshake.
    pub fn custom(why: impl Into<String>) -> Self {
        Self::Custom(why.into())
    }
}
