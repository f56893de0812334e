//! Who is in a room: what survives the room's crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::AuthData;
use crate::outbox::Outbox;
use crate::peer_id::PeerId;

/// The seats of one room. A peer has one from before it joins until it is gone for good.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: BTreeMap<PeerId, Seat>,
    /// Peers that had joined and are gone, whose leave has not been announced.
    departed: Vec<PeerId>,
    closed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) auth: Arc<AuthData>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) standing: Standing,
}

/// How far a peer has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not asked to join yet.
    Waiting,
    /// `on_join` is being asked; who still stands here after a crash was its cause.
    Asking,
    Joined,
}

impl Seats {
    /// Seat a peer; `false` if the room is closed.
    pub(crate) fn take(&mut self, auth: Arc<AuthData>, outbox: Arc<Outbox>) -> bool {
        if !self.closed {
            self.taken.insert(auth.peer_id, Seat { auth, outbox, standing: Standing::Waiting });
        }
        !self.closed
    }

    pub(crate) fn get(&self, peer: PeerId) -> Option<&Seat> {
        self.taken.get(&peer)
    }

    /// The room is about to be asked to let the peer in; none if the peer is gone.
    pub(crate) fn ask(&mut self, peer: PeerId) -> Option<Seat> {
        let seat = self.taken.get_mut(&peer)?;
        seat.standing = Standing::Asking;
        Some(seat.clone())
    }

    /// The room has let the peer in.
    pub(crate) fn join(&mut self, peer: PeerId) {
        if let Some(seat) = self.taken.get_mut(&peer) {
            seat.standing = Standing::Joined;
        }
    }

    /// The peer is gone for good; `true` if others must be told.
    pub(crate) fn depart(&mut self, peer: PeerId) -> bool {
        let joined = self.taken.remove(&peer).is_some_and(|seat| seat.standing == Standing::Joined);
        if joined {
            self.departed.push(peer);
        }
        joined
    }

    /// The room refuses or closes this peer itself: nothing is announced.
    pub(crate) fn vacate(&mut self, peer: PeerId) -> Option<Seat> {
        self.taken.remove(&peer)
    }

    /// Those who are gone and were not announced yet.
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

    /// Close the room if nobody is in it or about to be; `false` if somebody is.
    pub(crate) fn close_if_empty(&mut self) -> bool {
        self.closed |= self.is_empty();
        self.closed
    }

    /// Take everybody's seat away, and seat nobody from now on.
    pub(crate) fn close(&mut self) -> Vec<(PeerId, Seat)> {
        self.closed = true;
        self.departed.clear();
        std::mem::take(&mut self.taken).into_iter().collect()
    }
}
