//! Question to a running server whether it is ready, for containers that have no program but the server's own.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;

/// Asks a server over HTTP; succeeds if it answers with 200. Blocks the thread, for a few seconds at most.
///
/// A program calls it when it is started as the health check of another process of its own, and ends with the outcome.
/// `url` is `http://HOST[:PORT][/PATH]`, best `/readyz` of `callboard-admin`; there is no TLS, which a check on the
/// same machine does not need.
///
/// ```no_run
/// let url = "http://127.0.0.1:8080/readyz";
/// std::process::exit(match callboard_signaling::check_health(url) {
///     Ok(()) => 0,
///     Err(error) => {
///         eprintln!("{error}");
///         1
///     }
/// });
/// ```
///
/// # Errors
/// [`HealthCheckError`]
pub fn check_health(url: &str) -> Result<(), HealthCheckError> {
    let rest = url.strip_prefix("http://").ok_or(HealthCheckError::BadUrl)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain(host) || !plain(path) {
        return Err(HealthCheckError::BadUrl);
    }
    let status = ask(host, if path.is_empty() { "/" } else { path })?;
    if status == 200 { Ok(()) } else { Err(HealthCheckError::NotReady(status)) }
}

/// Reason why a server does not count as ready.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HealthCheckError {
    /// The URL is not `http://HOST[:PORT][/PATH]`.
    #[error("not a URL of the form http://HOST[:PORT][/PATH]")]
    BadUrl,
    /// The server cannot be reached, or does not answer in time.
    #[error("no answer: {0}")]
    NoAnswer(#[from] io::Error),
    /// The server answers with another status than 200.
    #[error("it answers with status {0}")]
    NotReady(u16),
}

/// Returns the status of the answer to a GET request.
fn ask(host: &str, path: &str) -> io::Result<u16> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { host.to_owned() } else { format!("{host}:80") };
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let address = target.to_socket_addrs()?.next().ok_or_else(nowhere)?;
    let mut tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes())?;
    // HTTP/1.1 200
    let mut line = [0; 12];
    tcp.read_exact(&mut line)?;
    let line = std::str::from_utf8(&line).ok();
    let status = line.and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1");
    status.and_then(|status| status.parse().ok()).ok_or_else(strange)
}

/// Longest time to connect, and to wait for a part of the answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns the outcome of a check whose server gives this answer, and the request.
    fn check(path: &str, answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                tcp.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            tcp.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let outcome = check_health(&url).map_err(|error| error.to_string());
        (outcome, server.join().unwrap())
    }

    #[test]
    fn status_200_is_healthy_and_no_other() {
        let (outcome, request) = check("/readyz", "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(outcome, Ok(()));
        assert!(request.starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert!(check("", "HTTP/1.1 200 OK\r\n").1.starts_with("GET / HTTP/1.1\r\n"));
        let (outcome, _) = check("/readyz", "HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(outcome, Err("it answers with status 503".to_owned()));
        for answer in ["", "HTTP/1.1 2", "HTTP/1.1 abc\r\n", "220 smtp.example ESMTP\r\n"] {
            assert!(check("/", answer).0.unwrap_err().starts_with("no answer: "), "{answer}");
        }
    }

    #[test]
    fn a_port_without_a_listener_does_not_answer() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{nobody}/readyz");
        assert!(matches!(check_health(&url), Err(HealthCheckError::NoAnswer(_))));
    }

    #[test]
    fn what_is_no_url_is_not_asked() {
        for url in [
            "",
            "127.0.0.1:8080",
            "https://127.0.0.1/",
            "http://",
            "http:///readyz",
            "http://a b/",
            "http://a/\r\nx",
        ] {
            assert!(matches!(check_health(url), Err(HealthCheckError::BadUrl)), "{url}");
        }
    }
}
