//! Single stories of a cluster.

use std::time::Duration;

use super::world::{Breach, Mode, World, timing};
use crate::core::{Refused, Timing};

const EVEN: [u64; 3] = [10, 10, 10];

/// Returns a world in which node 0 holds the room.
fn held(hold: u64, rates: &[u64]) -> World {
    let mut world = World::new(timing(hold), rates);
    world.step().unwrap();
    assert_eq!(world.holder(), Some(0));
    world
}

fn steps_until(world: &mut World, most: u64, reached: impl Fn(&World) -> bool) -> u64 {
    for steps in 0..=most {
        if reached(world) {
            return steps;
        }
        world.step().unwrap();
    }
    panic!("not within {most} steps: {world:#?}");
}

#[test]
fn a_room_that_another_node_holds_is_refused_with_where_it_is() {
    let mut world = held(50, &EVEN);

    for _ in 0..100 {
        world.step().unwrap();
        assert_eq!(world.holder(), Some(0));
        let Some(Refused::Elsewhere { node, url, .. }) = world.refusals.last() else {
            panic!("{:?}", world.refusals)
        };
        assert_eq!((node.as_str(), url.as_deref()), ("n0", Some("wss://n0")));
    }
}

#[test]
fn the_rooms_of_a_node_that_is_silent_are_taken_after_its_hold_and_no_sooner() {
    let mut world = held(50, &EVEN);
    world.set_mode(0, Mode::Paused);

    let lapsed = steps_until(&mut world, 5, |world| world.holder().is_none());
    let taken = steps_until(&mut world, 5, |world| world.holder().is_some());

    assert_eq!((lapsed, taken), (5, 2));
    assert_eq!(world.holder(), Some(1));
}

#[test]
fn a_silent_node_is_not_named_once_it_is_in_doubt() {
    let mut world = held(50, &EVEN);
    world.set_mode(0, Mode::Paused);
    for _ in 0..4 {
        world.step().unwrap();
    }

    assert!(matches!(world.refusals.last(), Some(Refused::Unavailable(_))), "{:?}", world.refusals);
}

#[test]
fn a_node_that_wakes_up_late_holds_nothing_and_is_told_where_its_room_is() {
    let mut world = held(50, &EVEN);
    world.set_mode(0, Mode::Paused);
    steps_until(&mut world, 20, |world| world.holder() == Some(1));

    world.set_mode(0, Mode::Well);
    for _ in 0..20 {
        world.step().unwrap();
        assert_eq!(world.holder(), Some(1));
    }
}

#[test]
fn the_rooms_of_a_node_that_leaves_are_free_at_once() {
    let mut world = held(50, &EVEN);

    world.leave(0).unwrap();

    world.step().unwrap();
    assert_eq!(world.holder(), Some(1));
}

/// By the word of the node that had it; or by the directory, if that node dies before it says so.
#[test]
fn a_room_that_is_given_to_a_node_that_expects_it_changes_hands_at_once() {
    for hears in [true, false] {
        let mut world = held(50, &EVEN);

        world.give(2, true, hears).unwrap();

        if !hears {
            world.set_mode(0, Mode::Paused);
            assert_eq!(world.holder(), None);
            world.step().unwrap();
        }
        for _ in 0..20 {
            assert_eq!(world.holder(), Some(2));
            world.step().unwrap();
        }
    }
}

#[test]
fn a_room_is_not_given_to_a_node_that_is_silent_or_in_doubt() {
    let mut world = held(50, &EVEN);
    world.set_mode(2, Mode::Paused);
    for _ in 0..4 {
        world.step().unwrap();
    }

    world.give(2, true, true).unwrap();

    assert_eq!(world.holder(), Some(0));
}

