//! A call through the server, and the supervision tree that carries it, for watching and for fault injection.

mod cli;
mod guest;
mod headless;
mod hold;
mod hooks;
mod http;
mod media;
mod operator;
mod pages;
mod process;
mod room;
mod watch;

use std::net::TcpListener;
use std::process::ExitCode;

use callboard_signaling::Run;
use clap::Parser;
use example_pages::process::inherited_listener;

use crate::cli::Cli;
use crate::http::Listen;
use crate::operator::Operator;
use crate::process::Server;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = cli.watch || cli.headless;
    let filter = if quiet { "off" } else { "info" };
    let inherited = match inherited_listener() {
        Ok(inherited) => inherited,
        Err(error) => return fail(&error),
    };
    if let Some(code) = cli.process.begin(filter) {
        return code;
    }
    // The system has ended when its error is printed, so that nothing is printed after it.
    let served = actix::System::new().block_on(serve(cli, inherited));
    match served {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("supervisor-tree: {error}");
    ExitCode::FAILURE
}

/// Runs the server; returns whether all actors into which faults were injected have recovered in time.
async fn serve(
    cli: Cli,
    inherited: Option<TcpListener>,
) -> Result<bool, Box<dyn std::error::Error>> {
    let run = Run::new()?;
    let listen = Listen::new(cli.address(), inherited)?;
    let operator = Operator::new(listen.address, cli.admin_token.as_deref());
    if operator == Operator::Nobody {
        log::warn!(
            "access to the tree is off: clients of other machines can reach this address, and there is no --admin-token"
        );
    }
    let rooms = room::rooms(cli.hand_over);
    let server = Server::start(listen, operator, (rooms, cli.bots), &cli.web, &cli.network).await?;
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
