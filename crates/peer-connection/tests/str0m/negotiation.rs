//! Tests of whole rounds of str0m: what is in force when, and what happens to an offer that is dropped, refused or
//! rolled back.

use str0m::media::{Direction, MediaKind, Mid};
use str0m::{Event, IceConnectionState, RtcError};

use crate::text::{
    directions, first_sections, ports, renumbered, sections, session, value, with_bundle,
    with_direction, with_rejected, without,
};
use crate::wire::{Wire, audio, audio_and_data, remote_sdp, secs, video};

#[test]
fn there_is_no_offer_without_a_change() {
    let (mut wire, _) = Wire::with_data();

    assert!(wire.left.rtc.sdp_api().apply().is_none());
    let mut api = wire.left.rtc.sdp_api();
    api.add_channel("another".into());
    assert!(api.apply().is_none());
}

#[test]
fn two_offers_differ_in_mids_share_a_version_and_only_the_second_can_be_answered() {
    let mut wire = Wire::new();
    let (first, old, _) = wire.left.offer(audio);
    let (second, new, _) = wire.left.offer(audio);

    assert_ne!(value(&first, "a=mid:"), value(&second, "a=mid:"));
    assert_eq!(value(&first, "o="), value(&second, "o="));

    let answer = wire.right.accept_offer(&second).unwrap();
    let refusal = wire.left.accept_answer(old, &answer).unwrap_err();
    assert!(matches!(refusal, RtcError::ChangesOutOfOrder));
    wire.left.accept_answer(new, &answer).unwrap();
    wire.expect_connected();
}

/// This crate has to number the descriptions.
#[test]
fn every_offer_and_answer_has_version_2() {
    let (mut wire, _) = Wire::with_data();
    wire.negotiate_left(audio);

    let (offer, ..) = wire.left.offer(audio);
    let answer = wire.right.accept_offer(&offer).unwrap();

    assert_eq!(value(&offer, "o=").split(' ').nth(2), Some("2"));
    assert_eq!(value(&answer, "o=").split(' ').nth(2), Some("2"));
}

#[test]
fn either_side_may_offer_again() {
    let (mut wire, chat) = Wire::with_data();

    let first = wire.negotiate_left(audio);
    let second = wire.negotiate_right(video);
    let third = wire.negotiate_left(video);

    for mid in [first, second, third] {
        assert!(wire.left.rtc.media(mid).is_some());
        assert!(wire.right.rtc.media(mid).is_some());
    }
    assert!(wire.carries(chat, b"still there"));
}

/// Therefore a direction is never set to build an offer.
#[test]
fn a_direction_that_is_set_takes_effect_at_once_and_is_not_undone_by_a_drop() {
    let (mut wire, mid) = Wire::new().connected_by(audio);

    wire.left.rtc.sdp_api().set_direction(mid, Direction::Inactive);

    assert_eq!(wire.left.rtc.media(mid).unwrap().direction(), Direction::Inactive);
    let mut api = wire.left.rtc.sdp_api();
    api.set_direction(mid, Direction::Inactive);
    assert!(api.apply().is_none());
}

#[test]
fn a_direction_there_and_back_gives_an_offer_that_changes_nothing() {
    let (mut wire, mid) = Wire::new().connected_by(audio);
    let before = directions(&wire.left.offer(audio).0)[0];

    let (offer, ..) = wire.left.offer(|api| {
        api.set_direction(mid, Direction::Inactive);
        api.set_direction(mid, Direction::SendRecv);
    });

    assert_eq!(directions(&offer), [before]);
    wire.run_for(secs(1));
    assert!(wire.left.told(|event| matches!(event, Event::MediaChanged(_))));
}

#[test]
fn stopped_media_never_comes_back() {
    let (mut wire, mid) = Wire::new().connected_by(audio);

    wire.left.rtc.sdp_api().stop_media(mid);
    assert!(wire.left.rtc.media(mid).unwrap().stopped());

    let mut api = wire.left.rtc.sdp_api();
    api.stop_media(mid);
    assert!(api.apply().is_none());

    let (offer, ..) = wire.left.offer(|api| {
        api.set_direction(mid, Direction::SendRecv);
        api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None)
    });
    assert_eq!(ports(&offer)[0], "0");
    assert!(wire.left.rtc.media(mid).unwrap().stopped());
}

