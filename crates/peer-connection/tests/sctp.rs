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

/// Counts lines that are warnings or errors, and hands them on.
struct Count<L> {
    lines: &'static AtomicUsize,
    then: L,
}

/// All, and those that are written behind [`RateLimitedLog`].
static LINES: AtomicUsize = AtomicUsize::new(0);
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

impl<L: log::Log> log::Log for Count<L> {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.then.log(record);
    }

    fn flush(&self) {
        self.then.flush();
    }
}

fn count_lines() {
    let logger = env_logger::builder().is_test(true).filter_level(log::LevelFilter::Warn).build();
    let limited = RateLimitedLog::new(Count { lines: &WRITTEN, then: logger });
    log::set_boxed_logger(Box::new(Count { lines: &LINES, then: limited })).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
}

/// What an attack was seen to do.
struct Seen {
    /// KiB of memory more than before.
    grown: usize,
    lines: usize,
    /// Of them, those that are written.
    written: usize,
    reason: Option<CloseReason>,
    dropped: u64,
}

/// How an attack begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// With a data channel.
    Channel,
    /// With one that this side closes.
    ClosedChannel,
    /// With a data channel, and without an agreement on FORWARD-TSN.
    Reliable,
}

/// A connection with an attacker, which begins when it is told to.
struct Stage {
    home: PeerConnections,
    peer: Peer,
    go: std::sync::mpsc::Sender<()>,
    attacking: std::thread::JoinHandle<Attacker>,
}

async fn set_up(reliable: bool, attack: impl FnOnce(&mut Attacker) + Send + 'static) -> Stage {
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
        let (mut attacker, offer) = Attacker::new(reliable);
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
    Stage { home, peer, go, attacking }
}

