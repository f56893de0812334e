//! Command line.

use clap::Parser;
use example_pages::options::{Network, Web};
use example_pages::process::Process;

/// A peer connection on the server that sends back what a browser sends: messages, sound and pictures.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// Where to listen
    #[arg(value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: String,

    #[command(flatten)]
    pub(crate) network: Network,

    #[command(flatten)]
    pub(crate) web: Web,

    #[command(flatten)]
    pub(crate) process: Process,
}
