//! A media room with real connections, sound and pictures, and faults in each of its actors.

mod call;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use actix::prelude::*;
use call::*;
use callboard_media_rooms::*;
use callboard_peer_connection::{RtpPacket, TrackKind};
use callboard_supervision::{ExitReason, Fault};

/// Application that is told nothing that it needs.
struct Silent;

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<ParticipantEvent> for Silent {
    type Result = ();

    fn handle(&mut self, _: ParticipantEvent, _: &mut Context<Self>) {}
}

fn is_key_frame(packet: &RtpPacket) -> bool {
    packet.payload.len() == 16 && packet.payload[6] & 1 == 0
}

/// Returns the picture ids of a stream's frames.
fn pictures(stream: &[&RtpPacket]) -> Vec<u16> {
    let starts = stream.iter().filter(|packet| !packet.marker);
    starts.map(|it| u16::from_be_bytes([it.payload[2] & 0x7f, it.payload[3]])).collect()
}

#[actix::test]
async fn three_see_and_hear_each_other() {
    let mut call = Call::start(3).await;
    let mut one = call.join(1, 2).await;
    let mut two = call.join(1, 2).await;
    let mut three = call.join(1, 2).await;

    talk_until(&mut [&mut one, &mut two, &mut three], |all| {
        have(all, 4, 50) && have_all_but(all, 0)
    })
    .await;

    assert_eq!(call.room.tracks().len(), 6);
    for client in [&one, &two, &three] {
        let streams = client.streams();
        for stream in &streams {
            let numbers = stream.iter().map(|packet| packet.sequence_number);
            assert!(numbers.min() < Some(32_768));
        }
        for video in &streams[2..] {
            assert!(is_key_frame(video[0]), "{:?}", &video[0].payload[..8]);
            let pictures = pictures(video);
            assert!(pictures.is_sorted_by(|one, other| one + 1 == *other), "{pictures:?}");
        }
        let added = client.room.iter().filter(|event| matches!(event, MediaEvent::TrackAdded(_)));
        assert_eq!(added.count(), 4);
    }
    call.pool.stop().await;
}

/// Packets wait for the last one of their frame, but not for ever.
#[actix::test]
async fn a_frame_that_is_cut_short_goes_on_without_another() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 10)).await;

    let length = 77;
    one.cut_frame_short(length).await;

    let comes = async {
        while two.received.iter().all(|packet| packet.payload.len() != length) {
            tokio::task::yield_now().await;
            two.listen();
        }
    };
    tokio::time::timeout(PATIENCE, comes).await.expect("nothing else is sent");
    call.pool.stop().await;
}

/// The rollover counter of SRTP (RFC 3711 §3.3.1) is not carried: a receiver that comes late begins with 0.
#[actix::test]
async fn who_comes_after_65_535_packets_gets_them() {
    let mut call = Call::start(3).await;
    let mut one = call.join(65_500, 1).await;
    let mut two = call.join(1, 0).await;
    talk_until(&mut [&mut one, &mut two], |all| {
        all[0].received.last().is_some_and(|packet| packet.sequence_number > 40)
            && all[0].sent_pictures() > 65_600
    })
    .await;

    let mut late = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two, &mut late], |all| have(&all[2..], 2, 50)).await;

    call.pool.stop().await;
}

/// The room's actor is not on the way of packets.
#[actix::test]
async fn the_room_panics_and_no_packet_is_lost() {
    let mut call = Call::start(3).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 20)).await;

    let supervisor = call.room.supervisor().unwrap();
    for packets in [100, 200, 300] {
        supervisor.inject("stage", Fault::Panic("a fault".into())).await.unwrap();
        talk_until(&mut [&mut one, &mut two], |all| have(all, 2, packets)).await;
    }

    talk_until(&mut [&mut one, &mut two], |all| have_all_but(all, 0)).await;
    // It knows whom it had.
    let mut three = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| have(&all[2..], 2, 20)).await;
    call.pool.stop().await;
}

#[actix::test]
async fn a_subscriber_panics_and_goes_on_where_the_stream_was() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 20)).await;
    let before = two.streams()[1].len();

    let supervisor = call.room.supervisor().unwrap();
    let actors = supervisor.supervisor(&two.id().to_string()).unwrap();
    actors.inject("subscriber", Fault::Panic("a fault".into())).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |all| have(&all[1..], 2, before + 100)).await;

    let streams = two.streams();
    let video = &streams[1];
    let keys = video.iter().filter(|packet| is_key_frame(packet)).count();
    assert!(keys > 1, "it begins anew with a key frame");
    let pictures = pictures(video);
    assert!(pictures.is_sorted_by(|one, other| one + 1 == *other), "{pictures:?}");
    // It is alone in that.
    talk_until(&mut [&mut one, &mut two], |all| have_all_but(&all[..1], 0)).await;
    call.pool.stop().await;
}

