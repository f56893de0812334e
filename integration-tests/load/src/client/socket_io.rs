//! Socket.IO 5 over Engine.IO 4, with the events of `peers/socket_io.js`.

use std::io;
use std::net::SocketAddr;

use serde::Deserialize;

use super::{Socket, To, instead, next, open};
use futures_util::SinkExt;

#[derive(Deserialize)]
struct Connected {
    sid: String,
}

pub(super) async fn join(server: SocketAddr, room: &str) -> io::Result<(Socket, String)> {
    let mut socket = open(server, "/socket.io/?EIO=4&transport=websocket").await?;
    // Engine.IO's "open", and "connect" to the main namespace.
    let opened = next(&mut socket).await?;
    if !opened.starts_with("0{") {
        return Err(instead(&opened, "open"));
    }
    socket.send("40".into()).await.map_err(io::Error::other)?;
    let first = next(&mut socket).await?;
    let connected = first.strip_prefix("40").and_then(|text| serde_json::from_str(text).ok());
    let Connected { sid } = connected.ok_or_else(|| instead(&first, "connected"))?;
    let join = format!(r#"42["join","{room}"]"#);
    socket.send(join.into()).await.map_err(io::Error::other)?;
    loop {
        let text = next(&mut socket).await?;
        if text.starts_with(r#"42["authenticated""#) {
            return Ok((socket, sid));
        }
    }
}

pub(super) fn message(event: &str, data: &str, to: To<'_>) -> String {
    match to {
        To::Peer(id) => format!(r#"42["one","{id}","{event}","{data}"]"#),
        To::All => format!(r#"42["all","{event}","{data}"]"#),
    }
}

pub(super) fn mark(event: &str) -> String {
    format!(r#"42["{event}""#)
}

/// Engine.IO's ping: clients that do not answer are disconnected.
pub(super) const PING: &str = "2";
pub(super) const PONG: &str = "3";
