//! Bounded queue of events for the owner of a connection.

use std::collections::VecDeque;
use std::future::Future;

use actix::prelude::*;

use crate::event::{CloseReason, ConnectionEvent, PeerConnectionEvent, PeerConnectionId};

/// Delivers events to the owner, in order, and bounds what a peer can make wait: media that the owner does not take in
/// time makes room for newer media; when data has no more room, the connection is over.
///
/// An owner whose mailbox is full gets one more event, and the others once it has [handled](Self::wait_for_room) that.
pub(crate) struct OwnerQueue {
    connection: PeerConnectionId,
    owner: Recipient<PeerConnectionEvent>,
    waiting: VecDeque<ConnectionEvent>,
    weight: usize,
    most_bytes: usize,
    most_events: usize,
    /// Whether the owner has not handled the event that it got beyond its mailbox's capacity.
    overdue: bool,
    closed: bool,
}

/// Result of sending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The event goes with the next [`OwnerQueue::flush`], if not before.
    Accepted,
    /// An older event of media was dropped for it.
    Dropped,
    /// There is no room.
    Full,
    /// There is no owner.
    NoOwner,
}

impl OwnerQueue {
    pub(crate) fn new(
        connection: PeerConnectionId,
        owner: Recipient<PeerConnectionEvent>,
        (most_bytes, most_events): (usize, usize),
    ) -> Self {
        Self {
            connection,
            owner,
            waiting: VecDeque::new(),
            weight: 0,
            most_bytes,
            most_events,
            overdue: false,
            closed: false,
        }
    }

    pub(crate) fn send(&mut self, event: ConnectionEvent) -> Delivery {
        if let ConnectionEvent::Closed(_) = event {
            self.closed = true;
            return self.send_last(event);
        }
        // Media comes in bursts, and one wake-up of the owner is enough for a burst. No other event may be lost: the
        // owner takes the first while there are more to come.
        let at_once = !event.is_media();
        self.push(event);
        let mut delivery = Delivery::Accepted;
        if (at_once || self.waiting.len() >= TOGETHER) && !self.flush() {
            return Delivery::NoOwner;
        }
        while self.is_full() {
            let Some(oldest) = self.waiting.iter().position(ConnectionEvent::is_media) else {
                return Delivery::Full;
            };
            if let Some(dropped) = self.waiting.remove(oldest) {
                self.weight -= dropped.weight();
            }
            delivery = Delivery::Dropped;
        }
        delivery
    }

    /// Sends the last event, and all before it: there is no time left to wait for room.
    fn send_last(&mut self, event: ConnectionEvent) -> Delivery {
        self.push(event);
        for event in std::mem::take(&mut self.waiting) {
            // Bounded by the number of events that may wait.
            self.owner.do_send(PeerConnectionEvent { connection: self.connection, event });
        }
        self.weight = 0;
        Delivery::Accepted
    }

    fn push(&mut self, event: ConnectionEvent) {
        self.weight += event.weight();
        self.waiting.push_back(event);
    }

    fn is_full(&self) -> bool {
        self.weight > self.most_bytes || self.waiting.len() > self.most_events
    }

    /// Sends the waiting events, as far as there is room. Returns whether there is an owner.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            let weight = event.weight();
            match self.try_send(event) {
                Ok(()) => self.weight -= weight,
                Err(SendError::Full(event)) => {
                    self.waiting.push_front(event.event);
                    return true;
                }
                Err(SendError::Closed(_)) => {
                    self.waiting.clear();
                    self.weight = 0;
                    return false;
                }
            }
        }
        // There may be no more events for a long time.
        self.waiting = VecDeque::new();
        true
    }

    /// Returns whether the owner still exists.
    pub(crate) fn has_owner(&self) -> bool {
        self.owner.connected()
    }

    /// Sends the next event to an owner that has no room for it, unless one such event is not handled yet. The returned
    /// future ends when the owner has handled it, or has ended; then call [`room_found`](Self::room_found).
    ///
    /// actix tells no sender that a mailbox has room again, but whether a message was handled. A mailbox takes at least
    /// one message of each sender at any capacity, and each clone of a [`Recipient`] is a sender.
    pub(crate) fn wait_for_room(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        if self.overdue {
            return None;
        }
        let event = self.waiting.pop_front()?;
        self.weight -= event.weight();
        self.overdue = true;
        // It is in the mailbox before this returns.
        let connection = self.connection;
        let handled = self.owner.clone().send(PeerConnectionEvent { connection, event });
        Some(async move {
            // The next flush finds out whether the owner has ended.
            _ = handled.await;
        })
    }

    /// Notes that the owner has handled what [`wait_for_room`](Self::wait_for_room) sent: more can be sent.
    pub(crate) fn room_found(&mut self) {
        self.overdue = false;
    }

    #[allow(clippy::result_large_err, reason = "the event comes back, to be sent later")]
    fn try_send(&self, event: ConnectionEvent) -> Result<(), SendError<PeerConnectionEvent>> {
        self.owner.try_send(PeerConnectionEvent { connection: self.connection, event })
    }
}

