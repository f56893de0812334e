//! Sessions, which carry payloads once a handshake is complete.

use std::time::Instant;

use bytes::Bytes;

use super::dtls::Engine;

/// Session after a handshake: seals the payloads that are sent, opens the datagrams that are received.
///
/// Sans-IO, as the handshake was. The peer may ask for the handshake's last packets again: the session answers that,
/// too.
pub trait Session: Send + 'static {
    /// Seals a payload.
    fn send(&mut self, now: Instant, payload: &[u8], out: &mut SessionOutput);

    /// Opens a datagram from the peer.
    fn receive(&mut self, now: Instant, datagram: Bytes, out: &mut SessionOutput);

    /// Handles the time-out that [`poll_timeout`](Self::poll_timeout) returned. Default: nothing to do.
    fn handle_timeout(&mut self, now: Instant, out: &mut SessionOutput) {
        let _ = (now, out);
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout). Default: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Closes the session. Default: sends nothing.
    fn close(&mut self, out: &mut SessionOutput) {
        let _ = out;
    }

    /// Returns the DTLS engine inside, if the session is nothing else: a peer connection then drives it directly.
    /// Default: `None`.
    fn into_engine(self: Box<Self>) -> Option<Engine> {
        None
    }
}

/// Outputs of a [`Session`]; filled by its calls, emptied by its driver.
#[derive(Debug, Default)]
pub struct SessionOutput {
    /// Datagrams to send, in order.
    pub transmit: Vec<Bytes>,
    /// Payloads for the application, in order.
    pub payloads: Vec<Bytes>,
    /// Whether the peer has closed; nothing more comes.
    pub closed: bool,
    /// Number of payloads that could not be sealed or opened.
    pub dropped: u64,
}

/// Session that carries payloads as they are.
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
