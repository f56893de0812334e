//! What carries payloads once a handshake is complete.

use std::time::Instant;

use bytes::Bytes;

use super::dtls::Engine;

/// Carries payloads after a handshake: seals what is sent, opens what is received.
///
/// Sans-IO, as the handshake was. The handshake's last packets may be asked for again by the peer: that is the
/// session's business as well.
pub trait Session: Send + 'static {
    /// Seal a payload.
    fn send(&mut self, now: Instant, payload: &[u8], out: &mut SessionOutput);

    /// Open a datagram from the peer.
    fn receive(&mut self, now: Instant, datagram: Bytes, out: &mut SessionOutput);

    /// The time has come that [`poll_timeout`](Self::poll_timeout) asked for. Default: nothing to do.
    fn handle_timeout(&mut self, now: Instant, out: &mut SessionOutput) {
        let _ = (now, out);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). Default: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Say goodbye. Default: without a word.
    fn close(&mut self, out: &mut SessionOutput) {
        let _ = out;
    }

    /// The DTLS engine inside, if that is all there is to it: a peer connection then drives it directly.
    /// Default: there is none.
    fn into_engine(self: Box<Self>) -> Option<Engine> {
        None
    }
}

/// What a [`Session`] wants done; filled by its calls, emptied by who drives it.
#[derive(Debug, Default)]
pub struct SessionOutput {
    /// Datagrams to send, in order.
    pub transmit: Vec<Bytes>,
    /// Payloads for the application, in order.
    pub payloads: Vec<Bytes>,
    /// The peer has closed; nothing more comes.
    pub closed: bool,
    /// Payloads that could not be sealed or opened.
    pub dropped: u64,
}

/// Carries payloads as they are.
#[derive(Debug, Default)]
pub struct PlainSession {}

impl Session for PlainSession {
    fn send(&mut self, _: Instant, payload: &[u8], out: &mut SessionOutput) {
        out.transmit.push(Bytes::copy_from_slice(payload));
    }

    fn receive(&mut self, _: Instant, datagram: Bytes, out: &mut SessionOutput) {
        out.payloads.push(datagram);
    }
}
