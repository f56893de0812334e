//! Bridge into str0m: a DTLS handshake that runs in an actor, for an `Rtc` that takes it for its own.
//!
//! str0m asks its crypto provider for a DTLS engine while an `Rtc` is built. Ours gives it a proxy, and gives the
//! connection the other end of it, a [`DtlsBridge`]. Until the handshake is complete, the proxy collects the datagrams
//! that the `Rtc` passes to it, and the connection carries them to its [`HandshakeActor`](super::HandshakeActor), and
//! the answers back. Then the engine itself moves into the proxy, and from there on nothing stands between it and the
//! `Rtc`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};

use super::ciphers::LazyCiphers;
use super::data_filter::{DataFilter, Filtered};
use super::dtls::Engine;
use super::followers::Followers;
use super::{Finished, HandshakeData, HandshakeError, Role};
use crate::Label;

/// Returns str0m's crypto provider, with DTLS engines that a [`DtlsBridge`] can run elsewhere, and SRTP ciphers that
/// take no memory until they are used.
///
/// Give it to each `RtcConfig` (`set_crypto_provider`), and build the `Rtc` within [`DtlsBridge::around`]. An `Rtc`
/// that is built outside has str0m's own engine.
pub fn crypto_provider() -> CryptoProvider {
    static BRIDGED: Bridged = Bridged;
    CryptoProvider {
        dtls_provider: &BRIDGED,
        srtp_provider: &LazyCiphers,
        ..str0m::crypto::from_feature_flags()
    }
}

/// Connection's end of the bridge.
#[derive(Debug, Clone)]
pub struct DtlsBridge {
    ends: Arc<Ends>,
}

impl DtlsBridge {
    /// Runs `build`, which builds an `Rtc`, and returns with it the bridge for its handshake.
    ///
    /// The bridge is `None` if nothing was built with our [`crypto_provider`].
    pub fn around<R>(build: impl FnOnce() -> R) -> (R, Option<Self>) {
        /// Guard that resets the thread's slot, even if `build` panics.
        struct Disarm;
        impl Drop for Disarm {
            fn drop(&mut self) {
                SLOT.set(BuildSlot::Idle);
            }
        }
        let disarm = Disarm;
        SLOT.set(BuildSlot::Armed);
        let built = build();
        let bridge = match SLOT.take() {
            BuildSlot::Built(ends) => Some(Self { ends }),
            _ => None,
        };
        drop(disarm);
        (built, bridge)
    }

    /// Returns the negotiated role; `None` before it is negotiated.
    pub fn role(&self) -> Option<Role> {
        self.lock().role
    }

    /// Returns the handshake datagrams that the `Rtc` has received since the last call. Call it each time after the
    /// `Rtc` was driven.
    pub fn take_received(&self) -> Vec<Bytes> {
        self.lock().received.drain(..).collect()
    }

    /// Returns the number of datagrams that were dropped because they were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Has the `Rtc` send these. The `Rtc` must be driven (`Input::Timeout`) to notice.
    pub fn transmit(&self, packets: impl IntoIterator<Item = Bytes>) {
        self.lock().outputs.extend(packets.into_iter().map(ProxyOutput::Packet));
    }

