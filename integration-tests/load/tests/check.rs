//! `load check`: what it prints, and when it fails.

use std::process::Command;

use integration_tests::history::{Event, Recorder};

#[test]
fn what_is_wrong_is_named_with_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a1", "ann"].map(|name| folder.path().join(format!("{name}.jsonl")));
    let node = Recorder::create(&files[0], "a1").unwrap();
    let ann = Recorder::create(&files[1], "ann").unwrap();
    let check = || {
        let checked = Command::new(env!("CARGO_BIN_EXE_load")).arg("check").args(&files).output();
        let checked = checked.expect("it starts");
        (checked.status.success(), String::from_utf8(checked.stdout).expect("text"))
    };
    let room = || "demo".to_owned();
    node.record(Event::Opened { room: room(), life: 1, epoch: 7, members: Vec::new() });
    node.record(Event::Admitted { room: room(), life: 1, peer: "P".to_owned() });
    let (peer, peers) = ("P".to_owned(), Vec::new());
    ann.record(Event::In { socket: 1, room: room(), peer, peers });

    let (good, said) = check();
    assert!(good && said.contains("all invariants hold"), "{said}");

    ann.record(Event::Left { peer: "Q".to_owned() });
    let (good, said) = check();
    assert!(!good && said.contains("3 JoinedThenLeft"), "{said}");
    assert!(said.contains(r#""by":"ann","is":"left","peer":"Q"}"#), "{said}");
}
