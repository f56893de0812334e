//! Rooms of a cluster: one node has a room, and what becomes of it when that is not sure any more.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use callboard_cluster::{Cluster, Embedded, Epoch};
use callboard_room_supervisor::*;
use callboard_supervision::{Flags, SupervisorSpec};
use common::Client;
use common::nodes::{HOLD, Node, until, within};
use futures_util::future::join_all;
use tokio::sync::{Semaphore, oneshot};

/// Room that tells what it has done, also at the gate of its `on_join`.
struct Hall(Arc<Book>);

#[derive(Default)]
struct Book {
    inits: AtomicUsize,
    leaves: AtomicUsize,
    told: AtomicUsize,
    ends: AtomicUsize,
    epochs: Mutex<Vec<Option<Epoch>>>,
    /// Peers named `waits` that have come to `on_join`, and the permits with which they go on.
    at_gate: AtomicUsize,
    gate: Option<Semaphore>,
}

impl Room for Hall {
    type Options = Arc<Book>;

    fn on_init(book: &Arc<Book>, room: &RoomContext) -> Result<Self, Rejection> {
        book.inits.fetch_add(1, Ordering::SeqCst);
        book.epochs.lock().unwrap().push(room.epoch());
        Ok(Self(Arc::clone(book)))
    }

    async fn on_join(&mut self, _: &AuthData, room: &RoomContext) -> Result<(), Rejection> {
        self.0.epochs.lock().unwrap().push(room.epoch());
        if let Some(gate) = &self.0.gate {
            self.0.at_gate.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
        }
        Ok(())
    }

    fn on_leave(&mut self, _: PeerId, _: &RoomContext) {
        self.0.leaves.fetch_add(1, Ordering::SeqCst);
    }

    fn on_terminate(&mut self, _: &RoomContext) {
        self.0.ends.fetch_add(1, Ordering::SeqCst);
    }
}

impl Tell<()> for Hall {
    fn on_tell(&mut self, (): (), _: &RoomContext) {
        self.0.told.fetch_add(1, Ordering::SeqCst);
    }
}

/// Room whose messages do not wait for it.
struct Direct;

