mod binding;
mod muting;
mod policy;

use std::cmp::Reverse;

use callboard_peer_connection::PeerConnectionId;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::event::{TrackDescription, TrackSource};
use crate::policy::ParticipantOptions;

fn participant(number: u128) -> ParticipantId {
    ParticipantId(PeerConnectionId(Uuid::from_u128(number)))
}

fn info(id: ParticipantId) -> ParticipantInfo {
    ParticipantOptions::new("").info(id)
}

/// Returns a section of participant `of`: its `number`th.
fn section(of: u128, number: u128, kind: TrackKind, publishes: bool, receives: bool) -> Section {
    let id = Uuid::from_u128(of * 100 + number);
    Section {
        transceiver: TransceiverId(id),
        sender: SenderId(id),
        mid: number.to_string(),
        kind,
        publishes,
        receives,
        stream: number as usize / 2,
        codecs: Arc::new([]),
        encodings: Vec::new(),
        position: None,
    }
}

/// Returns what an application is told.
fn told(stage: &mut Stage, id: ParticipantId) -> Vec<MediaEvent> {
    let outputs = std::iter::from_fn(|| stage.poll_output());
    let told = outputs.filter_map(|output| match output {
        Output::Tell(to, event) if to == id => Some(event),
        _ => None,
    });
    told.collect()
}

use TrackKind::{Audio, Video};

#[test]
fn a_track_is_bound_to_a_free_slot_of_its_kind() {
    let mut stage = Stage::default();
    let (one, two) = (participant(1), participant(2));
    assert!(stage.join(info(one)) && stage.join(info(two)) && !stage.join(info(two)));

    stage.negotiated(one, &[section(1, 0, Audio, false, true), section(1, 1, Video, false, true)]);
    stage.negotiated(two, &[section(2, 0, Video, true, false)]);

    let track = stage.tracks()[0].info.clone();
    assert_eq!(
        told(&mut stage, one),
        [MediaEvent::TrackAdded(track.clone()), MediaEvent::SlotBound { mid: "1".into(), track }]
    );
    assert_eq!(stage.viewers_of(two), [one]);
    assert!(stage.slots_of(one).is_empty(), "its path is not up");
    stage.connected(one);
    let carried: Vec<_> =
        stage.slots_of(one).into_iter().map(|(_, track)| track.is_some()).collect();
    assert_eq!(carried, [false, true]);
}

#[test]
fn wishes_of_viewers_are_told_to_publishers_once_for_many() {
    let mut stage = Stage::default();
    let (one, two) = (participant(1), participant(2));
    for id in [one, two] {
        stage.join(info(id));
    }
    stage.negotiated(one, &[section(1, 0, Video, false, true)]);
    stage.negotiated(two, &[section(2, 0, Video, true, false)]);
    let track = stage.tracks()[0].info.id;
    assert_eq!(stage.wishes_for(track), [Wish::default()]);
    told(&mut stage, one);

    for height in [720, 360, 180] {
        let mut wishes = Wishes::default();
        wishes.tracks.insert(track, Wish::height(height));
        assert!(stage.wish(one, wishes));
    }

    assert_eq!(stage.wishes_for(track), [Wish::height(180)]);
    assert!(stage.has_wished() && stage.poll_output().is_none(), "a little later");
    stage.tell_wishes();
    assert_eq!(stage.poll_output(), Some(Output::FanOut(two)));
    assert_eq!(stage.poll_output(), None);
    let same = (*stage.wishes_of(one)).clone();
    assert!(stage.wish(one, same) && !stage.has_wished(), "nothing has changed");
    assert!(!stage.wish(participant(3), Wishes::default()));
    // A slot that is closed wishes nothing.
    stage.negotiated(one, &[]);
    assert_eq!(stage.wishes_for(track), []);
    assert!(std::iter::from_fn(|| stage.poll_output()).any(|it| it == Output::FanOut(two)));
}