/// A connection on which an attacker does this; when it lives on, it hears "alive" last.
async fn under(given: Given, attack: impl FnOnce(&mut Attacker) + Send + 'static) -> Seen {
    let Stage { home, mut peer, go, attacking } = set_up(given == Given::Reliable, attack).await;
    if given == Given::ClosedChannel {
        let channel = peer.until(peers::opened).await;
        assert!(peer.send(CloseDataChannel(channel)).await);
    }
    let (before, lines) = (resident(), LINES.load(Ordering::Relaxed));
    let written = WRITTEN.load(Ordering::Relaxed);
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
    }
    if reason.is_none() && given != Given::ClosedChannel {
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
    let written = WRITTEN.load(Ordering::Relaxed) - written;
    Seen { grown: most - before, lines, written, reason, dropped }
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
    count_lines();

    // The first connection brings what all use.
    let seen = under(Given::Channel, |_| {}).await;
    assert_eq!(seen.reason, None);

    let seen = under(Given::Channel, hole).await;
    report("whole messages behind a missing TSN", &seen);
    assert_eq!(seen.reason, None);
    assert!(seen.dropped > 5_000, "{}", seen.dropped);
    assert!(seen.grown < 8 << 10, "{} KiB", seen.grown);
    assert!(seen.lines < 20, "{}", seen.lines);

    // As many as were under way when this side closed it.
    let seen = under(Given::ClosedChannel, late).await;
    report("5,000 messages on a channel that this side has closed", &seen);
    assert_eq!((seen.reason, seen.dropped), (None, 0));
    assert!(seen.lines > 100, "it cannot be told whether they are limited: {}", seen.lines);
    assert!(seen.written < 20, "{}", seen.written);

    use SctpViolation::*;
    type Attack = (&'static str, Given, fn(&mut Attacker), Option<SctpViolation>);
    let attacks: [Attack; 18] = [
        ("fragments of one message", Given::Channel, fragments, Some(UnfinishedMessages)),
        ("a message begun on each stream", Given::Channel, beginnings, Some(UnfinishedMessages)),
        ("beginnings of 1 KiB", Given::Channel, filled, Some(AssociationLost)),
        (
            "messages behind a missing number",
            Given::Channel,
            out_of_order,
            Some(UnfinishedMessages),
        ),
        ("a message that is too large", Given::Channel, large, Some(MessageTooLarge)),
        ("a channel on each stream", Given::Channel, streams, Some(TooManyStreams)),
        ("messages without a channel", Given::Channel, strays, Some(NoDataChannel)),
        ("openings that cannot be read", Given::Channel, openings, Some(NoDataChannel)),
        ("a channel opened and reset", Given::Channel, reopened, Some(UnansweredResets)),
        ("resets in the middle of a message", Given::Channel, torn, Some(UnansweredResets)),
        ("resets of a stream that is stuck", Given::Channel, stuck, Some(UnansweredResets)),
        ("every other TSN", Given::Channel, holes, None),
        ("20,000 FORWARD-TSN", Given::Channel, forwards, None),
        ("20,000 FORWARD-TSN that were not agreed on", Given::Reliable, forwards, None),
        ("20,000 INIT", Given::Channel, inits, None),
        ("packets that cannot be read", Given::Channel, garbage, None),
        ("duplicates and heartbeats", Given::Channel, duplicates, None),
        ("an ABORT", Given::Channel, aborts, None),
    ];
    for (name, given, attack, violation) in attacks {
        let seen = under(given, attack).await;
        report(name, &seen);
        assert_eq!(violated(&seen), violation, "{name}: {:?}", seen.reason);
        let expected = match violation {
            Some(violation) => Some(CloseReason::Failed(FailureReason::Sctp(violation))),
            None if name == "an ABORT" => Some(CloseReason::ClosedByPeer),
            None => None,
        };
        assert_eq!(seen.reason, expected, "{name}");
        assert!(seen.grown < 24 << 10, "{name}: {} KiB", seen.grown);
        // What str0m says of each message without a channel, and of each opening, ends with the connection.
        let most = match violation {
            Some(NoDataChannel | UnansweredResets) => 1_000,
            _ => 20,
        };
        assert!(seen.lines < most, "{name}: {} lines", seen.lines);
        assert!(seen.written < 20, "{name}: {} lines are written", seen.written);
    }
}

/// A bare str0m that keeps to all rules, on a wire that loses: nothing of it is refused.
#[actix::test]
async fn an_honest_str0m_is_heard_whole_under_loss() {
    let Stage { home, mut peer, go, attacking } = set_up(false, honest).await;
    go.send(()).unwrap();
    while !attacking.is_finished() {
        let wait = std::time::Duration::from_millis(20);
        let event = tokio::time::timeout(wait, peer.next()).await;
        if let Ok(Some(ConnectionEvent::DataChannelMessage { channel, message, .. })) = event {
            let echo = SendData { channel: *channel, message: message.clone() };
            peer.send(echo).await.unwrap();
        }
    }
    attacking.join().unwrap();
    let counters = peer.send(GetCounters).await;
    assert_eq!(counters.sctp_packets_dropped, 0);
    assert_eq!(peer.told.iter().find_map(closed), None);
    home.stop().await;
}

/// Opens forty channels of four kinds, and sends large messages and small ones until all of the reliable ones are echoed.
fn honest(peer: &mut Attacker) {
    use str0m::channel::{ChannelConfig, Reliability};
    peer.be_honest();
    peer.loss = 50;
    let kinds = [
        (true, Reliability::Reliable),
        (false, Reliability::Reliable),
        (true, Reliability::MaxRetransmits { retransmits: 0 }),
        (false, Reliability::MaxPacketLifetime { lifetime: 50 }),
    ];
    let kinds = kinds.iter().cycle().take(40);
    let channels: Vec<_> = kinds
        .map(|(ordered, reliability)| {
            let (ordered, reliability) = (*ordered, *reliability);
            let config = ChannelConfig { ordered, reliability, ..ChannelConfig::default() };
            (peer.rtc.direct_api().create_data_channel(config), reliability)
        })
        .collect();
    peer.until(|peer| channels.iter().all(|(id, _)| peer.opened.contains(id)));

    let mut expected = Vec::new();
    for round in 0..3 {
        for (number, (id, reliability)) in channels.iter().enumerate() {
            let size = if number == round { 256 << 10 } else { 5_000 * (round % 2) + 1 + number };
            let message = vec![7; size];
            peer.until_done(|peer| peer.rtc.channel(*id).unwrap().write(true, &message).unwrap());
            if *reliability == Reliability::Reliable {
                expected.push((*id, size));
            }
        }
    }
    peer.until(|peer| expected.iter().all(|echo| peer.heard.contains(echo)));
    assert!(peer.forwards() > 0, "what is lost of the others is skipped");
}

fn report(name: &str, seen: &Seen) {
    let Seen { grown, lines, written, reason, dropped } = seen;
    println!(
        "{name}: {grown} KiB, {lines} lines, {written} written, {dropped} dropped, {reason:?}"
    );
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

/// It answers that the stream is reset, and goes on.
fn late(attacker: &mut Attacker) {
    attacker.acknowledge();
    attacker.until(|attacker| attacker.last_reset() != 0);
    let answer = answer(attacker.last_reset());
    attacker.say(&[answer]);
    let first = attacker.next_tsn();
    for number in 0..5_000 {
        let tsn = first.wrapping_add(number);
        attacker.say(&[data(7, tsn, 0, 0, b"late")]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

fn aborts(attacker: &mut Attacker) {
    // Out of resources (RFC 9260 §3.3.10.4).
    attacker.say(&[chunk(6, 0, &[0, 4, 0, 4])]);
    attacker.until(Attacker::is_over);
}

/// Each opens a channel and resets it, and does not wait until this side has reset it too.
fn reopened(attacker: &mut Attacker) {
    let first = attacker.next_tsn();
    for number in 0..20_000 {
        let tsn = first.wrapping_add(number);
        let open = message(50, 3, tsn, 1, 0, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let reset = reset(attacker.resets(), tsn, 1);
        attacker.say(&[open, reset]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

/// Each begins a message, which it never ends.
fn torn(attacker: &mut Attacker) {
    let first = attacker.next_tsn();
    for number in 0..20_000 {
        let tsn = first.wrapping_add(number);
        let reset = reset(attacker.resets(), tsn, 1);
        attacker.say(&[data(2, tsn, 1, 0, b"x"), reset, heartbeat(1_000)]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

fn stuck(attacker: &mut Attacker) {
    let tsn = attacker.next_tsn();
    attacker.say(&[data(2, tsn, 1, 0, b"x")]);
    for number in 0..70_000 {
        let reset = reset(attacker.resets(), tsn, 1);
        attacker.say(&[reset]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

fn large(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(if number == 0 { 2 } else { 0 }, tsn, 1, 0, &[7; 1_150])]
    });
}

fn filled(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| vec![data(2, tsn, (number % 100) as u16, 1, &[7; 1_150])]);
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
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

/// Waits now and then, so that nothing is lost on the way. Says whether the connection has ended.
fn paced(attacker: &mut Attacker, number: u32, tsn: u32) -> bool {
    if number % 32 == 31 {
        attacker.rest();
        attacker.settle(|attacker| attacker.is_over() || attacker.sack().0 == tsn);
    }
    attacker.is_over()
}
