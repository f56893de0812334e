//! The protocol of the PeerJS server: every client has an id, there are no rooms.

use std::io;
use std::net::SocketAddr;

use uuid::Uuid;

use super::{Socket, To, instead, next, open};

pub(super) async fn join(server: SocketAddr) -> io::Result<(Socket, String)> {
    let id = Uuid::new_v4().to_string();
    // The token is for clients that come back under the same id.
    let path = format!("/peerjs?key=peerjs&id={id}&token={id}&version={VERSION}");
    let mut socket = open(server, &path).await?;
    let first = next(&mut socket).await?;
    match first.as_str() {
        r#"{"type":"OPEN"}"# => Ok((socket, id)),
        other => Err(instead(other, "OPEN")),
    }
}

pub(super) fn message(event: &str, data: &str, to: To<'_>) -> Option<String> {
    let To::Peer(id) = to else { return None };
    Some(format!(
        r#"{{"type":"OFFER","dst":"{id}","payload":{{"event":"{event}","data":"{data}"}}}}"#
    ))
}

/// Version that PeerJS's client sends.
const VERSION: &str = "1.5.5";
