//! The bounded way from a room to one client.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use actix::prelude::*;
use bytestring::ByteString;
use thiserror::Error;

/// What one client has not been sent yet: bounded, and in order.
///
/// A room puts frames in from its thread; the client's socket, on its own thread, is told [`MailWaiting`] and takes them
/// out when it can write them. A client that does not read is closed; the room never waits for it. Between two sockets
/// of a client its frames stay here.
pub struct Outbox {
    limits: OutboxLimits,
    line: Mutex<Line>,
    /// Set under the lock of the line.
    closed: OnceLock<Close>,
    on_close: Option<Box<dyn Fn(Close) + Send + Sync>>,
}

#[derive(Default)]
struct Line {
    frames: VecDeque<ByteString>,
    bytes: usize,
    /// Who takes the frames out; none while the client has no socket, and after the goodbye.
    socket: Option<Recipient<MailWaiting>>,
    /// Which of the client's sockets that is, or was.
    number: SocketNumber,
    /// The socket has been told, and has not found the box empty since.
    told: bool,
    /// Somebody is going to tell it.
    promised: bool,
}

/// Which of a client's sockets: each new one has a higher number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketNumber(u64);

/// How much may wait for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Messages. Default: 8,192.
    pub messages: usize,
    /// Bytes of text. Default: 1 MiB.
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { messages: 8192, bytes: 1 << 20 }
    }
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the client is being closed")]
pub struct OutboxClosed;

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code (RFC 6455 §7.4).
    pub code: u16,
    /// A few words for the client's log.
    pub reason: &'static str,
}

impl Close {
    /// 1000: the connection has served its purpose; its client is not to come back.
    pub const NORMAL: Self = Self { code: 1000, reason: "" };
    /// 1012: the room has failed too often and is closed; there may be another one of its name.
    pub const ROOM_FAILED: Self = Self { code: 1012, reason: "room failed" };
    /// 1001: the server goes away.
    pub const GOING_AWAY: Self = Self { code: 1001, reason: "server is shutting down" };
    /// 1011: the peer has failed more than once.
    pub const FAILED: Self = Self { code: 1011, reason: "peer failed" };
    /// 1013: the client does not read what it is sent.
    pub const TOO_SLOW: Self = Self { code: 1013, reason: "client reads too slowly" };
}

/// Tells a client's socket to [take](Outbox::next) what waits for it. Not repeated before it has found nothing more.
#[derive(Clone, Copy, Debug, Message, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct MailWaiting;

/// What a client's socket takes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// Send this text.
    Frame(ByteString),
    /// Close, and come no more.
    Close(Close),
}

impl Outbox {
    /// An outbox from which nobody takes yet.
    pub fn new(limits: OutboxLimits) -> Self {
        Self { limits, line: Mutex::default(), closed: OnceLock::new(), on_close: None }
    }

    /// Have this called, once and on whichever thread, when the connection is to be closed: a socket that is blocked
    /// hears of nothing.
    pub fn on_close(self, on_close: impl Fn(Close) + Send + Sync + 'static) -> Self {
        Self { on_close: Some(Box::new(on_close)), ..self }
    }

    /// From now on this socket takes the frames out, and no earlier one; `first` before all that waits.
    pub fn attach(
        &self,
        socket: Recipient<MailWaiting>,
        first: Option<ByteString>,
    ) -> SocketNumber {
        let mut line = self.line();
        line.number.0 += 1;
        line.socket = Some(socket);
        line.told = false;
        if let Some(first) = first {
            line.bytes += first.len();
            line.frames.push_front(first);
        }
        if !line.frames.is_empty() || self.is_closed() {
            line.tell();
        }
        line.number
    }

    /// This socket has ended: what it has not taken waits for another one.
    pub fn detach(&self, socket: SocketNumber) {
        let mut line = self.line();
        if line.number == socket {
            line.socket = None;
            line.told = false;
            self.drop_what_nobody_takes(&mut line);
        }
    }

