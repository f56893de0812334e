//! Injected faults and their targets.

use callboard_admin::{FaultKind, Tree};

/// Kind of fault.
pub(crate) struct Injection {
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
    WebSocket,
}

/// Client that is hit.
pub(crate) struct Target<'a> {
    pub(crate) peer: &'a str,
    pub(crate) room: &'a str,
    /// Path of the client's peer connection.
    pub(crate) connection: Option<&'a str>,
}

/// One of each kind, the smallest first.
pub(crate) const INJECTIONS: [Injection; 16] = [
    Injection { name: "connection panics", what: What::Node(FaultKind::Panic, is_connection) },
    Injection { name: "connection killed", what: What::Node(FaultKind::Kill, is_connection) },
    Injection { name: "handshake fails", what: What::Handshake },
    Injection { name: "WebRTC peer panics", what: What::Node(FaultKind::Panic, is_server_peer) },
    Injection { name: "media stage panics", what: What::Node(FaultKind::Panic, is_stage) },
    Injection { name: "publisher panics", what: What::Node(FaultKind::Panic, is_publisher) },
    Injection { name: "subscriber killed", what: What::Node(FaultKind::Kill, is_subscriber) },
    Injection { name: "peer panics", what: What::Node(FaultKind::Panic, is_peer) },
    Injection { name: "peer stopped", what: What::Node(FaultKind::Stop, is_peer) },
    Injection { name: "WebSocket unplugged", what: What::WebSocket },
    Injection { name: "room panics", what: What::Node(FaultKind::Panic, is_room) },
    Injection {
        name: "room killed, peers and all",
        what: What::Node(FaultKind::Kill, is_room_node),
    },
    Injection {
        name: "UDP socket panics",
        what: What::Node(FaultKind::Panic, |node, _| node.id == "udp 0"),
    },
    Injection {
        name: "HTTP server panics",
        what: What::Node(FaultKind::Panic, |node, _| node.path == "server/http"),
    },
    Injection {
        name: "all rooms killed",
        what: What::Node(FaultKind::Kill, |node, _| node.path == "server/rooms"),
    },
    Injection {
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

fn is_stage(node: &Tree, target: &Target<'_>) -> bool {
    node.path == format!("server/rooms/{}/media/stage", target.room)
}

fn is_publisher(node: &Tree, target: &Target<'_>) -> bool {
    node.id == "publisher" && is_of_media(node, target)
}

fn is_subscriber(node: &Tree, target: &Target<'_>) -> bool {
    node.id == "subscriber" && is_of_media(node, target)
}

/// Returns whether this is below the supervisor of the client's media, which is named after its connection.
fn is_of_media(node: &Tree, target: &Target<'_>) -> bool {
    let connection = target.connection.and_then(|path| path.rsplit('/').next());
    connection.is_some_and(|name| {
        node.path.starts_with(&format!("server/rooms/{}/media/{name}/", target.room))
    })
}

fn is_room(node: &Tree, target: &Target<'_>) -> bool {
    node.path
        .strip_suffix("/room")
        .is_some_and(|above| above.ends_with(&format!("/{}", target.room)))
}

fn is_room_node(node: &Tree, target: &Target<'_>) -> bool {
    node.path == format!("server/rooms/{}", target.room)
}
