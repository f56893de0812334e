//! Command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use example_pages::options::{IceServers, Web};
use example_pages::process::Process;

/// Browsers in a call, each connected to each other, that find one another through this server.
///
/// Serves a page at http://ADDRESS/ROOM and the signaling of its room at /socket/ROOM. Without a configuration
/// there are the rooms `room` (for 2) and `other` (for 4), and one user, USERNAME with the password PASSWORD.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Where to listen; port 0 takes a free one, printed in the first line of output. A socket that the process
    /// inherits (LISTEN_FDS) takes its place
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Users and rooms, a TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Serve https with this certificate chain (PEM); read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) web: Web,

    #[command(flatten)]
    pub(crate) ice_servers: IceServers,

    #[command(flatten)]
    pub(crate) process: Process,

    /// How long connections may take to finish after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) drain_seconds: Duration,
}

impl Cli {
    /// Returns certificate and key: both, or none.
    pub(crate) fn tls(&self) -> Option<(PathBuf, PathBuf)> {
        self.tls_cert.clone().zip(self.tls_key.clone())
    }
}

/// Parses seconds; more than a day is a typing error.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if seconds > 86_400 {
        return Err("more than a day".into());
    }
    Ok(Duration::from_secs(seconds.into()))
}

const AFTER_HELP: &str = "\
SIGINT or SIGTERM: every client is told \"Room closed\", then the server ends with code 0; a second one ends it at once.
Log lines go to stderr; RUST_LOG chooses them (default: info).";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        assert!(Cli::try_parse_from(["mesh-call", "--tls-cert", "a.pem"]).is_err());
        assert!(Cli::try_parse_from(["mesh-call", "--tls-key", "a.pem"]).is_err());
        let both = ["mesh-call", "--tls-cert", "a.pem", "--tls-key", "b.pem"];
        assert_eq!(
            Cli::try_parse_from(both).unwrap().tls(),
            Some(("a.pem".into(), "b.pem".into()))
        );
    }

    #[test]
    fn the_drain_time_is_in_whole_seconds() {
        let parse = |text| Cli::try_parse_from(["mesh-call", "--drain-seconds", text]);

        assert_eq!(parse("0").unwrap().drain_seconds, Duration::ZERO);
        assert!(parse("-1").is_err());
        assert!(parse("100000").is_err());
        assert!(parse("soon").is_err());
    }
}
