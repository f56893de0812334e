//! Bounded receive queue of one connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;

use super::PacketClass;

/// Received datagram.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Address of the sender.
    pub source: SocketAddr,
    /// Advertised address of this server to which it was sent.
    pub destination: SocketAddr,
    /// Payload. Datagrams that the system delivered as one piece share its memory.
    pub contents: Bytes,
    /// Class of the datagram; [`PacketClass::Stun`] only if it is a STUN message.
    pub class: PacketClass,
    /// Time at which it was read.
    pub received: Instant,
}

/// Receive queue of one connection: a stream that ends when its route is dropped.
///
/// When it is full, the oldest datagrams are dropped: a slow reader wants the newest.
#[derive(Debug)]
pub struct Inbox {
    pub(super) ring: Arc<ReceiveQueue>,
}

impl Inbox {
    /// Returns the next datagram, if there is one.
    pub fn try_recv(&mut self) -> Option<Datagram> {
        self.ring.lock().pop()
    }

    /// Returns how many datagrams were dropped because they were not read in time.
    pub fn dropped(&self) -> u64 {
        self.ring.lock().dropped
    }

    /// Returns how many datagrams wait.
    pub fn len(&self) -> usize {
        self.ring.lock().waiting.len()
    }

    /// Returns whether no datagram waits.
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
                note_reader(&mut state.reader, context.waker());
                Poll::Pending
            }
        }
    }
}

/// Notes whom to wake. An actor polls all that it waits for whenever it is woken, so most often it is noted already.
pub(crate) fn note_reader(reader: &mut Option<Waker>, waker: &Waker) {
    if !reader.as_ref().is_some_and(|reader| reader.will_wake(waker)) {
        *reader = Some(waker.clone());
    }
}

/// ReceiveQueue buffer that the mux writes and the connection reads.
#[derive(Debug)]
pub(super) struct ReceiveQueue {
    state: Mutex<State>,
    datagrams: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Datagram>,
    bytes: usize,
    /// Most datagrams that have waited at once since the queue was last empty.
    most: usize,
    dropped: u64,
    closed: bool,
    reader: Option<Waker>,
}

impl ReceiveQueue {
    pub(super) fn new(datagrams: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), datagrams: datagrams.max(1), bytes: bytes.max(1) })
    }

    /// Adds a datagram; returns how many older ones were dropped for it. [Wake](Self::wake) the reader after the last
    /// of a batch.
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
        // If datagrams come one by one, no memory is kept for more.
        if self.waiting.is_empty() && std::mem::take(&mut self.most) <= 1 {
            self.waiting = VecDeque::new();
        }
        Some(datagram)
    }
}
