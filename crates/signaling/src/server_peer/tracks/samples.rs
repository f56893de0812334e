//! Frames of a client that wait for the application.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callboard_peer_connection::ReceivedSample;

use super::{ClientTrack, Tracks};

/// Bounded queue of frames: those that are not taken in time make room for newer ones.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    /// Whether the application has been told, and has taken none since.
    told: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, told: false }
    }
}

impl<T> Queue<T> {
    /// Adds a frame of so many bytes. Returns whether the application must be told; `dropped` gets what makes room.
    pub(super) fn push(&mut self, frame: T, bytes: usize, dropped: impl Fn(T)) -> bool {
        self.bytes += bytes;
        self.waiting.push_back((frame, bytes));
        while self.waiting.len() > MOST_FRAMES || self.bytes > MOST_BYTES {
            let Some((frame, bytes)) = self.waiting.pop_front() else { break };
            self.bytes -= bytes;
            dropped(frame);
        }
        !std::mem::replace(&mut self.told, true)
    }

    /// Takes all frames, the oldest first.
    pub(super) fn take(&mut self) -> Vec<T> {
        std::mem::take(self).waiting.into_iter().map(|(frame, _)| frame).collect()
    }
}

/// Frames of a client that wait for the controller of its server peer. If they are not [taken](Self::take), they are
/// dropped with the last clone.
#[derive(Clone, Debug)]
pub struct WaitingSamples(Arc<Waiting>);

#[derive(Debug)]
struct Waiting {
    tracks: Tracks,
    taken: AtomicBool,
}

impl WaitingSamples {
    pub(super) fn new(tracks: Tracks) -> Self {
        Self(Arc::new(Waiting { tracks, taken: AtomicBool::new(false) }))
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
            self.tracks.take_samples()
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

        assert_eq!(tells.filter(|tell| *tell).count(), 1, "told once");
        assert_eq!(dropped.take(), [0, 1, 2]);
        assert_eq!(queue.take(), (3..count).collect::<Vec<_>>());
        assert!(queue.push(7, 1, |_| panic!("there is room")), "told again");
        assert_eq!(queue.take(), [7]);
    }

    #[test]
    fn large_frames_make_room_as_well() {
        let (mut queue, dropped) = (Queue::default(), RefCell::new(Vec::<usize>::new()));
        for frame in 0..5 {
            queue.push(frame, MOST_BYTES / 4, |old| dropped.borrow_mut().push(old));
        }
        assert_eq!(dropped.take(), [0]);

        queue.push(5, MOST_BYTES + 1, |old| dropped.borrow_mut().push(old));

        assert_eq!(dropped.take(), [1, 2, 3, 4, 5], "one that is too large has no room");
        assert!(queue.take().is_empty());
        queue.push(6, MOST_BYTES, |_| panic!("there is room"));
    }
}
