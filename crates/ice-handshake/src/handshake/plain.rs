//! Plain handshake: no handshake at all.

use std::time::Instant;

use super::{ComponentInfo, Handshake, HandshakeData, HandshakeFactory, Init, InitData, Step};

/// No handshake at all: finished at the start, payloads go as they are.
///
/// Nothing is encrypted, and the peer is authenticated only by ICE.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl HandshakeFactory for Plain {
    fn new_handshake(&self, _: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Self)
    }
}

impl Handshake for Plain {
    fn init(&mut self) -> Init {
        Init::Finished(InitData::None)
    }

    fn connection_ready(&mut self, _: Instant) -> Step {
        Step::Finished(HandshakeData::None)
    }

    fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
        Step::Ok
    }

    fn is_handshake_packet(&self, _: &[u8]) -> bool {
        false
    }
}
