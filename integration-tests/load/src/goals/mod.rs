//! Performance goals of Callboard, beside what it reaches on this machine.

mod judge;
mod list;

use std::error::Error;

use self::judge::{Compared, ENOUGH, Rounds, Verdict};
use self::list::{Goal, Part};
use crate::descriptors;
use crate::report::Report;
use crate::subject::{Other, Subject};

/// Measures all goals, also beside `others`, and prints which are met.
pub(crate) fn run(rounds: u32, others: &[Other], long: bool) -> Result<(), Box<dyn Error>> {
    let (parts, not_measured) = list::parts(others, long)?;
    println!(
        "{:<52} {:>9} {:>9} {:>9} {:>13} {:>9}",
        "medians", "baseline", "ours", "is", "rounds", "goal"
    );
    let (mut met, all) = (0, parts.iter().map(|part| part.goals.len()).sum::<usize>());
    for part in parts {
        if let Err(reason) = descriptors::allow(part.scenario.descriptors()) {
            part.goals.iter().for_each(|goal| println!("{:<52} not measured: {reason}", goal.what));
            continue;
        }
        let report = part.measure(rounds)?;
        for goal in &part.goals {
            let figures = part.figures(goal, &report);
            let compared = judge::worst(&figures);
            let compared = compared.ok_or_else(|| format!("{}: no figure", goal.what))?;
            let verdict = Verdict::of(compared.is, goal.most, rounds);
            print(goal, &compared, verdict);
            met += usize::from(verdict == Verdict::Met);
        }
    }
    not_measured.iter().for_each(|what| println!("not measured: {what}"));
    if rounds < ENOUGH {
        println!("not judged: with --rounds {rounds}; the median of at least {ENOUGH} counts");
    } else {
        println!("{met} of {all} goals met");
    }
    Ok(())
}

impl Part {
    fn measure(&self, rounds: u32) -> Result<Report, Box<dyn Error>> {
        let (mut servers, mut others) = (Vec::new(), Vec::new());
        match &self.baseline {
            Some(Subject::Ours(server) | Subject::Estimating(server)) => servers.push(*server),
            Some(Subject::Other(other)) => others.push(other.clone()),
            None => {}
        }
        for server in self.goals.iter().flat_map(|goal| goal.ours) {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        crate::measure_all(&self.scenario, &servers, &others, rounds)
    }

    /// Returns the rounds of all figures of a goal.
    fn figures(&self, goal: &Goal, report: &Report) -> Vec<Rounds> {
        let ours = goal.ours.iter().map(|server| Subject::Ours(*server));
        let rounds = |ours: Subject| {
            let names = report.figures(&ours).into_iter().filter(|name| goal.counts(name));
            let rounds = names.map(|name| Rounds {
                ours: report.rounds(&ours, name),
                baseline: self.baseline.as_ref().map(|baseline| report.rounds(baseline, name)),
            });
            rounds.collect::<Vec<_>>()
        };
        ours.flat_map(rounds).collect()
    }
}

fn print(goal: &Goal, compared: &Compared, verdict: Verdict) {
    let Compared { baseline, ours, is } = compared;
    let baseline = baseline.map_or(String::new(), |baseline| format!("{baseline:.2}"));
    println!(
        "{:<52} {baseline:>9} {ours:>9.2} {:>9} {is:>13} {:>9}  {}",
        goal.what,
        format!("{:.2} {}", is.median, goal.unit),
        format!("≤ {} {}", goal.most, goal.unit),
        verdict.name()
    );
}
