//! dimpl's cryptography with three additions: a transcript as it is on the wire (see [`srtp`](super::srtp)); key shares
//! and signatures that survive the engine, so that other engines can begin exactly as it did (see
//! [`rivals`](super::rivals)); and one cookie for all clients that ask in one handshake, so that it does not matter
//! whose hello came first (see [`passive`](super::passive)).
//!
//! Providers are static, so the data of one handshake is passed in through the thread while its engine runs.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::agreement::{
    self, ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey, X25519, agree,
};
use dimpl::crypto::{
    ActiveKeyExchange, Buf, CryptoProvider, HashContext, HashProvider, HmacProvider, KeyProvider,
    SignatureVerifier, SigningKey, SupportedKxGroup,
};
use dimpl::{CryptoError, CryptoOperation, HashAlgorithm, NamedGroup, SignatureAlgorithm};

use super::srtp::Substitution;

/// Values shared by engines that must begin alike, which would otherwise draw them from the system's random numbers.
#[derive(Default)]
pub(crate) struct Shared {
    kept: Option<Mutex<KeptValues>>,
    /// Cookie of a passive side; zeros if there is none.
    cookie: [u8; 32],
    /// Whether this is a rehearsal: nothing depends on secrets or on fresh values, so results are reused.
    rehearsal: bool,
}

#[derive(Default)]
struct KeptValues {
    /// Key shares by group, generated at first use.
    keys: Vec<(NamedGroup, Arc<PrivateKey>)>,
    /// Signatures by the digest of what is signed.
    signatures: Vec<([u8; 32], Vec<u8>)>,
    /// Results computed so far in a rehearsal, by the digest of their input.
    known: Vec<([u8; 32], Vec<u8>)>,
}

impl Shared {
    /// Creates values for engines that show the same key shares, give the same signatures, and ask for this cookie.
    pub(super) fn repeatable(cookie: [u8; 32]) -> Self {
        Self { kept: Some(Mutex::default()), cookie, rehearsal: false }
    }

    fn kept(&self) -> Option<MutexGuard<'_, KeptValues>> {
        Some(self.kept.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn key(&self, group: NamedGroup) -> Result<Arc<PrivateKey>, CryptoError> {
        let Some(mut kept) = self.kept() else { return generate(group) };
        if let Some((_, key)) = kept.keys.iter().find(|(of, _)| *of == group) {
            return Ok(Arc::clone(key));
        }
        let key = generate(group)?;
        kept.keys.push((group, Arc::clone(&key)));
        Ok(key)
    }

    /// Computes a result, or returns the earlier one if this is a rehearsal and it was computed before.
    fn compute<E>(
        &self,
        input: &[&[u8]],
        compute: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        if !self.rehearsal {
            return compute();
        }
        let digest = digest_of(input);
        let known = |kept: MutexGuard<'_, KeptValues>| {
            kept.known.iter().find(|(of, _)| *of == digest).map(|(_, out)| out.clone())
        };
        if let Some(out) = self.kept().and_then(known) {
            return Ok(out);
        }
        let out = compute()?;
        if let Some(mut kept) = self.kept()
            && kept.known.len() < REHEARSED
        {
            kept.known.push((digest, out.clone()));
        }
        Ok(out)
    }

    fn signature(&self, of: &[u8; 32]) -> Option<Vec<u8>> {
        self.kept()?
            .signatures
            .iter()
            .find(|(digest, _)| digest == of)
            .map(|(_, signature)| signature.clone())
    }

    fn keep_signature(&self, of: [u8; 32], signature: &[u8]) {
        if let Some(mut kept) = self.kept()
            && kept.signatures.len() < SIGNATURES
        {
            kept.signatures.push((of, signature.to_vec()));
        }
    }
}

/// Data that an engine sees while it runs.
#[derive(Clone, Default)]
pub(super) struct CryptoContext {
    pub(super) shared: Arc<Shared>,
    pub(super) substitution: Option<Substitution>,
}

impl CryptoContext {
    /// Returns the context of no handshake.
    pub(super) fn none() -> Self {
        static NONE: LazyLock<Arc<Shared>> = LazyLock::new(Arc::default);
        Self { shared: Arc::clone(&NONE), substitution: None }
    }
}

