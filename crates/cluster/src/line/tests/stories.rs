//! Single stories of two nodes.

use std::time::Duration;

use bytes::Bytes;

use super::world::World;
use crate::line::core::{IDLE, Line, SILENCE};
use crate::line::error::LineError;
use crate::line::window::{RESEND, WINDOW_BYTES, WINDOW_FRAMES};

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn a_line_is_opened_by_what_is_to_be_sent_and_both_sides_are_told() {
    let mut world = World::new();
    assert!(!world.send(0, 1));

    world.settle();

    assert_eq!((world.nodes[0].ups, world.nodes[1].ups), (1, 1));
    assert!(world.send(0, 1) && world.send(1, 1));
    world.settle();
    assert_eq!((world.nodes[0].taken.len(), world.nodes[1].taken.len()), (1, 1));
}

#[test]
fn two_nodes_that_open_a_line_at_once_have_one() {
    let mut world = World::new();
    world.feed(0, Line::open);
    world.feed(1, Line::open);

    world.settle();

    assert_eq!((world.nodes[0].ups, world.nodes[1].ups), (1, 1));
    assert_eq!((world.nodes[0].downs, world.nodes[1].downs), (0, 0));
}

#[test]
fn a_node_that_does_not_answer_is_unreachable() {
    let mut world = World::new();
    world.feed(0, Line::open);
    for _ in 0..110 {
        world.wait(100 * MILLI, [true, true]);
        world.under_way[1].clear();
    }
    assert_eq!((world.nodes[0].unreachable, world.nodes[0].ups), (1, 0));
    assert!(world.nodes[0].line.is_idle());
}

#[test]
fn a_window_that_is_full_takes_nothing_and_is_free_again_by_acknowledgements() {
    let mut world = World::with_line();
    let frames = (0..WINDOW_FRAMES + 10).filter(|_| world.send(0, 1)).count();
    assert_eq!(frames, WINDOW_FRAMES);
    world.settle();
    assert_eq!(world.nodes[1].taken.len(), WINDOW_FRAMES);

    let large = (0..100).filter(|_| world.send(0, 250_000)).count();
    assert_eq!(large, WINDOW_BYTES / 250_043);
    world.settle();
    assert!(world.send(0, 250_000));
}

#[test]
fn frames_that_are_too_large_are_refused() {
    let mut world = World::with_line();
    let mut send = |bytes| {
        let body = Bytes::from(vec![0; bytes]);
        world.nodes[0].line.send(world.now(), None, "test", body)
    };
    assert_eq!(send(256 * 1024), Ok(()));
    assert_eq!(send(256 * 1024 + 1), Err(LineError::TooLarge));
}

#[test]
fn a_lost_frame_is_sent_again_as_soon_as_the_gap_is_known() {
    let mut world = World::with_line();
    (0..20).for_each(|_| assert!(world.send(0, 1)));
    world.lose(1, 5);
    world.wait(60 * MILLI, [true, true]);
    let before = world.now();

    world.settle_for(RESEND / 2);

    assert!(world.now().since(before) < RESEND);
    assert_eq!(world.nodes[1].taken.len(), 20);
    assert_eq!(world.nodes[0].line.counts().resends, 1);
}

#[test]
fn a_frame_acknowledges_what_has_come_and_no_other_datagram_does() {
    let mut world = World::with_line();
    assert!(world.send(0, 1));
    world.deliver(1, 0, false);
    assert!(world.send(1, 1));

    world.wait(50 * MILLI, [false, true]);

    assert_eq!(world.under_way[0].len(), 1);
    world.deliver(0, 0, false);
    assert_eq!(world.nodes[0].line.backlog(), (0, 0));
}

#[test]
fn the_last_frame_is_sent_again_until_it_is_acknowledged() {
    let mut world = World::with_line();
    assert!(world.send(0, 1));
    for _ in 0..5 {
        world.under_way[1].clear();
        world.wait(Duration::from_secs(1), [true, true]);
    }
    world.settle();
    assert_eq!(world.nodes[1].taken.len(), 1);
    assert_eq!(world.nodes[0].downs, 0);
}

#[test]
fn silence_ends_the_line_on_both_sides_and_a_new_one_begins_anew() {
    let mut world = World::with_line();
    assert!(world.send(0, 1));
    // The way from 0 to 1 is cut for 10 s; the way back is not.
    for _ in 0..105 {
        world.under_way[1].clear();
        world.wait(100 * MILLI, [true, true]);
        while !world.under_way[0].is_empty() {
            world.deliver(0, 0, false);
        }
    }
    assert_eq!((world.nodes[0].downs, world.nodes[1].downs), (1, 1));

    world.feed(0, Line::open);
    world.settle();
    assert!(world.send(0, 1));
    world.settle();
    assert_eq!((world.nodes[0].ups, world.nodes[1].ups), (2, 2));
    assert_eq!(world.nodes[1].taken, [1], "the frame of the first line is lost, and both know");
}