impl Room for Direct {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

fn hall(name: &str, book: &Arc<Book>) -> RoomOptions<Hall> {
    RoomOptions::new(name, Arc::clone(book))
}

/// Starts a node whose rooms are halls, opened on demand.
async fn node(directory: &Embedded, name: &str, book: &Arc<Book>, on_lapse: OnLapse) -> Node {
    let book = Arc::clone(book);
    let open = move |name: &str| Some(hall(name, &book).on_lapse(on_lapse).into());
    Node::start(directory, name, |rooms| rooms.on_demand(open)).await
}

async fn two(on_lapse: OnLapse) -> ([Node; 2], [Arc<Book>; 2]) {
    let (directory, books) = (Embedded::new(), <[Arc<Book>; 2]>::default());
    let a1 = node(&directory, "a1", &books[0], on_lapse).await;
    let b2 = node(&directory, "b2", &books[1], on_lapse).await;
    ([a1, b2], books)
}

fn is_elsewhere(opened: Result<RoomHandle, StartRoomError>, at: &str) -> bool {
    let its = format!("wss://{at}.example.org");
    matches!(opened, Err(StartRoomError::Elsewhere { node, url }) if node == at && url == Some(its))
}

fn is_shut(joined: &Result<(), JoinError>) -> bool {
    matches!(joined, Err(JoinError::DoorShut { .. }))
}

/// Returns whether a peer that asks now is turned away at the door.
fn door_is_shut(room: &RoomHandle) -> bool {
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let member = NewMember::new(AuthData::new(PeerId::random()), outbox);
    matches!(room.reserve(member), Err(JoinError::DoorShut { .. }))
}

#[actix::test]
async fn a_room_is_open_on_one_node_and_the_other_says_where() {
    let ([a1, b2], books) = two(OnLapse::ShutDoor).await;
    let room = a1.open("demo").await;

    assert!(is_elsewhere(b2.rooms.find_or_open("demo").await, "a1"));
    assert!(is_elsewhere(b2.rooms.start_supervised(hall("demo", &books[1])).await, "a1"));
    assert!(b2.rooms.lookup("demo").is_none());
    assert_eq!(a1.rooms.open_on_demand("demo").await.unwrap_err(), StartRoomError::AlreadyStarted);
    b2.open("other").await;

    room.stop("enough").await;
    let again = b2.open("demo").await;
    let epoch = |book: &Book| book.epochs.lock().unwrap().last().copied().flatten();
    assert!(epoch(&books[1]) > epoch(&books[0]) && epoch(&books[0]).is_some());
    assert!(is_elsewhere(a1.rooms.find_or_open("demo").await, "b2"));

    // A node that is stopped gives its rooms back.
    b2.stop().await;
    a1.open("demo").await;
    assert!(again.is_closed());
    a1.stop().await;
}

#[actix::test]
async fn of_many_who_ask_at_once_on_all_nodes_one_opens_the_room() {
    let directory = Embedded::new();
    let book = Arc::default();
    let names = ["a1", "b2", "c3"];
    let nodes = join_all(names.map(|name| node(&directory, name, &book, OnLapse::ShutDoor))).await;

    for round in 0..20 {
        let name = format!("room {round}");
        let asking = nodes.iter().flat_map(|node| [node; 3]);
        let asking = asking.map(|node| async {
            loop {
                match node.rooms.find_or_open(&name).await {
                    Err(StartRoomError::Unavailable { .. }) => tokio::task::yield_now().await,
                    opened => return opened,
                }
            }
        });
        let opened = within(join_all(asking)).await;

        let here = opened.iter().filter(|opened| opened.is_ok()).count();
        assert_eq!(here, 3, "{opened:?}");
        assert_eq!(nodes.iter().filter(|node| node.rooms.lookup(&name).is_some()).count(), 1);
        assert_eq!(book.inits.load(Ordering::SeqCst), round + 1);
    }
}

#[actix::test]
async fn a_room_of_the_start_that_is_elsewhere_is_opened_when_it_is_free_and_asked_for() {
    let (directory, book) = (Embedded::new(), Arc::<Book>::default());
    let start = |book: &Arc<Book>| {
        let book = Arc::clone(book);
        move |rooms: RoomsBuilder| {
            rooms.open_at_start(move || vec![hall("demo", &book).into(), hall("b", &book).into()])
        }
    };
    let a1 = Node::start(&directory, "a1", start(&book)).await;
    assert_eq!(a1.rooms.names().len(), 2);
    a1.rooms.close("b", "enough").await;

    let b2 = Node::start(&directory, "b2", start(&book)).await;

    b2.open("b").await;
    assert_eq!(book.inits.load(Ordering::SeqCst), 3);
    assert!(b2.rooms.is_running() && b2.rooms.lookup("demo").is_none());
    assert!(b2.rooms.knows("demo") && !b2.rooms.knows("other"));
    assert!(is_elsewhere(b2.rooms.find_or_open("demo").await, "a1"));
    assert_eq!(b2.rooms.find_or_open("c").await.unwrap_err(), StartRoomError::NoSuchRoom);
    a1.stop().await;
    b2.open("demo").await;
}

#[actix::test]
async fn a_room_that_may_be_another_nodes_is_not_opened() {
    let (directory, book) = (Embedded::new(), Arc::<Book>::default());
    let a1 = node(&directory, "a1", &book, OnLapse::ShutDoor).await;
    a1.cable.cut(true);

    let refused = within(a1.rooms.find_or_open("demo")).await.unwrap_err();

    assert!(matches!(refused, StartRoomError::Unavailable { .. }), "{refused}");
    assert!(a1.rooms.lookup("demo").is_none());
    assert_eq!(book.inits.load(Ordering::SeqCst), 0);
    a1.cable.cut(false);
    a1.open("demo").await;
}

#[actix::test]
async fn a_room_whose_hold_is_over_takes_no_join_until_it_has_the_room_again() {
    let ([a1, b2], [book, _]) = two(OnLapse::ShutDoor).await;
    let room = a1.open("demo").await;
    let (mut ann, mut bob) = (Client::joined(&room).await, Client::joined(&room).await);
    ann.expect("joined").await;
    let mut early = Client::reserved(&room);
    assert_eq!(counts(&a1), (1, 0, 0));

    [&a1, &b2].iter().for_each(|node| node.cable.cut(true));
    until(|| door_is_shut(&room)).await;
    assert_eq!((counts(&a1), counts(&b2)), ((0, 0, 1), (0, 0, 0)));

    // Who is in goes on; who has reserved before is turned away, and on_join is not asked.
    let asked = book.epochs.lock().unwrap().len();
    assert!(is_shut(&early.join().await));
    assert_eq!(book.epochs.lock().unwrap().len(), asked);
    ann.say("hello", To::All).unwrap();
    assert_eq!(bob.event().await.0, "hello");
    assert!(bob.join().await.is_ok(), "as a peer that was restarted does");
    assert!(is_err_unavailable(&b2, "demo").await);
    early.leave();

    [&a1, &b2].iter().for_each(|node| node.cable.cut(false));
    until(|| !door_is_shut(&room)).await;
    assert_eq!(counts(&a1), (1, 0, 0));
    let eve = Client::joined(&room).await;
    assert_eq!(ann.event().await.0, "joined");
    assert_eq!(bob.event().await.0, "joined");
    eve.say("hello", To::All).unwrap();
    assert_eq!(ann.event().await.0, "hello");
    assert!(is_elsewhere(b2.rooms.find_or_open("demo").await, "a1"));
    assert_eq!(book.inits.load(Ordering::SeqCst), 1);
    let epochs = book.epochs.lock().unwrap().clone();
    assert!(epochs.first() < epochs.last() && epochs.is_sorted(), "{epochs:?}");
}

/// Returns the numbers of rooms at home, away, and shut.
fn counts(node: &Node) -> (usize, usize, usize) {
    let counts = node.rooms.count_by_place().expect("it is a node of a cluster");
    (counts.home, counts.away, counts.shut)
}

async fn is_err_unavailable(node: &Node, room: &str) -> bool {
    let opened = node.rooms.find_or_open(room).await;
    matches!(opened, Err(StartRoomError::Unavailable { .. }))
}

#[actix::test]
async fn a_room_that_another_node_has_taken_is_closed_where_it_was() {
    let ([a1, b2], books) = two(OnLapse::ShutDoor).await;
    let room = a1.open("demo").await;
    let mut ann = Client::joined(&room).await;

    a1.cable.cut(true);
    b2.open("demo").await;
    // Not sure, it goes on.
    until(|| door_is_shut(&room)).await;
    assert!(ann.has_read_all() && room.is_running());
    a1.cable.cut(false);

    let closed = ann.expect("error").await;
    assert_eq!(
        (&closed["description"], &closed["details"]),
        (&"Room closed".into(), &"elsewhere".into())
    );
    ann.expect_close(CloseFrame::new(1012, "room is elsewhere").unwrap()).await;
    ann.leave();
    within(room.freed()).await;
    assert_eq!(books[0].ends.load(Ordering::SeqCst), 1);
    assert!(is_elsewhere(a1.rooms.find_or_open("demo").await, "b2"));
}

#[actix::test]
async fn a_room_that_another_node_has_had_meanwhile_is_closed_too() {
    let ([a1, b2], _) = two(OnLapse::ShutDoor).await;
    let room = a1.open("demo").await;
    let mut ann = Client::joined(&room).await;
    a1.cable.cut(true);
    b2.open("demo").await.stop("enough").await;
    until(|| door_is_shut(&room)).await;

    a1.cable.cut(false);

    assert_eq!(ann.expect("error").await["details"], "elsewhere");
    ann.leave();
    within(room.freed()).await;
    a1.open("demo").await;
}

#[actix::test]
async fn a_strict_room_is_closed_when_its_hold_is_over() {
    let ([a1, b2], books) = two(OnLapse::Close).await;
    let room = a1.open("demo").await;
    let mut ann = Client::joined(&room).await;

    a1.cable.cut(true);

    assert_eq!(ann.expect("error").await["details"], "lapsed");
    ann.expect_close(CloseFrame::new(1012, "room is elsewhere").unwrap()).await;
    assert!(a1.cluster.lease().is_none(), "not before");
    ann.leave();
    within(room.freed()).await;
    assert_eq!(books[0].ends.load(Ordering::SeqCst), 1);
    b2.open("demo").await;
}

/// The hold ends while the room decides on a peer, and the room fails over it.
#[actix::test]
async fn a_strict_room_begins_nothing_after_its_hold() {
    let directory = Embedded::new();
    let book = Arc::new(Book { gate: Some(Semaphore::new(1)), ..Book::default() });
    let a1 = node(&directory, "a1", &book, OnLapse::Close).await;
    let room = a1.open("demo").await;
    let mut ann = Client::joined(&room).await;
    let waits = Client::reserved(&room);
    let cut = async {
        until(|| book.at_gate.load(Ordering::SeqCst) == 2).await;
        a1.cable.cut(true);
    };

    let (joined, ()) = within(futures_util::future::join(waits.join(), cut)).await;

    // It does not wait for `on_join`.
    assert_eq!(joined, Err(JoinError::RoomUnavailable));
    assert_eq!(ann.expect("error").await["details"], "lapsed");
    ann.leave();
    drop(waits);
    within(room.freed()).await;
    assert_eq!(book.inits.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn a_peer_that_the_room_admits_too_late_leaves_again_unseen() {
    let directory = Embedded::new();
    let book = Arc::new(Book { gate: Some(Semaphore::new(1)), ..Book::default() });
    let a1 = node(&directory, "a1", &book, OnLapse::ShutDoor).await;
    let room = a1.open("demo").await;
    let mut ann = Client::joined(&room).await;
    let late = Client::reserved(&room);
    let joining = late.join();
    let deciding = async {
        until(|| book.at_gate.load(Ordering::SeqCst) == 2).await;
        a1.cable.cut(true);
        until(|| a1.cluster.lease().is_none()).await;
        book.gate.as_ref().unwrap().add_permits(1);
    };

    let (joined, ()) = futures_util::future::join(joining, deciding).await;

    assert!(is_shut(&joined), "{joined:?}");
    ann.say("hello", To::Peers(vec![ann.id])).unwrap();
    assert_eq!(ann.event().await.0, "hello", "nothing before");
    assert_eq!(book.leaves.load(Ordering::SeqCst), 1);
    assert_eq!(room.len(), 1);
}

/// The node's own thread is blocked, so nothing can say that its hold is over: the clock alone does.
#[actix::test]
async fn a_room_of_a_node_that_stands_still_does_nothing_after_its_hold() {
    let cluster = Cluster::builder(Embedded::new()).node("a1").hold(HOLD).build().unwrap();
    let (running, runs) = oneshot::channel();
    let (stand, go) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
    let (node, stands, goes) = (cluster.clone(), stand.1, go.1);
    let thread = thread::spawn(move || {
        actix::System::new().block_on(async move {
            let tree = node.start().await.unwrap();
            _ = node.claim("first").await.unwrap();
            running.send(()).unwrap();
            while stands.try_recv().is_err() {
                tokio::time::sleep(HOLD / 50).await;
            }
            _ = goes.recv();
            tree.stop().await;
        });
    });
    runs.await.unwrap();
    let rooms = Rooms::builder().cluster(&cluster).build();
    let server = rooms.start().await.unwrap();
    let book = Arc::<Book>::default();
    let strict = hall("strict", &book).on_lapse(OnLapse::Close);
    let strict = rooms.start_supervised(strict).await.unwrap();
    let direct = RoomOptions::<Direct>::new("direct", ()).on_lapse(OnLapse::Close);
    let direct = rooms.start_supervised(direct).await.unwrap();
    let loose = rooms.start_supervised(hall("loose", &book)).await.unwrap();
    let (mut ann, mut bob) = (Client::joined(&direct).await, Client::joined(&direct).await);
    ann.expect("joined").await;
    let turned_away = Client::reserved(&loose);
    ann.say("hello", To::All).unwrap();
    assert_eq!(bob.event().await.0, "hello");

    stand.0.send(()).unwrap();
    until(|| cluster.lease().is_none()).await;

    assert!(strict.send(To::All, "news", &1).is_err());
    assert!(strict.tell::<Hall, ()>(()).is_ok(), "it waits for the room");
    ann.say("hello again", To::All).unwrap();
    assert_eq!(bob.expect("error").await["details"], "lapsed");
    within(strict.freed()).await;
    assert_eq!(book.told.load(Ordering::SeqCst), 0);
    assert!(is_shut(&turned_away.join().await));
    assert!(loose.send(To::All, "news", &1).is_ok());

    go.0.send(()).unwrap();
    drop((ann, bob, turned_away));
    server.stop().await;
    thread.join().unwrap();
}

#[actix::test]
async fn a_room_that_crashes_keeps_its_name_until_it_is_given_up() {
    let ([a1, b2], books) = two(OnLapse::ShutDoor).await;
    let options = hall("demo", &books[0]).intensity(1, std::time::Duration::from_secs(60));
    let room = a1.rooms.start_supervised(options).await.unwrap();
    let node = room.supervisor().unwrap();
    let crash = || node.inject("room", callboard_supervision::Fault::Panic("a fault".into()));

    crash().await.unwrap();
    until(|| books[0].inits.load(Ordering::SeqCst) == 2).await;
    within(room.running()).await;
    assert!(is_elsewhere(b2.rooms.find_or_open("demo").await, "a1"));
    let epochs = books[0].epochs.lock().unwrap().clone();
    assert_eq!(epochs[0], epochs[1]);

    crash().await.unwrap();
    b2.open("demo").await;
}

#[actix::test]
async fn rooms_outside_of_a_server_claim_their_names_too() {
    let ([a1, b2], books) = two(OnLapse::ShutDoor).await;
    let registry: Arc<dyn RoomRegistry> = Arc::new(LocalRegistry::default());
    let options = || hall("demo", &books[0]).cluster(&a1.cluster);
    let (room, spec) = room_child_spec(options(), Arc::clone(&registry));
    let tree = SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
    assert!(room.is_running());
    assert!(is_elsewhere(b2.rooms.find_or_open("demo").await, "a1"));

    tree.stop().await;
    drop(tree);
    let theirs = b2.open("demo").await;

    // In a tree that goes on without it.
    let (room, spec) = room_child_spec(options(), Arc::clone(&registry));
    let tree = SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
    assert!(!room.is_running() && registry.lookup("demo").is_none());
    let owner = callboard_supervision::spawn(Owner);
    let linked = start_linked(options(), Arc::clone(&registry), &owner).await;
    assert!(is_elsewhere(linked, "b2"));
    theirs.stop("enough").await;
    tree.stop().await;
    let linked = within(async {
        loop {
            match start_linked(options(), Arc::clone(&registry), &owner).await {
                Ok(room) => return room,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    assert!(linked.await.is_running());
}

struct Owner;

impl actix::Actor for Owner {
    type Context = actix::Context<Self>;
}

#[actix::test]
async fn a_room_without_a_cluster_has_no_epoch() {
    let (rooms, book) = (Rooms::new(), Arc::<Book>::default());
    rooms.start().await.unwrap();

    rooms.start_supervised(hall("demo", &book)).await.unwrap();

    assert_eq!(*book.epochs.lock().unwrap(), [None]);
}

/// The claim was written, and its answer lost: no other node has had the room.
#[actix::test]
async fn a_room_goes_on_whose_claim_was_written_and_whose_answer_was_lost() {
    let ([a1, b2], [book, _]) = two(OnLapse::ShutDoor).await;
    let room = a1.open("demo").await;
    let mut ann = Client::joined(&room).await;
    let first = book.epochs.lock().unwrap().last().copied().flatten();
    [&a1, &b2].iter().for_each(|node| node.cable.cut(true));
    until(|| door_is_shut(&room)).await;

    a1.cable.deafen(true);
    a1.cable.cut(false);
    within(a1.cable.claimed_after("demo", first.unwrap())).await;
    a1.cable.deafen(false);

    until(|| !door_is_shut(&room)).await;
    let bob = Client::joined(&room).await;
    assert_eq!(ann.expect("joined").await["peer_id"], serde_json::json!(bob.id));
    assert_eq!(book.inits.load(Ordering::SeqCst), 1);
    b2.cable.cut(false);
}
