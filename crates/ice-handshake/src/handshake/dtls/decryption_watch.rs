//! Detection that an engine of DTLS 1.3 has opened a record: only a peer that has read our hello can have sealed it.
//!
//! dimpl does not report that, but its ciphers do: those that it makes before it has opened a record are watched. They
//! are the ciphers of the handshake; those of the session are left alone.

use std::cell::Cell;
use std::sync::LazyLock;

use dimpl::CryptoError;
use dimpl::crypto::{
    Aad, Buf, Cipher, CryptoProvider, Dtls13CipherSuite, HashAlgorithm, Nonce,
    SupportedDtls13CipherSuite, TmpBuf,
};

/// Cipher suites that are watched.
pub(super) const SUITES: &[&dyn SupportedDtls13CipherSuite] = &[
    &Watched(Dtls13CipherSuite::AES_128_GCM_SHA256),
    &Watched(Dtls13CipherSuite::AES_256_GCM_SHA384),
    &Watched(Dtls13CipherSuite::CHACHA20_POLY1305_SHA256),
];

/// Runs an engine's code; returns whether it has opened a record meanwhile.
pub(super) fn watch<R>(run: impl FnOnce() -> R) -> (R, bool) {
    WATCH.set(Watch::On);
    let result = run();
    (result, WATCH.replace(Watch::Off) == Watch::Opened)
}

thread_local! {
    static WATCH: Cell<Watch> = const { Cell::new(Watch::Off) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Off,
    On,
    Opened,
}

#[derive(Debug)]
struct Watched(Dtls13CipherSuite);

impl Watched {
    fn inner(&self) -> &'static dyn SupportedDtls13CipherSuite {
        static INNER: LazyLock<CryptoProvider> =
            LazyLock::new(dimpl::crypto::aws_lc_rs::default_provider);
        let suites = INNER.dtls13_cipher_suites;
        *suites.iter().find(|suite| suite.suite() == self.0).expect("dimpl has all three")
    }
}

impl SupportedDtls13CipherSuite for Watched {
    fn suite(&self) -> Dtls13CipherSuite {
        self.0
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.inner().hash_algorithm()
    }

    fn key_len(&self) -> usize {
        self.inner().key_len()
    }

    fn iv_len(&self) -> usize {
        self.inner().iv_len()
    }

    fn tag_len(&self) -> usize {
        self.inner().tag_len()
    }

    fn min_protected_fragment_len(&self) -> usize {
        self.inner().min_protected_fragment_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let cipher = self.inner().create_cipher(key)?;
        Ok(if WATCH.get() == Watch::On { Box::new(WatchedCipher(cipher)) } else { cipher })
    }

    fn encrypt_sn(&self, key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        self.inner().encrypt_sn(key, sample)
    }
}

#[derive(Debug)]
struct WatchedCipher(Box<dyn Cipher>);

impl Cipher for WatchedCipher {
    fn encrypt(&mut self, data: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        self.0.encrypt(data, aad, nonce)
    }

    fn decrypt(
        &mut self,
        data: &mut TmpBuf<'_>,
        aad: Aad,
        nonce: Nonce,
    ) -> Result<(), CryptoError> {
        self.0.decrypt(data, aad, nonce)?;
        if WATCH.get() == Watch::On {
            WATCH.set(Watch::Opened);
        }
        Ok(())
    }
}
