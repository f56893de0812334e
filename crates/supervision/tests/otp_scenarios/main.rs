//! Runner of supervision scenarios that were recorded from the real OTP supervisor: plays them, and compares the logs.
//!
//! The scenarios come from the file that `CALLBOARD_OTP_SCENARIOS` names; by default from `../shared/otp/` beside the
//! workspace if that exists, else from the copy beside this file. The runner contains no scenario: it reads flags,
//! children, plans and steps, plays them with [`probe`] actors in virtual time, and compares the log line by line. A
//! word that it does not know fails the scenario, and is named.

mod call;
mod compare;
mod format;
mod grammar;
mod play;
mod probe;
mod script;

use std::path::PathBuf;
use std::process::ExitCode;

use format::Scenario;
use play::Verdict;
use serde_json::Value;

fn main() -> ExitCode {
    let file = file();
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let scenarios: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(!scenarios.is_empty(), "{}: no scenarios", file.display());
    // Many scenarios are about panics; their traces would hide the report.
    std::panic::set_hook(Box::new(|_| {}));
    let wrong = grammar::wrong_verdicts();
    let verdicts: Vec<_> =
        scenarios.iter().map(|scenario| (format::id(scenario), judge(scenario))).collect();
    _ = std::panic::take_hook();

    let (mut held, mut failed) = (0, wrong.len());
    let mut named = Vec::new();
    for (id, (title, verdict)) in &verdicts {
        match verdict {
            Verdict::Holds => held += 1,
            Verdict::HoldsBut(why) => {
                held += 1;
                named.push(format!("holds, but: {id} ({title}): {why}"));
            }
            Verdict::Differs(text) => {
                failed += 1;
                println!("{id} differs: {title}\n{text}");
            }
            Verdict::NotUnderstood(what) => {
                failed += 1;
                println!("{id} is not understood: {what}");
            }
            Verdict::Inexpressible(why) => {
                named.push(format!("cannot be expressed: {id} ({title}): {why}"));
            }
        }
    }
    println!("scenarios from {}", file.display());
    println!("{held} of {} scenarios hold", verdicts.len());
    named.iter().chain(&wrong).for_each(|line| println!("{line}"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads and plays a scenario; returns its title, and the verdict.
fn judge(scenario: &Value) -> (String, Verdict) {
    match Scenario::read(scenario) {
        Ok(scenario) => (scenario.title.clone(), play::play(&scenario)),
        Err(what) => (String::new(), Verdict::NotUnderstood(what)),
    }
}

fn file() -> PathBuf {
    if let Some(named) = std::env::var_os("CALLBOARD_OTP_SCENARIOS") {
        return named.into();
    }
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = here.join("../../../shared/otp/scenarios.json");
    if beside.exists() { beside } else { here.join("tests/otp_scenarios/scenarios.json") }
}
