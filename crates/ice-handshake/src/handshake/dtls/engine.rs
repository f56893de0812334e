//! DTLS engine: dimpl, driven until it has no more output.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::Output;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, ProtocolVersion};

use super::super::{Certificate, Role};
use super::engine_clock::EngineClock;
use super::provider::{self, CryptoContext, Shared};
use super::records::{Numbers, protected};
use super::srtp::{SrtpProfile, Substitution};
use super::{Version, decryption_watch};
use crate::Label;

/// DTLS engine, created by a [`Dtls`](super::Dtls) handshake. Once the handshake is complete, a peer connection drives
/// the engine directly, through str0m's `DtlsInstance`.
pub struct Engine {
    /// Boxed because it is large, and the engine is moved several times.
    dtls: Box<dimpl::Dtls>,
    context: CryptoContext,
    buffer: Vec<u8>,
    /// Payloads that came right after the peer's last flight, for the next driver of the engine.
    unread: VecDeque<Bytes>,
    clock: EngineClock,
    /// Whether it has opened a record of DTLS 1.3.
    opened: bool,
    /// Record numbers of a passive side of DTLS 1.2, whose last flight begins in the clear and may have to be repeated.
    numbers: Option<Numbers>,
}

/// Parameters for creating an engine.
#[derive(Clone)]
pub(crate) struct EngineSpec {
    pub(crate) identity: Identity,
    pub(crate) role: Role,
    pub(crate) version: EngineVersion,
    pub(crate) mtu: usize,
    pub(crate) first_retransmission: Duration,
    /// Whether a passive side asks for a cookie.
    pub(crate) cookie: bool,
    /// Seed of the engine's random numbers. Two engines of the same seed, birth and shared keys produce the same output
    /// until their input differs. The seed is drawn from the system's random numbers; its results are public (randoms,
    /// nonces) or of no use beyond the handshake. Keys come from the system.
    pub(crate) seed: u64,
    /// Label of the connection.
    pub(crate) label: Label,
}

/// Credentials of this side.
#[derive(Clone)]
pub(crate) enum Identity {
    Certificate(Certificate),
    PreSharedKey(dimpl::Psk),
}

/// DTLS version of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineVersion {
    Dtls12,
    Dtls13,
    /// Either version. Only for an active side; a passive engine is created when the client's version is known.
    Auto,
}

/// Output of an engine.
#[derive(Default)]
pub(crate) struct Drained {
    pub(crate) packets: Vec<Bytes>,
    pub(crate) timeout: Option<Instant>,
    pub(crate) connected: bool,
    pub(crate) peer_certificate: Option<Vec<u8>>,
    pub(crate) keys: Option<(Vec<u8>, SrtpProfile)>,
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) closed: bool,
}

impl Engine {
    pub(crate) fn new(
        spec: &EngineSpec,
        shared: Arc<Shared>,
        substitution: Option<Substitution>,
        born: Instant,
    ) -> Result<Self, dimpl::Error> {
        let context = CryptoContext { shared, substitution };
        let mut config = dimpl::Config::builder()
            .mtu(spec.mtu)
            .use_server_cookie(spec.cookie)
            .max_queue_rx(QUEUE)
            .flight_start_rto(spec.first_retransmission)
            .flight_retries(FLIGHT_RETRIES)
            .handshake_timeout(ENGINE_PATIENCE)
            .dangerously_set_rng_seed(spec.seed);
        if spec.role == Role::Server && spec.cookie && spec.version == EngineVersion::Dtls13 {
            // A HelloRetryRequest names a cipher suite. It must be the same for every hello, or a forged hello could
            // make us name one that the real client has not offered: so it is the one that every implementation must
            // have (RFC 8446 §9.1).
            config = config
                .dtls13_cipher_suites(&[dimpl::crypto::Dtls13CipherSuite::AES_128_GCM_SHA256]);
        }
        if let Identity::PreSharedKey(psk) = &spec.identity {
            config = match psk {
                dimpl::Psk::Client { identity, resolver, .. } => {
                    config.with_psk_client(identity.clone(), Arc::clone(resolver))
                }
                dimpl::Psk::Server { hint, resolver, .. } => {
                    config.with_psk_server(hint.clone(), Arc::clone(resolver))
                }
                _ => config,
            };
        }
        let config = Arc::new(provider::configure(config)?);
        let dtls = provider::within(&context, || {
            let mut dtls = match (&spec.identity, spec.version) {
                (Identity::PreSharedKey(_), _) => dimpl::Dtls::new_12_psk(config, born),
                (Identity::Certificate(certificate), EngineVersion::Dtls12) => {
                    dimpl::Dtls::new_12(config, certificate.to_dtls_cert(), born)
                }
                (Identity::Certificate(certificate), EngineVersion::Dtls13) => {
                    dimpl::Dtls::new_13(config, certificate.to_dtls_cert(), born)
                }
                (Identity::Certificate(certificate), EngineVersion::Auto) => {
                    dimpl::Dtls::new_auto(config, certificate.to_dtls_cert(), born)
                }
            };
            dtls.set_active(spec.role == Role::Client);
            dtls.handle_timeout(born)?;
            Ok::<_, dimpl::Error>(dtls)
        })?;
        Ok(Self {
            dtls: Box::new(dtls),
            context,
            buffer: vec![0; BUFFER],
            unread: VecDeque::new(),
            clock: EngineClock::new(born),
            opened: false,
            numbers: None,
        })
    }