    /// Send this text to the client, after what was pushed before.
    ///
    /// # Errors
    /// [`OutboxClosed`] once the connection is being closed; one frame too many closes it ([`Close::TOO_SLOW`]).
    pub fn push(&self, frame: ByteString) -> Result<(), OutboxClosed> {
        self.add(frame, Line::tell)
    }

    /// The same, but the socket is not told yet. Who gets `true` has to [tell](Self::tell) it.
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub(crate) fn put(&self, frame: ByteString) -> Result<bool, OutboxClosed> {
        self.add(frame, |line| !line.told && !std::mem::replace(&mut line.promised, true))
    }

    /// Tell the socket of what has been put in.
    pub(crate) fn tell(&self) {
        let mut line = self.line();
        line.promised = false;
        if !line.frames.is_empty() {
            line.tell();
        }
    }

    fn add<T>(
        &self,
        frame: ByteString,
        then: impl FnOnce(&mut Line) -> T,
    ) -> Result<T, OutboxClosed> {
        {
            let mut line = self.line();
            if self.is_closed() {
                return Err(OutboxClosed);
            }
            if line.frames.len() < self.limits.messages
                && line.bytes + frame.len() <= self.limits.bytes
            {
                line.bytes += frame.len();
                line.frames.push_back(frame);
                return Ok(then(&mut line));
            }
        }
        self.close(Close::TOO_SLOW);
        Err(OutboxClosed)
    }

    /// What is next for the client, to be written to its socket now. None if there is nothing, or another socket has
    /// taken this one's place; [`MailWaiting`] says when it is worth asking again.
    pub fn next(&self, socket: SocketNumber) -> Option<Deliver> {
        let mut line = self.line();
        if line.number != socket || line.socket.is_none() {
            return None;
        }
        if let Some(frame) = line.frames.pop_front() {
            line.bytes -= frame.len();
            return Some(Deliver::Frame(frame));
        }
        line.told = false;
        // Most outboxes are empty most of the time.
        line.frames = VecDeque::new();
        let close = *self.closed.get()?;
        line.socket = None;
        Some(Deliver::Close(close))
    }

    /// Close the connection after what was pushed before. The first reason counts.
    pub fn close(&self, close: Close) {
        {
            let mut line = self.line();
            if self.closed.set(close).is_err() {
                return;
            }
            line.tell();
            self.drop_what_nobody_takes(&mut line);
        }
        if let Some(on_close) = &self.on_close {
            on_close(close);
        }
    }

    /// Whether, and how, the connection is being closed.
    pub fn closing(&self) -> Option<&Close> {
        self.closed.get()
    }

    /// Whether the connection is being closed: nothing more is taken.
    pub fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// How many messages and bytes have not been taken by a socket yet.
    pub fn backlog(&self) -> (usize, usize) {
        let line = self.line();
        (line.frames.len(), line.bytes)
    }

    /// A client that is closed gets no other socket.
    fn drop_what_nobody_takes(&self, line: &mut Line) {
        if line.socket.is_none() && self.is_closed() {
            (line.frames, line.bytes) = (VecDeque::new(), 0);
        }
    }

    /// Held for a few instructions at a time, none of which panics halfway.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn tell(&mut self) {
        if let (Some(socket), false) = (&self.socket, self.told) {
            // One at a time.
            socket.do_send(MailWaiting);
            self.told = true;
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, bytes) = self.backlog();
        f.debug_struct("Outbox")
            .field("messages", &messages)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Counts how often it is told.
    #[derive(Default)]
    pub(crate) struct Wire(usize);

    impl Actor for Wire {
        type Context = Context<Self>;
    }

    impl Handler<MailWaiting> for Wire {
        type Result = ();
        fn handle(&mut self, _: MailWaiting, _: &mut Self::Context) {
            self.0 += 1;
        }
    }

    #[derive(Message)]
    #[rtype(result = "usize")]
    pub(crate) struct Told;

