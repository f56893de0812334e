//! Server peers for the peers of a route, and the list of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use callboard_media_rooms::{MediaPolicy, MediaRoom};
use callboard_peer_connection::{
    Api, Configuration, ConnectionOwners, MediaMode, PeerConnectionId, PeerConnectionState,
    PeerConnections,
};
use callboard_room_supervisor::{PeerId, RoomHandle};
use callboard_websocket::{Buckets, Rate, subscriber};

use super::server_peer_id;
use super::{Channels, MediaRooms, MediaSeat, ServerPeerOptions, WebRtcLimits};

/// Options of the WebRTC peers on the server for the peers of a route. Cheap to clone; clones share their list of
/// sessions.
#[derive(Clone, Debug)]
pub struct WebRtc {
    connections: PeerConnections,
    api: Api,
    configuration: Configuration,
    limits: WebRtcLimits,
    /// Cost of the descriptions of each address.
    spent: Arc<Buckets<IpAddr>>,
    sessions: Arc<Mutex<HashMap<PeerId, Session>>>,
    media: Option<Arc<MediaRooms>>,
    /// Estimate in bits per second with which the bandwidth to each client in a media room begins.
    first_estimate: Option<u64>,
}

/// Owner of the media of a route's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaOwner {
    NoOne,
    Application,
    Room,
}

impl MediaOwner {
    pub(crate) fn of(webrtc: Option<&WebRtc>) -> Self {
        match webrtc {
            None => Self::NoOne,
            Some(webrtc) if webrtc.has_media() => Self::Room,
            Some(_) => Self::Application,
        }
    }
}

#[derive(Debug)]
struct Session {
    connection: Option<PeerConnectionId>,
    state: PeerConnectionState,
    channels: Channels,
}

/// A running WebRTC peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebRtcSession {
    /// Id of the peer that it belongs to.
    pub peer: PeerId,
    /// Its peer connection, if there is one.
    pub connection: Option<PeerConnectionId>,
    /// State of the peer connection.
    pub state: PeerConnectionState,
    /// Labels of its open channels.
    pub channels: Vec<String>,
}

impl ConnectionOwners for WebRtc {
    fn connections(&self) -> &PeerConnections {
        &self.connections
    }

    fn owned(&self) -> Vec<(String, PeerConnectionId)> {
        let sessions = self.sessions().into_iter();
        sessions.filter_map(|it| Some((server_peer_id(&it.peer), it.connection?))).collect()
    }
}

impl WebRtc {
    /// Creates options for peer connections that run in this pool.
    pub fn new(connections: PeerConnections) -> Self {
        let limits = WebRtcLimits::default();
        Self {
            connections,
            api: Api::default(),
            configuration: Configuration::default(),
            limits,
            spent: spent(&limits),
            sessions: Arc::default(),
            media: None,
            first_estimate: Some(FIRST_ESTIMATE),
        }
    }

    /// Sets the API that creates the peer connections. Default: [`Api::default`].
    pub fn api(self, api: Api) -> Self {
        Self { api, ..self }
    }

    /// Sets the configuration of the peer connections, such as STUN and TURN servers. Default: none.
    pub fn configuration(self, configuration: Configuration) -> Self {
        Self { configuration, ..self }
    }

    /// Sets the limits of clients.
    pub fn limits(self, limits: WebRtcLimits) -> Self {
        Self { limits, spent: spent(&limits), ..self }
    }

    /// Lets the clients of a room hear and see each other through the server, by a
    /// [media room](callboard_media_rooms::MediaRoom) below each room: what a client sends goes to the sections in
    /// which the others receive. The connections of a room run on one media thread, further ones on the next
    /// ([`MediaRoom::next_thread`]), in [RTP mode](callboard_peer_connection::MediaMode::Rtp). The bandwidth to each
    /// client is [estimated](Self::first_estimate). Default: media goes to the application alone.
    ///
    /// In a cluster, media does not cross nodes: clients of other nodes than the room's are
    /// [moved](crate::PeerRef::move_by) to that one, at its [URL](callboard_cluster::ClusterBuilder::url), and again
    /// whenever the room goes elsewhere. They keep their sessions if the route has a
    /// [grace period](crate::PeerOptions::resume_grace).
    pub fn media(self) -> Self {
        self.media_rooms(None)
    }

    /// Likewise, and lets this policy decide which peers publish, and which receive what. A
    /// [participant](callboard_media_rooms::ParticipantInfo) has the id of its peer as its name, and the peer's
    /// [public metadata](crate::PeerInit::public) as its metadata, which the other clients know as well. A role that
    /// they must not know is set by [`MediaRoom::set_metadata`].
    pub fn media_with(self, policy: impl MediaPolicy) -> Self {
        self.media_rooms(Some(Arc::new(policy)))
    }

