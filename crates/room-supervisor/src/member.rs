//! Member of a room, as rooms and their handles show it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callboard_outbox::{CloseFrame, Outbox, OutboxLimits};
use serde_json::{Map, Value};

use crate::auth::{AuthData, PublicMetadata};
use crate::credit::Counted;
use crate::peer_id::PeerId;

/// Member of a room: a peer that has joined. Cheap to clone.
#[derive(Clone)]
pub struct Member(Arc<Inner>);

/// State of a peer from the reservation of its membership until it is gone. One allocation for each peer.
struct Inner {
    auth: AuthData,
    outbox: Arc<Outbox>,
    handle: Mutex<Option<Handle>>,
    /// Number of messages of the peer that its room has not handled.
    in_flight: AtomicUsize,
    /// Whether it is, at its room's home, a peer of another node.
    is_guest: AtomicBool,
    /// Number of its last message, at its home; 0 if it was never a guest there.
    number: AtomicU64,
    /// Number of the last one that its home has handled.
    handled: AtomicU64,
}

/// Handle of the application's to a peer.
type Handle = Arc<dyn Any + Send + Sync>;

/// Peer for which a membership is reserved ([`RoomHandle::reserve`](crate::RoomHandle::reserve)).
pub struct NewMember {
    auth: AuthData,
    outbox: Arc<Outbox>,
    welcome: Map<String, Value>,
    handle: Option<Handle>,
    is_guest: bool,
}

impl NewMember {
    /// Creates a peer with this authentication data and this outbox of its client.
    pub fn new(auth: AuthData, outbox: Arc<Outbox>) -> Self {
        Self { auth, outbox, welcome: Map::new(), handle: None, is_guest: false }
    }

    /// Adds fields to the peer's `authenticated` message.
    pub fn welcome(self, welcome: Map<String, Value>) -> Self {
        Self { welcome, ..self }
    }

    /// Makes it a peer of another node.
    pub(crate) fn guest(self) -> Self {
        Self { is_guest: true, ..self }
    }

    /// Sets the handle by which the application reaches the peer ([`Member::handle`]).
    pub fn handle<T: Any + Send + Sync>(self, handle: Arc<T>) -> Self {
        Self { handle: Some(handle), ..self }
    }
}

impl Member {
    /// Returns the member, and the additional fields of its `authenticated` message.
    pub(crate) fn new(
        NewMember { auth, outbox, welcome, handle, is_guest }: NewMember,
    ) -> (Self, Map<String, Value>) {
        let in_flight = AtomicUsize::new(0);
        let (handle, is_guest) = (Mutex::new(handle), AtomicBool::new(is_guest));
        let [number, handled] = [0; 2].map(AtomicU64::new);
        let inner = Inner { auth, outbox, handle, in_flight, is_guest, number, handled };
        (Self(Arc::new(inner)), welcome)
    }

    /// Returns a member whose client is connected to another node: of that, this one knows no more than its clients do.
    pub(crate) fn remote(peer: PeerId, public: PublicMetadata) -> Self {
        let outbox = Outbox::new(OutboxLimits::default());
        // Nothing that is put in would arrive.
        outbox.close(CloseFrame::NORMAL);
        let auth = AuthData { public, ..AuthData::new(peer) };
        Self::new(NewMember::new(auth, Arc::new(outbox))).0
    }

    /// Returns the id of the peer.
    pub fn peer_id(&self) -> PeerId {
        self.0.auth.peer_id
    }

    /// Returns the authentication data of the peer: credentials, metadata and public metadata. In a room that
    /// [another node runs](crate::RoomHandle::home), of a peer of another node only the public metadata.
    pub fn auth(&self) -> &AuthData {
        &self.0.auth
    }

    /// Returns the public metadata of the peer, which the clients of the other members get.
    pub fn public(&self) -> &PublicMetadata {
        &self.0.auth.public
    }

    /// Returns the handle with which the peer was [reserved](NewMember::handle), if it is of this type.
    pub fn handle<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let handle = self.lock_handle().clone();
        handle?.downcast().ok()
    }

    /// Sets the handle, in place of an earlier one.
    pub(crate) fn set_handle<T: Any + Send + Sync>(&self, handle: Arc<T>) {
        *self.lock_handle() = Some(handle);
    }

    /// Removes the handle, because the peer's client is at another node.
    pub(crate) fn remove_handle(&self) {
        let handle = self.lock_handle().take();
        // Not while it is locked: it may be the last one.
        drop(handle);
    }

    fn lock_handle(&self) -> MutexGuard<'_, Option<Handle>> {
        // Every change is one assignment.
        self.0.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether this is, at its room's home, a peer of another node.
    pub(crate) fn is_guest(&self) -> bool {
        self.0.is_guest.load(Ordering::Acquire)
    }

    /// Returns the number of its last message: its next node goes on from there.
    pub(crate) fn number(&self) -> u64 {
        self.0.number.load(Ordering::Acquire)
    }

    /// Notes the number of its last message.
    pub(crate) fn set_number(&self, number: u64) {
        self.0.number.fetch_max(number, Ordering::AcqRel);
    }

    /// Returns the number of its last message that its home has handled, as a guest; 0 if there is none.
    pub(crate) fn handled(&self) -> u64 {
        self.0.handled.load(Ordering::Acquire)
    }

    /// Notes the number of its last message that was handled.
    pub(crate) fn set_handled(&self, number: u64) {
        self.0.handled.fetch_max(number, Ordering::AcqRel);
    }

    /// Notes whether it is a peer of another node.
    pub(crate) fn set_guest(&self, is_guest: bool) {
        self.0.is_guest.store(is_guest, Ordering::Release);
    }

    /// Returns whether this is of the same membership.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the outbox of the peer's client. It takes nothing in a room that [another node
    /// runs](crate::RoomHandle::home), if the peer is of another node.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.0.outbox
    }
}

impl Counted for Member {
    fn in_flight(&self) -> &AtomicUsize {
        &self.0.in_flight
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}
