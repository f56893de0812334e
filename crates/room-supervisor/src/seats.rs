//! Who is in a room: what survives the room's crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::AuthData;
use crate::outbox::Outbox;
use crate::peer_id::PeerId;

/// The seats of one room. A peer has one from before it joins until it is gone for good.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: BTreeMap<PeerId, Seat>,
    /// Peers that had joined and are gone, whose leave has not been announced.
    departed: Vec<PeerId>,
    /// The room has run before: what runs now follows a crash.
    opened: bool,
    closed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) auth: Arc<AuthData>,
    pub(crate) outbox: Arc<Outbox>,
    /// What its `authenticated` tells it besides, if anything.
    pub(crate) welcome: Option<Arc<Map<String, Value>>>,
    pub(crate) standing: Standing,
    /// It had joined, if only in the room before the crash: the others know of it.
    known: bool,
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

    /// The room is about to be asked to let the peer in; none if the peer is gone.
    pub(crate) fn ask(&mut self, peer: PeerId) -> Option<Seat> {
        let seat = self.taken.get_mut(&peer)?;
        seat.standing = Standing::Asking;
        Some(seat.clone())
    }

    /// The room has let the peer in, and the others know. One that has gone meanwhile is to be seen off.
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

    /// The peer is gone for good; its seat, if it had one. Those who know of it are to be told.
    pub(crate) fn depart(&mut self, peer: PeerId) -> Option<Seat> {
        let seat = self.taken.remove(&peer)?;
        if seat.known {
            self.departed.push(peer);
        }
        Some(seat)
    }

    /// The room closes this peer itself, with all others: nothing is announced.
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

    /// The room runs; `true` if it has run before.
    pub(crate) fn open(&mut self) -> bool {
        std::mem::replace(&mut self.opened, true)
    }

    /// The room is put into its tree, for the first time or once more after its end there.
    pub(crate) fn reopen(&mut self) {
        self.closed = false;
        self.opened = !self.is_empty();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
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
