//! Callboard's protocol, which is that of the Membrane WebRTC Server.

use std::io;
use std::net::SocketAddr;

use serde::Deserialize;

use super::{Socket, To, instead, next, open};

#[derive(Deserialize)]
struct Authenticated {
    data: Identity,
}

#[derive(Deserialize)]
struct Identity {
    peer_id: String,
}

pub(super) async fn join(server: SocketAddr, room: &str) -> io::Result<(Socket, String)> {
    let mut socket = open(server, &format!("/socket/{room}")).await?;
    let first = next(&mut socket).await?;
    let identity = serde_json::from_str(&first);
    let Authenticated { data } = identity.map_err(|_| instead(&first, "authenticated"))?;
    Ok((socket, data.peer_id))
}

pub(super) fn message(event: &str, data: &str, to: To<'_>) -> String {
    match to {
        To::Peer(id) => format!(r#"{{"event":"{event}","data":"{data}","to":["{id}"]}}"#),
        To::All => format!(r#"{{"event":"{event}","data":"{data}","to":"all"}}"#),
    }
}
