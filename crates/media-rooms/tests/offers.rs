//! Offers of broadcasting programs (RFC 9725): a room answers them, and publishes what they send.

mod call;

use std::fs;

use call::*;
use callboard_peer_connection::TrackKind;

#[actix::test]
async fn obs_and_ffmpeg_publish_sound_and_pictures() {
    // OBS leaves it to us who begins the handshake, and ffmpeg waits for it.
    for (maker, [sound, picture], role) in
        [("obs", ["111", "96"], "passive"), ("ffmpeg", ["111", "106"], "active")]
    {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../peer-connection/tests/sdp");
        let offer = fs::read_to_string(format!("{folder}/{maker}-offer-whip.sdp")).unwrap();
        let call = Call::start(1).await;

        let (participant, _joined, answer) = call.answer(&offer).await;

        let lines: Vec<&str> = answer.lines().collect();
        let with = |start: &str| lines.iter().filter_map(|it| it.strip_prefix(start)).collect();
        let session: Vec<&str> = with("a=group:");
        assert_eq!(session, ["BUNDLE 0 1"], "{answer}");
        let sections: Vec<&str> = with("m=");
        assert_eq!(sections.len(), 2, "{answer}");
        for (section, kind, number) in
            [(sections[0], "audio", sound), (sections[1], "video", picture)]
        {
            let words: Vec<&str> = section.split(' ').collect();
            assert_eq!((words[0], words[3]), (kind, number), "{answer}");
            assert_ne!(words[1], "0", "it is taken: {answer}");
        }
        assert_eq!(lines.iter().filter(|line| **line == "a=recvonly").count(), 2, "{answer}");
        let roles: Vec<&str> = with("a=setup:");
        assert!(!roles.is_empty() && roles.iter().all(|it| *it == role), "{answer}");
        let feedback: Vec<&str> = with(&format!("a=rtcp-fb:{picture} "));
        assert!(feedback.contains(&"nack"), "what is lost is asked for: {answer}");
        // None was offered.
        let extensions: Vec<&str> = with("a=extmap:");
        assert!(extensions.is_empty(), "{answer}");

        let tracks = call.room.tracks();
        let published = |kind| tracks.iter().filter(|it| it.kind == kind).collect::<Vec<_>>();
        for kind in [TrackKind::Audio, TrackKind::Video] {
            let [track] = published(kind)[..] else { panic!("{maker}: {tracks:?}") };
            assert_eq!(track.participant, participant);
        }
        call.pool.stop().await;
    }
}
