//! What is shot at.

use callboard_signaling::admin::{FaultKind, Tree};

/// A kind of shot.
pub(crate) struct Shot {
    /// What is said of it.
    pub(crate) name: &'static str,
    pub(crate) what: What,
}

/// At what, and how.
pub(crate) enum What {
    /// A node of the tree: the first for which this holds.
    Node(FaultKind, fn(&Tree, &Target<'_>) -> bool),
    /// The victim's next handshake, which is held; for that its connection is killed first.
    Handshake,
    /// The cable of the victim's WebSocket.
    Cable,
}

/// Who is meant.
pub(crate) struct Target<'a> {
    pub(crate) peer: &'a str,
    pub(crate) room: &'a str,
    /// The path of the victim's connection.
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
