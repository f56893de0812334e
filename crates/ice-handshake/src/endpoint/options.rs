//! What an endpoint is to be.

use std::sync::Arc;
use std::time::Duration;

use callboard_supervision::Placement;
use callboard_transport::gather::TransportOptions;
use callboard_transport::mux::{MuxHandle, UdpMuxOptions};

use crate::handshake::HandshakeFactory;

/// What an endpoint is to be.
#[derive(Clone)]
pub struct EndpointOptions {
    /// How many components. Default: 1.
    pub components: u16,
    /// The data stream's name, for the supervision tree and the log, whose lines begin with it and the component's number.
    /// Default: `stream`.
    pub stream: String,
    /// Whether this side is the controlling ICE agent: the offerer, as a rule. A wrong guess is mended
    /// (RFC 8445 §7.3.1.1). Default: yes.
    pub controlling: bool,
    /// Whether this side only answers checks (RFC 8445 §2.5): for a machine with public addresses. It gathers host
    /// candidates only, and its peer must not be lite. Default: no.
    pub ice_lite: bool,
    /// How the sockets are bound, one port for each component. Default: any ports.
    pub sockets: UdpMuxOptions,
    /// Share this mux instead of binding sockets; for one component. Its reader must run. Default: none.
    pub mux: Option<MuxHandle>,
    /// STUN and TURN servers, and what else concerns the candidates.
    pub transport: TransportOptions,
    /// Makes the handshakes, one for each component.
    pub handshake: Arc<dyn HandshakeFactory>,
    /// From a component's being connected until its handshake fails. Default: 10 s.
    pub handshake_deadline: Duration,
    /// Where handshakes run. Default: on the endpoint's thread.
    pub handshake_placement: Placement,
    /// From the peer's credentials until a component that has not connected fails. Default: 30 s.
    pub connect_timeout: Duration,
    /// Silence from the peer after which a component fails, once it was connected (RFC 7675 §5.1 ends consent after
    /// 30 s). Until then it may come back. Default: 30 s.
    pub consent_timeout: Duration,
}

impl EndpointOptions {
    /// The defaults, with this handshake.
    pub fn new(handshake: Arc<dyn HandshakeFactory>) -> Self {
        Self {
            components: 1,
            stream: "stream".to_owned(),
            controlling: true,
            ice_lite: false,
            sockets: UdpMuxOptions::default(),
            mux: None,
            transport: TransportOptions::default(),
            handshake,
            handshake_deadline: Duration::from_secs(10),
            handshake_placement: Placement::default(),
            connect_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointOptions")
            .field("components", &self.components)
            .field("stream", &self.stream)
            .field("controlling", &self.controlling)
            .finish_non_exhaustive()
    }
}
