//! The protocol of y-webrtc's signaling server: messages published on a topic go to all its subscribers. A room is a
//! topic; each client also subscribes to a topic of its own, for messages to it alone.

use std::io;
use std::net::SocketAddr;

use futures_util::SinkExt;
use uuid::Uuid;

use super::{Socket, To, instead, next, open};

pub(super) async fn join(server: SocketAddr, room: &str) -> io::Result<(Socket, String)> {
    let mut socket = open(server, "/").await?;
    let id = Uuid::new_v4().to_string();
    let subscribe = format!(r#"{{"type":"subscribe","topics":["{room}","{id}"]}}"#);
    socket.send(subscribe.into()).await.map_err(io::Error::other)?;
    // The server answers only this message, and handles messages in order.
    socket.send(r#"{"type":"ping"}"#.into()).await.map_err(io::Error::other)?;
    let first = next(&mut socket).await?;
    match first.as_str() {
        r#"{"type":"pong"}"# => Ok((socket, id)),
        other => Err(instead(other, "pong")),
    }
}

pub(super) fn message(event: &str, data: &str, to: To<'_>, room: &str) -> String {
    let topic = match to {
        To::Peer(id) => id,
        To::All => room,
    };
    format!(r#"{{"type":"publish","topic":"{topic}","event":"{event}","data":"{data}"}}"#)
}