#[test]
fn one_that_may_have_missed_something_is_told_everything_once_more() {
    let mut stage = Stage::default();
    let all = [1, 2, 3].map(participant);
    for id in all {
        stage.join(info(id));
    }
    let slots = [0, 1].map(|number| section(1, number, Video, false, true));
    let own = section(1, 2, Video, true, false);
    stage.negotiated(all[0], &[slots[0].clone(), slots[1].clone(), own.clone()]);
    for (at, id) in [(2, all[1]), (3, all[2])] {
        stage.negotiated(id, &[section(at, 0, Video, true, false)]);
    }
    let own = TrackId(own.transceiver);
    stage.mute(own, true);
    stage.leave(all[1]);
    let third = stage.tracks().iter().find(|track| track.info.participant == all[2]).unwrap();
    let third = third.info.clone();
    told(&mut stage, all[0]);
    assert!(!stage.retells_flows(all[0]) && !stage.retells_layers(all[0]));

    stage.restate_to(all[0]);

    let outputs: Vec<_> = std::iter::from_fn(|| stage.poll_output()).collect();
    let events = [
        MediaEvent::Tracks(vec![third.clone()]),
        MediaEvent::SlotUnbound { mid: "0".into() },
        MediaEvent::SlotBound { mid: "1".into(), track: third },
        MediaEvent::OwnTrackMuted { track: own, mid: "2".into(), muted: true },
    ];
    let events = events.map(|event| Output::Tell(all[0], event)).into_iter();
    let expected = events.chain([Output::Assign(all[0]), Output::FanOut(all[0])]);
    assert_eq!(outputs, expected.collect::<Vec<_>>());
    assert!(stage.retells_flows(all[0]) && stage.retells_layers(all[0]));
    assert!(!stage.retells_flows(all[0]) && !stage.retells_layers(all[0]), "once");
    stage.restate_to(all[1]);
    assert_eq!(stage.poll_output(), None, "it has left");
}

#[test]
fn what_has_no_slot_waits_for_one() {
    let mut stage = Stage::default();
    let all = [1, 2, 3].map(participant);
    for id in all {
        stage.join(info(id));
    }
    stage.negotiated(all[0], &[section(1, 0, Video, false, true)]);
    stage.negotiated(all[1], &[section(2, 0, Video, true, false)]);
    stage.negotiated(all[2], &[section(3, 0, Video, true, false)]);
    let third = stage.tracks()[1].info.clone();
    told(&mut stage, all[0]);

    assert!(stage.leave(all[1]) && !stage.leave(all[1]));

    let gone = TrackId(section(2, 0, Video, true, false).transceiver);
    assert_eq!(
        told(&mut stage, all[0]),
        [
            MediaEvent::SlotUnbound { mid: "0".into() },
            MediaEvent::TrackRemoved(gone),
            MediaEvent::SlotBound { mid: "0".into(), track: third },
        ]
    );
}

#[test]
fn a_later_offer_keeps_what_flows() {
    let mut stage = Stage::default();
    let (one, two) = (participant(1), participant(2));
    stage.join(info(one));
    stage.join(info(two));
    stage.negotiated(two, &[section(2, 0, Video, true, false)]);
    stage.negotiated(one, &[section(1, 0, Video, false, true)]);
    told(&mut stage, one);

    stage.negotiated(one, &[section(1, 0, Video, false, true), section(1, 1, Video, false, true)]);
    assert_eq!(told(&mut stage, one), []);
    stage.negotiated(one, &[section(1, 1, Video, false, true)]);

    let track = stage.tracks()[0].info.clone();
    assert_eq!(
        told(&mut stage, one),
        [
            MediaEvent::SlotUnbound { mid: "0".into() },
            MediaEvent::SlotBound { mid: "1".into(), track }
        ]
    );
}

