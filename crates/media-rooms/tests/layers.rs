//! Layers of simulcast with real connections: what flows follows the wishes of each viewer, in one stream.

mod call;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use call::*;
use callboard_media_rooms::*;
use callboard_peer_connection::{Rid, RtpPacket, TrackKind};
use callboard_supervision::Fault;

const RIDS: [&str; 3] = ["q", "h", "f"];

/// Returns the wishes for pictures of this height.
fn height(height: u32) -> Wishes {
    let mut wishes = Wishes::default();
    wishes.default = Wish::height(height);
    wishes
}

/// A frame as a viewer has got it.
#[derive(Debug)]
struct Frame {
    number: u64,
    time: u32,
    picture: u16,
    is_key: bool,
    /// Place of its encoding.
    encoding: u8,
}

/// Returns the pictures of a client's only stream of them, which must be whole frames of one encoding each.
fn frames(client: &Client) -> Vec<Frame> {
    let streams = client.streams();
    let mut stream = streams.into_iter().rfind(|it| it[0].payload[0] != 0xfc).unwrap_or_default();
    stream.sort_by_key(|packet| packet.sequence_number);
    let mut packets = stream.into_iter().peekable();
    let mut frames = Vec::new();
    while let Some(start) = packets.next() {
        let picture =
            |packet: &RtpPacket| u16::from_be_bytes([packet.payload[2] & 0x7f, packet.payload[3]]);
        if start.payload.len() != 16 {
            // Its start was lost, as happens on a busy machine.
            continue;
        }
        // The last one may be on its way still; so may one that was cut for another.
        let Some(end) = packets.next_if(|end| end.sequence_number == start.sequence_number + 1)
        else {
            continue;
        };
        assert!(end.marker && end.timestamp == start.timestamp);
        assert_eq!(picture(end), picture(start));
        let encoding = end.payload[end.payload.len() - 1];
        let size = u16::from_le_bytes([start.payload[14], start.payload[15]]);
        assert_eq!(size, 180 << encoding, "of one encoding");
        frames.push(Frame {
            number: start.sequence_number,
            time: start.timestamp,
            picture: picture(start),
            is_key: start.payload[6] & 1 == 0,
            encoding,
        });
    }
    frames
}

/// Returns whether the last pictures that a client has got are of this encoding.
fn shows(client: &Client, encoding: u8) -> bool {
    let last = client.received.iter().rev().filter(|packet| packet.payload.len() > 100);
    let last = last.map(|packet| packet.payload[packet.payload.len() - 1]);
    last.take(3).collect::<Vec<_>>() == [encoding; 3]
}

/// Checks that a client has got one stream that a decoder can follow, as far as nothing was lost.
fn is_one_stream(frames: &[Frame]) {
    assert!(frames[0].is_key);
    for pair in frames.windows(2) {
        let [one, two] = pair else { unreachable!() };
        let gap = two.number - one.number - 2;
        assert!(two.time.wrapping_sub(one.time).cast_signed() > 0, "{one:?} {two:?}");
        let pictures = two.picture.wrapping_sub(one.picture) & 0x7fff;
        assert!((1..0x4000).contains(&pictures), "{one:?} {two:?}");
        // A frame that was cut for another leaves a gap of two at most; more was lost on a busy machine.
        if gap <= 2 {
            assert!(two.is_key || one.encoding == two.encoding, "{one:?} {two:?}");
            assert!(pictures <= 2, "{one:?} {two:?}");
        }
    }
}

/// Returns what a client knows of what flows.
fn flow(client: &Client) -> Option<Flow> {
    let mut events = client.room.iter().rev();
    events.find_map(|event| match event {
        MediaEvent::SlotFlow { flow, .. } => Some(*flow),
        _ => None,
    })
}

fn is_told(client: &Client, state: FlowState, rid: Option<&str>) -> bool {
    flow(client)
        .is_some_and(|flow| flow.state == state && flow.rid == rid.map(|rid| rid.parse().unwrap()))
}

