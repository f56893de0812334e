//! Taps of a media room with real connections: what they get, and what their faults do to others.

mod call;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use call::*;
use callboard_media_rooms::*;
use callboard_peer_connection::{Codec, RtpPacket, TrackKind};
use callboard_supervision::Fault;
use tokio::sync::Notify;

/// What taps were told, for a test to look at.
#[derive(Default)]
struct Log {
    added: Vec<TrackInfo>,
    removed: Vec<TrackId>,
    packets: usize,
    frames: Vec<(TrackInfo, Frame)>,
    dropped: usize,
    /// Told with each track that has ended.
    ended: Arc<Notify>,
}

/// Tap that notes what it is told.
struct Noting(Arc<Mutex<Log>>);

impl Noting {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.0.lock().unwrap()
    }
}

impl MediaTap for Noting {
    fn track_added(&mut self, track: &TrackInfo) {
        self.log().added.push(track.clone());
    }

    fn track_removed(&mut self, track: TrackId) {
        let mut log = self.log();
        log.removed.push(track);
        log.ended.notify_one();
    }

    fn packet(&mut self, _: &TrackInfo, _: &RtpPacket) {
        self.log().packets += 1;
    }

    fn frame(&mut self, track: &TrackInfo, frame: &Frame) {
        self.log().frames.push((track.clone(), frame.clone()));
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.log().dropped += 1;
    }
}

/// Returns the frames of a participant's track.
fn frames(log: &Log, of: ParticipantId, kind: TrackKind) -> Vec<Frame> {
    let of = |track: &TrackInfo| track.participant == of && track.kind == kind;
    log.frames.iter().filter(|(track, _)| of(track)).map(|(_, frame)| frame.clone()).collect()
}

fn count(log: &Arc<Mutex<Log>>, of: ParticipantId, kind: TrackKind) -> usize {
    frames(&log.lock().unwrap(), of, kind).len()
}

#[actix::test]
async fn a_tap_gets_whole_frames_of_all_and_is_told_who_comes_and_goes() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    let ids = [one.id(), two.id()];
    talk_until(&mut [&mut one, &mut two], |all| all.iter().all(|it| it.received.len() > 30)).await;
    let log = Arc::new(Mutex::new(Log::default()));
    let noted = Arc::clone(&log);

    let tap = call.room.tap(TapOptions::new("notes"), move || Noting(Arc::clone(&noted)));
    let tap = tap.await.unwrap();
    let have = |wanted: usize| {
        ids.iter().all(|&id| {
            count(&log, id, TrackKind::Audio) >= wanted
                && count(&log, id, TrackKind::Video) >= wanted
        })
    };
    talk_until(&mut [&mut one, &mut two], |_| have(50)).await;

    for id in ids {
        let log = log.lock().unwrap();
        let (sound, pictures) =
            (frames(&log, id, TrackKind::Audio), frames(&log, id, TrackKind::Video));
        assert!(sound.iter().all(|it| it.codec == Codec::Opus && it.data[..] == [0xfc; 60]));
        assert_eq!((pictures[0].codec, pictures[0].keyframe), (Codec::Vp8, true));
        assert_eq!(pictures[0].size, Some((320, 180)));
        assert!(pictures.iter().all(|it| it.data.len() == 10 + 200));
        // After a key frame was begun, nothing was lost on this machine.
        let step = |one: &Frame, next: &Frame| next.timestamp.wrapping_sub(one.timestamp);
        assert!(pictures.windows(2).all(|it| step(&it[0], &it[1]) == 3_000));
        assert!(sound.windows(2).all(|it| step(&it[0], &it[1]) == 960));
        assert!(pictures.is_sorted_by_key(|it| it.captured));
        assert!(log.packets >= 300);
    }
    assert_eq!(log.lock().unwrap().added.len(), 4);
    assert_eq!((tap.lost(), tap.is_running()), (0, true));

    two.server.close().await;
    talk_until(&mut [&mut one], |_| log.lock().unwrap().removed.len() == 2).await;
    tap.stop().await;
    assert_eq!(log.lock().unwrap().dropped, 1, "its last instance is gone");
    let children = call.room.supervisor().unwrap().which_children().await.unwrap();
    assert!(children.iter().all(|child| !child.id.starts_with("tap:")), "{children:?}");
    call.pool.stop().await;
}

