//! Protocols between clients and servers.

use std::fmt;
use std::net::SocketAddr;

use clap::ValueEnum;

use crate::scenarios::Scenario;

/// Protocol of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// Callboard's signaling, which is that of the Membrane WebRTC Server.
    Callboard,
    /// The protocol of the PeerJS server.
    Peerjs,
    /// Socket.IO, with the events of `peers/socket_io.js`.
    #[value(name = "socketio")]
    SocketIo,
    /// The protocol of y-webrtc's signaling server.
    #[value(name = "y-webrtc")]
    YWebrtc,
    /// The protocol of matchbox_server.
    Matchbox,
    /// Offers over HTTP: an offer that is posted to `/echo` is answered by a peer that sends back all
    /// messages on data channels.
    Offers,
    /// Offers over HTTP to `/publish` and `/subscribe`: each published track goes to all who subscribe, in the order of
    /// the publishers. Offers to `/join/ROOM` are of participants of a call: each of them sends a picture and a sound
    /// and receives those of all others; another room ends the call before.
    Forwards,
    /// Janus' own protocol over a WebSocket, with its EchoTest and VideoRoom plugins.
    Janus,
    /// Datagrams in the format of our own UDP server.
    #[value(skip)]
    Udp,
}

/// Address and protocol of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

impl Protocol {
    /// Returns whether servers of this protocol can run the scenario.
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
            Self::Offers => matches!(
                scenario,
                Scenario::Connect { .. } | Scenario::Rest { .. } | Scenario::Data { .. }
            ),
            Self::Janus => matches!(
                scenario,
                Scenario::Connect { .. }
                    | Scenario::Rest { .. }
                    | Scenario::Data { .. }
                    | Scenario::Rtp { .. }
                    | Scenario::Call { .. }
            ),
            Self::Forwards => matches!(scenario, Scenario::Rtp { .. } | Scenario::Call { .. }),
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
            Self::Forwards => "forwards",
            Self::Janus => "janus",
            Self::Udp => "udp",
        })
    }
}