    impl Handler<Told> for Wire {
        type Result = usize;
        fn handle(&mut self, _: Told, _: &mut Self::Context) -> usize {
            self.0
        }
    }

    const LIMITS: OutboxLimits = OutboxLimits { messages: 2, bytes: 10 };

    fn frame(text: &'static str) -> Option<Deliver> {
        Some(Deliver::Frame(text.into()))
    }

    #[actix::test]
    async fn one_frame_too_many_closes_the_connection_and_what_was_taken_makes_room() {
        let wire = Wire::default().start();
        let outbox = Outbox::new(LIMITS);
        let socket = outbox.attach(wire.clone().recipient(), None);

        assert_eq!(outbox.push("four".into()), Ok(()));
        assert_eq!(outbox.push("four".into()), Ok(()));
        assert_eq!(outbox.next(socket), frame("four"));
        assert_eq!(outbox.push("sixsix".into()), Ok(()));
        assert_eq!(outbox.backlog(), (2, 10));
        assert_eq!(outbox.push("x".into()), Err(OutboxClosed));
        outbox.close(Close::NORMAL);

        assert_eq!(outbox.next(socket), frame("four"));
        assert_eq!(outbox.next(socket), frame("sixsix"));
        assert_eq!(outbox.next(socket), Some(Deliver::Close(Close::TOO_SLOW)));
        assert_eq!(outbox.next(socket), None);
        assert_eq!(wire.send(Told).await.unwrap(), 1, "it never found nothing before the end");
    }

    #[actix::test]
    async fn of_what_is_put_in_a_socket_is_told_once_and_when_it_was_promised() {
        let wire = Wire::default().start();
        let outbox = Outbox::new(LIMITS);
        let socket = outbox.attach(wire.clone().recipient(), None);

        assert_eq!(outbox.put("a".into()), Ok(true));
        assert_eq!(outbox.put("b".into()), Ok(false), "it is promised");
        assert_eq!(wire.send(Told).await.unwrap(), 0);
        outbox.tell();
        outbox.tell();

        assert_eq!(wire.send(Told).await.unwrap(), 1);
        assert_eq!(outbox.next(socket), frame("a"));
        assert_eq!(outbox.put("c".into()), Ok(false), "it is still at it");
        assert_eq!((outbox.next(socket), outbox.next(socket)), (frame("b"), frame("c")));
        assert_eq!(outbox.next(socket), None);
        assert_eq!(outbox.put("d".into()), Ok(true));
    }

    #[actix::test]
    async fn what_a_socket_has_not_taken_waits_for_the_next_one() {
        let (old, new) = (Wire::default().start(), Wire::default().start());
        let outbox = Outbox::new(LIMITS);
        let first = outbox.attach(old.clone().recipient(), None);
        outbox.push("a".into()).unwrap();
        outbox.push("b".into()).unwrap();
        assert_eq!(outbox.next(first), frame("a"));

        outbox.detach(first);
        outbox.push("c".into()).unwrap();
        assert_eq!(outbox.next(first), None, "it has ended");
        let second = outbox.attach(new.clone().recipient(), Some("resumed".into()));
        outbox.detach(first);

        assert_eq!(outbox.next(first), None);
        for text in ["resumed", "b", "c"] {
            assert_eq!(outbox.next(second), frame(text));
        }
        assert_eq!(outbox.next(second), None);
        assert_eq!((old.send(Told).await.unwrap(), new.send(Told).await.unwrap()), (1, 1));
    }

    #[test]
    fn without_a_socket_the_bounds_are_the_same() {
        let outbox = Outbox::new(LIMITS);

        outbox.push("a".into()).unwrap();
        outbox.push("b".into()).unwrap();

        assert_eq!(outbox.push("c".into()), Err(OutboxClosed));
        assert_eq!(outbox.closing(), Some(&Close::TOO_SLOW));
        assert_eq!(outbox.backlog(), (0, 0), "nobody will take it");
    }
}
