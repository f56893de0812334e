//! Tests of str0m's descriptions, and of how it treats narrowed, rewritten or broken ones.

use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{Direction, MediaKind, Simulcast, SimulcastLayer};
use str0m::{Event, RtcError};

use crate::text::{
    directions, only, ports, pt_of, sections, value, values, with_bundle, with_direction,
    with_rejected, with_section, without,
};
use crate::wire::{Wire, audio, audio_and_data, remote_sdp, video};

#[test]
fn json_goes_both_ways_with_any_key_order_and_extra_keys() {
    let mut wire = Wire::new();
    let mut api = wire.left.rtc.sdp_api();
    api.add_channel("chat".into());
    let (offer, _pending) = api.apply().unwrap();
    let text = offer.to_sdp_string();

    assert_eq!(serde_json::to_value(&offer).unwrap(), json!({ "type": "offer", "sdp": text }));

    let sdp = Value::from(text.as_str());
    let reordered = format!(r#"{{"extra":1,"sdp":{sdp},"type":"offer"}}"#);
    let parsed: SdpOffer = serde_json::from_str(&reordered).unwrap();
    assert_eq!(parsed.to_sdp_string(), text);
}

#[test]
fn json_of_another_type_is_refused() {
    for kind in ["answer", "pranswer", "rollback"] {
        assert!(serde_json::from_value::<SdpOffer>(json!({ "type": kind, "sdp": "" })).is_err());
    }
    for kind in ["offer", "pranswer", "rollback"] {
        assert!(serde_json::from_value::<SdpAnswer>(json!({ "type": kind, "sdp": "" })).is_err());
    }
}

#[test]
fn a_text_is_stable_after_a_round_trip_with_bare_line_feeds_and_unknown_attributes() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(audio_and_data);

    let parsed = SdpOffer::from_sdp_string(&offer.replace("\r\n", "\n")).unwrap();
    assert_eq!(parsed.to_sdp_string(), offer);

    let extended = with_section(&offer, 0, |section| format!("{section}a=x-unheard-of:1\r\n"));
    let parsed = SdpOffer::from_sdp_string(&extended).unwrap();
    assert_eq!(
        parsed.to_sdp_string(),
        SdpOffer::from_sdp_string(&parsed.to_sdp_string()).unwrap().to_sdp_string()
    );
}

/// Compare texts, never the structs.
#[test]
fn a_parsed_offer_does_not_equal_the_built_one() {
    let mut wire = Wire::new();
    let mut api = wire.left.rtc.sdp_api();
    api.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
    let (offer, _pending) = api.apply().unwrap();

    let parsed = SdpOffer::from_sdp_string(&offer.to_sdp_string()).unwrap();

    assert_ne!(parsed, offer);
}

#[test]
fn an_offer_with_no_m_lines_parses_and_is_refused() {
    let mut wire = Wire::new();
    let empty = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

    let refusal = wire.left.accept_offer(empty).unwrap_err();

    assert_eq!(remote_sdp(refusal), "No m-lines in offer");
}

#[test]
fn an_offer_narrowed_to_sendonly_is_answered_recvonly() {
    let mut wire = Wire::new();
    let (offer, pending, mid) = wire.left.offer(audio);

    let answer = wire.right.accept_offer(&with_direction(&offer, 0, "sendonly")).unwrap();

    assert_eq!(directions(&answer), ["recvonly"]);
    wire.left.accept_answer(pending, &answer).unwrap();
    wire.expect_connected();
    assert_eq!(wire.left.rtc.media(mid).unwrap().direction(), Direction::SendOnly);
    assert_eq!(wire.right.rtc.media(mid).unwrap().direction(), Direction::RecvOnly);
}

#[test]
fn an_m_line_fed_with_port_0_is_rejected_and_the_offerer_connects() {
    let mut wire = Wire::new();
    let (offer, pending, (kept, rejected)) = wire.left.offer(|api| (audio(api), video(api)));

    let answer = wire.right.accept_offer(&with_rejected(&offer, 1)).unwrap();

    assert_eq!(ports(&answer), ["9", "0"]);
    assert_eq!(value(&answer, "a=group:BUNDLE "), kept.to_string());
    wire.left.accept_answer(pending, &answer).unwrap();
    wire.expect_connected();
    assert!(wire.left.rtc.media(rejected).unwrap().stopped());
    assert!(!wire.left.rtc.media(kept).unwrap().stopped());
    let added = |wire: &Wire, mid| {
        wire.right.told(|event| matches!(event, Event::MediaAdded(added) if added.mid == mid))
    };
    assert!(added(&wire, kept));
    assert!(!added(&wire, rejected));
}

/// Therefore the candidates have to be moved to the first section that is left.
#[test]
fn when_the_first_m_line_is_rejected_the_candidates_stay_in_it() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(|api| (audio(api), video(api)));

    let answer = wire.right.accept_offer(&with_rejected(&offer, 0)).unwrap();

    let sections = sections(&answer);
    assert_eq!(ports(&answer), ["0", "9"]);
    assert_eq!(values(&sections[0], "a=candidate:").len(), 1);
    assert_eq!(values(&sections[1], "a=candidate:").len(), 0);
}

#[test]
fn the_data_section_cannot_be_rejected() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(audio_and_data);

    let answer = wire.right.accept_offer(&with_rejected(&offer, 1)).unwrap();

    assert_eq!(ports(&answer), ["9", "9"]);
    assert_eq!(values(&answer, "a=group:BUNDLE ")[0].split(' ').count(), 2);
}

