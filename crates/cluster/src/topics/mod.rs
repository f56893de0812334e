//! Topics: messages to all nodes, each at most once.

mod publication;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;
use uuid::Uuid;

pub(crate) use self::publication::FORMAT;
use self::publication::{Datagram, MAX_MESSAGE};
use crate::node_id::NodeId;
use crate::wire::Wire;

/// Topics of a node, and those who listen to them.
pub(crate) struct Topics {
    here: NodeId,
    wire: Option<Arc<dyn Wire>>,
    state: Mutex<State>,
    malformed: AtomicU64,
}

#[derive(Default)]
struct State {
    /// By topic; that of announcements is empty.
    topics: BTreeMap<String, broadcast::Sender<Publication>>,
    /// Ids of the last publications of others, and of the last announcements.
    published: Seen,
    announced: Seen,
}

/// The last ids.
#[derive(Default)]
struct Seen {
    ids: HashSet<Uuid>,
    order: VecDeque<Uuid>,
}

/// Message that a node has published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    /// Node that has published it.
    pub node: NodeId,
    /// What it has published.
    pub message: Bytes,
}

/// Error of publishing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// A topic has 1 to 128 bytes.
    #[error("a topic has 1 to 128 bytes")]
    BadTopic,
    /// A message has at most 64 KiB.
    #[error("a message has at most 64 KiB")]
    TooLarge,
}

/// Error: so many publications have come that this subscription has not read in time. Those after them follow.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} publications were missed")]
pub struct MissedPublications(pub u64);

/// Subscription of a topic, or of the announcements. It holds the last 256 publications: who is slower misses the older
/// ones, and is told how many.
#[must_use = "dropping it ends the subscription"]
pub struct Subscription {
    topics: Arc<Topics>,
    topic: String,
    /// None while it is dropped.
    publications: Option<broadcast::Receiver<Publication>>,
}

impl Topics {
    pub(crate) fn new(here: NodeId, wire: Option<Arc<dyn Wire>>) -> Self {
        Self { here, wire, state: Mutex::default(), malformed: AtomicU64::new(0) }
    }

    /// Publishes a message, or announces it if the topic is empty.
    pub(crate) fn publish(&self, topic: &str, message: Bytes) -> Result<(), PublishError> {
        if topic.len() > MAX_TOPIC {
            return Err(PublishError::BadTopic);
        }
        if message.len() > MAX_MESSAGE {
            return Err(PublishError::TooLarge);
        }
        self.tell(topic, Publication { node: self.here.clone(), message: message.clone() });
        let Some(wire) = self.wire.clone() else { return Ok(()) };
        let topic = Bytes::copy_from_slice(topic.as_bytes());
        let announced = topic.is_empty();
        let datagram = Datagram { id: Uuid::new_v4(), topic, message }.encode();
        wire.broadcast(&self.here, datagram.clone());
        if let Some(runtime) = Handle::try_current().ok().filter(|_| announced) {
            let here = self.here.clone();
            runtime.spawn(async move {
                for pause in AGAIN {
                    sleep(pause).await;
                    wire.broadcast(&here, datagram.clone());
                }
            });
        }
        Ok(())
    }

    pub(crate) fn subscribe(self: &Arc<Self>, topic: &str) -> Result<Subscription, PublishError> {
        if topic.len() > MAX_TOPIC {
            return Err(PublishError::BadTopic);
        }
        let mut state = self.state();
        let there = state.topics.entry(topic.to_owned());
        let publications = there.or_insert_with(|| broadcast::Sender::new(BACKLOG)).subscribe();
        let (topics, topic) = (Arc::clone(self), topic.to_owned());
        Ok(Subscription { topics, topic, publications: Some(publications) })
    }

