//! State of a media room that its actors and handles share, and the ways to its actors.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actix::prelude::*;
use arc_swap::{ArcSwap, ArcSwapOption};
use callboard_peer_connection::{PeerConnectionHandle, PeerConnections, Rid};
use callboard_supervision::{ArbiterPool, NoSupervisorError, Placement, SupervisorRef};

use crate::bot_seat::BotSeat;
use crate::core::allocate::{Allocator, Layer, SpeakerFirst};
use crate::core::layers::Known;
use crate::core::switch::Encoding;
use crate::event::{MediaEvent, ParticipantEvent, ParticipantId, TrackId};
use crate::facts::SubscriberFacts;
use crate::messages::{ToPublisher, ToRelay, ToRoom, Viewer};
use crate::stage::Stage;
use crate::tap_seat::TapSeat;
use crate::way::Way;

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
    /// The room's actor will read what the stage has decided.
    settling: AtomicBool,
    /// By media threads.
    pub(crate) relays: Vec<Way<ToRelay>>,
    /// Participants on one thread, from which on further ones go to another.
    pub(crate) per_thread: AtomicUsize,
    pub(crate) silence: ArcSwap<Silence>,
    bots: Mutex<HashMap<ParticipantId, Arc<BotSeat>>>,
    taps: ArcSwap<Vec<Arc<TapSeat>>>,
    tap_threads: ArbiterPool,
    /// Participant that dominates the conversation.
    pub(crate) dominant: ArcSwapOption<ParticipantId>,
    /// What creates the allocator of each participant.
    pub(crate) allocator: ArcSwap<NewAllocator>,
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
    /// Media thread of the connection, and of its actors.
    pub(crate) thread: usize,
    events: Recipient<ParticipantEvent>,
    pub(crate) publisher: Way<ToPublisher>,
    pub(crate) viewer: Arc<Viewer>,
    /// Layers of the tracks that it publishes, as its publisher has measured them last.
    pub(crate) layers: ArcSwap<TrackLayers>,
    /// What its publisher knows of the encodings of its tracks of simulcast, for the next instance.
    pub(crate) encodings: ArcSwap<HashMap<TrackId, KnownEncodings>>,
    /// Estimated bits per second of the path to it, [`NO_ESTIMATE`] or [`UNTOLD`].
    pub(crate) estimate: AtomicU64,
    /// What its subscriber has said last.
    pub(crate) facts: ArcSwap<SubscriberFacts>,
}

/// Layers of tracks, each in ascending quality.
pub(crate) type TrackLayers = HashMap<TrackId, Arc<[Layer]>>;

/// What is known of the encodings of a track, by their names in the order of the offer.
pub(crate) type KnownEncodings = Vec<(Option<Rid>, Known)>;

pub(crate) type NewAllocator = Box<dyn Fn() -> Box<dyn Allocator> + Send + Sync>;

impl Seat {
    /// Returns whose seat it is.
    pub(crate) fn participant(&self) -> ParticipantId {
        ParticipantId(self.connection.id())
    }

    /// Tells the participant's application.
    pub(crate) fn tell(&self, event: MediaEvent) {
        // One for each change of the stage, each by a negotiation of a participant; or limited in time.
        self.events.do_send(ParticipantEvent { participant: self.participant(), event });
    }

    pub(crate) fn new(
        connection: PeerConnectionHandle,
        thread: usize,
        events: Recipient<ParticipantEvent>,
    ) -> Self {
        let (publisher, viewer, layers, encodings, facts) = Default::default();
        let estimate = AtomicU64::new(UNTOLD);
        Self { connection, thread, events, publisher, viewer, layers, encodings, estimate, facts }
    }
}

impl Shared {
    pub(crate) fn new(connections: PeerConnections, thread: usize) -> Arc<Self> {
        let (stage, seats, supervisor, room, silence, dominant) = Default::default();
        let relays = (0..connections.media_threads()).map(|_| Way::default()).collect();
        let per_thread = AtomicUsize::new(PER_THREAD);
        let tap_threads = ArbiterPool::growing(TAP_THREADS);
        let (taps, allocator): (_, NewAllocator) =
            (Default::default(), Box::new(|| Box::new(SpeakerFirst)));
        Arc::new(Self {
            connections,
            thread,
            stage,
            seats,
            supervisor,
            room,
            relays,
            per_thread,
            silence,
            settling: AtomicBool::new(false),
            bots: Mutex::default(),
            taps,
            tap_threads,
            dominant,
            allocator: ArcSwap::from_pointee(allocator),
        })
    }

    pub(crate) fn stage(&self) -> MutexGuard<'_, Stage> {
        // Each change is one call, and cannot panic halfway.
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

