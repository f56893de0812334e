//! Stories of processes that are gone, and of some that only seem to be.

use super::world::{Mode, World, timing};

/// Returns a world of nodes that listen, in which node 0 holds the room.
fn listening(nodes: usize) -> World {
    let mut world = World::with(&vec![(timing(50), 10); nodes], true);
    for _ in 0..3 {
        world.step().unwrap();
    }
    assert_eq!(world.holder(), Some(0));
    world
}

fn steps_until_taken(world: &mut World) -> u64 {
    for steps in 0..20 {
        if world.holder().is_some_and(|holder| holder != 0) {
            return steps;
        }
        world.step().unwrap();
    }
    panic!("it is never taken: {world:#?}");
}

/// A session holds for five steps, and is sealed for its silence after seven.
#[test]
fn the_rooms_of_a_process_that_refuses_connections_are_taken_at_once() {
    for nodes in [2, 3, 5] {
        let mut world = listening(nodes);

        world.kill(0);

        let steps = steps_until_taken(&mut world);
        assert!(steps <= 3, "{steps} of {nodes} nodes");
        assert_eq!(world.refusals_proven, 1);
    }
}

#[test]
fn a_node_that_stands_still_or_is_cut_off_is_not_gone() {
    for mode in [Mode::Paused, Mode::CutOff] {
        let mut world = listening(3);

        world.set_mode(0, mode);

        let steps = steps_until_taken(&mut world);
        assert!(steps >= 6, "{steps} of {mode:?}");
        assert_eq!(world.refusals_proven, 0);
    }
}

/// Its finding alone is none of two.
#[test]
fn one_node_of_many_that_finds_a_process_gone_is_no_proof() {
    let mut world = listening(3);

    world.set_mode(2, Mode::Paused);
    world.kill(0);

    let steps = steps_until_taken(&mut world);
    assert!(steps >= 6, "{steps}");
    assert_eq!(world.refusals_proven, 0);
}

/// Something else may stand at its address.
#[test]
fn a_process_that_has_never_answered_is_not_gone_when_it_refuses() {
    let mut world = World::with(&[(timing(50), 10); 3], true);
    world.refuse(0);
    for _ in 0..3 {
        world.step().unwrap();
    }
    assert_eq!(world.holder(), Some(0));

    world.set_mode(0, Mode::CutOff);

    let steps = steps_until_taken(&mut world);
    assert!(steps >= 6, "{steps}");
    assert_eq!(world.refusals_proven, 0);
}

/// As when the address goes to another machine, or a firewall rejects what it has dropped before.
#[test]
fn a_process_whose_machine_was_silent_is_not_gone_when_it_refuses_after_that() {
    let mut world = listening(3);
    world.set_mode(0, Mode::CutOff);
    world.step().unwrap();

    world.refuse(0);

    let steps = steps_until_taken(&mut world);
    assert!(steps >= 4, "{steps}");
    assert_eq!(world.refusals_proven, 0);
}

#[test]
fn a_node_that_is_found_gone_and_lives_says_so_and_is_not_believed_gone_again() {
    let mut world = listening(3);

    world.refuse(0);

    for _ in 0..20 {
        world.step().unwrap();
        assert_eq!(world.holder(), Some(0));
    }
    assert_eq!(world.refusals_proven, 0);
    // Not even when it is cut off.
    world.set_mode(0, Mode::CutOff);
    assert!(steps_until_taken(&mut world) >= 6);
    assert_eq!(world.refusals_proven, 0);
}

/// Nothing else can have its place while the earlier one listens there.
#[test]
fn another_process_in_the_place_of_one_proves_that_it_is_gone() {
    let mut world = listening(3);
    world.kill(0);

    world.restart(0, timing(50), false);

    assert!(steps_until_taken(&mut world) <= 3);
    assert_eq!(world.refusals_proven, 1);
}

#[test]
fn a_node_whose_listener_fails_holds_nothing_and_enters_without_one() {
    let mut world = listening(3);

    world.lose_listener(0).unwrap();

    assert_eq!(world.holder(), None);
    for _ in 0..10 {
        world.step().unwrap();
    }
    assert!(world.holder().is_some());
    assert_eq!(world.listeners(), 2);
}
