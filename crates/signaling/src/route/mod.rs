//! Upgrade route: from a request to a peer in a room.

mod elsewhere;
mod factory;
mod refusal;
mod restore;
mod resume;

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Arbiter;
use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytestring::ByteString;
use callboard_cluster::Cluster;
use callboard_room_supervisor::{
    AuthData, CloseFrame, Description, JoinError, Membership, NewMember, PeerId, PublicMetadata,
    Rejection, RoomHandle, RoomMessage, Rooms, StartRoomError, To, is_room_name,
};
use callboard_supervision::{ArbiterPool, ChildSpec, Placement, catch_panic, catch_panics};
use callboard_websocket::{
    Admission, ConnectionCount, EdgeTexts, Guesses, LinkOptions, OpenedSocket, ResumeOffer,
    ResumeTokens, SocketLink, SocketNumber, TooMany, Upgrade, UpgradeError, check_upgrade,
    peer_address, subscriber,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::{RwLock, Semaphore};
use tokio::time::{Instant, timeout};

use self::elsewhere::Told;
use self::factory::{First, PeerFactory};
use self::refusal::Refusal;
use crate::counters::{Count, Counters};
use crate::kept::RunningPeers;
use crate::options::{PeerOptions, Policy};
use crate::peer::{InitContext, JoinRequest, Peer, PeerContext, PeerInit};
use crate::peer_ref::{Client, PeerRef};
use crate::room_quota::RoomQuota;
#[cfg(feature = "rpc")]
use crate::rpc::CallTable;
#[cfg(feature = "webrtc")]
use crate::server_peer::{Channels, MediaOwner};

/// State of one route that all workers of a server share.
pub(crate) struct UpgradeRoute<P: Peer> {
    custom: P::Options,
    rooms: Rooms,
    policy: Arc<Policy>,
    connections: Arc<ConnectionCount>,
    tokens: Arc<ResumeTokens>,
    /// Rate limiter of refusals for credentials and tokens, by address.
    pub(crate) guesses: Guesses,
    rooms_opened: Arc<RoomQuota>,
    pub(crate) counters: Arc<Counters>,
    peers: Arc<RunningPeers>,
    /// Turns of the peers of an earlier process that are started.
    restoring: Semaphore,
    /// Turns of the peers of other nodes that are taken over.
    taking: Semaphore,
    /// Clients are asked to come back to another process, and not to this one.
    leaving: AtomicBool,
    /// Read by each of those peers until it has started.
    starting: Arc<RwLock<()>>,
    /// Threads of those peers, which have no socket whose thread they could share.
    threads: OnceLock<ArbiterPool>,
}

impl<P: Peer> UpgradeRoute<P> {
    pub(crate) fn new(options: PeerOptions<P>) -> Self {
        #[cfg(feature = "webrtc")]
        let options = options.with_homes();
        let PeerOptions { custom, rooms, policy } = options;
        let (connections, counters) = (Arc::default(), Arc::new(Counters::of(rooms.clone())));
        let cluster = rooms.cluster().filter(|cluster| cluster.lines().is_some());
        let tokens = cluster.map(|cluster| ResumeTokens::of_node(cluster.node().as_str()));
        let tokens = Arc::new(tokens.unwrap_or_default());
        let guesses = Guesses::new(policy.guesses.0, policy.guesses.1);
        let rooms_opened = Arc::new(RoomQuota::new(policy.rooms_per_minute, policy.rooms_held));
        let policy = Arc::new(policy);
        let (peers, threads) = (Arc::default(), OnceLock::new());
        let restoring = Semaphore::new(restore::RESTORED_AT_ONCE);
        Self {
            custom,
            rooms,
            policy,
            connections,
            tokens,
            guesses,
            rooms_opened,
            counters,
            peers,
            restoring,
            taking: Semaphore::new(restore::TAKEN_AT_ONCE),
            leaving: AtomicBool::new(false),
            starting: Arc::default(),
            threads,
        }
    }

    /// Returns the rooms.
    pub(crate) fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    fn threads(&self) -> &ArbiterPool {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.threads.get_or_init(|| ArbiterPool::growing(cores()))
    }

    fn client(&self, peer_id: PeerId, address: IpAddr, link: &Arc<SocketLink>) -> Arc<Client> {
        #[cfg(not(feature = "webrtc"))]
        let _ = address;
        Arc::new(Client {
            peer_id,
            #[cfg(feature = "webrtc")]
            address: Some(address),
            outbox: Arc::clone(link.outbox()),
            link: Arc::downgrade(link),
            #[cfg(feature = "rpc")]
            call_table: CallTable::new(self.policy.hooks.clone(), Arc::clone(&self.counters)),
            #[cfg(feature = "webrtc")]
            channels: Channels::default(),
            #[cfg(feature = "webrtc")]
            media_owner: MediaOwner::of(self.policy.webrtc.as_ref()),
        })
    }

    /// Counts one more connection, unless there are too many.
    fn admit(&self, address: IpAddr) -> Result<Admission, Refusal> {
        let Policy { max_connections, max_connections_per_address, .. } = *self.policy;
        let admitted =
            self.connections.admit(address, max_connections, max_connections_per_address);
        admitted.map_err(too_many)
    }

    /// Creates the socket link of a peer with its first socket; returns it with the socket's number.
    fn link(
        &self,
        options: LinkOptions,
        peer_id: PeerId,
        opened: &OpenedSocket,
    ) -> (Arc<SocketLink>, SocketNumber) {
        let (tokens, counters) = (Arc::clone(&self.tokens), Arc::clone(&self.counters.sockets));
        SocketLink::new(options, PeerTexts(peer_id), opened.socket(), tokens, counters)
    }

    /// Returns the options of the socket link of a client that asks for its first socket now.
    fn link_options(&self, address: IpAddr, max_message: usize) -> LinkOptions {
        let Policy { outbox, resume_grace, close_grace, .. } = *self.policy;
        let (max_frame, requested) = (self.policy.max_frame(max_message), Instant::now());
        LinkOptions { address, outbox, resume_grace, close_grace, max_frame, requested }
    }
}

/// Texts of the protocol that the WebSocket sends by itself, in the name of this peer.
struct PeerTexts(PeerId);

impl EdgeTexts for PeerTexts {
    fn resumed(&self, offer: &ResumeOffer) -> ByteString {
        #[derive(Serialize)]
        struct Data<'a> {
            peer_id: PeerId,
            resume: &'a ResumeOffer,
        }
        let Self(peer_id) = *self;
        RoomMessage::new("resumed", &Data { peer_id, resume: offer })
            .expect("ids and values can always be written as JSON")
            .to(To::Peers(vec![peer_id]))
            .encode()
    }

    /// Names the limit of all messages, because it is not known yet what the message was for.
    fn too_large(&self, max_bytes: usize) -> Option<ByteString> {
        let details = json!({ "max_bytes": max_bytes });
        Some(RoomMessage::error(self.0, Description::MessageTooLarge, &details).encode())
    }
}

