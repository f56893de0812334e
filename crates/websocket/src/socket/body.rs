//! Response body of a WebSocket, and the state that it shares with the socket's actor.

use std::cell::{Cell, OnceCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::{Bytes, BytesMut};
use callboard_outbox::SocketNumber;

use crate::admission::Admission;
use crate::counters::{SocketCount, SocketCounters};
use crate::link::SocketLink;
use crate::messages::SocketEnd;
use crate::tcp_connection::TcpConnection;

/// Response body around the WebSocket.
pub(super) struct Body {
    pub(super) inner: BoxBody,
    pub(super) state: Rc<SocketState>,
    pub(super) tcp: Arc<TcpConnection>,
    pub(super) counters: Arc<SocketCounters>,
    /// Taken when the body ends.
    pub(super) admission: Option<Admission>,
}

impl MessageBody for Body {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.state.full.set(false);
        let next = Pin::new(&mut self.inner).poll_next(cx);
        let unwritten = self.state.unwritten.take();
        if !unwritten.is_empty() {
            // An end is reported once more.
            return Poll::Ready(Some(Ok(unwritten.freeze())));
        }
        if matches!(next, Poll::Ready(None)) && self.state.both_closed.get() {
            self.tcp.end_reading();
        }
        next
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.tcp.answered();
        if let Some(LinkPlace { link, number }) = self.state.place.get() {
            link.socket_ended(*number, self.state.end.get(), self.admission.take());
        }
        self.counters.add(SocketCount::Ended);
    }
}

/// State shared by a socket's actor and its response body.
#[derive(Default)]
pub(super) struct SocketState {
    /// Set before the actor is first polled.
    pub(super) place: OnceCell<LinkPlace>,
    pub(super) end: Cell<SocketEnd>,
    /// The client's close frame has arrived, and ours is written with the rest.
    pub(super) both_closed: Cell<bool>,
    /// Frames that the actor has sent and the body has not handed on. Not kept when it is empty.
    pub(super) unwritten: Cell<BytesMut>,
    /// The actor has taken enough for one chunk, and goes on with the next.
    pub(super) full: Cell<bool>,
    /// The client has sent something.
    pub(super) heard: Cell<bool>,
    /// The owner has admitted the client, through this socket or an earlier one.
    pub(super) admitted: Cell<bool>,
    /// Nothing more is read until the owner has the held input.
    pub(super) shut: Cell<bool>,
}

/// Socket link that a socket belongs to, and the socket's number there.
pub(super) struct LinkPlace {
    pub(super) link: Arc<SocketLink>,
    pub(super) number: SocketNumber,
}
