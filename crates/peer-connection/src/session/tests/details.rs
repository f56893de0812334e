//! Tests of faulty offers: the fault is named, and an offer without a fault is answered.

use std::path::PathBuf;

use super::simulated_pair::Pair;
use crate::sdp::Sdp;
use crate::*;

fn read(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdp");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn call() -> String {
    read("hand-one-call-no-mid.sdp")
}

fn two() -> String {
    read("hand-mids-with-hyphen.sdp")
}

/// Returns the answer and why sections were not accepted, or what is wrong with the offer.
fn offered(text: &str) -> Result<(Sdp, String), String> {
    let mut pair = Pair::new();
    let now = pair.now;
    let set = pair.b.session.set_remote_description(now, SessionDescription::offer(text));
    set.map_err(|error| error.to_string())?;
    let answer = pair.b.session.create_answer(now).unwrap();
    pair.b.session.set_local_description(now, Some(answer.clone())).unwrap();
    let answered = pair.b.session.jsep().answered_sections().to_string();
    Ok((Sdp::parse(&answer.sdp), answered))
}

fn without(text: &str, start: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(start)).collect()
}

#[test]
fn an_empty_group_is_none() {
    let (ungrouped, ungrouped_two) = (call(), without(&two(), "a=group"));
    for line in ["a=group:BUNDLE", "a=group:BUNDLE ", "a=group:BUNDLE\r\na=group:BUNDLE"] {
        for (without_line, offered_mids) in [(&ungrouped, 0), (&ungrouped_two, 2)] {
            let text = without_line.replace("t=0 0\r\n", &format!("t=0 0\r\n{line}\r\n"));
            let (answer, answered) = offered(&text).unwrap();
            let (expected, expected_answered) = offered(without_line).unwrap();
            // All lines but those that differ in each connection.
            let lines = |sdp: &Sdp| {
                let own = ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "o=", "a=msid", "a=ssrc"];
                own.iter().fold(sdp.to_string(), |text, start| without(&text, start))
            };
            assert_eq!(lines(&answer), lines(&expected), "{text}");
            assert_eq!(answered, expected_answered, "{text}");
            assert_eq!(answer.bundle(), None, "{text}");
            let mids = answer.media().iter().filter(|section| section.mid().is_some()).count();
            assert_eq!(mids, offered_mids, "{text}");
            assert_ne!(answer.media()[0].port(), Some(0), "{text}");
        }
    }
}

#[test]
fn what_is_odd_about_a_group_does_no_harm_or_is_named() {
    let grouped =
        |lines: &str| two().replace("a=group:BUNDLE audio-0 video-1", lines).replace("LF", "\r\n");
    for (lines, group, answered) in [
        // The first group that is not empty counts: there is one transport.
        ("a=group:BUNDLELFa=group:BUNDLE audio-0 video-1", "audio-0 video-1", "all is taken"),
        ("a=group:BUNDLE audio-0 video-1LFa=group:BUNDLE", "audio-0 video-1", "all is taken"),
        (
            "a=group:BUNDLE audio-0LFa=group:BUNDLE video-1",
            "audio-0",
            "section 1 (video): it is not bundled with the one that is taken",
        ),
        (
            "a=group:BUNDLE video-1LFa=group:BUNDLE audio-0",
            "video-1",
            "section 0 (audio): it is not bundled with the one that is taken",
        ),
        ("a=group:BUNDLE audio-0 audio-0 video-1", "audio-0 video-1", "all is taken"),
        ("a=group:BUNDLE video-1 audio-0 video-1", "audio-0 video-1", "all is taken"),
        (
            "a=group:LS audio-0 video-1LFa=group:BUNDLE audio-0 video-1",
            "audio-0 video-1",
            "all is taken",
        ),
    ] {
        let (answer, said) =
            offered(&grouped(lines)).unwrap_or_else(|error| panic!("{lines}: {error}"));
        assert_eq!(answer.bundle().map(|mids| mids.join(" ")).as_deref(), Some(group), "{lines}");
        assert_eq!(said, answered, "{lines}");
    }
    let unknown = "the BUNDLE group names \"x\", which is no section's mid";
    for text in [
        grouped("a=group:BUNDLE x y"),
        grouped("a=group:BUNDLE audio-0 x"),
        // Without any mids.
        call().replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE x\r\n"),
        without(&grouped("a=group:BUNDLE x y"), "a=mid"),
    ] {
        assert_eq!(offered(&text).unwrap_err(), unknown, "{text}");
    }
    let twice = two().replace("a=mid:video-1", "a=mid:audio-0");
    assert_eq!(offered(&twice).unwrap_err(), "two sections have the mid \"audio-0\"");
}

