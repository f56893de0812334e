//! How a server's process fits into what runs it: its log, its health check, a listening socket that it inherits.

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use callboard_peer_connection::RateLimitedLog;
use callboard_signaling::{check_health, json_log_line};
use clap::{Args, ValueEnum};
use listenfd::ListenFd;

/// Options of a server's process.
#[derive(Args, Clone, Debug, Default)]
pub struct Process {
    /// Format of the log on stderr
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, env = "CALLBOARD_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// Start no server, but ask the one at this URL, such as http://127.0.0.1:8080/readyz, whether it is ready. Ends
    /// with code 0 if it answers with 200
    #[arg(long, value_name = "URL")]
    pub health_check: Option<String>,
}

/// Format of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// A JSON object a line, with the ids of room, peer and connection as fields
    Json,
}

impl Process {
    /// Sets up logging to stderr by `RUST_LOG`, or else by this filter. Returns the code with which the process ends,
    /// if it was only asked for a health check.
    pub fn begin(&self, filter: &str) -> Option<ExitCode> {
        if let Some(url) = &self.health_check {
            return Some(match check_health(url) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{url}: {error}");
                    ExitCode::FAILURE
                }
            });
        }
        log_by_default(filter, self.log_format);
        None
    }
}

/// Sets up logging to stderr by `RUST_LOG`, or else by this filter, without actix-http's line for each malformed
/// request: any client may send any number of them; and without str0m's for each section of audio after the first, in
/// which Chromium offers redundancy (RFC 2198) that is not agreed on. Messages of the protocol libraries about a peer's
/// packets are limited to a few lines of a kind in a minute, and a count.
pub fn log_by_default(filter: &str, format: LogFormat) {
    let filter =
        format!("{filter},actix_http::h1::dispatcher=off,str0m::format::payload_params=error");
    let filter = env_logger::Env::default().default_filter_or(filter);
    let mut builder = env_logger::Builder::from_env(filter);
    if format == LogFormat::Json {
        builder.format(json_log_line);
    }
    let logger = builder.build();
    let most = logger.filter();
    RateLimitedLog::new(logger).also("actix_http").install(most).expect("the only logger");
}

/// Returns the listening socket that another program has opened for this process and stays open while the process is
/// replaced (`LISTEN_FDS`, as systemd's socket activation does it). Best called first in `main`.
///
/// # Errors
/// What was handed over is no listening TCP socket.
pub fn inherited_listener() -> io::Result<Option<TcpListener>> {
    let inherited = ListenFd::from_env().take_tcp_listener(0);
    inherited.map_err(|error| io::Error::new(error.kind(), format!("LISTEN_FDS: {error}")))
}
