//! Response body of a WebSocket, and the state that it shares with the socket's actor.

use std::cell::{Cell, OnceCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use callboard_room_supervisor::SocketNumber;

use crate::attachment::{Attachment, End};
use crate::cable::Cable;
use crate::counters::{Count, Counters};
use crate::limits::Admission;

/// Response body around the WebSocket.
pub(super) struct Body {
    pub(super) inner: BoxBody,
    pub(super) fate: Rc<Fate>,
    pub(super) cable: Arc<Cable>,
    pub(super) counters: Arc<Counters>,
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
        self.fate.full.set(false);
        let next = Pin::new(&mut self.inner).poll_next(cx);
        if matches!(next, Poll::Ready(None)) && self.fate.both_closed.get() {
            self.cable.end_reading();
        }
        next
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.cable.answered();
        if let Some(Place { attachment, number }) = self.fate.place.get() {
            attachment.ended(*number, self.fate.end.get(), self.admission.take());
        }
        self.counters.add(Count::Ended);
    }
}

/// State shared by a socket's actor and its response body.
#[derive(Default)]
pub(super) struct Fate {
    /// Set before the actor is first polled.
    pub(super) place: OnceCell<Place>,
    pub(super) end: Cell<End>,
    /// The client's close frame has arrived, and ours is written with the rest.
    pub(super) both_closed: Cell<bool>,
    /// The actor has taken enough for one chunk, and goes on with the next.
    pub(super) full: Cell<bool>,
    /// The client has sent something.
    pub(super) heard: Cell<bool>,
    /// The room has admitted the client, through this socket or an earlier one.
    pub(super) admitted: Cell<bool>,
    /// Nothing more is read until the peer has the held input.
    pub(super) shut: Cell<bool>,
}

/// Socket link that a socket belongs to, and the socket's number there.
pub(super) struct Place {
    pub(super) attachment: Arc<Attachment>,
    pub(super) number: SocketNumber,
}
