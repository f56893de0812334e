//! Bounded queue of texts to the server.

use std::collections::VecDeque;

/// Texts that wait to be sent, in order.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    texts: VecDeque<(Lifetime, String)>,
    bytes: usize,
    pushed: u64,
    taken: u64,
}

/// How long a text may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// For the next connection too.
    Any,
    /// As long as the session can be resumed.
    Session,
    /// As long as the connection is open.
    Connection,
}

impl SendQueue {
    /// Adds a text without a check of the bounds.
    pub(crate) fn push(&mut self, lifetime: Lifetime, text: String) {
        self.bytes += text.len();
        self.pushed += 1;
        self.texts.push_back((lifetime, text));
    }

    pub(crate) fn pop(&mut self) -> Option<String> {
        let (_, text) = self.texts.pop_front()?;
        self.bytes -= text.len();
        self.taken += 1;
        if self.texts.is_empty() {
            // Empty most of the time: its buffer is freed.
            self.texts = VecDeque::new();
        }
        Some(text)
    }

    /// Drops the texts that do not outlive this.
    pub(crate) fn end(&mut self, over: Lifetime) {
        let before = self.texts.len();
        let outlives = |lifetime: Lifetime| match over {
            Lifetime::Connection => lifetime != Lifetime::Connection,
            Lifetime::Session => lifetime == Lifetime::Any,
            Lifetime::Any => false,
        };
        self.texts.retain(|(lifetime, _)| outlives(*lifetime));
        self.bytes = self.texts.iter().map(|(_, text)| text.len()).sum();
        self.taken += (before - self.texts.len()) as u64;
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES
    }

    /// Returns how many texts were ever pushed, and how many of them wait no more.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.pushed, self.taken)
    }
}

/// Bytes that may wait while there is a connection, or more by one text.
const MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_goes_and_the_rest_stays_in_order() {
        let mut queue = SendQueue::default();
        for (at, lifetime) in [Lifetime::Any, Lifetime::Session, Lifetime::Connection]
            .into_iter()
            .cycle()
            .take(6)
            .enumerate()
        {
            queue.push(lifetime, at.to_string());
        }

        queue.end(Lifetime::Connection);
        assert_eq!((queue.len(), queue.counts()), (4, (6, 2)));
        queue.end(Lifetime::Session);
        assert_eq!((queue.len(), queue.counts()), (2, (6, 4)));
        assert_eq!((queue.pop().as_deref(), queue.pop().as_deref()), (Some("0"), Some("3")));
        assert_eq!((queue.pop(), queue.counts()), (None, (6, 6)));
    }

    #[test]
    fn it_is_full_once_more_than_a_mebibyte_waits() {
        let mut queue = SendQueue::default();
        queue.push(Lifetime::Any, "x".repeat(MAX_BYTES));
        assert!(!queue.is_full());
        queue.push(Lifetime::Any, "x".to_owned());
        assert!(queue.is_full());
        queue.end(Lifetime::Any);
        assert!(!queue.is_full());
    }
}
