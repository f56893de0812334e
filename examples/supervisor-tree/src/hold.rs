//! Handshakes that are held, so that a user can inject a fault into one: normally a handshake is over too soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use callboard_ice_handshake::handshake::{
    ComponentInfo, Dtls, Handshake, HandshakeFactory, Init, Step,
};

/// Switch that holds handshakes, one at a time. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Hold(Arc<AtomicBool>);

impl Hold {
    /// Holds the next handshake at its beginning. It fails when a user ends it, else after its deadline.
    pub(crate) fn next(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns the factory of a connection's handshakes: DTLS, unless the next must be held.
    pub(crate) fn wrap(&self, dtls: Dtls) -> Arc<dyn HandshakeFactory> {
        Arc::new(Maker { dtls, hold: self.clone() })
    }
}

struct Maker {
    dtls: Dtls,
    hold: Hold,
}

impl HandshakeFactory for Maker {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        let inner = self.dtls.new_handshake(component);
        if self.hold.0.swap(false, Ordering::Relaxed) { Box::new(Held(inner)) } else { inner }
    }
}

/// Handshake that sends nothing and ignores every packet.
struct Held(Box<dyn Handshake>);

impl Handshake for Held {
    fn init(&mut self) -> Init {
        self.0.init()
    }

    fn connection_ready(&mut self, _: Instant) -> Step {
        Step::Ok
    }

    fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
        Step::Ok
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.0.is_handshake_packet(datagram)
    }
}
