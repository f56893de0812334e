//! Admin routes of a running server: the supervision tree as JSON and as a stream, fault injection, recovery times,
//! metrics, liveness and readiness.
//!
//! They are off unless they are mounted. A client with full access can stop any actor, so by default only this machine
//! has it: without a [token](AdminBuilder::token) they answer no other host, no proxy, and no page of another site.
//!
//! ```no_run
//! # use actix_web::{App, HttpServer};
//! use callboard_room_supervisor::Rooms;
//! use callboard_signaling::admin::Admin;
//!
//! # #[actix_web::main]
//! # async fn main() -> std::io::Result<()> {
//! let rooms = Rooms::new();
//! let root = rooms.start().await.expect("nothing runs yet that could fail");
//! let admin = Admin::builder(root).build();
//! println!("{}", callboard_signaling::admin::draw(&admin.tree().await));
//! let app = move || App::new().configure(admin.at("/admin"));
//! callboard_signaling::run(rooms, HttpServer::new(app).bind("127.0.0.1:8080")?).await
//! # }
//! ```
//!
//! | route | what |
//! |---|---|
//! | `GET /tree` | the [`Tree`] |
//! | `GET /tree/stream` | a WebSocket: the tree when it changes, at most four times a second; events and recoveries at once |
//! | `POST /tree/fault` | inject the fault of a [`FaultOrder`]: 204 |
//! | `GET /tree/recoveries` | the last 256 [`Recovery`]s, with percentiles |
//! | `POST /tree/recoveries/{id}` | add [`Measured`] times: 204 |
//! | `GET /metrics` | for Prometheus: text, or OpenMetrics if that is asked for |
//! | `GET /healthz` | liveness: 200. Needs no authorization |
//! | `GET /readyz` | readiness: 200, or 503 while the root or one of its permanent children is down. Needs no authorization; only authorized clients see what is down |

mod access;
mod details;
mod draw;
mod error;
mod exposition;
mod fault;
mod health;
mod metrics;
mod recovery;
mod routes;
mod stream;
mod tree;
mod watch;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::web::ServiceConfig;
use bytestring::ByteString;
use callboard_peer_connection::{PeerConnection, PeerConnectionId, PeerConnections};
use callboard_supervision::{SupervisorRef, TreeSnapshot, catch_panic};
use callboard_websocket::{ConnectionCount, TrustedProxies};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;

pub use self::draw::{draw, draw_within};
pub use self::fault::{FaultError, FaultKind, FaultOrder};
pub use self::health::NotReady;
pub use self::recovery::{Percentiles, Recovery, RecoverySummary};
pub use self::tree::{LastExit, Tree};

use self::access::{Gate, Tokens};
use self::details::Details;
use self::recovery::Table;
use self::watch::Tally;
use crate::counters::Counters;
use crate::server_peer::{WebRtc, server_peer_id};

/// Access to a supervision tree. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

/// Builder of [`Admin`].
pub struct AdminBuilder {
    root: SupervisorRef,
    connections: Option<PeerConnections>,
    annotators: Vec<Box<Annotator>>,
    grafts: Vec<Box<Graft>>,
    counters: Vec<Arc<Counters>>,
    tokens: Tokens,
    proxies: TrustedProxies,
}

type Annotator = dyn Fn(&TreeSnapshot) -> Option<Value> + Send + Sync;
type Graft = dyn Fn() -> Vec<(String, PeerConnectionId)> + Send + Sync;

struct Inner {
    root: SupervisorRef,
    connections: Option<PeerConnections>,
    /// Path of the handshakes' supervisor.
    handshakes: Option<String>,
    annotators: Vec<Box<Annotator>>,
    grafts: Vec<Box<Graft>>,
    counters: Vec<Arc<Counters>>,
    access: Gate,
    details: Details,
    /// Sample that all clients of the stream share.
    sample: tokio::sync::Mutex<Option<Sample>>,
    tally: Mutex<Tally>,
    table: Mutex<Table>,
    told: broadcast::Sender<ByteString>,
    streams: Arc<ConnectionCount>,
    began: Instant,
    /// Dropping it ends the watching.
    _end: oneshot::Sender<()>,
}

