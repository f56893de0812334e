//! Janus' EchoTest plugin: binary messages come back unchanged.

use std::io;
use std::net::SocketAddr;

use serde_json::json;

use super::{Handle, Session};

pub(in crate::webrtc) async fn offer(
    server: SocketAddr,
    sdp: String,
) -> io::Result<(String, Session)> {
    let mut handle = Handle::attach(server, "janus.plugin.echotest").await?;
    let body = json!({ "audio": false, "video": false, "data": true });
    let told = handle.request(body, Some(("offer", sdp))).await?;
    let answer = told["jsep"]["sdp"].as_str().ok_or(io::ErrorKind::InvalidData)?;
    Ok((answer.to_owned(), handle.keep()))
}