#[test]
fn a_restarted_room_says_all_that_its_actors_must_know() {
    let mut stage = Stage::default();
    let (one, two) = (participant(1), participant(2));
    stage.join(info(one));
    stage.join(info(two));
    stage.negotiated(two, &[section(2, 0, Video, true, false)]);
    stage.negotiated(one, &[section(1, 0, Video, false, true)]);
    told(&mut stage, one);

    stage.restate();

    let outputs: Vec<_> = std::iter::from_fn(|| stage.poll_output()).collect();
    for id in [one, two] {
        for output in [Output::Watch(id), Output::Assign(id), Output::FanOut(id)] {
            assert!(outputs.contains(&output), "{output:?} in {outputs:?}");
        }
    }
    let track = stage.tracks()[0].info.clone();
    let bound = MediaEvent::SlotBound { mid: "0".into(), track };
    assert!(outputs.contains(&Output::Tell(one, bound)));
}

#[test]
fn a_muted_track_stays_muted_when_it_is_published_anew() {
    let mut stage = Stage::default();
    let one = participant(1);
    stage.join(info(one));
    let camera = |publishes| [section(1, 0, Video, publishes, false)];
    stage.negotiated(one, &camera(true));
    let id = stage.tracks()[0].info.id;
    assert!(stage.mute(id, true));

    stage.negotiated(one, &camera(false));
    assert!(stage.tracks().is_empty() && !stage.mute(id, false));
    stage.negotiated(one, &camera(true));

    assert!(stage.tracks()[0].info.muted);
    assert!(stage.mute(id, false) && !stage.tracks()[0].info.muted);
}

#[test]
fn what_a_participant_says_of_its_tracks_is_told_with_them() {
    let mut stage = Stage::default();
    let (one, two) = (participant(1), participant(2));
    assert!(stage.join(info(one)) && stage.join(info(two)));
    let says = |source, metadata: &str, muted| {
        let (mid, source) = ("0".to_owned(), Some(source));
        vec![TrackDescription { mid, source, metadata: Some(metadata.into()), muted }]
    };
    let sections = [section(1, 0, Video, true, false), section(1, 1, Audio, true, false)];

    stage.describe(one, says(TrackSource::Camera, "front", true));
    stage.negotiated(one, &sections);
    let tracks: Vec<_> = stage.tracks().iter().map(|track| track.info.clone()).collect();
    let [microphone, camera] = &tracks[..] else { panic!("{tracks:?}") };
    let added = [microphone, camera].map(|track| MediaEvent::TrackAdded(track.clone()));
    assert_eq!(told(&mut stage, two), added);
    let said = |track: &TrackInfo| (track.source, track.metadata.as_deref().map(str::to_owned));
    assert_eq!(said(camera), (Some(TrackSource::Camera), Some("front".to_owned())));
    assert_eq!((said(microphone), camera.muted, microphone.muted), ((None, None), true, false));

    // Said anew, with the next offer: it stays muted until the participant itself ends that.
    stage.describe(one, says(TrackSource::Screen, "slides", false));
    assert_eq!(told(&mut stage, two), []);
    stage.negotiated(one, &sections);
    let [MediaEvent::TrackChanged(changed)] = &told(&mut stage, two)[..] else { panic!() };
    assert_eq!(said(changed), (Some(TrackSource::Screen), Some("slides".to_owned())));
    assert!(changed.muted && stage.mute_own(one, "0", false));
    assert_eq!(told(&mut stage, two), [MediaEvent::TrackMuted(camera.id, false)]);
    assert!(!stage.mute_own(one, "7", true) && !stage.mute_own(two, "0", true));
}

