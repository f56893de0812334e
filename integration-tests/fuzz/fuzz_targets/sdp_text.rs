//! Any text as a session description: it is written as it was read, and can be read and changed through the API.

#![no_main]

use callboard_peer_connection::sdp::Sdp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut sdp = Sdp::parse(text);
    assert_eq!(sdp.to_string(), text);

    _ = sdp.bundle();
    for section in sdp.media() {
        _ = (
            section.kind(),
            section.port(),
            section.protocol(),
            section.is_data(),
            section.is_rtp(),
        );
        _ = (
            section.mid(),
            section.direction(),
            section.formats().count(),
            section.all_attributes().count(),
        );
    }
    sdp.set_origin(1, 2);
    sdp.set_bundle(&["a", "b"]);
    for section in sdp.media_mut() {
        section.set_port(0);
        section.set_direction("inactive");
        section.set_attribute("mid", "a");
        assert_eq!(
            (section.port(), section.direction(), section.mid()),
            (Some(0), Some("inactive"), Some("a"))
        );
    }
    // The text that we write can be parsed, and says the same.
    let written = sdp.to_string();
    assert_eq!(Sdp::parse(&written).to_string(), written);
});