/// Answers one request: with a WebSocket, or with a refusal.
pub(crate) async fn answer<P: Peer>(
    route: &Arc<UpgradeRoute<P>>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    let Policy { proxies, refusals, .. } = &*route.policy;
    let client = proxies.client(&request);
    let answered = match client {
        Ok(address) => answer_from(route, &request, payload, address).await,
        Err(error) => {
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, "bad_forwarded");
            Err(refusal.detailed(error.to_string()).counted(Count::BadRequest))
        }
    };
    answered.unwrap_or_else(|refusal| {
        if let Some(count) = refusal.count {
            route.counters.add(count);
        }
        let address = client.unwrap_or_else(|_| peer_address(&request));
        refusals.refused(refusal.level(), address, request.path(), refusal.error, refusal.reason());
        refusal.respond()
    })
}

async fn answer_from<P: Peer>(
    route: &Arc<UpgradeRoute<P>>,
    request: &HttpRequest,
    payload: Payload,
    address: IpAddr,
) -> Result<HttpResponse, Refusal> {
    let token = resume::token(&route.policy, request);
    let drains = route.rooms.cluster().is_some_and(Cluster::is_draining);
    let leaves = drains && (token.is_none() || route.leaving.load(Ordering::Acquire));
    if route.rooms.is_closing() || leaves {
        // Also for one who comes back: another process may have its session.
        return Err(shutting_down());
    }
    let may_guess = || {
        route.guesses.check(address).map_err(|wait| {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts");
            refusal.retry_after(wait).counted(Count::Limited)
        })
    };
    let answered = match token {
        Some(token) => {
            resume::try_resume(route, request, payload, (address, token), may_guess).await
        }
        None => try_open(route, request, payload, address, may_guess).await,
    };
    if let Err(Refusal { error: "unauthorized" | "cannot_resume", .. }) = &answered {
        route.guesses.wrong(address);
    }
    answered
}

