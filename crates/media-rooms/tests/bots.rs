//! Bots in a media room with real viewers: what they write is heard and seen, and what others send they read.

mod call;

use std::time::Duration;

use call::*;
use callboard_media_rooms::*;
use callboard_peer_connection::{Codec, RtpPacket, TrackKind};
use callboard_supervision::Fault;
use tokio::time::MissedTickBehavior;

const FRAME: Duration = Duration::from_millis(20);

/// Returns a frame of VP8 of three packets.
fn picture(key: bool) -> Vec<u8> {
    let mut frame = vec![u8::from(!key), 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0];
    frame.resize(3_000, 5);
    frame
}

/// Returns what a client has received of a bot: packets of sound, and of pictures.
fn of_bot(client: &Client) -> [Vec<&RtpPacket>; 2] {
    let sound = client.received.iter().filter(|it| it.payload[..] == [0xfc, 7, 7]);
    let pictures = client.received.iter().filter(|it| it.payload.ends_with(&[5; 100]));
    [sound.collect(), pictures.collect()]
}

/// Lets a client talk and a bot write until this holds; returns how often a key frame was wanted of the bot.
async fn play_until(
    client: &mut Client,
    tracks: &mut [&mut BotTrack; 2],
    done: impl Fn(&Client) -> bool,
) -> usize {
    let mut wanted = 0;
    let playing = async {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !done(client) {
            pace.tick().await;
            client.talk().await;
            tracks[0].write(&[0xfc, 7, 7], FRAME).unwrap();
            let key = tracks[1].wants_keyframe();
            wanted += usize::from(key);
            tracks[1].write(&picture(key), FRAME).unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, playing).await.expect("in time");
    wanted
}

#[actix::test]
async fn what_a_bot_writes_reaches_viewers_through_their_slots() {
    let mut call = Call::start(1).await;
    let mut viewer = call.join(1, 2).await;

    let bot = call.room.bot("dj").unwrap();
    let mut sound = bot.publish(Codec::Opus).unwrap();
    let mut pictures = bot.publish(Codec::Vp8).unwrap();
    let have = |packets: usize| {
        move |viewer: &Client| {
            let whole = |it: &Vec<_>| it.len() >= packets && Client::missing(it) == 0;
            of_bot(viewer).iter().all(whole)
        }
    };
    let wanted = play_until(&mut viewer, &mut [&mut sound, &mut pictures], have(60)).await;

    assert!(wanted > 0, "a viewer asks for a key frame");
    for stream in of_bot(&viewer) {
        assert!(stream[0].sequence_number < 32_768);
    }
    let [heard, seen] = of_bot(&viewer);
    let step = |stream: &[&RtpPacket]| stream[1].timestamp.wrapping_sub(stream[0].timestamp);
    assert!(heard.windows(2).all(|it| step(it) == 960), "20 ms each");
    assert_eq!(seen[0].payload[4] & 1, 0, "it begins with a key frame");
    let ends: Vec<_> = seen.iter().copied().filter(|it| it.marker).collect();
    assert!(ends.windows(2).all(|it| step(it) == 1_800));
    let added = viewer.room.iter().filter(|event| match event {
        MediaEvent::TrackAdded(track) => &*track.name == "dj" && track.participant == bot.id(),
        _ => false,
    });
    assert_eq!(added.count(), 2);

    // It stays when the room's own actor is restarted.
    call.room.supervisor().unwrap().inject("stage", Fault::Panic("a fault".into())).await.unwrap();
    play_until(&mut viewer, &mut [&mut sound, &mut pictures], have(120)).await;
    assert_eq!(call.room.tracks().len(), 4);

    drop(pictures);
    assert_eq!(call.room.tracks().len(), 3);
    drop(bot);
    talk_until(&mut [&mut viewer], |all| {
        let events = all[0].room.iter();
        events.filter(|event| matches!(event, MediaEvent::TrackRemoved(_))).count() == 2
    })
    .await;
    assert!(matches!(sound.write(&[0xfc], FRAME), Err(WriteFrameError::Ended)));
    call.pool.stop().await;
}

#[actix::test]
async fn a_key_frame_of_a_bot_that_was_lost_is_asked_for_again() {
    let mut call = Call::start(1).await;
    let mut viewer = call.join(1, 1).await;
    let bot = call.room.bot("screen").unwrap();
    let mut pictures = bot.publish(Codec::Vp8).unwrap();

    // No other pictures are in the room: it is the bot's alone that let the viewer ask.
    let mut wanted = 0;
    let playing = async {
        let mut pace = tokio::time::interval(FRAME);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while of_bot(&viewer)[1].is_empty() {
            pace.tick().await;
            let key = pictures.wants_keyframe();
            wanted += usize::from(key);
            // The first two are lost.
            if !key || wanted > 2 {
                pictures.write(&picture(key), FRAME).unwrap();
            }
            viewer.listen();
        }
    };
    tokio::time::timeout(PATIENCE, playing).await.expect("in time");

    assert_eq!(of_bot(&viewer)[1][0].payload[4] & 1, 0, "it begins with a key frame");
    drop(pictures);
    drop(bot);
    call.pool.stop().await;
}

#[actix::test]
async fn a_bot_reads_the_frames_of_a_track() {
    let mut call = Call::start(1).await;
    let mut one = call.join(1, 0).await;
    let bot = call.room.bot("ears").unwrap();
    let of_one = |kind| call.room.tracks().into_iter().find(|track| track.kind == kind).unwrap().id;

    let mut pictures = bot.subscribe(of_one(TrackKind::Video), 50).await.unwrap();
    let mut read = Vec::new();
    read_until(&mut one, &mut pictures, |frame| {
        read.push(frame.clone());
        read.len() == 30
    })
    .await;

    assert!(read[0].keyframe);
    assert!(read.iter().all(|frame| frame.data.len() == 210));
    // What is not read is dropped, and pictures go on with a key frame.
    talk_until(&mut [&mut one], |_| pictures.dropped() > 20).await;
    let mut last = read.pop().unwrap();
    read_until(&mut one, &mut pictures, |frame| {
        let follows = frame.timestamp.wrapping_sub(last.timestamp) == 3_000;
        assert!(follows || frame.keyframe);
        last = frame.clone();
        !follows
    })
    .await;

    one.server.close().await;
    let ending = async { while pictures.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ending).await.expect("it ends with its track");
    drop(bot);
    call.pool.stop().await;
}

/// Reads frames while a client talks, until this holds.
async fn read_until(
    client: &mut Client,
    frames: &mut Frames,
    mut done: impl FnMut(&Frame) -> bool,
) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reading = async {
        loop {
            tokio::select! {
                frame = frames.next() => if done(&frame.expect("it goes on")) { break },
                _ = pace.tick() => client.talk().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("in time");
}

#[actix::test]
async fn of_simulcast_a_bot_that_has_lost_frames_goes_on_with_the_largest_encoding() {
    let mut call = Call::start(1).await;
    let mut one = call.join_as(0, 1, 0, &["q", "h", "f"]).await;
    let bot = call.room.bot("eyes").unwrap();
    let tracks = call.room.tracks();
    let id = tracks.iter().find(|track| track.kind == TrackKind::Video).unwrap().id;
    let mut pictures = bot.subscribe(id, 10).await.unwrap();
    // Encodings differ in the lengths of their frames.
    let is_largest = |frame: &Frame| frame.data.len() == 10 + 800;
    read_until(&mut one, &mut pictures, is_largest).await;
    let before = pictures.dropped();

    talk_until(&mut [&mut one], |_| pictures.dropped() > before + 20).await;

    // Those that wait are of before the loss.
    let is_next = |frame: &Frame| is_largest(frame) && frame.keyframe;
    read_until(&mut one, &mut pictures, is_next).await;
    drop(bot);
    call.pool.stop().await;
}

/// Reads frames until there are none any more.
async fn read_to_the_end(mut frames: Frames) {
    let ending = async { while frames.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ending).await.expect("it ends");
}

#[actix::test]
async fn frames_of_a_track_that_has_ended_before_end_at_once() {
    let call = Call::start(1).await;
    let (dj, bot) = (call.room.bot("dj").unwrap(), call.room.bot("ears").unwrap());
    let track = dj.publish(Codec::Opus).unwrap();
    let id = track.id();
    drop(track);

    let frames = bot.subscribe(id, 10).await.unwrap();

    read_to_the_end(frames).await;
    call.pool.stop().await;
}

#[actix::test]
async fn frames_end_when_their_tap_is_given_up() {
    let call = Call::start(1).await;
    let (dj, bot) = (call.room.bot("dj").unwrap(), call.room.bot("ears").unwrap());
    let track = dj.publish(Codec::Opus).unwrap();
    let name = format!("tap:bot:{}:{}", bot.id(), track.id());
    let frames = bot.subscribe(track.id(), 10).await.unwrap();
    let room = call.room.supervisor().unwrap();

    let failing = async {
        while let Ok(supervisor) = room.supervisor(&name) {
            // It may be on its way up, or gone.
            _ = supervisor.inject("tap", Fault::Panic("a fault".into())).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.expect("it is given up");

    read_to_the_end(frames).await;
    call.pool.stop().await;
}

#[actix::test]
async fn frames_go_on_after_a_restart_of_the_room() {
    let call = Call::start(1).await;
    let (dj, bot) = (call.room.bot("dj").unwrap(), call.room.bot("ears").unwrap());
    let mut track = dj.publish(Codec::Opus).unwrap();
    let mut frames = bot.subscribe(track.id(), 10).await.unwrap();

    for payload in [[0xfc, 1], [0xfc, 2]] {
        let reading = async {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            loop {
                pace.tick().await;
                track.write(&payload, FRAME).unwrap();
                tokio::select! {
                    // None while the room is not there.
                    frame = frames.next() => match frame {
                        Some(frame) if frame.data[..] == payload => break,
                        _ => {}
                    },
                    _ = pace.tick() => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("it comes");
        call.above.inject("media", Fault::Kill).await.unwrap();
    }

    drop(bot);
    call.pool.stop().await;
}

#[actix::test]
async fn what_cannot_be_published_is_refused() {
    let call = Call::start(1).await;
    let bot = call.room.bot("dj").unwrap();

    let tracks: Vec<_> = (0..4).map(|_| bot.publish(Codec::Opus).unwrap()).collect();

    assert!(matches!(bot.publish(Codec::Opus), Err(PublishError::Refused)));
    assert!(matches!(bot.publish(Codec::Av1), Err(PublishError::Codec(Codec::Av1))));
    assert_eq!(call.room.tracks().len(), tracks.len());
    drop(bot);
    assert!(call.room.tracks().is_empty());
    call.pool.stop().await;
}
