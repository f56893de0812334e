//! DTLS (RFC 6347, RFC 9147) as a handshake, as WebRTC uses it (RFC 8827 §6.5).

mod active;
mod attempt;
mod client_flight;
mod decryption_watch;
mod engine;
mod engine_clock;
mod first_hellos;
mod generation;
mod hello;
mod passive;
mod provider;
mod reassembly;
mod records;
mod requests;
mod rivals;
mod server_flight;
mod session;
mod srtp;
mod unproven;

use std::time::{Duration, Instant};

use bytes::Bytes;

use self::active::Active;
use self::attempt::Progress;
pub use self::engine::Engine;
pub(super) use self::engine::{EngineSpec, EngineVersion, Identity};
use self::passive::Passive;
use self::records::is_dtls;
use self::session::DtlsSession;
pub use self::srtp::SrtpProfile;
use self::srtp::Substitution;
use super::certificate::random_bytes;
use super::{
    Certificate, CertificateError, ComponentInfo, DtlsCounters, DtlsData, Fingerprint, Handshake,
    HandshakeData, HandshakeError, HandshakeFactory, Init, InitData, Role, Session, SrtpKeys, Step,
    Version,
};
use crate::Label;

/// DTLS handshake by certificates that are known by their fingerprints.
///
/// ```
/// use callboard_ice_handshake::handshake::*;
///
/// # fn main() -> Result<(), CertificateError> {
/// let dtls = Dtls::new(Certificate::generate()?).version(Version::Dtls12).role(Role::Client);
/// println!("a=fingerprint:{}", dtls.certificate().fingerprint());
/// # Ok(())
/// # }
/// ```
///
/// # Against forged datagrams
///
/// Datagrams in the peer's name can reach a handshake before the peer's own. This one goes on with the peer
/// nevertheless:
/// * a datagram that the peer's role cannot send is dropped, and so are alerts that are not authenticated;
/// * a passive side keeps an engine only for a client that has shown its cookie, and goes on when the client's
///   signature is valid (DTLS 1.2), or when its records are encrypted (1.3);
/// * an active side goes on when the server's signature is valid (1.2), or when a ServerHello opens the records that
///   come with it (1.3);
/// * an active side sends its hello once more, with a cookie, only if no server has proven itself within a round trip,
///   and among several cookies takes the one that comes again with each hello;
/// * a record that an engine refuses is counted, and ends nothing;
/// * an active side that is not connected after 3 s begins afresh.
#[derive(Clone, Debug)]
pub struct Dtls {
    certificate: Certificate,
    version: Option<Version>,
    role: Option<Role>,
    profiles: Vec<SrtpProfile>,
    fingerprints: Vec<Fingerprint>,
    any_certificate: bool,
    allow_sha1: bool,
    cookie: bool,
    payload: PayloadMode,
    mtu: usize,
    first_retransmission: Duration,
}

/// Form in which payloads travel after a DTLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadMode {
    /// Encrypted, as DTLS application data.
    #[default]
    ApplicationData,
    /// Unencrypted: the application protects them itself, with SRTP and the handshake's keys.
    Raw,
}

