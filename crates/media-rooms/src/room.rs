//! Handle of a media room.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::GetMediaThread;
use callboard_peer_connection::{PeerConnectionHandle, PeerConnections};
use callboard_supervision::{
    ChildId, ChildSpec, Flags, Restart, StartChildError, StartSupervisorError, SupervisorRef,
    SupervisorSpec,
};

use serde_json::Value;

use crate::actor::{RoomActor, start, tap};
use crate::bot::Bot;
use crate::core::allocate::Allocator;
use crate::error::{JoinMediaRoomError, StartTapError};
use crate::event::{ParticipantEvent, ParticipantId, TrackId, TrackInfo};
use crate::facts::{EncodingFacts, SubscriberFacts};
use crate::keyframe_wishes::KeyframeWishes;
use crate::participant::Participant;
use crate::policy::{MediaPolicy, ParticipantOptions, Policy};
use crate::shared::{ROOM, Seat, Shared};
use crate::tap::{MediaTap, TapHandle, TapOptions};

/// Handle of a media room. Cheap to clone, usable from any thread.
///
/// ```no_run
/// use actix::prelude::*;
/// use callboard_media_rooms::*;
/// use callboard_peer_connection::*;
///
/// /// Owner of one client's connection.
/// struct Client {
///     participant: Option<Participant>,
/// }
///
/// impl Actor for Client {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<PeerConnectionEvent> for Client {
///     type Result = ();
///
///     fn handle(&mut self, event: PeerConnectionEvent, _: &mut Self::Context) {
///         // The room takes what is for it, and leaves the rest.
///         let event = self.participant.as_ref().map_or(Some(event.event.clone()), |it| it.handle(event.event));
///         println!("{event:?}");
///     }
/// }
/// # impl Handler<ParticipantEvent> for Client {
/// #     type Result = ();
/// #     fn handle(&mut self, _: ParticipantEvent, _: &mut Self::Context) {}
/// # }
///
/// # async fn open(connections: PeerConnections, client: Addr<Client>, offer: SessionDescription)
/// # -> Result<SessionDescription, Box<dyn std::error::Error>> {
/// let room = MediaRoom::start(connections.clone(), 0).await?;
/// let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
/// let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
/// let connection = connections
///     .open_on(room.next_thread(), &api, Configuration::default(), client.clone().recipient())
///     .await?;
/// let participant = room.join(connection, "ada", client.recipient()).await?;
/// let answer = participant.accept_offer(offer).await?;
/// # Ok(answer)
/// # }
/// ```
#[derive(Clone)]
pub struct MediaRoom {
    shared: Arc<Shared>,
}

impl MediaRoom {
    /// Starts a media room as a tree of its own, for connections of this media thread. Needs a running actix
    /// [`System`].
    ///
    /// # Errors
    /// [`StartSupervisorError`]
    pub async fn start(
        connections: PeerConnections,
        thread: usize,
    ) -> Result<Self, StartSupervisorError> {
        let (spec, room) = Self::child("media", connections, thread);
        SupervisorSpec::new(Flags::one_for_one()).child(spec).start_as("media-room").await?;
        Ok(room)
    }

    /// Returns the spec of a media room as a child of an application's supervisor, and the room's handle. The room's
    /// own actor runs on this media thread; connections run where [`next_thread`](Self::next_thread) says.
    pub fn child(
        id: impl Into<ChildId>,
        connections: PeerConnections,
        thread: usize,
    ) -> (ChildSpec, Self) {
        let shared = Shared::new(connections, thread);
        let (room, placement) = (Self { shared: Arc::clone(&shared) }, shared.placement(thread));
        let started = Mutex::new(shared);
        let spec = ChildSpec::try_supervisor(id, move |itself| {
            let shared = started.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
            shared.started(itself);
            let room = ChildSpec::new(ROOM, move || RoomActor::new(&shared));
            Ok(SupervisorSpec::new(Flags::one_for_one().intensity(RESTARTS, WITHIN))
                .child(room.placement(placement.clone())))
        });
        (spec.restart(Restart::Permanent), room)
    }

    /// Returns the media thread of the room's own actor.
    pub fn thread(&self) -> usize {
        self.shared.thread
    }