struct Sample {
    at: Instant,
    version: u64,
    tree: Tree,
    encoded: ByteString,
}

/// Times of a recovery that were measured outside the server: `POST /tree/recoveries/{id}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Measured {
    /// Time until messages flowed again, in milliseconds.
    pub messages_ms: Option<f64>,
    /// Time until media flowed again, in milliseconds.
    pub media_ms: Option<f64>,
}

/// Reason why a measurement was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasuredError {
    /// There is no such recovery, or no longer.
    #[error("no such recovery")]
    NotFound,
    /// A time is not between 0 and an hour, or there is none.
    #[error("a time is needed, of 0 to 3,600,000 ms")]
    BadTime,
}

impl Admin {
    /// Creates a builder for the tree below this supervisor.
    pub fn builder(root: SupervisorRef) -> AdminBuilder {
        AdminBuilder {
            root,
            connections: None,
            annotators: Vec::new(),
            grafts: Vec::new(),
            counters: Vec::new(),
            tokens: Tokens::default(),
            proxies: TrustedProxies::default(),
        }
    }

    /// Mounts the routes, below a prefix or (if that is empty) at the top: `App::new().configure(admin.at("/admin"))`.
    pub fn at(&self, prefix: &str) -> impl FnOnce(&mut ServiceConfig) + use<> + 'static {
        let (admin, prefix) = (self.clone(), prefix.trim_matches('/').to_owned());
        move |config| routes::mount(&admin, &prefix, config)
    }

    /// Returns the current tree. The details of peer connections are up to 250 ms old.
    pub async fn tree(&self) -> Tree {
        let inner = &self.inner;
        let known = match &inner.connections {
            Some(connections) => Some(inner.details.all(connections).await),
            None => None,
        };
        let details = |node: &TreeSnapshot| {
            let mut details = inner.annotations(node);
            if node.type_name == std::any::type_name::<PeerConnection>()
                && let Some(connection) = known.as_ref().and_then(|all| all.by_name.get(&*node.id))
            {
                details.extend(connection.shown.clone());
            }
            details
        };
        let mut trees = inner.snapshots().into_iter().map(|tree| Tree::of(&tree, &details));
        let mut tree = trees.next().expect("the root is always there");
        tree.children.extend(trees);
        inner.graft(&mut tree);
        tree
    }

    /// Returns the last 256 recoveries, the latest last.
    pub fn recoveries(&self) -> Vec<Recovery> {
        self.inner.table().rows()
    }

    /// Returns summaries of these recoveries, for each kind of actor and exit.
    pub fn recovery_summaries(&self) -> Vec<RecoverySummary> {
        self.inner.table().summaries()
    }

    /// Stores times that were measured for a recovery.
    ///
    /// # Errors
    /// [`MeasuredError`]
    pub fn measured(&self, recovery: u64, measured: Measured) -> Result<(), MeasuredError> {
        let Measured { messages_ms, media_ms } = measured;
        let mut times = messages_ms.iter().chain(&media_ms).peekable();
        if times.peek().is_none() || !times.all(|time| (0.0..=LONGEST).contains(time)) {
            return Err(MeasuredError::BadTime);
        }
        self.inner.table().measured(recovery, measured).ok_or(MeasuredError::NotFound)?;
        self.inner.tell_recoveries();
        Ok(())
    }

    /// Returns the tree for the stream, with a version that changes when the tree does. `anew`: with the current times.
    async fn sample(&self, anew: bool) -> (u64, ByteString) {
        let mut sample = self.inner.sample.lock().await;
        let now = Instant::now();
        match &*sample {
            // A little less, because timers are not exact.
            Some(sample) if !anew && now.duration_since(sample.at) < stream::EVERY * 3 / 4 => {}
            _ => {
                let tree = self.tree().await;
                let before = sample.take();
                let changed = before.as_ref().is_none_or(|before| before.tree.differs(&tree));
                *sample = Some(match before {
                    Some(before) if !changed && !anew => Sample { at: now, ..before },
                    before => {
                        let encoded = json!({ "kind": "tree", "tree": tree }).to_string().into();
                        let version =
                            before.map_or(0, |before| before.version + u64::from(changed));
                        Sample { at: now, version, tree, encoded }
                    }
                });
            }
        }
        let Sample { version, encoded, .. } = sample.as_ref().expect("it has just been made");
        (*version, encoded.clone())
    }
}

