//! Tests of what a peer can do by SCTP, inside DTLS: how much memory it takes, how many log lines it causes, and how it
//! ends. And of the log lines that it and a stranger cause by datagrams that do not belong to its connection.
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

#[path = "sctp/attacker.rs"]
mod attacker;
#[path = "sctp/attacks.rs"]
mod attacks;
#[path = "sctp/datagrams.rs"]
mod datagrams;
#[path = "sctp/packets.rs"]
mod packets;
mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use attacker::*;
use attacks::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use peers::{Peer, closed, pool};

/// Logger that counts warnings and errors, and passes them on.
struct Count<L> {
    lines: &'static AtomicUsize,
    then: L,
}

/// Number of all lines, and of those that [`RateLimitedLog`] lets through.
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

/// Counts log lines from the first call on.
fn count_lines() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(install_counters);
}

fn install_counters() {
    let logger = env_logger::builder().is_test(true).filter_level(log::LevelFilter::Warn).build();
    let limited = RateLimitedLog::new(Count { lines: &WRITTEN, then: logger });
    log::set_boxed_logger(Box::new(Count { lines: &LINES, then: limited })).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
}

/// Lock that runs one test at a time, since memory and lines are those of the process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Observed effects of an attack.
struct Seen {
    /// Growth of memory in KiB.
    grown: usize,
    lines: usize,
    /// Lines that were written.
    written: usize,
    reason: Option<CloseReason>,
    dropped: u64,
    /// Datagrams that arrived at the ports meanwhile.
    arrived: u64,
}

/// State of the connection when an attack begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// There is a data channel.
    Channel,
    /// There is a data channel, which this side closes.
    ClosedChannel,
    /// There is a data channel, and FORWARD-TSN was not negotiated.
    Reliable,
    /// There are a data channel and audio.
    Media,
}

/// A connection with an attacker, which begins on a signal.
struct Fixture {
    pool: PeerConnections,
    peer: Peer,
    go: std::sync::mpsc::Sender<()>,
    attacking: std::thread::JoinHandle<Attacker>,
}

async fn set_up(given: Given, attack: impl FnOnce(&mut Attacker) + Send + 'static) -> Fixture {
    let pool = pool().await;
    let settings =
        ApiSettings { inline_candidates: true, max_data_channels: 64, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let mut peer = Peer::open(&pool, &api).await;
    let (offers, offer) = tokio::sync::oneshot::channel();
    let (answers, answer) = tokio::sync::oneshot::channel::<String>();
    let (ready, connected) = tokio::sync::oneshot::channel();
    let (go, started) = std::sync::mpsc::channel::<()>();
    let attacking = std::thread::spawn(move || {
        let (mut attacker, offer) = Attacker::new(given == Given::Reliable, given == Given::Media);
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
    Fixture { pool, peer, go, attacking }
}

/// Runs an attack on a connection; if the connection survives, it receives "alive" last.
async fn under(given: Given, attack: impl FnOnce(&mut Attacker) + Send + 'static) -> Seen {
    let Fixture { pool, mut peer, go, attacking } = set_up(given, attack).await;
    if given == Given::ClosedChannel {
        let channel = peer.until(peers::opened).await;
        assert!(peer.send(CloseDataChannel(channel)).await);
    }
    let (before, lines) = (resident(), LINES.load(Ordering::Relaxed));
    let written = WRITTEN.load(Ordering::Relaxed);
    let datagrams = || pool.mux_counters().iter().map(|it| it.received).sum::<u64>();
    let arrived = datagrams();
    go.send(()).unwrap();
    let mut most = before;
    while !attacking.is_finished() {
        most = most.max(resident());
        let wait = std::time::Duration::from_millis(20);
        _ = tokio::time::timeout(wait, peer.next()).await;
        // Events must not be counted as memory that is kept.
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
        let heard = Arc::new(AtomicBool::new(false));
        let until_heard = Arc::clone(&heard);
        let said = tokio::task::spawn_blocking(move || attacker.repeat(b"alive", &until_heard));
        peer.until(|event| peers::message(event).filter(|heard| heard.as_bytes() == b"alive"))
            .await;
        heard.store(true, Ordering::Relaxed);
        said.await.unwrap();
    }
    let arrived = datagrams() - arrived;
    pool.stop().await;
    let lines = LINES.load(Ordering::Relaxed) - lines;
    let written = WRITTEN.load(Ordering::Relaxed) - written;
    Seen { grown: most - before, lines, written, reason, dropped, arrived }
}

/// Returns the resident memory of this process, in KiB.
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

/// One after the other: the memory of one must not be counted for another.
#[actix::test]
async fn attacks_by_sctp_take_little_memory_and_few_lines() {
    let _alone = ALONE.lock().await;
    count_lines();

    // The first connection allocates what all share.
    let seen = under(Given::Channel, |_| {}).await;
    assert_eq!(seen.reason, None);

    let seen = under(Given::Channel, hole).await;
    report("whole messages behind a missing TSN", &seen);
    assert_eq!(seen.reason, None);
    assert!(seen.dropped > 5_000, "{}", seen.dropped);
    assert!(seen.grown < 8 << 10, "{} KiB", seen.grown);
    assert!(seen.lines < 20, "{}", seen.lines);

    // As many messages as were under way when this side closed it.
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
        ("5,000 FORWARD-TSN", Given::Channel, forwards, None),
        ("5,000 FORWARD-TSN that were not agreed on", Given::Reliable, forwards, None),
        ("5,000 INIT", Given::Channel, inits, None),
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
        // str0m logs each message without a channel, and each opening, until the connection ends.
        let most = match violation {
            Some(NoDataChannel | UnansweredResets) => 1_000,
            _ => 20,
        };
        assert!(seen.lines < most, "{name}: {} lines", seen.lines);
        assert!(seen.written < 20, "{name}: {} lines are written", seen.written);
    }
}

/// From the address of the connection's peer, and from another one.
#[actix::test]
async fn datagrams_that_are_garbage_write_few_lines() {
    let _alone = ALONE.lock().await;
    count_lines();
    for given in [Given::Channel, Given::Media] {
        for stranger in [true, false] {
            for (name, make) in datagrams::KINDS {
                let attack =
                    move |attacker: &mut Attacker| datagrams::throw(attacker, make, stranger);
                let name = format!("{name}, by a stranger: {stranger}");

                let seen = under(given, attack).await;

                report(&name, &seen);
                assert_eq!(seen.reason, None, "{name}");
                assert!(seen.lines < 10, "{name}: {} lines", seen.lines);
                assert!(seen.arrived > 500, "{name}: most of 1,000 are lost: {}", seen.arrived);
            }
        }
    }
}

/// A bare str0m keeps to all rules, on a wire that loses datagrams: the guard refuses nothing of it.
#[actix::test]
async fn an_honest_str0m_is_heard_whole_under_loss() {
    let _alone = ALONE.lock().await;
    let Fixture { pool, mut peer, go, attacking } = set_up(Given::Channel, honest).await;
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
    pool.stop().await;
}

fn report(name: &str, seen: &Seen) {
    let Seen { grown, lines, written, reason, dropped, .. } = seen;
    println!(
        "{name}: {grown} KiB, {lines} lines, {written} written, {dropped} dropped, {reason:?}"
    );
}
