use std::time::SystemTime;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SOUND: u32 = 48_000;
const PICTURE: u32 = 90_000;

/// A peer whose clocks are right, and what comes of it.
struct Peer {
    clock: PeerClock,
    /// When everything begins, on this machine's clock and by the peer's.
    begin: (Instant, SystemTime),
    /// By how much the peer's clock gets ahead, in ppm.
    drift: i64,
    streams: [Stream; 2],
}

impl Peer {
    fn new() -> Self {
        let now = tokio::time::Instant::now().into_std();
        Self {
            clock: PeerClock::default(),
            begin: (now, UNIX_EPOCH + Duration::from_secs(1 << 30)),
            drift: 0,
            streams: [1, 2].map(|id| (TransceiverId(Uuid::from_u128(id)), None)),
        }
    }

    fn rate(stream: usize) -> u32 {
        [SOUND, PICTURE][stream]
    }

    /// Time of a stream at a moment after the beginning.
    fn time(stream: usize, at: Duration) -> StreamTime {
        let (clock_rate, first) = (Self::rate(stream), [u32::MAX - 9_000, 77][stream]);
        let ticks = at.as_micros() * u128::from(clock_rate) / 1_000_000;
        StreamTime { timestamp: first.wrapping_add(ticks as u32), clock_rate }
    }

    /// Reports on a stream; the report takes a time.
    fn report(&mut self, stream: usize, at: Duration, takes: Duration) {
        let at_begin = self.begin.1 + at;
        let apart =
            Duration::from_micros(at.as_micros() as u64 * self.drift.unsigned_abs() / 1_000_000);
        let ntp = if self.drift < 0 { at_begin - apart } else { at_begin + apart };
        let (transceiver, rid) = self.streams[stream];
        let rtp_time = Self::time(stream, at).timestamp;
        let received = self.begin.0 + at + takes;
        self.clock.handle_report(&SenderReport { transceiver, rid, ntp, rtp_time, received });
    }

    /// Receives what was captured at a moment, after a time. Returns by how much later than that it was captured by
    /// what is known of the clock, in ms.
    fn receive(&mut self, stream: usize, at: Duration, takes: Duration) -> Option<f64> {
        let (time, received) = (Self::time(stream, at), self.begin.0 + at + takes);
        let captured = self.clock.captured(self.streams[stream], time, received)?;
        assert!(captured <= received, "{:?} after it came", captured - received);
        let off = match captured.checked_duration_since(self.begin.0 + at) {
            Some(later) => later.as_secs_f64(),
            None => -(self.begin.0 + at).duration_since(captured).as_secs_f64(),
        };
        Some(off * 1_000.0)
    }
}

#[test]
fn streams_of_a_peer_have_one_clock_however_long_their_packets_take() {
    let mut peer = Peer::new();
    assert_eq!(peer.receive(0, MS * 10, MS * 30), None, "nothing is known before the first report");
    peer.report(0, MS * 20, MS * 30);
    peer.report(1, MS * 500, MS * 45);

    let sound = peer.receive(0, MS * 1_000, MS * 35).unwrap();
    let picture = peer.receive(1, MS * 1_000, MS * 190).unwrap();

    assert!((sound - picture).abs() < 0.2, "{sound} and {picture}");
    assert!((30.0..31.0).contains(&sound), "the fastest report: {sound}");
}

#[test]
fn what_comes_faster_than_the_reports_counts() {
    let mut peer = Peer::new();
    peer.report(0, MS * 20, MS * 30);
    peer.report(1, MS * 20, MS * 30);

    let sound = peer.receive(0, MS * 1_000, MS * 10).unwrap();
    let picture = peer.receive(1, MS * 1_000, MS * 190).unwrap();

    assert!((9.9..10.1).contains(&sound), "{sound}");
    assert!((sound - picture).abs() < 0.2, "{sound} and {picture}");
}

#[test]
fn a_slow_clock_that_was_not_reported_for_long_is_found_again() {
    let mut peer = Peer { drift: -178, ..Peer::new() };
    peer.report(0, Duration::ZERO, MS * 180);
    assert_eq!(peer.receive(0, MS * 10_717, Duration::ZERO), Some(0.0));

    // By what has come before, the report is late by what the clock has lost since the last one, 1.9 ms.
    peer.report(0, MS * 10_717, Duration::ZERO);
    let sound = peer.receive(0, MS * 10_717, Duration::ZERO).unwrap();
    assert!((-1.92..-1.9).contains(&sound), "{sound}");

    // In each second, 0.5 ms of that count as drift.
    let sound = peer.receive(0, MS * 14_717, Duration::ZERO).unwrap();
    assert!((-0.1..=0.0).contains(&sound), "{sound}");
}

