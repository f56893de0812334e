//! A client's bytes, read as WebSocket frames: the same whole and in pieces, and never more held than one message.

#![no_main]

use arbitrary::Arbitrary;
use callboard_signaling::fuzzing::read_frames;
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
