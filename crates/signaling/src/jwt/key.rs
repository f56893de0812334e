//! Keys of a verifier: each is for one algorithm.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::JwtVerifier;
use super::claims::Rules;
use super::error::{JwtError, JwtKeyError};

/// A key, and what it is for.
pub(super) enum Key {
    /// HS256.
    Secret(Box<hmac::Key>),
    /// The algorithm with this name.
    Public(&'static str, ParsedPublicKey),
}

impl Key {
    /// Returns the `alg` of tokens that are signed with this key (RFC 7518 §3.1, RFC 8037 §3.1).
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Public(algorithm, _) => algorithm,
        }
    }

    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), JwtError> {
        let verified = match self {
            Self::Secret(key) => hmac::verify(key, signed, signature),
            Self::Public(_, key) => key.verify_sig(signed, signature),
        };
        verified.map_err(|_| JwtError::Signature)
    }
}

impl JwtVerifier {
    /// Creates a verifier for HS256: the issuer and this server share the secret, so that both can issue tokens.
    ///
    /// # Errors
    /// [`JwtKeyError::ShortSecret`]
    pub fn hs256(secret: &[u8]) -> Result<Self, JwtKeyError> {
        if secret.len() < SHORTEST_SECRET {
            return Err(JwtKeyError::ShortSecret(secret.len()));
        }
        Ok(Self::new(Key::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))))
    }

    /// Creates a verifier for RS256 with the issuer's public key, in PEM.
    ///
    /// # Errors
    /// [`JwtKeyError`]
    pub fn rs256(public_key: &str) -> Result<Self, JwtKeyError> {
        let size = PublicEncryptingKey::from_der(&spki(public_key)?).map(|it| it.key_size_bits());
        if !size.is_ok_and(|bits| RSA_BITS.contains(&bits)) {
            return Err(JwtKeyError::WrongKey);
        }
        Self::public("RS256", &RSA_PKCS1_2048_8192_SHA256, public_key)
    }

    /// Creates a verifier for ES256 with the issuer's public key, in PEM.
    ///
    /// # Errors
    /// [`JwtKeyError`]
    pub fn es256(public_key: &str) -> Result<Self, JwtKeyError> {
        Self::public("ES256", &ECDSA_P256_SHA256_FIXED, public_key)
    }

    /// Creates a verifier for EdDSA with the issuer's public key of Ed25519, in PEM.
    ///
    /// # Errors
    /// [`JwtKeyError`]
    pub fn eddsa(public_key: &str) -> Result<Self, JwtKeyError> {
        Self::public("EdDSA", &ED25519, public_key)
    }

    fn public(
        name: &'static str,
        algorithm: &'static dyn VerificationAlgorithm,
        public_key: &str,
    ) -> Result<Self, JwtKeyError> {
        let key = ParsedPublicKey::new(algorithm, spki(public_key)?);
        Ok(Self::new(Key::Public(name, key.map_err(|_| JwtKeyError::WrongKey)?)))
    }

    fn new(key: Key) -> Self {
        let rules = Rules { leeway: LEEWAY, ..Rules::default() };
        Self { key: Arc::new(key), rules: Arc::new(rules) }
    }
}

/// Returns the key in PEM as a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
fn spki(pem: &str) -> Result<SubjectPublicKeyInfoDer<'static>, JwtKeyError> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| JwtKeyError::NotPem)
}

/// Length of HS256's hash in bytes, the least that its secret may have (RFC 7518 §3.2).
const SHORTEST_SECRET: usize = 32;
/// Size of RSA keys: 2,048 bits at least (RFC 7518 §3.3), 8,192 at most, as aws-lc-rs verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Default leeway: clocks that are set by NTP differ by far less.
const LEEWAY: Duration = Duration::from_secs(30);
