//! Data that handshakes return: for the peer before they begin, and as results when they are complete.

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, digest};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use time::{Duration, OffsetDateTime};

use super::super::Label;
use super::dtls::{DtlsCounters, SrtpProfile, Version};

/// Number of an ICE component (RFC 8445 §3), from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId(pub u16);

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Component for which a handshake is created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentInfo {
    /// Number of the component.
    pub id: ComponentId,
    /// Whether this side is the controlling ICE agent (RFC 8445 §6.1.1): usually the offerer.
    pub controlling: bool,
    /// Negotiated DTLS role of this side (`a=setup`, RFC 8842); `None` where nothing negotiates it.
    pub role: Option<Role>,
    /// Prefix of log lines about its handshake. Default: none.
    pub label: Label,
}

impl ComponentInfo {
    /// Creates a component with this number, on the controlling side or not.
    pub fn new(id: ComponentId, controlling: bool) -> Self {
        Self { id, controlling, role: None, label: Label::default() }
    }

    /// Sets the negotiated role.
    pub fn with_role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets the name in the log.
    pub fn with_label(mut self, label: Label) -> Self {
        self.label = label;
        self
    }
}

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

/// Side of a DTLS handshake (RFC 8842 §5.2: `active` and `passive`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Side that sends the ClientHello: `active`.
    Client,
    /// Side that waits for the ClientHello: `passive`.
    Server,
}

/// Keying material for SRTP (RFC 5764 §4.2): each part is a master key followed by a master salt.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrtpKeys {
    /// Negotiated protection profile.
    pub profile: SrtpProfile,
    /// Keying material for what this side sends.
    pub local: Vec<u8>,
    /// Keying material for what the peer sends.
    pub remote: Vec<u8>,
    /// Whole output of the exporter: client key, server key, client salt, server salt.
    pub exported: Vec<u8>,
}

impl SrtpKeys {
    /// Splits the output of the exporter.
    pub(super) fn new(profile: SrtpProfile, role: Role, exported: &[u8]) -> Self {
        let (key, salt) = profile.lengths();
        let part = |at: usize, length: usize| exported.get(at..at + length).unwrap_or_default();
        let client = [part(0, key), part(2 * key, salt)].concat();
        let server = [part(key, key), part(2 * key + salt, salt)].concat();
        let (local, remote) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        Self { profile, local, remote, exported: exported.to_vec() }
    }
}

/// Fingerprint of a certificate, as in `a=fingerprint` (RFC 8122 §5).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// Reason for which a text is no fingerprint, or none that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// The text is not `hash-func SP hex *(":" hex)`.
    #[error("not of the form `sha-256 12:AB:…`")]
    Malformed,
    /// The hash function is unknown.
    #[error("unknown hash function")]
    UnknownAlgorithm,
    /// The digest has another number of bytes than the hash function gives.
    #[error("{found} bytes where the hash function gives {wanted}")]
    WrongLength {
        /// Bytes that the hash function gives.
        wanted: usize,
        /// Bytes found.
        found: usize,
    },
}

impl Fingerprint {
    /// Returns the fingerprint of a certificate (DER) by SHA-256.
    pub fn of(certificate: &[u8]) -> Self {
        Self { algorithm: Algorithm::Sha256, bytes: Algorithm::Sha256.digest(certificate) }
    }

    /// Returns whether this certificate (DER) has this fingerprint.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        verify_slices_are_equal(&self.algorithm.digest(certificate), &self.bytes).is_ok()
    }

    /// Returns whether it was made by SHA-1, which is accepted by option only.
    pub fn is_sha1(&self) -> bool {
        self.algorithm == Algorithm::Sha1
    }

    /// Returns the name of the hash function in the registry of RFC 8122: `sha-256`.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// Returns the digest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let (name, digits) = text.trim().split_once(' ').ok_or(FingerprintError::Malformed)?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or(FingerprintError::UnknownAlgorithm)?;
        let byte = |pair: &str| match pair.len() {
            2 if pair.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u8::from_str_radix(pair, 16).ok()
            }
            _ => None,
        };
        let bytes: Vec<u8> = digits
            .trim()
            .split(':')
            .map(byte)
            .collect::<Option<_>>()
            .ok_or(FingerprintError::Malformed)?;
        let wanted = algorithm.digest_algorithm().output_len();
        if bytes.len() != wanted {
            return Err(FingerprintError::WrongLength { wanted, found: bytes.len() });
        }
        Ok(Self { algorithm, bytes })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())?;
        for (at, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    fn digest_algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        digest(self.digest_algorithm(), data).as_ref().to_vec()
    }
}

