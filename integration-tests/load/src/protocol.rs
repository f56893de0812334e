//! What is spoken between clients and servers.

use std::fmt;
use std::net::SocketAddr;

use clap::ValueEnum;

use crate::scenarios::Scenario;

/// How clients talk with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// That of Callboard's signaling, and of the Membrane WebRTC Server's.
    Callboard,
    /// That of the PeerJS server.
    Peerjs,
    /// Socket.IO, with the events of `peers/socket_io.js`.
    #[value(name = "socketio")]
    SocketIo,
    /// That of y-webrtc's signaling server.
    #[value(name = "y-webrtc")]
    YWebrtc,
    /// That of matchbox_server.
    Matchbox,
    /// Offers over HTTP: what is posted to `/echo` is answered by a peer that sends back what comes on data channels.
    Offers,
    /// Janus' own over a WebSocket, with its EchoTest plugin.
    Janus,
    /// Datagrams as our own server takes them.
    #[value(skip)]
    Udp,
}

/// Where a server is, and how it is talked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

impl Protocol {
    /// Whether whoever speaks it can be asked for this.
    pub(crate) fn serves(self, scenario: &Scenario) -> bool {
        match self {
            Self::Callboard => matches!(
                scenario,
                Scenario::Idle { .. }
                    | Scenario::Relay { .. }
                    | Scenario::Fanout { .. }
                    | Scenario::Churn { .. }
                    | Scenario::Storm { .. }
            ),
            Self::Peerjs => matches!(
                scenario,
                Scenario::Idle { connections: false, .. } | Scenario::Relay { .. }
            ),
            Self::SocketIo => matches!(
                scenario,
                Scenario::Idle { connections: false, .. }
                    | Scenario::Relay { .. }
                    | Scenario::Fanout { .. }
                    | Scenario::Storm { .. }
            ),
            Self::YWebrtc => matches!(scenario, Scenario::Relay { .. } | Scenario::Fanout { .. }),
            Self::Matchbox => matches!(
                scenario,
                Scenario::Idle { connections: false, .. }
                    | Scenario::Relay { .. }
                    | Scenario::Storm { .. }
            ),
            Self::Offers | Self::Janus => matches!(
                scenario,
                Scenario::Connect { .. } | Scenario::Rest { .. } | Scenario::Data { .. }
            ),
            Self::Udp => matches!(scenario, Scenario::Data { .. } | Scenario::Rtp { .. }),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Callboard => "callboard",
            Self::Peerjs => "peerjs",
            Self::SocketIo => "socketio",
            Self::YWebrtc => "y-webrtc",
            Self::Matchbox => "matchbox",
            Self::Offers => "offers",
            Self::Janus => "janus",
            Self::Udp => "udp",
        })
    }
}
