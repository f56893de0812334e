//! Interoperability of our peer connections with other implementations, in both directions of
//! offer: one line for each case.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod cases;
mod estimate;
mod extensions;
mod forged;
#[path = "../../../crates/ice-handshake/tests/forgery/mod.rs"]
mod forgery;
mod ours;
mod redundant;
#[path = "../spoof/mod.rs"]
mod spoof;
mod table;

use integration_tests::{Peer, PeerKind, in_network_namespace_within};
use ours::Ours;
use std::time::Duration;
use table::Table;

/// Runs every case with one peer.
fn interop(kind: PeerKind) {
    in_network_namespace_within(LONGEST, async || {
        let ours = Ours::start().await;
        let mut theirs = Peer::start(kind).await;
        let mut failed = Vec::new();
        for we_offer in [true, false] {
            for (name, case) in cases::ALL {
                // Runs a single case: `CALLBOARD_INTEROP=glare-polite`.
                if std::env::var("CALLBOARD_INTEROP").is_ok_and(|only| only != name) {
                    continue;
                }
                let side = if we_offer { "we-offer" } else { "they-offer" };
                let line = format!("interop: {kind} {side} {name}");
                if let Some(reason) = cases::not_applicable(kind, name, we_offer) {
                    println!("{line} n/a: {reason}");
                    continue;
                }
                let api = match name {
                    "redundant" => redundant::api(),
                    "extensions" => extensions::api(),
                    name => estimate::api(name),
                };
                let mut table = Table::lay(&ours, &api, &mut theirs, we_offer).await;
                match tokio::time::timeout(cases::LONGEST, case(&mut table)).await {
                    Ok(Ok(note)) if note.is_empty() => println!("{line} ok"),
                    Ok(Ok(note)) => println!("{line} ok ({note})"),
                    Ok(Err(error)) => {
                        println!("{line} FAILED: {error}");
                        failed.push(format!("{side} {name}: {error}"));
                    }
                    Err(_) => {
                        println!(
                            "{line} FAILED: not within {:?}; {}",
                            cases::LONGEST,
                            table.told()
                        );
                        failed.push(format!("{side} {name}: not in time"));
                    }
                }
                table.clear().await;
            }
        }
        assert!(failed.is_empty(), "{kind}: {failed:#?}");
    });
}

#[test]
fn chromium() {
    interop(PeerKind::Chromium);
}

#[test]
fn firefox() {
    interop(PeerKind::Firefox);
}

#[test]
fn aiortc() {
    interop(PeerKind::Aiortc);
}

#[test]
fn webrtc_rs() {
    interop(PeerKind::WebrtcRs);
}

/// Longest time of all cases of one peer.
const LONGEST: Duration = Duration::from_secs(1800);