impl Drop for OwnerQueue {
    /// Sends the owner the last event, unless it was sent: the connection has ended.
    fn drop(&mut self) {
        if !self.closed {
            self.send(ConnectionEvent::Closed(CloseReason::Stopped));
        }
    }
}

/// Most packets or frames that the owner receives with one wake-up: the capacity of a mailbox by default.
const TOGETHER: usize = 16;

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};
    use uuid::Uuid;

    use super::*;
    use crate::data_channel::DataChannelId;

    /// Owner that keeps its first event until it is let go, with a mailbox for two.
    struct Slow {
        gate: Option<oneshot::Receiver<()>>,
        ends: bool,
        heard: mpsc::UnboundedSender<ConnectionEvent>,
    }

    impl Actor for Slow {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Context<Self>) {
            ctx.set_mailbox_capacity(2);
        }
    }

    impl Handler<PeerConnectionEvent> for Slow {
        type Result = ();

        fn handle(&mut self, event: PeerConnectionEvent, ctx: &mut Context<Self>) {
            _ = self.heard.send(event.event);
            if let Some(gate) = self.gate.take() {
                ctx.wait(gate.into_actor(self).map(|_, this, ctx| {
                    if this.ends {
                        ctx.stop();
                    }
                }));
            }
        }
    }

    struct World {
        queue: OwnerQueue,
        let_go: oneshot::Sender<()>,
        heard: mpsc::UnboundedReceiver<ConnectionEvent>,
    }

    /// Returns a queue with 100 events for an owner that has the first of them in hand.
    async fn behind(ends: bool) -> World {
        let (let_go, gate) = oneshot::channel();
        let (tell, mut heard) = mpsc::unbounded_channel();
        let owner = Slow { gate: Some(gate), ends, heard: tell }.start().recipient();
        let mut queue =
            OwnerQueue::new(PeerConnectionId(Uuid::nil()), owner, (usize::MAX, usize::MAX));
        assert_eq!(queue.send(opened(0)), Delivery::Accepted);
        assert_eq!(number(&heard.recv().await.unwrap()), 0);
        for number in 1..100 {
            assert_eq!(queue.send(opened(number)), Delivery::Accepted);
        }
        World { queue, let_go, heard }
    }

    fn opened(number: u32) -> ConnectionEvent {
        ConnectionEvent::DataChannelOpened(DataChannelId(number))
    }

    fn number(event: &ConnectionEvent) -> u32 {
        match event {
            ConnectionEvent::DataChannelOpened(DataChannelId(number)) => *number,
            other => panic!("not sent: {other:?}"),
        }
    }

    #[actix::test]
    async fn a_slow_owner_gets_all_events_in_order_as_it_handles_them() {
        let World { mut queue, let_go, mut heard } = behind(false).await;

        let handled = queue.wait_for_room().expect("it is behind");
        assert!(queue.wait_for_room().is_none(), "one at a time");
        assert!(queue.waiting.len() > 90, "{} wait", queue.waiting.len());
        let_go.send(()).unwrap();
        handled.await;
        queue.room_found();
        while queue.flush()
            && let Some(handled) = queue.wait_for_room()
        {
            handled.await;
            queue.room_found();
        }

        assert!(queue.waiting.is_empty() && queue.weight == 0);
        for expected in 1..100 {
            assert_eq!(number(&heard.recv().await.unwrap()), expected);
        }
    }

    #[actix::test]
    async fn a_slow_owner_that_ends_is_noticed() {
        let World { mut queue, let_go, .. } = behind(true).await;

        let handled = queue.wait_for_room().expect("it is behind");
        let_go.send(()).unwrap();
        handled.await;
        queue.room_found();

        assert!(!queue.flush());
        assert!(queue.wait_for_room().is_none());
    }
}
