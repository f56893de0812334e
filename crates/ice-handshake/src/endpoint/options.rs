//! Options of an endpoint.

use std::sync::Arc;
use std::time::Duration;

use callboard_supervision::Placement;
use callboard_transport::gather::TransportOptions;
use callboard_transport::mux::{MuxHandle, UdpMuxOptions};

use crate::handshake::HandshakeFactory;

/// Options of an endpoint.
#[derive(Clone)]
pub struct EndpointOptions {
    /// Number of components. Default: 1.
    pub components: u16,
    /// Name of the data stream, for the supervision tree and the log: log lines begin with it and the component's
    /// number. Default: `stream`.
    pub stream: String,
    /// Whether this side is the controlling ICE agent: usually the offerer. If both sides choose the same, ICE resolves
    /// the conflict (RFC 8445 §7.3.1.1). Default: yes.
    pub controlling: bool,
    /// Whether this side only answers checks (RFC 8445 §2.5): for a machine with public addresses. It gathers host
    /// candidates only, and its peer must not be lite. Default: no.
    pub ice_lite: bool,
    /// Options of the sockets, one port for each component. Default: any ports.
    pub sockets: UdpMuxOptions,
    /// Mux to share instead of binding sockets; for one component. Its reader must run. Default: none.
    pub mux: Option<MuxHandle>,
    /// STUN and TURN servers, and other options of the candidates.
    pub transport: TransportOptions,
    /// Factory of the handshakes, one for each component.
    pub handshake: Arc<dyn HandshakeFactory>,
    /// Longest time from a component's being connected until its handshake fails. Default: 10 s.
    pub handshake_deadline: Duration,
    /// Thread on which handshakes run. Default: the endpoint's thread.
    pub handshake_placement: Placement,
    /// Longest time from the peer's credentials until a component that has not connected fails. Default: 30 s.
    pub connect_timeout: Duration,
    /// Silence from the peer after which a component fails, once it was connected (RFC 7675 §5.1 ends consent after
    /// 30 s). Until then the peer may return. Default: 30 s.
    pub consent_timeout: Duration,
}

impl EndpointOptions {
    /// Returns the defaults, with this handshake.
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
