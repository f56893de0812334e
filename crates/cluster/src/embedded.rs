//! Directory in the memory of this process.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::directory::{Change, Directory, DirectoryError, Key, Whole};
use crate::record::{Claim, Revision, Session};

/// Directory in the memory of this process: a map under a lock, for a server of one node, and for tests. Needs no
/// service. Its clones are one directory: give each node of a test one of them.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    records: Mutex<Records>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct Records {
    revision: u64,
    sessions: BTreeMap<Key, (Session, Revision)>,
    claims: BTreeMap<Key, (Claim, Revision)>,
}

/// A listener's directory and receiver, and the changes that it is told before those of the receiver.
type Listening = (Arc<Shared>, broadcast::Receiver<Change>, VecDeque<Change>);

enum Record {
    Session(Session),
    Claim(Claim),
    None,
}

impl Embedded {
    /// Creates an empty directory.
    pub fn new() -> Self {
        let changes = broadcast::Sender::new(BACKLOG);
        Self { shared: Arc::new(Shared { records: Mutex::default(), changes }) }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("revision", &self.shared.lock().revision)
            .finish_non_exhaustive()
    }
}

impl Directory for Embedded {
    fn enter(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.put(Key::Node(session.node.clone()), was, Record::Session(session))
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
        self.put(Key::Room(room), was, Record::Claim(claim))
    }

    fn forget(&self, key: Key, was: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        ready(self.shared.put(key, Some(was), Record::None).map(drop)).boxed()
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let (first, receiver) = self.shared.subscribe();
        let state = (Arc::clone(&self.shared), receiver, VecDeque::from([first]));
        let next = |(shared, mut receiver, mut waiting): Listening| async move {
            let change = match waiting.pop_front() {
                Some(change) => change,
                None => match receiver.recv().await {
                    Ok(change) => change,
                    Err(RecvError::Lagged(_)) => {
                        let (whole, again) = shared.subscribe();
                        receiver = again;
                        waiting.push_back(whole);
                        Change::Lost
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            Some((change, (shared, receiver, waiting)))
        };
        unfold(state, next).boxed()
    }

    /// Returns 5 s: there is no leader to elect.
    fn hold(&self) -> Duration {
        Duration::from_secs(5)
    }
}

impl Embedded {
    fn put(
        &self,
        key: Key,
        was: Option<Revision>,
        record: Record,
    ) -> BoxFuture<'static, Result<Revision, DirectoryError>> {
        ready(self.shared.put(key, was, record)).boxed()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Records> {
        // Every change is whole before the lock is released.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(
        &self,
        key: Key,
        was: Option<Revision>,
        record: Record,
    ) -> Result<Revision, DirectoryError> {
        let mut records = self.lock();
        let session = records.sessions.get(&key).map(|&(_, at)| at);
        if session.or_else(|| records.claims.get(&key).map(|&(_, at)| at)) != was {
            return Err(DirectoryError::Conflict);
        }
        records.revision += 1;
        let revision = Revision(records.revision);
        let change = match (record, &key) {
            (Record::Session(session), _) => {
                records.sessions.insert(key, (session.clone(), revision));
                Change::Session(session, revision)
            }
            (Record::Claim(claim), Key::Room(room)) => {
                let room = Arc::clone(room);
                records.claims.insert(key, (claim.clone(), revision));
                Change::Claim(room, claim, revision)
            }
            _ => {
                records.sessions.remove(&key);
                records.claims.remove(&key);
                Change::Forgotten(key, revision)
            }
        };
        // Under the lock, so that changes are told in order. It fails if no node listens.
        _ = self.changes.send(change);
        Ok(revision)
    }

    /// Returns all that there is, and a receiver of what comes after.
    fn subscribe(&self) -> (Change, broadcast::Receiver<Change>) {
        let records = self.lock();
        let mut whole = Whole::new(0, Revision(records.revision));
        whole.sessions = records.sessions.values().cloned().collect();
        let claims = records.claims.iter().filter_map(|(key, (claim, at))| match key {
            Key::Room(room) => Some((Arc::clone(room), claim.clone(), *at)),
            Key::Node(_) => None,
        });
        whole.claims = claims.collect();
        (Change::Whole(whole), self.changes.subscribe())
    }
}

/// Number of changes that wait for a node; one that is further behind is told all that there is.
const BACKLOG: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_id::{Incarnation, NodeId};
    use crate::record::{Epoch, SessionState};

    fn session(n: u64) -> Session {
        let (node, incarnation) =
            (NodeId::new("a1").unwrap(), Incarnation::new(uuid::Uuid::nil(), 1));
        Session {
            node,
            incarnation,
            n,
            state: SessionState::Up,
            hold: Duration::from_secs(15),
            url: None,
            zone: None,
            liveness: None,
            gone: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_write_needs_the_revision_that_there_is() {
        let directory = Embedded::new();

        let first = directory.enter(session(1), None).await.unwrap();
        let second = directory.renew(session(2), first).await.unwrap();

        assert!(second > first);
        assert_eq!(directory.enter(session(3), None).await, Err(DirectoryError::Conflict));
        assert_eq!(directory.renew(session(3), first).await, Err(DirectoryError::Conflict));
        let key = Key::Node(session(1).node);
        assert_eq!(directory.forget(key.clone(), first).await, Err(DirectoryError::Conflict));
        assert!(directory.forget(key, second).await.is_ok());
        assert!(directory.enter(session(4), None).await.is_ok());
    }

    #[tokio::test]
    async fn changes_begin_with_all_that_there_is_and_go_on_in_order() {
        let directory = Embedded::new();
        let first = directory.enter(session(1), None).await.unwrap();
        let mut changes = directory.clone().changes();

        let claim = Claim::released(Epoch(7));
        let second = directory.claim("demo".into(), claim.clone(), None).await.unwrap();

        let mut whole = Whole::new(0, first);
        whole.sessions = vec![(session(1), first)];
        assert_eq!(changes.next().await, Some(Change::Whole(whole)));
        assert_eq!(changes.next().await, Some(Change::Claim("demo".into(), claim, second)));
    }

    #[tokio::test]
    async fn a_node_that_is_far_behind_is_told_all_anew() {
        let directory = Embedded::new();
        let mut changes = directory.changes();
        assert!(matches!(changes.next().await, Some(Change::Whole(_))));
        let mut was = None;
        for n in 0..=BACKLOG as u64 {
            was = Some(directory.enter(session(n), was).await.unwrap());
        }

        assert_eq!(changes.next().await, Some(Change::Lost));
        let Some(Change::Whole(whole)) = changes.next().await else { panic!("not whole") };
        assert_eq!(whole.sessions, [(session(BACKLOG as u64), was.unwrap())]);
    }
}