#[actix::test]
async fn a_tap_gets_what_it_has_chosen() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    let log = Arc::new(Mutex::new(Log::default()));
    let noted = Arc::clone(&log);

    let options = TapOptions::new("ear").kind(TrackKind::Audio).participant(two.id());
    let tap = call.room.tap(options, move || Noting(Arc::clone(&noted))).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |_| log.lock().unwrap().frames.len() >= 50).await;

    let chosen = |it: &TrackInfo| it.participant == two.id() && it.kind == TrackKind::Audio;
    assert!(log.lock().unwrap().frames.iter().all(|(track, _)| chosen(track)));
    assert_eq!(log.lock().unwrap().added.len(), 1);
    let again = call.room.tap(TapOptions::new("ear"), || Noting(Arc::default())).await;
    assert!(matches!(again, Err(StartTapError::Taken)), "{again:?}");
    drop(tap);
    call.pool.stop().await;
}

#[actix::test]
async fn a_tap_is_opened_while_its_room_starts() {
    for _ in 0..20 {
        let call = Call::start(1).await;
        let tap = call.room.tap(TapOptions::new("ear"), || Noting(Arc::default())).await;
        assert!(tap.unwrap().is_running());
        call.pool.stop().await;
    }
}

/// Tap that blocks its thread until it is let go, once.
struct Blocking(Noting, Option<mpsc::Receiver<()>>);

impl MediaTap for Blocking {
    fn frame(&mut self, track: &TrackInfo, frame: &Frame) {
        if let Some(gate) = self.1.take() {
            // The sender is dropped at the latest when the test ends.
            _ = gate.recv();
        }
        self.0.frame(track, frame);
    }
}

#[actix::test]
async fn a_slow_tap_loses_packets_and_no_viewer_does() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    let log = Arc::new(Mutex::new(Log::default()));
    let noted = Arc::clone(&log);
    let (open, gate) = mpsc::channel();
    let mut gate = Some(gate);

    let factory = move || Blocking(Noting(Arc::clone(&noted)), gate.take());
    let tap = call.room.tap(TapOptions::new("slow"), factory).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |_| tap.lost() > 100).await;

    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 50) && have_all_but(all, 0)).await;
    drop(open);
    let id = one.id();
    let goes_on = || {
        let pictures = frames(&log.lock().unwrap(), id, TrackKind::Video);
        pictures.iter().any(|it| it.after_loss && it.keyframe && it.timestamp > 300_000)
    };
    talk_until(&mut [&mut one, &mut two], |_| goes_on()).await;
    let pictures = frames(&log.lock().unwrap(), id, TrackKind::Video);
    for pair in pictures.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!(step == 3_000 || pair[1].keyframe && pair[1].after_loss, "{step}");
    }
    tap.stop().await;
    call.pool.stop().await;
}

#[actix::test]
async fn a_tap_that_panics_is_made_anew_and_told_all_tracks() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    let id = one.id();
    let (logs, made) =
        ([(); 2].map(|()| Arc::new(Mutex::new(Log::default()))), AtomicUsize::new(0));
    let noted = logs.clone();

    let factory = move || Noting(Arc::clone(&noted[made.fetch_add(1, Ordering::Relaxed)]));
    let tap = call.room.tap(TapOptions::new("fragile"), factory).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |_| count(&logs[0], id, TrackKind::Video) > 10).await;
    let supervisor = call.room.supervisor().unwrap().supervisor("tap:fragile").unwrap();
    supervisor.inject("tap", Fault::Panic("a fault".into())).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |_| count(&logs[1], id, TrackKind::Video) > 10).await;

    assert_eq!(logs[1].lock().unwrap().added.len(), 4);
    assert!(frames(&logs[1].lock().unwrap(), id, TrackKind::Video)[0].keyframe);
    // No one else notices.
    talk_until(&mut [&mut one, &mut two], |all| have_all_but(all, 0)).await;
    // The room's own actor may be restarted too.
    call.room.supervisor().unwrap().inject("stage", Fault::Panic("a fault".into())).await.unwrap();
    let before = count(&logs[1], id, TrackKind::Video);
    talk_until(&mut [&mut one, &mut two], |_| count(&logs[1], id, TrackKind::Video) > before + 50)
        .await;
    assert!(tap.is_running());
    drop(tap);
    call.pool.stop().await;
}

