//! A client's text over its WebSocket, and its events for the server.

#![no_main]

use callboard_signaling::fuzzing::read_client_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| read_client_text(text));
