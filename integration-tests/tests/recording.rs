//! Recordings of what a bot plays, with each codec: frames of ffmpeg's encoders go through packets, a tap and a file,
//! and its decoders take them all.

use std::time::Duration;

use callboard_media_rooms::{MediaRoom, Recorder, RecorderOptions};
use callboard_peer_connection::{Codec, PeerConnections, PeerConnectionsOptions};
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use integration_tests::recording::{decoded, encoded};
use serde_json::json;

#[actix::test]
async fn h264_is_recorded_in_matroska() {
    plays_and_records("libx264", Codec::H264, "mkv").await;
}

#[actix::test]
async fn vp8_is_recorded_in_webm() {
    plays_and_records("libvpx", Codec::Vp8, "webm").await;
}

async fn plays_and_records(encoder: &str, codec: Codec, extension: &str) {
    let (pictures, sound) = (encoded(encoder).await, encoded("libopus").await);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let interfaces = InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback());
    let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
    let options = PeerConnectionsOptions { sockets, ..PeerConnectionsOptions::default() };
    let pool = PeerConnections::start(options).await.expect("it starts");
    let room = MediaRoom::start(pool.clone(), 0).await.expect("it starts");
    let recorder = Recorder::start(&room, RecorderOptions::new(folder.path())).await.unwrap();

    let bot = room.bot("player").unwrap();
    let (mut tone, mut film) = (bot.publish(Codec::Opus).unwrap(), bot.publish(codec).unwrap());
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let (mut sounds, mut frames) = (sound.iter(), pictures.iter());
    while sounds.len() + frames.len() > 0 {
        pace.tick().await;
        for packet in sounds.by_ref().take(5) {
            tone.write(packet, Duration::from_millis(20)).unwrap();
        }
        for frame in frames.by_ref().take(3) {
            film.write(frame, Duration::from_secs(1) / 30).unwrap();
        }
    }
    let files = recorder.stop().await;

    let [file] = &files[..] else { panic!("one file: {files:?}") };
    assert_eq!(file.extension().unwrap(), extension);
    let recording = decoded(file).await;
    println!("{recording:#}");
    let streams = recording["streams"].as_array().unwrap();
    let of = |kind: &str| streams.iter().find(|it| it["type"] == kind).expect(kind);
    let (heard, seen) = (of("audio"), of("video"));
    assert_eq!((&heard["codec"], &heard["frames"]), (&json!("opus"), &json!(sound.len())));
    assert_eq!((&seen["frames"], &seen["size"]), (&json!(pictures.len()), &json!([320, 180])));
    let length = |stream: &serde_json::Value| {
        stream["last"].as_f64().unwrap() - stream["first"].as_f64().unwrap()
    };
    // 75 packets of 20 ms, 45 pictures of 33 ms; longer where this program was held up.
    let lengths = [length(heard), length(seen)];
    assert!(lengths[0] > 1.46 && lengths[1] > 1.44, "{recording:#}");
    assert!((lengths[0] - lengths[1]).abs() < 0.3, "in step: {recording:#}");
    pool.stop().await;
}
