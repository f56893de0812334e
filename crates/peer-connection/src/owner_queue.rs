//! Bounded queue of events for the owner of a connection.

use std::collections::VecDeque;

use actix::prelude::*;

use crate::event::{CloseReason, ConnectionEvent, PeerConnectionEvent, PeerConnectionId};

/// Delivers events to the owner, in order, and bounds what a peer can make wait: media that the owner does not take in
/// time makes room for newer media; when data has no more room, the connection is over.
pub(crate) struct OwnerQueue {
    connection: PeerConnectionId,
    owner: Recipient<PeerConnectionEvent>,
    waiting: VecDeque<ConnectionEvent>,
    weight: usize,
    most_bytes: usize,
    most_events: usize,
    closed: bool,
}

/// Result of telling an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The event goes with the next [`OwnerQueue::flush`], if not before.
    Waits,
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
            closed: false,
        }
    }

    pub(crate) fn tell(&mut self, event: ConnectionEvent) -> Told {
        if let ConnectionEvent::Closed(_) = event {
            self.closed = true;
            return self.tell_last(event);
        }
        // Media comes in bursts, and one wake-up of the owner is enough for a burst. No other event may be lost: the
        // owner takes the first while there are more to come.
        let at_once = !event.is_media();
        self.push(event);
        let mut told = Told::Waits;
        if (at_once || self.waiting.len() >= TOGETHER) && !self.flush() {
            return Told::NoOwner;
        }
        while self.is_full() {
            let Some(oldest) = self.waiting.iter().position(ConnectionEvent::is_media) else {
                return Told::Full;
            };
            if let Some(dropped) = self.waiting.remove(oldest) {
                self.weight -= dropped.weight();
            }
            told = Told::Dropped;
        }
        told
    }

    /// Sends the last event, and all before it: there is no time left to wait for room.
    fn tell_last(&mut self, event: ConnectionEvent) -> Told {
        self.push(event);
        for event in std::mem::take(&mut self.waiting) {
            // Bounded by the number of events that may wait.
            self.owner.do_send(PeerConnectionEvent { connection: self.connection, event });
        }
        self.weight = 0;
        Told::Waits
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
            match self.try_tell(event) {
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

    /// Returns whether there is an owner to tell.
    pub(crate) fn has_owner(&self) -> bool {
        self.owner.connected()
    }

    /// Returns whether events wait.
    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    #[allow(clippy::result_large_err, reason = "the event comes back, to be told later")]
    fn try_tell(&self, event: ConnectionEvent) -> Result<(), SendError<PeerConnectionEvent>> {
        self.owner.try_send(PeerConnectionEvent { connection: self.connection, event })
    }
}

impl Drop for OwnerQueue {
    /// Tells the owner once that the connection has ended, however it ends.
    fn drop(&mut self) {
        if !self.closed {
            self.tell(ConnectionEvent::Closed(CloseReason::Stopped));
        }
    }
}

/// Most packets or frames that the owner receives with one wake-up: the capacity of a mailbox by default.
const TOGETHER: usize = 16;
