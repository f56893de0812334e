//! Small versions of what is measured in browsers: that it works, and what holds on any machine.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

fn run(scenario: &[&str]) -> BTreeMap<String, f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    let output = command.args(["run", "--rounds", "1", "--json"]).args(scenario).output();
    let output = output.expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario:?}: {error}");
    let lines = String::from_utf8(output.stdout).expect("text");
    let lines = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let name = line["figure"].as_str().expect("a name").to_owned();
        (name, line["median"].as_f64().expect("a figure"))
    });
    lines.collect()
}

#[test]
fn forced_switches_of_layers_all_come_and_need_no_key_frame_of_the_decoder() {
    // More than the page does in one call.
    let figures = run(&["switches", "chromium", "26"]);

    assert!(figures["time to switch p50, ms"] > 0.0, "{figures:?}");
    assert_eq!(figures["switches that did not come"], 0.0, "{figures:?}");
    assert_eq!(figures["key frames that the decoder asked for"], 0.0, "{figures:?}");
}

#[test]
fn late_viewers_see_the_first_frame() {
    for viewer in ["chromium", "firefox"] {
        let figures = run(&["arrivals", viewer, "2"]);

        assert!(figures["connected to first frame p50, ms"] > 0.0, "{viewer}: {figures:?}");
    }
}

#[test]
fn pictures_come_back_after_the_server_was_killed() {
    let figures = run(&["restarts", "1"]);

    assert!(figures["killed to pictures, worst, ms"] > 0.0, "{figures:?}");
}
