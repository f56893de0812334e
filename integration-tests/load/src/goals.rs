//! Performance goals of Callboard, beside what it reaches on this machine.

use std::error::Error;

use crate::protocol::Protocol;
use crate::report::Report;
use crate::scenarios::Scenario;
use crate::servers::Server;
use crate::subject::{Other, Subject};

/// Measurement with a goal.
struct Part {
    scenario: Scenario,
    /// The baseline; none if the goal is for the figure itself.
    baseline: Option<Subject>,
    ours: &'static [Server],
    goal: Goal,
}

struct Goal {
    what: &'static str,
    /// Prefix of the names of its figures. The worst of all our figures counts.
    figures: &'static str,
    /// Upper limit: of the figure, or of its ratio to the baseline.
    most: f64,
    unit: &'static str,
}

fn parts(others: &[Other]) -> Vec<Part> {
    use Server::*;
    let part = |scenario, baseline: Option<Server>, ours, goal| {
        let baseline = baseline.map(Subject::Ours);
        Part { scenario, baseline, ours, goal }
    };
    let mut parts = vec![
        part(
            Scenario::Relay { pairs: 50, seconds: 3 },
            Some(Tokio),
            &[Callboard],
            Goal {
                what: "relay, CPU per message, to the hand-written relay",
                figures: "CPU s per million messages",
                most: 2.0,
                unit: "×",
            },
        ),
        part(
            Scenario::Fanout { receivers: 1_000, seconds: 3 },
            Some(Tokio),
            &[Callboard],
            Goal {
                what: "fan-out to 1,000, CPU, to the hand-written relay",
                figures: "CPU s per million deliveries",
                most: 1.7,
                unit: "×",
            },
        ),
        part(
            Scenario::Storm { peers: 1_000 },
            Some(Tokio),
            &[Callboard],
            Goal {
                what: "1,000 join one room, CPU, to the hand-written relay",
                figures: "CPU s per million `joined`",
                most: 1.5,
                unit: "×",
            },
        ),
        part(
            Scenario::Fanout { receivers: 100, seconds: 3 },
            None,
            &[Callboard],
            Goal {
                what: "fan-out to 100, p99",
                figures: "delivery p99, ms",
                most: 5.0,
                unit: "ms",
            },
        ),
        part(
            Scenario::Idle { peers: 10_000, connections: false },
            None,
            &[Callboard],
            Goal {
                what: "idle peer in a room, memory",
                figures: "KiB of memory per peer",
                most: 9.0,
                unit: "KiB",
            },
        ),
        part(
            Scenario::Messages { seconds: 4 },
            Some(Plain),
            &[Supervised],
            Goal {
                what: "message to a supervised actor, CPU, to a plain one",
                figures: "CPU ns per",
                most: 1.05,
                unit: "×",
            },
        ),
        part(
            Scenario::Connect { peers: 200, at_once: 10 },
            Some(Str0m),
            &[Callboard],
            Goal {
                what: "connect, CPU, to bare str0m",
                figures: "CPU ms per connect",
                most: 1.25,
                unit: "×",
            },
        ),
        part(
            Scenario::Data {
                connections: 4,
                window: 32,
                sizes: vec![100, 1_024, 65_536],
                seconds: 2,
            },
            Some(Str0m),
            // Wherever the owners of connections run.
            &[Callboard, Far],
            Goal {
                what: "data-channel echo, CPU per message, to bare str0m",
                figures: "CPU s per million",
                most: 1.1,
                unit: "×",
            },
        ),
        part(
            Scenario::Bystander { peers: 200 },
            None,
            &[Callboard],
            Goal {
                what: "echo p99 while 200 connect, to p99 at rest",
                figures: "p99, rush to rest",
                most: 2.0,
                unit: "×",
            },
        ),
        part(
            Scenario::Recovery { peers: 50, seconds: 15 },
            None,
            &[Tree],
            Goal {
                what: "killed actor, until the tree is whole, p99",
                figures: "tree whole p99, ms",
                most: 10.0,
                unit: "ms",
            },
        ),
        part(
            Scenario::Rest { peers: 500 },
            Some(Str0m),
            &[Callboard],
            Goal {
                what: "connection at rest, memory, to bare str0m",
                figures: "KiB of memory per connection",
                most: 1.15,
                unit: "×",
            },
        ),
    ];
    let janus = others.iter().find(|other| other.protocol() == Protocol::Janus);
    parts.extend(janus.map(|janus| Part {
        // Janus does not send back 64 KiB.
        scenario: Scenario::Data {
            connections: 4,
            window: 32,
            sizes: vec![100, 1_024],
            seconds: 2,
        },
        baseline: Some(Subject::Other(janus.clone())),
        ours: &[Callboard, Far],
        goal: Goal {
            what: "data-channel echo, CPU per message, to Janus",
            figures: "CPU s per million",
            most: 1.2,
            unit: "×",
        },
    }));
    parts
}

