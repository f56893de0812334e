//! Issuer of tokens: it signs any header and claims, also those that no issuer would.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use callboard_signaling::jwt::JwtVerifier;
use serde_json::Value;

pub(crate) enum Signer {
    Hs256(Vec<u8>),
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    /// Returns one of each kind, with new keys.
    pub(crate) fn all() -> [Self; 4] {
        let hs256 = Self::Hs256(b"0123456789abcdef0123456789abcdef".to_vec());
        let rs256 = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let es256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let eddsa = Ed25519KeyPair::generate().expect("a key");
        [hs256, Self::Rs256(Box::new(rs256)), Self::Es256(es256), Self::EdDsa(eddsa)]
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// Returns the verifier of its tokens.
    pub(crate) fn verifier(&self) -> JwtVerifier {
        match self {
            Self::Hs256(secret) => JwtVerifier::hs256(secret),
            Self::Rs256(_) => JwtVerifier::rs256(&self.public_key()),
            Self::Es256(_) => JwtVerifier::es256(&self.public_key()),
            Self::EdDsa(_) => JwtVerifier::eddsa(&self.public_key()),
        }
        .expect("a good key")
    }

    /// Returns the public key in PEM.
    pub(crate) fn public_key(&self) -> String {
        let der = match self {
            Self::Hs256(_) => panic!("a secret has no public part"),
            Self::Rs256(pair) => pair.public_key().as_der(),
            Self::Es256(pair) => pair.public_key().as_der(),
            Self::EdDsa(pair) => pair.public_key().as_der(),
        };
        pem(der.expect("a key in DER").as_ref())
    }

    /// Returns a token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&serde_json::json!({ "alg": self.algorithm() }), claims)
    }

    /// Returns a token with this header and these claims.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.sign(&format!("{}.{}", part(header.to_string()), part(claims.to_string())))
    }

    /// Returns this text with its signature.
    pub(crate) fn sign(&self, signed: &str) -> String {
        let text = signed.as_bytes();
        let signature = match self {
            Self::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, text).as_ref().to_vec()
            }
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed =
                    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature);
                signed.expect("signed");
                signature
            }
            Self::Es256(pair) => {
                pair.sign(&SystemRandom::new(), text).expect("signed").as_ref().to_vec()
            }
            Self::EdDsa(pair) => pair.sign(text).as_ref().to_vec(),
        };
        format!("{signed}.{}", part(signature))
    }
}

/// Returns a part of a token.
pub(crate) fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns a public key in PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}