    /// Sets the estimate, in bits per second, with which the bandwidth to each client of a media room begins. It is
    /// divided among what the client wishes to see; what does not fit is paused until the estimate has risen by
    /// probing, which takes some tenths of a second on a good path. Clients that do not say when packets arrive
    /// (transport-wide congestion control) get all that they wish, and with `None` or 0 all do: nothing is estimated
    /// then, and forwarding a packet costs a fifth less CPU. Default: 1 Mbit/s. An estimate of the [API](Self::api)'s
    /// own ([`InterceptorRegistry::bandwidth_estimation`](callboard_peer_connection::InterceptorRegistry)) goes first.
    pub fn first_estimate(self, bits: Option<u64>) -> Self {
        Self { first_estimate: bits, ..self }
    }

    fn media_rooms(self, policy: Option<Arc<dyn MediaPolicy>>) -> Self {
        let media = Some(Arc::new(MediaRooms::new(self.connections.clone(), policy)));
        Self { media, ..self }
    }

    /// Returns the media room of a room: with its first peer connection it has one, if media goes through the
    /// [server](Self::media).
    pub fn media_room(&self, room: &RoomHandle) -> Option<MediaRoom> {
        self.media.as_ref()?.get(room)
    }

    /// Returns whether rooms have media of their own.
    pub(crate) fn has_media(&self) -> bool {
        self.media.is_some()
    }

    /// Returns the place of a client in the media of its room.
    pub(crate) fn seat(&self, room: RoomHandle, peer: PeerId) -> Option<MediaSeat> {
        let rooms = Arc::clone(self.media.as_ref()?);
        Some(MediaSeat { rooms, room, peer })
    }

    /// Returns the pool in which the peer connections run.
    pub fn connections(&self) -> &PeerConnections {
        &self.connections
    }

    /// Returns the current sessions.
    pub fn sessions(&self) -> Vec<WebRtcSession> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = sessions.iter().map(|(peer, session)| WebRtcSession {
            peer: *peer,
            connection: session.connection,
            state: session.state,
            channels: session.channels.labels(),
        });
        sessions.collect()
    }

    /// Returns the peer whose current peer connection this is: in the media of a room, participants are named after
    /// their connections.
    pub fn peer_of(&self, connection: PeerConnectionId) -> Option<PeerId> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sessions = sessions.iter();
        let (peer, _) = sessions.find(|(_, session)| session.connection == Some(connection))?;
        Some(*peer)
    }

    /// Spends the cost of a description from this address.
    ///
    /// # Errors
    /// The time until a description of this cost may come from there.
    pub(crate) fn describe(&self, from: IpAddr, cost: u32, now: Instant) -> Result<(), Duration> {
        self.spent.take_some(subscriber(from), cost, now)
    }

    /// Returns the largest message of a data channel, in bytes.
    pub(crate) fn max_message(&self) -> usize {
        self.limits.message as usize
    }

    /// Returns the configuration of peer connections that their peers do not change.
    pub(crate) fn base_configuration(&self) -> Configuration {
        self.configuration.clone()
    }

    /// Returns the options of a server peer; `data` replaces the rate limit of data channels.
    pub(crate) fn peer_options(
        &self,
        peer: PeerId,
        configuration: Configuration,
        data: Option<Rate>,
    ) -> ServerPeerOptions {
        let limits = WebRtcLimits { data: data.unwrap_or(self.limits.data), ..self.limits };
        ServerPeerOptions {
            user_id: peer.to_string(),
            connections: self.connections.clone(),
            api: match self.media {
                Some(_) => self.media_api(),
                None => self.api.clone(),
            },
            configuration,
            limits,
        }
    }

    fn media_api(&self) -> Api {
        let own = self.api.interceptor_registry().bandwidth_estimation;
        let api = self.api.clone().media_mode(MediaMode::Rtp);
        api.bandwidth_estimation(own.or(self.first_estimate))
    }

    /// Adds a session to the list, where it stays as long as the entry is kept.
    pub(crate) fn enter(&self, peer: PeerId, channels: Channels) -> Entry {
        let session = Session { connection: None, state: PeerConnectionState::New, channels };
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, session);
        Entry { webrtc: self.clone(), peer }
    }
}

fn spent(limits: &WebRtcLimits) -> Arc<Buckets<IpAddr>> {
    let budget = limits.descriptions_per_address;
    Arc::new(Buckets::new(budget.burst, budget.every()))
}

/// Entry of a session in the list.
#[derive(Debug)]
pub(crate) struct Entry {
    webrtc: WebRtc,
    peer: PeerId,
}

impl Entry {
    pub(crate) fn webrtc(&self) -> &WebRtc {
        &self.webrtc
    }

    fn change(&self, change: impl FnOnce(&mut Session)) {
        let mut sessions = self.webrtc.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get_mut(&self.peer) {
            change(session);
        }
    }

    pub(crate) fn connected(&self, connection: Option<PeerConnectionId>) {
        self.change(|session| session.connection = connection);
    }

    pub(crate) fn in_state(&self, state: PeerConnectionState) {
        self.change(|session| session.state = state);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut sessions = self.webrtc.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&self.peer);
    }
}

/// First estimate in bits per second: enough for a few small pictures at once; paths that bear less are noticed within
/// a second.
const FIRST_ESTIMATE: u64 = 1_000_000;