    /// Returns the media thread on which the next connection should be opened ([`PeerConnections::open_on`]): the
    /// room's own until it has [so many](Self::set_most_per_thread) participants, then another. Within a thread,
    /// packets go to each viewer by themselves; between two they go once for all viewers there.
    pub fn next_thread(&self) -> usize {
        self.shared.next_thread()
    }

    /// Sets how many participants of this room are on one media thread before the next is used. When all have so many,
    /// further ones go where the fewest are. Default: 100.
    pub fn set_most_per_thread(&self, participants: NonZeroUsize) {
        self.shared.per_thread.store(participants.get(), Ordering::Relaxed);
    }

    /// Sets what divides the bandwidth of each participant among the video tracks that it receives: the result of this
    /// function, which is called for each that joins from now on, and again when its subscriber is restarted. Default:
    /// [`SpeakerFirst`](crate::SpeakerFirst).
    pub fn set_allocator<A: Allocator>(&self, new: impl Fn() -> A + Send + Sync + 'static) {
        self.shared.allocator.store(Arc::new(Box::new(move || Box::new(new()))));
    }

    /// Lets a connection of the room's pool join, which must be in
    /// [`MediaMode::Rtp`](callboard_peer_connection::MediaMode::Rtp). The others know the participant by its name;
    /// `events` gets what happens in the room. The participant leaves when it is dropped, or when the connection ends.
    ///
    /// # Errors
    /// [`JoinMediaRoomError`]
    pub async fn join(
        &self,
        connection: PeerConnectionHandle,
        participant: impl Into<ParticipantOptions>,
        events: Recipient<ParticipantEvent>,
    ) -> Result<Participant, JoinMediaRoomError> {
        let (shared, id) = (&self.shared, ParticipantId(connection.id()));
        // Its actors run where it does, so that packets change no threads.
        let thread = connection.send(GetMediaThread).await?;
        let seat = shared.add_seat(id, Seat::new(connection, thread, events));
        let seat = seat.ok_or(JoinMediaRoomError::Joined)?;
        shared.stage().join(participant.into().info(id));
        // From here on it leaves if this is not carried through.
        let participant = Participant::new(Arc::clone(shared), id, seat);
        shared.settle();
        match start(shared, id).await {
            // By the room's actor.
            Ok(()) | Err(StartChildError::AlreadyStarted) => Ok(participant),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a bot join: a participant without a connection, whose frames the application writes. `participant` is as
    /// for [`join`](Self::join).
    ///
    /// # Errors
    /// [`JoinMediaRoomError::Ended`], also before the room's start
    pub fn bot(
        &self,
        participant: impl Into<ParticipantOptions>,
    ) -> Result<Bot, JoinMediaRoomError> {
        Bot::join(&self.shared, participant.into())
    }

    /// Starts a tap, which gets packets and whole frames of the room's tracks. `factory` makes it, on its thread, and
    /// makes it anew after a fault.
    ///
    /// ```no_run
    /// use callboard_media_rooms::{Frame, MediaRoom, MediaTap, TapOptions, TrackInfo};
    /// use callboard_peer_connection::TrackKind;
    ///
    /// struct Listener;
    ///
    /// impl MediaTap for Listener {
    ///     fn frame(&mut self, track: &TrackInfo, frame: &Frame) {
    ///         println!("{}: {} bytes of {:?}", track.name, frame.data.len(), frame.codec);
    ///     }
    /// }
    ///
    /// # async fn listen(room: MediaRoom) -> Result<(), Box<dyn std::error::Error>> {
    /// let sound = TapOptions::new("listener").kind(TrackKind::Audio);
    /// let listener = room.tap(sound, || Listener).await?;
    /// // …
    /// listener.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StartTapError`]
    pub async fn tap<T: MediaTap>(
        &self,
        options: TapOptions,
        factory: impl FnMut() -> T + Send + 'static,
    ) -> Result<TapHandle, StartTapError> {
        self.open_tap(options, &KeyframeWishes::default(), factory).await
    }

    /// Sets who may publish, and who receives what. Default: all, and everything.
    pub fn set_policy(&self, policy: Arc<dyn MediaPolicy>) {
        self.shared.stage().set_policy(Policy::new(policy));
        self.shared.settle();
    }

    /// Sets what the [policy](MediaPolicy) knows of a participant, such as its new role, and asks it anew. Returns
    /// whether there is such a participant.
    pub fn set_metadata(&self, participant: ParticipantId, metadata: impl Into<Value>) -> bool {
        let there = self.shared.stage().set_metadata(participant, Arc::new(metadata.into()));
        self.shared.settle();
        there
    }

    /// Asks the [policy](MediaPolicy) anew for all participants and tracks, because its answers have changed.
    pub fn review(&self) {
        self.shared.stage().review();
        self.shared.settle();
    }

    /// Starts a tap of this crate, which asks for key frames by these wishes.
    ///
    /// # Errors
    /// [`StartTapError`]
    pub(crate) async fn open_tap<T: MediaTap>(
        &self,
        options: TapOptions,
        wishes: &KeyframeWishes,
        factory: impl FnMut() -> T + Send + 'static,
    ) -> Result<TapHandle, StartTapError> {
        tap::open(&self.shared, options, wishes, factory).await
    }

    /// Mutes a track for all, or ends that: while it is muted, nothing of it is forwarded. Returns whether there is
    /// such a track.
    ///
    /// It holds for this track, also when it is published anew in the same section; and for the track of the same kind
    /// and source that the same [client](ParticipantOptions::client) publishes over its next connection, which has an
    /// identifier of its own. Where it is not clear which one that is, one in a section of the same `a=mid` is taken,
    /// or else the first. A client that publishes in another section of the same connection does so in a new track,
    /// which is not muted. What must hold for all that a client publishes, such as a moderator's decision, is for the
    /// [policy](MediaPolicy): [`may_publish`](MediaPolicy::may_publish) knows the participant's name, which stays, and
    /// the kind of the track; [`review`](Self::review) asks it anew.
    pub fn mute(&self, track: TrackId, muted: bool) -> bool {
        let there = self.shared.stage().mute(track, muted);
        self.shared.settle();
        there
    }

    /// Returns all published tracks, in the order in which they were published.
    pub fn tracks(&self) -> Vec<TrackInfo> {
        self.shared.stage().tracks().iter().map(|track| track.info.clone()).collect()
    }

    /// Returns the encodings of a participant's pictures, as they were measured last, twice a second: those of its
    /// tracks in the order in which they were published, each in the order of the offer. Empty of bots, which are not
    /// measured.
    pub fn encodings(&self, participant: ParticipantId) -> Vec<EncodingFacts> {
        let Some(seat) = self.shared.seat(participant) else { return Vec::new() };
        let (stage, layers) = (self.shared.stage(), seat.layers.load());
        let encodings = stage.tracks_of(participant).flat_map(|track| {
            let id = track.info.id;
            let mut highest = BTreeMap::new();
            for &layer in layers.get(&id).iter().flat_map(|layers| layers.iter()) {
                let known = highest.entry(layer.encoding).or_insert(layer);
                if layer.temporal > known.temporal {
                    *known = layer;
                }
            }
            highest.into_iter().map(move |(place, layer)| EncodingFacts {
                track: id,
                rid: track.encodings.get(place).copied(),
                layer,
            })
        });
        encodings.collect()
    }

    /// Returns what a participant's subscriber sends to it, as it has said last: with each change of that, at most ten
    /// times a second. None if there is no such participant, or it is a bot.
    pub fn subscriber_facts(&self, participant: ParticipantId) -> Option<Arc<SubscriberFacts>> {
        Some(self.shared.seat(participant)?.facts.load_full())
    }

    /// Returns whether the room runs.
    pub fn is_running(&self) -> bool {
        self.shared.supervisor().is_ok_and(SupervisorRef::is_running)
    }

    /// Returns the room's supervisor: its children are `stage`, and for each participant a supervisor of `publisher`
    /// and `subscriber`. None before its start.
    pub fn supervisor(&self) -> Option<SupervisorRef> {
        self.shared.supervisor().ok().cloned()
    }
}

impl fmt::Debug for MediaRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaRoom").field("thread", &self.thread()).finish_non_exhaustive()
    }
}

/// Restarts of the room's actor before its supervisor gives up …
const RESTARTS: u32 = 5;
/// … within this time.
const WITHIN: Duration = Duration::from_secs(10);
