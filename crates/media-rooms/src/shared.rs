//! State of a media room that its actors and handles share, and the ways to its actors.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actix::prelude::*;
use arc_swap::{ArcSwap, ArcSwapOption};
use callboard_peer_connection::{PeerConnectionHandle, PeerConnections};
use callboard_supervision::{NoSupervisorError, Placement, SupervisorRef};

use crate::event::{MediaEvent, ParticipantEvent, ParticipantId, TrackId};
use crate::messages::{ToPublisher, ToRoom, ToSubscriber};
use crate::stage::Stage;

/// State of a media room that survives the restarts of its actors.
pub(crate) struct Shared {
    connections: PeerConnections,
    /// Media thread of the room.
    pub(crate) thread: usize,
    stage: Mutex<Stage>,
    seats: Mutex<HashMap<ParticipantId, Arc<Seat>>>,
    /// The room's supervisor, from its start on.
    supervisor: OnceLock<SupervisorRef>,
    pub(crate) room: Way<ToRoom>,
    pub(crate) silence: ArcSwap<Silence>,
}

/// Tracks that are not forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Silence {
    /// By the application.
    pub(crate) muted: BTreeSet<TrackId>,
    /// Voices where others are louder.
    pub(crate) quiet: BTreeSet<TrackId>,
}

/// Ways to a participant.
pub(crate) struct Seat {
    pub(crate) connection: PeerConnectionHandle,
    events: Recipient<ParticipantEvent>,
    pub(crate) publisher: Way<ToPublisher>,
    pub(crate) subscriber: Way<ToSubscriber>,
}

/// Way to the current instance of an actor.
pub(crate) struct Way<M: Message + Send + 'static>(ArcSwapOption<Recipient<M>>)
where
    M::Result: Send;

impl<M: Message<Result = ()> + Send> Default for Way<M> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<M: Message<Result = ()> + Send> Way<M> {
    /// Lets the way lead to this instance.
    pub(crate) fn leads_to(&self, actor: Recipient<M>) {
        self.0.store(Some(Arc::new(actor)));
    }

    /// Sends a message if there is an instance and its mailbox has room.
    pub(crate) fn try_send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            _ = actor.try_send(message);
        }
    }

    /// Sends a message that must arrive if there is an instance; the next one reads the state by itself.
    pub(crate) fn do_send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            actor.do_send(message);
        }
    }
}

impl Seat {
    /// Tells the participant's application.
    pub(crate) fn tell(&self, event: MediaEvent) {
        // One for each change of the stage, each by a negotiation of a participant.
        self.events
            .do_send(ParticipantEvent { participant: ParticipantId(self.connection.id()), event });
    }

    pub(crate) fn new(
        connection: PeerConnectionHandle,
        events: Recipient<ParticipantEvent>,
    ) -> Self {
        Self { connection, events, publisher: Way::default(), subscriber: Way::default() }
    }
}

impl Shared {
    pub(crate) fn new(connections: PeerConnections, thread: usize) -> Arc<Self> {
        let (stage, seats, supervisor, room, silence) = Default::default();
        Arc::new(Self { connections, thread, stage, seats, supervisor, room, silence })
    }

    pub(crate) fn stage(&self) -> MutexGuard<'_, Stage> {
        // Every change is one call, none of which panics halfway.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<ParticipantId, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seat(&self, id: ParticipantId) -> Option<Arc<Seat>> {
        self.seats().get(&id).cloned()
    }

    pub(crate) fn all_seats(&self) -> Vec<Arc<Seat>> {
        self.seats().values().cloned().collect()
    }

    /// Returns the participants that have a seat.
    pub(crate) fn seated(&self) -> Vec<ParticipantId> {
        self.seats().keys().copied().collect()
    }

    /// Adds a participant's seat. None if there is one.
    pub(crate) fn add_seat(&self, id: ParticipantId, seat: Seat) -> Option<Arc<Seat>> {
        let mut seats = self.seats();
        if seats.contains_key(&id) {
            return None;
        }
        let seat = Arc::new(seat);
        seats.insert(id, Arc::clone(&seat));
        Some(seat)
    }

    pub(crate) fn remove_seat(&self, id: ParticipantId) -> Option<Arc<Seat>> {
        self.seats().remove(&id)
    }

    pub(crate) fn started(&self, supervisor: SupervisorRef) {
        // The reference leads to the supervisor through its restarts.
        _ = self.supervisor.set(supervisor);
    }

    pub(crate) fn supervisor(&self) -> Result<&SupervisorRef, NoSupervisorError> {
        self.supervisor.get().ok_or(NoSupervisorError)
    }

    /// Returns the supervisor of a participant's actors.
    pub(crate) fn participant(&self, id: ParticipantId) -> Option<SupervisorRef> {
        self.supervisor.get()?.supervisor(&id.to_string()).ok()
    }

    /// Lets the room's actor carry out what the stage has decided. While it is being restarted that is not lost: its
    /// next instance does.
    pub(crate) fn settle(&self) {
        // One for each change of the stage.
        self.room.do_send(ToRoom::Settle);
    }

    /// Returns the room's thread: that of its connections, so that packets change no threads.
    pub(crate) fn placement(&self) -> Placement {
        self.connections.placement(self.thread).unwrap_or_default()
    }
}

/// Name of the room's own actor in the tree.
pub(crate) const ROOM: &str = "stage";