/// As a process that was stopped: the datagrams of that time wait for it.
#[test]
fn a_node_that_stood_still_ends_its_line_before_it_takes_what_has_come() {
    let mut world = World::with_line();
    for _ in 0..120 {
        world.send(0, 1);
        world.wait(100 * MILLI, [true, false]);
        world.under_way[0].clear();
    }
    assert_eq!(world.nodes[0].downs, 1);

    while !world.under_way[1].is_empty() {
        world.deliver(1, 0, false);
    }
    assert_eq!(world.nodes[1].downs, 1);
    assert!(world.nodes[1].taken.is_empty());
    let stale = world.nodes[1].line.counts().stale_frames;
    let sent = world.nodes[0].line.counts().frames_sent;
    assert!(stale >= sent && sent > 0, "{stale} of {sent}, some of them twice");
}

#[test]
fn a_new_process_ends_the_line_to_the_old_one() {
    let mut world = World::with_line();
    world.restart(1);
    world.feed(1, Line::open);

    world.settle_for(Duration::from_secs(1));

    assert_eq!((world.nodes[0].ups, world.nodes[0].downs), (2, 1));
    assert_eq!(world.nodes[0].line.up().unwrap().1, world.nodes[1].process);
}

#[test]
fn a_session_that_is_sealed_or_anothers_ends_the_line() {
    for (other, runs) in [(false, false), (true, true)] {
        let mut world = World::with_line();
        let old = world.nodes[1].process;
        let process = if other { uuid::Uuid::from_u128(77) } else { old };
        world.feed(0, |line, now| line.handle_session(now, process, runs));
        assert_eq!(world.nodes[0].downs, 1);
        world.settle();
        assert_eq!(world.nodes[1].downs, 1, "the other side is told");
    }
    let mut world = World::with_line();
    let process = world.nodes[1].process;
    world.feed(0, |line, now| line.handle_session(now, process, true));
    world.feed(0, |line, now| line.handle_session(now, uuid::Uuid::from_u128(77), false));
    assert_eq!(world.nodes[0].downs, 0);
}

#[test]
fn hellos_of_long_ago_neither_open_nor_end_a_line() {
    let mut world = World::new();
    world.feed(0, Line::open);
    let old = world.under_way[1].clone();
    world.close(0);
    world.under_way[1].clear();
    world.feed(0, Line::open);
    world.settle();
    assert_eq!((world.nodes[0].ups, world.nodes[1].ups), (1, 1));

    world.under_way[1].extend(old);
    world.settle();

    assert_eq!((world.nodes[0].ups, world.nodes[1].ups), (1, 1));
    assert_eq!((world.nodes[0].downs, world.nodes[1].downs), (0, 0));
}

#[test]
fn an_idle_line_ends_after_a_minute_unless_a_side_keeps_it() {
    let mut world = World::with_line();
    world.settle_for(IDLE - Duration::from_secs(6));
    assert!(world.nodes.iter().all(|node| node.downs == 0));
    world.settle_for(Duration::from_secs(8));
    assert!(world.nodes.iter().all(|node| node.downs == 1 && node.line.is_idle()));
    assert_eq!(world.nodes[0].line.poll_timeout(), None);

    let mut world = World::with_line();
    world.feed(1, |line, now| {
        line.add_keeper();
        line.tend_kept(now);
    });
    world.settle_for(10 * IDLE);
    assert!(world.nodes.iter().all(|node| node.downs == 0));
    world.feed(1, |line, _| line.release());
    world.settle_for(IDLE);
    assert!(world.nodes.iter().all(|node| node.downs == 1));
}

#[test]
fn a_kept_line_that_has_ended_is_opened_again() {
    let mut world = World::with_line();
    world.feed(0, |line, now| {
        line.add_keeper();
        line.tend_kept(now);
    });
    world.restart(1);

    world.settle_for(SILENCE + Duration::from_secs(2));

    assert_eq!((world.nodes[0].ups, world.nodes[0].downs), (2, 1));
    world.close(1);
    world.settle();
    assert_eq!((world.nodes[0].ups, world.nodes[1].ups), (3, 3));
}

#[test]
fn a_frame_for_a_line_that_has_ended_is_not_sent_on_the_next() {
    let mut world = World::with_line();
    let (line, _) = world.nodes[0].line.up().unwrap();
    world.close(0);
    world.feed(0, Line::open);
    world.settle();

    let body = Bytes::from_static(&[0; 8]);
    let sent = world.nodes[0].line.send(world.now(), Some(line), "test", body.clone());
    assert_eq!(sent, Err(LineError::Down));
    let (line, _) = world.nodes[0].line.up().unwrap();
    assert_eq!(world.nodes[0].line.send(world.now(), Some(line), "test", body), Ok(()));
}

#[test]
fn the_time_that_an_answer_takes_is_measured() {
    let mut world = World::with_line();
    for _ in 0..10 {
        world.wait(Duration::from_secs(1), [true, true]);
        let (to_0, to_1) = (world.under_way[0].len(), world.under_way[1].len());
        world.wait(5 * MILLI, [true, true]);
        (0..to_0).for_each(|_| world.deliver(0, 0, false));
        (0..to_1).for_each(|_| world.deliver(1, 0, false));
    }
    let rtt = world.nodes[0].line.rtt().expect("it is known");
    assert!(rtt >= 5 * MILLI && rtt <= Duration::from_secs(2), "{rtt:?}");
}
