//! Handshake wrapper that knows the peer's certificate beforehand, whatever the signaling says.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// DTLS that accepts one certificate only.
#[derive(Clone)]
pub(crate) struct Pinning {
    dtls: Dtls,
    pinned: Fingerprint,
}

impl Pinning {
    pub(crate) fn new(dtls: Dtls, pinned: Fingerprint) -> Self {
        Self { dtls, pinned }
    }
}

impl HandshakeFactory for Pinning {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Pinned { inner: self.dtls.new_handshake(component), pinned: self.pinned.clone() })
    }
}

struct Pinned {
    inner: Box<dyn Handshake>,
    pinned: Fingerprint,
}

impl Pinned {
    fn check(&mut self, step: Step) -> Step {
        let (data, mut packets) = match step {
            Step::Finished(data) => (data, Vec::new()),
            Step::FinishedWithPackets(data, packets) => (data, packets),
            other => return other,
        };
        match &data {
            HandshakeData::Dtls(dtls) if dtls.peer_fingerprint.as_ref() == Some(&self.pinned) => {
                Step::FinishedWithPackets(data, packets)
            }
            _ => {
                // These packets complete the handshake for the peer; then it is told that this side has closed.
                packets.extend(self.inner.close());
                let error = HandshakeError::custom("this is not the certificate that was pinned");
                Step::FailedWithPackets(error, packets)
            }
        }
    }
}

impl Handshake for Pinned {
    fn init(&mut self) -> Init {
        self.inner.init()
    }

    fn set_round_trip_time(&mut self, time: Duration) {
        self.inner.set_round_trip_time(time);
    }

    fn connection_ready(&mut self, now: Instant) -> Step {
        let step = self.inner.connection_ready(now);
        self.check(step)
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        let step = self.inner.recv_from_peer(now, datagram);
        self.check(step)
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.inner.is_handshake_packet(datagram)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        let step = self.inner.handle_timeout(now);
        self.check(step)
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