/// Measures all goals, also beside `others`, and prints which are met.
pub(crate) fn run(rounds: u32, others: &[Other]) -> Result<(), Box<dyn Error>> {
    let parts = parts(others);
    // A server that no goal mentions was given by mistake.
    if let Some(other) = others.iter().find(|other| other.protocol() != Protocol::Janus) {
        return Err(format!(
            "{}: there is no goal beside it, but beside Janus",
            Subject::Other((*other).clone())
        )
        .into());
    }
    println!("{:<52} {:>9} {:>9} {:>8} {:>8}", "medians", "baseline", "ours", "is", "goal");
    let (mut met, all) = (0, parts.len());
    for Part { scenario, baseline, ours, goal } in parts {
        let mut servers = ours.to_vec();
        let mut others = Vec::new();
        match &baseline {
            Some(Subject::Ours(server)) => servers.insert(0, *server),
            Some(Subject::Other(other)) => others.push(other.clone()),
            None => {}
        }
        let report = crate::measure_all(&scenario, &servers, &others, rounds)?;
        let worst = worst(&report, baseline.as_ref(), ours, goal.figures);
        let Worst { baseline, ours, is } =
            worst.ok_or_else(|| format!("{}: no figure", goal.what))?;
        let baseline = baseline.map_or(String::new(), |baseline| format!("{baseline:.2}"));
        let reached = is <= goal.most;
        println!(
            "{:<52} {baseline:>9} {ours:>9.2} {:>8} {:>8}  {}",
            goal.what,
            format!("{is:.2} {}", goal.unit),
            format!("{} {}", goal.most, goal.unit),
            if reached { "met" } else { "not met" }
        );
        met += usize::from(reached);
    }
    if others.is_empty() {
        println!(
            "not measured: beside Janus; `integration-tests/load/peers/run goals` installs and starts it"
        );
    }
    println!("{met} of {all} goals met");
    Ok(())
}

struct Worst {
    baseline: Option<f64>,
    ours: f64,
    /// The value that is compared with the goal.
    is: f64,
}

/// Returns the worst of all figures with this prefix.
fn worst(
    report: &Report,
    baseline: Option<&Subject>,
    ours: &[Server],
    figures: &str,
) -> Option<Worst> {
    let of = |server: &Server| {
        let named = report.medians(&Subject::Ours(*server)).into_iter();
        named.filter(|(name, _)| name.rsplit(": ").next().unwrap_or(name).starts_with(figures))
    };
    let all = ours.iter().flat_map(of).filter_map(|(name, ours)| match baseline {
        Some(baseline) => {
            let baseline =
                report.medians(baseline).into_iter().find(|(other, _)| *other == name)?.1;
            Some(Worst { baseline: Some(baseline), ours, is: ours / baseline })
        }
        None => Some(Worst { baseline: None, ours, is: ours }),
    });
    all.max_by(|one, other| one.is.total_cmp(&other.is))
}
