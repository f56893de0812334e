//! Tests of the SCTP filter with packets made by hand.

use super::packet::seal;
use super::*;

const TSN: u32 = 0xffff_ff00;

fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88, 0, 0, 0, 7, 0, 0, 0, 0];
    chunks.iter().for_each(|chunk| packet.extend_from_slice(chunk));
    seal(&mut packet);
    packet
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend(u16::try_from(value.len() + 4).unwrap().to_be_bytes());
    chunk.extend_from_slice(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

fn data(flags: u8, tsn: u32, stream: u16, ssn: u16, length: usize) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend(ssn.to_be_bytes());
    value.extend([0, 0, 0, 53]);
    value.resize(12 + length, 7);
    chunk(0, flags, &value)
}

fn init(kind: u8, tag: u32, window: u32) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend(window.to_be_bytes());
    value.extend([0xff; 4]);
    value.extend(TSN.to_be_bytes());
    value.extend([0x80, 0x08, 0, 6, 130, 192]);
    let mut packet = packet(&[chunk(kind, 0, &value)]);
    if kind == 1 {
        packet[4..8].fill(0);
    }
    packet
}

fn sack(cumulative: u32, window: u32) -> Vec<u8> {
    let mut value = cumulative.to_be_bytes().to_vec();
    value.extend(window.to_be_bytes());
    value.extend([0; 4]);
    packet(&[chunk(3, 0, &value)])
}

fn forward(cumulative: u32, skipped: &[(u16, u16)]) -> Vec<u8> {
    let mut value = cumulative.to_be_bytes().to_vec();
    for (stream, ssn) in skipped {
        value.extend(stream.to_be_bytes());
        value.extend(ssn.to_be_bytes());
    }
    packet(&[chunk(192, 0, &value)])
}

fn reset(number: u32, last_tsn: u32, stream: u16) -> Vec<u8> {
    let mut value = vec![0, 13, 0, 18];
    value.extend(number.to_be_bytes());
    value.extend([0; 4]);
    value.extend(last_tsn.to_be_bytes());
    value.extend(stream.to_be_bytes());
    packet(&[chunk(130, 0, &value)])
}

/// Returns the guard of an association that is set up, with a window of 1 MiB.
fn guard() -> (SctpGuard, Arc<SctpReport>) {
    let (mut guard, report) = SctpGuard::new(16, 256 << 10);
    assert_eq!(guard.incoming(&init(1, 9, 1 << 20)), Filtered::Pass);
    guard.outgoing(&init(2, 7, 1 << 20));
    guard.outgoing(&packet(&[chunk(11, 0, &[])]));
    (0..64).for_each(|stream| report.declare(stream));
    (guard, report)
}

fn tsn(number: u32) -> u32 {
    TSN.wrapping_add(number)
}

#[test]
fn what_lies_behind_a_missing_tsn_is_bounded_and_what_fills_the_hole_always_comes() {
    let (mut guard, report) = guard();
    let mut passed = 0;
    for number in 1..5_000 {
        let packet = packet(&[data(7, tsn(number), 0, 0, 1_150)]);
        passed += usize::from(guard.incoming(&packet) == Filtered::Pass);
        guard.outgoing(&sack(tsn(0).wrapping_sub(1), 1 << 20));
    }
    assert!((380..1_000).contains(&passed), "{passed}");
    assert!(guard.held_cost <= 1 << 20);

    // The chunk is sent again with another one for which there is no room.
    let both = packet(&[data(7, tsn(0), 0, 0, 3), data(7, tsn(4_000), 0, 0, 1_150)]);
    assert_eq!(guard.incoming(&both), Filtered::Replace(packet(&[data(7, tsn(0), 0, 0, 3)])));
    guard.outgoing(&sack(tsn(passed as u32), 1 << 20));
    assert_eq!((guard.held.len(), guard.held_cost), (0, 0));
    assert_eq!(guard.incoming(&packet(&[data(7, tsn(4_000), 0, 0, 3)])), Filtered::Pass);
    assert_eq!(report.violation(), None);
}

/// Several chunks are missing, and each packet brings one of them, without acknowledgements between them.
#[test]
fn a_hole_is_filled_one_by_one_though_there_is_no_room() {
    let (mut guard, _) = guard();
    for number in 4..5_000 {
        guard.incoming(&packet(&[data(7, tsn(number), 0, 0, 1_150)]));
    }
    for number in 0..4 {
        let packet = packet(&[data(7, tsn(number), 0, 0, 1_150)]);
        assert_eq!(guard.incoming(&packet), Filtered::Pass, "{number}");
    }
}

