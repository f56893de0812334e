//! Who speaks in a media room, and what is heard and seen for that.

mod call;

use std::collections::BTreeMap;

use call::*;
use callboard_media_rooms::*;
use callboard_peer_connection::TrackKind;

/// Returns whether the last report that a client has got names this participant.
fn dominates(client: &Client, participant: ParticipantId) -> bool {
    let mut reports = client.room.iter().rev().filter_map(|event| match event {
        MediaEvent::Speakers { dominant, .. } => Some(dominant.as_ref()),
        _ => None,
    });
    reports.next().flatten().is_some_and(|speaker| speaker.participant == participant)
}

#[actix::test]
async fn all_are_told_who_speaks() {
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;
    let ids = [one.id(), two.id()];

    one.level = -20;
    talk_until(&mut [&mut one, &mut two], |all| all.iter().all(|it| dominates(it, ids[0]))).await;
    (one.level, two.level) = (-127, -20);
    talk_until(&mut [&mut one, &mut two], |all| all.iter().all(|it| dominates(it, ids[1]))).await;

    // A small room hears all.
    talk_until(&mut [&mut one, &mut two], |all| have_all_but(all, 0)).await;
    call.pool.stop().await;
}

/// Returns whose tracks the slots of a client carry, sound first, by the last that it was told.
fn carried(client: &Client) -> Vec<(TrackKind, ParticipantId)> {
    let mut slots = BTreeMap::new();
    for event in &client.room {
        match event {
            MediaEvent::SlotBound { mid, track } => {
                slots.insert(mid, (track.kind, track.participant));
            }
            MediaEvent::SlotUnbound { mid } => _ = slots.remove(mid),
            _ => {}
        }
    }
    let mut carried: Vec<_> = slots.into_values().collect();
    carried.sort_by_key(|(kind, _)| *kind == TrackKind::Video);
    carried
}

#[actix::test]
async fn where_slots_are_few_those_who_speak_and_what_is_wished_flow() {
    let mut call = Call::start(3).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 0).await;
    let mut three = call.join(1, 0).await;
    let ids = [two.id(), three.id()];
    let carries = |client: &Client, sound, picture| {
        let carried = carried(client);
        carried == [(TrackKind::Audio, ids[sound]), (TrackKind::Video, ids[picture])]
    };
    let mut all = [&mut one, &mut two, &mut three];
    talk_until(&mut all, |all| have(&all[..1], 2, 20) && carries(all[0], 0, 0)).await;

    all[2].level = -20;
    talk_until(&mut all, |all| carries(all[0], 1, 1)).await;
    let before = all[0].streams().iter().map(|stream| stream.len()).min().unwrap();
    talk_until(&mut all, |all| have(&all[..1], 2, before + 100)).await;
    // Each slot is one stream, with a gap at most where it changes.
    talk_until(&mut all, |all| have_all_but(&all[..1], 1)).await;

    let picture = |track: &TrackInfo| track.kind == TrackKind::Video && track.participant == ids[0];
    let mut wishes = Wishes::default();
    wishes.order = call.room.tracks().into_iter().filter(picture).map(|track| track.id).collect();
    all[0].wish(wishes).unwrap();
    talk_until(&mut all, |all| carries(all[0], 1, 0)).await;
    let before = all[0].streams()[1].len();
    talk_until(&mut all, |all| all[0].streams()[1].len() > before + 100).await;
    call.pool.stop().await;
}

#[actix::test]
async fn of_many_voices_the_loudest_are_heard_in_whole_streams() {
    let mut call = Call::start(8).await;
    let mut ear = call.join(1, 7).await;
    let mut others = Vec::new();
    for _ in 0..7 {
        others.push(call.join(1, 0).await);
    }
    let mut all: Vec<_> = std::iter::once(&mut ear).chain(&mut others).collect();
    let voices =
        |ear: &Client| ear.streams().iter().filter(|stream| stream[0].payload[0] == 0xfc).count();

    all[1].level = -20;
    talk_until(&mut all, |all| voices(all[0]) == 1 && all[0].streams()[0].len() > 50).await;
    // Others are heard when they speak, and it goes on where it was when it speaks again.
    all[1].level = -127;
    all[2..5].iter_mut().for_each(|speaker| speaker.level = -20);
    talk_until(&mut all, |all| voices(all[0]) == 4).await;
    all[2..5].iter_mut().for_each(|speaker| speaker.level = -127);
    all[1].level = -20;
    let before = all[0].streams()[0].len();
    talk_until(&mut all, |all| all[0].streams()[0].len() > before + 50).await;

    assert_eq!(all[0].streams().len(), 4 + 7, "all pictures, four voices");
    talk_until(&mut all, |all| {
        all[0].streams()[..4].iter().all(|voice| Client::missing(voice) == 0)
    })
    .await;
    call.pool.stop().await;
}
