//! Public names beside `actix::prelude`: a program may import all of actix's and all of a crate's.
//!
//! A name that both have would be ambiguous in [`beside_actix`]'s modules, and this file would not compile.

use std::path::Path;
use std::process::Command;

/// For each crate, makes a module that imports everything of actix and of the crate, and uses every name of actix.
macro_rules! beside_actix {
    ([$($krate:ident)*] $names:tt) => {
        $(beside_actix!(@one $krate $names);)*

        const CRATES: &[&str] = &[$(stringify!($krate)),*];
    };
    (@one $krate:ident [$($name:ident)*]) => {
        #[allow(unused_imports, deprecated, reason = "that they can be imported is the test")]
        mod $krate {
            use ::$krate::*;
            use actix::prelude::*;

            mod names {
                $(use super::$name as _;)*
            }
        }
    };
}

macro_rules! actix_names {
    ($($name:ident)*) => {
        beside_actix! {
            [
                callboard
                callboard_admin
                callboard_client
                callboard_cluster
                callboard_ice_handshake
                callboard_media_rooms
                callboard_outbox
                callboard_peer_connection
                callboard_room_supervisor
                callboard_signaling
                callboard_supervision
                callboard_test_kit
                callboard_transport
                callboard_websocket
            ]
            [$($name)*]
        }

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

actix_names! {
    Actor ActorContext ActorFuture ActorFutureExt ActorResponse ActorState ActorStream ActorStreamExt ActorTryFuture
    ActorTryFutureExt Addr Arbiter ArbiterHandle ArbiterService AsyncContext AtomicResponse Condition Context
    ContextFutureSpawner Handler IntervalFunc MailboxError Message MessageResponse MessageResult Recipient
    RecipientRequest Request Response ResponseActFuture ResponseFuture Running SendError SpawnHandle Stream
    StreamHandler Supervised Supervisor SyncArbiter SyncContext System SystemRunner SystemService TimerFunc WrapFuture
    WrapStream actors dev fut io
}

/// Returns the packages of the workspace and those that it depends on.
fn packages() -> Vec<serde_json::Value> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn manifest(package: &serde_json::Value) -> &Path {
    Path::new(package["manifest_path"].as_str().unwrap())
}

#[test]
fn every_crate_is_looked_at() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("crates");
    let mut names: Vec<String> = packages()
        .iter()
        .filter(|package| manifest(package).starts_with(&crates))
        .map(|package| package["name"].as_str().unwrap().replace('-', "_"))
        .collect();
    names.sort_unstable();

    assert_eq!(names, CRATES);
}

#[test]
fn the_names_are_those_of_the_actix_in_use() {
    let packages = packages();
    let actix = packages.iter().find(|package| package["name"] == "actix").unwrap();
    let root = std::fs::read_to_string(manifest(actix).with_file_name("src/lib.rs")).unwrap();
    let (_, prelude) = root.split_once("pub mod prelude {").unwrap();
    let (prelude, _) = prelude.split_once("\n}").unwrap();
    let code: String = prelude
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();

    // The last name of each path, as in `pub use crate::{actor::{Actor, Running}, dev};`.
    let mut names: Vec<&str> = code
        .split(['{', '}', ',', ';'])
        .map(str::trim)
        .filter(|path| !path.ends_with("::"))
        .filter_map(|path| path.rsplit([':', ' ']).next())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();

    assert_eq!(names, NAMES);
}