async fn try_open<P: Peer>(
    route: &UpgradeRoute<P>,
    request: &HttpRequest,
    payload: Payload,
    address: IpAddr,
    may_guess: impl Fn() -> Result<(), Refusal>,
) -> Result<HttpResponse, Refusal> {
    let requested = Instant::now();
    let UpgradeRoute { custom, rooms, policy, counters, .. } = route;
    let admission = route.admit(address)?;
    screen(policy, request)?;
    may_guess()?;

    let peer_id = PeerId::random();
    let bad_request = |why: Rejection| Refusal::bad_request(why).counted(Count::BadRequest);
    let parsed = catch_panic("parse_request", || P::parse_request(request));
    let JoinRequest { credentials, metadata, room } =
        parsed.map_err(|_| panicked(counters, "parse_request"))?.map_err(bad_request)?;
    if !is_room_name(&room) {
        return Err(bad_request("no such room name".into()));
    }
    let mut auth = AuthData { peer_id, credentials, metadata, public: PublicMetadata::default() };

    // Only a client that is authenticated learns whether the room exists, and opens one on demand.
    let no_such_room =
        || Refusal::new(StatusCode::NOT_FOUND, "no_such_room").counted(Count::NoSuchRoom);
    if !policy.auth_first && !rooms.knows(&room) {
        return Err(no_such_room());
    }
    let context = InitContext { peer_id, room: rooms.lookup(&room) };
    let PeerInit { peer, socket, public } =
        init::<P>(&context, &auth, custom, policy, counters).await?;
    auth.public = public.into();
    let max_message = socket.max_message.unwrap_or(policy.max_message);
    let options = LinkOptions { requested, ..route.link_options(address, max_message) };
    let opened = open(route, request, payload, options.max_frame)?;
    let (link, number) = route.link(options, peer_id, &opened);
    let client = route.client(peer_id, address, &link);
    let welcome = welcome(&link);
    let new = || {
        let member = NewMember::new(auth.clone(), Arc::clone(link.outbox()));
        member.welcome(welcome.clone()).handle(Arc::clone(&client))
    };
    let reserved = timeout(RESERVE_TIMEOUT, reserve(route, &room, address, new)).await;
    let (room, membership) = match reserved {
        Ok(Ok(reserved)) => reserved,
        Ok(Err(ReserveError::TooManyOpened(wait))) => {
            return Err(too_many_rooms(StatusCode::TOO_MANY_REQUESTS, wait));
        }
        Ok(Err(ReserveError::Room(StartRoomError::TooManyRooms))) => {
            return Err(too_many_rooms(StatusCode::SERVICE_UNAVAILABLE, ROOM_RETRY));
        }
        Ok(Err(ReserveError::Room(StartRoomError::Elsewhere { node, url }))) => {
            let told = Told { opened, link, number, admission };
            return told.send_to(request, peer_id, &node, url);
        }
        Ok(Err(ReserveError::Room(StartRoomError::Unavailable { retry_after }))) => {
            let told = Told { opened, link, number, admission };
            return told.refuse_for(request, peer_id, retry_after);
        }
        Ok(Err(ReserveError::Room(StartRoomError::NoSuchRoom))) => return Err(no_such_room()),
        Ok(Err(ReserveError::Room(StartRoomError::ShuttingDown))) => return Err(shutting_down()),
        failed => {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "room_unavailable");
            return Err(refusal.because(format!("{failed:?}")));
        }
    };
    let factory = PeerFactory {
        first: First::Accepted(peer),
        custom: custom.clone(),
        policy: Arc::clone(policy),
        idle_timeout: socket.idle_timeout.unwrap_or(policy.idle_timeout),
        max_message,
        context: PeerContext { room: room.clone(), peer_id, client: PeerRef::new(client) },
        membership: Arc::clone(&membership),
        link: Arc::clone(&link),
        counters: Arc::clone(counters),
        peers: Arc::clone(&route.peers),
        held: (!policy.resume_grace.is_zero()).then(|| route.peers.hold()),
    };
    let here = Placement::On(Arbiter::current());
    actix::spawn(start_peer(room, factory.spec(here), membership));
    Ok(opened.respond(link, number, admission))
}

fn too_many(too_many: TooMany) -> Refusal {
    let refusal = match too_many {
        TooMany::InAll => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        TooMany::FromThere => Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections"),
    };
    refusal.counted(Count::Limited)
}

fn shutting_down() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down")
}

/// Checks whether the request may open a WebSocket, apart from who the client is.
fn screen(policy: &Policy, request: &HttpRequest) -> Result<(), Refusal> {
    let forbidden = |error, detail| {
        Refusal::new(StatusCode::FORBIDDEN, error).detailed(detail).counted(Count::ForeignOrigin)
    };
    let Policy { hosts, origins, proxies, .. } = policy;
    let hosts = hosts.check(request, origins, proxies);
    hosts.map_err(|error| forbidden("forbidden_host", error.to_string()))?;
    let origins = origins.check(request);
    origins.map_err(|error| forbidden("forbidden_origin", error.to_string()))?;
    check_upgrade(request).map_err(no_websocket)
}

