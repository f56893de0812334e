//! Nodes with lines over a wire in memory, by a clock that the tests pause.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use callboard_supervision::{Fault, SupervisorRef};
use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::*;

struct Node {
    cluster: Cluster,
    tree: SupervisorRef,
    lines: Lines,
    events: Arc<Mutex<Vec<LineEvent>>>,
    _served: Served,
}

impl Node {
    async fn start(directory: &Embedded, wire: &(impl Wire + Clone), name: &str) -> Self {
        let cluster = Cluster::builder(directory.clone())
            .node(name)
            .hold(HOLD)
            .wire(wire.clone())
            .clock(Clock::Tokio(Instant::now()))
            .build()
            .unwrap();
        let lines = cluster.lines().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let served = lines.serve("test", move |event| told.lock().unwrap().push(event)).unwrap();
        let tree = cluster.start().await.unwrap();
        let node = Self { cluster, tree, lines, events, _served: served };
        node.until("the session", |node| node.cluster.lease().is_some()).await;
        node
    }

    fn id(&self) -> NodeId {
        self.cluster.node().clone()
    }

    fn send(&self, to: &Self, text: &str) -> Result<(), LineError> {
        self.lines.send(&to.id(), "test", Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Waits by the paused clock until this holds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < Duration::from_secs(300), "{what} does not come");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn connect(&self, to: &Self) {
        self.lines.connect(&to.id());
        self.until("a line", |node| node.lines.is_up(&to.id()).is_some()).await;
        to.until("the line back", |node| node.lines.is_up(&self.id()).is_some()).await;
    }

    /// Returns what it was told, in short: `up`, `down`, `?`, or the text of a frame.
    fn told(&self) -> Vec<String> {
        let short = |event: &LineEvent| match event {
            LineEvent::Up { .. } => "up".to_owned(),
            LineEvent::Down { .. } => "down".to_owned(),
            LineEvent::Unreachable { .. } => "?".to_owned(),
            LineEvent::Frame { frame, .. } => String::from_utf8(frame.to_vec()).unwrap(),
        };
        self.events.lock().unwrap().iter().map(short).collect()
    }
}

async fn two(wire: &(impl Wire + Clone)) -> (Node, Node) {
    tokio::time::pause();
    let directory = Embedded::new();
    (Node::start(&directory, wire, "a1").await, Node::start(&directory, wire, "b2").await)
}

const HOLD: Duration = Duration::from_secs(15);

#[actix::test]
async fn frames_of_both_sides_come_in_order() {
    let (a1, b2) = two(&MemoryWire::new()).await;
    assert_eq!(a1.send(&b2, "too early"), Err(LineError::Down));
    a1.connect(&b2).await;

    for (from, to) in [(&a1, &b2), (&b2, &a1)] {
        (0..10).for_each(|n| from.send(to, &n.to_string()).unwrap());
    }

    let all = ["up", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    for node in [&a1, &b2] {
        node.until("all frames", |node| node.told().len() >= all.len()).await;
        assert_eq!(node.told(), all);
    }
}

/// Wire that counts the datagrams that are sent.
#[derive(Clone)]
struct Counting {
    wire: MemoryWire,
    sent: Arc<AtomicUsize>,
}

impl Wire for Counting {
    fn arrivals(&self, here: &NodeId) -> BoxStream<'static, Arrival> {
        self.wire.arrivals(here)
    }

    fn send(&self, from: &NodeId, to: &NodeId, datagram: Bytes) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.wire.send(from, to, datagram);
    }

    fn broadcast(&self, from: &NodeId, datagram: Bytes) {
        self.wire.broadcast(from, datagram);
    }
}

#[actix::test]
async fn frames_that_are_sent_at_once_travel_together_in_order() {
    let wire = Counting { wire: MemoryWire::new(), sent: Arc::default() };
    let (a1, b2) = two(&wire).await;
    a1.connect(&b2).await;
    let before = wire.sent.load(Ordering::Relaxed);

    let sent: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    sent.iter().for_each(|text| a1.send(&b2, text).unwrap());
    b2.until("all frames", |node| node.told().len() > sent.len()).await;

    assert_eq!(b2.told()[1..], sent);
    let datagrams = wire.sent.load(Ordering::Relaxed) - before;
    assert!(datagrams < 10, "{datagrams} datagrams");
}