/// Builds a configuration. dimpl tries its provider out each time, which takes longer than a handshake; ours is the
/// same each time, so results are computed once and reused.
pub(super) fn configure(config: dimpl::ConfigBuilder) -> Result<dimpl::Config, dimpl::Error> {
    static REHEARSAL: LazyLock<CryptoContext> = LazyLock::new(|| CryptoContext {
        shared: Arc::new(Shared { rehearsal: true, ..Shared::repeatable([0; 32]) }),
        substitution: None,
    });
    within(&REHEARSAL, || config.with_crypto_provider(provider()).build())
}

/// Runs an engine's code within its context.
pub(super) fn within<R>(context: &CryptoContext, run: impl FnOnce() -> R) -> R {
    struct Restore(Option<CryptoContext>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _leave = Restore(CURRENT.replace(Some(context.clone())));
    run()
}

/// Returns whether this signature of DTLS 1.2 is valid, by an algorithm as it is on the wire (RFC 5246 §7.4.1.4.1).
pub(super) fn verify(certificate: &[u8], data: &[u8], scheme: [u8; 2], signature: &[u8]) -> bool {
    let hash = match scheme {
        [4, ECDSA] => HashAlgorithm::SHA256,
        [5, ECDSA] => HashAlgorithm::SHA384,
        _ => return false,
    };
    let verifier = INNER.signature_verification;
    let algorithm = SignatureAlgorithm::ECDSA;
    verifier.verify_signature(certificate, data, signature, hash, algorithm).is_ok()
}

/// Number of the signature algorithm (RFC 5246 §7.4.1.4.1).
const ECDSA: u8 = 3;

thread_local! {
    static CURRENT: RefCell<Option<CryptoContext>> = const { RefCell::new(None) };
}

fn current() -> Option<Arc<Shared>> {
    CURRENT.with_borrow(|context| Some(Arc::clone(&context.as_ref()?.shared)))
}

fn digest_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

fn as_on_the_wire(data: &[u8]) -> Option<Vec<u8>> {
    CURRENT.with_borrow(|context| context.as_ref()?.substitution.as_ref()?.to_wire(data))
}

/// Returns dimpl's provider with the parts of this file in it.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: &[
            &KeptKeyGroup(NamedGroup::X25519),
            &KeptKeyGroup(NamedGroup::Secp256r1),
            &KeptKeyGroup(NamedGroup::Secp384r1),
        ],
        signature_verification: &WireTranscript,
        key_provider: &WireTranscript,
        hash_provider: &WireTranscript,
        hmac_provider: &OneCookie,
        dtls13_cipher_suites: super::decryption_watch::SUITES,
        ..INNER.clone()
    }
}

static INNER: LazyLock<CryptoProvider> = LazyLock::new(dimpl::crypto::aws_lc_rs::default_provider);

/// Hash and signature provider for transcripts as they were on the wire.
#[derive(Debug)]
struct WireTranscript;

#[derive(Debug)]
struct WireHash(Box<dyn HashContext>);

#[derive(Debug)]
struct WireKey(Box<dyn SigningKey>);

impl HashProvider for WireTranscript {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        Box::new(WireHash(INNER.hash_provider.create_hash(algorithm)))
    }
}

impl HashContext for WireHash {
    fn update(&mut self, data: &[u8]) {
        match as_on_the_wire(data) {
            Some(data) => self.0.update(&data),
            None => self.0.update(data),
        }
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        self.0.clone_and_finalize(out);
    }
}

impl KeyProvider for WireTranscript {
    fn load_private_key(&self, key: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        Ok(Box::new(WireKey(INNER.key_provider.load_private_key(key)?)))
    }
}