    /// Removes this seat, if it is still the participant's: it may have joined anew. Returns whether it was.
    pub(crate) fn remove_seat(&self, id: ParticipantId, seat: &Arc<Seat>) -> bool {
        let mut seats = self.seats();
        let is_there = seats.get(&id).is_some_and(|there| Arc::ptr_eq(there, seat));
        if is_there {
            seats.remove(&id);
        }
        is_there
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
        // One for any number of changes, until it is handled.
        if !self.settling.swap(true, Ordering::SeqCst) {
            self.room.do_send(ToRoom::Settle);
        }
    }

    /// Notes that the room's actor is about to do that: further changes are told to it anew.
    pub(crate) fn settles(&self) {
        self.settling.store(false, Ordering::SeqCst);
    }

    pub(crate) fn taps(&self) -> Arc<Vec<Arc<TapSeat>>> {
        self.taps.load_full()
    }

    pub(crate) fn add_tap(&self, tap: &Arc<TapSeat>) {
        self.taps.rcu(|taps| taps.iter().chain([tap]).cloned().collect::<Vec<_>>());
    }

    pub(crate) fn remove_tap(&self, tap: &Arc<TapSeat>) {
        let others = |other: &&Arc<TapSeat>| !Arc::ptr_eq(other, tap);
        self.taps.rcu(|taps| taps.iter().filter(others).cloned().collect::<Vec<_>>());
    }

    /// Asks a participant for a key frame of an encoding of its track.
    pub(crate) fn want_keyframe(&self, of: ParticipantId, track: TrackId, encoding: Encoding) {
        if let Some(seat) = self.seat(of) {
            // A publisher that has no room for it has enough others.
            seat.publisher.try_send(ToPublisher::WantKeyframe { track, encoding });
        } else if let Some(bot) = self.bot(of) {
            bot.want(track);
        }
    }

    fn bots(&self) -> MutexGuard<'_, HashMap<ParticipantId, Arc<BotSeat>>> {
        self.bots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bot(&self, id: ParticipantId) -> Option<Arc<BotSeat>> {
        self.bots().get(&id).cloned()
    }

    pub(crate) fn add_bot(&self, id: ParticipantId, bot: &Arc<BotSeat>) {
        self.bots().insert(id, Arc::clone(bot));
    }

    pub(crate) fn remove_bot(&self, id: ParticipantId) {
        self.bots().remove(&id);
    }

    /// Tells a bot who receives anything of it.
    pub(crate) fn fan_out(&self, id: ParticipantId, bot: &BotSeat) {
        let viewers = self.stage().viewers_of(id).into_iter();
        let viewers = viewers.filter_map(|id| Some(Arc::clone(&self.seat(id)?.viewer)));
        bot.show_to(viewers.collect());
    }

    /// Returns the threads of taps, which may be slow: none of connections.
    pub(crate) fn tap_placement(&self) -> Placement {
        Placement::Pool(self.tap_threads.clone())
    }

    /// Returns where a media thread's connections run, so that packets change no threads.
    pub(crate) fn placement(&self, thread: usize) -> Placement {
        self.connections.placement(thread).unwrap_or_default()
    }

    /// Returns the media thread for the next connection: of those that have room the first from the room's own on, or
    /// else the one with the fewest participants.
    pub(crate) fn next_thread(&self) -> usize {
        let mut taken = vec![0; self.relays.len()];
        for seat in self.seats().values() {
            taken[seat.thread % self.relays.len()] += 1;
        }
        let most = self.per_thread.load(Ordering::Relaxed);
        place(&taken, self.thread, most)
    }
}

/// Returns the first of these places, from `first` on, that has fewer than `most`, or else the one that has the fewest.
fn place(taken: &[usize], first: usize, most: usize) -> usize {
    let mut places = (0..taken.len()).map(|turn| (first + turn) % taken.len());
    let free = places.clone().find(|&place| taken[place] < most);
    free.or_else(|| places.by_ref().min_by_key(|&place| taken[place])).unwrap_or(first)
}

/// Participants on a thread, from which on further ones go to another: with nine pictures and three voices for each,
/// these take about half of a core.
const PER_THREAD: usize = 100;

/// Estimate where nothing is estimated, or the peer does not help with it.
pub(crate) const NO_ESTIMATE: u64 = 0;
/// Estimate before the connection has said any.
pub(crate) const UNTOLD: u64 = u64::MAX;

/// Name of the room's own actor in the tree.
pub(crate) const ROOM: &str = "stage";
/// Threads of a room's taps at most; each begins when a tap needs it.
const TAP_THREADS: usize = 2;

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_room_fills_its_own_thread_first() {
        assert_eq!(place(&[0, 0, 0], 1, 2), 1);
        assert_eq!(place(&[0, 1, 0], 1, 2), 1);
        assert_eq!(place(&[0, 2, 0], 1, 2), 2);
        assert_eq!(place(&[1, 2, 2], 1, 2), 0);
    }

    #[test]
    fn when_all_are_full_the_emptiest_is_next() {
        assert_eq!(place(&[3, 2, 4], 0, 2), 1);
        assert_eq!(place(&[2, 2, 2], 2, 2), 2);
    }
}