/// It is written once, however often it is tried.
#[test]
fn a_gift_whose_outcome_is_unknown_is_repeated_until_it_is_known() {
    for mode in [Mode::Deaf, Mode::Late, Mode::CutOff] {
        let mut world = held(50, &EVEN);
        world.step().unwrap();
        world.set_mode(0, mode);

        world.give(2, true, true).unwrap();

        // The other node may see what this one does not hear.
        let seen = (mode == Mode::Deaf).then_some(2);
        assert_eq!(world.holder(), seen, "the node that gives it may not go by it");
        world.set_mode(0, Mode::Well);
        let steps = steps_until(&mut world, 5, |world| world.holder().is_some());
        assert_eq!(world.holder(), Some(2), "after {steps}");
    }
}

#[test]
fn a_room_that_is_given_to_a_node_that_does_not_expect_it_is_free() {
    let mut world = held(50, &EVEN);

    world.give(2, false, true).unwrap();

    let steps = steps_until(&mut world, 5, |world| world.holder().is_some());
    assert!(steps <= 2, "{steps}");
}

#[test]
fn a_room_that_is_given_back_is_free_and_its_record_is_removed_in_time() {
    let memory = Duration::from_nanos(1_000);
    let mut world = World::new(Timing { memory, ..timing(50) }, &EVEN);
    world.step().unwrap();

    world.release(0).unwrap();

    assert_eq!(world.holder(), None);
    world.step().unwrap();
    assert_eq!(world.holder(), Some(0), "the first one that asked");
    world.release(0).unwrap();
    world.wanted = false;
    for _ in 0..200 {
        world.step().unwrap();
    }
    assert_eq!(world.records(), 3, "the sessions alone");
}

#[test]
fn what_is_left_of_a_dead_node_is_removed_in_time() {
    let memory = Duration::from_nanos(1_000);
    let mut world = World::new(Timing { memory, ..timing(50) }, &EVEN);
    world.step().unwrap();
    world.wanted = false;
    world.set_mode(0, Mode::Paused);

    for _ in 0..300 {
        world.step().unwrap();
    }

    assert_eq!(world.records(), 2, "the sessions of the others alone");
}

#[test]
fn a_node_that_comes_back_as_another_process_is_the_proof_that_it_has_died() {
    let mut world = held(50, &EVEN);
    world.set_mode(0, Mode::Paused);
    world.step().unwrap();
    assert_eq!(world.holder(), Some(0));

    world.restart(0, timing(50), true);

    assert_eq!(steps_until(&mut world, 1, |world| world.holder().is_some()), 1);
    assert_eq!(world.replaced, 1);
}

/// The election of a leader, or an outage: every node's calls go unanswered.
#[test]
fn an_outage_shorter_than_the_hold_ends_no_session_and_a_longer_one_gives_no_room_away() {
    let mut world = held(50, &EVEN);
    let all = |world: &mut World, mode| (0..3).for_each(|number| world.set_mode(number, mode));
    all(&mut world, Mode::CutOff);
    for _ in 0..3 {
        world.step().unwrap();
        assert_eq!(world.holder(), Some(0));
    }
    all(&mut world, Mode::Well);
    for _ in 0..10 {
        world.step().unwrap();
        assert_eq!(world.holder(), Some(0));
    }

    all(&mut world, Mode::CutOff);
    for _ in 0..50 {
        world.step().unwrap();
    }
    assert_eq!(world.holder(), None);
    all(&mut world, Mode::Well);

    // The nodes enter again; the room is the first one's that asks for it.
    assert!(steps_until(&mut world, 20, |world| world.holder().is_some()) <= 3);
}

/// A stream of changes that neither ends nor fails.
#[test]
fn a_stream_of_changes_that_says_nothing_is_replaced() {
    let mut world = held(50, &EVEN);
    world.set_mode(1, Mode::Blind);
    for _ in 0..20 {
        world.step().unwrap();
    }
    world.set_mode(0, Mode::Paused);

    steps_until(&mut world, 20, |world| world.holder() == Some(2));
}

#[test]
fn each_stream_of_changes_that_hangs_is_replaced() {
    let mut world = held(50, &EVEN);
    world.set_mode(1, Mode::Blind);
    for _ in 0..20 {
        world.step().unwrap();
    }

    world.set_mode(1, Mode::Well);

    [0, 2].iter().for_each(|&node| world.set_mode(node, Mode::Paused));
    steps_until(&mut world, 40, |world| world.holder() == Some(1));
}

