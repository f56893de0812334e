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
    /// Returns what becomes of a step of the handshake inside: of each that
    /// [`connection_ready`](Self::connection_ready), [`recv_from_peer`](Self::recv_from_peer) and
    /// [`handle_timeout`](Self::handle_timeout) return by default. Default: the step as it is.
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests tell the time")]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::{HandshakeData, SessionOutput};
    use super::*;

    type Calls = Arc<Mutex<Vec<&'static str>>>;

    /// Handshake that notes which of its functions are called.
    struct Noting(Calls);

    impl Noting {
        fn note(&self, call: &'static str) {
            self.0.lock().unwrap().push(call);
        }
    }

    impl Handshake for Noting {
        fn init(&mut self) -> Init {
            self.note("init");
            Init::Ok(InitData::None)
        }

        fn set_remote_init_data(&mut self, _: InitData) {
            self.note("set_remote_init_data");
        }

        fn set_round_trip_time(&mut self, _: Duration) {
            self.note("set_round_trip_time");
        }

        fn connection_ready(&mut self, _: Instant) -> Step {
            self.note("connection_ready");
            Step::Ok
        }

        fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
            self.note("recv_from_peer");
            Step::Finished(HandshakeData::None)
        }

        fn is_handshake_packet(&self, _: &[u8]) -> bool {
            self.note("is_handshake_packet");
            false
        }

        fn handle_timeout(&mut self, _: Instant) -> Step {
            self.note("handle_timeout");
            Step::Closed
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.note("poll_timeout");
            None
        }

        fn close(&mut self) -> Vec<Bytes> {
            self.note("close");
            vec![Bytes::from_static(b"goodbye")]
        }

        fn into_session(self: Box<Self>) -> Box<dyn Session> {
            self.note("into_session");
            Box::new(Refusing)
        }
    }

    /// Session that sends nothing, unlike the default.
    struct Refusing;

    impl Session for Refusing {
        fn send(&mut self, _: Instant, _: &[u8], out: &mut SessionOutput) {
            out.dropped += 1;
        }

        fn receive(&mut self, _: Instant, _: Bytes, _: &mut SessionOutput) {}
    }

    struct Nothing;

    impl Wrap for Nothing {}

    #[test]
    fn what_a_wrapper_leaves_out_passes_on_to_the_handshake_inside() {
        let calls = Calls::default();
        let inside = Arc::clone(&calls);
        let factory = (move |_: &ComponentInfo| Noting(Arc::clone(&inside)))
            .wrap(|_: &ComponentInfo| Nothing);
        let component = ComponentInfo::new(super::super::ComponentId(1), true);
        let mut wrapped: Box<dyn Handshake> = factory.new_handshake(&component);
        let now = Instant::now();

        assert!(matches!(wrapped.init(), Init::Ok(InitData::None)));
        wrapped.set_remote_init_data(InitData::None);
        wrapped.set_round_trip_time(Duration::ZERO);
        assert!(matches!(wrapped.connection_ready(now), Step::Ok));
        assert!(!wrapped.is_handshake_packet(b"x"));
        assert!(matches!(wrapped.recv_from_peer(now, b"x"), Step::Finished(_)));
        assert_eq!(wrapped.poll_timeout(), None);
        assert!(matches!(wrapped.handle_timeout(now), Step::Closed));
        assert_eq!(wrapped.close(), ["goodbye"]);
        let mut out = SessionOutput::default();
        wrapped.into_session().send(now, b"x", &mut out);

        assert_eq!((out.dropped, out.transmit.len()), (1, 0), "the session is the one inside");
        let expected = [
            "init",
            "set_remote_init_data",
            "set_round_trip_time",
            "connection_ready",
            "is_handshake_packet",
            "recv_from_peer",
            "poll_timeout",
            "handle_timeout",
            "close",
            "into_session",
        ];
        assert_eq!(*calls.lock().unwrap(), expected);
    }

    #[test]
    fn a_wrapper_sees_and_changes_each_step() {
        struct Counting(usize);
        impl Wrap for Counting {
            fn step(&mut self, inner: &mut dyn Handshake, _: Instant, _: Step) -> Step {
                self.0 += 1;
                let mut packets = inner.close();
                packets.truncate(self.0);
                Step::Packets(packets)
            }
        }
        let mut wrapped = Wrapped::new(Box::new(Noting(Calls::default())), Counting(0));
        let now = Instant::now();

        let steps = [
            wrapped.connection_ready(now),
            wrapped.recv_from_peer(now, b"x"),
            wrapped.handle_timeout(now),
        ];

        assert!(steps.iter().all(|step| matches!(step, Step::Packets(sent) if sent.len() == 1)));
        assert_eq!(wrapped.wrap.0, 3);
    }
}
