//! Handshake wrapper that records the packets that pass through it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Another handshake, whose packets are recorded.
#[derive(Clone)]
pub(crate) struct Recorder<F>(F);

impl<F: HandshakeFactory> Recorder<F> {
    pub(crate) fn new(inner: F) -> Self {
        Self(inner)
    }
}

impl<F: HandshakeFactory> HandshakeFactory for Recorder<F> {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Recorded { inner: self.0.new_handshake(component), began: None })
    }
}

struct Recorded {
    inner: Box<dyn Handshake>,
    began: Option<Instant>,
}

impl Recorded {
    fn write(&self, now: Instant, what: &str) {
        let since = self.began.map(|began| now.duration_since(began)).unwrap_or_default();
        println!("  {since:>12.1?}  {what}");
    }

    fn record(&self, now: Instant, step: Step) -> Step {
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
}

impl Handshake for Recorded {
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
        self.began = Some(now);
        self.write(now, "ready");
        let step = self.inner.connection_ready(now);
        self.record(now, step)
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        self.write(now, &format!("they send {} bytes", datagram.len()));
        let step = self.inner.recv_from_peer(now, datagram);
        self.record(now, step)
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.inner.is_handshake_packet(datagram)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        let step = self.inner.handle_timeout(now);
        self.record(now, step)
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