/// Certificate with its private key.
#[derive(Clone)]
pub struct Certificate {
    parts: Arc<Parts>,
}

struct Parts {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
}

/// Error of creating a certificate.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

impl Certificate {
    /// Generates a key (ECDSA, P-256) and a certificate that it signs itself, valid from yesterday for a year.
    ///
    /// Issuer and serial number are random: Firefox refuses a second certificate of the same pair.
    ///
    /// # Errors
    /// [`CertificateError`] if the system has no random numbers to give.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::new())?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, random_name());
        params.distinguished_name = name;
        params.is_ca = IsCa::NoCa;
        params.serial_number = Some(random_bytes::<16>().to_vec().into());
        // A peer with a clock behind ours must not find it not yet valid.
        params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
        params.not_after = params.not_before + Duration::days(365);
        let certificate = params.self_signed(&key)?;
        Ok(Self::from_der(certificate.der().to_vec(), key.serialize_der()))
    }

    /// Creates one from a certificate and its private key (PKCS #8 or SEC 1), both DER. ECDSA on P-256 or P-384; RSA is
    /// not supported.
    pub fn from_der(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
        Self { parts: Arc::new(Parts { certificate, private_key }) }
    }

    /// Returns its fingerprint by SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.parts.certificate)
    }

    /// Returns the certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.parts.certificate
    }

    /// Returns it in the form that str0m and dimpl take.
    pub fn to_dtls_cert(&self) -> dimpl::DtlsCertificate {
        dimpl::DtlsCertificate {
            certificate: self.parts.certificate.clone(),
            private_key: self.parts.private_key.clone(),
        }
    }
}

fn random_name() -> String {
    random_bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.fingerprint()).finish()
    }
}

impl fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_compared_without_regard_to_case() {
        let certificate = Certificate::generate().unwrap();
        let text = certificate.fingerprint().to_string();
        let lower: Fingerprint = text.to_lowercase().parse().unwrap();
        let upper: Fingerprint = text.to_uppercase().parse().unwrap();

        assert!(
            lower.matches(certificate.certificate()) && upper.matches(certificate.certificate())
        );
        assert_eq!(lower, upper);
        assert_eq!(upper.to_string(), text);
    }

    #[test]
    fn one_changed_digit_does_not_match() {
        let certificate = Certificate::generate().unwrap();
        let text = certificate.fingerprint().to_string();
        let last = if text.ends_with('0') { "1" } else { "0" };
        let changed: Fingerprint = format!("{}{last}", &text[..text.len() - 1]).parse().unwrap();

        assert!(!changed.matches(certificate.certificate()));
    }

    #[test]
    fn what_is_no_fingerprint_is_refused_with_the_reason() {
        use FingerprintError::*;
        for (text, error) in [
            ("", Malformed),
            ("sha-256", Malformed),
            ("sha-256 zz", Malformed),
            ("sha-256 +1:02", Malformed),
            ("md5 00:11", UnknownAlgorithm),
            ("sha-1 00:11", WrongLength { wanted: 20, found: 2 }),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn no_two_certificates_share_issuer_or_serial_number() {
        let (one, two) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_ne!(random_name(), random_name());
    }

    #[test]
    fn keying_material_is_split_in_the_order_of_rfc_5764() {
        let exported: Vec<u8> = (0..56).collect();
        let client = SrtpKeys::new(SrtpProfile::Aes128Gcm, Role::Client, &exported);
        let server = SrtpKeys::new(SrtpProfile::Aes128Gcm, Role::Server, &exported);

        assert_eq!(client.local, [&exported[0..16], &exported[32..44]].concat());
        assert_eq!(client.remote, [&exported[16..32], &exported[44..56]].concat());
        assert_eq!((client.local, client.remote), (server.remote, server.local));
    }
}
