//! Tests of offers as SIP gateways, media servers and browsers write them, with their results.

use std::path::PathBuf;

use super::simulated_pair::Pair;
use crate::error::{AddIceCandidateError, DescriptionError, SetDescriptionError};
use crate::sdp::{Sdp, Section};
use crate::*;

fn read(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdp");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Returns the answer to an offer, by a connection of its own.
fn answer(text: &str) -> Result<Sdp, DescriptionError> {
    let mut pair = Pair::new();
    let now = pair.now;
    match pair.b.session.set_remote_description(now, SessionDescription::offer(text)) {
        Ok(()) => {}
        Err(SetDescriptionError::Description(error)) => return Err(error),
        Err(other) => panic!("{other}: {text}"),
    }
    let answer = pair.b.session.create_answer(now).unwrap();
    pair.b.session.set_local_description(now, Some(answer.clone())).unwrap();
    // An offer that was answered once is answered again, and offered by this side.
    pair.b.session.set_remote_description(now, SessionDescription::offer(text)).unwrap();
    let again = Sdp::parse(&pair.b.session.create_answer(now).unwrap().sdp);
    pair.b.session.set_local_description(now, None).unwrap();
    let answer = Sdp::parse(&answer.sdp);
    assert_eq!(again.media(), answer.media());
    let offer = pair.b.session.create_offer(false).unwrap();
    pair.b.session.set_local_description(now, Some(offer.clone())).unwrap();
    for (offered, section) in Sdp::parse(&offer.sdp).media().iter().zip(answer.media()) {
        assert_eq!(offered.kind(), section.kind());
        let profiles = ["UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP"];
        assert!(section.port() == Some(0) || profiles.contains(&offered.protocol()), "{offered}");
        assert!(section.port() == Some(0) || offered.mid().is_some(), "{offered}");
    }
    Ok(answer)
}

#[track_caller]
fn taken(text: &str) -> Sdp {
    let answer = answer(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let offer = Sdp::parse_plain(text);
    let words = |sdp: &Sdp| -> Vec<(String, String)> {
        let word =
            |one: &Section| (one.protocol().to_owned(), one.mid().unwrap_or_default().to_owned());
        sdp.media().iter().map(word).collect()
    };
    assert_eq!(words(&answer), words(&offer), "profiles and mids are those of the offer");
    let all = answer.media().iter().all(|section| section.port() != Some(0));
    assert!(all, "all is taken of {text}\n{answer}");
    let group = |sdp: &Sdp| sdp.bundle().map(|mids| mids.join(" "));
    assert_eq!(group(&answer), group(&offer));
    answer
}

const AUDIO: &str = "hand-one-call-no-mid.sdp";
const DATA: &str = "hand-session-name-is-a-space.sdp";
const BOTH: &str = "hand-plain.sdp";
const CALL: &str = "hand-mids-with-hyphen.sdp";

#[test]
fn calls_of_many_makers_are_answered() {
    for name in [
        BOTH,
        AUDIO,
        CALL,
        DATA,
        "hand-profile-rtp-savpf.sdp",
        "hand-profile-tcp-dtls-sctp.sdp",
        "hand-mid-extension-differs-by-section.sdp",
        "hand-camera-and-screen.sdp",
    ] {
        taken(&read(name));
    }
    let audio = taken(&read(AUDIO));
    assert_eq!(audio.media()[0].mid(), None);
    assert_eq!(audio.media()[0].formats().collect::<Vec<_>>(), ["102", "0", "8"]);
    let nothing = answer(&read("hand-nothing-usable.sdp")).unwrap();
    assert_eq!(nothing.media()[0].port(), Some(0));
}

#[test]
fn every_profile_that_stands_for_rtp_over_dtls_is_taken() {
    let offer = read(AUDIO);
    for profile in [
        "RTP/AVP",
        "RTP/AVPF",
        "RTP/SAVP",
        "RTP/SAVPF",
        "TCP/DTLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "UDP/TLS/RTP/SAVPF",
    ] {
        taken(&offer.replace("UDP/TLS/RTP/SAVPF", profile));
    }
    for profile in ["UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"] {
        taken(&read(DATA).replace("UDP/DTLS/SCTP", profile));
    }
    let old = read(DATA)
        .replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000")
        .replace("a=sctp-port:5000", "a=sctpmap:5000 webrtc-datachannel 1024");
    let answer = taken(&old);
    assert_eq!(answer.media()[0].attribute("sctpmap"), Some("5000 webrtc-datachannel 1024"));
    assert!(!answer.media()[0].has("sctp-port"));
    // Without DTLS it is not accepted.
    let plain = offer.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    let lines = plain.split_inclusive('\n').filter(|line| !line.starts_with("a=fingerprint"));
    assert_eq!(answer_error(&lines.collect::<String>()), DescriptionError::NoFingerprint);
}

#[track_caller]
fn answer_error(text: &str) -> DescriptionError {
    answer(text).map(|answer| panic!("{answer}")).unwrap_err()
}

#[test]
fn a_mid_may_be_any_token() {
    let offer = read(CALL);
    let long = "long-".repeat(51);
    for (audio, video) in [
        ("audio-0", "audio_0"),
        ("a.b", "a+b"),
        ("!#$%&'*+-.^_`{|}~", "0"),
        ("sdparta_0", "sdparta_1"),
        ("exactly-16-chars", "seventeen-letters"),
        (&long, "v"),
        ("{5f6b2b1e-8f3c-4b8b-9d0e-2a4b7c1d9e3f}", "{5f6b2b1e-8f3c-4b8b-9d0e-2a4b7c1d9e30}"),
    ] {
        taken(&offer.replace("audio-0", audio).replace("video-1", video));
    }
    for mid in ["a b", "a,b", "ä", "a/b", "a:b", &"x".repeat(256)] {
        let text = offer.replace("a=mid:audio-0", &format!("a=mid:{mid}"));
        let error = answer_error(&text.replace("BUNDLE audio-0", &format!("BUNDLE {mid}")));
        let named = matches!(
            error,
            DescriptionError::UnusableMid(_) | DescriptionError::UnknownMidInBundle(_)
        );
        assert!(named, "{mid}: {error}");
    }
}

#[test]
fn a_section_without_a_mid_gets_one_and_is_answered_without() {
    let mut pair = Pair::new();
    let now = pair.now;
    let offer = read(AUDIO);
    let later = offer.replace("1629200170 2", "1629200170 3") + "a=sendonly\r\n";
    for text in [&offer, &later] {
        pair.b.session.set_remote_description(now, SessionDescription::offer(text)).unwrap();
        pair.b.session.set_local_description(now, None).unwrap();
        let [transceiver] = &pair.b.session.transceivers()[..] else { panic!() };
        assert_eq!(transceiver.mid.as_deref(), Some("0"));
        assert_eq!(transceiver.current_direction, Some(Direction::RecvOnly));
    }
    // Its candidates name a section that has a mid only in them.
    let candidate = IceCandidate {
        candidate: "candidate:1 1 udp 1 192.0.2.9 9 typ host".to_owned(),
        sdp_mid: Some("audio".to_owned()),
        sdp_m_line_index: Some(0),
        ..IceCandidate::default()
    };
    pair.b.session.add_ice_candidate(now, Some(candidate)).unwrap();
    assert_eq!(pair.b.session.remote_candidates().len(), 2);
}

/// Each section has a transport of its own, and this side has one: the others are rejected (RFC 8829 §5.3.1,
/// `max-bundle`).
#[test]
fn of_sections_that_are_not_bundled_the_first_is_taken() {
    let lines = |text: &str, without: &[&str]| -> String {
        let kept = |line: &&str| !without.iter().any(|start| line.starts_with(start));
        text.split_inclusive('\n').filter(kept).collect()
    };
    let offer = read(CALL);
    for text in [lines(&offer, &["a=group", "a=mid"]), lines(&offer, &["a=group"])] {
        let answer = answer(&text).unwrap();
        let ports: Vec<bool> = answer.media().iter().map(|one| one.port() != Some(0)).collect();
        assert_eq!(ports, [true, false]);
        assert_eq!(answer.bundle(), None);
        let mids =
            |sdp: &Sdp| sdp.media().iter().map(|one| one.mid().is_some()).collect::<Vec<_>>();
        assert_eq!(mids(&answer), mids(&Sdp::parse(&text)));
    }
}

/// Port 0 is a rejection, and in a group as well (RFC 3264 §6), unless the section says `a=bundle-only` (RFC 9143 §6).
#[test]
fn a_section_with_port_0_is_taken_only_where_it_is_bundle_only() {
    let offer = read(CALL);
    let zero =
        |text: &str, media: &str| text.replace(&format!("m={media} 9"), &format!("m={media} 0"));
    let only = |text: &str, mid: &str| {
        text.replace(&format!("a=mid:{mid}"), &format!("a=mid:{mid}\r\na=bundle-only"))
    };
    let (audio, video) = (zero(&offer, "audio"), zero(&offer, "video"));
    let both = zero(&audio, "video");
    let lone = |text: &str| {
        let (start, _) = text.split_at(text.find("m=video").unwrap());
        start.replace("BUNDLE audio-0 video-1", "BUNDLE audio-0")
    };
    let data = zero(&read(BOTH), "application");
    for (text, group, ports) in [
        (&offer, "audio-0 video-1", &[true, true][..]),
        (&audio, "video-1", &[false, true]),
        (&video, "audio-0", &[true, false]),
        (&both, "", &[false, false]),
        (&lone(&offer), "audio-0", &[true]),
        (&lone(&audio), "", &[false]),
        (&data, "0", &[true, false]),
        (&only(&audio, "audio-0"), "audio-0 video-1", &[true, true]),
        (&only(&video, "video-1"), "audio-0 video-1", &[true, true]),
        (&only(&both, "video-1"), "video-1", &[false, true]),
        (&only(&data, "1"), "0 1", &[true, true]),
    ] {
        let answer = answer(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let taken: Vec<bool> = answer.media().iter().map(|one| one.port() != Some(0)).collect();
        assert_eq!(taken, ports, "{text}\n{answer}");
        assert_eq!(answer.bundle().map(|mids| mids.join(" ")).as_deref(), Some(group), "{text}");
        for (section, offered) in answer.media().iter().zip(Sdp::parse(text).media()) {
            assert_eq!(section.mid(), offered.mid(), "{text}");
        }
    }
}

#[test]
fn what_gateways_write_beside_it_changes_nothing() {
    let offer = read(AUDIO);
    let session = |line: &str| offer.replace("t=0 0\r\n", &format!("t=0 0\r\n{line}\r\n"));
    let section = |line: &str| format!("{offer}{line}\r\n");
    let without = |start: &str| -> String {
        offer.split_inclusive('\n').filter(|line| !line.starts_with(start)).collect()
    };
    let hash = "a=fingerprint:sha-256 AB";
    let rows = [
        ("no session name", offer.replace("s=FreeSWITCH", "s=")),
        ("a blank one", offer.replace("s=FreeSWITCH", "s= ")),
        ("a dash", offer.replace("s=FreeSWITCH", "s=-")),
        ("words", offer.replace("s=FreeSWITCH", "s=Asterisk PBX 20.5 – Büro")),
        ("none at all", without("s=")),
        ("blanks at the ends of lines", offer.replace("\r\n", " \t\r\n")),
        ("line feeds alone", offer.replace("\r\n", "\n")),
        ("a byte order mark", format!("\u{feff}{offer}")),
        ("empty lines around it", format!("\r\n{offer}\r\n\r\n")),
        ("a large session id", offer.replace("1629200170", "98765432109876543210987")),
        ("a session id of letters", offer.replace("1629200170", "x7f")),
        (
            "other times",
            offer.replace("t=0 0", "t=3724394400 3724398000\r\nt=0 0\r\nr=7d 1h 0 25h"),
        ),
        ("no times", without("t=")),
        ("bandwidth", session("b=CT:512")),
        ("bandwidth of a section", section("b=AS:64")),
        (
            "lines of information",
            session("i=x\r\nu=http://example.org/\r\ne=a@example.org\r\np=+1"),
        ),
        ("RTCP's port", section("a=rtcp:18823 IN IP4 192.0.2.7")),
        ("ICE options", section("a=ice-options:trickle renomination")),
        ("port 9", offer.replace("18822", "9")),
        (
            "tones",
            offer.replace("102 0 8", "102 0 8 101")
                + "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n",
        ),
        (
            "large letters",
            offer.replace("opus", "OPUS").replace("PCMU", "pcmu").replace("sha-256", "SHA-256"),
        ),
        ("small digits of a fingerprint", offer.replace("AB:AB", "ab:ab")),
        ("a channel count that goes without saying", offer.replace("PCMU/8000", "PCMU/8000/1")),
        (
            "static types that go without saying",
            offer.replace("a=rtpmap:0 PCMU/8000\r\n", "").replace("a=rtpmap:8 PCMA/8000\r\n", ""),
        ),
        (
            "types that are none",
            offer.replace("102 0 8", "102 0 8 120 300 x 102") + "a=rtpmap:121 x/1\r\n",
        ),
        ("rtpmaps that are none", section("a=rtpmap:102 twice/90000\r\na=rtpmap:x y\r\na=rtpmap:")),
        ("feedback of all types", section("a=rtcp-fb:* ccm fir\r\na=rtcp-fb:* nack pli")),
        (
            "sources that are none",
            section("a=ssrc:1\r\na=ssrc:1 cname\r\na=ssrc:x cname:y\r\na=ssrc-group:FID"),
        ),
        ("silence", section("a=silenceSupp:off - - - -\r\na=maxptime:150\r\na=nortpproxy:yes")),
        (
            "several hashes",
            section("a=fingerprint:sha-1 AB\r\na=fingerprint:sha-9 00\r\na=fingerprint:MD5 00:11"),
        ),
        (
            "the hash of the session",
            without("a=fingerprint").replace(
                "t=0 0\r\n",
                &format!(
                    "t=0 0\r\n{}",
                    offer.lines().find(|line| line.starts_with(hash)).unwrap().to_owned() + "\r\n"
                ),
            ),
        ),
        ("credentials of the session", {
            let moved = without("a=ice-").replace("a=setup:actpass\r\n", "");
            moved.replace("t=0 0\r\n", "t=0 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n")
        }),
        (
            "those of a session that no section means",
            session("a=ice-ufrag:zzzz\r\na=ice-pwd:zzzzzzzzzzzzzzzzzzzzzzzz"),
        ),
        ("no role", without("a=setup")),
        ("a role in large letters", offer.replace("actpass", "ACTPASS")),
        ("the active role", offer.replace("actpass", "active")),
        ("the passive role", offer.replace("actpass", "passive")),
        ("a direction of the session", session("a=recvonly")),
        ("an empty mid", section("a=mid:")),
        ("an address of IPv6", offer.replace("IN IP4 192.0.2.7", "IN IP6 2001:db8::7")),
        (
            "candidates with names and zones",
            section(
                "a=candidate:2 1 udp 1 fe80::1%eth0 9 typ host\r\n\
             a=candidate:3 1 udp 1 a.local 9 typ host\r\n\
             a=candidate:4 1 udp 1 192.0.2.9 9 typ srflx raddr a.local rport 9\r\n\
             a=candidate:5 1 tcp 1 192.0.2.9 9 typ host tcptype active\r\n\
             a=candidate:6 1 udp 1 192.0.2.9 9 typ moon\r\na=candidate:\r\na=candidate",
            ),
        ),
    ];
    for (what, text) in rows {
        let answer = answer(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        let section = &answer.media()[0];
        assert_ne!(section.port(), Some(0), "{what}");
        assert!(section.formats().any(|format| format == "102"), "{what}: {section}");
        let role = if what == "the passive role" { "active" } else { "passive" };
        assert_eq!(section.attribute("setup"), Some(role), "{what}");
    }
}

#[test]
fn what_cannot_be_taken_is_named() {
    use DescriptionError as Error;
    let offer = read(AUDIO);
    let without = |start: &str| -> String {
        offer.split_inclusive('\n').filter(|line| !line.starts_with(start)).collect()
    };

    assert_eq!(answer_error(&without("a=rtcp-mux")), Error::NoRtcpMux(0));
    assert_eq!(answer_error(&without("a=ice-ufrag")), Error::NoIceCredentials);
    assert_eq!(answer_error(&without("a=fingerprint")), Error::NoFingerprint);
    let holds = offer.replace("actpass", "holdconn");
    assert_eq!(answer_error(&holds), Error::UnusableSetup("holdconn".to_owned()));
    let session_hash = offer.replace("sha-256", "sha-9");
    assert!(matches!(answer_error(&session_hash), Error::UnusableFingerprint { .. }));
    let section = &offer[offer.find("m=").unwrap()..];
    let many = offer.clone() + &section.repeat(64);
    assert_eq!(answer_error(&many), Error::TooManySections { found: 65, limit: 64 });
    let lines = offer.lines().count();
    let padded = |more: usize| offer.clone() + &"a=x\r\n".repeat(more);
    let error = Error::TooManyLines { found: 1_537, limit: 1_536 };
    assert_eq!(answer_error(&padded(1_537 - lines)), error);
    _ = answer(&padded(1_536 - lines));
}

#[test]
fn extensions_are_agreed_on_as_they_were_offered() {
    const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    const LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    let maps = |answer: &Sdp, at: usize| -> Vec<String> {
        answer.media()[at].attributes("extmap").map(str::to_owned).collect()
    };
    let differs = read("hand-mid-extension-differs-by-section.sdp");
    let answered = taken(&differs);
    assert_eq!(maps(&answered, 0), [format!("1 {MID}")]);
    assert_eq!(maps(&answered, 1), [format!("4 {MID}")]);
    // The same the other way round, and with an id that has another meaning in another section.
    let swapped = differs.replace("extmap:1 ", "extmap:7 ").replace("extmap:4 ", "extmap:2 ");
    let answered = taken(&swapped);
    assert_eq!(
        (maps(&answered, 0), maps(&answered, 1)),
        (vec![format!("7 {MID}")], vec![format!("2 {MID}")])
    );
    let clash = differs.replace("m=video", &format!("a=extmap:4 {LEVEL}\r\nm=video"));
    let answered = taken(&clash);
    assert_eq!(
        (maps(&answered, 0), maps(&answered, 1)),
        (vec![format!("1 {MID}")], vec![format!("4 {MID}")])
    );

    // In the session part: it holds in each section.
    let plain = read(CALL);
    let with = |line: &str| plain.replace("t=0 0\r\n", &format!("t=0 0\r\n{line}\r\n"));
    let answered = taken(&with(&format!("a=extmap:5 {MID}")));
    assert_eq!(
        (maps(&answered, 0), maps(&answered, 1)),
        (vec![format!("5 {MID}")], vec![format!("5 {MID}")])
    );
    // The direction of the offer, reversed.
    let answered = taken(&with(&format!("a=extmap:5/sendonly {MID}")));
    assert_eq!(maps(&answered, 0), [format!("5/recvonly {MID}")]);

    // Ids that the engine has are agreed on; those of the long form beyond them are no fault; unknown extensions are
    // not agreed on.
    for id in 1..=16 {
        let answered = taken(&with(&format!("a=extmap:{id} {MID}\r\na=extmap:{id} urn:x")));
        for at in 0..2 {
            assert_eq!(maps(&answered, at), [format!("{id} {MID}")]);
        }
    }
    for id in ["0", "17", "255", "256", "4096", "x", ""] {
        let answered = taken(&with(&format!("a=extmap:{id} {MID}\r\na=extmap:{id} urn:x")));
        for at in 0..2 {
            assert_eq!(maps(&answered, at), [""; 0], "{id}");
        }
    }
    for (offered, of_session, of_section) in [
        (with("a=extmap-allow-mixed"), true, false),
        (plain.replace("a=rtcp-mux", "a=extmap-allow-mixed\r\na=rtcp-mux"), false, true),
        (plain.clone(), false, false),
    ] {
        let answered = taken(&offered);
        assert_eq!(answered.session().has("extmap-allow-mixed"), of_session);
        assert_eq!(answered.media()[0].has("extmap-allow-mixed"), of_section);
    }
}

/// A mid of more than 16 bytes does not fit into the short form, and packets do not carry it.
#[test]
fn a_renamed_mid_keeps_its_extension_if_that_can_carry_it() {
    const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    let offer = read("hand-mid-extension-differs-by-section.sdp");
    for (mid, carried) in
        [("audio-0", true), ("exactly-16-chars", true), ("seventeen-letters", false)]
    {
        let text = offer
            .replace("BUNDLE 0", &format!("BUNDLE {mid}"))
            .replace("a=mid:0", &format!("a=mid:{mid}"));
        let answer = taken(&text);
        assert_eq!(answer.media()[0].attributes("extmap").any(|one| one.contains(MID)), carried);
        assert!(answer.media()[1].attributes("extmap").any(|one| one.contains(MID)));
    }
}

#[test]
fn candidates_that_cannot_be_used_are_ignored_and_only_what_is_none_is_an_error() {
    let mut pair = Pair::new();
    let now = pair.now;
    let offer = SessionDescription::offer(read(BOTH));
    pair.b.session.set_remote_description(now, offer).unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    let mut add = |text: &str| {
        let candidate = IceCandidate {
            candidate: text.to_owned(),
            sdp_mid: Some("0".to_owned()),
            ..IceCandidate::default()
        };
        let before = pair.b.session.counters().candidates_ignored;
        let added = pair.b.session.add_ice_candidate(now, Some(candidate));
        added.map(|()| pair.b.session.counters().candidates_ignored - before)
    };
    for ignored in [
        "candidate:1 1 udp 1 fe80::1%eth0 9 typ host",
        "candidate:1 1 udp 1 fe80::1%25en0 9 typ host generation 0",
        "candidate:1 1 UDP 1 3f2a.local 9 typ host",
        "candidate:1 1 udp 1 localhost 9 typ host",
        "candidate:1 2 udp 1 192.0.2.9 9 typ host",
        "candidate:1 1 tcp 1 192.0.2.9 9 typ host tcptype active",
        "candidate:1 1 udp 1 192.0.2.9 9 typ token",
    ] {
        assert_eq!(add(ignored), Ok(1), "{ignored}");
    }
    for used in [
        "candidate:1 1 udp 1 192.0.2.10 9 typ srflx raddr 3f2a.local rport 9",
        "candidate:1 1 udp 1 192.0.2.11 9 typ srflx raddr fe80::1%eth0 rport 9 generation 0",
        "candidate:1 1 udp 1 192.0.2.12 9 typ host network-cost 10 network-id 3 generation 0 x y",
        "a=candidate:1 1 UDP 1 192.0.2.13 9 typ host \r\n",
        "candidate:1 1 udp 1 2001:db8::9 9 typ host",
    ] {
        assert_eq!(add(used), Ok(0), "{used}");
    }
    for none in ["candidate", "candidate:1 1 udp 1 192.0.2.9 x typ host", "x", "candidate:1 1 udp"]
    {
        assert!(matches!(add(none), Err(AddIceCandidateError::Syntax(_))), "{none}");
    }
    assert_eq!(pair.b.session.remote_candidates().len(), 5);
}
