//! Result of a DTLS handshake.

use std::fmt;

use super::{Fingerprint, Role, SrtpKeys};

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

/// Version of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6347 and RFC 9147")]
pub enum Version {
    /// DTLS 1.2 (RFC 6347).
    Dtls12,
    /// DTLS 1.3 (RFC 9147).
    Dtls13,
}

/// Counters of datagrams and messages that were kept away from a handshake, or did not help it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DtlsCounters {
    /// Datagrams with a record that the peer's role cannot send.
    pub wrong_role: u64,
    /// Alerts and acknowledgements that any sender could have sent.
    pub plain_alerts: u64,
    /// Hellos of another random than the first, and ServerHellos likewise.
    pub rival_hellos: u64,
    /// Hellos with a wrong cookie, and hellos that no engine answers.
    pub hellos_refused: u64,
    /// Datagrams that an engine refused.
    pub refused: u64,
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