#[actix::test]
async fn a_viewer_is_switched_up_and_down_in_one_stream() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 2)).await;

    for switch in 0..30u8 {
        let wanted = [0, 2, 1][usize::from(switch % 3)];
        two.wish(height(180 << wanted)).unwrap();
        talk_until(&mut [&mut one, &mut two], |all| shows(all[1], wanted)).await;
    }

    let bound = |event: &MediaEvent| matches!(event, MediaEvent::SlotBound { .. });
    assert!(!one.room.iter().any(bound), "a section with simulcast is no slot");
    let frames = frames(&two);
    is_one_stream(&frames);
    let switches = frames.windows(2).filter(|pair| pair[0].encoding != pair[1].encoding).count();
    assert!(switches >= 30, "{switches}");
    talk_until(&mut [&mut one, &mut two], |all| is_told(all[1], FlowState::Flowing, Some("h")))
        .await;
    assert_eq!(flow(&two).unwrap().height, Some(360));
    call.pool.stop().await;
}

#[actix::test]
async fn each_viewer_gets_the_layer_that_it_wishes() {
    let mut call = Call::start(3).await;
    // The last is on another thread than the others.
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    let mut two = call.join(1, 1).await;
    let mut three = call.join_on(1, 1, 1).await;

    two.wish(height(100)).unwrap();
    let mut wishes = height(180);
    let video = call.room.tracks().into_iter().rfind(|it| it.participant == one.id()).unwrap();
    wishes.tracks.insert(video.id, Wish::height(300));
    three.wish(wishes).unwrap();
    talk_until(&mut [&mut one, &mut two, &mut three], |all| shows(all[1], 0) && shows(all[2], 1))
        .await;

    for client in [&two, &three] {
        is_one_stream(&frames(client));
    }
    call.pool.stop().await;
}

#[actix::test]
async fn a_layer_that_falls_silent_gives_way_to_the_next() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 2)).await;

    for place in [2, 1] {
        one.encodings[place].active = false;
        talk_until(&mut [&mut one, &mut two], |all| shows(all[1], place as u8 - 1)).await;
    }
    one.encodings[2].active = true;
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 2)).await;

    is_one_stream(&frames(&two));
    call.pool.stop().await;
}

#[actix::test]
async fn who_pauses_a_track_gets_nothing_of_it_until_it_is_wished_again() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 2)).await;

    let mut paused = Wishes::default();
    paused.default = Wish::pause();
    two.wish(paused).unwrap();
    talk_until(&mut [&mut one, &mut two], |all| is_told(all[1], FlowState::Paused, None)).await;
    let pictures =
        |client: &Client| client.received.iter().filter(|packet| packet.payload[0] != 0xfc).count();
    // Some were on their way.
    let mut seen = None;
    while seen != Some(pictures(&two)) {
        seen = Some(pictures(&two));
        let before = two.received.len();
        talk_until(&mut [&mut one, &mut two], |all| all[1].received.len() > before + 100).await;
    }

    two.wish(height(180)).unwrap();
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 0)).await;
    is_one_stream(&frames(&two));
    call.pool.stop().await;
}