impl Dtls {
    /// Creates a handshake with this certificate, and the defaults of the methods below.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate,
            version: None,
            role: None,
            profiles: SrtpProfile::ALL.to_vec(),
            fingerprints: Vec::new(),
            any_certificate: false,
            allow_sha1: false,
            cookie: true,
            payload: PayloadMode::default(),
            mtu: 1_150,
            first_retransmission: Duration::from_millis(100),
        }
    }

    /// Creates a handshake with a newly generated certificate.
    ///
    /// # Errors
    /// [`CertificateError`] if the certificate could not be made.
    pub fn generate() -> Result<Self, CertificateError> {
        Ok(Self::new(Certificate::generate()?))
    }

    /// Allows this version only. Default: 1.3 with a peer that has it, else 1.2.
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Sets the role of this side. Default: the negotiated one. Where nothing is negotiated, the controlling ICE agent,
    /// which offered, is the server, and the agent that answers is the client, which RFC 8842 §5.3 prefers and which
    /// saves a round trip.
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets the SRTP protection profiles, best first; empty for no SRTP. Default: [`SrtpProfile::ALL`].
    ///
    /// A server takes the first of these that its client has. A client offers these in this order, and its server
    /// chooses by its own preference: browsers take AES-CM as long as it is offered.
    pub fn srtp_profiles(mut self, profiles: &[SrtpProfile]) -> Self {
        self.profiles = profiles.to_vec();
        self
    }

    /// Accepts a peer with one of these fingerprints; those that arrive as remote
    /// [init data](Handshake::set_remote_init_data) are accepted as well.
    pub fn fingerprints(mut self, fingerprints: impl IntoIterator<Item = Fingerprint>) -> Self {
        self.fingerprints.extend(fingerprints);
        self
    }

    /// Accepts any certificate: the application checks it by itself. Default: one of the fingerprints must match.
    pub fn any_certificate(mut self) -> Self {
        self.any_certificate = true;
        self
    }

    /// Accepts fingerprints by SHA-1, which can be forged at some expense. Default: they are ignored.
    pub fn allow_sha1(mut self) -> Self {
        self.allow_sha1 = true;
        self
    }

    /// Sets whether a server asks for a cookie before it goes on, which costs a round trip and keeps forged hellos out.
    /// Default: yes.
    pub fn cookie(mut self, cookie: bool) -> Self {
        self.cookie = cookie;
        self
    }

    /// Sets how payloads travel after the handshake. Default: as DTLS application data.
    pub fn payload(mut self, payload: PayloadMode) -> Self {
        self.payload = payload;
        self
    }

    /// Sets the largest datagram of a handshake, in bytes. Default: 1,150, which fits every usual path.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu.clamp(256, 16_384);
        self
    }

    /// Sets the time to the first retransmission; it doubles with each. Default: 100 ms, between the 1 s of RFC 6347
    /// §4.2.4 and the 50 ms of browsers.
    pub fn first_retransmission(mut self, time: Duration) -> Self {
        self.first_retransmission = time.clamp(Duration::from_millis(10), Duration::from_secs(60));
        self
    }

    /// Returns the certificate of this side.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Creates a handshake with these options in this role, for a caller that drives it alone.
    pub fn start(&self, role: Role) -> Box<dyn Handshake> {
        self.start_labelled(role, Label::default())
    }

    fn start_labelled(&self, role: Role, label: Label) -> Box<dyn Handshake> {
        let spec = EngineSpec {
            identity: Identity::Certificate(self.certificate.clone()),
            role,
            version: match self.version {
                None => EngineVersion::Auto,
                Some(Version::Dtls12) => EngineVersion::Dtls12,
                Some(Version::Dtls13) => EngineVersion::Dtls13,
            },
            mtu: self.mtu,
            first_retransmission: self.first_retransmission,
            cookie: self.cookie,
            seed: 0,
            label: label.clone(),
        };
        let side = match role {
            Role::Client => {
                let substitution = Substitution::offering(&self.profiles);
                Side::Active(Box::new(Active::new(spec, substitution)))
            }
            Role::Server => {
                let profiles = self.profiles.clone();
                Side::Passive(Box::new(Passive::new(spec, self.version, profiles)))
            }
        };
        Box::new(DtlsHandshake {
            side,
            init: InitData::Fingerprints(vec![self.certificate.fingerprint()]),
            verify: Some(Verification {
                fingerprints: self.fingerprints.clone(),
                any: self.any_certificate,
                allow_sha1: self.allow_sha1,
            }),
            payload: self.payload,
            counters: DtlsCounters::default(),
            completed: None,
            label,
        })
    }
}

impl HandshakeFactory for Dtls {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        let by_ice = if component.controlling { Role::Server } else { Role::Client };
        let role = self.role.or(component.role).unwrap_or(by_ice);
        self.start_labelled(role, component.label.clone())
    }
}

/// DTLS handshake of either role, by certificate or pre-shared key.
pub(super) struct DtlsHandshake {
    side: Side,
    init: InitData,
    /// `None` with a pre-shared key, where there is no certificate.
    verify: Option<Verification>,
    payload: PayloadMode,
    counters: DtlsCounters,
    completed: Option<Completed>,
    label: Label,
}

enum Side {
    Active(Box<Active>),
    Passive(Box<Passive>),
}

/// Predicate on whether a certificate may be the peer's: it has one of the fingerprints that were signaled, or none
/// was signaled yet.
type CertificateCheck<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Rules for accepting a peer's certificate.
struct Verification {
    fingerprints: Vec<Fingerprint>,
    any: bool,
    allow_sha1: bool,
}

/// Engine that has connected, with its output so far.
pub(super) struct Completed {
    pub(super) engine: Engine,
    pub(super) peer_certificate: Option<Vec<u8>>,
    pub(super) keys: Option<(Vec<u8>, SrtpProfile)>,
    /// Payloads that came right after the peer's last flight.
    pub(super) payloads: Vec<Bytes>,
}

impl DtlsHandshake {
    /// Creates a handshake by a pre-shared key.
    pub(super) fn with_psk(spec: EngineSpec, payload: PayloadMode) -> Self {
        let label = spec.label.clone();
        let side = match spec.role {
            Role::Client => Side::Active(Box::new(Active::new(spec, None))),
            Role::Server => {
                let (version, profiles) = (Some(Version::Dtls12), SrtpProfile::ALL.to_vec());
                Side::Passive(Box::new(Passive::new(spec, version, profiles)))
            }
        };
        let counters = DtlsCounters::default();
        Self { side, init: InitData::None, verify: None, payload, counters, completed: None, label }
    }