#[actix::test]
async fn a_publisher_panics_and_its_viewers_get_a_key_frame() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 20)).await;
    let before = two.streams()[1].len();

    let supervisor = call.room.supervisor().unwrap();
    let actors = supervisor.supervisor(&one.id().to_string()).unwrap();
    actors.inject("publisher", Fault::Panic("a fault".into())).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |all| {
        have(&all[1..], 2, before + 100)
            && all[1].streams()[1][before..].iter().any(|packet| is_key_frame(packet))
    })
    .await;

    // It is alone in that.
    talk_until(&mut [&mut one, &mut two], |all| have_all_but(&all[..1], 0)).await;
    call.pool.stop().await;
}

#[actix::test]
async fn who_leaves_makes_room_for_the_next() {
    let mut call = Call::start(3).await;
    let mut one = call.join(1, 1).await;
    let two = call.join(1, 0).await;
    let mut three = call.join(1, 0).await;
    let ids = [two.id(), three.id()];

    let mut two = two;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| have(&all[..1], 2, 20)).await;
    two.server.close().await;
    drop(two);
    let before = one.received.len();
    talk_until(&mut [&mut one, &mut three], |all| all[0].received.len() > before + 100).await;

    let bound: Vec<_> = one
        .room
        .iter()
        .filter_map(|event| match event {
            MediaEvent::SlotBound { track, .. } => Some((true, track.participant)),
            MediaEvent::SlotUnbound { .. } => Some((false, ids[0])),
            _ => None,
        })
        .collect();
    let of = |bound, id| (bound, id);
    assert_eq!(
        bound,
        [of(true, ids[0]), of(true, ids[0]), of(false, ids[0]), of(false, ids[0])]
            .into_iter()
            .chain([of(true, ids[1]), of(true, ids[1])])
            .collect::<Vec<_>>()
    );
    let removed = one.room.iter().filter(|event| matches!(event, MediaEvent::TrackRemoved(_)));
    assert_eq!(removed.count(), 2);
    // It is one stream, with a gap at most where it changes.
    talk_until(&mut [&mut one, &mut three], |all| have_all_but(&all[..1], 1)).await;
    assert_eq!(call.room.tracks().len(), 4);
    call.pool.stop().await;
}

#[actix::test]
async fn media_that_fails_again_and_again_is_given_up_alone() {
    let mut call = Call::start(3).await;
    let mut one = call.join(1, 2).await;
    let mut two = call.join(1, 2).await;
    let mut three = call.join(1, 2).await;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| have(all, 4, 20)).await;

    let supervisor = call.room.supervisor().unwrap();
    let id = three.id().to_string();
    while let Ok(actors) = supervisor.supervisor(&id) {
        if actors.inject("subscriber", Fault::Panic("a fault".into())).await.is_err()
            && !actors.is_running()
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    let failed = |client: &Client| client.room.contains(&MediaEvent::Failed);
    talk_until(&mut [&mut one, &mut two, &mut three], |all| failed(all[2])).await;

    assert!(!failed(&one) && !failed(&two));
    assert_eq!(call.room.tracks().len(), 4);
    let before = one.received.len();
    talk_until(&mut [&mut one, &mut two], |all| all[0].received.len() > before + 100).await;

    // Its connection may join anew, and what is left of its first time does not matter.
    let before = three.received.len();
    three.join_again(&call.room).await;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| {
        all[2].received.len() > before + 100 && have(&all[..2], 4, 200)
    })
    .await;
    // Each of its streams goes on where it was: what came before would be old to its receiver.
    let streams_after = |client: &Client, before: usize| {
        let packets = client.received[before..].iter().map(|packet| packet.transceiver);
        packets.fold(BTreeMap::<_, usize>::new(), |mut counts, stream| {
            *counts.entry(stream).or_default() += 1;
            counts
        })
    };
    talk_until(&mut [&mut one, &mut two, &mut three], |all| {
        let streams = streams_after(all[2], before);
        streams.len() == 4 && streams.values().all(|&packets| packets > 20)
    })
    .await;
    for stream in three.streams() {
        assert!(Client::missing(&stream) < 1_000, "it begins anew");
    }
    call.pool.stop().await;
}

#[actix::test]
async fn a_muted_track_is_not_forwarded_and_comes_back_in_the_same_stream() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 20)).await;
    let tracks = call.room.tracks();
    let of_one: Vec<_> = tracks.iter().filter(|track| track.participant == one.id()).collect();
    let muted = |client: &Client, wanted| {
        let told = client.room.iter();
        told.filter(|event| matches!(event, MediaEvent::TrackMuted(_, muted) if *muted == wanted))
            .count()
            == 2
    };

    for track in &of_one {
        assert!(call.room.mute(track.id, true));
    }
    talk_until(&mut [&mut one, &mut two], |all| all.iter().all(|it| muted(it, true))).await;
    // Some were on their way.
    let mut heard = None;
    while heard != Some(two.received.len()) {
        heard = Some(two.received.len());
        let before = one.received.len();
        talk_until(&mut [&mut one, &mut two], |all| all[0].received.len() > before + 50).await;
    }
    // The room remembers.
    let supervisor = call.room.supervisor().unwrap();
    supervisor.inject("stage", Fault::Panic("a fault".into())).await.unwrap();
    let before = one.received.len();
    talk_until(&mut [&mut one, &mut two], |all| all[0].received.len() > before + 100).await;
    assert_eq!(Some(two.received.len()), heard);

    for track in &of_one {
        assert!(call.room.mute(track.id, false));
    }
    let before = two.received.len();
    talk_until(&mut [&mut one, &mut two], |all| all[1].received.len() > before + 100).await;
    let keys = two.streams()[1].iter().filter(|packet| is_key_frame(packet)).count();
    assert!(keys > 1, "pictures begin with a key frame");
    // A gap at most where it was cut.
    talk_until(&mut [&mut one, &mut two], |all| have_all_but(&all[1..], 1)).await;
    assert!(!call.room.mute(TrackId(callboard_peer_connection::TransceiverId(two.id().0.0)), true));
    call.pool.stop().await;
}

