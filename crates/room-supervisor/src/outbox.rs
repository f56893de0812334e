//! The bounded way from a room to one client.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::*;
use bytestring::ByteString;
use thiserror::Error;

/// What one client has not been sent yet, counted and bounded.
///
/// A room puts frames in from its thread; the client's socket takes them out on its own, and says so with
/// [`drained`](Self::drained) once the bytes have left for the network. A client that does not read is closed; the
/// room never waits for it.
pub struct Outbox {
    limits: OutboxLimits,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    closed: OnceLock<Close>,
    wire: Recipient<Deliver>,
    on_close: Option<Box<dyn Fn(Close) + Send + Sync>>,
}

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
    /// 1000: the connection has served its purpose.
    pub const NORMAL: Self = Self { code: 1000, reason: "" };
    /// 1001: the server goes away.
    pub const GOING_AWAY: Self = Self { code: 1001, reason: "server is shutting down" };
    /// 1011: the peer has failed more than once.
    pub const FAILED: Self = Self { code: 1011, reason: "peer failed" };
    /// 1013: the client does not read what it is sent.
    pub const TOO_SLOW: Self = Self { code: 1013, reason: "client reads too slowly" };
}

/// What a client's socket is told.
#[derive(Clone, Debug, Message, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum Deliver {
    /// Send this text.
    Frame(ByteString),
    /// Send what came before, then close.
    Close(Close),
}

impl Outbox {
    /// An outbox that leads to this socket.
    pub fn new(limits: OutboxLimits, wire: Recipient<Deliver>) -> Self {
        let (messages, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { limits, messages, bytes, closed: OnceLock::new(), wire, on_close: None }
    }

    /// Have this called, once and on whichever thread, when the connection is to be closed: a socket that is blocked
    /// hears of nothing.
    pub fn on_close(self, on_close: impl Fn(Close) + Send + Sync + 'static) -> Self {
        Self { on_close: Some(Box::new(on_close)), ..self }
    }

    /// Send this text to the client, after what was pushed before.
    ///
    /// # Errors
    /// [`OutboxClosed`] once the connection is being closed; one frame too many closes it ([`Close::TOO_SLOW`]).
    pub fn push(&self, frame: ByteString) -> Result<(), OutboxClosed> {
        if self.is_closed() {
            return Err(OutboxClosed);
        }
        let messages = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(frame.len(), Ordering::Relaxed) + frame.len();
        if messages > self.limits.messages || bytes > self.limits.bytes {
            self.drained(1, frame.len());
            self.close(Close::TOO_SLOW);
            return Err(OutboxClosed);
        }
        // Bounded by the two counters.
        self.wire.do_send(Deliver::Frame(frame));
        Ok(())
    }

    /// Close the connection after what was pushed before. The first reason counts.
    pub fn close(&self, close: Close) {
        if self.closed.set(close).is_ok() {
            // One message in the life of a connection.
            self.wire.do_send(Deliver::Close(close));
            if let Some(on_close) = &self.on_close {
                on_close(close);
            }
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

    /// The socket has handed this much to the network.
    pub fn drained(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many messages and bytes have not left for the network yet.
    pub fn backlog(&self) -> (usize, usize) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("messages", &self.messages)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Wire(Vec<Deliver>);

    impl Actor for Wire {
        type Context = Context<Self>;
    }

    impl Handler<Deliver> for Wire {
        type Result = ();
        fn handle(&mut self, deliver: Deliver, _: &mut Self::Context) {
            self.0.push(deliver);
        }
    }

    #[derive(Message)]
    #[rtype(result = "Vec<Deliver>")]
    struct Sent;

    impl Handler<Sent> for Wire {
        type Result = Vec<Deliver>;
        fn handle(&mut self, _: Sent, _: &mut Self::Context) -> Vec<Deliver> {
            std::mem::take(&mut self.0)
        }
    }

    #[actix::test]
    async fn one_frame_too_many_closes_the_connection_and_what_was_drained_makes_room() {
        let wire = Wire::default().start();
        let outbox = Outbox::new(OutboxLimits { messages: 2, bytes: 10 }, wire.clone().recipient());

        assert_eq!(outbox.push("four".into()), Ok(()));
        assert_eq!(outbox.push("four".into()), Ok(()));
        outbox.drained(1, 4);
        assert_eq!(outbox.push("sixsix".into()), Ok(()));
        assert_eq!(outbox.backlog(), (2, 10));
        assert_eq!(outbox.push("x".into()), Err(OutboxClosed));
        outbox.close(Close::NORMAL);

        let sent = wire.send(Sent).await.unwrap();
        let frame = |text: &'static str| Deliver::Frame(text.into());
        assert_eq!(
            sent,
            [frame("four"), frame("four"), frame("sixsix"), Deliver::Close(Close::TOO_SLOW)]
        );
    }
}