    /// Handles a datagram as it was on the wire.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<(), dimpl::Error> {
        let datagram = &*self.admissible(datagram);
        let rewritten =
            self.context.substitution.as_ref().and_then(|rewrite| rewrite.to_engine(datagram));
        let (dtls, now) = (&mut self.dtls, self.clock.pass(now));
        let mut hear = || {
            provider::within(&self.context, || {
                dtls.handle_timeout(now)?;
                dtls.handle_packet(rewritten.as_deref().unwrap_or(datagram))
            })
        };
        if self.opened {
            return hear();
        }
        let (result, opened) = decryption_watch::watch(hear);
        self.opened = opened;
        result
    }

    /// Returns the part of a datagram that the engine may receive. When an engine of DTLS 1.3 is connected, its peer
    /// has all keys and says nothing new in the clear; but each hello and each Finished in the clear would make the
    /// engine repeat its last flight: for any sender, and at the cost of its repetitions.
    fn admissible<'a>(&self, datagram: &'a [u8]) -> Cow<'a, [u8]> {
        if self.clock.is_connected() && self.version() == Version::Dtls13 {
            return protected(datagram);
        }
        Cow::Borrowed(datagram)
    }

    /// Returns whether it has opened a record of DTLS 1.3, which only the peer can have sealed.
    pub(crate) fn opened(&self) -> bool {
        self.opened
    }

    pub(crate) fn handle_time(&mut self, now: Instant) -> Result<(), dimpl::Error> {
        let (dtls, now) = (&mut self.dtls, self.clock.pass(now));
        provider::within(&self.context, || dtls.handle_timeout(now))
    }

    /// Takes all output of the engine, with packets as they go to the wire.
    pub(crate) fn drain(&mut self) -> Drained {
        let mut drained = Drained::default();
        let Self { dtls, context, buffer, clock, .. } = self;
        provider::within(context, || {
            loop {
                match dtls.poll_output(buffer) {
                    Output::Packet(packet) => {
                        let rewritten = context
                            .substitution
                            .as_ref()
                            .and_then(|rewrite| rewrite.to_wire(packet));
                        drained.packets.push(
                            rewritten.map_or_else(|| Bytes::copy_from_slice(packet), Bytes::from),
                        );
                    }
                    Output::BufferTooSmall { needed } if needed <= LARGEST_BUFFER => {
                        buffer.resize(needed, 0)
                    }
                    Output::BufferTooSmall { .. } => break,
                    Output::Timeout(at) => {
                        drained.timeout = Some(clock.wait(at));
                        break;
                    }
                    Output::Connected => {
                        clock.connected();
                        drained.connected = true;
                    }
                    Output::PeerCert(certificate) => {
                        drained.peer_certificate = Some(certificate.to_vec())
                    }
                    Output::KeyingMaterial(keys, profile) => {
                        drained.keys = SrtpProfile::from_engine(profile)
                            .map(|profile| (keys.to_vec(), profile));
                    }
                    Output::ApplicationData(data) => {
                        drained.payloads.push(Bytes::copy_from_slice(data))
                    }
                    Output::CloseNotify => drained.closed = true,
                    _ => {}
                }
            }
        });
        if let Some(numbers) = &mut self.numbers {
            numbers.number(&mut drained.packets);
        }
        drained
    }

    /// Continues with the record numbers of the handshake, which other engines have used as well.
    pub(super) fn go_on_with(&mut self, numbers: Numbers) {
        self.numbers = Some(numbers);
    }

    /// Frees the buffers that the next driver of the engine has itself, because the handshake is over.
    pub(crate) fn settle(&mut self) {
        self.buffer = Vec::new();
        self.context = CryptoContext::none();
    }

    /// Puts payloads back, to be read again before anything else.
    pub(crate) fn unread(&mut self, payloads: Vec<Bytes>) {
        self.unread.extend(payloads);
    }

    pub(crate) fn seal(&mut self, payload: &[u8]) -> Result<bool, dimpl::Error> {
        self.dtls.send_application_data(payload).map(|taken| taken == payload.len())
    }

    pub(crate) fn close(&mut self) -> Result<(), dimpl::Error> {
        self.dtls.close()
    }

    pub(crate) fn version(&self) -> Version {
        match self.dtls.protocol_version() {
            Some(dimpl::ProtocolVersion::DTLS1_3) => Version::Dtls13,
            _ => Version::Dtls12,
        }
    }

    pub(crate) fn role(&self) -> Role {
        if self.dtls.is_active() { Role::Client } else { Role::Server }
    }
}

