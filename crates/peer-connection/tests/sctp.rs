//! What a peer can do by SCTP, inside DTLS: how much memory it takes, how much it writes into the log, and how it ends.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "sctp/attacker.rs"]
mod attacker;
mod peers;

use std::sync::atomic::{AtomicUsize, Ordering};

use attacker::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use peers::{Peer, closed, home};

/// Counts what is logged as a warning or an error.
struct Counter;

static LINES: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Counter {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if LINES.fetch_add(1, Ordering::Relaxed) < 30 {
            eprintln!("{} {}: {}", record.level(), record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

/// What an attack was seen to do.
struct Seen {
    /// KiB of memory more than before.
    grown: usize,
    lines: usize,
    reason: Option<CloseReason>,
    dropped: u64,
}

/// A connection on which an attacker does this; when it lives on, it hears "alive" last.
async fn under(attack: impl FnOnce(&mut Attacker) + Send + 'static) -> Seen {
    let home = home().await;
    let settings =
        ApiSettings { inline_candidates: true, max_data_channels: 64, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), Registry::default(), settings);
    let mut peer = Peer::open(&home, &api).await;
    let (offers, offer) = tokio::sync::oneshot::channel();
    let (answers, answer) = tokio::sync::oneshot::channel::<String>();
    let (ready, connected) = tokio::sync::oneshot::channel();
    let (go, started) = std::sync::mpsc::channel::<()>();
    let attacking = std::thread::spawn(move || {
        let (mut attacker, offer) = Attacker::new();
        offers.send(offer).unwrap();
        attacker.connect(&answer.blocking_recv().unwrap());
        ready.send(()).unwrap();
        started.recv().unwrap();
        attack(&mut attacker);
        attacker
    });
    let offer = SessionDescription { kind: SdpType::Offer, sdp: offer.await.unwrap() };
    peer.send(SetRemoteDescription(offer)).await.unwrap();
    let described = peer.send(CreateAnswer::default()).await.unwrap();
    peer.send(SetLocalDescription(Some(described))).await.unwrap();
    let complete = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete))
            .then_some(())
    };
    peer.until(complete).await;
    answers.send(peer.send(LocalDescription).await.unwrap().sdp).unwrap();
    connected.await.unwrap();

    let (before, lines) = (resident(), LINES.load(Ordering::Relaxed));
    go.send(()).unwrap();
    let mut most = before;
    while !attacking.is_finished() {
        most = most.max(resident());
        let wait = std::time::Duration::from_millis(20);
        _ = tokio::time::timeout(wait, peer.next()).await;
        // What is told is not to be taken for what is kept.
        peer.told.retain(|event| matches!(event, ConnectionEvent::Closed(_)));
    }
    let mut attacker = attacking.join().unwrap();
    let reason = match peer.told.last() {
        Some(ConnectionEvent::Closed(reason)) => Some(reason.clone()),
        _ if attacker.is_over() || !peer.connection.is_open() => Some(peer.until(closed).await),
        _ => None,
    };
    let mut dropped = 0;
    if reason.is_none() {
        let counters = peer.send(GetCounters).await;
        dropped = counters.sctp_packets_dropped;
        let said = tokio::task::spawn_blocking(move || {
            let cumulative = attacker.sack().0;
            attacker.say(&[data(7, cumulative.wrapping_add(1), 0, 0, b"alive")]);
            attacker.until(|attacker| attacker.sack().0 != cumulative);
        });
        peer.until(|event| peers::message(event).filter(|heard| heard.as_bytes() == b"alive"))
            .await;
        said.await.unwrap();
    }
    home.stop().await;
    let lines = LINES.load(Ordering::Relaxed) - lines;
    Seen { grown: most - before, lines, reason, dropped }
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
}

fn violated(seen: &Seen) -> Option<SctpViolation> {
    match seen.reason {
        Some(CloseReason::Failed(FailureReason::Sctp(violation))) => Some(violation),
        _ => None,
    }
}

