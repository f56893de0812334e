//! Bounded send queue of one client.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actix::prelude::*;
use bytestring::ByteString;
use thiserror::Error;

/// Bounded send queue of one client, in order.
///
/// A room puts frames in from its thread; the client's socket, on its own thread, is told [`OutboxReady`] and takes
/// them out when it can write them. A client that does not read is disconnected; the room never waits for it. Between
/// two sockets of a client its frames stay here.
pub struct Outbox {
    limits: OutboxLimits,
    line: Mutex<Line>,
    /// Set while the lock of the line is held.
    closed: OnceLock<CloseFrame>,
    on_close: OnceLock<Box<dyn Fn(CloseFrame) + Send + Sync>>,
}

#[derive(Default)]
struct Line {
    frames: VecDeque<ByteString>,
    bytes: usize,
    /// Socket that takes the frames out; none while the client has no socket, and after the close was delivered.
    socket: Option<Socket>,
    /// Number of the client's current socket, or of its last one.
    number: SocketNumber,
    /// Whether the socket has been told, and has not found the outbox empty since.
    told: bool,
    /// Whether a caller of [`put`](Outbox::put) is going to tell the socket.
    promised: bool,
    /// Whether the first frame is the opening one of a socket that has not taken it.
    opening: bool,
    /// Actor that is told of the close.
    watcher: Option<Recipient<OutboxClosed>>,
}

enum Socket {
    Own(Recipient<OutboxReady>),
    Shared(Arc<SharedSocket>),
}

/// Socket of many clients, such as an actor that passes all their frames on. It is told once of all outboxes that have
/// something, until it [looks](Self::looks).
pub struct SharedSocket {
    socket: Recipient<OutboxReady>,
    /// Whether it has been told, and has not looked since.
    told: AtomicBool,
}

impl SharedSocket {
    /// Creates a socket that is told in this way.
    pub fn new(socket: Recipient<OutboxReady>) -> Arc<Self> {
        Arc::new(Self { socket, told: AtomicBool::new(false) })
    }

    /// Notes that the socket is about to look into all of its outboxes: of what is put in from now on, it is told
    /// again.
    pub fn looks(&self) {
        self.told.swap(false, Ordering::AcqRel);
    }
}

impl fmt::Debug for SharedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSocket").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Socket {
    /// Tells the socket; while the lock of the line is held.
    fn tell(&self) {
        match self {
            // At most one is under way.
            Self::Own(socket) => socket.do_send(OutboxReady),
            // One that looks afterwards finds what was put in before.
            Self::Shared(shared) if !shared.told.swap(true, Ordering::AcqRel) => {
                // At most one until it looks.
                shared.socket.do_send(OutboxReady);
            }
            Self::Shared(_) => {}
        }
    }
}

/// Number of a socket of a client: each new socket has a higher number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketNumber(u64);

impl SocketNumber {
    /// Returns the number of the client's next socket.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Limits of what waits for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Largest number of messages. Default: 8,192.
    pub messages: usize,
    /// Largest number of bytes of text. Default: 1 MiB.
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { messages: 8192, bytes: 1 << 20 }
    }
}

/// Error: the frame was not taken, because the client is being closed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the client is being closed")]
pub struct OutboxClosedError;

/// Error of [`put`](Outbox::put): the frame was not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError {
    /// The client is being closed.
    #[error("the client is being closed")]
    Closed,
    /// The frame is one too many: the client does not read.
    #[error("the client does not read its messages")]
    Full,
}

/// Reason why a client cannot be closed in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// A server does not close with this code; [`CloseFrame::new`] says with which.
    #[error(
        "{0} is no code to close a client with: 1000, 1001, 1008, 1011 to 1013 and 3000 to 4999 are"
    )]
    Code(u16),
    /// The reason is longer than 123 bytes (RFC 6455 §5.5).
    #[error("the reason is longer than 123 bytes")]
    LongReason,
}

