//! Lane: bounded queue of what goes to one participant's connection, which takes it without a message.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Queue of one reader.
#[derive(Debug)]
pub(crate) struct Lane<T>(Mutex<Waiting<T>>);

#[derive(Debug)]
struct Waiting<T> {
    queue: VecDeque<T>,
    reader: Option<Waker>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { queue: VecDeque::new(), reader: None }))
    }
}

impl<T> Lane<T> {
    /// Adds something, if there is room. Returns whether there was.
    pub(crate) fn push(&self, one: T) -> bool {
        let mut waiting = self.waiting();
        if waiting.queue.len() >= MOST {
            return false;
        }
        waiting.queue.push_back(one);
        if let (1, Some(reader)) = (waiting.queue.len(), &waiting.reader) {
            reader.wake_by_ref();
        }
        true
    }

    /// Takes what waits longest. While there is nothing, the reader is woken by what comes next.
    pub(crate) fn poll(&self, reader: &Waker) -> Poll<T> {
        let mut waiting = self.waiting();
        match waiting.queue.pop_front() {
            Some(one) => Poll::Ready(one),
            None => {
                if !waiting.reader.as_ref().is_some_and(|known| known.will_wake(reader)) {
                    waiting.reader = Some(reader.clone());
                }
                Poll::Pending
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        // Each change is one call, and cannot panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Batches that wait at most: a second of a busy video.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_reader_is_woken_once_for_what_waits_and_loses_what_has_no_room() {
        let (lane, woken) = (Lane::default(), Arc::<Woken>::default());
        let reader = Waker::from(Arc::clone(&woken));
        assert_eq!(lane.poll(&reader), Poll::Pending);

        let pushed: Vec<bool> = (0..=MOST).map(|one| lane.push(one)).collect();

        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(pushed[..MOST].iter().all(|pushed| *pushed) && !pushed[MOST]);
        let taken: Vec<Poll<usize>> = (0..=MOST).map(|_| lane.poll(&reader)).collect();
        assert!(taken[..MOST].iter().copied().eq((0..MOST).map(Poll::Ready)));
        assert_eq!(taken[MOST], Poll::Pending);
        assert!(lane.push(0));
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    }
}
