//! A handshake that fails because somebody wants to see what happens then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use callboard_ice_handshake::handshake::{
    ComponentInfo, Dtls, Handshake, HandshakeError, HandshakeFactory, Step,
};

/// Dooms handshakes, one at a time. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Doom(Arc<AtomicBool>);

impl Doom {
    /// The next handshake fails.
    pub(crate) fn arm(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// What makes the handshakes of a connection: DTLS, unless the next is doomed.
    pub(crate) fn wrap(&self, dtls: Dtls) -> Arc<dyn HandshakeFactory> {
        Arc::new(Maker { dtls, doom: self.clone() })
    }
}

struct Maker {
    dtls: Dtls,
    doom: Doom,
}

impl HandshakeFactory for Maker {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        let inner = self.dtls.new_handshake(component);
        if self.doom.0.swap(false, Ordering::Relaxed) { Box::new(Doomed(inner)) } else { inner }
    }
}

/// One that says no as soon as it could begin.
struct Doomed(Box<dyn Handshake>);

impl Handshake for Doomed {
    fn init(&mut self) -> callboard_ice_handshake::handshake::Init {
        self.0.init()
    }

    fn connection_ready(&mut self, _: Instant) -> Step {
        Step::Failed(HandshakeError::custom("doomed by an operator"))
    }

    fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
        Step::Ok
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.0.is_handshake_packet(datagram)
    }
}