    fn step(&mut self, progress: Progress) -> Step {
        let Progress { mut packets, completed, failed, closed } = progress;
        if let Some(mut completed) = completed {
            return match self.check(&completed) {
                Ok(data) => {
                    self.completed = Some(completed);
                    Step::FinishedWithPackets(data, packets)
                }
                Err(error) => {
                    // The peer takes itself for connected: let it know.
                    if completed.engine.close().is_ok() {
                        packets.extend(completed.engine.drain().packets);
                    }
                    log::debug!("{}DTLS handshake refused: {error}", self.label);
                    Step::FailedWithPackets(error, packets)
                }
            };
        }
        match failed {
            Some(error) => Step::Failed(HandshakeError::Dtls(error)),
            None if closed => Step::Closed,
            None => Step::packets(packets),
        }
    }

    fn check(&self, completed: &Completed) -> Result<HandshakeData, HandshakeError> {
        let certificate = completed.peer_certificate.as_deref();
        let found = certificate.map(Fingerprint::of);
        if let Some(verification) = &self.verify {
            verification.check(certificate, found.as_ref())?;
        }
        let role = completed.engine.role();
        let srtp =
            completed.keys.as_ref().map(|(keys, profile)| SrtpKeys::new(*profile, role, keys));
        Ok(HandshakeData::Dtls(Box::new(DtlsData {
            version: completed.engine.version(),
            role,
            srtp,
            peer_certificate: completed.peer_certificate.clone(),
            peer_fingerprint: found,
            counters: self.counters,
        })))
    }
}

impl Verification {
    fn usable(&self) -> impl Iterator<Item = &Fingerprint> {
        self.fingerprints.iter().filter(|fingerprint| self.allow_sha1 || !fingerprint.is_sha1())
    }

    fn may_be(&self, certificate: &[u8]) -> bool {
        let mut usable = self.usable().peekable();
        self.any || usable.peek().is_none() || usable.any(|usable| usable.matches(certificate))
    }

    fn check(
        &self,
        certificate: Option<&[u8]>,
        found: Option<&Fingerprint>,
    ) -> Result<(), HandshakeError> {
        if self.any {
            return Ok(());
        }
        let mut usable = self.usable().peekable();
        if usable.peek().is_none() {
            return Err(HandshakeError::NoFingerprint);
        }
        match certificate {
            Some(certificate) if usable.any(|fingerprint| fingerprint.matches(certificate)) => {
                Ok(())
            }
            _ => {
                let found = found.map_or_else(|| "none".to_owned(), ToString::to_string);
                Err(HandshakeError::FingerprintMismatch { found })
            }
        }
    }
}

impl Handshake for DtlsHandshake {
    fn init(&mut self) -> Init {
        Init::Ok(self.init.clone())
    }

    fn set_remote_init_data(&mut self, data: InitData) {
        if let (Some(verification), InitData::Fingerprints(fingerprints)) = (&mut self.verify, data)
        {
            verification.fingerprints.extend(fingerprints);
        }
    }

    fn set_round_trip_time(&mut self, time: Duration) {
        if let Side::Active(active) = &mut self.side {
            active.set_round_trip_time(time);
        }
    }

    fn connection_ready(&mut self, now: Instant) -> Step {
        match &mut self.side {
            Side::Active(active) => {
                let progress = active.begin(now, new_seed());
                self.step(progress)
            }
            Side::Passive(_) => Step::Ok,
        }
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        let verify = self.verify.as_ref();
        let is_acceptable =
            |certificate: &[u8]| verify.is_none_or(|verify| verify.may_be(certificate));
        let progress = match &mut self.side {
            Side::Active(active) => {
                active.handle_datagram(now, datagram, &is_acceptable, &mut self.counters)
            }
            Side::Passive(passive) => {
                passive.handle_datagram(now, datagram, &is_acceptable, &mut self.counters)
            }
        };
        self.step(progress)
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        is_dtls(datagram)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        let progress = match &mut self.side {
            Side::Active(active) => active.handle_timeout(now, new_seed, &mut self.counters),
            Side::Passive(passive) => passive.handle_timeout(now, &mut self.counters),
        };
        self.step(progress)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.side {
            Side::Active(active) => active.poll_timeout(),
            Side::Passive(passive) => passive.poll_timeout(),
        }
    }

    /// Sends the peer an alert that the handshake ends: encrypted if it is complete and is given up before it is a
    /// session, else in the clear.
    fn close(&mut self) -> Vec<Bytes> {
        let Some(completed) = &mut self.completed else {
            return match &mut self.side {
                Side::Active(active) => active.give_up(),
                Side::Passive(passive) => passive.give_up(),
            };
        };
        match completed.engine.close() {
            Ok(()) => completed.engine.drain().packets.into_iter().collect(),
            Err(_) => Vec::new(),
        }
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        match self.completed {
            Some(completed) => Box::new(DtlsSession::new(completed, self.payload)),
            None => Box::new(super::PlainSession::default()),
        }
    }
}

fn new_seed() -> u64 {
    u64::from_le_bytes(random_bytes())
}
