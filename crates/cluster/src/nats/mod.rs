//! Directory in a bucket of NATS JetStream.

mod follow;
mod record;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv::{self, CreateErrorKind, Store, UpdateErrorKind};
use async_nats::{Client, ConnectOptions, Event};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{BoxStream, StreamExt, poll_fn};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

pub use self::wire::NatsWire;
use crate::directory::{Change, Directory, DirectoryError, Key};
use crate::record::{Claim, Revision, Session};

/// Directory in a key-value bucket of NATS JetStream, from version 2.11. Its clones share one connection.
///
/// It is made for what NATS does: writes that stop for up to 10 s while a leader is elected, reads and changes that
/// come late, streams of changes that fall silent or never say anything, a bucket that is lost. Each costs time, and no
/// room is held twice.
///
/// It needs a runtime of Tokio.
#[derive(Clone)]
pub struct Nats {
    shared: Arc<Shared>,
}

struct Shared {
    jetstream: jetstream::Context,
    bucket: String,
    replicas: usize,
    /// Number of connections that were lost.
    losses: watch::Receiver<u64>,
    store: Mutex<Option<Store>>,
}

/// Options of [`Nats`] and [`NatsWire`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NatsOptions {
    cluster: String,
    replicas: usize,
    credentials: Option<PathBuf>,
    require_tls: bool,
    root_certificates: Option<PathBuf>,
}

/// Error of connecting to NATS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The name of the cluster is not 1 to 64 letters of ASCII, digits, hyphens and underscores.
    #[error("{0:?} is no name for a cluster: 1 to 64 letters, digits, - and _")]
    Cluster(String),
    /// The file of credentials cannot be read.
    #[error("{path:?}: {error}")]
    Credentials {
        /// File.
        path: PathBuf,
        /// Cause.
        error: std::io::Error,
    },
    /// The addresses or certificates do not do.
    #[error("{0}")]
    Connect(String),
}

impl Nats {
    /// Connects to servers: their addresses with commas between, such as `nats://a:4222,tls://b:4222`. Servers that
    /// cannot be reached are no error: they are tried again and again, here and later.
    ///
    /// # Errors
    /// [`NatsError`]
    pub async fn connect(servers: &str, options: NatsOptions) -> Result<Self, NatsError> {
        let (lose, losses) = watch::channel(0);
        let connecting =
            ConnectOptions::new().name("callboard-cluster").event_callback(move |event| {
                log::info!("NATS: {event}");
                if matches!(event, Event::Disconnected | Event::SlowConsumer(_)) {
                    lose.send_modify(|losses| *losses += 1);
                }
                async {}
            });
        let client = connect(servers, &options, connecting).await?;
        let NatsOptions { cluster, replicas, .. } = options;
        let (jetstream, store) = (jetstream::new(client), Mutex::default());
        let bucket = format!("callboard_{cluster}");
        Ok(Self { shared: Arc::new(Shared { jetstream, bucket, replicas, losses, store }) })
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("bucket", &self.shared.bucket).finish_non_exhaustive()
    }
}

impl NatsOptions {
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the cluster: its bucket is `callboard_NAME`, its subjects are `cb.NAME.>`. Default: `main`.
    pub fn cluster(self, cluster: impl Into<String>) -> Self {
        Self { cluster: cluster.into(), ..self }
    }

    /// Sets on how many servers the bucket is kept, when it is made: 3 where there are three or more. Default: 1.
    pub fn replicas(self, replicas: usize) -> Self {
        Self { replicas: replicas.clamp(1, MOST_REPLICAS), ..self }
    }

    /// Sets a file of credentials (`.creds`). Default: none.
    pub fn credentials(self, path: impl Into<PathBuf>) -> Self {
        Self { credentials: Some(path.into()), ..self }
    }

    /// Sets whether connections without TLS are refused. Default: no; addresses with `tls://` have it in any case.
    pub fn require_tls(self, require_tls: bool) -> Self {
        Self { require_tls, ..self }
    }

    /// Sets a file of certificates (PEM) that the servers' are checked with, in addition to the system's. Default:
    /// none.
    pub fn root_certificates(self, path: impl Into<PathBuf>) -> Self {
        Self { root_certificates: Some(path.into()), ..self }
    }
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            cluster: "main".to_owned(),
            replicas: 1,
            credentials: None,
            require_tls: false,
            root_certificates: None,
        }
    }
}

impl Directory for Nats {
    fn enter(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        let key = Key::Node(session.node.clone());
        self.shared.put(key, record::encode(&session), was).boxed()
    }

    fn renew(
        &self,
        session: Session,
        was: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.enter(session, Some(was))
    }

    fn seal(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.enter(session, was)
    }

    fn claim(
        &self,
        room: Arc<str>,
        claim: Claim,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.shared.put(Key::Room(room), record::encode(&claim), was).boxed()
    }