#[actix::test]
async fn nothing_is_lost_or_twice_over_a_wire_that_loses_duplicates_and_reorders() {
    let wire = MemoryWire::with_seed(7);
    let (a1, b2) = two(&wire).await;
    let delay = Duration::ZERO..Duration::from_millis(300);
    wire.set_faults(WireFaults::default().loss(0.2).duplication(0.2).delay(delay));
    let _kept = a1.lines.keep(&b2.id());
    a1.until("a line", |node| node.lines.is_up(&b2.id()).is_some()).await;

    let mut sent = Vec::new();
    for n in 0..3_000 {
        a1.until("room in the window", |node| node.send(&b2, &n.to_string()).is_ok()).await;
        sent.push(n.to_string());
    }
    b2.until("all frames", |node| node.told().len() > sent.len()).await;

    assert_eq!(b2.told()[1..], sent);
}

#[actix::test]
async fn a_line_that_is_wanted_before_the_node_has_entered_is_opened_when_it_has() {
    tokio::time::pause();
    let (wire, directory) = (MemoryWire::new(), Embedded::new());
    let a1 = Node::start(&directory, &wire, "a1").await;
    for sends in [true, false] {
        let cluster = Cluster::builder(directory.clone())
            .node(format!("b-{sends}"))
            .wire(wire.clone())
            .clock(Clock::Tokio(Instant::now()))
            .build()
            .unwrap();
        let lines = cluster.lines().unwrap();
        if sends {
            assert_eq!(lines.send(&a1.id(), "test", Bytes::new()), Err(LineError::Down));
        } else {
            lines.connect(&a1.id());
        }

        let _tree = cluster.start().await.unwrap();

        a1.until("a line", |node| node.lines.is_up(cluster.node()).is_some()).await;
    }
}

#[actix::test]
async fn a_cut_ends_the_line_on_both_sides_after_ten_seconds() {
    let wire = MemoryWire::new();
    let (a1, b2) = two(&wire).await;
    a1.connect(&b2).await;

    wire.cut(&a1.id(), &b2.id(), true);
    let began = Instant::now();
    a1.send(&b2, "lost").unwrap();
    b2.until("the end", |node| node.told() == ["up", "down"]).await;
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
    a1.until("the end", |node| node.told() == ["up", "down"]).await;
    wire.cut(&a1.id(), &b2.id(), false);

    b2.connect(&a1).await;
    a1.send(&b2, "new").unwrap();
    b2.until("the frame", |node| node.told() == ["up", "down", "up", "new"]).await;
}

#[actix::test]
async fn a_node_that_stops_ends_its_lines_at_once() {
    let (a1, b2) = two(&MemoryWire::new()).await;
    a1.connect(&b2).await;
    a1.send(&b2, "last").unwrap();

    let began = Instant::now();
    a1.tree.stop().await;

    b2.until("the end", |node| node.told() == ["up", "last", "down"]).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(a1.told(), ["up", "down"]);
    assert_eq!(a1.send(&b2, "after"), Err(LineError::Down));
}

#[actix::test]
async fn an_actor_of_lines_that_fails_ends_them_on_both_sides_and_the_next_begins() {
    let (a1, b2) = two(&MemoryWire::new()).await;
    a1.connect(&b2).await;

    let fault = Fault::Panic("a fault".into());
    a1.tree.supervisor("cluster").unwrap().inject("lines", fault).await.unwrap();

    b2.until("the end", |node| node.told() == ["up", "down"]).await;
    assert_eq!(a1.told(), ["up", "down"]);
    b2.connect(&a1).await;
    b2.send(&a1, "again").unwrap();
    a1.until("the frame", |node| node.told() == ["up", "down", "up", "again"]).await;
}

