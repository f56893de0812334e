//! Tests of rollbacks, and of offers that collide.

use super::SECOND;
use super::simulated_pair::{Pair, Peer};
use crate::error::SetDescriptionError;
use crate::*;

fn track(id: &str) -> LocalTrack {
    LocalTrack::new(RtpCodecCapability::new("video/VP8"), id, "stream")
}

#[test]
fn a_local_offer_is_taken_back_as_if_it_had_never_been() {
    let mut pair = Pair::new();
    let now = pair.now;
    let sender = pair.a.session.add_track(now, track("one")).unwrap();
    pair.a.session.set_local_description(now, None).unwrap();
    assert!(pair.a.mid_of(sender).is_some());

    pair.a.session.set_local_description(now, Some(SessionDescription::rollback())).unwrap();

    assert_eq!(pair.a.signaling(), SignalingState::Stable);
    assert_eq!(pair.a.mid_of(sender), None);
    assert!(pair.a.session.jsep().local().is_none());
    pair.negotiate();
    pair.connect();
}

#[test]
fn a_remote_offer_is_taken_back_with_its_transceivers() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a.session.add_track(now, track("one")).unwrap();
    let offer = pair.a.session.create_offer(false).unwrap();
    pair.b.session.set_remote_description(now, offer.clone()).unwrap();
    pair.settle();
    assert_eq!(pair.b.session.transceivers().len(), 1);
    assert_eq!(pair.b.tracks(), 1);

    pair.b.session.set_remote_description(now, SessionDescription::rollback()).unwrap();
    pair.settle();

    assert_eq!(pair.b.session.transceivers().len(), 0);
    assert_eq!(pair.b.tracks(), 0);
    assert_eq!(pair.b.signaling(), SignalingState::Stable);
    pair.negotiate();
    pair.connect();
}

#[test]
fn a_transceiver_with_a_track_of_ours_survives_the_offer_that_made_it() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a.session.add_track(now, track("one")).unwrap();
    let offer = pair.a.session.create_offer(false).unwrap();
    pair.b.session.set_remote_description(now, offer).unwrap();
    let sender = pair.b.session.add_track(now, track("two")).unwrap();

    pair.b.session.set_remote_description(now, SessionDescription::rollback()).unwrap();

    let all = pair.b.session.transceivers();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].sender, all[0].mid.clone()), (sender, None));
}

#[test]
fn an_answered_first_offer_is_taken_back() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.channel("x", DataChannelOptions::default());
    pair.b.session.create_data_channel(now, "y".to_owned(), DataChannelOptions::default()).unwrap();
    let offer = pair.a.session.create_offer(false).unwrap();
    pair.b.session.set_remote_description(now, offer).unwrap();
    pair.b.session.create_answer(now).unwrap();

    pair.b.session.set_remote_description(now, SessionDescription::rollback()).unwrap();

    assert_eq!(pair.b.state(), PeerConnectionState::New);
    // Either side may offer again.
    pair.negotiate_from_b();
    pair.connect();
    assert!({
        pair.pass(5 * SECOND);
        pair.a.open_channels() == 2 && pair.b.open_channels() == 2
    });
}

#[test]
fn an_answered_later_offer_is_taken_back_unless_it_changed_the_transport() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    let now = pair.now;
    pair.a.session.add_track(now, track("one")).unwrap();
    let offer = pair.a.session.create_offer(false).unwrap();
    pair.b.session.set_remote_description(now, offer).unwrap();
    pair.b.session.create_answer(now).unwrap();

    pair.b.session.set_remote_description(now, SessionDescription::rollback()).unwrap();

    assert_eq!(pair.b.session.transceivers().len(), 0);
    pair.negotiate();
    pair.pass(SECOND);
    assert!(pair.connected());

    let now = pair.now;
    let restart = pair.a.session.create_offer(true).unwrap();
    pair.b.session.set_remote_description(now, restart).unwrap();
    pair.b.session.create_answer(now).unwrap();
    let error =
        pair.b.session.set_remote_description(now, SessionDescription::rollback()).unwrap_err();
    assert_eq!(error, SetDescriptionError::CannotRollBack("ICE restart"));
    assert_eq!(
        error.to_string(),
        "the remote offer was already answered; its ICE restart cannot be rolled back"
    );
}

/// Has both sides offer at once, with perfect negotiation (W3C §10.7): A is polite.
fn collide(pair: &mut Pair) {
    let now = pair.now;
    let of_a = pair.a.session.create_offer(false).unwrap();
    pair.a.session.set_local_description(now, Some(of_a)).unwrap();
    let of_b = pair.b.session.create_offer(false).unwrap();
    pair.b.session.set_local_description(now, Some(of_b.clone())).unwrap();

    // The impolite side ignores the offer of the other; the polite one rolls its own back.
    pair.a.session.set_remote_description(now, of_b).unwrap();
    pair.a.session.set_local_description(now, None).unwrap();
    let answer = pair.a.session.jsep().current_local().unwrap().description();
    pair.b.session.set_remote_description(now, answer).unwrap();
    pair.settle();
}

#[test]
fn offers_that_meet_at_the_beginning_end_in_a_connection_with_both_tracks() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a.session.add_track(now, track("of a")).unwrap();
    pair.b.session.add_track(now, track("of b")).unwrap();

    collide(&mut pair);

    // W3C: a transceiver made by addTrack uses the section that the other side offers.
    pair.connect();
    assert_eq!((pair.a.session.transceivers().len(), pair.b.session.transceivers().len()), (1, 1));
    assert_eq!((pair.a.tracks(), pair.b.tracks()), (1, 1));
    assert_eq!(pair.a.session.transceivers()[0].current_direction, Some(Direction::SendRecv));
}

#[test]
fn offers_that_meet_twenty_times_leave_the_connection_up() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    for round in 0..20 {
        let now = pair.now;
        pair.a.session.add_track(now, track(&format!("a{round}"))).unwrap();
        pair.b.session.add_track(now, track(&format!("b{round}"))).unwrap();
        let needs = pair.a.needs();

        collide(&mut pair);

        if pair.a.needs() > needs + 1 {
            pair.negotiate();
        }
        pair.pass(SECOND / 10);
        assert!(pair.connected(), "round {round}");
    }
    assert_eq!(pair.a.tracks(), 20);
    assert_eq!(pair.b.tracks(), 20);
}

impl Peer {
    fn mid_of(&mut self, sender: SenderId) -> Option<String> {
        self.session.transceivers().into_iter().find(|one| one.sender == sender)?.mid
    }

    /// Returns how many tracks of the other side were reported.
    pub(super) fn tracks(&self) -> usize {
        let count = |what: fn(&ConnectionEvent) -> bool| {
            self.events.iter().filter(|event| what(event)).count()
        };
        count(|event| matches!(event, ConnectionEvent::TrackAdded { .. }))
            - count(|event| matches!(event, ConnectionEvent::TrackRemoved { .. }))
    }

    pub(super) fn open_channels(&mut self) -> usize {
        let channels = self.session.data_channels();
        channels.iter().filter(|channel| channel.state == DataChannelState::Open).count()
    }
}
