//! A minute of faults from a seed.

use std::process::Command;

#[test]
fn a_cluster_bears_a_minute_of_faults() {
    let ran = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["faults", "--seed", SEED, "--seconds", "60", "--wait", "20"])
        .output()
        .expect("it starts");
    let (said, error) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{error}");
    print!("{said}");
}

/// Its plan has one fault of most kinds, those that must cost nothing among them.
const SEED: &str = "22";
