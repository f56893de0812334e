//! Count of the modules in import cycles (`.ci/import_cycles`), on crates made for it.

use std::fs;
use std::process::Command;

/// Returns whether a crate of these files has no more modules in import cycles than allowed, and the output.
fn check(files: &[(&str, &str)], allowed: u32) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, code) in files {
        let file = folder.path().join("src").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, code).unwrap();
    }
    let ended = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/import_cycles"))
        .arg(folder.path())
        .arg(allowed.to_string())
        .output()
        .unwrap();
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    (ended.status.success(), String::from_utf8_lossy(&ended.stdout).into_owned())
}

const ROOT: (&str, &str) = ("lib.rs", "mod room;\nmod peer;\nmod name;\npub use room::Room;\n");

#[test]
fn imports_in_one_direction_are_good() {
    let (good, said) = check(
        &[
            ROOT,
            ("room.rs", "use crate::peer::Peer;\nuse crate::name::Name;\npub struct Room;\n"),
            ("peer.rs", "use crate::name::{self, Name};\npub struct Peer;\n"),
            ("name.rs", "use std::fmt;\npub struct Name;\n"),
        ],
        0,
    );
    assert!(good, "{said}");
    assert!(said.contains("0 of 4 modules in import cycles"), "{said}");
}

#[test]
fn an_added_cycle_fails_and_is_shown() {
    let files = [
        ROOT,
        ("room.rs", "use crate::{name::Name, peer::{Peer, Id}};\npub struct Room;\n"),
        ("peer.rs", "pub struct Peer(crate::room::Room);\npub struct Id;\n"),
        ("name.rs", "pub struct Name;\n"),
    ];
    let (good, said) = check(&files, 0);
    assert!(!good, "{said}");
    assert!(said.contains("2 of 4 modules in import cycles"), "{said}");
    assert!(said.contains("    peer -> room\n    room -> peer\n"), "{said}");

    assert!(check(&files, 2).0, "as many as before are good");
    assert!(check(&files, 3).1.contains("fewer than before"), "the number can be lowered");
}

#[test]
fn a_cycle_through_a_re_export_is_one() {
    let (good, said) = check(
        &[
            ROOT,
            ("room.rs", "use super::peer::*;\npub struct Room;\n"),
            ("peer.rs", "use crate::Room;\npub struct Peer;\n"),
            ("name.rs", ""),
        ],
        0,
    );
    assert!(!good, "{said}");
}

#[test]
fn tests_comments_and_the_parts_of_a_module_make_no_cycle() {
    let (good, said) = check(
        &[
            ROOT,
            (
                "room/mod.rs",
                "mod seat;\n#[cfg(test)]\nmod model;\nuse seat::Seat;\npub struct Room;\n",
            ),
            ("room/seat.rs", "use super::Room;\nuse crate::peer::Peer;\npub struct Seat;\n"),
            ("room/model.rs", "use super::seat::Seat;\n"),
            (
                "peer.rs",
                "//! See [`crate::room::Room`].\n#[cfg(doc)]\nuse crate::room::Room;\nconst TEXT: &str = \"crate::room::Room\";\npub struct Peer;\n\
                 #[cfg(test)]\nmod tests {\n    use crate::room::Room;\n}\n",
            ),
            ("name.rs", ""),
        ],
        0,
    );
    assert!(good, "{said}");
}