    /// Completes the handshake: passes the engine to the `Rtc`, and then the datagrams that came after the handshake
    /// ([`HandshakeHandle::replay`](super::HandshakeHandle::replay)). The `Rtc` must be driven to notice.
    ///
    /// # Errors
    /// [`HandshakeError::Custom`] if it was no DTLS handshake, or its session has no DTLS engine: an `Rtc` could
    /// not go on without them. The bridge has then [failed](Self::fail).
    pub fn finish(
        &self,
        finished: Finished,
        replay: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), HandshakeError> {
        let taken = match (finished.data, finished.session.into_engine()) {
            (HandshakeData::Dtls(data), Some(engine)) => Ok((data, engine)),
            _ => Err(HandshakeError::custom("a peer connection takes only DTLS handshakes")),
        };
        let (data, engine) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                self.fail(&error);
                return Err(error);
            }
        };
        let mut shared = self.lock();
        if let Some(certificate) = data.peer_certificate {
            shared.outputs.push_back(ProxyOutput::PeerCertificate(certificate));
        }
        if let Some(keys) = data.srtp {
            let keys = ProxyOutput::Keys(keys.exported, engine_profile(keys.profile));
            if shared.without_media {
                shared.keys = Some(keys);
            } else {
                shared.outputs.push_back(keys);
            }
        }
        shared.outputs.push_back(ProxyOutput::Connected);
        shared.engine = Some(engine);
        shared.replay.extend(replay);
        Ok(())
    }

    /// Keeps packets of the session that follow another one through the `Rtc`, to be taken and sent with
    /// [`take_followers`](Self::take_followers). Default: all pass through the `Rtc`.
    pub fn let_packets_follow(&self) {
        self.ends.followers.want();
    }

    /// Returns the packets that follow the one that the `Rtc` has just output, and that go to the same address. Call
    /// it each time that the `Rtc` outputs a datagram of DTLS.
    pub fn take_followers(&self) -> Vec<Vec<u8>> {
        self.ends.followers.take()
    }

    /// Sends application data through this filter. It takes effect when the handshake ends.
    pub fn set_filter(&self, filter: impl DataFilter + 'static) {
        self.lock().filter = Some(Box::new(filter));
    }

    /// Sets the prefix of log lines about this bridge.
    pub fn set_label(&self, label: Label) {
        self.lock().label = label;
    }

    /// Keeps the keys for SRTP until there is [media](Self::with_media): what an `Rtc` makes of them takes 4 KiB, for
    /// which data channels have no use.
    pub fn without_media(&self) {
        self.lock().without_media = true;
    }

    /// Passes the SRTP keys to the `Rtc` as soon as they are known, because there is media. The `Rtc` must be driven to
    /// notice.
    pub fn with_media(&self) {
        let mut shared = self.lock();
        shared.without_media = false;
        if let Some(keys) = shared.keys.take() {
            shared.outputs.push_back(keys);
            self.ends.has_news.store(true, Ordering::Release);
        }
    }

    /// Sends a close alert for an `Rtc` that cannot: str0m refuses to close while SCTP is being set up. The `Rtc` must
    /// be driven for the alert to go out.
    pub fn close(&self) {
        self.lock().closing = true;
        self.ends.has_news.store(true, Ordering::Release);
    }

    /// Fails the handshake: the `Rtc` ends with this error when it is driven next.
    pub fn fail(&self, error: &HandshakeError) {
        self.lock().failed = Some(error.to_string());
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.ends.lock()
    }
}

/// State that both ends share.
#[derive(Debug, Default)]
struct Ends {
    shared: Mutex<Shared>,
    /// Whether there is something for a proxy that has its engine, which would not look otherwise.
    has_news: AtomicBool,
    followers: Followers,
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Shared {
    role: Option<Role>,
    received: VecDeque<Bytes>,
    dropped: u64,
    outputs: VecDeque<ProxyOutput>,
    engine: Option<Engine>,
    replay: VecDeque<Bytes>,
    failed: Option<String>,
    closed: bool,
    closing: bool,
    without_media: bool,
    /// Keys for SRTP, kept until there is media.
    keys: Option<ProxyOutput>,
    filter: Option<Box<dyn DataFilter>>,
    label: Label,
}

/// Output of the proxy for its `Rtc`.
#[derive(Debug)]
enum ProxyOutput {
    Packet(Bytes),
    PeerCertificate(Vec<u8>),
    Keys(Vec<u8>, dimpl::SrtpProfile),
    Connected,
}

#[derive(Default)]
enum BuildSlot {
    #[default]
    Idle,
    /// The next engine that is requested on this thread goes over a bridge.
    Armed,
    Built(Arc<Ends>),
}

thread_local! {
    static SLOT: RefCell<BuildSlot> = const { RefCell::new(BuildSlot::Idle) };
}

#[derive(Debug)]
struct Bridged;

impl DtlsProvider for Bridged {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        super::Certificate::generate().ok().map(|certificate| certificate.to_dtls_cert())
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let ends = SLOT.with_borrow_mut(|slot| match slot {
            BuildSlot::Armed => {
                let ends: Arc<Ends> = Arc::default();
                *slot = BuildSlot::Built(Arc::clone(&ends));
                Some(ends)
            }
            _ => None,
        });
        match ends {
            Some(ends) => {
                Ok(Box::new(Proxy { ends, engine: None, filter: None, replaced: None, born: now }))
            }
            None => {
                let stock = str0m::crypto::from_feature_flags().dtls_provider;
                stock.new_dtls(certificate, now, version, mtu)
            }
        }
    }
}

