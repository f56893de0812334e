//! Packets of a publisher, as a viewer's slot forwards them.

#![no_main]

use callboard_media_rooms::fuzzing::forward;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| forward(bytes));