#[test]
fn honest_traffic_is_never_taken_for_an_attack() {
    let (mut guard, report) = guard();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut next, mut ssn, mut resets) = (0, [0_u16; 4], TSN);
    for _ in 0..3_000 {
        let stream = random.u16(..4);
        let unordered = if random.bool() { 4 } else { 0 };
        let number = ssn[usize::from(stream)];
        let parts = random.u32(1..60);
        // One message in five is given up after some of its parts, and some of those have arrived.
        let given_up = random.u32(..5) == 0;
        let sent = if given_up { random.u32(..parts) } else { parts };
        for part in 0..sent {
            let flags = u8::from(part + 1 == parts) | if part == 0 { 2 } else { 0 } | unordered;
            if !given_up || random.bool() {
                let packet = packet(&[data(flags, tsn(next + part), stream, number, 1_100)]);
                assert_eq!(guard.incoming(&packet), Filtered::Pass);
            }
        }
        // The end that was not sent has a TSN as well; otherwise nothing would be skipped.
        next += sent + u32::from(given_up);
        let numbered = if unordered == 0 { vec![(stream, number)] } else { vec![] };
        if given_up {
            assert_eq!(guard.incoming(&forward(tsn(next - 1), &numbered)), Filtered::Pass);
        }
        if unordered == 0 {
            ssn[usize::from(stream)] += 1;
        }
        // The last message has not been read when this is said.
        guard.outgoing(&sack(tsn(next).wrapping_sub(1), (1 << 20) - 1_100));
        if random.u32(..50) == 0 {
            let request = reset(resets, tsn(next).wrapping_sub(1), stream);
            assert_eq!(guard.incoming(&request), Filtered::Pass);
            report.declare(stream);
            resets = resets.wrapping_add(1);
            ssn[usize::from(stream)] = 0;
        }
        assert_eq!(report.violation(), None);
    }
    assert_eq!(report.dropped(), 0);
}

#[test]
fn what_can_never_be_complete_ends_the_association() {
    type Make = fn(u32) -> Vec<u8>;
    let kinds: [(&str, Make, u32); 4] = [
        ("one endless message", |n| data(if n == 0 { 2 } else { 0 }, tsn(n), 0, 0, 1), 20_000),
        ("many that begin", |n| data(2, tsn(n), (n % 60) as u16, 0, 1), 20_000),
        ("without a beginning", |n| data(5, tsn(n), 0, 0, 1), 20_000),
        ("out of order", |n| data(3, tsn(n), 0, n as u16 + 1, 1), 20_000),
    ];
    for (name, make, most) in kinds {
        let (mut guard, report) = guard();
        for number in 0..most {
            guard.incoming(&packet(&[make(number)]));
            guard.outgoing(&sack(tsn(number), (1 << 20) - 1 - number));
        }
        assert_eq!(report.violation(), Some(SctpViolation::UnfinishedMessages), "{name}");
    }
}

#[test]
fn an_association_is_set_up_once() {
    let (mut guard, report) = guard();
    for tag in 1..100 {
        assert_eq!(guard.incoming(&init(1, tag, 1 << 20)), Filtered::Drop);
        assert_eq!(guard.incoming(&init(2, tag, 1 << 20)), Filtered::Drop);
    }
    assert_eq!(report.dropped(), 198);

    // As a client: packets before its INIT are forgotten, and the answer counts.
    let (mut guard, _) = SctpGuard::new(16, 256 << 10);
    assert_eq!(guard.incoming(&init(1, 5, 1 << 20)), Filtered::Pass);
    guard.outgoing(&init(1, 7, 1 << 20));
    assert_eq!(guard.incoming(&init(1, 5, 1 << 20)), Filtered::Drop);
    assert_eq!(guard.incoming(&packet(&[data(7, TSN, 0, 0, 1)])), Filtered::Drop);
    assert_eq!(guard.incoming(&init(2, 6, 1 << 20)), Filtered::Pass);
    assert_eq!(guard.incoming(&packet(&[data(7, TSN, 0, 0, 1)])), Filtered::Pass);
}

