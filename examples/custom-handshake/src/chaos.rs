//! Handshake wrapper that loses flights, never two in a row, and delays others: faults that a handshake must survive.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Returns a factory whose handshakes run over a very bad network.
pub(crate) fn chaos(inner: impl HandshakeFactory) -> impl HandshakeFactory {
    inner.wrap(|_: &ComponentInfo| Chaotic::default())
}

#[derive(Default)]
struct Chaotic {
    /// Whether the last flight was lost: then this one is not, or the handshake would never complete.
    lost_one: bool,
    late: Vec<Bytes>,
    due: Option<Instant>,
}

impl Chaotic {
    fn release(&mut self) -> Vec<Bytes> {
        self.due = None;
        std::mem::take(&mut self.late)
    }
}

/// Delay of a late flight.
const LATENESS: Duration = Duration::from_millis(20);

impl Wrap for Chaotic {
    fn step(&mut self, _: &mut dyn Handshake, now: Instant, step: Step) -> Step {
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

    fn handle_timeout(&mut self, inner: &mut dyn Handshake, now: Instant) -> Step {
        if self.due.is_some_and(|due| due <= now) {
            return Step::packets(self.release());
        }
        let step = inner.handle_timeout(now);
        self.step(inner, now, step)
    }

    fn poll_timeout(&self, inner: &dyn Handshake) -> Option<Instant> {
        self.due.into_iter().chain(inner.poll_timeout()).min()
    }
}