#[test]
fn a_track_is_muted_until_both_the_application_and_its_participant_end_that() {
    let mut stage = Stage::default();
    let one = participant(1);
    stage.join(info(one));
    stage.negotiated(one, &[section(1, 0, Video, true, false)]);
    let id = stage.tracks()[0].info.id;

    assert!(stage.mute_own(one, "0", true) && stage.mute(id, true) && stage.mute(id, true));
    // The participant learns what the application does, also where that changes nothing for the others.
    let own = |muted| MediaEvent::OwnTrackMuted { track: id, mid: "0".to_owned(), muted };
    assert_eq!(told(&mut stage, one), [MediaEvent::TrackMuted(id, true), own(true)]);
    assert!(stage.mute_own(one, "0", false) && stage.tracks()[0].info.muted);
    assert!(stage.mute(id, false) && !stage.tracks()[0].info.muted);
    assert_eq!(told(&mut stage, one), [own(false), MediaEvent::TrackMuted(id, false)]);
}

#[test]
fn a_participant_publishes_a_few_tracks_of_a_kind() {
    let mut stage = Stage::default();
    let one = participant(1);
    stage.join(info(one));
    let sections: Vec<_> = (0..20)
        .map(|number| section(1, number, if number < 12 { Video } else { Audio }, true, false))
        .collect();

    stage.negotiated(one, &sections);

    let kinds = |kind| stage.tracks().iter().filter(|track| track.info.kind == kind).count();
    assert_eq!([kinds(Audio), kinds(Video)], [MOST_TRACKS; 2]);
}

#[test]
fn any_number_of_changes_is_read_once() {
    let mut stage = Stage::default();
    let all = [1, 2].map(participant);
    for id in all {
        stage.join(info(id));
    }
    let slots: Vec<_> = (0..4).map(|number| section(1, number, Video, false, true)).collect();
    stage.negotiated(all[0], &slots);
    let cameras: Vec<_> = (0..4).map(|number| section(2, number, Video, true, false)).collect();
    stage.negotiated(all[1], &cameras);

    stage.leave(all[1]);

    let outputs: Vec<_> = std::iter::from_fn(|| stage.poll_output()).collect();
    let reads = outputs.iter().filter(|output| **output == Output::Assign(all[0]));
    assert_eq!(reads.count(), 1, "{outputs:?}");
    let told = outputs.iter().rposition(|output| matches!(output, Output::Tell(..)));
    let read = outputs.iter().position(|output| *output == Output::Assign(all[0]));
    assert!(told < read, "told first");
}

