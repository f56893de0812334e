//! Any text as a peer's offer: it is answered or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| callboard_peer_connection::fuzzing::offer(text));