#[test]
fn glare_is_solved_by_dropping_the_pending_offer_and_offering_again() {
    let (mut wire, chat) = Wire::with_data();
    let (_lost, dropped, _) = wire.left.offer(audio);
    let (winning, pending, theirs) = wire.right.offer(video);

    drop(dropped);
    let answer = wire.left.accept_offer(&winning).unwrap();
    wire.right.accept_answer(pending, &answer).unwrap();
    let ours = wire.negotiate_left(audio);

    for mid in [theirs, ours] {
        assert!(wire.left.rtc.media(mid).is_some());
        assert!(wire.right.rtc.media(mid).is_some());
    }
    assert!(wire.carries(chat, b"still there"));
}

#[test]
fn a_pending_offer_is_refused_after_a_remote_one_was_accepted() {
    let (mut wire, _) = Wire::with_data();
    let (ours, pending, _) = wire.left.offer(audio);
    let (theirs, ..) = wire.right.offer(audio);
    let answer_to_ours = wire.right.accept_offer(&ours).unwrap();

    wire.left.accept_offer(&theirs).unwrap();

    let refusal = wire.left.accept_answer(pending, &answer_to_ours).unwrap_err();
    assert!(matches!(refusal, RtcError::ChangesOutOfOrder));
}

#[test]
fn after_glare_in_the_first_exchange_a_channel_is_added_again_without_an_offer() {
    let mut wire = Wire::new();
    let (_lost, dropped, _) = wire.left.offer(|api| api.add_channel("lost".into()));
    let (winning, pending, _) = wire.right.offer(|api| api.add_channel("theirs".into()));
    drop(dropped);
    let answer = wire.left.accept_offer(&winning).unwrap();
    wire.right.accept_answer(pending, &answer).unwrap();

    let mut api = wire.left.rtc.sdp_api();
    api.add_channel("ours".into());
    assert!(api.apply().is_none());

    wire.expect_connected();
    assert_eq!(wire.left.opened().len(), 2);
    assert!(wire.right.opened().contains(&"ours"));
    assert!(!wire.right.opened().contains(&"lost"));
}

#[test]
fn an_accepted_offer_is_undone_by_removing_its_media_and_setting_the_old_directions() {
    let (mut wire, (old, chat)) = Wire::new().connected_by(audio_and_data);
    let (offer, dropped, new) = wire.right.offer(video);
    let narrowed = with_direction(&offer, 0, "inactive");
    wire.left.accept_offer(&narrowed).unwrap();
    assert_eq!(wire.left.rtc.media(old).unwrap().direction(), Direction::Inactive);

    wire.left.rtc.direct_api().remove_media(new);
    wire.left.rtc.sdp_api().set_direction(old, Direction::SendRecv);
    drop(dropped);

    let (clean, pending, mid) = wire.left.offer(video);
    assert_eq!(directions(&clean), ["sendrecv", "", "sendrecv"]);
    assert!(!clean.contains(&format!("a=mid:{new}\r\n")));
    let answer = wire.right.accept_offer(&clean).unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();
    assert!(wire.right.rtc.media(mid).is_some());
    assert!(wire.carries(chat, b"still there"));
}

/// Therefore everything is validated before str0m sees it.
#[test]
fn a_refused_offer_with_an_ice_restart_has_restarted_ice_all_the_same() {
    let (mut wire, _) = Wire::with_data();
    let bad: [fn(&str) -> String; 2] = [
        |offer| offer.replace("a=group:BUNDLE ", "a=group:BUNDLE xyz "),
        |offer| {
            offer.replace(&format!("a=mid:{}\r\n", value(offer, "a=mid:")), "a=mid:changed\r\n")
        },
    ];

    for spoil in bad {
        let before = wire.right.ufrag();
        let (offer, _pending, _) = wire.left.offer(|api| {
            api.ice_restart(true);
            api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None)
        });

        assert!(wire.right.accept_offer(&spoil(&offer)).is_err());

        assert_ne!(wire.right.ufrag(), before);
        assert!(wire.right.rtc.is_alive());
    }
}

/// Datagrams still get through, since str0m sends to the last pair until it is told to stop.
#[test]
fn a_refused_offer_with_an_ice_restart_ends_in_disconnected_although_data_flows() {
    let (mut wire, chat) = Wire::with_data();
    let (offer, _pending, _) = wire.left.offer(|api| api.ice_restart(true));

    let spoiled = offer.replace("a=group:BUNDLE ", "a=group:BUNDLE xyz ");
    assert!(wire.right.accept_offer(&spoiled).is_err());

    wire.run_for(secs(40));
    assert_eq!(wire.right.ice_states().last().unwrap().1, IceConnectionState::Disconnected);
    assert!(wire.carries(chat, b"still there"));
}

#[test]
fn an_offer_without_a_fingerprint_kills_the_rtc() {
    let mut wire = Wire::new();
    let (offer, ..) = wire.left.offer(audio);

    let refusal = wire.right.accept_offer(&without(&offer, "a=fingerprint")).unwrap_err();

    assert_eq!(remote_sdp(refusal), "missing a=fingerprint");
    assert!(!wire.right.rtc.is_alive());
}

