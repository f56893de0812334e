//! Random schedules of faults.

use std::time::Duration;

use proptest::prelude::*;

use super::world::World;
use crate::line::core::Line;

/// What happens. Nodes are 0 and 1, places those of the datagrams under way.
#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize, usize),
    Deliver(usize, usize),
    DeliverInOrder(usize, usize),
    Duplicate(usize, usize),
    Lose(usize, usize, usize),
    Wait(u64),
    /// Only one of them looks at the clock: the other stands still.
    WaitAlone(usize, u64),
    Open(usize),
    Keep(usize),
    Release(usize),
    Restart(usize),
    Close(usize),
    /// The directory tells that the other's process has ended, or that it runs.
    Session(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..2_usize;
    let place = || 0..64_usize;
    prop_oneof![
        8 => (node(), 1..20_usize, prop_oneof![9 => Just(10_usize), 1 => Just(250_000)])
            .prop_map(|(node, frames, bytes)| Step::Send(node, frames, bytes)),
        12 => (node(), place()).prop_map(|(node, place)| Step::Deliver(node, place)),
        12 => (node(), place()).prop_map(|(node, number)| Step::DeliverInOrder(node, number)),
        3 => (node(), place()).prop_map(|(node, place)| Step::Duplicate(node, place)),
        3 => (node(), place(), 1..30_usize).prop_map(|(node, place, n)| Step::Lose(node, place, n)),
        6 => prop_oneof![1..50_u64, 100..1_000_u64, 5_000..12_000_u64].prop_map(Step::Wait),
        1 => (node(), 5_000..12_000_u64).prop_map(|(node, ms)| Step::WaitAlone(node, ms)),
        3 => node().prop_map(Step::Open),
        1 => node().prop_map(Step::Keep),
        1 => node().prop_map(Step::Release),
        1 => node().prop_map(Step::Restart),
        1 => node().prop_map(Step::Close),
        1 => (node(), any::<bool>()).prop_map(|(node, runs)| Step::Session(node, runs)),
    ]
}

fn happen(world: &mut World, step: Step) {
    match step {
        Step::Send(node, frames, bytes) => {
            (0..frames).for_each(|_| _ = world.send(node, bytes));
        }
        Step::Deliver(node, place) => world.deliver(node, place, false),
        Step::DeliverInOrder(node, number) => {
            (0..number).for_each(|_| world.deliver(node, 0, false));
        }
        Step::Duplicate(node, place) => world.deliver(node, place, true),
        Step::Lose(node, place, number) => (0..number).for_each(|_| world.lose(node, place)),
        Step::Wait(ms) => world.wait(Duration::from_millis(ms), [true, true]),
        Step::WaitAlone(node, ms) => {
            world.wait(Duration::from_millis(ms), [node == 0, node == 1]);
        }
        Step::Open(node) => world.feed(node, Line::open),
        Step::Keep(node) => {
            world.feed(node, |line, now| {
                line.add_keeper();
                line.tend_kept(now);
            });
        }
        Step::Release(node) => world.feed(node, |line, _| line.release()),
        Step::Restart(node) => world.restart(node),
        Step::Close(node) => world.close(node),
        Step::Session(node, runs) => {
            let process = world.nodes[1 - node].process;
            world.feed(node, |line, now| line.handle_session(now, process, runs));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// The world itself checks each event: see [`World`].
    #[test]
    fn frames_come_in_order_and_once_and_what_is_lost_is_between_down_and_up(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| happen(&mut world, step));

        // Once nothing goes wrong any more, both have one line, and all that is sent then arrives.
        world.settle_for(Duration::from_secs(25));
        world.feed(0, Line::open);
        world.settle();
        let ids = [0, 1].map(|node| world.nodes[node].line.up().map(|(_, process)| process));
        prop_assert_eq!(ids, [Some(world.nodes[1].process), Some(world.nodes[0].process)]);
        for node in [0, 1] {
            let before = world.nodes[1 - node].taken.len();
            prop_assert!(world.send(node, 10));
            let ups = [world.nodes[0].ups, world.nodes[1].ups];
            world.settle();
            prop_assert_eq!(world.nodes[1 - node].taken.len(), before + 1);
            prop_assert_eq!([world.nodes[0].ups, world.nodes[1].ups], ups);
            prop_assert_eq!(world.nodes[node].line.backlog(), (0, 0));
        }
    }
}