/// Stand-in for a DTLS engine, held by the `Rtc`.
#[derive(Debug)]
struct Proxy {
    ends: Arc<Ends>,
    /// Engine itself, once the handshake is complete.
    engine: Option<Engine>,
    filter: Option<Box<dyn DataFilter>>,
    /// Data with which the filter has replaced the peer's.
    replaced: Option<Vec<u8>>,
    born: Instant,
}

impl Proxy {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.ends.lock()
    }

    /// Returns what the connection has for a proxy that has its engine.
    fn poll_connection(&mut self) -> Option<ProxyOutput> {
        if !self.ends.has_news.load(Ordering::Acquire) {
            return None;
        }
        self.ends.has_news.store(false, Ordering::Release);
        let (closing, output) = {
            let mut shared = self.lock();
            (std::mem::take(&mut shared.closing), shared.outputs.pop_front())
        };
        if closing
            && let Some(engine) = &mut self.engine
            && let Err(error) = engine.close()
        {
            log::debug!("{}cannot close the DTLS session: {error}", self.lock().label);
        }
        output
    }
}

impl DtlsInstance for Proxy {
    fn set_active(&mut self, active: bool) {
        self.lock().role = Some(if active { Role::Client } else { Role::Server });
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if let Some(engine) = &mut self.engine {
            return engine.handle_packet(packet);
        }
        let mut shared = self.lock();
        // str0m wakes a passive engine with an empty packet.
        if packet.is_empty() {
            return Ok(());
        }
        let queue = if shared.engine.is_some() { &mut shared.replay } else { &mut shared.received };
        if queue.len() < RECEIVED {
            queue.push_back(Bytes::copy_from_slice(packet));
        } else {
            shared.dropped += 1;
        }
        Ok(())
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if self.engine.is_some()
            && let Some(ProxyOutput::Keys(keys, profile)) = self.poll_connection()
        {
            return DtlsOutput::KeyingMaterial(KeyingMaterial::new(&keys), profile);
        }
        if let Some(data) = self.replaced.take() {
            if data.len() > buffer.len() {
                return DtlsOutput::BufferTooSmall { needed: data.len() };
            }
            let buffer = &mut buffer[..data.len()];
            buffer.copy_from_slice(&data);
            return DtlsOutput::ApplicationData(buffer);
        }
        if let Some(engine) = &mut self.engine {
            let output = match engine.poll_output(buffer) {
                // str0m ignores empty data, and polls again.
                DtlsOutput::Packet(packet) if self.ends.followers.keep(packet) => {
                    return DtlsOutput::ApplicationData(&[]);
                }
                output => output,
            };
            let Some(filter) = &mut self.filter else { return output };
            let filtered = match &output {
                DtlsOutput::ApplicationData(data) => filter.incoming(data),
                DtlsOutput::CloseNotify => {
                    filter.closed_by_peer();
                    Filtered::Pass
                }
                _ => Filtered::Pass,
            };
            return match filtered {
                Filtered::Pass => output,
                Filtered::Drop => DtlsOutput::ApplicationData(&[]),
                Filtered::Replace(data) => {
                    self.replaced = Some(data);
                    DtlsOutput::ApplicationData(&[])
                }
            };
        }
        let mut shared = self.ends.lock();
        let needed = match shared.outputs.front() {
            Some(ProxyOutput::Packet(packet)) => packet.len(),
            Some(ProxyOutput::PeerCertificate(certificate)) => certificate.len(),
            _ => 0,
        };
        if needed > buffer.len() {
            return DtlsOutput::BufferTooSmall { needed };
        }
        let mut copy = |bytes: &[u8]| buffer[..bytes.len()].copy_from_slice(bytes);
        match shared.outputs.pop_front() {
            Some(ProxyOutput::Packet(packet)) => {
                copy(&packet);
                DtlsOutput::Packet(&buffer[..needed])
            }
            Some(ProxyOutput::PeerCertificate(certificate)) => {
                copy(&certificate);
                DtlsOutput::PeerCert(&buffer[..needed])
            }
            Some(ProxyOutput::Keys(keys, profile)) => {
                DtlsOutput::KeyingMaterial(KeyingMaterial::new(&keys), profile)
            }
            Some(ProxyOutput::Connected) => {
                self.engine = shared.engine.take();
                self.filter = shared.filter.take();
                let replay = std::mem::take(&mut shared.replay);
                let label = shared.label.clone();
                (shared.outputs, shared.received) = (VecDeque::new(), VecDeque::new());
                drop(shared);
                if let Some(engine) = &mut self.engine {
                    for datagram in replay {
                        // As elsewhere, a datagram that an engine refuses is just lost.
                        if let Err(error) = engine.handle_packet(&datagram) {
                            log::debug!("{label}a record was refused: {error}");
                        }
                    }
                }
                DtlsOutput::Connected
            }
            // Due at once, so that the `Rtc` learns of the failure.
            None if shared.failed.is_some() => DtlsOutput::Timeout(self.born),
            None => DtlsOutput::Timeout(self.born + NEVER),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        if let Some(engine) = &mut self.engine {
            return engine.handle_timeout(now);
        }
        let mut shared = self.lock();
        match shared.failed.take() {
            Some(error) => {
                log::debug!("{}the handshake of an Rtc has failed: {error}", shared.label);
                Err(DtlsImplError::ConnectionClosed)
            }
            None => Ok(()),
        }
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        match &mut self.engine {
            Some(engine) => {
                let sent = engine.send_application_data(data)?;
                if let Some(filter) = &mut self.filter {
                    filter.outgoing(data);
                }
                Ok(sent)
            }
            None => Ok(0),
        }
    }

    fn is_active(&self) -> bool {
        self.lock().role == Some(Role::Client)
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.engine.as_ref().and_then(DtlsInstance::protocol_version)
    }

    fn is_closing(&self) -> bool {
        self.engine.as_ref().is_some_and(DtlsInstance::is_closing)
    }

    fn is_closed(&self) -> bool {
        match &self.engine {
            Some(engine) => engine.is_closed(),
            None => self.lock().closed,
        }
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        match &mut self.engine {
            Some(engine) => engine.close(),
            None => {
                self.lock().closed = true;
                Ok(())
            }
        }
    }
}

fn engine_profile(profile: super::SrtpProfile) -> dimpl::SrtpProfile {
    match profile {
        super::SrtpProfile::Aes128Gcm => dimpl::SrtpProfile::AEAD_AES_128_GCM,
        super::SrtpProfile::Aes256Gcm => dimpl::SrtpProfile::AEAD_AES_256_GCM,
        super::SrtpProfile::Aes128CmSha1_80 => dimpl::SrtpProfile::AES128_CM_SHA1_80,
    }
}

/// Datagrams that wait to be taken; DTLS repeats what is lost.
const RECEIVED: usize = 64;
/// Time-out of a proxy with nothing to wait for; the connection wakes the `Rtc` when there is something.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