impl AdminBuilder {
    /// Adds these peer connections to the tree, with their details. If they run in a tree of their own, that is shown
    /// as a child of the root.
    pub fn connections(self, connections: PeerConnections) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// Adds the peer connections of these peers to the tree, each below its peer: [`connections`](Self::connections)
    /// and [`graft`](Self::graft) in one.
    pub fn webrtc(self, webrtc: &WebRtc) -> Self {
        let sessions = webrtc.clone();
        self.connections(webrtc.connections().clone()).graft(move || {
            let sessions = sessions.sessions().into_iter();
            sessions.filter_map(|it| Some((server_peer_id(&it.peer), it.connection?))).collect()
        })
    }

    /// Sets a function that adds details to actors: the members of a returned object are added to the
    /// [details](Tree::details) of the actor; any other value is added as `note`. It is called for each actor in each
    /// sample, so it must not wait.
    pub fn annotate(
        mut self,
        annotate: impl Fn(&TreeSnapshot) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        self.annotators.push(Box::new(annotate));
        self
    }

    /// Sets a function that shows peer connections, and their handshakes, below the actors that own them: it returns
    /// pairs of such an actor's id and its peer connection. It is called in each sample, so it must not wait.
    pub fn graft(
        mut self,
        owned: impl Fn() -> Vec<(String, PeerConnectionId)> + Send + Sync + 'static,
    ) -> Self {
        self.grafts.push(Box::new(owned));
        self
    }

    /// Adds the counters of a route to the metrics ([`Signaling::counters`](crate::Signaling::counters)). Those of
    /// several routes are summed.
    pub fn counters(mut self, counters: Arc<Counters>) -> Self {
        self.counters.push(counters);
        self
    }

    /// Sets the token that authorizes clients from any address for everything, as `Authorization: Bearer …` or
    /// `?token=…`; others get 401. An empty token is never valid. Default: none; only this machine has access.
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { tokens: Tokens { full: Some(token.into()), ..self.tokens }, ..self }
    }

    /// Sets the token that authorizes clients from any address to read the tree, its stream, recoveries and metrics; it
    /// allows no change, and a `POST` gets 403. For Prometheus, or a page that only reads. Without
    /// [`token`](Self::token), requests from this machine without a token are answered as before. An empty token is
    /// never valid. Default: none.
    pub fn read_token(self, token: impl Into<String>) -> Self {
        Self { tokens: Tokens { read: Some(token.into()), ..self.tokens }, ..self }
    }

    /// Sets the reverse proxies whose `Forwarded` and `X-Forwarded-For` are trusted: the address in them decides
    /// whether a request is from this machine, and which address wrong tokens are counted for. Default: none; without a
    /// token, requests through a proxy are not answered.
    pub fn trusted_proxies(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// Creates the admin routes. They watch the tree from now on, on this thread, which must belong to an actix
    /// [`System`](actix::System).
    pub fn build(self) -> Admin {
        let Self { root, connections, annotators, grafts, counters, tokens, proxies } = self;
        let (end, ended) = oneshot::channel();
        let handshakes = connections.as_ref().map(|it| it.handshakes().path().to_string());
        let inner = Arc::new(Inner {
            root,
            connections,
            handshakes,
            annotators,
            grafts,
            counters,
            access: Gate::new(tokens, proxies),
            details: Details::new(),
            sample: tokio::sync::Mutex::default(),
            tally: Mutex::default(),
            table: Mutex::default(),
            told: broadcast::channel(TOLD).0,
            streams: Arc::default(),
            began: Instant::now(),
            _end: end,
        });
        watch::begin(&inner, ended);
        Admin { inner }
    }
}