/// The fingerprint of a later description is ignored.
#[test]
fn a_later_offer_with_another_fingerprint_is_taken_without_complaint() {
    let (mut wire, chat) = Wire::with_data();
    let (offer, pending, _) = wire.left.offer(audio);
    let hash = value(&offer, "a=fingerprint:").to_owned();

    let other = offer.replace(&hash, &format!("sha-256 {}", vec!["00"; 32].join(":")));
    let answer = wire.right.accept_offer(&other).unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();

    assert!(wire.carries(chat, b"still there"));
}

/// The answer's text applied as an offer commits an answer that has no pending offer.
#[test]
fn an_offer_written_as_text_is_committed_by_applying_its_answer_as_an_offer() {
    let (mut wire, (mid, chat)) = Wire::new().connected_by(audio_and_data);
    let (mut offer, pending, _) = wire.left.offer(video);
    drop(pending);
    offer = renumbered(&first_sections(&offer, 2));
    offer = with_direction(&offer, 0, "sendonly");

    let answer = wire.right.accept_offer(&offer).unwrap();
    assert_eq!(directions(&answer), ["recvonly", ""]);
    wire.left.accept_offer(&answer).unwrap();

    assert_eq!(wire.left.rtc.media(mid).unwrap().direction(), Direction::SendOnly);
    assert_eq!(wire.right.rtc.media(mid).unwrap().direction(), Direction::RecvOnly);
    assert!(wire.carries(chat, b"still there"));
}

#[test]
fn a_text_offer_that_changes_nothing_may_be_exchanged_over_data_alone() {
    let (mut wire, chat) = Wire::with_data();
    let (offer, pending, _) = wire.left.offer(audio);
    drop(pending);

    for _ in 0..3 {
        let answer = wire.right.accept_offer(&first_sections(&offer, 1)).unwrap();
        wire.left.accept_offer(&answer).unwrap();
        assert!(wire.carries(chat, b"still there"));
    }
}

#[test]
fn the_final_answer_may_follow_the_provisional_one_as_an_offer() {
    let mut wire = Wire::new();
    let (offer, pending, _) = wire.left.offer(audio_and_data);
    let answer = wire.right.accept_offer(&offer).unwrap();

    wire.left.accept_answer(pending, &answer).unwrap();
    wire.left.accept_offer(&answer).unwrap();

    wire.expect_connected();
    let chat = wire.left.channel("chat");
    assert!(wire.carries(chat, b"hello"));
}

#[test]
fn a_text_offer_may_change_a_direction_beside_a_new_m_line() {
    let (mut wire, (old, chat)) = Wire::new().connected_by(audio_and_data);
    let (offer, pending, new) = wire.left.offer(video);
    let offer = with_direction(&offer, 0, "inactive");
    let answer = wire.right.accept_offer(&offer).unwrap();

    wire.left.rtc.sdp_api().set_direction(old, Direction::Inactive);
    wire.left.accept_answer(pending, &answer).unwrap();

    for peer in [&wire.left, &wire.right] {
        assert_eq!(peer.rtc.media(old).unwrap().direction(), Direction::Inactive);
        assert_eq!(peer.rtc.media(new).unwrap().direction(), Direction::SendRecv);
    }
    assert!(wire.carries(chat, b"still there"));
}

/// A dropped `SdpApi` that set a direction does not outdate the pending offer.
#[test]
fn setting_a_direction_without_apply_leaves_the_pending_offer_valid() {
    let (mut wire, (old, _)) = Wire::new().connected_by(audio_and_data);
    let (offer, pending, _) = wire.left.offer(video);
    let answer = wire.right.accept_offer(&offer).unwrap();

    wire.left.rtc.sdp_api().set_direction(old, Direction::RecvOnly);

    wire.left.accept_answer(pending, &answer).unwrap();
    // The answer decides about it.
    assert_eq!(wire.left.rtc.media(old).unwrap().direction(), Direction::SendRecv);
}

/// The reason why directions are set right before an answer is committed.
#[test]
fn media_made_here_goes_from_inactive_to_sendonly_only_if_the_direction_was_set_before() {
    for set_before in [false, true] {
        let (mut wire, (mid, _)) = Wire::new().connected_by(audio_and_data);
        exchange_direction(&mut wire, mid, "inactive", false);
        assert_eq!(wire.left.rtc.media(mid).unwrap().direction(), Direction::Inactive);

        exchange_direction(&mut wire, mid, "sendonly", set_before);

        let expected = if set_before { Direction::SendOnly } else { Direction::Inactive };
        assert_eq!(wire.left.rtc.media(mid).unwrap().direction(), expected);
        assert_eq!(wire.right.rtc.media(mid).unwrap().direction(), Direction::RecvOnly);
    }
}

