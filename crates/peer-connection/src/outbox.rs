//! What waits for the owner of a connection.

use std::collections::VecDeque;

use actix::prelude::*;

use crate::event::{CloseReason, ConnectionEvent, PeerConnectionEvent, PeerConnectionId};

/// Brings events to the owner, in order, without letting what a peer sends grow without bound: media that is not taken
/// in time makes room for newer media; when data has no room any more, the connection is over.
pub(crate) struct Outbox {
    connection: PeerConnectionId,
    owner: Recipient<PeerConnectionEvent>,
    waiting: VecDeque<ConnectionEvent>,
    weight: usize,
    most_bytes: usize,
    most_events: usize,
    closed: bool,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It goes with the next [`Outbox::flush`], if not before.
    Waits,
    /// An older one of media was dropped for it.
    Dropped,
    /// There is no room.
    Full,
    /// There is no owner.
    NoOwner,
}

impl Outbox {
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
        // Media comes in bursts, of which an owner need be woken once. Of everything else nothing may be lost: its owner takes
        // the first while there are more to come.
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

    /// The last of all goes out, and all before it: there is no more room to wait for.
    fn tell_last(&mut self, event: ConnectionEvent) -> Told {
        self.push(event);
        for event in std::mem::take(&mut self.waiting) {
            // As many as may wait.
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

    /// Bring what waits, as far as there is room. Says whether there is an owner.
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
        // There may be nothing more for a long time.
        self.waiting = VecDeque::new();
        true
    }

    /// Whether there is somebody to tell.
    pub(crate) fn has_owner(&self) -> bool {
        self.owner.connected()
    }

    /// Whether something waits.
    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    #[allow(clippy::result_large_err, reason = "the event comes back, to be told later")]
    fn try_tell(&self, event: ConnectionEvent) -> Result<(), SendError<PeerConnectionEvent>> {
        self.owner.try_send(PeerConnectionEvent { connection: self.connection, event })
    }
}

impl Drop for Outbox {
    /// Whatever ends a connection, its owner is told once.
    fn drop(&mut self) {
        if !self.closed {
            self.tell(ConnectionEvent::Closed(CloseReason::Stopped));
        }
    }
}

/// Packets or frames that an owner hears of together, at most: as many as a mailbox takes that nobody has enlarged.
const TOGETHER: usize = 16;