#[test]
fn a_clock_that_is_set_is_followed_with_its_next_report() {
    let hour = Duration::from_secs(3_600);
    for is_forward in [false, true] {
        let mut peer = Peer::new();
        peer.report(0, MS * 20, MS * 30);
        peer.begin.1 = if is_forward { peer.begin.1 + hour } else { peer.begin.1 - hour };

        peer.report(0, MS * 5_000, MS * 40);

        let sound = peer.receive(0, MS * 5_100, MS * 60).unwrap();
        assert!((39.0..41.0).contains(&sound), "{is_forward}: {sound}");
    }
}

#[test]
fn nonsense_is_not_believed() {
    let mut peer = Peer::new();
    let (transceiver, rid) = peer.streams[0];
    let received = peer.begin.0;
    let zero = SenderReport { transceiver, rid, ntp: UNIX_EPOCH, rtp_time: 0, received };
    peer.clock.handle_report(&zero);
    assert_eq!(peer.receive(0, MS * 10, MS * 30), None, "no time of day");

    peer.report(0, MS * 20, MS * 30);
    assert!(peer.receive(0, MS * 1_000, MS * 1_900).is_some());
    assert_eq!(peer.receive(0, MS * 1_000, MS * 2_100), None, "longer than anyone would listen");
    peer.clock.handle_report(&SenderReport { ntp: peer.begin.1, rtp_time: 1 << 30, ..zero });
    assert_eq!(peer.receive(0, MS * 1_000, MS * 50), None, "hours before it came");
}

#[test]
fn streams_that_are_no_more_are_forgotten() {
    let mut peer = Peer::new();
    peer.report(0, MS * 20, MS * 30);
    peer.report(1, MS * 20, MS * 30);
    let kept = peer.streams[1].0;

    peer.clock.keep(|transceiver| transceiver == kept);

    assert_eq!(peer.receive(0, MS * 100, MS * 40), None);
    assert!(peer.receive(1, MS * 100, MS * 40).is_some());
}

/// By how much the peer's clock gets ahead or behind at most, in ppm.
const MOST_DRIFT: i64 = 200;

/// What happens: a report or a packet, its stream, after how many ms it is sent, and how many it takes.
fn happens() -> impl Strategy<Value = (bool, usize, u64, u64)> {
    (any::<bool>(), 0..2usize, 0..3_000u64, 0..180u64)
}

proptest! {
    /// For an hour and longer, over wraps, with clocks that drift.
    #[test]
    fn two_streams_agree_at_any_time(
        drift in -MOST_DRIFT..=MOST_DRIFT,
        said in proptest::collection::vec(happens(), 1..2_000),
    ) {
        let mut peer = Peer { drift, ..Peer::new() };
        peer.report(0, Duration::ZERO, MS * 180);
        peer.report(1, Duration::ZERO, MS * 180);
        let (mut at, mut reported) = (Duration::ZERO, Duration::ZERO);
        // The longest time without a report: the peer's clock and its streams get apart in it, and so may a packet that
        // comes faster than the reports set the clock of the peer wrongly until the next that does.
        let mut unheard = Duration::ZERO;
        for (is_report, stream, later, takes) in said {
            at += MS * later as u32;
            unheard = unheard.max(at - reported);
            if is_report {
                peer.report(stream, at, MS * takes as u32);
                peer.report(1 - stream, at, MS * takes as u32);
                reported = at;
                continue;
            }
            let one = peer.receive(stream, at, MS * takes as u32);
            prop_assert!(one.is_some(), "it is lost at {at:?}");
            let one = one.unwrap_or_default();
            let other = peer.receive(1 - stream, at, MS * 180).unwrap();
            let apart = (at - reported).as_secs_f64() * 0.07;
            prop_assert!((one - other).abs() <= 0.2 + apart, "{one} and {other} at {at:?}");
            let early = unheard.as_secs_f64() * MOST_DRIFT as f64 / 1_000.0;
            prop_assert!((-0.1 - early..=181.0).contains(&one), "{one} at {at:?}");
        }
    }

    #[test]
    fn a_peer_that_lies_gets_no_times_beyond_bounds(
        said in proptest::collection::vec((any::<bool>(), 0..2usize, any::<u32>(), any::<u32>()), 1..60),
    ) {
        let mut peer = Peer::new();
        for (step, (is_report, stream, timestamp, seconds)) in said.into_iter().enumerate() {
            let received = peer.begin.0 + MS * 10 * step as u32;
            let (transceiver, rid) = peer.streams[stream];
            if is_report {
                let ntp = UNIX_EPOCH + Duration::from_secs(seconds.into());
                let report = SenderReport { transceiver, rid, ntp, rtp_time: timestamp, received };
                peer.clock.handle_report(&report);
            } else {
                let time = StreamTime { timestamp, clock_rate: seconds };
                if let Some(captured) = peer.clock.captured(peer.streams[stream], time, received) {
                    prop_assert!(captured <= received);
                    prop_assert!(received - captured < Duration::from_micros(FAR));
                }
            }
        }
    }
}
