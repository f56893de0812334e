//! Seats of a room: its peers and their state, which survive the room's crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::AuthData;
use crate::peer_id::PeerId;
use callboard_outbox::Outbox;

/// Seats of one room. A peer has one from before it joins until it is gone for good.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: BTreeMap<PeerId, Seat>,
    /// Peers that had joined and are gone, and whose departure has not been announced.
    departed: Vec<PeerId>,
    /// Whether the room has run before: a new instance follows a crash then.
    opened: bool,
    closed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) auth: Arc<AuthData>,
    pub(crate) outbox: Arc<Outbox>,
    /// Additional fields of the peer's `authenticated` message, if any.
    pub(crate) welcome: Option<Arc<Map<String, Value>>>,
    pub(crate) standing: Standing,
    /// Whether the peer had joined, if only in the room before the crash: the others know of it.
    known: bool,
}

/// Progress of a peer's join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The peer has not asked to join yet.
    Waiting,
    /// `on_join` is running; a peer in this state after a crash was its cause.
    Asking,
    Joined,
}

impl Seats {
    /// Gives a peer a seat; returns `false` if the room is closed.
    pub(crate) fn take(
        &mut self,
        auth: Arc<AuthData>,
        outbox: Arc<Outbox>,
        welcome: Map<String, Value>,
    ) -> bool {
        if !self.closed {
            let welcome = (!welcome.is_empty()).then(|| Arc::new(welcome));
            let standing = Standing::Waiting;
            let seat = Seat { auth, outbox, welcome, standing, known: false };
            self.taken.insert(seat.auth.peer_id, seat);
        }
        !self.closed
    }

    pub(crate) fn get(&self, peer: PeerId) -> Option<&Seat> {
        self.taken.get(&peer)
    }

    /// Notes that the room is about to run `on_join` for the peer; returns none if the peer is gone.
    pub(crate) fn ask(&mut self, peer: PeerId) -> Option<Seat> {
        let seat = self.taken.get_mut(&peer)?;
        seat.standing = Standing::Asking;
        Some(seat.clone())
    }

    /// Notes that the room has admitted the peer, and the others know. The departure of a peer that has left meanwhile
    /// is left to announce.
    pub(crate) fn join(&mut self, peer: PeerId) {
        match self.taken.get_mut(&peer) {
            Some(seat) => {
                seat.standing = Standing::Joined;
                seat.known = true;
            }
            None if !self.departed.contains(&peer) => self.departed.push(peer),
            None => {}
        }
    }

    /// Removes the seat of a peer that is gone for good, and returns it. If the others know of the peer, its departure
    /// is left to announce.
    pub(crate) fn depart(&mut self, peer: PeerId) -> Option<Seat> {
        let seat = self.taken.remove(&peer)?;
        if seat.known {
            self.departed.push(peer);
        }
        Some(seat)
    }

    /// Removes the seat of a peer that the room closes itself: nothing is announced.
    pub(crate) fn vacate(&mut self, peer: PeerId) -> Option<Seat> {
        self.taken.remove(&peer)
    }

    /// Takes the peers that are gone and were not announced yet.
    pub(crate) fn take_departed(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.departed)
    }

    pub(crate) fn joined(&self) -> impl Iterator<Item = (PeerId, &Seat)> {
        self.all().filter(|(_, seat)| seat.standing == Standing::Joined)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (PeerId, &Seat)> {
        self.taken.iter().map(|(&peer, seat)| (peer, seat))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.departed.is_empty()
    }

    /// Notes that the room runs; returns `true` if it has run before.
    pub(crate) fn open(&mut self) -> bool {
        std::mem::replace(&mut self.opened, true)
    }

    /// Resets the seats when the room starts in its tree, for the first time or once more after its end there.
    pub(crate) fn reopen(&mut self) {
        self.closed = false;
        self.opened = !self.is_empty();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closes the room if no peer has a seat and no departure is left to announce; returns whether the room is closed.
    pub(crate) fn close_if_empty(&mut self) -> bool {
        self.closed |= self.is_empty();
        self.closed
    }

    /// Closes the room: removes all seats, and gives out no more.
    pub(crate) fn close(&mut self) -> Vec<(PeerId, Seat)> {
        self.closed = true;
        self.departed.clear();
        std::mem::take(&mut self.taken).into_iter().collect()
    }
}
