//! A wrapper that loses every second flight, and half of the datagrams of the others: what a handshake must survive.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Another handshake, on a very bad day.
#[derive(Clone)]
pub(crate) struct Chaos<F>(F);

impl<F: HandshakeFactory> Chaos<F> {
    pub(crate) fn new(inner: F) -> Self {
        Self(inner)
    }
}

impl<F: HandshakeFactory> HandshakeFactory for Chaos<F> {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Chaotic { inner: self.0.new_handshake(component), flights: 0 })
    }
}

struct Chaotic {
    inner: Box<dyn Handshake>,
    flights: u32,
}

impl Chaotic {
    fn lose(&mut self, step: Step) -> Step {
        match step {
            Step::Packets(packets) => {
                self.flights += 1;
                let lost = self.flights % 2 == 1;
                Step::packets(packets.into_iter().filter(|_| !lost && fastrand::bool()).collect())
            }
            // The last flight is the session's to repeat; it is left alone.
            other => other,
        }
    }
}

impl Handshake for Chaotic {
    fn init(&mut self) -> Init {
        self.inner.init()
    }

    fn set_remote_init_data(&mut self, data: InitData) {
        self.inner.set_remote_init_data(data);
    }

    fn set_round_trip_time(&mut self, time: Duration) {
        self.inner.set_round_trip_time(time);
    }

    fn connection_ready(&mut self, now: Instant) -> Step {
        let step = self.inner.connection_ready(now);
        self.lose(step)
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        let step = self.inner.recv_from_peer(now, datagram);
        self.lose(step)
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.inner.is_handshake_packet(datagram)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        let step = self.inner.handle_timeout(now);
        self.lose(step)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    fn close(&mut self) -> Vec<Bytes> {
        self.inner.close()
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        self.inner.into_session()
    }
}
