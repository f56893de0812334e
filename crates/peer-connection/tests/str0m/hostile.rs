//! Tests of what a peer or a stranger can do: everything that panics or kills here must be stopped before it reaches
//! str0m.

use std::panic::{AssertUnwindSafe, catch_unwind};

use str0m::format::Codec;
use str0m::net::Receive;
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Event, Input, RtcError};

use crate::text::{only, pt_of, sections, value, values, with_section};
use crate::wire::{Wire, audio, config, millis, remote_sdp, secs, video};

/// A peer can do this: therefore a payload type is looked for in the other sections before str0m sees the description.
#[test]
fn a_payload_type_that_two_sections_of_an_offer_share_panics() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(|api| (audio(api), video(api)));
    let opus = pt_of(&sections(&offer)[0], "opus/48000/2");
    let vp8 = pt_of(&sections(&offer)[1], "VP8/90000");

    let shared = with_payload_type(&offer, 1, &vp8, &opus);

    assert!(catch_unwind(AssertUnwindSafe(|| wire.right.accept_offer(&shared).is_ok())).is_err());
}

/// The same in an answer.
#[test]
fn a_payload_type_that_two_sections_of_an_answer_share_panics() {
    let mut wire = Wire::new();
    let (offer, pending, _) = wire.left.offer(|api| (audio(api), video(api)));
    let answer = wire.right.accept_offer(&offer).unwrap();
    let opus = pt_of(&sections(&answer)[0], "opus/48000/2");
    let vp8 = pt_of(&sections(&answer)[1], "VP8/90000");

    let shared = with_payload_type(&answer, 1, &vp8, &opus);

    assert!(
        catch_unwind(AssertUnwindSafe(|| wire.left.accept_answer(pending, &shared).is_ok()))
            .is_err()
    );
}

/// The same codec is not enough: with other parameters it counts as another.
#[test]
fn a_payload_type_of_one_codec_with_other_parameters_in_another_section_panics() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(|api| (video(api), video(api)));
    let h264 = pt_of(&sections(&offer)[0], "H264/90000");
    let offer = with_section(&offer, 0, |section| only(section, &[&h264]));

    let shared = with_section(&offer, 1, |section| {
        only(section, &[&h264]).replace("packetization-mode=1", "packetization-mode=0")
    });

    assert!(catch_unwind(AssertUnwindSafe(|| wire.right.accept_offer(&shared).is_ok())).is_err());
}

/// A payload type of retransmissions counts as well.
#[test]
fn a_payload_type_of_retransmissions_that_repairs_another_codec_in_another_section_panics() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(|api| (video(api), video(api)));
    let vp8 = pt_of(&sections(&offer)[0], "VP8/90000");
    let vp9 = pt_of(&sections(&offer)[0], "VP9/90000");
    let repair = values(&offer, "a=fmtp:")
        .into_iter()
        .find_map(|line| line.strip_suffix(&format!(" apt={vp8}")));
    let repair = repair.unwrap();
    let offer = with_section(&offer, 0, |section| only(section, &[&vp8, repair]));

    let shared = with_section(&offer, 1, |section| {
        only(section, &[&vp9, repair]).replace(&format!("apt={vp8}"), &format!("apt={vp9}"))
    });

    assert!(catch_unwind(AssertUnwindSafe(|| wire.right.accept_offer(&shared).is_ok())).is_err());
}

/// The same where the receiver may choose the payload types itself, which str0m does.
#[test]
fn a_payload_type_that_two_sendonly_sections_of_an_offer_share_is_remapped() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(|api| (audio(api), video(api)));
    let opus = pt_of(&sections(&offer)[0], "opus/48000/2");
    let vp8 = pt_of(&sections(&offer)[1], "VP8/90000");

    let shared = with_payload_type(&offer, 1, &vp8, &opus).replace("a=sendrecv", "a=sendonly");
    let answer = wire.right.accept_offer(&shared).unwrap();

    assert_eq!(pt_of(&sections(&answer)[0], "opus/48000/2"), opus);
    assert_ne!(pt_of(&sections(&answer)[1], "VP8/90000"), opus);
}