/// One after the other: what one takes must not be counted for another.
#[actix::test]
async fn attacks_by_sctp_take_little_memory_and_few_lines() {
    log::set_logger(&Counter).unwrap();
    log::set_max_level(log::LevelFilter::Warn);

    // The first connection brings what all use.
    let seen = under(|_| {}).await;
    assert_eq!(seen.reason, None);

    let seen = under(hole).await;
    report("whole messages behind a missing TSN", &seen);
    assert_eq!(seen.reason, None);
    assert!(seen.dropped > 5_000, "{}", seen.dropped);
    assert!(seen.grown < 8 << 10, "{} KiB", seen.grown);
    assert!(seen.lines < 20, "{}", seen.lines);

    type Attack = (&'static str, fn(&mut Attacker), Option<SctpViolation>);
    let attacks: [Attack; 11] = [
        ("fragments of one message", fragments, Some(SctpViolation::UnfinishedMessages)),
        ("a message begun on each stream", beginnings, Some(SctpViolation::UnfinishedMessages)),
        ("messages behind a missing number", out_of_order, Some(SctpViolation::UnfinishedMessages)),
        ("a channel on each stream", streams, Some(SctpViolation::TooManyStreams)),
        ("messages without a channel", strays, Some(SctpViolation::NoDataChannel)),
        ("openings that cannot be read", openings, Some(SctpViolation::NoDataChannel)),
        ("every other TSN", holes, None),
        ("20,000 FORWARD-TSN", forwards, None),
        ("20,000 INIT", inits, None),
        ("packets that cannot be read", garbage, None),
        ("duplicates and heartbeats", duplicates, None),
    ];
    for (name, attack, violation) in attacks {
        let seen = under(attack).await;
        report(name, &seen);
        assert_eq!(violated(&seen), violation, "{name}: {:?}", seen.reason);
        assert_eq!(seen.reason.is_some(), violation.is_some(), "{name}: {:?}", seen.reason);
        assert!(seen.grown < 24 << 10, "{name}: {} KiB", seen.grown);
        // What str0m says of each message without a channel ends with the connection.
        let most = if violation == Some(SctpViolation::NoDataChannel) { 300 } else { 20 };
        assert!(seen.lines < most, "{name}: {} lines", seen.lines);
    }
}

fn report(name: &str, seen: &Seen) {
    let Seen { grown, lines, reason, dropped } = seen;
    println!("{name}: {grown} KiB, {lines} lines, {dropped} dropped, {reason:?}");
}

/// 24 MB, with a TSN left out: then it is sent, and all goes on.
fn hole(attacker: &mut Attacker) {
    let missing = attacker.next_tsn();
    let payload = [7; 1_150];
    for number in 1..20_000 {
        attacker.say(&[data(7, missing.wrapping_add(number), 0, 0, &payload)]);
        if number % 32 == 0 {
            attacker.rest();
        }
    }
    assert_eq!(attacker.sack().0.wrapping_add(1), missing);
    attacker.say(&[data(7, missing, 0, 0, b"x")]);
    attacker.until(|attacker| attacker.sack().0.wrapping_sub(missing) < 1 << 31);
    attacker.rest();
}

/// Each is named in an acknowledgement.
fn holes(attacker: &mut Attacker) {
    let missing = attacker.next_tsn();
    for number in 0..5_000 {
        attacker.say(&[data(7, missing.wrapping_add(2 * number + 1), 0, 0, b"x")]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
}

/// Each of one byte, in a packet of 1,200.
fn fragments(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(if number == 0 { 2 } else { 0 }, tsn, 0, 1, b"x"), heartbeat(1_150)]
    });
}

fn beginnings(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(2, tsn, (number % 100) as u16, 1, b"x"), heartbeat(1_150)]
    });
}

fn out_of_order(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(3, tsn, 0, 5_u16.wrapping_add(number as u16), b"x"), heartbeat(1_150)]
    });
}

fn streams(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![message(50, 3, tsn, number as u16 + 1, 0, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]
    });
}

fn strays(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| vec![data(3, tsn, 100, number as u16, b"x")]);
}

fn openings(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| vec![message(50, 3, tsn, number as u16 + 10, 0, b"open!")]);
}

/// Far ahead, one after the other, each for many streams.
fn forwards(attacker: &mut Attacker) {
    let first = attacker.next_tsn();
    let skipped: Vec<(u16, u16)> = (0..200).map(|stream| (stream, 9)).collect();
    for number in 0..20_000_u32 {
        let tsn = first.wrapping_add(number * 50_000);
        attacker.say(&[forward_tsn(tsn, &skipped[..(number % 200) as usize])]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
    attacker.rest();
}

fn inits(attacker: &mut Attacker) {
    for number in 1..=20_000 {
        attacker.say_raw(init(number));
        if number % 32 == 31 {
            attacker.rest();
        }
    }
}

/// Chunks that nobody knows, lengths that do not fit, and DATA hidden behind a SACK's end.
fn garbage(attacker: &mut Attacker) {
    let tsn = attacker.next_tsn();
    let mut hidden = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    hidden.extend(data(7, tsn.wrapping_add(9), 0, 0, b"hidden"));
    let shapes = [
        chunk(77, 0, b"what?"),
        chunk(194, 0, &[0; 12]),
        chunk(192, 0, &[0; 5]),
        chunk(3, 0, &hidden),
        chunk(4, 0, &[0, 2, 0, 4]),
        chunk(9, 0, &[0, 1, 0, 2]),
        chunk(130, 0, &[0, 14, 0, 4]),
        chunk(0, 3, &[0; 5]),
        vec![0, 3, 0, 2],
    ];
    for number in 0..18_000 {
        attacker.say(&[shapes[number % shapes.len()].clone()]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
}

fn duplicates(attacker: &mut Attacker) {
    let tsn = attacker.next_tsn();
    for number in 0..10_000 {
        attacker.say(&[data(7, tsn, 0, 0, b"again"), heartbeat(1_000)]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
    attacker.until(|attacker| attacker.sack().0 == tsn);
}

/// What this makes, until the connection has ended.
fn flood(attacker: &mut Attacker, make: impl Fn(u32, u32) -> Vec<Vec<u8>>) {
    let first = attacker.next_tsn();
    for number in 0..20_000 {
        let tsn = first.wrapping_add(number);
        attacker.say(&make(tsn, number));
        if number % 32 == 31 {
            // Nothing is to be lost on the way.
            attacker.rest();
            attacker.settle(|attacker| attacker.is_over() || attacker.sack().0 == tsn);
            if attacker.is_over() {
                return;
            }
        }
    }
}