fn open<P: Peer>(
    route: &UpgradeRoute<P>,
    request: &HttpRequest,
    payload: Payload,
    max_frame: usize,
) -> Result<OpenedSocket, Refusal> {
    let protocols = &route.policy.protocols;
    let upgrade = Upgrade { max_frame, protocols, counters: Arc::clone(&route.counters.sockets) };
    upgrade.open(request, payload).map_err(no_websocket)
}

/// Returns what `authenticated` says about resumption.
fn welcome(link: &SocketLink) -> Map<String, Value> {
    let offer = link.offer_resumption();
    let offer = offer.map(|it| serde_json::to_value(it).expect("text and number can be JSON"));
    offer.into_iter().map(|offer| ("resume".to_owned(), offer)).collect()
}

/// Reason why no membership was reserved in a room.
#[derive(Debug)]
enum ReserveError {
    /// The address has opened too many rooms; it may try again after this time.
    TooManyOpened(Duration),
    Room(StartRoomError),
}

fn too_many_rooms(status: StatusCode, wait: Duration) -> Refusal {
    Refusal::new(status, "too_many_rooms").retry_after(wait).counted(Count::Limited)
}

/// Reserves a membership in the room with this name. A room that is closing, because its last peer has left, may be
/// opened anew.
async fn reserve<P: Peer>(
    route: &UpgradeRoute<P>,
    name: &str,
    address: IpAddr,
    new: impl Fn() -> NewMember,
) -> Result<(RoomHandle, Arc<Membership>), ReserveError> {
    let rooms = &route.rooms;
    let mut missed = 0;
    loop {
        let room = match rooms.lookup(name) {
            Some(room) => room,
            None => {
                let now = Instant::now().into_std();
                let opening = route.rooms_opened.reserve(subscriber(address), name, now);
                let opening = opening.map_err(ReserveError::TooManyOpened)?;
                match rooms.open_on_demand(name).await {
                    Ok(room) => {
                        opening.opened(&room);
                        room
                    }
                    // Another request was quicker.
                    Err(StartRoomError::AlreadyStarted) => match rooms.lookup(name) {
                        Some(room) => room,
                        // It has ended already.
                        None if missed < ROOMS_MISSED => {
                            missed += 1;
                            continue;
                        }
                        None => return Err(ReserveError::Room(StartRoomError::AlreadyStarted)),
                    },
                    Err(error) => return Err(ReserveError::Room(error)),
                }
            }
        };
        match room.reserve(new()) {
            Ok(membership) => return Ok((room, Arc::new(membership))),
            Err(JoinError::DoorShut { retry_after }) => {
                return Err(ReserveError::Room(StartRoomError::Unavailable { retry_after }));
            }
            Err(_) => {}
        }
        room.freed().await;
        // A registry of the application's own may still have it.
        tokio::task::yield_now().await;
    }
}

/// Starts the peer below its room. If that fails, the membership is kept until the client has been told.
async fn start_peer(room: RoomHandle, spec: ChildSpec, membership: Arc<Membership>) {
    if let Err(error) = room.start_peer(spec).await {
        log::debug!("peer {} was not started: {error}", membership.peer_id());
        let closed =
            RoomMessage::error(membership.peer_id(), Description::RoomClosed, &"crashed".into());
        // A client that is being closed already knows why.
        _ = membership.outbox().push(closed.encode());
        membership.outbox().close(CloseFrame::ROOM_FAILED);
    }
}

async fn init<P: Peer>(
    context: &InitContext,
    auth: &AuthData,
    custom: &P::Options,
    policy: &Policy,
    counters: &Counters,
) -> Result<PeerInit<P>, Refusal> {
    let init = async { P::on_init(context, auth, custom).await };
    let init = catch_panics("on_init".to_owned(), init);
    match timeout(policy.init_timeout, init).await {
        Ok(Ok(Ok(init))) => Ok(init),
        Ok(Ok(Err(rejection))) => {
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized").told(rejection);
            Err(refusal.counted(Count::Unauthorized))
        }
        Ok(Err(_)) => Err(panicked(counters, "on_init")),
        Err(_) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "timeout")),
    }
}

fn no_websocket(error: UpgradeError) -> Refusal {
    Refusal::new(error.status(), "websocket_required").detailed(error.to_string())
}

fn panicked(counters: &Counters, callback: &str) -> Refusal {
    counters.add(Count::Panicked);
    // The panic hook reports it, limited in rate; clients may cause as many panics as they like.
    log::debug!("{callback} panicked");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal")
}

/// Number of rooms that another request may open, and that end, before this one has looked them up. One that is never
/// found is in a registry of its own.
const ROOMS_MISSED: u32 = 16;
/// Delay after which a client should try again when there are too many rooms: some rooms last for minutes, some for a
/// moment.
const ROOM_RETRY: Duration = Duration::from_secs(10);
/// Time limit for opening a room, including the wait for one with the same name to close.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(5);