impl SigningKey for WireKey {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        let on_the_wire = as_on_the_wire(data);
        let data = on_the_wire.as_deref().unwrap_or(data);
        let Some(shared) =
            CURRENT.with_borrow(|context| Some(Arc::clone(&context.as_ref()?.shared)))
        else {
            return self.0.sign(data, hash, out);
        };
        let digest = digest_of(&[data]);
        if let Some(signature) = shared.signature(&digest) {
            out.clear();
            out.extend_from_slice(&signature);
            return Ok(());
        }
        self.0.sign(data, hash, out)?;
        shared.keep_signature(digest, out);
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        self.0.supported_hash_algorithms()
    }
}

impl SignatureVerifier for WireTranscript {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let on_the_wire = as_on_the_wire(data);
        let data = on_the_wire.as_deref().unwrap_or(data);
        let verify = || {
            INNER.signature_verification.verify_signature(
                certificate,
                data,
                signature,
                hash,
                algorithm,
            )
        };
        match current() {
            Some(shared) => {
                let scheme = format!("{hash:?} {algorithm:?}");
                let input = [scheme.as_bytes(), certificate, data, signature];
                shared.compute(&input, || verify().map(|()| Vec::new())).map(|_| ())
            }
            None => verify(),
        }
    }
}

/// HMAC provider with one cookie. dimpl computes HMACs for its key schedule with `hmac`, and for cookies (alone) with
/// `hmac_sha256`, over the client's random. A cookie that does not depend on the random is as hard to guess for an
/// attacker that cannot read it.
#[derive(Debug)]
struct OneCookie;

impl HmacProvider for OneCookie {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        match CURRENT.with_borrow(|context| context.as_ref().map(|context| context.shared.cookie)) {
            Some(cookie) if cookie != [0; 32] => Ok(cookie),
            _ => INNER.hmac_provider.hmac_sha256(key, data),
        }
    }

    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        INNER.hmac_provider.hmac(hash, key, data, out)
    }
}

/// Key exchange group whose keys the handshake may keep.
#[derive(Debug)]
struct KeptKeyGroup(NamedGroup);

struct KeptKey {
    group: NamedGroup,
    private: Arc<PrivateKey>,
    public: Buf,
    shared: Option<Arc<Shared>>,
}

impl SupportedKxGroup for KeptKeyGroup {
    fn name(&self) -> NamedGroup {
        self.0
    }

    fn start_exchange(&self, mut public: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let shared = current();
        let private = match &shared {
            Some(shared) => shared.key(self.0)?,
            None => generate(self.0)?,
        };
        let share = private
            .compute_public_key()
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::ComputePublicKey))?;
        public.clear();
        public.extend_from_slice(share.as_ref());
        Ok(Box::new(KeptKey { group: self.0, private, public, shared }))
    }
}

impl ActiveKeyExchange for KeptKey {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn complete(self: Box<Self>, peer: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let key = UnparsedPublicKey::new(algorithm(self.group)?, peer);
        let invalid = CryptoError::InvalidPublicKey(self.group);
        let agree = || agree(&self.private, key, invalid, |secret| Ok(secret.to_vec()));
        let secret = match &self.shared {
            Some(shared) => shared.compute(&[&self.public, peer], agree)?,
            None => agree()?,
        };
        out.clear();
        out.extend_from_slice(&secret);
        Ok(())
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}

impl std::fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptKey").field("group", &self.group).finish_non_exhaustive()
    }
}

fn generate(group: NamedGroup) -> Result<Arc<PrivateKey>, CryptoError> {
    PrivateKey::generate(algorithm(group)?)
        .map(Arc::new)
        .map_err(|_| CryptoError::OperationFailed(CryptoOperation::GenerateEphemeralKey))
}

fn algorithm(group: NamedGroup) -> Result<&'static agreement::Algorithm, CryptoError> {
    match group {
        NamedGroup::X25519 => Ok(&X25519),
        NamedGroup::Secp256r1 => Ok(&ECDH_P256),
        NamedGroup::Secp384r1 => Ok(&ECDH_P384),
        _ => Err(CryptoError::UnsupportedKeyExchangeGroup(group)),
    }
}

/// Signatures that are kept: a side signs once or twice in a handshake, and again for each rival.
const SIGNATURES: usize = 32;
/// Results kept of a rehearsal: a key exchange for each group, and some signatures.
const REHEARSED: usize = 64;