/// Code and reason with which a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// WebSocket close code (RFC 6455 §7.4).
    pub code: u16,
    /// Short text for the client's log.
    pub reason: Cow<'static, str>,
}

impl CloseFrame {
    /// 1000: the connection has served its purpose; the client does not reconnect.
    pub const NORMAL: Self = Self { code: 1000, reason: Cow::Borrowed("") };
    /// 1012: the room has failed, and its clients are disconnected; there may be another room of its name.
    pub const ROOM_FAILED: Self = Self { code: 1012, reason: Cow::Borrowed("room failed") };
    /// 1001: the server shuts down.
    pub const GOING_AWAY: Self =
        Self { code: 1001, reason: Cow::Borrowed("server is shutting down") };
    /// 1001: another process goes on with the client's session, which is to be resumed. Not 1012: clients take that for
    /// the end of the session.
    pub const RESTARTING: Self = Self { code: 1001, reason: Cow::Borrowed("server is restarting") };
    /// 1011: the peer has failed more than once.
    pub const FAILED: Self = Self { code: 1011, reason: Cow::Borrowed("peer failed") };
    /// 1001: the client was silent for too long.
    pub const SILENT: Self = Self { code: 1001, reason: Cow::Borrowed("silent for too long") };
    /// 1008: the client sends far more than it may.
    pub const TOO_MANY: Self = Self { code: 1008, reason: Cow::Borrowed("too many messages") };
    /// 1009: the client sent something too large.
    pub const TOO_LARGE: Self = Self { code: 1009, reason: Cow::Borrowed("message too large") };
    /// 1013: the client does not read its messages.
    pub const TOO_SLOW: Self =
        Self { code: 1013, reason: Cow::Borrowed("client reads too slowly") };

    /// Creates a close with a code of the application's choice. After 1000 and 4000 to 4999 `callboard.js` never comes
    /// back: they are for clients that are kicked out. After the others it comes back in a while, as a new peer: 1001
    /// (the server goes away), 1008 (the client broke a rule), 1011 (an error of the server), 1012 (a restart), 1013
    /// (try again later), and 3000 to 3999.
    ///
    /// # Errors
    /// [`CloseError`]
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Result<Self, CloseError> {
        let reason = reason.into();
        if !matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999) {
            return Err(CloseError::Code(code));
        }
        if reason.len() > LONGEST_REASON {
            return Err(CloseError::LongReason);
        }
        Ok(Self { code, reason })
    }
}

/// Notice to a client's socket that frames wait for it to [take](Outbox::next). Not repeated before the socket has
/// found the outbox empty.
#[derive(Clone, Copy, Debug, Message, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct OutboxReady;

/// Notice that a client's connection is being closed, for good ([`Outbox::watch`]).
#[derive(Clone, Copy, Debug, Message, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct OutboxClosed;

/// Item that a client's socket takes out of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a socket must carry out each")]
pub enum Deliver {
    /// Text to send.
    Frame(ByteString),
    /// Close of the connection; nothing follows.
    Close(CloseFrame),
}

impl Outbox {
    /// Creates an outbox without a socket.
    pub fn new(limits: OutboxLimits) -> Self {
        let (line, closed, on_close) = (Mutex::default(), OnceLock::new(), OnceLock::new());
        Self { limits, line, closed, on_close }
    }

    /// Creates an outbox without a socket in which these frames wait, which another process has
    /// [kept](Self::waiting). They may exceed the limits; then nothing more is taken.
    pub fn holding(limits: OutboxLimits, frames: impl IntoIterator<Item = ByteString>) -> Self {
        let outbox = Self::new(limits);
        let mut line = outbox.line();
        line.frames.extend(frames);
        line.bytes = line.frames.iter().map(|frame| frame.len()).sum();
        drop(line);
        outbox
    }

    /// Returns the limits.
    pub fn limits(&self) -> OutboxLimits {
        self.limits
    }

