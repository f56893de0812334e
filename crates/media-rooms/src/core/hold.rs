//! Packets of pictures that wait for the rest of their frame: what goes on together costs each viewer one wake-up, and
//! one call of the system.

use std::time::{Duration, Instant};

/// Packets of one publisher on their way: those that wait for the last packet of their frame, and those that go on.
#[derive(Debug)]
pub(crate) struct Hold<P> {
    waiting: Vec<P>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    ready: Vec<P>,
    /// How often packets have waited for as long as they may.
    overdue: u32,
}

/// Frames of one encoding, as they come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frames {
    /// Highest number of a packet.
    highest: Option<u64>,
    /// Time of the frame that has begun, and [`Hold::overdue`] at its beginning.
    current: Option<(u32, u32)>,
}

/// Packet of a picture, as far as a [`Hold`] looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    /// Whether it is the last of its frame.
    pub(crate) ends_frame: bool,
}

impl<P> Default for Hold<P> {
    fn default() -> Self {
        Self { waiting: Vec::new(), since: None, ready: Vec::new(), overdue: 0 }
    }
}

impl<P> Hold<P> {
    /// Lets a packet go on at once, before those that wait.
    pub(crate) fn pass(&mut self, packet: P) {
        self.ready.push(packet);
    }

    /// Takes a packet of a picture: it waits, unless it is the last of its frame, or comes late.
    pub(crate) fn push(&mut self, now: Instant, frames: &mut Frames, part: Part, packet: P) {
        if frames.is_late(part.number) {
            return self.let_go(packet);
        }
        frames.highest = Some(part.number);
        if part.ends_frame {
            frames.current = None;
            return self.let_go(packet);
        }
        match frames.current {
            // The sender is slow, or its path is: what it has sent has waited long enough.
            Some((time, overdue)) if time == part.timestamp && overdue != self.overdue => {
                return self.let_go(packet);
            }
            Some((time, _)) if time == part.timestamp => {}
            // The last packet of the frame before is lost, or has no mark.
            Some(_) => self.release(),
            None => {}
        }
        frames.current = Some((part.timestamp, self.overdue));
        self.since.get_or_insert(now);
        self.waiting.push(packet);
        if self.waiting.len() >= MOST {
            self.release();
        }
    }

    fn let_go(&mut self, packet: P) {
        self.release();
        self.ready.push(packet);
    }

    fn release(&mut self) {
        self.since = None;
        self.ready.append(&mut self.waiting);
    }

    /// Returns the packets that go on, in the order in which they came, but for those that have [passed](Self::pass).
    pub(crate) fn take(&mut self) -> impl Iterator<Item = P> {
        self.ready.drain(..)
    }

    /// Returns when those that wait have waited long enough.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.since.map(|since| since + LONGEST)
    }

    /// Lets go on what has waited long enough by now.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.overdue = self.overdue.wrapping_add(1);
            self.release();
        }
    }
}

impl Frames {
    /// Returns whether a packet has been overtaken: it was lost and sent again, or came by a longer way. A number far
    /// away is another source's.
    fn is_late(&self, number: u64) -> bool {
        self.highest
            .is_some_and(|highest| highest.checked_sub(number).is_some_and(|behind| behind < FAR))
    }
}