/// A peer can do this: the error ends one drain, not the `Rtc`, and later events are reported as usual.
#[test]
fn a_frame_that_does_not_depacketize_is_an_error_of_the_poll_and_kills_nothing() {
    let mut wire = Wire::with_configs(config().set_rtp_mode(true), config());
    let mid = wire.negotiate_left(video);
    wire.expect_connected();
    let pt = wire
        .right
        .rtc
        .codec_config()
        .find(|params| params.spec().codec == Codec::Vp8)
        .unwrap()
        .pt();
    let send = |wire: &mut Wire, number: u32, payload: Vec<u8>| {
        let packet =
            RtpWrite::new(pt, SeqNo::from(u64::from(number)), number * 3_600, wire.now, payload)
                .marker(true);
        wire.left.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().write_rtp(packet);
        wire.run_for(millis(40));
    };

    send(&mut wire, 0, vec![0xff]);
    wire.run_for(secs(2));
    assert!(
        matches!(wire.right.errors[..], [(_, RtcError::Packet(..)), ..]),
        "{:?}",
        wire.right.errors
    );
    assert!(wire.right.rtc.is_alive());

    for number in 1..25 {
        send(&mut wire, number, vec![0x10; 500]);
    }
    let frames =
        wire.right.events.iter().filter(|(_, event)| matches!(event, Event::MediaData(_))).count();
    assert_eq!(frames, 24);
}

/// Therefore every caller that hands datagrams to an `Rtc` asks `accepts` first.
#[test]
fn a_datagram_of_a_stranger_is_taken_unless_accepts_is_asked() {
    let (mut wire, chat) = Wire::with_data();
    wire.right.deaf = true;
    assert!(wire.left.rtc.channel(chat).unwrap().write(true, b"hello").unwrap());
    wire.run_for(millis(10));
    let mut datagram = wire.left.sent.last().unwrap().clone();
    datagram.source = "203.0.113.66:666".parse().unwrap();

    let received =
        Receive::new(datagram.proto, datagram.source, datagram.destination, &datagram.contents)
            .unwrap();
    assert!(!wire.right.rtc.accepts(&Input::Receive(wire.now, received)));
    let now = wire.now;
    wire.right.receive(&datagram, now).unwrap();
    wire.run_for(millis(10));

    assert_eq!(wire.right.messages(), [b"hello"]);
}

/// A certificate other than the announced one ends the `Rtc` that sees it.
#[test]
fn another_fingerprint_in_the_first_offer_kills_the_answerer_at_the_handshake() {
    let mut wire = Wire::new();
    let (offer, pending, _) = wire.left.offer(audio);
    let hash = value(&offer, "a=fingerprint:").to_owned();
    let answer = wire
        .right
        .accept_offer(&offer.replace(&hash, &format!("sha-256 {}", vec!["00"; 32].join(":"))))
        .unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();

    wire.run_for(secs(5));

    assert!(!wire.right.rtc.is_alive());
    assert_eq!(remote_sdp(wire.right.errors.remove(0).1), "remote fingerprint no match");
    assert!(!wire.left.rtc.is_connected());
}

/// Returns the description with another payload type of one codec in the m-section at `index`.
fn with_payload_type(description: &str, index: usize, old: &str, new: &str) -> String {
    with_section(description, index, |section| {
        ["SAVPF ", "a=rtpmap:", "a=rtcp-fb:", "a=fmtp:", "apt="].iter().fold(
            section.to_owned(),
            |section, prefix| {
                let end = if *prefix == "apt=" { "\r\n" } else { " " };
                section.replace(&format!("{prefix}{old}{end}"), &format!("{prefix}{new}{end}"))
            },
        )
    })
}