#[actix::test]
async fn the_room_knows_what_its_actors_send() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    let mut two = call.join(1, 1).await;
    let (room, publisher, viewer) = (call.room.clone(), one.id(), two.id());
    let encodings = || {
        let encodings = room.encodings(publisher).into_iter();
        let encodings = encodings.filter(|it| it.layer.bitrate > Bitrate::ZERO);
        encodings.map(|it| (it.rid.unwrap().to_string(), it.layer.height)).collect::<Vec<_>>()
    };
    let expected = [("q", 180), ("h", 360), ("f", 720)];
    let expected = expected.map(|(rid, height)| (rid.to_owned(), Some(height)));
    talk_until(&mut [&mut one, &mut two], |_| encodings() == expected).await;
    let mut tracks = room.tracks().into_iter();
    let track = tracks.find(|it| it.participant == publisher && it.kind == TrackKind::Video);

    two.wish(height(180)).unwrap();
    let picture = || {
        let facts = room.subscriber_facts(viewer)?;
        facts.slots.iter().find(|slot| slot.flow.is_some()).cloned()
    };
    let flows = |rid: Rid| {
        picture().is_some_and(|it| it.flow.unwrap().rid == Some(rid) && it.bitrate.is_some())
    };
    talk_until(&mut [&mut one, &mut two], |_| flows("q".parse().unwrap())).await;
    let before = picture().unwrap();
    assert_eq!(before.track, track.unwrap().id);
    assert!(before.key_frames_wanted > 0);

    two.wish(height(720)).unwrap();
    talk_until(&mut [&mut one, &mut two], |_| flows("f".parse().unwrap())).await;
    assert!(picture().unwrap().key_frames_wanted > before.key_frames_wanted);
    // The viewer reports once a second how they arrive.
    let reception = || picture().and_then(|slot| slot.reception);
    let is_complete = || reception().is_some_and(|it| it.round_trip_time.is_some());
    talk_until(&mut [&mut one, &mut two], |_| is_complete()).await;
    let Reception { fraction_lost, packets_lost, jitter, .. } = reception().unwrap();
    assert!(fraction_lost < 0.5 && packets_lost < 1_000, "{fraction_lost} {packets_lost}");
    assert!(jitter < Duration::from_secs(1), "{jitter:?}");

    // Nothing of what is gone.
    drop(one.participant.lock().unwrap().take());
    talk_until(&mut [&mut two], |_| picture().is_none()).await;
    assert_eq!(room.encodings(publisher), []);
    assert_eq!(room.subscriber_facts(publisher), None);
    call.pool.stop().await;
}

#[actix::test]
async fn wishes_outlive_the_actors() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    let mut two = call.join(1, 1).await;
    two.wish(height(360)).unwrap();
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 1)).await;

    let supervisor = call.room.supervisor().unwrap();
    for (whose, what) in [(&two, "subscriber"), (&one, "publisher")] {
        let actors = supervisor.supervisor(&whose.id().to_string()).unwrap();
        actors.inject(what, Fault::Panic("a fault".into())).await.unwrap();
    }
    supervisor.inject("stage", Fault::Panic("a fault".into())).await.unwrap();
    let before = two.received.len();
    talk_until(&mut [&mut one, &mut two], |all| {
        all[1].received.len() > before + 200 && shows(all[1], 1)
    })
    .await;

    is_one_stream(&frames(&two));
    call.pool.stop().await;
}

/// Returns which encodings the room wants of a client, by the last that it was told.
fn wanted(client: &Client) -> Option<Vec<bool>> {
    let mut events = client.room.iter().rev();
    events.find_map(|event| match event {
        MediaEvent::LayersWanted { rids, .. } => Some(rids.iter().map(|(_, it)| *it).collect()),
        _ => None,
    })
}

#[actix::test]
async fn encodings_that_no_viewer_wishes_need_not_be_sent() {
    let mut call = Call::start(3).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    let mut two = call.join(1, 1).await;
    let mut three = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| shows(all[1], 2)).await;
    assert_eq!(wanted(&one), Some(vec![true; 3]));

    two.wish(height(180)).unwrap();
    three.wish(height(360)).unwrap();
    let is = |client: &Client, which: [bool; 3]| wanted(client).as_deref() == Some(&which);
    talk_until(&mut [&mut one, &mut two, &mut three], |all| is(all[0], [true, true, false])).await;
    one.encodings[2].active = false;

    // A publisher that is restarted knows what was wished, and says nothing else meanwhile.
    let events = one.room.len();
    let actors = call.room.supervisor().unwrap().supervisor(&one.id().to_string()).unwrap();
    actors.inject("publisher", Fault::Panic("a fault".into())).await.unwrap();
    let before = frames(&two).len();
    talk_until(&mut [&mut one, &mut two, &mut three], |all| {
        let new = &frames(all[1])[before..];
        let begun = new.iter().position(|frame| frame.is_key);
        begun.is_some_and(|begun| new.len() > begun + 300)
    })
    .await;
    let told = one.room[events..].iter();
    assert_eq!(told.filter(|it| matches!(it, MediaEvent::LayersWanted { .. })).count(), 0);
    assert!(is(&one, [true, true, false]));

    // It is wanted at once when it is wished again, and flows when it is sent.
    two.wish(Wishes::default()).unwrap();
    talk_until(&mut [&mut one, &mut two, &mut three], |all| is(all[0], [true; 3])).await;
    one.encodings[2].active = true;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| shows(all[1], 2) && shows(all[2], 1))
        .await;
    call.pool.stop().await;
}