#[test]
fn resets_of_streams_that_the_peer_never_answers_end_the_association() {
    let (mut guard, report) = guard();
    for number in 0..1_000 {
        guard.outgoing(&reset(number, 0, number as u16));
        // The peer answers all but the last 300, where 288 may be open.
        if number < 700 {
            let mut answer = vec![0, 16, 0, 12];
            answer.extend(number.to_be_bytes());
            answer.extend([0, 0, 0, 1]);
            assert_eq!(guard.incoming(&packet(&[chunk(130, 0, &answer)])), Filtered::Pass);
        }
    }
    assert_eq!(report.violation(), Some(SctpViolation::UnansweredResets));
}

/// A message of 256 KiB is accepted, and none that is larger by a byte, in any order and at any time.
#[test]
fn a_message_that_is_too_large_ends_the_association() {
    for (last, expected) in [(1_024, None), (1_025, Some(SctpViolation::MessageTooLarge))] {
        for unordered in [0, 4] {
            for order in ["from the first", "from the last", "with a hole", "acknowledged"] {
                let (mut guard, report) = guard();
                let part = |number: u32| {
                    let flags = if number == 0 { 2 } else { u8::from(number == 255) } | unordered;
                    let length = if number == 255 { last } else { 1_024 };
                    packet(&[data(flags, tsn(1 + number), 3, 0, length)])
                };
                // Messages beside it do not count.
                guard.incoming(&packet(&[data(3 | unordered, tsn(0), 2, 0, 60_000)]));
                guard.incoming(&packet(&[data(3 | unordered, tsn(257), 3, 1, 60_000)]));
                let mut numbers: Vec<u32> = (0..256).collect();
                match order {
                    "from the last" => numbers.reverse(),
                    "with a hole" => numbers.rotate_left(100),
                    _ => {}
                }
                for number in numbers {
                    assert_eq!(report.violation(), None, "{order} {number}");
                    guard.incoming(&part(number));
                    if order == "acknowledged" {
                        guard.outgoing(&sack(tsn(1 + number), 1 << 19));
                    }
                }
                assert_eq!(report.violation(), expected, "{order} {unordered} {last}");
            }
        }
    }
}

fn answer(number: u32) -> Vec<u8> {
    let mut answer = vec![0, 16, 0, 12];
    answer.extend(number.to_be_bytes());
    answer.extend([0, 0, 0, 1]);
    packet(&[chunk(130, 0, &answer)])
}

#[test]
fn channels_that_open_and_close_for_ever_owe_nothing() {
    let (mut guard, report) = guard();
    let mut theirs = TSN;
    for number in 0..20_000_u32 {
        let stream = (number % 64) as u16;
        // The stream on which this side sends, and by which it is known.
        report.declare(stream);
        guard.incoming(&packet(&[data(3, tsn(number), stream, 0, 1)]));
        guard.outgoing(&sack(tsn(number), 1 << 20));
        let request = reset(theirs, tsn(number), stream);
        theirs = theirs.wrapping_add(1);
        if number % 2 == 0 {
            // The peer closes them, and this side follows.
            assert_eq!(guard.incoming(&request), Filtered::Pass);
            guard.outgoing(&reset(number, 0, stream));
            guard.incoming(&answer(number));
        } else {
            guard.outgoing(&reset(number, 0, stream));
            guard.incoming(&answer(number));
            assert_eq!(guard.incoming(&request), Filtered::Pass);
        }
        assert_eq!((report.violation(), guard.owed <= 1), (None, true));
    }
}

#[test]
fn streams_that_the_peer_resets_without_end_end_the_association() {
    let (mut guard, report) = guard();
    for number in 0..1_000 {
        report.declare(3);
        guard.incoming(&packet(&[data(3, tsn(number), 3, 0, 1)]));
        guard.outgoing(&sack(tsn(number), 1 << 20));
        guard.incoming(&reset(TSN.wrapping_add(number), tsn(number), 3));
        // The engine sends one request, and keeps the others back.
        guard.outgoing(&reset(7, 0, 3));
    }
    assert_eq!(report.violation(), Some(SctpViolation::UnansweredResets));
}

#[test]
fn who_has_ended_is_known() {
    let (mut guard, report) = guard();
    guard.incoming(&packet(&[chunk(6, 0, &[0, 12, 0, 4])]));
    report.engine_ended();
    assert_eq!(report.violation(), None);

    let (mut guard, report) = self::guard();
    guard.closed_by_peer();
    report.engine_ended();
    assert_eq!(report.violation(), None);

    let (_guard, report) = self::guard();
    report.engine_ended();
    assert_eq!(report.violation(), Some(SctpViolation::AssociationLost));
}