    /// Returns the frames that no socket has taken, in order, without the [first one](Self::attach) of a socket.
    pub fn waiting(&self) -> Vec<ByteString> {
        let line = self.line();
        line.frames.iter().skip(usize::from(line.opening)).cloned().collect()
    }

    /// Returns whether a frame like this waits that no socket has taken.
    pub fn any_waiting(&self, is_like_this: impl Fn(&str) -> bool) -> bool {
        self.line().frames.iter().any(|frame| is_like_this(frame))
    }

    /// Sets a function that is called once, on any thread, when the connection must be closed: a blocked socket
    /// receives no messages.
    pub fn on_close(self, on_close: impl Fn(CloseFrame) + Send + Sync + 'static) -> Self {
        self.when_closed(on_close);
        self
    }

    /// Sets the function of [`on_close`](Self::on_close) later; it is called at once if the connection is being closed.
    /// The first function stays.
    pub fn when_closed(&self, on_close: impl Fn(CloseFrame) + Send + Sync + 'static) {
        let closed = {
            let _line = self.line();
            // One of the two calls it: that one which comes second.
            if self.on_close.set(Box::new(on_close)).is_err() {
                return;
            }
            self.closed.get().cloned()
        };
        if let (Some(closed), Some(on_close)) = (closed, self.on_close.get()) {
            on_close(closed);
        }
    }

    /// Makes this socket the only one that takes frames out; `first` goes before all waiting frames, in place of an
    /// earlier socket's that was not taken.
    pub fn attach(
        &self,
        socket: Recipient<OutboxReady>,
        first: Option<ByteString>,
    ) -> SocketNumber {
        self.attach_any(Socket::Own(socket), first)
    }

    /// Makes this socket, which other clients have as well, the only one that takes frames out.
    pub fn attach_shared(&self, socket: &Arc<SharedSocket>) -> SocketNumber {
        self.attach_any(Socket::Shared(Arc::clone(socket)), None)
    }

    fn attach_any(&self, socket: Socket, first: Option<ByteString>) -> SocketNumber {
        let mut line = self.line();
        line.number = line.number.next();
        line.socket = Some(socket);
        line.told = false;
        if line.opening
            && let Some(stale) = line.frames.pop_front()
        {
            line.bytes -= stale.len();
        }
        line.opening = first.is_some();
        if let Some(first) = first {
            line.bytes += first.len();
            line.frames.push_front(first);
        }
        if !line.frames.is_empty() || self.is_closed() {
            line.tell();
        }
        line.number
    }

    /// Puts these frames before all that wait, for an outbox without a socket: they were taken out before those, for
    /// another process, and come back. They may exceed the limits; then nothing more is taken.
    pub fn put_back(
        &self,
        frames: impl IntoIterator<Item = ByteString, IntoIter: DoubleEndedIterator>,
    ) {
        let mut line = self.line();
        if line.opening
            && let Some(stale) = line.frames.pop_front()
        {
            line.bytes -= stale.len();
        }
        line.opening = false;
        for frame in frames.into_iter().rev() {
            line.bytes += frame.len();
            line.frames.push_front(frame);
        }
        if !line.frames.is_empty() {
            line.tell();
        }
    }

    /// Detaches this socket, which has ended: frames that it has not taken wait for another one.
    pub fn detach(&self, socket: SocketNumber) {
        let mut line = self.line();
        if line.number == socket {
            line.socket = None;
            line.told = false;
            self.drop_frames_of_a_closed_client(&mut line);
        }
    }

    /// Queues this text for the client, after all earlier ones.
    ///
    /// # Errors
    /// [`OutboxClosedError`] once the connection is being closed; one frame too many closes it
    /// ([`CloseFrame::TOO_SLOW`]).
    pub fn push(&self, frame: ByteString) -> Result<(), OutboxClosedError> {
        self.add(frame, Line::tell).map_err(|error| {
            if error == PutError::Full {
                self.close(CloseFrame::TOO_SLOW);
            }
            OutboxClosedError
        })
    }