#[actix::test]
async fn a_process_that_is_replaced_ends_the_line() {
    let wire = MemoryWire::new();
    tokio::time::pause();
    let directory = Embedded::new();
    let a1 = Node::start(&directory, &wire, "a1").await;
    let b2 = Node::start(&directory, &wire, "b2").await;
    a1.connect(&b2).await;
    let old = a1.lines.is_up(&b2.id());

    // Its session is sealed, and another process has its name.
    b2.tree.stop().await;
    let again = Node::start(&directory, &wire, "b2").await;
    a1.connect(&again).await;

    assert_eq!(a1.told(), ["up", "down", "up"]);
    assert_ne!(a1.lines.is_up(&again.id()), old);
}

/// A second process of a name waits until the first is silent: until then it is no node, though it hears all.
#[actix::test]
async fn a_process_that_waits_for_its_name_disturbs_no_line() {
    tokio::time::pause();
    let (wire, directory) = (MemoryWire::new(), Embedded::new());
    let a1 = Node::start(&directory, &wire, "a1").await;
    let b2 = Node::start(&directory, &wire, "b2").await;
    a1.connect(&b2).await;

    let second = Cluster::builder(directory.clone())
        .node("b2")
        .hold(HOLD)
        .wire(wire.clone())
        .clock(Clock::Tokio(Instant::now()))
        .build()
        .unwrap();
    let _tree = second.start().await.unwrap();
    let lines = second.lines().unwrap();
    let _kept = lines.keep(&a1.id());
    sleep(Duration::from_secs(30)).await;
    a1.send(&b2, "for the first").unwrap();

    b2.until("the frame", |node| node.told() == ["up", "for the first"]).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(lines.is_up(&a1.id()), None);
    assert_eq!(a1.told(), ["up"]);
}

#[actix::test]
async fn a_service_is_told_of_the_lines_that_there_are_and_of_no_others_frames() {
    let (a1, b2) = two(&MemoryWire::new()).await;
    a1.connect(&b2).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let late = Arc::clone(&told);
    let served = b2.lines.serve("late", move |event| late.lock().unwrap().push(event)).unwrap();
    assert_eq!(b2.lines.serve("late", |_| ()).unwrap_err(), ServiceTaken("late"));
    assert!(b2.lines.serve("", |_| ()).is_err());
    let count = || told.lock().unwrap().len();
    b2.until("the line", |_| count() == 1).await;

    a1.send(&b2, "for test").unwrap();
    a1.lines.send(&b2.id(), "late", Bytes::from_static(b"for late")).unwrap();
    a1.lines.send(&b2.id(), "none", Bytes::from_static(b"for no one")).unwrap();

    b2.until("the frame", |_| count() == 2).await;
    b2.until("the frame", |node| node.told() == ["up", "for test"]).await;
    assert!(matches!(&told.lock().unwrap()[..], [LineEvent::Up { .. }, LineEvent::Frame { .. }]));
    drop(served);
    assert!(b2.lines.serve("late", |_| ()).is_ok());
}

#[actix::test]
async fn a_service_that_panics_harms_no_other() {
    let (a1, b2) = two(&MemoryWire::new()).await;
    let _bad = b2.lines.serve("bad", |_| panic!("a fault")).unwrap();
    a1.connect(&b2).await;

    a1.lines.send(&b2.id(), "bad", Bytes::new()).unwrap();
    a1.send(&b2, "good").unwrap();

    b2.until("the frame", |node| node.told() == ["up", "good"]).await;
}

#[actix::test]
async fn datagrams_that_cannot_be_read_are_dropped() {
    let wire = MemoryWire::new();
    let (a1, b2) = two(&wire).await;
    a1.connect(&b2).await;
    for length in [0, 1, 17, 300_000] {
        wire.send(&a1.id(), &b2.id(), Bytes::from(vec![1; length]));
    }

    a1.send(&b2, "good").unwrap();

    b2.until("the frame", |node| node.told() == ["up", "good"]).await;
    assert_eq!(b2.lines.malformed(), 3, "the last one is a hello");
    let facts = b2.lines.facts();
    assert_eq!((facts[0].node.clone(), facts[0].frames_received), (a1.id(), 1));
    assert_eq!(facts[0].bytes_received, 4);
}

