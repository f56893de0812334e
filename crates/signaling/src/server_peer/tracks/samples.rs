//! Frames of a client that wait for the application.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callboard_peer_connection::ReceivedSample;

use super::{ClientTrack, Tracks};

/// Bounded queue of frames: those that are not taken in time make room for newer ones.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<Entry<T>>,
    bytes: usize,
    now: Announced,
    /// Whether the application has been told of frames since the last announcement, and has taken none of them.
    told: bool,
}

/// Number of announcements of tracks. Frames that come after an announcement are not handed out before the application
/// has been told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Announced(u64);

#[derive(Debug)]
struct Entry<T> {
    frame: T,
    bytes: usize,
    after: Announced,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, now: Announced::default(), told: false }
    }
}

impl<T> Queue<T> {
    /// Notes that the application is about to be told of a track.
    pub(super) fn announce(&mut self) {
        self.now.0 += 1;
        self.told = false;
    }

    /// Adds a frame of so many bytes. Returns what the application must be told of, if anything; `dropped` gets what
    /// makes room.
    pub(super) fn push(
        &mut self,
        frame: T,
        bytes: usize,
        dropped: impl Fn(T),
    ) -> Option<Announced> {
        self.bytes += bytes;
        self.waiting.push_back(Entry { frame, bytes, after: self.now });
        while self.waiting.len() > MOST_FRAMES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.bytes;
            dropped(oldest.frame);
        }
        (!std::mem::replace(&mut self.told, true)).then_some(self.now)
    }

    /// Takes the frames that have come before the next announcement after this one, the oldest first.
    pub(super) fn take(&mut self, until: Announced) -> Vec<T> {
        if until == self.now {
            self.told = false;
        }
        let mut taken = Vec::new();
        let may_go = |entry: &Entry<T>| entry.after <= until;
        while self.waiting.front().is_some_and(may_go)
            && let Some(entry) = self.waiting.pop_front()
        {
            self.bytes -= entry.bytes;
            taken.push(entry.frame);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        taken
    }
}

/// Frames of a client that wait for the controller of its server peer. If they are not [taken](Self::take), they are
/// dropped with the last clone.
#[derive(Clone, Debug)]
pub struct WaitingSamples(Arc<Waiting>);

#[derive(Debug)]
struct Waiting {
    tracks: Tracks,
    until: Announced,
    taken: AtomicBool,
}

impl WaitingSamples {
    pub(super) fn new(tracks: Tracks, until: Announced) -> Self {
        Self(Arc::new(Waiting { tracks, until, taken: AtomicBool::new(false) }))
    }

    /// Takes the frames that wait, the oldest first; none the second time.
    pub fn take(&self) -> Vec<(ClientTrack, ReceivedSample)> {
        self.0.take()
    }
}

impl Waiting {
    fn take(&self) -> Vec<(ClientTrack, ReceivedSample)> {
        if self.taken.swap(true, Ordering::Relaxed) {
            Vec::new()
        } else {
            self.tracks.take_samples(self.until)
        }
    }
}

impl Drop for Waiting {
    /// Makes way for the next event of frames.
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Most frames that wait: those of a camera and a microphone in three seconds.
const MOST_FRAMES: usize = 256;
/// Most bytes that wait: some key frames of large pictures.
const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_oldest_frames_make_room_for_the_newest() {
        let (mut queue, dropped) = (Queue::default(), RefCell::new(Vec::<usize>::new()));
        let count = MOST_FRAMES + 3;

        let tells =
            (0..count).map(|frame| queue.push(frame, 1_000, |old| dropped.borrow_mut().push(old)));

        assert_eq!(tells.flatten().count(), 1, "told once");
        assert_eq!(dropped.take(), [0, 1, 2]);
        assert_eq!(queue.take(FIRST), (3..count).collect::<Vec<_>>());
        assert_eq!(queue.push(7, 1, |_| panic!("there is room")), Some(FIRST), "told again");
        assert_eq!(queue.take(FIRST), [7]);
    }

    #[test]
    fn frames_of_a_track_wait_until_the_track_is_announced() {
        let mut queue = Queue::default();
        let push = |queue: &mut Queue<_>, frame| queue.push(frame, 1, |_| panic!("there is room"));
        let first = push(&mut queue, "camera").expect("told");
        // What is told of the screen waits behind what was told of the camera's frame.
        queue.announce();
        let second = push(&mut queue, "screen").expect("told once more");
        assert_eq!(push(&mut queue, "camera again"), None);

        assert_eq!(queue.take(first), ["camera"]);
        assert_eq!(push(&mut queue, "screen again"), None, "told already");
        assert_eq!(queue.take(second), ["screen", "camera again", "screen again"]);
        assert_eq!(queue.take(first), [""; 0]);
        assert_eq!(push(&mut queue, "more"), Some(second));
    }

    const FIRST: Announced = Announced(0);

    #[test]
    fn large_frames_make_room_as_well() {
        let (mut queue, dropped) = (Queue::default(), RefCell::new(Vec::<usize>::new()));
        for frame in 0..5 {
            queue.push(frame, MOST_BYTES / 4, |old| dropped.borrow_mut().push(old));
        }
        assert_eq!(dropped.take(), [0]);

        queue.push(5, MOST_BYTES + 1, |old| dropped.borrow_mut().push(old));

        assert_eq!(dropped.take(), [1, 2, 3, 4, 5], "one that is too large has no room");
        assert!(queue.take(FIRST).is_empty());
        queue.push(6, MOST_BYTES, |_| panic!("there is room"));
    }
}
