//! Options of the peers of a route.

use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::{MessageLimits, OutboxLimits, Rooms};
use callboard_websocket::{Hosts, Origins, Rate, RefusalLog, TrustedProxies, origin_list};

#[cfg(feature = "webrtc")]
use crate::follow::Homes;
use crate::limits::Limits;
use crate::peer::Peer;
#[cfg(feature = "rpc")]
use crate::rpc::Hooks;
#[cfg(feature = "webrtc")]
use crate::server_peer::WebRtc;
use crate::session::Rules;

/// Options of the peers of a route: limits, timeouts, allowed origins, and what clients may use.
#[derive(Clone, Debug)]
pub struct PeerOptions<P: Peer> {
    pub(crate) custom: P::Options,
    pub(crate) rooms: Rooms,
    pub(crate) policy: Policy,
}

/// The part of [`PeerOptions`] that does not depend on the application's [`Peer`].
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) auth_first: bool,
    pub(crate) origins: Origins,
    pub(crate) hosts: Hosts,
    pub(crate) proxies: TrustedProxies,
    pub(crate) refusals: Arc<RefusalLog>,
    pub(crate) guesses: (u32, Duration),
    pub(crate) rooms_per_minute: u32,
    pub(crate) rooms_held: usize,
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) init_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_message: usize,
    pub(crate) max_control_message: usize,
    pub(crate) outbox: OutboxLimits,
    pub(crate) rules: Arc<Rules>,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) close_grace: Duration,
    #[cfg(feature = "webrtc")]
    pub(crate) webrtc: Option<WebRtc>,
    /// Nodes to which clients go for the media of their rooms, where media goes through the server.
    #[cfg(feature = "webrtc")]
    pub(crate) homes: Option<Homes>,
    /// Rate limit of data channels that replaces the one in [`WebRtc`].
    #[cfg(feature = "webrtc")]
    pub(crate) data_rate: Option<Rate>,
    #[cfg(feature = "rpc")]
    pub(crate) hooks: Hooks,
    pub(crate) resume_grace: Duration,
    pub(crate) snapshot_version: u32,
}

