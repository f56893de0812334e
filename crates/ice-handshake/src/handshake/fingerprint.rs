//! Fingerprints of certificates (RFC 8122 §5).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, digest};

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

#[cfg(test)]
mod tests {
    use super::super::Certificate;
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
}
