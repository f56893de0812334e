//! What `integration-tests/run` runs at once, and its verdict on logs of `cargo test`.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns the status and the output of the runner.
fn judge(log: &str, status: i32, tests: &str) -> (Option<i32>, String) {
    run(log, &format!("judge \"$log\" {status} {tests}"))
}

/// Returns the status and the output of the second attempt; `cargo` is a shell function that gets its arguments.
fn repeat(log: &str, cargo: &str) -> (Option<i32>, String) {
    run(
        log,
        &format!(
            "cargo() {{ {cargo}; }}; if repeat \"$log\" cargo test; then exit 0; else exit 1; fi"
        ),
    )
}

fn run(log: &str, script: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    std::fs::write(&file, log).unwrap();
    let script =
        format!("set -euo pipefail; say() {{ echo \"== $*\"; }}; . ./judge.sh; log=$1; {script}");
    let ended = Command::new("bash")
        .args(["-c", &script, "bash"])
        .arg(file)
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

const FAILED: &str = "test a_room_closes ... FAILED\n\
    test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n\
    error: 1 target failed:\n    `-p integration-tests --test rooms`\n";

#[test]
fn a_test_that_fails_once_is_run_again_and_named() {
    let (status, said) = repeat(FAILED, &format!("echo \"$@\"; echo '{PASSED}'"));
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("test --workspace --test rooms -- --test-threads 1 --exact a_room_closes"),
        "{said}"
    );
    assert!(said.ends_with("FLAKY, passed at the second attempt: a_room_closes\n"), "{said}");
}

#[test]
fn what_is_no_flaky_test_stays_a_failure() {
    let again = format!("echo '{FAILED}'; return 101");
    assert_eq!(repeat(FAILED, &again).0, Some(1), "it fails again");
    assert_eq!(repeat(FAILED, "true").0, Some(1), "it does not run again");
    let passes = format!("echo '{PASSED}'");
    let others = (1..=5).map(|number| format!("test other_{number} ... FAILED\n"));
    let many = others.collect::<String>() + FAILED;
    assert_eq!(repeat(&many, &passes).0, Some(1), "too many");
    let crashed = format!("{FAILED}    `-p callboard-signaling --lib`\n");
    assert_eq!(repeat(&crashed, &passes).0, Some(1), "a target has crashed");
    let target = FAILED.replace("test a_room_closes ... FAILED\n", "");
    assert_eq!(repeat(&target, &passes).0, Some(1), "no test has failed");
}

#[test]
fn the_verdict_on_two_lanes_is_that_of_the_worse() {
    let of_both = |one, other| run("", &format!("worse {one} {other}")).1;
    for (worse, less) in [(101, 0), (1, 0), (124, 0), (124, 101), (137, 101), (1, 101)] {
        assert_eq!(of_both(worse, less), format!("{worse}\n"), "{less}");
        assert_eq!(of_both(less, worse), format!("{worse}\n"), "{less}");
    }
    assert_eq!(of_both(0, 0), "0\n");
}

#[test]
fn each_test_is_in_one_lane_and_those_with_browsers_are_in_theirs() {
    let lane = |name| {
        let (status, said) = run("", &format!(". ./lanes.sh; lane {name}"));
        assert_eq!(status, Some(0), "{said}");
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (with_browsers, others) = (lane("browsers"), lane("others"));
    assert_eq!(others[..2], ["--lib", "--bins"]);

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = 0;
    for packages in ["../crates/*", "../examples/*", ".", "load"] {
        for (name, text) in tests_in(&here.join(packages)) {
            tests += 1;
            let has_browsers = ["Browser", "CallPage", "PeerKind"]
                .iter()
                .any(|what| text.contains(&format!("{what}::")));
            let is_in = |lane: &[String]| lane.contains(&name);
            assert_ne!(is_in(&with_browsers), is_in(&others), "{name}");
            assert!(!has_browsers || is_in(&with_browsers), "add {name} to lanes.sh");
        }
    }
    assert!(tests > 100, "{tests}");
    // It has them by a program.
    assert!(with_browsers.contains(&"browsers".to_owned()));
}

/// Returns the names of the tests of a package, or of all in a folder, each with its text.
fn tests_in(packages: &Path) -> Vec<(String, String)> {
    if packages.ends_with("*") {
        let folder = fs::read_dir(packages.with_file_name("")).unwrap();
        return folder.flat_map(|package| tests_in(&package.unwrap().path())).collect();
    }
    let Ok(folder) = fs::read_dir(packages.join("tests")) else { return Vec::new() };
    let mut tests = Vec::new();
    for entry in folder {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_file() {
            tests.push((name, fs::read_to_string(path).unwrap()));
        } else if path.join("main.rs").is_file() {
            // A folder without one is a part of the tests beside it.
            let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
            tests.push((name, files.filter_map(|file| fs::read_to_string(file).ok()).collect()));
        }
    }
    tests
}