#[derive(Clone, Debug)]
enum Step {
    Join(u128),
    Leave(u128),
    Negotiate(u128, Vec<(bool, bool, bool)>),
    Dominates(u128),
    /// The voices of these participants are quiet.
    Quiet(Vec<u128>),
    /// One wishes these sections of these participants first, and nothing of another.
    Wish(u128, Vec<(u128, u128)>, u128),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 1u128..6;
    let sections = prop::collection::vec(any::<(bool, bool, bool)>(), 0..6);
    let step = prop_oneof![
        who.clone().prop_map(Step::Join),
        who.clone().prop_map(Step::Leave),
        (who.clone(), sections).prop_map(|(who, sections)| Step::Negotiate(who, sections)),
        who.clone().prop_map(Step::Dominates),
        prop::collection::vec(who.clone(), 0..4).prop_map(Step::Quiet),
        (who.clone(), prop::collection::vec((who.clone(), 0u128..12), 0..4), who)
            .prop_map(|(who, first, paused)| Step::Wish(who, first, paused)),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn slots_carry_what_they_may_and_their_owners_know_it(steps in steps()) {
        let mut stage = Stage::default();
        // What each application has been told.
        let mut known = BTreeMap::<ParticipantId, BTreeMap<String, TrackId>>::new();
        for step in steps {
            match step {
                Step::Join(who) => _ = stage.join(info(participant(who))),
                Step::Leave(who) => {
                    stage.leave(participant(who));
                    known.remove(&participant(who));
                }
                Step::Negotiate(who, sections) => {
                    let sections: Vec<_> = sections.into_iter().enumerate().map(|(place, one)| {
                        let kind = if one.0 { Audio } else { Video };
                        // The kind of a section never changes.
                        let number = place as u128 * 2 + u128::from(one.0);
                        section(who, number, kind, one.1, one.2)
                    }).collect();
                    stage.negotiated(participant(who), &sections);
                }
                Step::Dominates(who) => _ = stage.dominates(participant(who)),
                Step::Quiet(who) => {
                    let tracks = stage.tracks.iter().map(|track| &track.info);
                    let quiet = tracks.filter(|it| who.iter().any(|who| it.participant == participant(*who)));
                    let quiet = quiet.filter(|it| it.kind == Audio).map(|it| it.id).collect();
                    stage.are_quiet(&quiet);
                }
                Step::Wish(who, first, paused) => {
                    let mut wishes = Wishes::default();
                    let id = |(of, number)| TrackId(section(of, number, Video, true, false).transceiver);
                    wishes.order = first.into_iter().map(id).collect();
                    wishes.tracks.insert(id((paused, 0)), Wish::pause());
                    stage.wish(participant(who), wishes);
                    stage.tell_wishes();
                }
            }
            while let Some(output) = stage.poll_output() {
                let Output::Tell(id, event) = output else { continue };
                match event {
                    MediaEvent::SlotBound { mid, track } => {
                        let before = known.entry(id).or_default().insert(mid, track.id);
                        prop_assert_eq!(before, None, "bound over another");
                    }
                    MediaEvent::SlotUnbound { mid } => {
                        prop_assert!(known.entry(id).or_default().remove(&mid).is_some());
                    }
                    _ => {}
                }
            }
            for (&id, entry) in &stage.participants {
                let carried: BTreeMap<_, _> = entry.slots.iter()
                    .filter_map(|slot| Some((slot.mid.clone(), slot.track?))).collect();
                prop_assert_eq!(&carried, known.entry(id).or_default());
                let distinct: BTreeSet<_> = carried.values().collect();
                prop_assert_eq!(distinct.len(), carried.len(), "twice");
                for slot in &entry.slots {
                    let Some(track) = slot.track else { continue };
                    let track = find(&stage.tracks, track).expect("published");
                    prop_assert!(track.info.kind == slot.kind && track.info.participant != id);
                }
                for track in stage.tracks.iter().filter(|track| track.info.participant != id) {
                    let free = entry.slots.iter().any(|slot| slot.track.is_none() && slot.kind == track.info.kind);
                    prop_assert!(!free || carried.values().any(|it| *it == track.info.id), "a free slot");
                }
                // What waits is wished less, or has been silent for longer, than what flows.
                for kind in [Audio, Video] {
                    let others = stage.tracks.iter().map(|track| &track.info);
                    let others: Vec<_> = others.filter(|it| it.kind == kind && it.participant != id).collect();
                    let count = entry.slots.iter().filter(|slot| slot.kind == kind).count();
                    let is_one = |it: &&TrackId| others.iter().any(|other| other.id == **it);
                    let flow: BTreeSet<_> = carried.values().filter(is_one).copied().collect();
                    let best = choose(&stage, entry, others, count);
                    prop_assert_eq!(flow, BTreeSet::from_iter(best));
                }
            }
        }
    }
}

/// Returns so many of these tracks of one kind, those first that a participant prefers, and of the others those that
/// have dominated last: what the stage must bind, found in the plainest way.
fn choose(stage: &Stage, entry: &Entry, others: Vec<&TrackInfo>, count: usize) -> Vec<TrackId> {
    let mut chosen = others;
    chosen.sort_by_key(|track| {
        let wish = match track.kind {
            Video => entry.wishes.of(track.id),
            Audio => Wish::default(),
        };
        let (quiet, spoke) = stage.activity.rank(track);
        (wish.pause, Reverse(wish.priority), entry.wishes.place(track.id), quiet, spoke)
    });
    chosen.truncate(count);
    chosen.into_iter().map(|track| track.id).collect()
}
