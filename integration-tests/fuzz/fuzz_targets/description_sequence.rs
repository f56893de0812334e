//! Descriptions, candidates and the application's calls between them, in any order.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| callboard_peer_connection::fuzzing::descriptions(bytes));