impl<P: Peer> PeerOptions<P> {
    /// Creates options for peers whose `on_init` gets `custom`, and which look up their rooms in `rooms`.
    pub fn new(custom: P::Options, rooms: Rooms) -> Self {
        let policy = Policy {
            auth_first: false,
            origins: Origins::SameHost,
            hosts: Hosts::Default,
            proxies: TrustedProxies::default(),
            refusals: Arc::default(),
            guesses: (64, Duration::from_secs(1)),
            rooms_per_minute: 30,
            rooms_held: 16,
            protocols: Vec::new(),
            init_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15 * 60),
            max_message: 64 * 1024,
            max_control_message: 1 << 20,
            outbox: OutboxLimits::default(),
            rules: Arc::default(),
            max_connections: 16_384,
            max_connections_per_address: 256,
            close_grace: Duration::from_secs(5),
            #[cfg(feature = "webrtc")]
            webrtc: None,
            #[cfg(feature = "webrtc")]
            homes: None,
            #[cfg(feature = "webrtc")]
            data_rate: None,
            #[cfg(feature = "rpc")]
            hooks: Hooks::default(),
            resume_grace: Duration::ZERO,
            snapshot_version: 0,
        };
        Self { custom, rooms, policy }
    }

    /// Sets whether `on_init` is asked before the room is looked up, so that a stranger cannot find out which rooms
    /// exist. Default: no, as in the original: an unknown room is 404 before anything else.
    pub fn auth_first(mut self, auth_first: bool) -> Self {
        self.policy.auth_first = auth_first;
        self
    }

    /// Sets the pages from which WebSockets may be opened; others get 403. Default: [`Origins::SameHost`].
    pub fn origins(mut self, origins: Origins) -> Self {
        self.policy.origins = origins;
        self
    }

    /// Sets an allow-list of origins, each written like `https://example.org`.
    pub fn origin_list<S: Into<String>>(self, list: impl IntoIterator<Item = S>) -> Self {
        self.origins(origin_list(list))
    }

    /// Sets the names by which the server may be called (`Host`), such as `call.example` or `call.example:8443`;
    /// without a port every port is allowed. Others get 403. Default: all names; but with [`Origins::SameHost`] a page
    /// that comes over a loopback address must call the server `localhost` or by a loopback address, because a name
    /// that an attacker's DNS server resolves to 127.0.0.1 is the attacker's host (DNS rebinding).
    pub fn hosts<S: AsRef<str>>(mut self, list: impl IntoIterator<Item = S>) -> Self {
        self.policy.hosts = Hosts::list(list);
        self
    }

    /// Sets the reverse proxies whose `Forwarded` or `X-Forwarded-For` is trusted: limits and logs use the address in
    /// it as the client's. Default: none; all clients of a proxy have its address.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.policy.proxies = proxies;
        self
    }

    /// Sets how often an address may be refused for its credentials ([`Peer::on_init`]) or its resume token: `burst`
    /// times at once, then once per `every`; further requests get 429 unread. Default: 64, 1 s.
    pub fn guesses_per_address(mut self, burst: u32, every: Duration) -> Self {
        self.policy.guesses = (burst, every);
        self
    }

    /// Sets the WebSocket subprotocols that the server speaks. The first one that the client names and the server
    /// speaks is chosen. Default: none.
    pub fn protocols(mut self, protocols: &[&'static str]) -> Self {
        self.policy.protocols = protocols.to_vec();
        self
    }

    /// Sets how long `on_init` may take; then the request is answered with 503. Default: 10 s.
    pub fn init_timeout(mut self, timeout: Duration) -> Self {
        self.policy.init_timeout = timeout;
        self
    }

    /// Sets how long a connection may be silent, pongs included; then it is closed with 1001. Default: 15 minutes.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.policy.idle_timeout = timeout;
        self
    }

    /// Sets how often a silent client is sent a WebSocket ping. A client that misses two is closed with 1001, so a
    /// client that vanished is gone after at most four of these intervals. Default: 15 s. None sends no pings.
    pub fn heartbeat(mut self, every: Option<Duration>) -> Self {
        Arc::make_mut(&mut self.policy.rules).heartbeat = every;
        self
    }

    /// Sets the largest message to other peers, in bytes; a larger one is answered with "Message too large" and 1009.
    /// Default: 64 KiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.policy.max_message = bytes;
        self
    }

    /// Sets the largest message to the server itself, in bytes: an offer, data in place of a data channel, or a call of
    /// a hook, which is refused by its id if it is larger than [`HookLimits::call`](crate::rpc::HookLimits::call).
    /// Applies only with WebRTC or a hook; [`max_message`](Self::max_message) applies if that is larger. Each
    /// connection may make the server hold one such message. Default: 1 MiB.
    pub fn max_control_message(mut self, bytes: usize) -> Self {
        self.policy.max_control_message = bytes;
        self
    }

    /// Sets the limits on a message's content. Default: 64 levels deep, 1,024 addressees.
    pub fn message_limits(mut self, limits: MessageLimits) -> Self {
        Arc::make_mut(&mut self.policy.rules).limits = limits;
        self
    }

    /// Sets the size of the outbox, which fills while a client does not read; a client whose outbox overflows is closed
    /// with 1013. Default: 8,192 messages, 1 MiB.
    pub fn outbox(mut self, limits: OutboxLimits) -> Self {
        self.policy.outbox = limits;
        self
    }

    /// Sets the rate limit of a client's WebSocket. Default: 250 messages and 400 KiB per second, with bursts of 1,000
    /// messages and 4 MiB.
    pub fn rate(mut self, rate: Rate) -> Self {
        Arc::make_mut(&mut self.policy.rules).rate = rate;
        self
    }

    /// Sets the rate limits of a client's WebSocket and of its data channels; the latter replaces the one in
    /// [`WebRtcLimits`](crate::WebRtcLimits). Default: [`Limits::default`]; [`Limits::chat`] and [`Limits::game`] are
    /// presets for what their names say.
    pub fn limits(self, limits: Limits) -> Self {
        let options = self.rate(limits.websocket);
        #[cfg(feature = "webrtc")]
        let options = options.data_rate(limits.data_channels);
        options
    }

    #[cfg(feature = "webrtc")]
    fn data_rate(mut self, rate: Rate) -> Self {
        self.policy.data_rate = Some(rate);
        self
    }

    /// Gives clients that offer (`webrtc:offer`) a WebRTC peer on the server. Default: none; they get
    /// `webrtc_disabled`.
    #[cfg(feature = "webrtc")]
    pub fn webrtc(mut self, webrtc: WebRtc) -> Self {
        self.policy.webrtc = Some(webrtc);
        self
    }

    /// Sets the functions that clients may call. Default: none.
    #[cfg(feature = "rpc")]
    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.policy.hooks = hooks;
        self
    }

    /// Sets the maximum number of connections; one more gets 503. Default: 16,384.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.policy.max_connections = connections;
        self
    }

    /// Sets the maximum number of connections from one address; one more gets 429. Default: 256. Behind a proxy all
    /// clients have its address, unless it is among the [trusted ones](Self::trusted_proxies).
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.policy.max_connections_per_address = connections;
        self
    }

    /// Sets how many rooms an address may open [on demand](callboard_room_supervisor::RoomsBuilder::on_demand) within a
    /// minute, all at once or one after the other; one more gets 429. Default: 30.
    pub fn rooms_per_minute_per_address(mut self, rooms: u32) -> Self {
        self.policy.rooms_per_minute = rooms;
        self
    }

    /// Sets how many rooms opened on demand by one address may be open at the same time, whichever clients are in them;
    /// one more gets 429. Default: 16.
    pub fn max_rooms_per_address(mut self, rooms: usize) -> Self {
        self.policy.rooms_held = rooms;
        self
    }

    /// Sets how long a client has to take the close frame before its connection is cut, if the server is
    /// [tuned](crate::tune) for it. Default: 5 s.
    pub fn close_grace(mut self, grace: Duration) -> Self {
        self.policy.close_grace = grace;
        self
    }

    /// Sets the grace period for session resumption: how long a peer outlives a WebSocket that ended without a close
    /// frame. Its client may come back with the token from its `authenticated`, and finds its peer, its room and all
    /// that was sent meanwhile as if it had never been away. Each client that vanished costs a peer, a place among the
    /// connections and what its outbox may hold. Default: 0, as in the original: a peer ends with its WebSocket.
    pub fn resume_grace(mut self, grace: Duration) -> Self {
        self.policy.resume_grace = grace;
        self
    }

    /// Sets the version of what [`Peer::snapshot`] returns: raise it when an older program could not read that any
    /// more. One of an older version is given to [`Peer::restore`], one of a newer version is not. Default: 0.
    pub fn snapshot_version(mut self, version: u32) -> Self {
        self.policy.snapshot_version = version;
        self
    }
}

#[cfg(feature = "webrtc")]
impl<P: Peer> PeerOptions<P> {
    /// Lets clients go to the homes of their rooms, if they have media there.
    pub(crate) fn with_homes(mut self) -> Self {
        let has_media = self.policy.webrtc.as_ref().is_some_and(WebRtc::has_media);
        let cluster = self.rooms.cluster().filter(|cluster| has_media && cluster.lines().is_some());
        self.policy.homes = cluster.map(Homes::new);
        self
    }
}

impl Policy {
    /// Returns the largest message or frame that a socket reads, in bytes, where `max_message` is the largest to other
    /// peers.
    pub(crate) fn max_frame(&self, max_message: usize) -> usize {
        match self.has_control_messages() {
            true => max_message.max(self.max_control_message),
            false => max_message,
        }
    }

    /// Returns whether clients may send messages to the server itself.
    fn has_control_messages(&self) -> bool {
        #[cfg(feature = "webrtc")]
        if self.webrtc.is_some() {
            return true;
        }
        #[cfg(feature = "rpc")]
        if !self.hooks.is_empty() {
            return true;
        }
        false
    }
}
