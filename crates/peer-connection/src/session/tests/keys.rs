//! Tests of keys for media, which a connection without media does not take.

use super::SECOND;
use super::media::{send_frames, video};
use super::simulated_pair::Pair;
use crate::*;

#[test]
fn media_that_comes_after_data_has_its_keys() {
    for offered_by_its_sender in [true, false] {
        let mut pair = Pair::new();
        pair.a
            .session
            .create_data_channel(pair.now, "data".to_owned(), Default::default())
            .unwrap();
        pair.negotiate();
        pair.connect();
        pair.pass(SECOND);
        assert!(!pair.a.session.engine.has_srtp_keys() && !pair.b.session.engine.has_srtp_keys());

        let now = pair.now;
        let sender = if offered_by_its_sender {
            let sender = pair.a.session.add_track(now, video("camera")).unwrap();
            pair.negotiate();
            sender
        } else {
            let wanted = Direction::RecvOnly;
            let add = pair.b.session.add_transceiver(now, TrackKind::Video, wanted, None, vec![]);
            add.unwrap();
            let offer = pair.b.session.create_offer(false).unwrap();
            pair.b.session.set_local_description(now, Some(offer.clone())).unwrap();
            pair.a.session.set_remote_description(now, offer).unwrap();
            let sender = pair.a.session.add_track(now, video("camera")).unwrap();
            let answer = pair.a.session.create_answer(now).unwrap();
            pair.a.session.set_local_description(now, Some(answer.clone())).unwrap();
            pair.b.session.set_remote_description(now, answer).unwrap();
            sender
        };
        pair.pass(SECOND / 10);
        send_frames(&mut pair, sender, 10, 3_000);

        assert!(pair.a.session.engine.has_srtp_keys() && pair.b.session.engine.has_srtp_keys());
        assert!(pair.b.samples().len() >= 8, "{}", pair.b.samples().len());
    }
}
