//! Handshakes: they turn a connected pair of addresses into a secured session.
//!
//! A [`Handshake`] is sans-IO: datagrams and the time go in, a [`Step`] comes out. A [`HandshakeActor`] runs any of
//! them, one for each ICE component, as a temporary child of the component's owner. Included are [`Dtls`] (which
//! browsers use), [`Psk`] (DTLS with a shared secret, no certificates) and [`Plain`] (no handshake).
//!
//! The front page of this crate shows an application's own handshake.

mod actor;
mod bridge;
mod certificate;
mod ciphers;
mod component_info;
mod core;
mod data;
mod data_filter;
mod dtls;
mod dtls_data;
mod error;
mod fingerprint;
mod followers;
mod handle;
mod messages;
mod plain;
mod psk;
mod session;
mod slot;
mod srtp_keys;
mod wrap;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use actor::HandshakeActor;
pub use bridge::{DtlsBridge, crypto_provider};
pub use certificate::{Certificate, CertificateError};
pub use component_info::{ComponentId, ComponentInfo, Role};
pub use data::{HandshakeData, InitData};
pub use data_filter::{DataFilter, Filtered};
pub use dtls::{Dtls, Engine, PayloadMode, SrtpProfile};
pub use dtls_data::{DtlsCounters, DtlsData, Version};
pub use error::HandshakeError;
pub use fingerprint::{Fingerprint, FingerprintError};
pub use handle::{HandshakeHandle, HandshakeSpec, start_handshake};
pub use messages::*;
pub use plain::Plain;
pub use psk::{Psk, PskError};
pub use session::{PlainSession, Session, SessionOutput};
pub use slot::{HandshakeOwner, HandshakeSlot};
pub use srtp_keys::SrtpKeys;
pub use wrap::{Wrap, WrapFactory, Wrapped};

/// Handshake of one ICE component.
///
/// It does no I/O and reads no clock: its driver passes datagrams and the time, sends what it returns, and calls
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says so.
///
/// The callbacks are those of the Membrane ICE plugin's `Handshake` behaviour, with what that leaves open: changing
/// state, time, failure, and an end.
pub trait Handshake: Send + 'static {
    /// Starts the handshake; called once, before anything else. The application receives the returned data, and may
    /// carry it to the peer (a certificate's fingerprint, say).
    ///
    /// Default: a handshake follows, with no init data.
    fn init(&mut self) -> Init {
        Init::Ok(InitData::None)
    }

    /// Takes the data that the peer's [`init`](Self::init) returned, as the application received it; may be called more
    /// than once, and at any time before the finish. Default: ignored.
    fn set_remote_init_data(&mut self, data: InitData) {
        let _ = data;
    }

    /// Takes the round-trip time of the path, if it is known; called just before
    /// [`connection_ready`](Self::connection_ready).
    /// Default: ignored.
    fn set_round_trip_time(&mut self, time: Duration) {
        let _ = time;
    }

    /// Handles that the component can send and receive; called once. The side that begins does so here.
    fn connection_ready(&mut self, now: Instant) -> Step;

    /// Handles a datagram from the peer; may be called before [`connection_ready`](Self::connection_ready), if the peer
    /// was ready first. Packets returned then are sent at once; a finish is reported when the component is ready.
    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step;

    /// Returns whether this datagram is for the handshake. Others that arrive before the finish are kept for the
    /// session.
    ///
    /// Default: every datagram is.
    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        let _ = datagram;
        true
    }

    /// Handles the time-out that [`poll_timeout`](Self::poll_timeout) returned. Default: nothing to do.
    fn handle_timeout(&mut self, now: Instant) -> Step {
        let _ = now;
        Step::Ok
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout); called after every other call. Default: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Closes the handshake, and returns the packets to send before it is dropped unfinished. Default: none.
    fn close(&mut self) -> Vec<Bytes> {
        Vec::new()
    }

    /// Returns the session that carries payloads after the finish. Default: [`PlainSession`], which carries them as
    /// they are.
    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        Box::new(PlainSession::default())
    }
}

/// Result of [`Handshake::init`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a handshake around another must pass on each")]
pub enum Init {
    /// A handshake follows.
    Ok(InitData),
    /// There is no handshake to do: every datagram is payload.
    Finished(InitData),
}

/// Action that a handshake requests.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a handshake around another must pass on each")]
pub enum Step {
    /// No action.
    Ok,
    /// Send these packets.
    Packets(Vec<Bytes>),
    /// The handshake is complete on this side.
    Finished(HandshakeData),
    /// The handshake is complete on this side once these packets are sent; the peer needs them.
    FinishedWithPackets(HandshakeData, Vec<Bytes>),
    /// The handshake has failed; nothing more will come of it.
    Failed(HandshakeError),
    /// The handshake has failed, and these packets tell the peer so.
    FailedWithPackets(HandshakeError, Vec<Bytes>),
    /// The peer has closed.
    Closed,
}

impl Step {
    /// Returns [`Packets`](Self::Packets), or [`Ok`](Self::Ok) if there are none.
    pub fn packets(packets: Vec<Bytes>) -> Self {
        if packets.is_empty() { Self::Ok } else { Self::Packets(packets) }
    }
}

/// Factory of the handshakes of an endpoint or a peer connection: one for each component.
///
/// Any `Fn(&ComponentInfo) -> impl Handshake` is a factory, and so are the options [`Dtls`], [`Psk`] and [`Plain`].
pub trait HandshakeFactory: Send + Sync + 'static {
    /// Creates a handshake for this component.
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake>;

    /// Returns a factory whose handshakes are this one's, each wrapped in what `make` returns for its component.
    fn wrap<M, W>(self, make: M) -> WrapFactory<Self, M>
    where
        Self: Sized,
        M: Fn(&ComponentInfo) -> W + Send + Sync + 'static,
        W: Wrap,
    {
        WrapFactory::new(self, make)
    }
}

impl<F, H> HandshakeFactory for F
where
    F: Fn(&ComponentInfo) -> H + Send + Sync + 'static,
    H: Handshake,
{
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(self(component))
    }
}
