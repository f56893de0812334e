//! Handshake wrapper that records the packets that pass through it.

use std::time::Instant;

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Returns a factory whose handshakes are recorded.
pub(crate) fn recorder(inner: impl HandshakeFactory) -> impl HandshakeFactory {
    inner.wrap(|_: &ComponentInfo| Recorded { began: None })
}

struct Recorded {
    began: Option<Instant>,
}

impl Recorded {
    fn write(&self, now: Instant, what: &str) {
        let since = self.began.map(|began| now.duration_since(began)).unwrap_or_default();
        println!("  {since:>12.1?}  {what}");
    }
}

impl Wrap for Recorded {
    fn step(&mut self, _: &mut dyn Handshake, now: Instant, step: Step) -> Step {
        let sends = |packets: &[Bytes]| {
            packets.iter().map(|packet| packet.len().to_string()).collect::<Vec<_>>().join(" + ")
        };
        match &step {
            Step::Ok => {}
            Step::Packets(packets) => self.write(now, &format!("we send {} bytes", sends(packets))),
            Step::Finished(data) => self.write(now, &format!("finished: {data:?}")),
            Step::FinishedWithPackets(data, packets) => {
                self.write(now, &format!("we send {} bytes, finished: {data:?}", sends(packets)));
            }
            other => self.write(now, &format!("{other:?}")),
        }
        step
    }

    fn connection_ready(&mut self, inner: &mut dyn Handshake, now: Instant) -> Step {
        self.began = Some(now);
        self.write(now, "ready");
        let step = inner.connection_ready(now);
        self.step(inner, now, step)
    }

    fn recv_from_peer(&mut self, inner: &mut dyn Handshake, now: Instant, datagram: &[u8]) -> Step {
        self.write(now, &format!("they send {} bytes", datagram.len()));
        let step = inner.recv_from_peer(now, datagram);
        self.step(inner, now, step)
    }
}