/// Lets a tap fail, once there is one of this name, until it is given up.
async fn fail_until_given_up(call: &Call, name: &str) {
    let room = call.room.supervisor().unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let failing = async {
        while room.supervisor(name).is_err() {
            pace.tick().await;
        }
        while let Ok(supervisor) = room.supervisor(name) {
            // It may be on its way up, or gone.
            _ = supervisor.inject("tap", Fault::Panic("a fault".into())).await;
            pace.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.expect("it is given up");
}

/// Restarts a room, which has this tap as its last one, twice; `made` is how often the tap was made.
async fn restart_twice(call: &Call, last: &TapHandle, made: impl Fn() -> usize) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    // The room starts its taps anew, one after the other.
    let restarting = async {
        for restarts in 1..=2 {
            call.above.inject("media", Fault::Kill).await.unwrap();
            while made() == restarts || !last.is_running() {
                pace.tick().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, restarting).await.expect("the last one is there again");
}

#[actix::test]
async fn a_tap_that_is_given_up_before_its_start_is_answered_does_not_come_back() {
    let call = Call::start(1).await;
    let made = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let count = |of: usize| made[of].load(Ordering::Relaxed);
    let factory = |of: usize| {
        let made = Arc::clone(&made[of]);
        move || {
            made.fetch_add(1, Ordering::Relaxed);
            Noting(Arc::default())
        }
    };
    let mut starting = pin!(call.room.tap(TapOptions::new("fragile"), factory(0)));
    let asked = poll_fn(|context| Poll::Ready(starting.as_mut().poll(context).is_pending()));
    assert!(asked.await, "it waits for its supervisor");

    fail_until_given_up(&call, "tap:fragile").await;
    let fragile = starting.await.unwrap();
    let other = call.room.tap(TapOptions::new("other"), factory(1)).await.unwrap();
    let before = count(0);
    restart_twice(&call, &other, || count(1)).await;

    assert_eq!(count(0), before);
    assert!(!fragile.is_running());
    call.pool.stop().await;
}

#[actix::test]
async fn a_tap_that_was_given_up_does_not_come_back() {
    let call = Call::start(1).await;
    let made = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let count = |of: usize| made[of].load(Ordering::Relaxed);
    let factory = |of: usize| {
        let made = Arc::clone(&made[of]);
        move || {
            made.fetch_add(1, Ordering::Relaxed);
            Noting(Arc::default())
        }
    };
    let fragile = call.room.tap(TapOptions::new("fragile"), factory(0)).await.unwrap();
    let other = call.room.tap(TapOptions::new("other"), factory(1)).await.unwrap();
    let (told, not_told) = (fragile.given_up(), other.given_up());
    assert!(!fragile.is_given_up());
    fail_until_given_up(&call, "tap:fragile").await;
    tokio::time::timeout(PATIENCE, told).await.expect("that is told");
    assert!(fragile.is_given_up() && !fragile.is_running());
    let before = count(0);

    restart_twice(&call, &other, || count(1)).await;

    assert_eq!(count(0), before);
    assert!(!fragile.is_running());
    let mut not_told = pin!(not_told);
    let waits = poll_fn(|context| Poll::Ready(not_told.as_mut().poll(context).is_pending()));
    assert!(waits.await && !other.is_given_up(), "restarts of the room are no reason");
    call.pool.stop().await;
}

#[actix::test]
async fn when_the_largest_encoding_ends_a_tap_goes_on_with_the_next() {
    let mut call = Call::start(1).await;
    let mut one = call.join_as(0, 1, 0, &["q", "h", "f"]).await;
    let id = one.id();
    let log = Arc::new(Mutex::new(Log::default()));
    let noted = Arc::clone(&log);
    let tap = call.room.tap(TapOptions::new("eye"), move || Noting(Arc::clone(&noted)));
    let tap = tap.await.unwrap();
    let last = || frames(&log.lock().unwrap(), id, TrackKind::Video).pop();
    // Encodings differ in the lengths of their frames.
    let shows = |length: usize| last().is_some_and(|frame| frame.data.len() == 10 + length);

    for (place, length) in [(2, 800), (1, 400)] {
        talk_until(&mut [&mut one], |_| shows(length)).await;
        one.encodings[place].active = false;
    }
    talk_until(&mut [&mut one], |_| shows(200)).await;
    one.encodings[2].active = true;
    talk_until(&mut [&mut one], |_| shows(800)).await;

    let seen = frames(&log.lock().unwrap(), id, TrackKind::Video);
    let changes = |it: &&[Frame]| it[0].data.len() != it[1].data.len();
    assert!(seen.windows(2).filter(changes).all(|it| it[1].keyframe), "at key frames alone");
    drop(tap);
    call.pool.stop().await;
}

#[actix::test]
async fn a_tap_that_is_made_anew_is_told_that_its_only_track_has_ended_before() {
    let call = Call::start(1).await;
    let bot = call.room.bot("dj").unwrap();
    let track = bot.publish(Codec::Opus).unwrap();
    let id = track.id();
    let (logs, made) =
        ([(); 2].map(|()| Arc::new(Mutex::new(Log::default()))), AtomicUsize::new(0));
    let noted = logs.clone();
    let factory = move || Noting(Arc::clone(&noted[made.fetch_add(1, Ordering::Relaxed)]));
    let tap = call.room.tap(TapOptions::new("one").track(id), factory).await.unwrap();
    let told = async |log: &Arc<Mutex<Log>>| {
        let ended = Arc::clone(&log.lock().unwrap().ended);
        let telling = async {
            while log.lock().unwrap().removed != [id] {
                ended.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, telling).await.expect("it is told");
    };
    drop(track);
    told(&logs[0]).await;

    let supervisor = call.room.supervisor().unwrap().supervisor("tap:one").unwrap();
    supervisor.inject("tap", Fault::Panic("a fault".into())).await.unwrap();

    told(&logs[1]).await;
    assert!(logs[1].lock().unwrap().added.is_empty());
    drop(tap);
    call.pool.stop().await;
}

#[actix::test]
async fn of_simulcast_a_tap_gets_the_frames_of_the_largest_encoding() {
    let mut call = Call::start(1).await;
    let mut one = call.join_as(0, 1, 0, &["q", "h", "f"]).await;
    let id = one.id();
    let log = Arc::new(Mutex::new(Log::default()));
    let noted = Arc::clone(&log);

    let tap = call.room.tap(TapOptions::new("eye"), move || Noting(Arc::clone(&noted)));
    let tap = tap.await.unwrap();
    // Encodings differ in the lengths of their frames.
    let largest = |frame: &Frame| frame.data.len() == 10 + 800;
    let seen = || frames(&log.lock().unwrap(), id, TrackKind::Video);
    talk_until(&mut [&mut one], |_| seen().iter().filter(|it| largest(it)).count() >= 50).await;

    let seen = seen();
    let changes = |it: &&[Frame]| it[0].data.len() != it[1].data.len();
    assert!(seen.windows(2).filter(changes).all(|it| it[1].keyframe), "at key frames alone");
    assert!(seen.is_sorted_by_key(|it| it.captured));
    drop(tap);
    call.pool.stop().await;
}