/// Therefore mids that str0m cannot hold are mapped before it sees them.
#[test]
fn mids_are_cut_to_16_characters_and_odd_ones_are_replaced() {
    for (sent, answered) in [
        ("aud-1", "aud_1"),
        ("a.b+c", "a_b_c"),
        ("abcdefghijklmnopqrstuvwxy", "abcdefghijklmnop"),
        ("sixteen_letters_", "sixteen_letters_"),
    ] {
        let mut wire = Wire::new();
        let (offer, _pending, mid) = wire.left.offer(audio);
        let renamed = with_bundle(&offer, &[sent])
            .replace(&format!("a=mid:{mid}\r\n"), &format!("a=mid:{sent}\r\n"));

        let answer = wire.right.accept_offer(&renamed).unwrap();

        assert_eq!(value(&answer, "a=mid:"), answered);
    }
}

#[test]
fn a_rejection_of_the_data_section_is_not_seen() {
    let mut wire = Wire::new();
    let (offer, pending, _) = wire.left.offer(audio_and_data);
    let answer = wire.right.accept_offer(&offer).unwrap();

    wire.left.accept_answer(pending, &with_rejected(&answer, 1)).unwrap();

    wire.expect_connected();
    assert_eq!(wire.left.opened(), ["chat"]);
}

#[test]
fn an_offer_without_a_bundle_is_refused() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(audio);

    let refusal = wire.right.accept_offer(&without(&offer, "a=group:BUNDLE")).unwrap_err();

    assert!(matches!(refusal, RtcError::RemoteSdp(_) | RtcError::Sdp(_)), "{refusal:?}");
}

#[test]
fn media_of_unknown_codecs_is_rejected_by_str0m_itself() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(audio_and_data);
    let offer = with_section(&offer, 0, |section| {
        section.replace("opus/48000/2", "speex/16000").replace("PCM", "XYZ")
    });

    let answer = wire.right.accept_offer(&offer).unwrap();

    assert_eq!(values(&answer, "m=audio"), [" 0 UDP/TLS/RTP/SAVPF 0"]);
}

#[test]
fn an_offer_with_fewer_codecs_than_were_proposed_is_answered_and_the_answer_taken() {
    let mut wire = Wire::new();
    let (offer, pending, mid) = wire.left.offer(video);
    let kept = pt_of(&sections(&offer)[0], "VP8/90000");
    let fewer = with_section(&offer, 0, |section| only(section, &[&kept]));

    let answer = wire.right.accept_offer(&fewer).unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();

    assert_eq!(value(&answer, "m=video 9 UDP/TLS/RTP/SAVPF "), kept);
    wire.expect_connected();
    let params: Vec<_> =
        wire.left.rtc.writer(mid).unwrap().payload_params().map(|params| params.pt()).collect();
    assert_eq!(params.iter().map(ToString::to_string).collect::<Vec<_>>(), [kept]);
}

#[test]
fn the_rids_of_a_simulcast_offer_come_back_in_the_answer() {
    let mut wire = Wire::new();
    let mut simulcast = Simulcast::new();
    for rid in ["lo", "mid", "hi"] {
        simulcast.add_send_layer(SimulcastLayer::new(rid));
    }

    let (offer, pending, _) = wire.left.offer(|api| {
        api.add_media(MediaKind::Video, Direction::SendOnly, None, None, Some(simulcast))
    });
    let answer = wire.right.accept_offer(&offer).unwrap();

    assert_eq!(value(&offer, "a=simulcast:"), "send lo;mid;hi");
    assert_eq!(value(&answer, "a=simulcast:"), "recv lo;mid;hi");
    assert_eq!(values(&answer, "a=rid:"), ["lo recv", "mid recv", "hi recv"]);
    wire.left.accept_answer(pending, &answer).unwrap();
    wire.expect_connected();
}

#[test]
fn the_same_offer_accepted_twice_gives_the_same_answer_and_another_narrowing_the_other_one() {
    let mut wire = Wire::new();
    let (offer, pending, mid) = wire.left.offer(audio);

    let first = wire.right.accept_offer(&with_direction(&offer, 0, "sendonly")).unwrap();
    let again = wire.right.accept_offer(&with_direction(&offer, 0, "sendonly")).unwrap();
    let wider = wire.right.accept_offer(&offer).unwrap();

    assert_eq!(first, again);
    assert_eq!(directions(&first), ["recvonly"]);
    assert_eq!(directions(&wider), ["sendrecv"]);
    assert_eq!(
        without(&without(&wider, "a=sendrecv"), "a=ssrc"),
        without(&without(&first, "a=recvonly"), "a=ssrc")
    );
    wire.left.accept_answer(pending, &wider).unwrap();
    wire.expect_connected();
    assert_eq!(wire.right.rtc.media(mid).unwrap().direction(), Direction::SendRecv);
}

/// Therefore this crate writes the msid of an answer.
#[test]
fn an_answer_copies_the_msid_of_the_offer() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(|api| {
        api.add_media(
            MediaKind::Audio,
            Direction::SendRecv,
            Some("stream".into()),
            Some("track".into()),
            None,
        )
    });

    let answer = wire.right.accept_offer(&offer).unwrap();

    assert_eq!(value(&offer, "a=msid:"), "stream track");
    assert_eq!(value(&answer, "a=msid:"), "stream track");
}
