//! An offer over HTTP, and its answer, as WHIP does it (RFC 9725 §4.2).

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(super) async fn post(server: SocketAddr, path: &str, offer: String) -> io::Result<String> {
    let tcp = TcpStream::connect(server).await?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(tcp)).await.map_err(io::Error::other)?;
    // Ends with `sender`.
    tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, server.to_string())
        .header(CONTENT_TYPE, "application/sdp")
        .body(Full::new(Bytes::from(offer)))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), MOST).collect().await.map_err(io::Error::other)?;
    let body = String::from_utf8(body.to_bytes().to_vec()).map_err(io::Error::other)?;
    if !status.is_success() {
        return Err(io::Error::other(format!("{path}: {status}: {body}")));
    }
    Ok(body)
}

/// No answer is longer.
const MOST: usize = 1 << 20;
