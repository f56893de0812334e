//! Measures a server from outside: how much of the machine it takes, and how long its clients wait.
//!
//! The server is a process of its own, whose CPU time and memory the operating system tells. The tool starts several, one
//! after the other, in an interleaved order: Callboard and the floors below it, which speak the same protocol. Servers of
//! other makers are measured beside them where they run.

mod client;
mod goals;
mod http;
mod measure;
mod protocol;
mod report;
mod scenarios;
mod servers;
mod subject;
mod webrtc;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::report::Report;
use crate::scenarios::Scenario;
use crate::servers::Server;
use crate::subject::{Other, Subject};

/// Measure a server: its CPU time and memory, and how long its clients wait.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one scenario against each server in turn.
    Run {
        #[command(subcommand)]
        scenario: Scenario,
        #[command(flatten)]
        how: How,
    },
    /// Measure what Callboard is to reach, beside its floors, within ten minutes.
    Goals {
        /// How often each server is measured; the median counts.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
        rounds: u32,
        /// A Janus that runs already, to be measured beside as well.
        #[arg(long = "other", value_name = "NAME=janus@ADDRESS#PID")]
        others: Vec<Other>,
    },
    /// Be one of the servers, until standard input ends. The tool starts itself in this way.
    #[command(hide = true)]
    Serve {
        /// Which.
        server: Server,
    },
    /// Be those who rush in, until standard input ends.
    #[command(hide = true)]
    Crowd {
        /// Where to.
        server: SocketAddr,
        /// How many.
        peers: usize,
    },
}

#[derive(Args)]
struct How {
    /// Which servers; by default all that the scenario is about. Ratios are to the first.
    #[arg(long, value_delimiter = ',', global = true)]
    servers: Vec<Server>,
    /// And somebody else's server, which runs already and is left running. What its processes have started counts with
    /// them.
    #[arg(long = "other", value_name = "NAME=PROTOCOL@ADDRESS#PID[,PID...]", global = true)]
    others: Vec<Other>,
    /// How often each server is measured; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99), global = true)]
    rounds: u32,
    /// Print JSON in place of the table.
    #[arg(long, global = true)]
    json: bool,
}

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let done = match Cli::parse().command {
        Command::Serve { server } => servers::serve(server).map_err(Into::into),
        Command::Crowd { server, peers } => {
            scenarios::bystander::crowd(server, peers).map_err(Into::into)
        }
        Command::Run { scenario, how } => run(&scenario, &how),
        Command::Goals { rounds, others } => goals::run(rounds, &others),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(scenario: &Scenario, how: &How) -> Result<(), Box<dyn Error>> {
    let servers = if how.servers.is_empty() { scenario.servers() } else { &how.servers };
    let report = measure_all(scenario, servers, &how.others, how.rounds)?;
    if how.json {
        report.print_json()
    } else {
        report.print_table()
    }
    Ok(())
}

/// Each of the servers so many times, interleaved, so that whatever else the machine does meets all of them.
fn measure_all(
    scenario: &Scenario,
    servers: &[Server],
    others: &[Other],
    rounds: u32,
) -> Result<Report, Box<dyn Error>> {
    scenario.check(servers)?;
    let subjects = Subject::all(servers, others, scenario, rounds)?;
    // As many threads as there are: a client that waits for the other clients would measure itself.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new(scenario, &subjects);
    for _ in 0..rounds {
        for subject in &subjects {
            let measured = runtime.block_on(async {
                let process = subject.start().await?;
                let measured = scenario.measure(&process).await?;
                // Whatever was measured of one that did not survive it is worth nothing.
                process.usage()?;
                io::Result::Ok(measured)
            });
            report.add(subject, measured.map_err(|error| format!("{subject}: {error}"))?);
        }
    }
    Ok(report)
}
