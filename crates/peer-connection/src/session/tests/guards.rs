//! Tests of what a hostile peer, or a wrong application, may try.

use proptest::prelude::*;

use super::SECOND;
use super::simulated_pair::{Pair, Peer};
use crate::error::{DescriptionError, SetDescriptionError};
use crate::*;

impl Peer {
    pub(super) fn offer_of_data(&mut self) -> String {
        let now = self.session.started.0;
        self.session
            .create_data_channel(now, "x".to_owned(), DataChannelOptions::default())
            .unwrap();
        self.session.create_offer(false).unwrap().sdp
    }
}

pub(super) fn offer() -> String {
    let mut pair = Pair::new();
    let now = pair.now;
    for (kind, id) in [("audio/opus", "a"), ("video/VP8", "v")] {
        pair.a
            .session
            .add_track(now, LocalTrack::new(RtpCodecCapability::new(kind), id, "s"))
            .unwrap();
    }
    pair.a.offer_of_data()
}

#[track_caller]
pub(super) fn refused(text: &str) -> DescriptionError {
    let mut pair = Pair::new();
    let now = pair.now;
    match pair.b.session.set_remote_description(now, SessionDescription::offer(text)) {
        Err(SetDescriptionError::Description(error)) => {
            // Nothing has changed: a valid description is accepted.
            assert_eq!(pair.b.signaling(), SignalingState::Stable);
            pair.b.session.set_remote_description(now, SessionDescription::offer(offer())).unwrap();
            pair.b.session.create_answer(now).unwrap();
            error
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn offers_that_cannot_be_used_are_refused_before_anything_happens() {
    use DescriptionError as Error;
    let good = offer();
    let without = |start: &str| {
        good.split_inclusive('\n').filter(|line| !line.starts_with(start)).collect::<String>()
    };
    let mids: Vec<String> = sdp::Sdp::parse(&good)
        .media()
        .iter()
        .filter_map(|one| one.mid().map(str::to_owned))
        .collect();

    assert!(matches!(refused(""), Error::Syntax(_)));
    assert!(matches!(refused("garbage"), Error::Syntax(_)));
    assert!(matches!(refused(&good.replace("v=0", "v=1")), Error::Syntax(_)));
    assert!(matches!(refused(&good.replace("s=-", "s=\0")), Error::Syntax(_)));
    assert_eq!(
        refused(&good.replace("a=group:BUNDLE ", "a=group:BUNDLE zz ")),
        Error::UnknownMidInBundle("zz".to_owned())
    );
    assert_eq!(refused(&without("a=ice-ufrag")), Error::NoIceCredentials);
    assert_eq!(refused(&without("a=fingerprint")), Error::NoFingerprint);
    assert_eq!(refused(&without("a=rtcp-mux")), Error::NoRtcpMux(0));
    let twice = good.replace(&format!("a=mid:{}\r", mids[1]), &format!("a=mid:{}\r", mids[0]));
    assert_eq!(refused(&twice), Error::DuplicateMid(mids[0].clone()));
    let odd = good.replace(&mids[0], "a/b");
    assert_eq!(refused(&odd), Error::UnusableMid("a/b".to_owned()));
    assert!(matches!(
        refused(&("v=0\r\n".to_owned() + &"a=x\r\n".repeat(300_000))),
        Error::TooLarge(_)
    ));
    let short = good
        .split_inclusive('\n')
        .map(|line| if line.starts_with("a=ice-pwd") { "a=ice-pwd:short\r\n" } else { line });
    assert_eq!(refused(&short.collect::<String>()), Error::BadIceCredentials);
}

#[test]
fn answers_that_do_not_fit_are_refused_and_the_right_one_is_taken() {
    use DescriptionError as Error;
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a
        .session
        .add_track(now, LocalTrack::new(RtpCodecCapability::new("audio/opus"), "a", "s"))
        .unwrap();
    pair.channel("x", DataChannelOptions::default());
    let offer = pair.a.session.create_offer(false).unwrap();
    pair.a.session.set_local_description(now, Some(offer.clone())).unwrap();
    pair.b.session.set_remote_description(now, offer).unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    let answer = pair.b.session.jsep().current_local().unwrap().description();
    let parsed = sdp::Sdp::parse(&answer.sdp);

    let mut fewer = parsed.clone();
    let dropped = fewer.media_mut().pop().unwrap();
    let left = fewer.media()[0].mid().unwrap().to_owned();
    fewer.set_bundle(&[&left]);
    let mut swapped = parsed.clone();
    swapped.media_mut().reverse();
    let mut renamed = parsed.clone();
    renamed.media_mut()[0].set_attribute("mid", "new");
    renamed.set_bundle(&["new", dropped.mid().unwrap()]);
    let mut set = |text: String| match pair
        .a
        .session
        .set_remote_description(now, SessionDescription::answer(text))
    {
        Err(SetDescriptionError::Description(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(set(fewer.to_string()), Error::OtherNumberOfSections { found: 1, offered: 2 });
    assert!(matches!(set(swapped.to_string()), Error::OtherKind { section: 0, .. }));
    assert!(matches!(set(renamed.to_string()), Error::OtherMid { section: 0, .. }));
    let role = answer.sdp.replace("a=setup:passive", "a=setup:actpass");
    assert_eq!(set(role), Error::RoleNotChosen);

    pair.a.session.set_remote_description(now, answer).unwrap();
    pair.connect();
}

#[test]
fn an_offer_may_not_change_what_was_negotiated() {
    use DescriptionError as Error;
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a
        .session
        .add_track(now, LocalTrack::new(RtpCodecCapability::new("audio/opus"), "a", "s"))
        .unwrap();
    pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    let offer = pair.a.session.create_offer(false).unwrap().sdp;
    let mut fewer = sdp::Sdp::parse(&offer);
    fewer.media_mut().pop();
    let left = fewer.media()[0].mid().unwrap().to_owned();
    fewer.set_bundle(&[&left]);
    let fingerprint = offer.lines().find(|line| line.starts_with("a=fingerprint")).unwrap();
    let mut other = fingerprint.to_owned();
    let last = if other.ends_with('A') { "B" } else { "A" };
    other.replace_range(other.len() - 1.., last);
    let now = pair.now;
    let mut set = |text: String| match pair
        .b
        .session
        .set_remote_description(now, SessionDescription::offer(text))
    {
        Err(SetDescriptionError::Description(error)) => error,
        other => panic!("{other:?}"),
    };

    assert_eq!(set(fewer.to_string()), Error::FewerSections { found: 1, before: 2 });
    assert_eq!(set(offer.replace(fingerprint, &other)), Error::OtherFingerprint);
    assert!(pair.connected());
}

#[test]
fn both_sides_lite_is_refused() {
    let lite = || {
        let settings = ApiSettings { ice_lite: true, ..ApiSettings::default() };
        Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings)
    };
    let mut pair = Pair::with(lite(), lite());
    let now = pair.now;
    let offer = pair.a.offer_of_data();
    let error =
        pair.b.session.set_remote_description(now, SessionDescription::offer(offer)).unwrap_err();
    assert_eq!(error, SetDescriptionError::Description(DescriptionError::BothLite));

    for by_b in [false, true] {
        let mut pair = Pair::with(lite(), Api::default());
        let now = pair.now;
        pair.channel("x", DataChannelOptions::default());
        pair.b
            .session
            .create_data_channel(now, "y".to_owned(), DataChannelOptions::default())
            .unwrap();
        if by_b {
            pair.negotiate_from_b()
        } else {
            pair.negotiate()
        }
        pair.connect();
    }
}

/// A section of data alone, with an unusual mid.
#[test]
fn an_odd_mid_of_data_is_answered_as_it_is() {
    let mut pair = Pair::new();
    let offer = pair.a.offer_of_data();
    let mid = sdp::Sdp::parse(&offer).media()[0].mid().unwrap().to_owned();
    let odd = "a.section-with an odd name of forty letters".replace(' ', "-");
    let offer = offer
        .replace(&format!("a=mid:{mid}"), &format!("a=mid:{odd}"))
        .replace(&format!("BUNDLE {mid}"), &format!("BUNDLE {odd}"));
    let now = pair.now;
    pair.b.session.set_remote_description(now, SessionDescription::offer(offer)).unwrap();
    let answer = pair.b.session.create_answer(now).unwrap();
    let answer = sdp::Sdp::parse(&answer.sdp);
    assert_eq!(answer.media()[0].mid(), Some(odd.as_str()));
    assert_eq!(answer.bundle(), Some(vec![odd.as_str()]));
}

/// Unknown sections are rejected, each in its place, and the others are accepted.
#[test]
fn unknown_sections_are_rejected_in_their_place() {
    let text = offer();
    let mut offer = sdp::Sdp::parse(&text);
    let odd = sdp::Sdp::parse(
        "v=0\r\nm=text 9 RTP/AVP 98\r\na=mid:t\r\nm=message 9 TCP/MSRP *\r\nm=image 9 udptl t38\r\na=mid:i\r\n",
    );
    let [text, message, image] = odd.media() else { panic!() };
    offer.media_mut().insert(0, text.clone());
    offer.media_mut().insert(2, message.clone());
    offer.media_mut().push(image.clone());
    let mut pair = Pair::new();
    let now = pair.now;
    pair.b
        .session
        .set_remote_description(now, SessionDescription::offer(offer.to_string()))
        .unwrap();
    let answer = pair.b.session.create_answer(now).unwrap();
    pair.b.session.set_local_description(now, Some(answer.clone())).unwrap();

    let answer = sdp::Sdp::parse(&answer.sdp);
    let rejected: Vec<bool> = answer.media().iter().map(|one| one.port() == Some(0)).collect();
    assert_eq!(rejected, [true, false, true, false, false, true]);
    assert_eq!(answer.media()[0].to_string().lines().next(), Some("m=text 0 RTP/AVP 98"));
    assert_eq!(answer.media()[5].mid(), Some("i"));
    assert_eq!(answer.bundle().map(|bundle| bundle.len()), Some(3));
    // And again in an offer of this side.
    let again = sdp::Sdp::parse(&pair.b.session.create_offer(false).unwrap().sdp);
    assert_eq!(again.media().len(), 6);
    assert_eq!(again.media()[0].to_string().lines().next(), Some("m=text 0 RTP/AVP 98"));
}

#[test]
fn a_closed_connection_refuses_everything() {
    let mut pair = Pair::new();
    let channel = pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    let now = pair.now;
    pair.a.session.close(now, CloseReason::Closed);
    pair.a.session.close(now, CloseReason::Closed);
    pair.settle();
    let closes =
        pair.a.events.iter().filter(|event| matches!(event, ConnectionEvent::Closed(_))).count();
    assert_eq!(closes, 1);
    assert_eq!(pair.a.session.create_offer(false), Err(error::CreateOfferError::Closed));
    assert_eq!(pair.a.session.create_answer(now), Err(error::CreateAnswerError::Closed));
    assert_eq!(
        pair.a.session.set_local_description(now, None),
        Err(error::CreateOfferError::Closed.into())
    );
    assert_eq!(
        pair.a.session.add_ice_candidate(now, None),
        Err(error::AddIceCandidateError::Closed)
    );
    assert!(pair.a.text(now, channel, "x").is_err());
    let track = LocalTrack::new(RtpCodecCapability::new("audio"), "a", "s");
    assert_eq!(pair.a.session.add_track(now, track), Err(error::AddTrackError::Closed));
    assert!(pair.until(SECOND, |pair| pair.b.ended));
    assert!(
        pair.b
            .events
            .iter()
            .any(|event| matches!(event, ConnectionEvent::Closed(CloseReason::ClosedByPeer)))
    );
}

/// The peer shows another certificate than the announced one.
#[test]
fn a_peer_that_is_not_who_it_says_is_not_heard() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.channel("x", DataChannelOptions::default());
    let offer = pair.a.session.create_offer(false).unwrap();
    pair.a.session.set_local_description(now, Some(offer.clone())).unwrap();
    pair.b.session.set_remote_description(now, offer).unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    let answer = pair.b.session.jsep().current_local().unwrap().description();
    let line =
        answer.sdp.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();
    let forged = format!("{}00", &line[..line.len() - 2]);
    let forged = if forged == line { format!("{}01", &line[..line.len() - 2]) } else { forged };
    let answer = SessionDescription::answer(answer.sdp.replace(&line, &forged));
    pair.a.session.set_remote_description(now, answer).unwrap();

    assert!(pair.until(10 * SECOND, |pair| pair.a.state() == PeerConnectionState::Failed));
    assert!(
        pair.a.events.iter().all(|event| !matches!(event, ConnectionEvent::DataChannelOpened(_)))
    );
    assert!(!pair.a.ended);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any line is left out, doubled or swapped in a description: an answer or an error, no panic.
    #[test]
    fn mutilated_offers_are_answered_or_refused(cuts in prop::collection::vec((0usize..200, 0u8..5), 1..6)) {
        let text = offer();
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        for (at, how) in cuts {
            if lines.is_empty() { break; }
            let at = at % lines.len();
            match how {
                0 => { lines.remove(at); }
                1 => { let line = lines[at]; lines.insert(at, line); }
                2 => { let other = (at * 7 + 3) % lines.len(); lines.swap(at, other); }
                3 => lines[at] = &lines[at][..lines[at].len() / 2],
                _ => lines[at] = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
            }
        }
        let mut pair = Pair::new();
        let now = pair.now;
        if pair.b.session.set_remote_description(now, SessionDescription::offer(lines.concat())).is_ok() {
            _ = pair.b.session.create_answer(now);
            _ = pair.b.session.set_local_description(now, None);
            _ = pair.b.session.create_offer(false);
        }
    }

    /// Datagrams of every kind at a connected connection: it goes on.
    #[test]
    fn datagrams_of_every_kind_disturb_nothing(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40)) {
        let mut pair = Pair::new();
        let channel = pair.channel("x", DataChannelOptions::default());
        pair.negotiate();
        pair.connect();
        pair.pass(SECOND / 2);
        let (from, to) = (pair.b.address, pair.a.address);
        for (at, mut datagram) in datagrams.into_iter().enumerate() {
            // STUN, DTLS, RTP, RTCP, and others.
            if let Some(first) = datagram.first_mut() {
                *first = match at % 5 { 0 => *first & 3, 1 => 20 + (*first % 6), 2 | 3 => 128 | (*first & 63), _ => *first };
            }
            let now = pair.now;
            pair.a.session.handle_datagram(now, now, from, to, true, &datagram);
        }
        prop_assert!(pair.connected());
        let now = pair.now;
        prop_assert!(pair.a.text(now, channel, "still").is_ok());
        prop_assert!(pair.until(5 * SECOND, |pair| !pair.b.messages().is_empty()));
    }
}

/// Browsers then move to another transport, and give the old one up; others go on.
#[test]
fn a_peer_that_stops_its_first_section_and_ends_is_told_of_once_and_by_that_reason() {
    for (wait, reason) in
        [(SECOND, CloseReason::TransportReplaced), (SECOND * 20, CloseReason::ClosedByPeer)]
    {
        let mut pair = Pair::new();
        let now = pair.now;
        let track = LocalTrack::new(RtpCodecCapability::new("audio"), "a", "s");
        pair.a.session.add_track(now, track).unwrap();
        let channel = pair.channel("x", DataChannelOptions::default());
        pair.negotiate();
        pair.connect();
        pair.pass(SECOND);
        let now = pair.now;
        let first = pair.a.session.transceivers()[0].id;
        pair.a.session.change(now, |all| all.stop(first)).unwrap();
        pair.negotiate();
        pair.pass(wait);
        let now = pair.now;
        assert!(pair.b.state() == PeerConnectionState::Connected, "data goes on");
        assert!(pair.a.text(now, channel, "still there").is_ok());
        assert!(pair.until(SECOND, |pair| !pair.b.messages().is_empty()));

        pair.a.session.close(now, CloseReason::Closed);
        assert!(pair.until(SECOND, |pair| pair.b.ended));
        let closed = |event: &ConnectionEvent| match event {
            ConnectionEvent::Closed(reason) => Some(reason.clone()),
            _ => None,
        };
        let told: Vec<CloseReason> = pair.b.events.iter().filter_map(closed).collect();
        assert_eq!(told, [reason]);
    }
}
