//! Handshake wrapper that loses flights, never two in a row, and delays others: faults that a handshake must survive.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Another handshake, over a very bad network.
#[derive(Clone)]
pub(crate) struct Chaos<F>(F);

impl<F: HandshakeFactory> Chaos<F> {
    pub(crate) fn new(inner: F) -> Self {
        Self(inner)
    }
}

impl<F: HandshakeFactory> HandshakeFactory for Chaos<F> {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Chaotic {
            inner: self.0.new_handshake(component),
            lost_one: false,
            late: Vec::new(),
            due: None,
        })
    }
}

struct Chaotic {
    inner: Box<dyn Handshake>,
    /// Whether the last flight was lost: then this one is not, or the handshake would never complete.
    lost_one: bool,
    late: Vec<Bytes>,
    due: Option<Instant>,
}

impl Chaotic {
    fn spoil(&mut self, now: Instant, step: Step) -> Step {
        match step {
            Step::Packets(packets) => {
                self.lost_one = !self.lost_one && fastrand::bool();
                if self.lost_one {
                    return Step::Ok;
                }
                self.late.extend(packets);
                if fastrand::bool() {
                    self.due.get_or_insert(now + LATENESS);
                    return Step::Ok;
                }
                Step::packets(self.release())
            }
            // From here on the session repeats lost flights.
            Step::Finished(data) => Step::FinishedWithPackets(data, self.release()),
            Step::FinishedWithPackets(data, packets) => {
                let mut all = self.release();
                all.extend(packets);
                Step::FinishedWithPackets(data, all)
            }
            other => other,
        }
    }

    fn release(&mut self) -> Vec<Bytes> {
        self.due = None;
        std::mem::take(&mut self.late)
    }
}

/// Delay of a late flight.
const LATENESS: Duration = Duration::from_millis(20);

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
        self.spoil(now, step)
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        let step = self.inner.recv_from_peer(now, datagram);
        self.spoil(now, step)
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.inner.is_handshake_packet(datagram)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        if self.due.is_some_and(|due| due <= now) {
            return Step::packets(self.release());
        }
        let step = self.inner.handle_timeout(now);
        self.spoil(now, step)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.inner.poll_timeout()).min()
    }

    fn close(&mut self) -> Vec<Bytes> {
        self.inner.close()
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        self.inner.into_session()
    }
}
