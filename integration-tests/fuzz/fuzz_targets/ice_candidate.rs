//! Remote candidate, as it comes in an SDP line: it is refused, or it says the same when written again.

#![no_main]

use is::Candidate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let Ok(candidate) = Candidate::from_sdp_string(line) else { return };

    let written = candidate.to_sdp_string();
    let again = Candidate::from_sdp_string(&written).expect("what we write can be read");

    assert_eq!(again.to_sdp_string(), written);
});