    /// Queues this text like [`push`](Self::push), without telling the socket. The caller that gets `true` must
    /// [tell](Self::tell) it.
    ///
    /// # Errors
    /// [`PutError`]; the caller must close a full outbox.
    pub fn put(&self, frame: ByteString) -> Result<bool, PutError> {
        self.add(frame, |line| !line.told && !std::mem::replace(&mut line.promised, true))
    }

    /// Tells the socket of the frames that were put in.
    pub fn tell(&self) {
        let mut line = self.line();
        line.promised = false;
        if !line.frames.is_empty() {
            line.tell();
        }
    }

    fn add<T>(&self, frame: ByteString, then: impl FnOnce(&mut Line) -> T) -> Result<T, PutError> {
        let mut line = self.line();
        if self.is_closed() {
            Err(PutError::Closed)
        } else if line.frames.len() < self.limits.messages
            && line.bytes + frame.len() <= self.limits.bytes
        {
            line.bytes += frame.len();
            line.frames.push_back(frame);
            Ok(then(&mut line))
        } else {
            Err(PutError::Full)
        }
    }

    /// Takes the next item for the client, to be written to its socket now. None if there is nothing, or another socket
    /// has replaced this one; [`OutboxReady`] tells when to ask again.
    pub fn next(&self, socket: SocketNumber) -> Option<Deliver> {
        let mut line = self.line();
        if line.number != socket || line.socket.is_none() {
            return None;
        }
        if let Some(frame) = line.frames.pop_front() {
            line.bytes -= frame.len();
            line.opening = false;
            return Some(Deliver::Frame(frame));
        }
        line.told = false;
        // Most outboxes are empty most of the time.
        line.frames = VecDeque::new();
        let close = self.closed.get()?.clone();
        line.socket = None;
        Some(Deliver::Close(close))
    }

    /// Closes the connection after all earlier frames. The first reason counts.
    pub fn close(&self, close: CloseFrame) {
        let (watcher, on_close) = {
            let mut line = self.line();
            if self.closed.set(close.clone()).is_err() {
                return;
            }
            line.tell();
            self.drop_frames_of_a_closed_client(&mut line);
            (line.watcher.take(), self.on_close.get())
        };
        if let Some(watcher) = watcher {
            // The only one.
            watcher.do_send(OutboxClosed);
        }
        if let Some(on_close) = on_close {
            on_close(close);
        }
    }

    /// Tells this actor, in place of an earlier one, when the connection is closed: at once if it is being closed.
    pub fn watch(&self, watcher: Recipient<OutboxClosed>) {
        let mut line = self.line();
        if self.is_closed() {
            // One message for this call.
            watcher.do_send(OutboxClosed);
        } else {
            line.watcher = Some(watcher);
        }
    }

    /// Returns how the connection is being closed; none if it is not.
    pub fn closing(&self) -> Option<&CloseFrame> {
        self.closed.get()
    }

    /// Returns whether the connection is being closed: no more frames are taken.
    pub fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Returns how many messages and bytes have not been taken by a socket yet.
    pub fn backlog(&self) -> (usize, usize) {
        let line = self.line();
        (line.frames.len(), line.bytes)
    }

    /// Drops the frames if the client is closed and has no socket: it gets no other one.
    fn drop_frames_of_a_closed_client(&self, line: &mut Line) {
        if line.socket.is_none() && self.is_closed() {
            (line.frames, line.bytes, line.opening) = (VecDeque::new(), 0, false);
        }
    }

    /// Locks the line, for a few instructions at a time. None of them panics halfway.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn tell(&mut self) {
        if let (Some(socket), false) = (&self.socket, self.told) {
            socket.tell();
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

/// Room for the reason in a close frame, beside the code, in bytes (RFC 6455 §5.5).
const LONGEST_REASON: usize = 123;

#[cfg(test)]
mod tests;