/// Longest time for which a packet waits for the rest of its frame. The last packet of a frame never waits, so a frame
/// is never complete later for it.
const LONGEST: Duration = Duration::from_millis(3);
/// Packets that wait at most: as many as are 38 kB.
const MOST: usize = 32;
/// Distance of numbers from which a sender has begun anew.
const FAR: u64 = 1 << 12;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Hold of one encoding, whose packets are their numbers; 3,000 units of time are a frame.
    struct World {
        hold: Hold<u64>,
        frames: Frames,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self { hold: Hold::default(), frames: Frames::default(), now: Instant::now() }
        }

        /// Returns what goes on when this packet of a frame comes.
        fn push(&mut self, number: u64, frame: u32, ends_frame: bool) -> Vec<u64> {
            let part = Part { number, timestamp: frame * 3_000, ends_frame };
            self.hold.push(self.now, &mut self.frames, part, number);
            self.hold.take().collect()
        }

        /// Returns what goes on when this time has passed.
        fn wait(&mut self, time: Duration) -> Vec<u64> {
            self.now += time;
            self.hold.handle_timeout(self.now);
            self.hold.take().collect()
        }
    }

    #[test]
    fn a_frame_goes_on_as_a_whole() {
        let mut world = World::new();

        assert!(world.push(1, 1, false).is_empty());
        assert!(world.wait(MS).is_empty());
        assert!(world.push(2, 1, false).is_empty());
        assert_eq!(world.push(3, 1, true), [1, 2, 3]);
        assert_eq!(world.push(4, 2, true), [4], "a frame of one packet does not wait");
        assert_eq!(world.hold.poll_timeout(), None);
    }

    #[test]
    fn what_passes_does_not_wait_for_pictures() {
        let mut world = World::new();
        world.push(1, 1, false);

        world.hold.pass(100);

        assert_eq!(world.hold.take().collect::<Vec<_>>(), [100]);
        assert_eq!(world.push(2, 1, true), [1, 2]);
    }

    #[test]
    fn the_rest_of_a_slow_frame_does_not_wait_and_the_next_frame_does() {
        let mut world = World::new();
        world.push(1, 1, false);

        assert_eq!(world.hold.poll_timeout(), Some(world.now + LONGEST));
        assert!(world.wait(LONGEST - MS).is_empty());
        assert_eq!(world.wait(MS), [1]);
        assert_eq!(world.push(2, 1, false), [2]);
        assert_eq!(world.push(3, 1, false), [3]);
        assert_eq!(world.push(4, 1, true), [4]);

        assert!(world.push(5, 2, false).is_empty());
        assert_eq!(world.push(6, 2, true), [5, 6]);
    }

    #[test]
    fn what_comes_late_does_not_wait() {
        let mut world = World::new();
        world.push(1, 1, false);
        assert_eq!(world.push(3, 1, true), [1, 3]);

        assert_eq!(world.push(2, 1, false), [2]);
        world.push(4, 2, false);
        assert_eq!(world.push(2, 1, false), [4, 2], "nor does it overtake");
        assert!(world.push(1 << 20, 3, false).is_empty());
        assert!(world.push(5, 4, false) == [1 << 20], "a source that has begun anew is not late");
    }

    #[test]
    fn a_frame_without_a_last_packet_goes_on_with_the_next() {
        let mut world = World::new();
        world.push(1, 1, false);
        world.push(2, 1, false);

        assert_eq!(world.push(4, 2, false), [1, 2]);
        assert_eq!(world.push(5, 2, true), [4, 5]);
    }

    #[test]
    fn no_more_than_a_bound_wait() {
        let mut world = World::new();
        let most = MOST as u64;

        let first: Vec<u64> = (1..=most).flat_map(|number| world.push(number, 1, false)).collect();
        assert_eq!(first, (1..=most).collect::<Vec<_>>());
        assert!(world.push(most + 1, 1, false).is_empty(), "the next ones wait again");
        assert_eq!(world.push(most + 2, 1, true), [most + 1, most + 2]);
    }

    proptest::proptest! {
        #[test]
        fn each_packet_goes_on_once_in_order_and_in_time(
            steps in proptest::collection::vec((0..3_usize, 0..4_u64, 0..40_u32, 0..10_u32), 1..300)
        ) {
            let mut hold = Hold::default();
            let (mut frames, mut numbers) = ([Frames::default(); 3], [1_000_u64; 3]);
            let (mut now, mut came, mut went) = (Instant::now(), Vec::new(), Vec::new());
            for (at, (stream, skipped, frame, pause)) in steps.into_iter().enumerate() {
                now += MS * pause / 4;
                hold.handle_timeout(now);
                went.extend(hold.take());
                numbers[stream] += skipped;
                let part = Part {
                    number: numbers[stream],
                    timestamp: frame / 8,
                    ends_frame: frame % 8 == 7,
                };
                hold.push(now, &mut frames[stream], part, (at, now));
                came.push(at);
                went.extend(hold.take());
                let waits = came.len() - went.len();
                proptest::prop_assert!(waits < MOST);
                proptest::prop_assert_eq!(waits > 0, hold.poll_timeout().is_some());
                let oldest = hold.waiting.first().map(|(_, since)| *since + LONGEST);
                proptest::prop_assert_eq!(oldest, hold.poll_timeout());
            }
            hold.handle_timeout(now + LONGEST);
            went.extend(hold.take());
            let went: Vec<_> = went.into_iter().map(|(at, _)| at).collect();
            proptest::prop_assert_eq!(went, came);
        }
    }
}
