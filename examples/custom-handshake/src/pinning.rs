//! Handshake wrapper that pins the peer's certificate, and ignores the fingerprint in the signaling.

use std::time::Instant;

use callboard_ice_handshake::handshake::*;

/// Returns DTLS that accepts one certificate only.
pub(crate) fn pinning(dtls: Dtls, pinned: Fingerprint) -> impl HandshakeFactory {
    dtls.any_certificate().wrap(move |_: &ComponentInfo| Pinned(pinned.clone()))
}

struct Pinned(Fingerprint);

impl Wrap for Pinned {
    fn step(&mut self, inner: &mut dyn Handshake, _: Instant, step: Step) -> Step {
        let (data, mut packets) = match step {
            Step::Finished(data) => (data, Vec::new()),
            Step::FinishedWithPackets(data, packets) => (data, packets),
            other => return other,
        };
        match &data {
            HandshakeData::Dtls(dtls) if dtls.peer_fingerprint.as_ref() == Some(&self.0) => {
                Step::FinishedWithPackets(data, packets)
            }
            _ => {
                // These packets complete the handshake for the peer; then it is told that this side has closed.
                packets.extend(inner.close());
                let error = HandshakeError::custom("this is not the certificate that was pinned");
                Step::FailedWithPackets(error, packets)
            }
        }
    }

    fn set_remote_init_data(&mut self, _: &mut dyn Handshake, _: InitData) {
        // The pinned certificate counts, whichever is announced.
    }
}
