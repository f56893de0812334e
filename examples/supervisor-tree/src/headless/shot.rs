//! Injected faults and their targets.

use callboard_signaling::admin::{FaultKind, Tree};

/// Kind of fault.
pub(crate) struct Shot {
    /// Its name in the table.
    pub(crate) name: &'static str,
    pub(crate) what: What,
}

/// Target and kind of the fault.
pub(crate) enum What {
    /// The first node of the tree for which the function returns true.
    Node(FaultKind, fn(&Tree, &Target<'_>) -> bool),
    /// The victim's next handshake, which is held; to get one, its connection is killed first.
    Handshake,
    /// The victim's WebSocket, which is cut.
    Cable,
}

/// Client that is hit.
pub(crate) struct Target<'a> {
    pub(crate) peer: &'a str,
    pub(crate) room: &'a str,
    /// Path of the client's peer connection.
    pub(crate) connection: Option<&'a str>,
}

/// One of each kind, the smallest first.
pub(crate) const SHOTS: [Shot; 13] = [
    Shot { name: "connection panics", what: What::Node(FaultKind::Panic, is_connection) },
    Shot { name: "connection killed", what: What::Node(FaultKind::Kill, is_connection) },
    Shot { name: "handshake fails", what: What::Handshake },
    Shot { name: "WebRTC peer panics", what: What::Node(FaultKind::Panic, is_server_peer) },
    Shot { name: "peer panics", what: What::Node(FaultKind::Panic, is_peer) },
    Shot { name: "peer stopped", what: What::Node(FaultKind::Stop, is_peer) },
    Shot { name: "WebSocket unplugged", what: What::Cable },
    Shot { name: "room panics", what: What::Node(FaultKind::Panic, is_room) },
    Shot { name: "room killed, peers and all", what: What::Node(FaultKind::Kill, is_room_node) },
    Shot {
        name: "UDP socket panics",
        what: What::Node(FaultKind::Panic, |node, _| node.id == "udp 0"),
    },
    Shot {
        name: "HTTP server panics",
        what: What::Node(FaultKind::Panic, |node, _| node.path == "server/http"),
    },
    Shot {
        name: "all rooms killed",
        what: What::Node(FaultKind::Kill, |node, _| node.path == "server/rooms"),
    },
    Shot {
        name: "all of WebRTC killed",
        what: What::Node(FaultKind::Kill, |node, _| node.path == "server/webrtc"),
    },
];

fn is_connection(node: &Tree, target: &Target<'_>) -> bool {
    target.connection == Some(node.path.as_str())
}

fn is_peer(node: &Tree, target: &Target<'_>) -> bool {
    node.id == target.peer
}

fn is_server_peer(node: &Tree, target: &Target<'_>) -> bool {
    node.id.strip_prefix("webrtc:") == Some(target.peer)
}

fn is_room(node: &Tree, target: &Target<'_>) -> bool {
    node.path
        .strip_suffix("/room")
        .is_some_and(|above| above.ends_with(&format!("/{}", target.room)))
}

fn is_room_node(node: &Tree, target: &Target<'_>) -> bool {
    node.path == format!("server/rooms/{}", target.room)
}
