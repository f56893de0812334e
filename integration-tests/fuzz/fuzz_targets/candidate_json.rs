//! Candidate as JSON, and the SDP line in it.

#![no_main]

use callboard_peer_connection::IceCandidate;
use callboard_peer_connection::sdp::ParsedCandidate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    _ = ParsedCandidate::parse(text);
    let Ok(candidate) = serde_json::from_str::<IceCandidate>(text) else { return };
    _ = ParsedCandidate::parse(&candidate.candidate);

    let written = serde_json::to_string(&candidate).expect("it can be written");
    let again: IceCandidate = serde_json::from_str(&written).expect("what we write can be read");

    assert_eq!(again, candidate);
});
