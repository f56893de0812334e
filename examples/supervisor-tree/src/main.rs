//! A call through the server, and the supervision tree that carries it, for watching and for fault injection.

mod cli;
mod guest;
mod headless;
mod hold;
mod hooks;
mod http;
mod operator;
mod pages;
mod process;
mod room;
mod watch;

use std::process::ExitCode;

use callboard_signaling::Run;
use clap::Parser;

use crate::cli::Cli;
use crate::operator::Operator;
use crate::process::Server;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = cli.watch || cli.headless;
    let filter = if quiet { "off" } else { "info" };
    example_pages::log_by_default(filter);
    // The system has ended when its error is printed, so that nothing is printed after it.
    let served = actix::System::new().block_on(serve(cli));
    match served {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("supervisor-tree: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the server; returns whether all actors into which faults were injected have recovered in time.
async fn serve(cli: Cli) -> Result<bool, Box<dyn std::error::Error>> {
    let run = Run::new()?;
    let operator = Operator::new(cli.address(), cli.admin_token.as_deref());
    if operator == Operator::Nobody {
        log::warn!(
            "access to the tree is off: clients of other machines can reach this address, and there is no --admin-token"
        );
    }
    let server = Server::start(cli.address(), operator, &cli.web, &cli.network).await?;
    if cli.watch {
        // The task ends with the process.
        drop(actix::spawn(watch::watch(server.admin.clone(), server.address)));
    }
    let run = server.part_of(run);
    if !cli.headless {
        run.wait().await?;
        return Ok(true);
    }
    match run.until(headless::run(&server, cli.peers, cli.seconds)).await? {
        Some(played) => Ok(played?),
        None => Ok(true),
    }
}
