//! Command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use example_pages::bots::BotOptions;
use example_pages::options::{Network, Web};
use example_pages::process::Process;

/// A call through this server, and beside it the supervision tree that carries it, with fault injection.
///
/// Serves a page at http://ADDRESS/ROOM, for any name of a room; open it twice.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Where to listen [default: 127.0.0.1:8080, and with --headless any free port]; port 0 takes a free one, printed
    /// in the first line of output. A socket that the process inherits (LISTEN_FDS) takes its place
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// Token, of at least 8 characters, that lets a client read the tree and inject faults from anywhere. Without it
    /// only this machine may
    #[arg(long, value_name = "TOKEN", env = "CALLBOARD_ADMIN_TOKEN", hide_env_values = true, value_parser = token)]
    pub(crate) admin_token: Option<String>,

    /// File through which this process hands its rooms over at SIGTERM, and the next one takes them: clients come back
    /// to their rooms as who they were. In a folder of the server's own; best with a socket that is inherited
    #[arg(long, value_name = "FILE", conflicts_with = "headless")]
    pub(crate) hand_over: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) bots: BotOptions,

    #[command(flatten)]
    pub(crate) web: Web,

    #[command(flatten)]
    pub(crate) network: Network,

    #[command(flatten)]
    pub(crate) process: Process,

    /// Draw the tree in this terminal, as long as the server runs
    #[arg(long, conflicts_with = "headless")]
    pub(crate) watch: bool,

    /// Run without browsers: inject faults into peers in this process, and print the recovery times. Ends with code 0
    /// if all recovered in time
    #[arg(long)]
    pub(crate) headless: bool,

    /// How long to inject faults; at least one of each kind is injected
    #[arg(long, value_name = "SECONDS", default_value = "10", requires = "headless", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// Number of peers, 2 to 24: each gets a message of every other in its room 25 times a second
    #[arg(long, value_name = "NUMBER", default_value_t = 6, requires = "headless", value_parser = clap::value_parser!(u16).range(2..=24))]
    pub(crate) peers: u16,
}

impl Cli {
    /// Returns the address that the server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        let port = if self.headless { 0 } else { PORT };
        self.listen.unwrap_or((Ipv4Addr::LOCALHOST, port).into())
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

/// Checks a token: one that can be guessed protects nothing.
fn token(text: &str) -> Result<String, String> {
    if text.len() < SHORTEST_TOKEN {
        return Err(format!("shorter than {SHORTEST_TOKEN} characters"));
    }
    Ok(text.to_owned())
}

const PORT: u16 = 8080;
const SHORTEST_TOKEN: usize = 8;

const AFTER_HELP: &str = "\
SIGINT or SIGTERM: every client is told \"Room closed\", then the server ends with code 0; a second one ends it at once.
SIGTERM with --hand-over: clients are closed with 1001, and resume their sessions with the next process.
Log lines go to stderr; RUST_LOG chooses them.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parse = |arguments: &[&str]| {
            Cli::try_parse_from(["supervisor-tree"].iter().chain(arguments)).is_ok()
        };

        assert!(parse(&["--headless", "--seconds", "10", "--peers", "2"]));
        assert!(!parse(&["--headless", "--peers", "1"]));
        assert!(!parse(&["--headless", "--seconds", "soon"]));
        assert!(!parse(&["--headless", "--seconds", "100000"]));
        assert!(!parse(&["--headless", "--watch"]));
        assert!(!parse(&["--admin-token", "short"]));
        assert!(!parse(&["--admin-token", "1234567"]) && parse(&["--admin-token", "12345678"]));
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains(&format!("{SHORTEST_TOKEN} characters")), "{help}");
        assert!(parse(&["--listen", "0.0.0.0:0", "--admin-token", "long enough"]));
    }
}
