//! SRTP ciphers of str0m, created at their first use.
//!
//! str0m creates eight for each connection: for RTP and RTCP, for each direction, to encrypt and to decrypt. Half of
//! them are never used, and a connection that carries only data uses none; once created, they take 5 KiB.

use std::fmt;
use std::sync::LazyLock;

use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, CryptoError, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

/// SRTP provider: str0m's own, with ciphers that are created when they are used.
#[derive(Debug)]
pub(super) struct LazyCiphers;

static INNER: LazyLock<&'static dyn SrtpProvider> =
    LazyLock::new(|| str0m::crypto::from_feature_flags().srtp_provider);

impl SrtpProvider for LazyCiphers {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        // These ciphers keep nothing but their key.
        INNER.aes_128_cm_sha1_80()
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Self
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Self
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        INNER.srtp_aes_128_ecb_round(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        INNER.srtp_aes_256_ecb_round(key, input, output);
    }
}

impl SupportedAeadAes128Gcm for LazyCiphers {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Cipher::<dyn AeadAes128GcmCipher, 16>::Key(key, encrypt))
    }
}

impl SupportedAeadAes256Gcm for LazyCiphers {
    fn create_cipher(&self, key: [u8; 32], encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Cipher::<dyn AeadAes256GcmCipher, 32>::Key(key, encrypt))
    }
}

/// Cipher, or the key from which it will be created.
enum Cipher<C: ?Sized, const KEY: usize> {
    Key([u8; KEY], bool),
    Made(Box<C>),
}

impl<C: ?Sized, const KEY: usize> Cipher<C, KEY> {
    fn made(&mut self, make: impl FnOnce([u8; KEY], bool) -> Box<C>) -> &mut C {
        if let Self::Key(key, encrypt) = *self {
            *self = Self::Made(make(key, encrypt));
        }
        match self {
            Self::Made(cipher) => cipher,
            Self::Key(..) => unreachable!("it has just been made"),
        }
    }
}

impl<C: ?Sized, const KEY: usize> fmt::Debug for Cipher<C, KEY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}

/// Implements a cipher of AES-GCM by the one that is created at the first use.
macro_rules! at_first_use {
    ($cipher:ident, $key:literal, $of_provider:ident) => {
        impl $cipher for Cipher<dyn $cipher, $key> {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                let make = |key, encrypt| INNER.$of_provider().create_cipher(key, encrypt);
                self.made(make).encrypt(iv, aad, input, output)
            }

            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                let make = |key, encrypt| INNER.$of_provider().create_cipher(key, encrypt);
                self.made(make).decrypt(iv, aads, input, output)
            }
        }
    };
}

at_first_use!(AeadAes128GcmCipher, 16, aead_aes_128_gcm);
at_first_use!(AeadAes256GcmCipher, 32, aead_aes_256_gcm);
