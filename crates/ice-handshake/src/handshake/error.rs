//! Why a handshake failed.

use std::time::Duration;

use callboard_supervision::ExitReason;

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer's certificate is none of those that were announced for it.
    #[error("the peer's certificate has the fingerprint {found}, which is none of those announced")]
    FingerprintMismatch {
        /// The fingerprint of the certificate that came, by SHA-256.
        found: String,
    },
    /// No fingerprint was announced to compare the peer's certificate with.
    #[error("no usable fingerprint of the peer's certificate was announced")]
    NoFingerprint,
    /// It was not complete within its time.
    #[error("the handshake did not finish within {0:?}")]
    DeadlineExceeded(Duration),
    /// The actor that ran it ended before it was complete.
    #[error("the handshake's actor ended: {0}")]
    ActorEnded(ExitReason),
    /// The DTLS engine cannot go on.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// The peer closed before it was complete.
    #[error("the peer closed during the handshake")]
    ClosedByPeer,
    /// What a handshake of the application's own says.
    #[error("{0}")]
    Custom(String),
}

impl HandshakeError {
    /// An error of the application's own.
    pub fn custom(why: impl Into<String>) -> Self {
        Self::Custom(why.into())
    }
}
