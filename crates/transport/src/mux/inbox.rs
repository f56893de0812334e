//! What waits for a connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;

use super::PacketClass;

/// A datagram that was received.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Who sent it.
    pub source: SocketAddr,
    /// To which of our advertised addresses.
    pub destination: SocketAddr,
    /// What is in it. Datagrams that the system delivered as one piece share it.
    pub contents: Bytes,
    /// What it is.
    pub class: PacketClass,
    /// When it was read.
    pub received: Instant,
}

/// The datagrams that wait for one connection: a stream that ends when its route is dropped.
///
/// When it is full the oldest make room: who is behind wants the newest.
#[derive(Debug)]
pub struct Inbox {
    pub(super) ring: Arc<Ring>,
}

impl Inbox {
    /// The next one, if there is one.
    pub fn try_recv(&mut self) -> Option<Datagram> {
        self.ring.lock().pop()
    }

    /// How many have been dropped because they were not read in time.
    pub fn dropped(&self) -> u64 {
        self.ring.lock().dropped
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.ring.lock().waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Stream for Inbox {
    type Item = Datagram;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Datagram>> {
        let mut state = self.ring.lock();
        match state.pop() {
            Some(datagram) => Poll::Ready(Some(datagram)),
            None if state.closed => Poll::Ready(None),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The ring that the mux writes and the connection reads.
#[derive(Debug)]
pub(super) struct Ring {
    state: Mutex<State>,
    datagrams: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Datagram>,
    bytes: usize,
    /// As many have waited at once since none did.
    most: usize,
    dropped: u64,
    closed: bool,
    reader: Option<Waker>,
}

impl Ring {
    pub(super) fn new(datagrams: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), datagrams: datagrams.max(1), bytes: bytes.max(1) })
    }

    /// Put one in; says how many had to make room. Its reader is to be [woken](Self::wake) after the last of a batch.
    pub(super) fn push(&self, datagram: Datagram) -> u64 {
        let mut state = self.lock();
        state.bytes += datagram.contents.len();
        state.waiting.push_back(datagram);
        state.most = state.most.max(state.waiting.len());
        let before = state.dropped;
        while state.waiting.len() > self.datagrams
            || state.bytes > self.bytes && state.waiting.len() > 1
        {
            state.pop();
            state.dropped += 1;
        }
        state.dropped - before
    }

    pub(super) fn wake(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<Datagram> {
        let datagram = self.waiting.pop_front()?;
        self.bytes -= datagram.contents.len();
        // Where they come one by one, nothing is to be kept for more.
        if self.waiting.is_empty() && std::mem::take(&mut self.most) <= 1 {
            self.waiting = VecDeque::new();
        }
        Some(datagram)
    }
}
