//! Load generator: measures a server's CPU time and memory from outside, and the latency that its clients see.
//!
//! The server is a process of its own, whose CPU time and memory the operating system reports. The tool starts several
//! servers, one after the other, in an interleaved order: Callboard and the baselines, which speak the same protocol.
//! Servers of other projects that already run can be measured beside them.

mod check;
mod client;
mod cluster;
mod descriptors;
mod faults;
mod goals;
mod http;
mod measure;
mod plot;
mod protocol;
mod report;
mod scenarios;
mod servers;
mod statistics;
mod subject;
mod webrtc;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use integration_tests::Namespace;

use crate::cluster::figures::{self, ClusterOptions};
use crate::cluster::node::{self, NodeOptions};
use crate::faults::FaultOptions;
use crate::report::Report;
use crate::scenarios::{Scenario, growth};
use crate::servers::Server;
use crate::subject::{Other, Subject};

/// Measure a server: its CPU time and memory, and the latency that its clients see.
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
    /// Measure Callboard's performance goals against its baselines, in some ten minutes.
    Goals {
        /// How often each server is measured: the median counts. Fewer than five are not judged.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
        rounds: u32,
        /// A Janus, or a server called `webrtc-rs`, that runs already, to be measured as well; with `--media`, a
        /// forwarder of other makers, such as Pion.
        #[arg(long = "other", value_name = "NAME=PROTOCOL@ADDRESS#PID")]
        others: Vec<Other>,
        /// Measure growth and a crowd as well, which takes ten minutes more.
        #[arg(long)]
        long: bool,
        /// Measure the goals of media rooms in place of the others, in some fifteen minutes.
        #[arg(long, conflicts_with = "long")]
        media: bool,
        /// Measure what Chromium and Firefox see of media rooms as well, in half an hour more. Takes root.
        #[arg(long, requires = "media")]
        browsers: bool,
    },
    /// Let faults happen to three nodes of a cluster, with three NATS servers, and check the history of their clients.
    /// Takes root.
    Faults(FaultOptions),
    /// Measure a cluster of four nodes and three NATS servers beside its goals, in some five minutes: messages and
    /// rooms over nodes, nodes that are drained, killed and cut off, NATS without its leader. Takes root.
    Cluster(ClusterOptions),
    /// Check the histories of a run: files with a JSON object on each line.
    Check {
        /// The files of all processes of the run.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run a node of a cluster, until it is killed.
    #[command(hide = true)]
    Node(NodeOptions),
    /// Run one of the servers, until standard input ends. The tool starts itself in this way.
    #[command(hide = true)]
    Serve {
        /// Which server.
        server: Server,
        /// Estimate the bandwidth of each client.
        #[arg(long)]
        estimate: bool,
        /// Port of the one that is supervised.
        #[arg(long)]
        port: Option<u16>,
    },
    /// Run the clients that connect all at once, until standard input ends.
    #[command(hide = true)]
    Rush {
        /// The server's address.
        server: SocketAddr,
        /// How many clients.
        peers: usize,
    },
    /// Run clients that talk on data channels, once there is a line of input.
    #[command(hide = true)]
    Talk {
        /// The server's address.
        server: SocketAddr,
        /// How many clients.
        connections: usize,
        /// For how long.
        seconds: u64,
    },
    /// Run viewers that can be made to stand still, until standard input ends.
    #[command(hide = true)]
    Stand {
        /// The server's address.
        server: SocketAddr,
        /// How many viewers.
        viewers: usize,
    },
    /// Keep a CPU busy, until standard input ends.
    #[command(hide = true)]
    Busy,
}

#[derive(Args)]
struct How {
    /// Which servers; by default all of the scenario's. Ratios are to the first.
    #[arg(long, value_delimiter = ',', global = true)]
    servers: Vec<Server>,
    /// A server of another project, which runs already and is left running. Child processes of its processes are
    /// counted with them.
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
        Command::Serve { server, estimate, port } => {
            servers::serve(server, estimate, port).map_err(Into::into)
        }
        Command::Rush { server, peers } => {
            scenarios::bystander::rush(server, peers).map_err(Into::into)
        }
        Command::Talk { server, connections, seconds } => {
            let time = Duration::from_secs(seconds);
            scenarios::crowd::talk_on_channels(server, connections, time).map_err(Into::into)
        }
        Command::Stand { server, viewers } => {
            scenarios::saturate::stand(server, viewers).map_err(Into::into)
        }
        Command::Busy => {
            scenarios::busy::keep_busy();
            Ok(())
        }
        Command::Faults(options) => faults::run(&options),
        Command::Cluster(options) => figures::run(&options),
        Command::Check { files } => check::run(&files),
        Command::Node(options) => node::serve(options),
        Command::Run { scenario, how } => run(scenario, &how),
        Command::Goals { rounds, others, media: true, browsers, .. } => {
            goals::run_media(rounds, &others, browsers)
        }
        Command::Goals { rounds, others, long, .. } => goals::run(rounds, &others, long),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(scenario: Scenario, how: &How) -> Result<(), Box<dyn Error>> {
    let (mut growth, mut file) = (Vec::new(), None);
    for scenario in scenario.each() {
        let servers = if how.servers.is_empty() { scenario.servers() } else { &how.servers };
        let report = measure_all(&scenario, servers, &how.others, how.rounds)?;
        if how.json {
            report.print_json()
        } else {
            report.print_table()
        }
        if let Scenario::Growth { of: Some(axis), most, svg: Some(svg), .. } = scenario {
            growth.push((axis, axis.sizes(most)?, report));
            file = Some(svg);
        }
    }
    if let Some(file) = file {
        let caption = match how.rounds {
            1 => format!("one round, {}", measure::machine()),
            rounds => {
                format!("medians and spreads of {rounds} rounds, {}", measure::machine())
            }
        };
        std::fs::write(file, growth::picture(&growth, &caption))?;
    }
    Ok(())
}

/// Measures each of the servers `rounds` times, interleaved, so that other load on the machine affects all of them.
fn measure_all(
    scenario: &Scenario,
    servers: &[Server],
    others: &[Other],
    rounds: u32,
) -> Result<Report, Box<dyn Error>> {
    scenario.check(servers)?;
    measure_subjects(scenario, &Subject::all(servers, others, scenario, rounds)?, rounds)
}

fn measure_subjects(
    scenario: &Scenario,
    subjects: &[Subject],
    rounds: u32,
) -> Result<Report, Box<dyn Error>> {
    if let Some(lacks) = scenario.lacks() {
        return Err(format!("{scenario}: {lacks}").into());
    }
    descriptors::allow(scenario.descriptors())?;
    if !scenario.has_a_network() {
        return Ok(measure_here(scenario, subjects, rounds)?);
    }
    let measured = thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            // All that is started from here on is in it.
            Namespace::new().enter();
            measure_here(scenario, subjects, rounds)
        });
        measuring.join()
    });
    Ok(measured.map_err(|_| format!("{scenario}: it has failed"))??)
}

fn measure_here(scenario: &Scenario, subjects: &[Subject], rounds: u32) -> Result<Report, String> {
    // As many threads as the machine has: a client that waits for the other clients would measure itself.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut report = Report::new(scenario, subjects);
    for _ in 0..rounds {
        for subject in subjects {
            let measured = runtime.block_on(async {
                let process = subject.start().await?;
                let measured = scenario.measure(&process).await?;
                // Figures of a server that has died are worthless.
                process.usage()?;
                io::Result::Ok(measured)
            });
            report.add(subject, measured.map_err(|error| format!("{subject}: {error}"))?);
        }
    }
    Ok(report)
}
