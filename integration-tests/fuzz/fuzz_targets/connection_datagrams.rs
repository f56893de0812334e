//! Datagrams of every kind for a peer connection that is up.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| callboard_peer_connection::fuzzing::datagrams(bytes));
