//! Tracks between one client and the server, shared by the client's server peers, one after another, and by the handles
//! of the application.

mod client_track;
mod samples;
mod server_track;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use actix::prelude::*;
use callboard_peer_connection::error::AddTrackError;
use callboard_peer_connection::{
    LocalTrack, PeerConnectionHandle, PeerConnectionId, ReceivedSample, SenderId, TransceiverId,
};

pub use client_track::ClientTrack;
pub(crate) use client_track::{AskForKeyframe, NewClientTrack};
pub use samples::WaitingSamples;
use samples::{Announced, Queue};
use server_track::Shared;
pub use server_track::{AddServerTrackError, KeyframeRequest, ServerTrack, WriteTrackError};

/// Tracks of one client. Most clients have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracks(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Server peer, which is told that the application has changed something.
    server: Option<Recipient<TracksChanged>>,
    /// Whether it has been told, and has not looked yet.
    told: bool,
    connection: Option<PeerConnectionHandle>,
    sent: BTreeMap<u64, Sent>,
    last: u64,
    /// Senders of tracks that have ended, on the current connection.
    ended: Vec<SenderId>,
    received: BTreeMap<TransceiverId, ClientTrack>,
    samples: Queue<(ClientTrack, ReceivedSample)>,
}

/// Track that the server sends.
#[derive(Debug)]
struct Sent {
    track: LocalTrack,
    /// Weak: it ends with the last handle of the application.
    handle: Weak<Shared>,
    place: Place,
}

/// Place of a track on the client's current connection.
#[derive(Clone, Debug)]
enum Place {
    None,
    Adding,
    On(SenderId, TransceiverId),
    Refused(AddTrackError),
}

/// What the application has changed, for the current connection.
pub(crate) struct Changes {
    pub(crate) connection: PeerConnectionHandle,
    pub(crate) add: Vec<(u64, LocalTrack)>,
    pub(crate) remove: Vec<SenderId>,
}

/// Where a track was added, or why not.
pub(crate) type Added = Result<(SenderId, TransceiverId), AddTrackError>;

/// The application has changed what is sent to the client.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TracksChanged;

impl Tracks {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // Each change is complete in itself.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a track that the server sends.
    pub(crate) fn send(&self, track: LocalTrack) -> Result<ServerTrack, AddServerTrackError> {
        if track.codec.kind().is_none() {
            return Err(AddServerTrackError::InvalidTrack(track.codec.mime_type));
        }
        let (handle, server) = self.with(|state| {
            if state.sent.len() >= ServerTrack::MOST {
                return Err(AddServerTrackError::TooMany);
            }
            if state.sent.values().any(|sent| sent.track.id == track.id) {
                return Err(AddServerTrackError::AlreadyAdded);
            }
            state.last += 1;
            let handle = ServerTrack::new(self.clone(), state.last, track.clone());
            let sent = Sent { track, handle: handle.downgrade(), place: Place::None };
            state.sent.insert(state.last, sent);
            Ok((handle, state.tells()))
        })?;
        tell(server);
        Ok(handle)
    }

    /// Ends a track that the server sends.
    fn end(&self, number: u64) {
        let server = self.with(|state| match state.sent.remove(&number)?.place {
            Place::On(sender, _) => {
                state.ended.push(sender);
                state.tells()
            }
            Place::None | Place::Adding | Place::Refused(_) => None,
        });
        tell(server);
    }

    /// Returns the current connection, and the sender of this track on it.
    fn sender(&self, number: u64) -> Result<(PeerConnectionHandle, SenderId), WriteTrackError> {
        self.with(|state| {
            let place = state.sent.get(&number).map(|sent| &sent.place);
            match (place, &state.connection) {
                (Some(Place::On(sender, _)), Some(connection)) => Ok((connection.clone(), *sender)),
                (Some(Place::Refused(error)), _) => Err(WriteTrackError::Refused(error.clone())),
                _ => Err(WriteTrackError::NotConnected),
            }
        })
    }

    /// Sets the server peer that adds tracks to the connection, if there is one.
    pub(super) fn serve(&self, server: Option<Recipient<TracksChanged>>) {
        self.with(|state| (state.server, state.told) = (server, false));
    }