impl Engine {
    fn poll_numbered<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        // Packets and payloads lie at the beginning of the buffer.
        let (length, is_packet) = match self.dtls.poll_output(buffer) {
            DtlsOutput::Packet(packet) => (packet.len(), true),
            DtlsOutput::ApplicationData(data) => (data.len(), false),
            DtlsOutput::Timeout(at) => return DtlsOutput::Timeout(self.clock.wait(at)),
            DtlsOutput::BufferTooSmall { needed } => return DtlsOutput::BufferTooSmall { needed },
            DtlsOutput::CloseNotify => return DtlsOutput::CloseNotify,
            // The other outputs belong to the handshake, which is over.
            _ => return DtlsOutput::Timeout(self.clock.now()),
        };
        if !is_packet {
            return DtlsOutput::ApplicationData(&buffer[..length]);
        }
        if let Some(numbers) = &mut self.numbers {
            numbers.number_one(&mut buffer[..length]);
        }
        DtlsOutput::Packet(&buffer[..length])
    }
}

impl DtlsInstance for Engine {
    fn set_active(&mut self, _: bool) {
        // The handshake is over: the role cannot change.
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(&self.admissible(packet))
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(payload) = self.unread.front() {
            let needed = payload.len();
            if buffer.len() < needed {
                return DtlsOutput::BufferTooSmall { needed };
            }
            buffer[..needed].copy_from_slice(payload);
            self.unread.pop_front();
            return DtlsOutput::ApplicationData(&buffer[..needed]);
        }
        if self.numbers.is_some() {
            return self.poll_numbered(buffer);
        }
        match self.dtls.poll_output(buffer) {
            DtlsOutput::Timeout(at) => DtlsOutput::Timeout(self.clock.wait(at)),
            output => output,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        let now = self.clock.pass(now);
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("dtls", &self.dtls).finish_non_exhaustive()
    }
}

/// Buffer size in bytes: room for the largest record that fits a datagram of any usual path.
const BUFFER: usize = 2_048;
/// Largest buffer in bytes: room for the largest possible record (RFC 6347 §4.1), and a little more.
const LARGEST_BUFFER: usize = 17 * 1_024;
/// Datagrams that an engine keeps out of order: a flight has six at most.
const QUEUE: usize = 12;
/// Retransmissions of a flight: so many that the handshake's own deadline comes first.
const FLIGHT_RETRIES: usize = 24;
/// Deadline of an engine: longer than any deadline of ours, even by a clock that runs ahead.
const ENGINE_PATIENCE: Duration = Duration::from_secs(365 * 24 * 3_600);
