//! Certificates with their private keys.

use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use time::{Duration, OffsetDateTime};

use super::Fingerprint;

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
pub struct CertificateError(#[source] rcgen::Error);

impl Certificate {
    /// Generates a key (ECDSA, P-256) and a certificate that it signs itself, valid from yesterday for a year.
    ///
    /// Issuer and serial number are random: Firefox refuses a second certificate of the same pair.
    ///
    /// # Errors
    /// [`CertificateError`] if the system has no random numbers to give.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CertificateError)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(CertificateError)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, random_name());
        params.distinguished_name = name;
        params.is_ca = IsCa::NoCa;
        params.serial_number = Some(random_bytes::<16>().to_vec().into());
        // A peer with a clock behind ours must not find it not yet valid.
        params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
        params.not_after = params.not_before + Duration::days(365);
        let certificate = params.self_signed(&key).map_err(CertificateError)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_certificates_share_issuer_or_serial_number() {
        let (one, two) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_ne!(random_name(), random_name());
    }
}