/// An operator may kill the supervisor of a participant's actors, or it may panic.
#[actix::test]
async fn a_participant_whose_supervisor_is_killed_is_told_and_joins_anew() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 20)).await;

    let supervisor = call.room.supervisor().unwrap();
    supervisor.inject(&two.id().to_string(), Fault::Kill).await.unwrap();
    let failed = |client: &Client| client.room.contains(&MediaEvent::Failed);
    talk_until(&mut [&mut one, &mut two], |all| failed(all[1])).await;

    let before = two.received.len();
    two.join_again(&call.room).await;
    talk_until(&mut [&mut one, &mut two], |all| all[1].received.len() > before + 50).await;
    assert!(!failed(&one));
    call.pool.stop().await;
}

/// An operator may stop or kill any supervisor: the connections stay, and media goes on in them.
#[actix::test]
async fn media_goes_on_when_a_supervisor_ends() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    talk_until(&mut [&mut one, &mut two], |all| have(all, 2, 20)).await;

    let (above, supervisor) = (call.above.clone(), call.room.supervisor().unwrap());
    let stop = || Fault::Exit(ExitReason::Shutdown(Some("a fault".into())));
    for fault in [Fault::Kill, Fault::Panic("a fault".into()), stop()] {
        above.inject("media", fault).await.unwrap();
        goes_on(&mut one, &mut two).await;
    }
    let participant = two.id().to_string();
    supervisor.inject(&participant, stop()).await.unwrap();
    goes_on(&mut one, &mut two).await;
    for client in [&one, &two] {
        let told = client
            .room
            .iter()
            .filter(|told| matches!(told, MediaEvent::Failed | MediaEvent::TrackRemoved(_)));
        assert_eq!(told.count(), 0, "{:#?}", client.room);
        assert_eq!(client.streams().len(), 2, "the streams stay");
    }
    call.pool.stop().await;
}

/// Waits until both receive what the other sends from now on.
async fn goes_on(one: &mut Client, two: &mut Client) {
    let before = [one.received.len(), two.received.len()];
    talk_until(&mut [one, two], |all| {
        all.iter().zip(before).all(|(client, before)| {
            let new = &client.received[before..];
            [false, true]
                .iter()
                .all(|sound| new.iter().filter(|it| (it.payload[0] == 0xfc) == *sound).count() > 50)
        })
    })
    .await;
}

#[actix::test]
async fn a_connection_joins_once() {
    let mut call = Call::start(1).await;
    let one = call.join(1, 1).await;
    let (room, server) = (call.room.clone(), one.server.clone());

    let again = room.join(server, "one", Silent.start().recipient()).await;

    assert!(matches!(again, Err(JoinMediaRoomError::Joined)), "{again:?}");
    call.pool.stop().await;
}

/// Tap that keeps the frames of sound.
struct Ear(Arc<Mutex<Vec<Vec<u8>>>>);

impl MediaTap for Ear {
    fn frame(&mut self, _: &TrackInfo, frame: &Frame) {
        self.0.lock().unwrap().push(frame.data.to_vec());
    }
}

#[actix::test]
async fn redundant_sound_goes_to_those_that_have_it_and_plain_sound_to_others() {
    let mut call = Call::start(3).await;
    let frames = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&frames);
    let ear = TapOptions::new("ear").kind(TrackKind::Audio);
    let _tap = call.room.tap(ear, move || Ear(Arc::clone(&heard))).await.unwrap();
    call.redundant = true;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 2).await;
    call.redundant = false;
    let mut plain = call.join(1, 1).await;

    let count = |client: &Client, redundant: bool| {
        client.sounds().iter().filter(|(red, _)| *red == redundant).count()
    };
    talk_until(&mut [&mut one, &mut two, &mut plain], |clients| {
        let both = count(clients[1], true) >= 20 && count(clients[1], false) >= 20;
        both && count(clients[0], true) >= 20
            && count(clients[2], false) >= 20
            && frames.lock().unwrap().len() >= 60
    })
    .await;

    assert_eq!(count(&plain, true), 0);
    for client in [&one, &two, &plain] {
        for (redundant, payload) in client.sounds() {
            assert!(payload.ends_with(&SOUND), "{payload:?}");
            assert_eq!(payload.len() > SOUND.len(), redundant, "{payload:?}");
        }
    }
    assert!(frames.lock().unwrap().iter().all(|frame| *frame == SOUND));
}
