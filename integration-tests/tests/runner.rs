//! Verdict of `integration-tests/run` on logs of `cargo test`.

use std::io::Write;
use std::process::Command;

/// Returns the status and the output of the runner.
fn judge(log: &str, status: i32, tests: &str) -> (Option<i32>, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(log.as_bytes()).unwrap();
    let script = format!(
        "set -euo pipefail; say() {{ echo \"== $*\"; }}; . ./judge.sh; judge \"$1\" {status} {tests}"
    );
    let ended = Command::new("bash")
        .args(["-c", &script, "bash"])
        .arg(file.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned())
}

const PASSED: &str = "test a_room_opens ... ok\n\
    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.27s\n";

#[test]
fn a_run_in_which_all_tests_pass_is_good() {
    assert_eq!(
        judge(PASSED, 0, "all"),
        (Some(0), "== summary\nsuites: 1, ignored: 0\n1 passed, 0 failed\n".to_owned())
    );
}

#[test]
fn a_failure_is_one_and_is_named() {
    let log = format!("{PASSED}test a_room_closes ... FAILED\n");
    let (status, said) = judge(&log, 101, "all");
    assert_eq!(status, Some(101));
    assert!(said.contains("test a_room_closes ... FAILED"), "{said}");
}

#[test]
fn an_ignored_test_fails_a_run_of_all() {
    for ignored in ["ignored", "ignored, takes an hour"] {
        let log = format!("{PASSED}test a_room_lives_on ... {ignored}\n");
        let (status, said) = judge(&log, 0, "all");
        assert_eq!(status, Some(1));
        assert!(said.contains("these tests were ignored"), "{said}");
        assert_eq!(judge(&log, 0, "no").0, Some(0), "a run of some tests may leave others out");
    }
}

#[test]
fn a_run_in_which_nothing_ran_fails() {
    let log = PASSED.lines().skip(1).collect::<String>();
    assert_eq!(judge(&log, 0, "all").0, Some(1));
    assert_eq!(judge(&log, 0, "no").0, Some(0));
}
