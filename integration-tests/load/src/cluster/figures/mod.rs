//! Figures of a cluster, beside their goals.

mod alone;
mod crowd;
mod drain;
mod outages;
mod traffic;

use std::error::Error;
use std::path::Path;
use std::{io, thread};

use clap::{Args, ValueEnum};

use super::bed::Bed;
use super::stage::{How, Stage, hosts};
use crate::descriptors;

#[derive(Args)]
pub(crate) struct ClusterOptions {
    /// Number of clients in rooms of ten, where nodes are drained, killed and cut off.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(30..=10_000))]
    peers: u16,
    /// Number of receivers of a message to all.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(4..=10_000))]
    receivers: u16,
    /// Length of each measurement of traffic, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Measure only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Alone,
    Messages,
    FanOut,
    Opening,
    Drain,
    Reconnects,
    Leader,
    Killed,
    Gone,
    CutOff,
}

/// Figure, and what it should be.
pub(super) struct Figure {
    what: &'static str,
    is: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    fn new(what: &'static str, is: f64, unit: &'static str) -> Self {
        Self { what, is, unit, goal: None }
    }

    fn at_most(self, most: f64) -> Self {
        Self { goal: Some(Goal::AtMost(most)), ..self }
    }

    fn at_least(self, least: f64) -> Self {
        Self { goal: Some(Goal::AtLeast(least)), ..self }
    }

    fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::AtMost(most) => self.is <= most,
            Goal::AtLeast(least) => self.is >= least,
        })
    }

    fn print(&self) {
        let goal = match self.goal {
            Some(Goal::AtMost(most)) => format!("≤ {most} {}", self.unit),
            Some(Goal::AtLeast(least)) => format!("≥ {least} {}", self.unit),
            None => String::new(),
        };
        let verdict = match self.is_met() {
            _ if cfg!(debug_assertions) => "",
            Some(true) => "met",
            Some(false) => "not met",
            None => "",
        };
        let is = format!("{:.2} {}", self.is, self.unit);
        println!("{:<68} {is:>14} {goal:>13}  {verdict}", self.what);
    }

    fn print_json(&self) {
        let (most, least) = match self.goal {
            Some(Goal::AtMost(most)) => (Some(most), None),
            Some(Goal::AtLeast(least)) => (None, Some(least)),
            None => (None, None),
        };
        let line = serde_json::json!({
            "figure": self.what,
            "is": self.is,
            "unit": self.unit,
            "at_most": most,
            "at_least": least,
        });
        println!("{line}");
    }
}

/// Measures all, and prints each figure as soon as it is there.
pub(crate) fn run(options: &ClusterOptions) -> Result<(), Box<dyn Error>> {
    descriptors::allow(u64::from(options.peers.max(options.receivers)) + 1_000)?;
    if cfg!(debug_assertions) {
        eprintln!("a build without optimisation: its figures judge nothing");
    }
    let folder = std::env::temp_dir().join(format!("callboard-cluster-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    // A thread that moves to other networks, and whose end ends all that it has started.
    let measured = thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            let bed = Bed::new(&hosts(&NODES));
            // After that: its threads are in the clients' network.
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(measure(options, bed, &folder))
        });
        measuring.join()
    });
    let measured = measured.map_err(|_| "a measurement has failed")?;
    match measured {
        Ok(()) => std::fs::remove_dir_all(&folder)?,
        Err(error) => {
            return Err(format!("{error}; logs are in {}", folder.display()).into());
        }
    }
    Ok(())
}

async fn measure(options: &ClusterOptions, bed: Bed, folder: &Path) -> io::Result<()> {
    let show = |figures: Vec<Figure>| {
        for figure in figures {
            if options.json { figure.print_json() } else { figure.print() }
        }
    };
    let chosen = |part: &Part| options.only.is_empty() || options.only.contains(part);
    if chosen(&Part::Alone) {
        show(alone::measure(folder, options.seconds).await?);
    }
    let mut stage = Stage::start(bed, &NODES, folder, How::default()).await?;
    let (peers, receivers) = (usize::from(options.peers), usize::from(options.receivers));
    for part in Part::value_variants().iter().filter(|part| chosen(part)) {
        show(match part {
            Part::Alone => continue,
            Part::Messages => traffic::messages(&stage, options.seconds).await?,
            Part::FanOut => traffic::fan_out(&stage, receivers, options.seconds).await?,
            Part::Opening => traffic::opening(&stage).await?,
            Part::Drain => drain::drained(&mut stage, peers).await?,
            Part::Reconnects => outages::reconnects(&stage).await?,
            Part::Leader => outages::leader(&mut stage).await?,
            Part::Killed => outages::killed(&mut stage, peers).await?,
            Part::Gone => outages::gone(&mut stage, peers).await?,
            Part::CutOff => outages::cut_off(&mut stage, peers).await?,
        });
    }
    Ok(())
}

/// Names of the nodes; clients that are not to be spread over four use the first three.
const NODES: [&str; 4] = ["a1", "b2", "c3", "d4"];