    /// Handles what has arrived from another node.
    pub(crate) fn arrived(&self, node: NodeId, datagram: Bytes) {
        let publication = Datagram::decode(datagram);
        let read =
            publication.as_ref().and_then(|read| Some((read, str::from_utf8(&read.topic).ok()?)));
        let Some((Datagram { id, message, .. }, topic)) = read else {
            self.malformed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut state = self.state();
        let seen = if topic.is_empty() { &mut state.announced } else { &mut state.published };
        let new = seen.insert(*id);
        drop(state);
        if new {
            self.tell(topic, Publication { node, message: message.clone() });
        }
    }

    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    fn tell(&self, topic: &str, publication: Publication) {
        if let Some(topic) = self.state().topics.get(topic) {
            // No one listens any more.
            _ = topic.send(publication);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Returns whether the id is new.
    fn insert(&mut self, id: Uuid) -> bool {
        let new = self.ids.insert(id);
        if new {
            self.order.push_back(id);
        }
        if self.order.len() > SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        new
    }
}

impl Subscription {
    /// Returns the next publication, in the order in which they have come. Can be dropped while it waits.
    ///
    /// # Errors
    /// [`MissedPublications`] if it was too slow; the next call goes on after those.
    pub async fn next(&mut self) -> Result<Publication, MissedPublications> {
        let publications = self.publications.as_mut().expect("it is not dropped yet");
        match publications.recv().await {
            Ok(publication) => Ok(publication),
            Err(RecvError::Lagged(missed)) => Err(MissedPublications(missed)),
            // The topic lasts as long as its subscriptions.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.topics.state();
        drop(self.publications.take());
        if state.topics.get(&self.topic).is_some_and(|topic| topic.receiver_count() == 0) {
            state.topics.remove(&self.topic);
        }
    }
}

/// Longest topic, in bytes.
const MAX_TOPIC: usize = 128;
/// Publications that wait for a subscription.
const BACKLOG: usize = 256;
/// Publications that are known if they come again.
const SEEN: usize = 4_096;
/// Pauses before an announcement is sent again, in case it was lost.
const AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::wire::MemoryWire;

    fn topics(wire: &MemoryWire, name: &str) -> Arc<Topics> {
        Arc::new(Topics::new(NodeId::new(name).unwrap(), Some(Arc::new(wire.clone()))))
    }

    fn text(publication: Result<Publication, MissedPublications>) -> String {
        String::from_utf8(publication.unwrap().message.to_vec()).unwrap()
    }

    fn arrive(topics: &Topics, id: u128, topic: &'static str) {
        let topic = Bytes::from_static(topic.as_bytes());
        let message = Bytes::from(id.to_string());
        let datagram = Datagram { id: Uuid::from_u128(id), topic, message };
        topics.arrived(NodeId::new("b2").unwrap(), datagram.encode());
    }

    #[tokio::test]
    async fn what_comes_twice_is_told_once() {
        let topics = topics(&MemoryWire::new(), "a1");
        let mut news = topics.subscribe("news").unwrap();
        let mut announcements = topics.subscribe("").unwrap();

        for id in [1, 2, 1, 2, 3] {
            arrive(&topics, id, "news");
            arrive(&topics, id, "");
        }

        for subscription in [&mut news, &mut announcements] {
            for told in ["1", "2", "3"] {
                assert_eq!(text(subscription.next().await), told);
            }
            assert!(subscription.next().now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_much_was_missed() {
        let topics = topics(&MemoryWire::new(), "a1");
        let mut news = topics.subscribe("news").unwrap();
        (0..BACKLOG as u128 + 10).for_each(|id| arrive(&topics, id, "news"));

        assert_eq!(news.next().await, Err(MissedPublications(10)));
        assert_eq!(text(news.next().await), "10");
    }

    #[tokio::test]
    async fn what_does_not_do_is_refused_and_what_is_malformed_is_counted() {
        let topics = topics(&MemoryWire::new(), "a1");
        assert_eq!(topics.publish(&"x".repeat(129), Bytes::new()), Err(PublishError::BadTopic));
        let large = Bytes::from(vec![0; 64 * 1024 + 1]);
        assert_eq!(topics.publish("news", large), Err(PublishError::TooLarge));
        assert!(topics.subscribe(&"x".repeat(129)).is_err());

        topics.arrived(NodeId::new("b2").unwrap(), Bytes::from_static(b"\x02\x01"));
        assert_eq!(topics.malformed(), 1);
    }

    #[tokio::test]
    async fn a_topic_that_no_one_subscribes_any_more_is_forgotten() {
        let topics = topics(&MemoryWire::new(), "a1");
        let first = topics.subscribe("news").unwrap();
        let second = topics.subscribe("news").unwrap();
        drop(first);
        assert_eq!(topics.state().topics.len(), 1);
        drop(second);
        assert!(topics.state().topics.is_empty());
    }

    #[test]
    fn the_last_ids_are_known() {
        let mut seen = Seen::default();
        assert!((0..2 * SEEN as u128).all(|id| seen.insert(Uuid::from_u128(id))));
        assert!((SEEN as u128..2 * SEEN as u128).all(|id| !seen.insert(Uuid::from_u128(id))));
        assert_eq!((seen.ids.len(), seen.order.len()), (SEEN, SEEN));
    }
}
