//! Performance goals of Callboard, beside what it reaches on this machine.

mod judge;
mod list;
mod media;

use std::error::Error;

use self::judge::{Compared, ENOUGH, Rounds, Verdict};
use self::list::{Goal, Part};
use crate::descriptors;
use crate::report::Report;
use crate::subject::{Other, Subject};

/// Measures all goals, also beside `others`, and prints which are met.
pub(crate) fn run(rounds: u32, others: &[Other], long: bool) -> Result<(), Box<dyn Error>> {
    let (parts, not_measured) = list::parts(others, long)?;
    judge_all(parts, rounds)?;
    not_measured.iter().for_each(|what| println!("not measured: {what}"));
    Ok(())
}

/// Measures the goals of media rooms, also beside `others` and in `browsers`, and prints which are met.
pub(crate) fn run_media(
    rounds: u32,
    others: &[Other],
    browsers: bool,
) -> Result<(), Box<dyn Error>> {
    let mut parts = media::parts(others)?;
    if browsers {
        parts.extend(media::in_browsers());
    }
    judge_all(parts, rounds)?;
    media::missing(others).iter().for_each(|what| println!("not measured: {what}"));
    if !browsers {
        println!("not measured: what browsers see; `--browsers` measures it, in half an hour more");
    }
    Ok(())
}

fn judge_all(parts: Vec<Part>, rounds: u32) -> Result<(), Box<dyn Error>> {
    println!(
        "{:<54} {:>9} {:>9} {:>9} {:>13} {:>9}",
        "medians", "baseline", "ours", "is", "rounds", "goal"
    );
    let (mut met, all) = (0, parts.iter().map(|part| part.goals.len()).sum::<usize>());
    let mut failed = 0;
    for part in parts {
        let lacks = part.scenario.lacks().or_else(|| {
            descriptors::allow(part.scenario.descriptors()).err().map(|error| error.to_string())
        });
        if let Some(lacks) = lacks {
            part.goals.iter().for_each(|goal| println!("{:<54} not measured: {lacks}", goal.what));
            continue;
        }
        let report = match part.measure(rounds) {
            Ok(report) => report,
            // The others take long, and are measured all the same.
            Err(error) => {
                part.goals.iter().for_each(|goal| println!("{:<54} failed: {error}", goal.what));
                failed += part.goals.len();
                continue;
            }
        };
        for goal in &part.goals {
            let figures = Part::figures(goal, &report);
            let compared = judge::worst(&figures);
            let compared = compared.ok_or_else(|| format!("{}: no figure", goal.what))?;
            let verdict = Verdict::of(compared.is, goal.most, goal.always, rounds);
            print(goal, &compared, verdict);
            met += usize::from(verdict == Verdict::Met);
        }
    }
    if rounds < ENOUGH {
        println!("not judged: with --rounds {rounds}; the median of at least {ENOUGH} counts");
    } else {
        println!("{met} of {all} goals met");
    }
    if failed > 0 {
        return Err(format!("{failed} of {all} goals could not be measured").into());
    }
    Ok(())
}

impl Part {
    fn measure(&self, rounds: u32) -> Result<Report, Box<dyn Error>> {
        crate::measure_subjects(&self.scenario, &self.subjects(), rounds)
    }

    /// Returns the rounds of all figures of a goal.
    fn figures(goal: &Goal, report: &Report) -> Vec<Rounds> {
        let rounds = |ours: &Subject| {
            let names = report.figures(ours).into_iter().filter(|name| goal.counts(name));
            let rounds = names.map(|name| Rounds {
                ours: report.rounds(ours, name),
                baseline: goal.baseline.as_ref().map(|baseline| report.rounds(baseline, name)),
            });
            rounds.collect::<Vec<_>>()
        };
        goal.ours.iter().flat_map(rounds).collect()
    }
}

fn print(goal: &Goal, compared: &Compared, verdict: Verdict) {
    let Compared { baseline, ours, is } = compared;
    let baseline = baseline.map_or(String::new(), |baseline| format!("{baseline:.2}"));
    println!(
        "{:<54} {baseline:>9} {ours:>9.2} {:>9} {is:>13} {:>9}  {}",
        goal.what,
        format!("{:.2} {}", is.median, goal.unit),
        format!("≤ {} {}", goal.most, goal.unit),
        verdict.name()
    );
}
