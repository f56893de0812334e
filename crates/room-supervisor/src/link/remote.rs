//! Way to a room that another node runs, for its handles.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use callboard_cluster::{Epoch, NodeId};
use callboard_outbox::CloseFrame;
use serde_json::Value;

use super::Link;
use super::wire::ToHome;
use crate::credit::Credit;
use crate::error::{ForwardError, KickError};
use crate::member::Member;
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;

/// What the handles of a room that is away reach of it.
pub(crate) struct Away {
    pub(crate) link: Link,
    /// Number of the home's hold. Only its home itself gives it another one.
    epoch: AtomicU64,
    /// Members as the home has told of them.
    members: Mutex<Arc<[Member]>>,
    /// Members as they were when the way was made.
    first: Arc<[Member]>,
    /// Whether the room was closed from here.
    is_stopped: AtomicBool,
    /// What has the peers of this node, once it listens to the link.
    edge: OnceLock<Weak<dyn ForwardDirectly>>,
}

/// What has the peers of this node in a room that another node runs.
pub(crate) trait ForwardDirectly: Send + Sync {
    /// Forwards a member's message on the thread of its peer. Returns what is left to the room's actor.
    fn forward(
        &self,
        member: &Member,
        message: RoomMessage,
        credit: Credit<Member>,
    ) -> Option<(RoomMessage, Credit<Member>)>;
}

impl Away {
    /// Creates the way to a home, with the members that are known before it has told of them.
    pub(crate) fn new(link: Link, epoch: Epoch, members: Arc<[Member]>) -> Self {
        let first = Arc::clone(&members);
        Self {
            link,
            epoch: AtomicU64::new(epoch.0),
            members: Mutex::new(members),
            first,
            is_stopped: AtomicBool::new(false),
            edge: OnceLock::new(),
        }
    }

    /// Returns the node that runs the room.
    pub(crate) fn node(&self) -> &NodeId {
        self.link.node()
    }

    /// Returns the number of the home's hold.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Notes that the home has claimed the room again.
    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::Release);
    }

    /// Returns the members, by their ids.
    pub(crate) fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether this was a member when the way was made: of a room that this node has given away, at that time.
    pub(crate) fn was_member(&self, member: &Member) -> bool {
        let at = self.first.binary_search_by_key(&member.peer_id(), Member::peer_id);
        at.is_ok_and(|at| self.first[at].is_same(member))
    }

    pub(crate) fn set_members(&self, members: Arc<[Member]>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// Sets what has the peers of this node. It belongs to the room's actor, and ends with that.
    pub(crate) fn set_edge(&self, edge: Weak<dyn ForwardDirectly>) {
        _ = self.edge.set(edge);
    }

    /// Forwards a member's message on the thread of its peer. Returns what is left to the room's actor.
    pub(crate) fn forward(
        &self,
        member: &Member,
        message: RoomMessage,
        credit: Credit<Member>,
    ) -> Option<(RoomMessage, Credit<Member>)> {
        match self.edge.get().and_then(Weak::upgrade) {
            Some(edge) => edge.forward(member, message, credit),
            None => Some((message, credit)),
        }
    }

    /// Ends the link: there are no members any more, as far as is known here.
    pub(crate) fn end(&self) {
        self.link.close();
        self.set_members(Arc::new([]));
    }

    pub(crate) fn member(&self, peer: PeerId) -> Option<Member> {
        let members = self.members();
        let at = members.binary_search_by_key(&peer, Member::peer_id).ok()?;
        members.get(at).cloned()
    }

    /// Sends a message of this server to members, by the home.
    pub(crate) fn send(&self, message: &RoomMessage) -> Result<(), ForwardError> {
        let RoomMessage { event, data, to, .. } = message;
        if self.link.is_closed() {
            return Err(ForwardError::RoomUnavailable);
        }
        if let Some(To::Peers(peers)) = to {
            let unknown = peers.iter().copied().filter(|&peer| self.member(peer).is_none());
            let unknown: Vec<_> = unknown.collect();
            if !unknown.is_empty() {
                return Err(ForwardError::NoSuchPeer(unknown));
            }
        }
        let to = to.clone().ok_or(ForwardError::NotAddressed)?;
        if !self.link.flush() {
            return Err(ForwardError::TooManyInFlight);
        }
        let header = ToHome::Send { event: event.clone(), to: Some(to.into()) };
        self.link.send(&header, &[data.get().as_bytes()]);
        Ok(())
    }

    /// Closes the connection of a member, by the home.
    pub(crate) fn kick(&self, peer: PeerId, close: CloseFrame) -> Result<(), KickError> {
        self.member(peer).filter(|_| !self.link.is_closed()).ok_or(KickError::NoSuchPeer)?;
        let CloseFrame { code, reason } = close;
        self.link.send(&ToHome::Kick { peer, code, reason: reason.into_owned() }, &[]);
        Ok(())
    }

    /// Closes the room, at home and so everywhere. Once.
    pub(crate) fn stop(&self, details: &Value) {
        if self.is_stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.link.send(&ToHome::Stop, &[details.to_string().as_bytes()]);
    }
}