/// Returns the reason why no section of an offer is accepted.
#[track_caller]
fn reason(text: &str) -> String {
    let (answer, said) = offered(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(answer.media()[0].port(), Some(0), "{answer}");
    said
}

#[test]
fn the_fault_of_a_payload_type_is_named() {
    let only = |types: &str, map: &str| {
        let call = without(&without(&call(), "a=rtpmap"), "a=fmtp");
        call.replace("102 0 8", types) + map
    };
    for number in ["200", "128", "-1", "x", "1e2", "1111111111"] {
        let text = only(number, &format!("a=rtpmap:{number} opus/48000/2\r\n"));
        let expected = format!(
            "section 0 (audio): no number of a payload type, from 0 to 127: {number} (opus/48000/2)"
        );
        assert_eq!(reason(&text), expected);
    }
    // The reason names what could be accepted with another number.
    let beside = only("97 200", "a=rtpmap:97 ISAC/16000\r\na=rtpmap:200 opus/48000/2\r\n");
    assert_eq!(
        reason(&beside),
        "section 0 (audio): no number of a payload type, from 0 to 127: 200 (opus/48000/2)"
    );
    let (answer, _) =
        offered(&only("200 0", "a=rtpmap:200 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\n")).unwrap();
    assert_eq!(answer.media()[0].formats().collect::<Vec<_>>(), ["0"]);
    for (text, expected) in [
        (only("", ""), "its m= line names no format"),
        (only("102", ""), "none of its codecs is known: 102 without a=rtpmap"),
        (only("102", "a=rtpmap:102 ISAC/16000\r\n"), "none of its codecs is known: ISAC/16000"),
        (only("102", "a=rtpmap:102 opus\r\n"), "none of its codecs is known: opus"),
        (
            only("102 103", "a=rtpmap:103 x/1\r\n"),
            "none of its codecs is known: 102 without a=rtpmap, x/1",
        ),
    ] {
        assert_eq!(reason(&text), format!("section 0 (audio): {expected}"), "{text}");
    }
}

#[test]
fn the_fault_of_a_section_of_data_channels_is_named() {
    let data = read("hand-session-name-is-a-space.sdp");
    let line = "application 9 UDP/DTLS/SCTP webrtc-datachannel";
    for (written, expected) in [
        (
            "application 9 UDP/DTLS/SCTP bfcp",
            "the format \"bfcp\" is not known, webrtc-datachannel is",
        ),
        (
            "application 9 UDP/DTLS/SCTP 5000",
            "the format \"5000\" is not known, webrtc-datachannel is",
        ),
        ("application 9 DTLS/SCTP", "its m= line names no format"),
        ("application 9 UDP/SCTP webrtc-datachannel", "the profile \"UDP/SCTP\" is not known"),
        ("application 9 UDP/TLS/RTP/SAVPF 96", "the profile \"UDP/TLS/RTP/SAVPF\" is not known"),
        ("audio 9 UDP/DTLS/SCTP webrtc-datachannel", "the profile \"UDP/DTLS/SCTP\" is not known"),
    ] {
        let said = reason(&data.replace(line, written));
        let media = written.split(' ').next().unwrap();
        assert_eq!(said, format!("section 0 ({media}): {expected}"));
    }
}

#[test]
fn the_fault_of_a_fingerprint_is_named() {
    let good = "sha-256 ".to_owned() + &["AB"; 32].join(":");
    let written = |value: &str| call().replace(&good, value);
    for (value, expected) in [
        (&*good.replace(':', ""), "not of the form `sha-256 12:AB:…`"),
        ("sha-256 AB:CD", "2 bytes where the hash function gives 32"),
        ("sha-9 AB:CD", "unknown hash function"),
        ("AB:CD", "not of the form `sha-256 12:AB:…`"),
        ("", "not of the form `sha-256 12:AB:…`"),
    ] {
        let told: String = value.chars().take(40).collect();
        let expected = format!("the certificate fingerprint {told:?} cannot be used: {expected}");
        assert_eq!(offered(&written(value)).unwrap_err(), expected);
    }
    let none = offered(&without(&call(), "a=fingerprint")).unwrap_err();
    assert_eq!(none, "the description has no certificate fingerprint");
    // One usable fingerprint is enough.
    offered(&written(&format!("sha-9 AB\r\na=fingerprint:{good}"))).unwrap();
}
