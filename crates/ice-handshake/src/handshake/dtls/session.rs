//! Session after a DTLS handshake.

use std::time::Instant;

use bytes::Bytes;

use super::super::{Session, SessionOutput};
use super::engine::{Drained, Engine};
use super::records::is_dtls;
use super::{Completed, PayloadMode};

pub(super) struct DtlsSession {
    engine: Engine,
    mode: PayloadMode,
    /// Payloads that came before there was a session.
    early: Vec<Bytes>,
    timeout: Option<Instant>,
}

impl DtlsSession {
    pub(super) fn new(completed: Completed, mode: PayloadMode) -> Self {
        Self { engine: completed.engine, mode, early: completed.payloads, timeout: None }
    }

    fn drain(&mut self, out: &mut SessionOutput) {
        out.payloads.append(&mut self.early);
        let Drained { packets, timeout, payloads, closed, .. } = self.engine.drain();
        self.timeout = timeout;
        out.transmit.extend(packets);
        out.payloads.extend(payloads);
        out.closed |= closed;
    }
}

impl Session for DtlsSession {
    fn send(&mut self, now: Instant, payload: &[u8], out: &mut SessionOutput) {
        if self.mode == PayloadMode::Raw {
            out.transmit.push(Bytes::copy_from_slice(payload));
            return;
        }
        let sealed = self.engine.handle_time(now).and_then(|()| self.engine.seal(payload));
        if !matches!(sealed, Ok(true)) {
            out.dropped += 1;
        }
        self.drain(out);
    }

    fn receive(&mut self, now: Instant, datagram: Bytes, out: &mut SessionOutput) {
        if !is_dtls(&datagram) {
            match self.mode {
                PayloadMode::Raw => out.payloads.push(datagram),
                // The datagram is not authenticated.
                PayloadMode::ApplicationData => out.dropped += 1,
            }
            return;
        }
        if self.engine.handle_datagram(now, &datagram).is_err() {
            out.dropped += 1;
        }
        self.drain(out);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut SessionOutput) {
        if self.engine.handle_time(now).is_err() {
            out.closed = true;
        }
        self.drain(out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    fn close(&mut self, out: &mut SessionOutput) {
        _ = self.engine.close();
        self.drain(out);
    }

    fn into_engine(mut self: Box<Self>) -> Option<Engine> {
        self.engine.unread(std::mem::take(&mut self.early));
        self.engine.settle();
        Some(self.engine)
    }
}
