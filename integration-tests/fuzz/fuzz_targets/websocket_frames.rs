//! A client's bytes, read as WebSocket frames: the result is the same whole and in pieces, and at
//! most one message is held.

#![no_main]

use arbitrary::Arbitrary;
use callboard_websocket::fuzzing::read_frames;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    pieces: Vec<u8>,
    limit: u16,
    bytes: Vec<u8>,
}

fuzz_target!(|input: Input| {
    read_frames(&input.bytes, &input.pieces, input.limit.into());
});