#[actix::test]
async fn publications_and_announcements_come_on_all_nodes_once() {
    let wire = MemoryWire::with_seed(3);
    let (a1, b2) = two(&wire).await;
    wire.set_faults(WireFaults::default().duplication(1.0));
    let subscribe =
        |node: &Node| (node.cluster.subscribe("news").unwrap(), node.cluster.announcements());
    let (mut on_a1, mut on_b2) = (subscribe(&a1), subscribe(&b2));
    let mut other = b2.cluster.subscribe("other").unwrap();
    assert_eq!(a1.cluster.publish("", "x").unwrap_err(), PublishError::BadTopic);

    a1.cluster.publish("news", "first").unwrap();
    a1.cluster.announce("to all").unwrap();
    // The announcement alone comes after this.
    wire.cut(&a1.id(), &b2.id(), true);
    a1.cluster.publish("news", "lost").unwrap();
    a1.cluster.announce("again").unwrap();
    wire.cut(&a1.id(), &b2.id(), false);

    let next = async |subscription: &mut Subscription| {
        let publication = subscription.next().await.unwrap();
        assert_eq!(publication.node, a1.id());
        String::from_utf8(publication.message.to_vec()).unwrap()
    };
    for expected in ["first", "lost"] {
        assert_eq!(next(&mut on_a1.0).await, expected);
    }
    assert_eq!(next(&mut on_b2.0).await, "first");
    for (_, announcements) in [&mut on_a1, &mut on_b2] {
        assert_eq!(next(announcements).await, "to all");
        assert_eq!(next(announcements).await, "again");
    }
    sleep(Duration::from_secs(5)).await;
    a1.cluster.publish("news", "last").unwrap();
    assert_eq!(next(&mut on_b2.0).await, "last");
    assert!(tokio::time::timeout(HOLD, on_b2.1.next()).await.is_err());
    assert!(tokio::time::timeout(HOLD, other.next()).await.is_err());
}

#[actix::test]
async fn entries_of_a_presence_are_known_on_all_nodes_and_go_with_their_node() {
    let wire = MemoryWire::with_seed(5);
    wire.set_faults(WireFaults::default().loss(0.3).duplication(0.3));
    let (a1, b2) = two(&wire).await;
    let users = |node: &Node| node.cluster.presence("users").unwrap();
    let (on_a1, on_b2) = (users(&a1), users(&b2));
    let (there, mut changes) = on_a1.watch();
    assert!(there.is_empty());
    assert_eq!(on_a1.track("", "").unwrap_err(), PresenceError::BadLength);

    let phone = on_b2.track("ann", "phone").unwrap();
    let _laptop = on_b2.track("ann", "laptop").unwrap();
    let _bob = on_a1.track("bob", "{}").unwrap();
    let _other = b2.cluster.presence("others").unwrap().track("cat", "").unwrap();

    for node in [&a1, &b2] {
        node.until("all entries", |node| users(node).all().len() == 3).await;
        assert_eq!(users(node).list("ann").len(), 2);
        assert_eq!(users(node).list("bob")[0].node, a1.id());
    }
    drop(phone);
    a1.until("the end of one", |node| users(node).list("ann").len() == 1).await;
    assert_eq!(on_a1.list("ann")[0].meta, "laptop");
    b2.tree.stop().await;
    a1.until("the end of all", |node| users(node).list("ann").is_empty()).await;
    assert_eq!(on_a1.all().len(), 1);

    let mut told = std::collections::BTreeMap::new();
    for _ in 0..5 {
        match changes.next().await.unwrap() {
            PresenceChange::Joined(present) => _ = told.insert(present.meta, present.key),
            PresenceChange::Left(present) => {
                assert_eq!(told.remove(&present.meta), Some(present.key));
            }
        }
    }
    assert_eq!(told.into_values().collect::<Vec<_>>(), ["bob"]);
}

#[actix::test]
async fn a_node_that_is_not_there_is_unreachable() {
    let (a1, _b2) = two(&MemoryWire::new()).await;
    let nowhere = NodeId::new("nowhere").unwrap();

    a1.lines.connect(&nowhere);

    a1.until("the answer", |node| node.told() == ["?"]).await;
    assert_eq!(a1.lines.is_up(&nowhere), None);
}