    /// Sets the current connection, on which there is no track yet, and returns the tracks of the client that are gone
    /// with the last one.
    pub(crate) fn connected(&self, connection: Option<PeerConnectionHandle>) -> Vec<ClientTrack> {
        self.with(|state| {
            state.connection = connection;
            state.ended.clear();
            state.sent.values_mut().for_each(|sent| sent.place = Place::None);
            std::mem::take(&mut state.received).into_values().collect()
        })
    }

    /// Returns what is to be changed on the current connection, if there is anything.
    pub(super) fn changes(&self) -> Option<Changes> {
        self.with(|state| {
            state.told = false;
            let connection = state.connection.clone()?;
            let remove = std::mem::take(&mut state.ended);
            let missing = state.sent.iter_mut();
            let missing = missing.filter(|(_, sent)| matches!(sent.place, Place::None));
            let add = missing.map(|(number, sent)| {
                sent.place = Place::Adding;
                (*number, sent.track.clone())
            });
            let add: Vec<_> = add.collect();
            let is_any = !add.is_empty() || !remove.is_empty();
            is_any.then_some(Changes { connection, add, remove })
        })
    }

    /// Notes where a track was added to a connection. Returns the sender if the track has ended meanwhile.
    pub(super) fn added(
        &self,
        connection: PeerConnectionId,
        number: u64,
        added: Added,
    ) -> Option<SenderId> {
        self.with(|state| {
            if state.connection.as_ref().map(PeerConnectionHandle::id) != Some(connection) {
                return None;
            }
            match (state.sent.get_mut(&number), added) {
                (Some(sent), Ok((sender, transceiver))) => {
                    sent.place = Place::On(sender, transceiver);
                    None
                }
                (Some(sent), Err(error)) => {
                    sent.place = Place::Refused(error);
                    None
                }
                (None, Ok((sender, _))) => Some(sender),
                (None, Err(_)) => None,
            }
        })
    }

    /// Returns a request for a key frame of the track that this transceiver sends, unless there is one that the
    /// application has not handled.
    pub(super) fn keyframe_requested(&self, transceiver: TransceiverId) -> Option<KeyframeRequest> {
        let handle = self.with(|state| {
            let on = |sent: &&Sent| matches!(sent.place, Place::On(_, here) if here == transceiver);
            state.sent.values().find(on)?.handle.upgrade()
        });
        // Outside of the lock: this may be the last handle.
        KeyframeRequest::of(ServerTrack::from(handle?))
    }

    /// Notes a track of the client, which the application is told next; returns the one that it replaces.
    pub(super) fn receive(&self, track: ClientTrack) -> Option<ClientTrack> {
        self.with(|state| {
            state.samples.announce();
            state.received.insert(track.id(), track)
        })
    }

    /// Removes a track of the client.
    pub(super) fn lose(&self, transceiver: TransceiverId) -> Option<ClientTrack> {
        self.with(|state| state.received.remove(&transceiver))
    }

    /// Returns the tracks of the client, which another instance of the application is told next.
    pub(super) fn received(&self) -> Vec<ClientTrack> {
        self.with(|state| {
            state.samples.announce();
            state.received.values().cloned().collect()
        })
    }

    /// Adds a frame to those that wait for the application; returns what it is to be told, if it has not been told.
    pub(super) fn push(&self, sample: ReceivedSample) -> Option<WaitingSamples> {
        let until = self.with(|state| {
            let track = state.received.get(&sample.transceiver)?.clone();
            let bytes = sample.data.len();
            state.samples.push((track, sample), bytes, |(track, _)| track.count_dropped())
        });
        until.map(|until| WaitingSamples::new(self.clone(), until))
    }

    fn take_samples(&self, until: Announced) -> Vec<(ClientTrack, ReceivedSample)> {
        self.with(|state| state.samples.take(until))
    }
}

impl State {
    /// Returns the server peer if it must be told of a change.
    fn tells(&mut self) -> Option<Recipient<TracksChanged>> {
        if std::mem::replace(&mut self.told, true) { None } else { self.server.clone() }
    }
}

/// Tells a server peer of a change, outside of the lock.
fn tell(server: Option<Recipient<TracksChanged>>) {
    if let Some(server) = server {
        // At most one waits. One that has ended is followed by another one, which looks by itself.
        server.do_send(TracksChanged);
    }
}
