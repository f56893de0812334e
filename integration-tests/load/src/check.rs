//! Check of the histories of a run.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use integration_tests::history::{self, Event};

/// Checks the history in these files, and prints what is wrong.
pub(crate) fn run(files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let lines = history::read(files)?;
    let violations = history::check(&lines);
    for violation in violations.iter().take(MOST_SHOWN) {
        println!("{violation}");
        for at in &violation.lines {
            println!("    {}", serde_json::to_string(&lines[*at])?);
        }
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for violation in &violations {
        *counts.entry(violation.invariant.to_string()).or_default() += 1;
    }
    let kind = |is: fn(&Event) -> bool| lines.iter().filter(|line| is(&line.event)).count();
    println!(
        "{} lines: {} faults, {} clients admitted, {} sessions resumed, {} messages sent, {} received",
        lines.len(),
        kind(|event| matches!(event, Event::Fault { .. })),
        kind(|event| matches!(event, Event::In { .. })),
        kind(|event| matches!(event, Event::Resumed { .. })),
        kind(|event| matches!(event, Event::Sent { .. })),
        kind(|event| matches!(event, Event::Got { .. })),
    );
    if counts.is_empty() {
        println!("all invariants hold");
        return Ok(());
    }
    counts.iter().for_each(|(invariant, count)| println!("{count} violations of {invariant}"));
    Err(format!("{} violations", violations.len()).into())
}

/// Number of violations that are shown with their lines.
const MOST_SHOWN: usize = 20;
