//! Looking inside a running server, and shooting at it: the supervision tree as JSON and as a stream, faults, how long it
//! takes until the tree is whole again, metrics, health.
//!
//! Off unless it is mounted. Whoever is answered can stop any actor, so by default only this machine is:
//! without a [token](AdminBuilder::token) it answers no other peer, no proxy, and no page of another site.
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
//! | `GET /tree/stream` | a WebSocket: the tree when it changes, at most four times a second, and at once what happens and what has recovered |
//! | `POST /tree/fault` | put in a [`FaultOrder`]: 204 |
//! | `GET /tree/recoveries` | the last 256 [`Recovery`]s, with percentiles |
//! | `POST /tree/recoveries/{id}` | add [`Measured`] times: 204 |
//! | `GET /metrics` | for Prometheus: text, or OpenMetrics if that is asked for |
//! | `GET /healthz` | 200: the process lives. Answered to everybody |
//! | `GET /readyz` | 200, or 503 while the root or a permanent child of its is down. Answered to everybody; what is down is told to those who may look |

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
use crate::limits::Connections;
use crate::proxies::TrustedProxies;
use crate::server_peer::{WebRtc, server_peer_id};

/// Looks into a supervision tree. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

/// Makes an [`Admin`].
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
    /// The path of the handshakes' supervisor.
    handshakes: Option<String>,
    annotators: Vec<Box<Annotator>>,
    grafts: Vec<Box<Graft>>,
    counters: Vec<Arc<Counters>>,
    access: Gate,
    details: Details,
    /// What those who look at the stream have in common.
    sample: tokio::sync::Mutex<Option<Sample>>,
    tally: Mutex<Tally>,
    table: Mutex<Table>,
    told: broadcast::Sender<ByteString>,
    streams: Arc<Connections>,
    began: Instant,
    /// Ends the watching.
    _end: oneshot::Sender<()>,
}

struct Sample {
    at: Instant,
    version: u64,
    tree: Tree,
    encoded: ByteString,
}

/// What somebody outside has measured of a recovery: `POST /tree/recoveries/{id}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Measured {
    /// Until messages flowed again, in milliseconds.
    pub messages_ms: Option<f64>,
    /// Until media flowed again, in milliseconds.
    pub media_ms: Option<f64>,
}

/// Why a measurement was not noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasuredError {
    /// There is no such recovery, or not any more.
    #[error("no such recovery")]
    NotFound,
    /// It is no time, or longer than an hour; or there is none.
    #[error("a time is needed, of 0 to 3,600,000 ms")]
    BadTime,
}

impl Admin {
    /// An admin surface of the tree below this supervisor.
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

    /// Mount it, below a prefix or (if that is empty) at the top: `App::new().configure(admin.at("/admin"))`.
    pub fn at(&self, prefix: &str) -> impl FnOnce(&mut ServiceConfig) + use<> + 'static {
        let (admin, prefix) = (self.clone(), prefix.trim_matches('/').to_owned());
        move |config| routes::mount(&admin, &prefix, config)
    }

    /// The tree as it is now. What is said of peer connections is up to 250 ms old.
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

    /// The last 256 recoveries, the latest last.
    pub fn recoveries(&self) -> Vec<Recovery> {
        self.inner.table().rows()
    }

    /// The same in short, for each kind of actor and end.
    pub fn recovery_summaries(&self) -> Vec<RecoverySummary> {
        self.inner.table().summaries()
    }

    /// Note what was measured of a recovery.
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

    /// The tree for the stream, with a number that changes when the tree does. `anew`: with the time of now.
    async fn sample(&self, anew: bool) -> (u64, ByteString) {
        let mut sample = self.inner.sample.lock().await;
        let now = Instant::now();
        match &*sample {
            // A little less, since timers are not exact.
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
    /// Show these peer connections too, with what is to be said of each. If they live in a tree of their own, it is shown
    /// as a child of the root.
    pub fn connections(self, connections: PeerConnections) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// Show the connections of these peers too, each below its peer: [`connections`](Self::connections) and
    /// [`graft`](Self::graft) in one.
    pub fn webrtc(self, webrtc: &WebRtc) -> Self {
        let sessions = webrtc.clone();
        self.connections(webrtc.connections().clone()).graft(move || {
            let sessions = sessions.sessions().into_iter();
            sessions.filter_map(|it| Some((server_peer_id(&it.peer), it.connection?))).collect()
        })
    }

    /// Say more of actors: the members of an object are added to the [details](Tree::details) of the one it was made
    /// for; anything else is added as `note`. Called for each actor at each look: it must not wait.
    pub fn annotate(
        mut self,
        annotate: impl Fn(&TreeSnapshot) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        self.annotators.push(Box::new(annotate));
        self
    }

    /// Show peer connections, and their handshakes, below the actors that own them: pairs of such an actor's id and
    /// its connection. Asked for at each look: it must not wait.
    pub fn graft(
        mut self,
        owned: impl Fn() -> Vec<(String, PeerConnectionId)> + Send + Sync + 'static,
    ) -> Self {
        self.grafts.push(Box::new(owned));
        self
    }

    /// Count what happens at this door in the metrics too ([`Signaling::counters`](crate::Signaling::counters)). Several
    /// are added up.
    pub fn counters(mut self, counters: Arc<Counters>) -> Self {
        self.counters.push(counters);
        self
    }

    /// Answer whoever knows this, from wherever, as `Authorization: Bearer …` or `?token=…`; others get 401. An empty one
    /// lets nobody in. Default: none; only this machine is answered.
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { tokens: Tokens { full: Some(token.into()), ..self.tokens }, ..self }
    }

    /// Show the tree, its stream, recoveries and metrics to clients that know this, from any address; nothing can be changed
    /// with it, a `POST` gets 403. For a Prometheus, or a page that only looks. Without [`token`](Self::token) this machine is
    /// answered as ever when it shows none. An empty one lets no client in. Default: none.
    pub fn read_token(self, token: impl Into<String>) -> Self {
        Self { tokens: Tokens { read: Some(token.into()), ..self.tokens }, ..self }
    }

    /// Sets the reverse proxies that are believed in `Forwarded` and `X-Forwarded-For`: whether a request is from this machine,
    /// and which address wrong tokens are counted for, goes by the address that they tell. Default: none; without a token, no
    /// request that has come by a proxy is answered.
    pub fn trusted_proxies(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// The admin surface. It watches the tree from now on, on this thread, which must be one of an actix
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
            // An error only says that nobody looks.
            _ = self.told.send(message.to_string().into());
        }
    }

    /// The supervisors below which everything is: the root, and that of the connections if it is not below the root.
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

    /// Which connection is whose.
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
        // A handshake whose connection has just ended stays where it is.
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

/// What an application's closure returns, unless it panics.
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

/// What happens while a stream's thread is busy.
const TOLD: usize = 1_024;
/// Longer than anybody waits for a recovery: an hour, in milliseconds.
const LONGEST: f64 = 3_600_000.0;
