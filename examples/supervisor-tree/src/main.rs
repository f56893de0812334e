//! A call through the server, and the supervision tree that carries it: to be watched, and to be shot at.

mod cli;
mod guest;
mod headless;
mod hold;
mod hooks;
mod http;
mod hub;
mod operator;
mod pages;
mod process;
mod room;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Cli;
use crate::operator::Operator;
use crate::process::Server;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = cli.watch || cli.headless;
    let filter = if quiet { "off" } else { "info" };
    env_logger::init_from_env(env_logger::Env::default().default_filter_or(filter));
    actix::System::new().block_on(run(cli))
}

async fn run(cli: Cli) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    let operator = Operator::new(cli.address(), cli.admin_token.as_deref());
    if operator == Operator::Nobody {
        log::warn!(
            "the tree is shown to nobody: strangers can reach this address, and there is no --admin-token"
        );
    }
    let server = match Server::start(cli.address(), operator).await {
        Ok(server) => server,
        Err(error) => return failed(&error),
    };
    if cli.watch {
        // It ends with the process.
        drop(actix::spawn(watch::watch(server.admin.clone(), server.address)));
    }
    tokio::select! {
        played = headless::run(&server, cli.peers, cli.seconds), if cli.headless => {
            let in_time = server.stop().await;
            match played {
                Ok(true) if in_time => ExitCode::SUCCESS,
                Ok(true) => failed(&"not everything ended in time"),
                Ok(false) => ExitCode::FAILURE,
                Err(error) => failed(&error),
            }
        }
        () = signals.next() => {
            log::info!("shutting down");
            tokio::select! {
                in_time = server.stop() => {
                    if !in_time {
                        log::warn!("not everything ended in time");
                    }
                    ExitCode::SUCCESS
                }
                () = signals.next() => failed(&"ended by a second signal"),
            }
        }
        reason = server.tree.ended() => failed(&format!("everything that was tried failed again: {reason}")),
    }
}

/// SIGINT and SIGTERM.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("supervisor-tree: {error}");
    ExitCode::FAILURE
}