#[actix::test]
async fn layers_follow_the_estimate_of_bandwidth() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    call.estimate = Some(50_000);
    let mut two = call.join(1, 1).await;

    // The highest layer flows when the estimate has risen: the path is probed for what it needs.
    talk_until(&mut [&mut one, &mut two], |all| {
        is_told(all[1], FlowState::Flowing, Some("f")) && shows(all[1], 2)
    })
    .await;

    is_one_stream(&frames(&two));
    call.pool.stop().await;
}

#[actix::test]
async fn a_viewer_that_does_not_say_when_packets_arrive_gets_what_it_wishes() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    (call.estimate, call.feedback) = (Some(5_000), false);
    let mut two = call.join(1, 1).await;

    // Of an estimate that cannot rise not even the lowest layer would flow.
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 2)).await;

    is_one_stream(&frames(&two));
    call.pool.stop().await;
}

/// Allocator that notes what it may divide.
struct Noting(Arc<Mutex<Vec<Bitrate>>>);

impl Allocator for Noting {
    fn allocate(&mut self, budget: Bitrate, _: &[Demand], _: &mut Vec<Grant>) {
        self.0.lock().unwrap().push(budget);
    }
}

#[actix::test]
async fn an_estimate_that_was_told_before_a_viewer_joined_counts() {
    let mut call = Call::start(2).await;
    let mut one = call.join_as(0, 1, 0, &RIDS).await;
    (call.estimate, call.tells_estimates) = (Some(300_000), false);
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 2)).await;

    let budgets = Arc::default();
    let noted = Arc::clone(&budgets);
    call.room.set_allocator(move || Noting(Arc::clone(&noted)));
    drop(two.participant.lock().unwrap().take());
    two.join_again(&call.room).await;
    talk_until(&mut [&mut one, &mut two], |_| {
        budgets.lock().unwrap().last().is_some_and(|budget| budget.as_bps() < 1 << 40)
    })
    .await;

    call.pool.stop().await;
}

/// Allocator of an application, with a fault.
struct Faulty;

impl Allocator for Faulty {
    fn allocate(&mut self, _: Bitrate, _: &[Demand], _: &mut Vec<Grant>) {
        panic!("a fault");
    }
}

#[actix::test]
async fn an_allocator_that_panics_takes_the_media_of_its_viewer_alone() {
    let mut call = Call::start(3).await;
    let mut one = call.join_as(0, 1, 1, &RIDS).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| shows(all[1], 2)).await;
    let failed = |client: &Client| client.room.contains(&MediaEvent::Failed);

    call.room.set_allocator(|| Faulty);
    let mut three = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| failed(all[2])).await;

    let before = two.received.len();
    talk_until(&mut [&mut one, &mut two], |all| all[1].received.len() > before + 100).await;
    assert!(!failed(&one) && !failed(&two));
    is_one_stream(&frames(&two));
    // It may join anew, and gets what the mended allocator grants.
    call.room.set_allocator(SpeakerFirst::default);
    three.join_again(&call.room).await;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| shows(all[2], 2)).await;
    call.pool.stop().await;
}

#[actix::test]
async fn wishes_are_bounded() {
    let mut call = Call::start(1).await;
    let one = call.join_as(0, 1, 0, &RIDS).await;
    let track = call.room.tracks()[0].id;

    let mut wishes = Wishes::default();
    wishes.order = vec![track; Wishes::MOST_TRACKS];
    assert_eq!(one.wish(wishes.clone()), Ok(()));
    wishes.order.push(track);
    assert_eq!(one.wish(wishes), Err(WishError::TooMany));
    call.pool.stop().await;
}
