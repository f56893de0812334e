//! The protocol of `matchbox_server`: all members of a room are told of each other, and send signals to one at a time.

use std::io;
use std::net::SocketAddr;

use serde::Deserialize;

use super::{Socket, To, instead, next, open};

#[derive(Deserialize)]
struct Assigned {
    #[serde(rename = "IdAssigned")]
    id: String,
}

pub(super) async fn join(server: SocketAddr, room: &str) -> io::Result<(Socket, String)> {
    let mut socket = open(server, &format!("/{room}")).await?;
    let first = next(&mut socket).await?;
    let assigned = serde_json::from_str(&first);
    let Assigned { id } = assigned.map_err(|_| instead(&first, "IdAssigned"))?;
    Ok((socket, id))
}

pub(super) fn message(event: &str, data: &str, to: To<'_>) -> Option<String> {
    let To::Peer(id) = to else { return None };
    Some(format!(
        r#"{{"Signal":{{"receiver":"{id}","data":{{"event":"{event}","data":"{data}"}}}}}}"#
    ))
}

/// Beginning of the message about a new member.
pub(super) const JOINED: &str = r#"{"NewPeer":"#;
