//! Three nodes of one cluster and a NATS server, by one command; or one of the nodes.

mod faults;
mod guest;
mod hooks;
mod launcher;
mod nats;
mod node;
mod pages;
mod process;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use callboard_supervision::MainError;
use clap::Parser;
use example_pages::options::{Network, Web};
use example_pages::process::Process;

/// Three nodes of one cluster and a NATS server, with rooms that all nodes share.
///
/// Each node serves a page at http://ADDRESS/ROOM, for any name of a room. With --node, one node.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Cli {
    /// Where to listen; without --node, the first node: the second and the third have the next ports
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8101")]
    listen: SocketAddr,

    /// The program nats-server, 2.11 or newer [default: the one on the PATH, or that integration-tests/run has
    /// installed]
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    nats_server: Option<PathBuf>,

    #[command(flatten)]
    node: Node,

    #[command(flatten)]
    network: Network,

    #[command(flatten)]
    web: Web,

    #[command(flatten)]
    process: Process,
}

/// Options of a node.
#[derive(clap::Args, Debug)]
struct Node {
    /// Run one node of this name, and nothing else
    #[arg(long = "node", id = "node", value_name = "NAME", requires = "nats")]
    name: Option<String>,

    /// NATS servers, with commas between, such as nats://n1:4222,nats://n2:4222
    #[arg(long, value_name = "URLS", requires = "node")]
    nats: Option<String>,

    /// File of credentials for NATS
    #[arg(long, value_name = "FILE", requires = "node")]
    credentials: Option<PathBuf>,

    /// On how many NATS servers the records are kept, when there are none yet
    #[arg(long, value_name = "NUMBER", requires = "node", default_value_t = 1,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=5))]
    replicas: usize,

    /// Where clients reach this node, such as wss://a1.example.org [default: at the address of all nodes, behind a
    /// proxy]
    #[arg(long, value_name = "URL", requires = "node")]
    url: Option<String>,

    /// File that is locked as long as this process lives: the next one of the same name may then take its place at once
    #[arg(long, value_name = "FILE", requires = "node")]
    lock_file: Option<PathBuf>,

    /// Address of this machine at which the process listens as long as it lives, for the other nodes alone: when it
    /// refuses their connections, its rooms are free at once
    #[arg(long, value_name = "HOST:PORT", requires = "node")]
    liveness: Option<String>,

    /// For how many seconds a session holds, 1 to 3600 [default: 15]
    #[arg(long, value_name = "SECONDS", requires = "node", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    hold: Option<u64>,

    /// In how many seconds the clients are told to go to other nodes, at SIGTERM or `POST /cluster/drain`
    #[arg(long, value_name = "SECONDS", requires = "node", default_value_t = 10)]
    drain_spread: u64,

    /// Pass orders of pages for faults on, to the program that has started this one
    #[arg(long, hide = true, requires_all = ["node", "hold"])]
    faults: bool,
}

#[actix_web::main]
async fn main() -> Result<ExitCode, MainError> {
    let cli = Cli::parse();
    if let Some(code) = cli.process.begin("info") {
        return Ok(code);
    }
    match &cli.node.name {
        Some(name) => node::run(&cli, name).await?,
        None if cli.network.is_given() => {
            Err("--announce, --udp-port and --ice-server are for one node, by --node")?
        }
        None => launcher::run(cli.listen, cli.nats_server.as_deref()).await?,
    }
    Ok(ExitCode::SUCCESS)
}

const AFTER_HELP: &str = "\
SIGINT or SIGTERM: every client is told \"Room closed\", then the processes end, with code 0. At SIGTERM the clients of
a node with --node go on at other nodes before, if there are any.
Log lines go to stderr, those of the nodes after their names; RUST_LOG chooses them.";

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
        let parse = |arguments: &str| {
            let words = arguments.split_whitespace();
            Cli::try_parse_from(std::iter::once("cluster-example").chain(words)).is_ok()
        };

        assert!(parse("") && parse("--listen 127.0.0.1:0 --nats-server nats/bin/nats-server"));
        assert!(parse("--node a1 --nats nats://127.0.0.1:4222 --url wss://a1.example.org"));
        assert!(parse("--node a1 --nats nats://127.0.0.1:4222 --drain-spread 30"));
        assert!(parse("--node a1 --nats nats://127.0.0.1:4222 --liveness a1:7400"));
        assert!(!parse("--liveness 127.0.0.1:7400"));
        assert!(!parse("--node a1"));
        assert!(!parse("--nats nats://127.0.0.1:4222"));
        assert!(!parse("--url wss://a1.example.org"));
        for option in ["--hold 0", "--hold 3601", "--hold soon", "--replicas 0", "--replicas 6"] {
            assert!(
                !parse(&format!("--node a1 --nats nats://127.0.0.1:4222 {option}")),
                "{option}"
            );
        }
        assert!(!parse("--node a1 --nats nats://127.0.0.1:4222 --nats-server nats-server"));
    }
}
