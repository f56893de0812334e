//! Coalesced wake-ups of sockets: outboxes in which a room has put frames without telling their sockets yet.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::prelude::*;
use bytestring::ByteString;
use callboard_outbox::{Outbox, PutError};

/// Outboxes whose sockets have not been told yet. A socket that is told of many frames at once writes them at once, and
/// a room that sends much has no time to tell of each. So a room tells the sockets when it is idle, and after every few
/// messages.
#[derive(Default)]
pub(crate) struct WakeUps(RefCell<Waiting>);

#[derive(Default)]
struct Waiting {
    outboxes: Vec<Arc<Outbox>>,
    messages: usize,
}

impl WakeUps {
    /// Puts one message into all of these outboxes. Returns those that are full, to be closed, which calls back.
    pub(crate) fn put<'a>(
        &self,
        frame: ByteString,
        outboxes: impl IntoIterator<Item = &'a Arc<Outbox>>,
    ) -> Vec<Arc<Outbox>> {
        let (mut waiting, mut full) = (self.0.borrow_mut(), Vec::new());
        let mut outboxes = outboxes.into_iter().peekable();
        let mut frame = Some(frame);
        while let Some(outbox) = outboxes.next() {
            // The last one gets the frame itself: that of a message to one peer is never shared.
            let its = if outboxes.peek().is_some() { frame.clone() } else { frame.take() };
            match outbox.put(its.unwrap_or_default()) {
                Ok(true) => waiting.outboxes.push(Arc::clone(outbox)),
                Err(PutError::Full) => full.push(Arc::clone(outbox)),
                // An outbox that is being closed takes no more.
                Ok(false) | Err(_) => {}
            }
        }
        waiting.messages += 1;
        full
    }

    /// Tells the sockets if many messages have been put since they were told last.
    pub(crate) fn flush_when_due(&self) {
        if self.0.borrow().messages >= AT_ONCE {
            self.flush();
        }
    }

    pub(crate) fn flush(&self) {
        // Taken, so that an idle room keeps no memory for them.
        let waiting = self.0.take();
        waiting.outboxes.iter().for_each(|outbox| outbox.tell());
    }

    /// Waits for `something`, and tells the sockets while it is not ready.
    pub(crate) async fn meanwhile<F: Future>(&self, something: F) -> F::Output {
        let mut something = pin!(something);
        poll_fn(|cx| {
            let done = something.as_mut().poll(cx);
            if done.is_pending() {
                self.flush();
            }
            done
        })
        .await
    }
}

impl Drop for WakeUps {
    /// Tells the sockets, also when the room has crashed.
    fn drop(&mut self) {
        self.flush();
    }
}

/// Future in the room's context that tells the sockets: it is polled when the mailbox is empty.
pub(crate) struct FlushWhenIdle(pub(crate) Rc<WakeUps>);

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for FlushWhenIdle {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        _: &mut Context<A>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        self.0.flush();
        Poll::Pending
    }
}

/// Number of messages after which the sockets are told of the first, so that none waits long and no outbox fills up
/// meanwhile.
const AT_ONCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use callboard_outbox::{OutboxLimits, OutboxReady};

    /// Socket that counts how often it is told.
    #[derive(Default)]
    struct Wire(usize);

    impl Actor for Wire {
        type Context = Context<Self>;
    }

    impl Handler<OutboxReady> for Wire {
        type Result = ();
        fn handle(&mut self, _: OutboxReady, _: &mut Self::Context) {
            self.0 += 1;
        }
    }

    #[derive(Message)]
    #[rtype(result = "usize")]
    struct Told;

    impl Handler<Told> for Wire {
        type Result = usize;
        fn handle(&mut self, _: Told, _: &mut Self::Context) -> usize {
            self.0
        }
    }

    fn wired() -> (Addr<Wire>, Arc<Outbox>) {
        let (wire, outbox) = (Wire::default().start(), Outbox::new(OutboxLimits::default()));
        outbox.attach(wire.clone().recipient(), None);
        (wire, Arc::new(outbox))
    }

    #[actix::test]
    async fn a_room_that_goes_on_and_on_tells_now_and_then() {
        let ((wire, outbox), wake_ups) = (wired(), WakeUps::default());

        for _ in 1..AT_ONCE {
            wake_ups.put("word".into(), [&outbox]);
            wake_ups.flush_when_due();
        }
        assert_eq!(wire.send(Told).await.unwrap(), 0);
        wake_ups.put("word".into(), [&outbox]);
        wake_ups.flush_when_due();

        assert_eq!(wire.send(Told).await.unwrap(), 1);
    }

    #[actix::test]
    async fn a_room_that_ends_has_told_of_its_last_words() {
        let ((wire, outbox), wake_ups) = (wired(), WakeUps::default());

        wake_ups.put("last".into(), [&outbox]);
        drop(wake_ups);

        assert_eq!(wire.send(Told).await.unwrap(), 1);
    }

    #[actix::test]
    async fn what_was_said_does_not_wait_for_an_on_join() {
        let ((wire, outbox), wake_ups) = (wired(), WakeUps::default());
        wake_ups.put("word".into(), [&outbox]);

        let told = wake_ups.meanwhile(async { wire.send(Told).await.unwrap() }).await;
        let told = told + wake_ups.meanwhile(async { wire.send(Told).await.unwrap() }).await;

        assert!(told > 0);
    }
}