impl Inner {
    fn tell_recoveries(&self) {
        for recovery in self.table().take_news() {
            let message = json!({ "kind": "recovery", "recovery": recovery });
            // An error only means that there are no clients.
            _ = self.told.send(message.to_string().into());
        }
    }

    /// Returns the topmost supervisors: the root, and that of the peer connections if it is not below the root.
    fn roots(&self) -> Vec<SupervisorRef> {
        let root: Vec<&str> = self.root.path().names().collect();
        let apart = self.connections.as_ref().map(|connections| connections.supervisor());
        let apart = apart.filter(|it| !it.path().names().take(root.len()).eq(root.iter().copied()));
        [Some(&self.root), apart].into_iter().flatten().cloned().collect()
    }

    fn trees(&self) -> impl Iterator<Item = (SupervisorRef, TreeSnapshot)> {
        self.roots().into_iter().map(|root| {
            let snapshot = root.snapshot();
            (root, snapshot)
        })
    }

    fn snapshots(&self) -> Vec<TreeSnapshot> {
        self.trees().map(|(_, snapshot)| snapshot).collect()
    }

    fn annotations(&self, node: &TreeSnapshot) -> Map<String, Value> {
        let mut details = Map::new();
        for annotate in &self.annotators {
            match contained("annotate", || annotate(node)).flatten() {
                Some(Value::Object(members)) => details.extend(members),
                Some(note) => _ = details.insert("note".to_owned(), note),
                None => {}
            }
        }
        details
    }

    /// Returns the peer connections with the ids of their owners.
    fn owned(&self) -> Vec<(String, PeerConnectionId)> {
        self.grafts.iter().filter_map(|owned| contained("graft", owned)).flatten().collect()
    }

    fn graft(&self, tree: &mut Tree) {
        tree.nest();
        let owned = self.owned();
        let Some(connections) = self.connections.as_ref().filter(|_| !owned.is_empty()) else {
            return;
        };
        let mut there = HashSet::new();
        tree.ids(&mut there);
        let owned: Vec<(String, String)> = owned
            .into_iter()
            .filter(|(owner, _)| there.contains(owner.as_str()))
            .map(|(owner, connection)| (owner, connection.to_string()))
            .collect();
        let names: HashSet<String> =
            owned.iter().map(|(_, connection)| connection.clone()).collect();
        let mut taken = tree.take(&connections.connections().path().to_string(), &names);
        // A handshake whose peer connection has just ended stays where it is.
        let names: HashSet<String> = taken.keys().cloned().collect();
        let mut handshakes = tree.take(&connections.handshakes().path().to_string(), &names);
        let mut by_owner: HashMap<String, Vec<Tree>> = HashMap::new();
        for (owner, name) in owned {
            let Some(mut connection) = taken.remove(&name) else { continue };
            connection.children.extend(handshakes.remove(&name));
            by_owner.entry(owner).or_default().push(connection);
        }
        tree.graft(&mut by_owner);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts can be wrong by one, no more.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that is called while it is held panics.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the result of an application's closure, unless it panics.
fn contained<R>(what: &str, call: impl FnOnce() -> R) -> Option<R> {
    catch_panic(what, call)
        .inspect_err(|_| log::error!("a closure given to `{what}` panicked"))
        .ok()
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

/// Number of events that wait while a stream's thread is busy.
const TOLD: usize = 1_024;
/// Longest accepted time of a recovery: an hour, in milliseconds.
const LONGEST: f64 = 3_600_000.0;