#[test]
fn so_is_the_first_one() {
    let mut world = World::new(timing(50), &EVEN[..1]);
    world.set_mode(0, Mode::Blind);
    for _ in 0..20 {
        world.step().unwrap();
        assert_eq!(world.holder(), None);
    }

    world.set_mode(0, Mode::Well);

    steps_until(&mut world, 20, |world| world.holder() == Some(0));
}

/// Its session is written without its knowledge, so that it writes nothing more that the stream would have to say.
#[test]
fn a_stream_of_changes_that_hangs_is_replaced_also_if_all_calls_conflict() {
    let mut world = held(50, &EVEN);
    world.set_mode(1, Mode::Blind);
    world.set_mode(1, Mode::Deaf);
    for _ in 0..20 {
        world.step().unwrap();
    }

    world.set_mode(1, Mode::Well);

    [0, 2].iter().for_each(|&node| world.set_mode(node, Mode::Paused));
    steps_until(&mut world, 40, |world| world.holder() == Some(1));
}

/// The first node holds twice as long as the others.
fn held_long() -> World {
    let mut world = World::with(&[(timing(100), 10), (timing(50), 10), (timing(50), 10)], false);
    world.step().unwrap();
    assert_eq!(world.holder(), Some(0));
    world.set_mode(0, Mode::Paused);
    world
}

#[test]
fn a_node_waits_for_the_end_of_a_longer_hold_than_its_own() {
    let mut world = held_long();

    let lapsed = steps_until(&mut world, 20, |world| world.holder().is_none());
    let taken = steps_until(&mut world, 20, |world| world.holder().is_some());

    assert_eq!((lapsed, taken), (10, 3));
}

#[test]
fn so_it_does_when_the_directory_has_lost_the_session_of_it() {
    let mut world = held_long();
    world.step().unwrap();

    world.lose(usize::MAX).unwrap();

    steps_until(&mut world, 30, |world| world.holder() == Some(1));
}

#[test]
fn a_claim_that_is_carried_out_when_no_request_waits_any_more_is_given_back() {
    let mut world = World::new(timing(50), &EVEN);
    world.wanted = false;
    world.step().unwrap();
    [1, 2].iter().for_each(|&node| world.set_mode(node, Mode::Paused));
    world.set_mode(0, Mode::Late);
    world.wanted = true;
    world.step().unwrap();
    world.wanted = false;
    for _ in 0..2 {
        world.step().unwrap();
    }
    assert!(!world.is_claimed());

    world.set_mode(0, Mode::Well);
    assert!(world.is_claimed());

    for _ in 0..3 {
        world.step().unwrap();
    }
    assert!(!world.is_claimed());
}

#[test]
fn a_directory_that_has_lost_everything_is_filled_again_and_nothing_changes_hands() {
    let mut world = held(50, &EVEN);
    for _ in 0..5 {
        world.step().unwrap();
    }

    world.lose(usize::MAX).unwrap();

    for _ in 0..30 {
        world.step().unwrap();
        assert_eq!(world.holder(), Some(0));
    }
    world.set_mode(0, Mode::Paused);
    steps_until(&mut world, 20, |world| world.holder() == Some(1));
}

/// The holder's clock is 10 % too slow, the other's 10 % too fast: 1.1 ÷ 0.9 = 1.22.
#[test]
fn a_fifth_of_slack_is_too_little_for_clocks_that_are_a_tenth_off_each() {
    let run = |timing| {
        let mut world = World::new(timing, &[9, 11]);
        world.step()?;
        assert_eq!(world.holder(), Some(0));
        world.set_mode(0, Mode::Paused);
        (0..20).try_for_each(|_| world.step())
    };

    let too_little = Timing { silence: timing(100).hold * 6 / 5, ..timing(100) };
    assert_eq!(run(too_little), Err(Breach::HeldTwice));
    assert_eq!(run(timing(100)), Ok(()));
}
