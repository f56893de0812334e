//! Edge of a room as its actor shares it with the threads of its peers, and with that of the lines.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::{Edge, Next};
use crate::credit::{Counted, Credit};
use crate::link::{Away, ForwardDirectly, FrameError, Part, TakePart};
use crate::member::Member;
use crate::message::RoomMessage;

/// Edge of a room as its actor shares it with the threads of its peers, and with that of the lines: messages of a small
/// room need no turn of the room's thread.
///
/// The actor alone waits for the edge. The others leave to the actor what they have, if they do not get the edge at
/// once, or if the actor has not handled something that comes first.
pub(crate) struct SharedEdge {
    /// None once the room has come to this node.
    edge: Mutex<Option<Box<Edge>>>,
}

/// Link to the home, as the edge listens to it.
pub(crate) struct Listening {
    edge: Weak<SharedEdge>,
    /// Number of parts that wait for the room's actor, with the one that it handles.
    waiting: AtomicUsize,
    /// The home is lost: what the line still brings is not heard.
    is_over: AtomicBool,
}

impl SharedEdge {
    pub(crate) fn new(edge: Edge) -> Arc<Self> {
        Arc::new(Self { edge: Mutex::new(Some(Box::new(edge))) })
    }

    /// Runs this with the edge; none if the room has come to this node. For the room's actor, which fails if another
    /// thread has panicked over the edge.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Edge) -> T) -> Option<T> {
        self.lock().as_deref_mut().map(run)
    }

    /// Takes the edge from all others: the room comes to this node.
    pub(crate) fn take(&self) -> Option<Box<Edge>> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Edge>>> {
        self.edge.lock().expect("no thread has panicked over the edge")
    }

    /// Handles a part that has waited for the room's actor.
    pub(crate) fn handle_part(self: &Arc<Self>, part: Part) -> Result<Next, FrameError> {
        let handled = self.with(|edge| (edge.handle_part(part), edge.look_again()));
        let (next, pause) = handled.unwrap_or((Ok(Next::GoOn), None));
        self.look_again(pause);
        next
    }

    /// Listens to the home, and sends it what the peers of this node say.
    pub(crate) fn listen(self: &Arc<Self>, away: &Away) -> Arc<Listening> {
        let (waiting, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let edge = Arc::downgrade(self);
        let listening = Arc::new(Listening { edge: Weak::clone(&edge), waiting, is_over });
        away.link.taken_by(Arc::clone(&listening) as Arc<dyn TakePart>);
        away.set_edge(edge);
        listening
    }

    /// Looks again after this pause whether the home is to be told something.
    fn look_again(self: &Arc<Self>, pause: Option<Duration>) {
        let (Some(mut pause), Ok(runtime)) = (pause, Handle::try_current()) else { return };
        let edge = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                sleep(pause).await;
                let Some(edge) = edge.upgrade() else { return };
                let Ok(mut edge) = edge.edge.lock() else { return };
                let next = edge.as_mut().and_then(|edge| {
                    edge.looks();
                    edge.look_again()
                });
                match next {
                    Some(next) => pause = next,
                    None => return,
                }
            }
        });
    }
}

impl Edge {
    /// Returns whether a message of this peer, which has its credit, is the next one: a home has admitted the peer, and
    /// what it said before does not wait for the room's actor, so that its credit is here or was returned.
    fn is_next(&self, member: &Member) -> bool {
        let seat = self.by_peer.get(&member.peer_id()).and_then(|seat| self.seats.get(seat));
        seat.is_some_and(|guest| {
            let in_flight = member.in_flight().load(Ordering::Acquire);
            let is_admitted = guest.is_member && guest.member.is_same(member);
            is_admitted && in_flight == guest.unhandled.len() + 1
        })
    }

    /// Handles what has come from the home, if it is a message by itself for few peers, and nothing but that follows of
    /// it. Otherwise returns it, and has done nothing.
    fn handle_directly(&mut self, part: Part) -> Option<Part> {
        if self.seats.len() > MAX_DIRECT || part.more || !self.assembly.is_empty() {
            return Some(part);
        }
        match self.handle_part(part.clone()) {
            Ok(Next::GoOn) => None,
            Ok(Next::Seek | Next::Close) | Err(_) => Some(part),
        }
    }
}

impl ForwardDirectly for SharedEdge {
    fn forward(
        &self,
        member: &Member,
        message: RoomMessage,
        credit: Credit<Member>,
    ) -> Option<(RoomMessage, Credit<Member>)> {
        let mut edge = self.edge.try_lock().ok();
        let edge = edge.as_mut().and_then(|edge| edge.as_deref_mut());
        match edge.filter(|edge| edge.is_next(member)) {
            Some(edge) => {
                edge.forward(member.peer_id(), message, credit);
                None
            }
            None => Some((message, credit)),
        }
    }
}

impl Listening {
    /// Notes that the room's actor has handled a part that has waited for it.
    pub(crate) fn handled(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Hears nothing more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Handles a part, unless it is for the room's actor; then returns it.
    fn handle(&self, part: Part) -> Option<Part> {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return Some(part);
        }
        let Some(shared) = self.edge.upgrade() else { return Some(part) };
        let Ok(mut edge) = shared.edge.try_lock() else { return Some(part) };
        if self.is_over.load(Ordering::Acquire) {
            return None;
        }
        let Some(its) = edge.as_deref_mut() else { return Some(part) };
        let rest = its.handle_directly(part);
        let pause = its.look_again();
        drop(edge);
        shared.look_again(pause);
        rest
    }
}

impl TakePart for Listening {
    fn begin(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Release);
    }

    fn take(&self, part: Part) -> Option<Part> {
        let rest = self.handle(part);
        if rest.is_some() {
            // Before it waits, so that the actor cannot have handled it.
            self.waiting.fetch_add(1, Ordering::AcqRel);
        }
        rest
    }
}

/// Number of peers of this node above which the room's thread handles what comes from the home: other rooms need not
/// wait for it.
const MAX_DIRECT: usize = 64;
