//! Wrappers of handshakes, which watch or change what passes between a handshake and its driver.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{ComponentInfo, Handshake, HandshakeFactory, Init, InitData, Session, Step};

/// Wrapper of a handshake: every function passes on to the handshake inside, unless it is implemented.
///
/// A wrapper that watches or changes what a handshake sends, or how it ends, implements [`step`](Self::step) alone:
///
/// ```
/// use std::time::Instant;
///
/// use callboard_ice_handshake::handshake::*;
///
/// /// Accepts one certificate only.
/// struct Pinned(Fingerprint);
///
/// impl Wrap for Pinned {
///     fn step(&mut self, inner: &mut dyn Handshake, _: Instant, step: Step) -> Step {
///         let (data, packets) = match step {
///             Step::Finished(data) => (data, Vec::new()),
///             Step::FinishedWithPackets(data, packets) => (data, packets),
///             other => return other,
///         };
///         match &data {
///             HandshakeData::Dtls(dtls) if dtls.peer_fingerprint.as_ref() == Some(&self.0) => {
///                 Step::FinishedWithPackets(data, packets)
///             }
///             _ => Step::FailedWithPackets(HandshakeError::custom("wrong certificate"), inner.close()),
///         }
///     }
/// }
///
/// let pinned = Certificate::generate()?.fingerprint();
/// let factory = Dtls::generate()?.any_certificate().wrap(move |_: &ComponentInfo| Pinned(pinned.clone()));
/// # let component = ComponentInfo::new(ComponentId(1), true);
/// # assert!(matches!(factory.new_handshake(&component).init(), Init::Ok(InitData::Fingerprints(_))));
/// # Ok::<(), CertificateError>(())
/// ```
pub trait Wrap: Send + 'static {
    /// Returns what becomes of a step of the handshake inside: of each that [`connection_ready`](Self::connection_ready),
    /// [`recv_from_peer`](Self::recv_from_peer) and [`handle_timeout`](Self::handle_timeout) return by default. Default:
    /// the step as it is.
    fn step(&mut self, inner: &mut dyn Handshake, now: Instant, step: Step) -> Step {
        let _ = (inner, now);
        step
    }

    /// Replaces [`Handshake::init`].
    fn init(&mut self, inner: &mut dyn Handshake) -> Init {
        inner.init()
    }

    /// Replaces [`Handshake::set_remote_init_data`].
    fn set_remote_init_data(&mut self, inner: &mut dyn Handshake, data: InitData) {
        inner.set_remote_init_data(data);
    }

    /// Replaces [`Handshake::set_round_trip_time`].
    fn set_round_trip_time(&mut self, inner: &mut dyn Handshake, time: Duration) {
        inner.set_round_trip_time(time);
    }

    /// Replaces [`Handshake::connection_ready`].
    fn connection_ready(&mut self, inner: &mut dyn Handshake, now: Instant) -> Step {
        let step = inner.connection_ready(now);
        self.step(inner, now, step)
    }

    /// Replaces [`Handshake::recv_from_peer`].
    fn recv_from_peer(&mut self, inner: &mut dyn Handshake, now: Instant, datagram: &[u8]) -> Step {
        let step = inner.recv_from_peer(now, datagram);
        self.step(inner, now, step)
    }

    /// Replaces [`Handshake::is_handshake_packet`].
    fn is_handshake_packet(&self, inner: &dyn Handshake, datagram: &[u8]) -> bool {
        inner.is_handshake_packet(datagram)
    }

    /// Replaces [`Handshake::handle_timeout`].
    fn handle_timeout(&mut self, inner: &mut dyn Handshake, now: Instant) -> Step {
        let step = inner.handle_timeout(now);
        self.step(inner, now, step)
    }

    /// Replaces [`Handshake::poll_timeout`].
    fn poll_timeout(&self, inner: &dyn Handshake) -> Option<Instant> {
        inner.poll_timeout()
    }

    /// Replaces [`Handshake::close`].
    fn close(&mut self, inner: &mut dyn Handshake) -> Vec<Bytes> {
        inner.close()
    }

    /// Replaces [`Handshake::into_session`]; the wrapper is dropped before. A peer connection needs the session of the
    /// DTLS handshake inside as it is.
    fn into_session(self, inner: Box<dyn Handshake>) -> Box<dyn Session>
    where
        Self: Sized,
    {
        inner.into_session()
    }
}

/// Handshake inside a wrapper; made by [`HandshakeFactory::wrap`] too.
pub struct Wrapped<W> {
    inner: Box<dyn Handshake>,
    wrap: W,
}

impl<W: Wrap> Wrapped<W> {
    /// Puts a handshake into a wrapper.
    pub fn new(inner: Box<dyn Handshake>, wrap: W) -> Self {
        Self { inner, wrap }
    }
}

impl<W: Wrap> Handshake for Wrapped<W> {
    fn init(&mut self) -> Init {
        self.wrap.init(&mut *self.inner)
    }

    fn set_remote_init_data(&mut self, data: InitData) {
        self.wrap.set_remote_init_data(&mut *self.inner, data);
    }

    fn set_round_trip_time(&mut self, time: Duration) {
        self.wrap.set_round_trip_time(&mut *self.inner, time);
    }

    fn connection_ready(&mut self, now: Instant) -> Step {
        self.wrap.connection_ready(&mut *self.inner, now)
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        self.wrap.recv_from_peer(&mut *self.inner, now, datagram)
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.wrap.is_handshake_packet(&*self.inner, datagram)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        self.wrap.handle_timeout(&mut *self.inner, now)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.wrap.poll_timeout(&*self.inner)
    }

    fn close(&mut self) -> Vec<Bytes> {
        self.wrap.close(&mut *self.inner)
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        let Self { inner, wrap } = *self;
        wrap.into_session(inner)
    }
}

/// Factory of wrapped handshakes, made by [`HandshakeFactory::wrap`].
#[derive(Clone, Debug)]
pub struct WrapFactory<F, M> {
    inner: F,
    make: M,
}

impl<F, M> WrapFactory<F, M> {
    pub(super) fn new(inner: F, make: M) -> Self {
        Self { inner, make }
    }
}

impl<F, M, W> HandshakeFactory for WrapFactory<F, M>
where
    F: HandshakeFactory,
    M: Fn(&ComponentInfo) -> W + Send + Sync + 'static,
    W: Wrap,
{
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Wrapped::new(self.inner.new_handshake(component), (self.make)(component)))
    }
}

impl Handshake for Box<dyn Handshake> {
    fn init(&mut self) -> Init {
        (**self).init()
    }

    fn set_remote_init_data(&mut self, data: InitData) {
        (**self).set_remote_init_data(data);
    }

    fn set_round_trip_time(&mut self, time: Duration) {
        (**self).set_round_trip_time(time);
    }

    fn connection_ready(&mut self, now: Instant) -> Step {
        (**self).connection_ready(now)
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        (**self).recv_from_peer(now, datagram)
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        (**self).is_handshake_packet(datagram)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        (**self).handle_timeout(now)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }

    fn close(&mut self) -> Vec<Bytes> {
        (**self).close()
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        (*self).into_session()
    }
}
