//! Plays supervision scenarios that were recorded from the real OTP supervisor, and compares what happens.
//!
//! The scenarios come from the file that `CALLBOARD_OTP_SCENARIOS` names; by default from `../shared/otp/` beside the
//! workspace where that is, else from the copy beside this file. The runner knows no scenario: it reads flags,
//! children, plans and steps, plays them with [`probe`] actors in virtual time, and compares the log line by line.

mod compare;
mod format;
mod play;
mod probe;

use std::path::PathBuf;
use std::process::ExitCode;

use format::Scenario;
use play::Verdict;

fn main() -> ExitCode {
    let file = file();
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let scenarios: Vec<Scenario> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(!scenarios.is_empty(), "{}: no scenarios", file.display());
    // Panics are what many scenarios are about; their traces would only drown the report.
    std::panic::set_hook(Box::new(|_| {}));

    let verdicts: Vec<_> =
        scenarios.iter().map(|scenario| (scenario, play::play(scenario))).collect();

    _ = std::panic::take_hook();
    let (mut held, mut failed) = (0, 0);
    for (scenario, verdict) in &verdicts {
        match verdict {
            Verdict::Holds => held += 1,
            Verdict::Differs(log) => {
                failed += 1;
                println!(
                    "{} differs: {}\n{}",
                    scenario.id,
                    scenario.title,
                    compare::side_by_side(&scenario.trace, log)
                );
            }
            Verdict::NotUnderstood(what) => {
                failed += 1;
                println!("{} is not understood: {what}", scenario.id);
            }
            Verdict::Inexpressible(_) => {}
        }
    }
    println!("scenarios from {}", file.display());
    println!("{held} of {} scenarios hold", verdicts.len());
    for (scenario, verdict) in &verdicts {
        if let Verdict::Inexpressible(why) = verdict {
            println!("cannot be expressed: {} ({}): {why}", scenario.id, scenario.title);
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn file() -> PathBuf {
    if let Some(named) = std::env::var_os("CALLBOARD_OTP_SCENARIOS") {
        return named.into();
    }
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = here.join("../../../shared/otp/scenarios.json");
    if beside.exists() { beside } else { here.join("tests/otp_scenarios/scenarios.json") }
}
