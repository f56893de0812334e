//! HTTP requests, each on a connection of its own.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Sends a request; returns the time at which it was sent, and the answer if its status is a success.
pub(crate) async fn ask(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: (&str, String),
) -> io::Result<(Instant, String)> {
    let tcp = TcpStream::connect(server).await?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(tcp)).await.map_err(io::Error::other)?;
    // It ends with `sender`.
    tokio::spawn(connection);
    let (kind, body) = body;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, server.to_string())
        .header(CONTENT_TYPE, kind)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let sent = Instant::now();
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), MOST).collect().await.map_err(io::Error::other)?;
    let body = String::from_utf8(body.to_bytes().to_vec()).map_err(io::Error::other)?;
    if !status.is_success() {
        return Err(io::Error::other(format!("{method} {path}: {status}: {body}")));
    }
    Ok((sent, body))
}

/// Longest answer, in bytes.
const MOST: usize = 4 << 20;
