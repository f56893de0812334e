//! Which tracks flow where there are more than slots, and in which of the slots.

use super::*;

/// Returns a stage with a viewer that has so many slots of either kind, and so many others who publish a voice and a
/// picture each, numbered from 2 on.
fn stage(slots: u128, others: u128) -> Stage {
    let mut stage = Stage::default();
    (1..others + 2).for_each(|number| _ = stage.join(info(participant(number))));
    let sections = |of, count: u128, publishes, receives| {
        let both = |at| [(at * 2, Audio), (at * 2 + 1, Video)];
        let all = (0..count).flat_map(both);
        all.map(|(number, kind)| section(of, number, kind, publishes, receives)).collect::<Vec<_>>()
    };
    stage.negotiated(participant(1), &sections(1, slots, false, true));
    for number in 2..others + 2 {
        stage.negotiated(participant(number), &sections(number, 1, true, false));
    }
    stage
}

fn track(of: u128, kind: TrackKind) -> TrackId {
    TrackId(section(of, u128::from(kind == Video), kind, true, false).transceiver)
}

/// Returns whose tracks of a kind flow to the viewer, in the order of its slots.
fn flowing(stage: &Stage, kind: TrackKind) -> Vec<u128> {
    let slots = stage.participants[&participant(1)].slots.iter().filter(|slot| slot.kind == kind);
    let tracks = slots.filter_map(|slot| slot.track);
    tracks.map(|id| find(&stage.tracks, id).unwrap().info.participant.0.0.as_u128()).collect()
}

/// Returns the slots of the viewer that were bound anew, by the `a=mid` of their sections.
fn rebound(stage: &mut Stage) -> Vec<String> {
    let told = told(stage, participant(1)).into_iter();
    let bound = told.filter_map(|event| match event {
        MediaEvent::SlotBound { mid, .. } => Some(mid),
        _ => None,
    });
    bound.collect()
}

#[test]
fn who_speaks_takes_the_slots_of_the_one_that_was_silent_for_longest() {
    let mut stage = stage(2, 5);
    assert_eq!(flowing(&stage, Video), [2, 3], "the oldest, before any speaks");
    rebound(&mut stage);

    assert!(stage.dominates(participant(5)));
    assert_eq!((flowing(&stage, Audio), flowing(&stage, Video)), (vec![2, 5], vec![2, 5]));
    assert_eq!(rebound(&mut stage), ["2", "3"], "of others nothing changes");
    assert_eq!(stage.viewers_of(participant(3)), []);

    assert!(stage.dominates(participant(2)) && stage.dominates(participant(5)));
    assert!(!stage.dominates(participant(5)));
    assert_eq!(rebound(&mut stage), [""; 0], "all that speak are there");
    stage.dominates(participant(6));
    assert_eq!(flowing(&stage, Video), [6, 5]);
    stage.leave(participant(6));
    assert_eq!(flowing(&stage, Video), [2, 5], "the one that spoke before");
}

#[test]
fn what_is_wished_flows_also_while_others_speak() {
    let mut stage = stage(2, 5);
    let order = vec![track(6, Video), track(4, Video)];
    let mut wishes = Wishes { order, ..Wishes::default() };
    stage.wish(participant(1), wishes.clone());
    assert!(stage.has_wished());
    assert_eq!(flowing(&stage, Video), [2, 3], "a little later, together with others");
    stage.tell_wishes();
    assert_eq!(flowing(&stage, Video), [6, 4]);

    stage.dominates(participant(2));
    assert_eq!((flowing(&stage, Video), flowing(&stage, Audio)), (vec![6, 4], vec![2, 3]));
    wishes.tracks.insert(track(5, Video), Wish { priority: 1, ..Wish::default() });
    wishes.tracks.insert(track(6, Video), Wish::pause());
    stage.wish(participant(1), wishes);
    stage.tell_wishes();
    assert_eq!(flowing(&stage, Video), [5, 4], "and what is not wished does not");

    stage.wish(participant(1), Wishes::default());
    stage.tell_wishes();
    assert_eq!(flowing(&stage, Video).into_iter().collect::<BTreeSet<_>>(), [2, 3].into());
}

#[test]
fn voices_that_are_forwarded_have_slots() {
    let mut stage = stage(3, 9);
    let quiet = |loud: [u128; 3]| {
        let others = (2..11).filter(|number| !loud.contains(number));
        others.map(|number| track(number, Audio)).collect::<BTreeSet<_>>()
    };

    assert!(stage.are_quiet(&quiet([2, 8, 9])));

    assert_eq!(flowing(&stage, Audio).into_iter().collect::<BTreeSet<_>>(), [2, 8, 9].into());
    assert_eq!(flowing(&stage, Video), [2, 3, 4], "pictures go by who dominates");
    rebound(&mut stage);
    assert!(stage.are_quiet(&quiet([2, 8, 10])));
    assert_eq!(rebound(&mut stage).len(), 1);
}

#[test]
fn sound_and_picture_of_a_participant_are_of_one_stream() {
    let mut stage = stage(4, 4);
    let together = |stage: &Stage| assert_eq!(flowing(stage, Audio), flowing(stage, Video));
    together(&stage);

    // One has a screen besides, and goes; another one comes.
    let screen = section(2, 3, Video, true, false);
    let both = [section(2, 0, Audio, true, false), section(2, 1, Video, true, false), screen];
    stage.negotiated(participant(2), &both);
    for gone in [3, 2] {
        stage.leave(participant(gone));
        stage.join(info(participant(gone + 5)));
        let both = [0, 1]
            .map(|number| section(gone + 5, number, [Audio, Video][number as usize], true, false));
        stage.negotiated(participant(gone + 5), &both);
    }

    together(&stage);
    assert_eq!(flowing(&stage, Audio).len(), 4);
}

#[test]
fn of_twenty_five_slots_each_carries_another() {
    let mut stage = stage(25, 49);
    for number in (2..51).rev() {
        stage.dominates(participant(number));
    }

    for kind in [Audio, Video] {
        let flowing: BTreeSet<_> = flowing(&stage, kind).into_iter().collect();
        assert_eq!(flowing, (2..27).collect(), "those that spoke last");
    }
    assert_eq!(flowing(&stage, Audio), flowing(&stage, Video));
}