#[test]
fn a_text_offer_with_port_0_stops_media_on_both_sides() {
    let (mut wire, (mid, chat)) = Wire::new().connected_by(audio_and_data);
    let (offer, pending, _) = wire.left.offer(video);
    drop(pending);
    let offer = with_rejected(&first_sections(&offer, 2), 0);

    let answer = wire.right.accept_offer(&offer).unwrap();
    wire.left.rtc.sdp_api().stop_media(mid);
    wire.left.accept_offer(&answer).unwrap();

    assert_eq!(ports(&answer), ["0", "9"]);
    assert!(wire.left.rtc.media(mid).unwrap().stopped());
    assert!(wire.right.rtc.media(mid).unwrap().stopped());
    assert!(wire.carries(chat, b"still there"));
}

#[test]
fn media_rejected_in_the_answer_is_stopped_and_its_slot_is_not_used_again() {
    let mut wire = Wire::new();
    let (offer, pending, (rejected, _)) = wire.left.offer(audio_and_data);
    let answer = wire.right.accept_offer(&with_rejected(&offer, 0)).unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();
    wire.expect_connected();

    let (next, ..) = wire.left.offer(audio);

    assert!(wire.left.rtc.media(rejected).unwrap().stopped());
    assert_eq!(ports(&next), ["0", "9", "9"]);
}

/// The far side may use a slot again.
#[test]
fn a_remote_offer_may_use_a_stopped_slot_again() {
    let (mut wire, (stopped, chat)) = Wire::new().connected_by(audio_and_data);
    let (offer, pending, _) = wire.left.offer(|api| api.stop_media(stopped));
    let answer = wire.right.accept_offer(&offer).unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();
    let (offer, pending, new) = wire.left.offer(video);
    drop(pending);

    let mut parts = sections(&offer);
    parts.swap_remove(0);
    parts.truncate(2);
    let bundle = value(&offer, "a=group:BUNDLE ");
    let swapped: Vec<_> = bundle.split(' ').rev().collect();
    let recycled = session(&with_bundle(&offer, &swapped)) + &parts.concat();
    let answer = wire.right.accept_offer(&recycled).unwrap();

    assert_eq!(value(&answer, "a=mid:"), new.to_string());
    assert_eq!(ports(&answer), ["9", "9"]);
    assert!(wire.right.rtc.media(stopped).is_none());
    assert!(wire.carries(chat, b"still there"));
}

#[test]
fn closing_one_rtc_ends_the_other() {
    let (mut wire, chat) = Wire::with_data();

    wire.left.rtc.close().unwrap();
    wire.run_for(secs(1));

    assert!(!wire.left.rtc.is_alive());
    assert!(wire.right.told(|event| matches!(event, Event::Closed)));
    assert!(!wire.right.rtc.is_alive());
    assert!(wire.left.rtc.channel(chat).is_none());
    // No channel is reported as closed.
    assert!(!wire.right.told(|event| matches!(event, Event::ChannelClose(_))));
}

/// Closing twice, and before there was anything to close.
#[test]
fn closing_is_harmless_at_any_time() {
    let mut wire = Wire::new();
    wire.left.rtc.close().unwrap();
    wire.left.rtc.close().unwrap();
    wire.run_for(secs(1));

    assert!(!wire.left.rtc.is_alive());
    wire.left.rtc.close().unwrap();
}

/// Therefore this crate checks a closed flag of its own first.
#[test]
fn a_dead_rtc_still_makes_offers_and_accepts_them() {
    let (mut wire, _) = Wire::with_data();
    let (offer, ..) = wire.left.offer(audio);
    wire.right.rtc.disconnect();

    assert!(wire.right.accept_offer(&offer).is_ok());
    let (offer, ..) = wire.right.offer(video);
    assert!(!offer.is_empty());
    assert!(!wire.right.rtc.is_alive());
}

/// Lets the left peer write `direction` into the text of an offer of the first two sections.
fn exchange_direction(wire: &mut Wire, mid: Mid, direction: &str, set_before: bool) {
    let (offer, pending, _) = wire.left.offer(video);
    drop(pending);
    let offer = with_direction(&first_sections(&offer, 2), 0, direction);
    let answer = wire.right.accept_offer(&offer).unwrap();
    if set_before {
        wire.left.rtc.sdp_api().set_direction(mid, Direction::SendOnly);
    }
    wire.left.accept_offer(&answer).unwrap();
}
