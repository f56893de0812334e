//! What `examples/deploy` contains, as far as it can be tried on one machine: with the real proxies, systemd's own
//! tools and Prometheus, and without a container engine.

mod cluster;
mod container;
mod join;
mod json_log;
mod logged;
mod prometheus;
mod proxies;
mod systemd;

use std::io;
use std::path::{Path, PathBuf};

use integration_tests::{Moment, PATIENCE, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Returns the path of a file in `examples/deploy`.
fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/deploy").join(file)
}

/// Returns the content of a file in `examples/deploy`.
fn text(file: &str) -> String {
    let path = path(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns this text with `old` replaced, which is there once.
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old:?} in\n{text}");
    text.replace(old, new)
}

/// Returns the answer to a GET request: its head and its body.
async fn get(address: &str, path: &str, headers: &str) -> io::Result<(String, String)> {
    let mut connection = TcpStream::connect(address).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let is_chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if is_chunked { joined(body) } else { Some(body.to_owned()) };
    Ok((head.to_owned(), body.ok_or(io::ErrorKind::InvalidData)?))
}

/// Returns a body that came in chunks as one.
fn joined(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body += rest.get(..length)?;
        chunks = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// Waits until a GET request gets an answer with status 200, and returns its body.
async fn got(address: &str, path: &str) -> String {
    until(&format!("http://{address}{path}"), PATIENCE, async || {
        match get(address, path, "").await {
            Ok((head, body)) if head.starts_with("HTTP/1.1 200 ") => Moment::Now(body),
            other => Moment::NotYet(format!("{other:?}")),
        }
    })
    .await
}