    fn forget(&self, key: Key, was: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        let forgetting = async move {
            let store = self.shared.store().await?;
            let key = record::key(&key);
            let purged = store.purge_expect_revision_with_ttl(key, was.0, MARKER).await;
            purged.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => DirectoryError::Conflict,
                _ => unknown(error),
            })
        };
        forgetting.boxed()
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let (tell, mut told) = mpsc::channel(CHANGES);
        tokio::spawn(follow::follow(Arc::clone(&self.shared), tell));
        poll_fn(move |cx| told.poll_recv(cx)).boxed()
    }
}

impl Shared {
    async fn put(
        &self,
        key: Key,
        value: Bytes,
        was: Option<Revision>,
    ) -> Result<Revision, DirectoryError> {
        let (store, key) = (self.store().await?, record::key(&key));
        let written = match was {
            Some(Revision(was)) => {
                store.update(key, value, was).await.map_err(|error| match error.kind() {
                    UpdateErrorKind::WrongLastRevision => DirectoryError::Conflict,
                    _ => unknown(error),
                })
            }
            None => store.create(key, value).await.map_err(|error| match error.kind() {
                CreateErrorKind::AlreadyExists => DirectoryError::Conflict,
                _ => unknown(error),
            }),
        };
        written.map(Revision)
    }

    /// Returns the bucket as it was opened last.
    async fn store(&self) -> Result<Store, DirectoryError> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match store {
            Some(store) => Ok(store),
            None => self.open().await.map_err(DirectoryError::Unknown),
        }
    }

    /// Opens the bucket; makes it if there is none.
    async fn open(&self) -> Result<Store, String> {
        let found = timeout(CALL, self.jetstream.get_stream(format!("KV_{}", self.bucket))).await;
        let found = found.map_err(|_| "NATS does not answer".to_owned())?;
        match found {
            Ok(_) => {}
            Err(error) if is_missing(&error) => self.make().await?,
            Err(error) => return Err(error.to_string()),
        }
        let opened = timeout(CALL, self.jetstream.get_key_value(self.bucket.as_str())).await;
        let opened = opened.map_err(|_| "NATS does not answer".to_owned())?;
        let store = opened.map_err(|error| error.to_string())?;
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
        Ok(store)
    }

    async fn make(&self) -> Result<(), String> {
        log::info!("NATS has no bucket {:?}: it is made", self.bucket);
        let config = kv::Config {
            bucket: self.bucket.clone(),
            description: "sessions and claims of a cluster of Callboard".to_owned(),
            history: 1,
            num_replicas: self.replicas,
            limit_markers: Some(MARKER),
            ..kv::Config::default()
        };
        let made = timeout(CALL, self.jetstream.create_key_value(config)).await;
        let made = made.map_err(|_| "NATS does not answer".to_owned())?;
        made.map(drop).map_err(|error| format!("{error}"))
    }
}

/// Connects to servers, after it has looked at the name of the cluster.
async fn connect(
    servers: &str,
    options: &NatsOptions,
    connecting: ConnectOptions,
) -> Result<Client, NatsError> {
    let NatsOptions { cluster, credentials, require_tls, root_certificates, .. } = options;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !(1..=MAX_CLUSTER).contains(&cluster.len()) || !cluster.chars().all(allowed) {
        return Err(NatsError::Cluster(cluster.clone()));
    }
    let mut connecting = connecting
        .retry_on_initial_connect()
        .ping_interval(PING)
        .request_timeout(Some(CALL))
        .require_tls(*require_tls);
    if let Some(path) = root_certificates {
        connecting = connecting.add_root_certificates(path.clone());
    }
    if let Some(path) = credentials {
        let with = connecting.credentials_file(path).await;
        let failed = |error| NatsError::Credentials { path: path.clone(), error };
        connecting = with.map_err(failed)?;
    }
    let servers: Vec<&str> = servers.split(',').map(str::trim).collect();
    let client = connecting.connect(servers).await;
    client.map_err(|error| NatsError::Connect(error.to_string()))
}

/// Returns whether the error says that there is no such stream.
fn is_missing(error: &jetstream::context::GetStreamError) -> bool {
    match error.kind() {
        jetstream::context::GetStreamErrorKind::JetStream(error) => {
            error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
        }
        _ => false,
    }
}

fn unknown(error: impl fmt::Display) -> DirectoryError {
    DirectoryError::Unknown(error.to_string())
}

/// Longest name of a cluster, in bytes.
const MAX_CLUSTER: usize = 64;
/// Most replicas that JetStream keeps.
const MOST_REPLICAS: usize = 5;
/// Time limit of a request.
const CALL: Duration = Duration::from_secs(2);
/// Time between two pings: a server that does not answer two of them is left.
const PING: Duration = Duration::from_secs(3);
/// Time for which the bucket remembers that a record was removed, so that every node sees it.
const MARKER: Duration = Duration::from_secs(600);
/// Number of changes that wait for a node: while there are so many, no more are read.
const CHANGES: usize = 256;
