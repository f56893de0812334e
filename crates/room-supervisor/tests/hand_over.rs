//! Tests of the hand-over through a file: rooms with their members go on in another process, here in other `Rooms`.

mod common;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use callboard_room_supervisor::*;
use common::Client;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

/// Room that notes its callbacks, where its options say.
struct Diary {
    notes: Arc<Mutex<Vec<String>>>,
    pages: u32,
}

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.notes.lock().unwrap().push(what.into());
    }
}

impl Room for Diary {
    type Options = Arc<Mutex<Vec<String>>>;

    fn on_init(notes: &Self::Options, _: &RoomContext) -> Result<Self, Rejection> {
        let diary = Self { notes: Arc::clone(notes), pages: 0 };
        diary.note("init");
        Ok(diary)
    }

    async fn on_join(&mut self, _: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        self.note("join");
        Ok(())
    }

    fn on_leave(&mut self, peer: PeerId, _: &RoomContext) {
        self.note(format!("leave {peer}"));
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        self.pages += 1;
        Some(message)
    }

    fn on_terminate(&mut self, _: &RoomContext) {
        self.note("terminate");
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of(&json!({ "pages": self.pages })).ok()
    }

    fn restore(
        notes: &Self::Options,
        snapshot: &Snapshot,
        room: &RoomContext,
    ) -> Result<Self, String> {
        let state: Value = snapshot.read().map_err(|error| error.to_string())?;
        assert_ne!(room.name(), "haunted", "a panic in restore");
        let pages = state["pages"].as_u64().ok_or("no pages")? as u32;
        let diary = Self { notes: Arc::clone(notes), pages };
        diary.note(format!("restore {pages}"));
        Ok(diary)
    }
}

/// Keeper of all members of one room, which may come back for a while.
struct Keeper {
    room: Mutex<Option<RoomHandle>>,
    grace: Duration,
    steps: Mutex<Vec<&'static str>>,
}

impl Keeper {
    fn of(
        rooms: &Rooms,
        room: Option<&RoomHandle>,
        grace: Duration,
    ) -> (Arc<Self>, Vec<RestoredPeer>) {
        let (room, steps) = (Mutex::new(room.cloned()), Mutex::default());
        let keeper = Arc::new(Self { room, grace, steps });
        let weak: Weak<dyn PeerKeeper> =
            Arc::downgrade(&(Arc::clone(&keeper) as Arc<dyn PeerKeeper>));
        let inherited = rooms.register_keeper(weak);
        (keeper, inherited)
    }

    fn step(&self, step: &'static str) {
        self.steps.lock().unwrap().push(step);
    }
}

impl PeerKeeper for Keeper {
    fn disconnect(&self) -> BoxFuture<'static, ()> {
        self.step("disconnect");
        std::future::ready(()).boxed()
    }

    fn keep(&self) -> BoxFuture<'static, Vec<KeptPeer>> {
        self.step("keep");
        let room = self.room.lock().unwrap().clone().unwrap();
        let grace = self.grace;
        let kept = room.peers().into_iter().map(|peer_id| {
            let data = json!({ "of": peer_id });
            KeptPeer { peer_id, room: room.name().to_owned(), grace, data }
        });
        std::future::ready(kept.collect()).boxed()
    }

    fn go_on(&self) {
        self.step("go on");
    }
}

const GRACE: Duration = Duration::from_secs(600);

struct World {
    folder: tempfile::TempDir,
    notes: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), notes: Arc::default() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("rooms")
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }

    /// Starts rooms that are opened on demand, with this version of their state.
    async fn process(&self, version: u32) -> Rooms {
        let notes = Arc::clone(&self.notes);
        let rooms = Rooms::builder().hand_over_file(self.file()).on_demand(move |name| {
            let options = RoomOptions::<Diary>::new(name, Arc::clone(&notes));
            Some(options.snapshot_version(version).erase())
        });
        let rooms = rooms.build();
        rooms.start().await.unwrap();
        rooms
    }
}

#[actix::test]
async fn members_and_state_go_on_and_nothing_is_said() {
    let world = World::new();
    let rooms = world.process(1).await;
    let room = rooms.find_or_open("hall").await.unwrap();
    let (keeper, _) = Keeper::of(&rooms, Some(&room), GRACE);
    let (ann, bob) = (Client::joined(&room).await, Client::joined(&room).await);
    ann.say("hello", To::All).unwrap();
    world.notes();

    let handed_over = rooms.hand_over_to_file(world.file()).await.unwrap();
    assert_eq!((handed_over.rooms, handed_over.without_snapshot, handed_over.peers), (1, 0, 2));
    assert_eq!(*keeper.steps.lock().unwrap(), ["disconnect", "keep"]);
    room.ended().await;
    assert_eq!(world.notes(), [""; 0], "no callback is called any more");

    let rooms = world.process(1).await;
    assert!(!world.file().exists(), "it is read once");
    let (_keeper, inherited) = Keeper::of(&rooms, None, GRACE);
    assert_eq!(inherited.len(), 2);
    let mut members = Vec::new();
    for peer in inherited {
        assert_eq!(peer.data(), &json!({ "of": peer.peer_id() }));
        members.push(peer.membership().await.unwrap());
    }
    let room = rooms.lookup("hall").unwrap();
    room.running().await;
    room.freeze(GRACE).await.unwrap().thaw();
    assert_eq!(world.notes(), ["restore 3"]);
    assert_eq!(room.len(), 2);
    let bobs = members.iter().find(|member| member.peer_id() == bob.id).unwrap();
    let waiting = bobs.outbox().waiting();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].contains("hello"));

    members.retain(|member| member.peer_id() == ann.id);
    room.freeze(GRACE).await.unwrap().thaw();
    assert_eq!(world.notes(), [format!("leave {}", bob.id)]);
    let told = members[0].outbox().waiting();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("joined"), "it was not read before");
    assert!(told[1].contains("left") && told[1].contains(&bob.id.to_string()));
}

#[actix::test]
async fn those_that_no_one_keeps_and_those_that_do_not_come_back_leave_once() {
    let world = World::new();
    let rooms = world.process(1).await;
    let room = rooms.find_or_open("hall").await.unwrap();
    let (_keeper, _) = Keeper::of(&rooms, Some(&room), GRACE);
    let (ann, bob) = (Client::joined(&room).await, Client::joined(&room).await);
    // It is being closed, and cannot come back.
    bob.outbox.close(CloseFrame::NORMAL);
    rooms.hand_over_to_file(world.file()).await.unwrap();
    world.notes();

    let rooms = world.process(1).await;
    let (_keeper, inherited) = Keeper::of(&rooms, None, GRACE);
    assert_eq!(inherited.iter().map(RestoredPeer::peer_id).collect::<Vec<_>>(), [ann.id]);
    let room = rooms.find_or_open("hall").await.unwrap();
    room.running().await;
    room.freeze(GRACE).await.unwrap().thaw();
    assert_eq!(world.notes(), ["restore 2".to_owned(), format!("leave {}", bob.id)]);
    assert_eq!(room.peers(), [ann.id]);
    drop(inherited);
    room.freeze(GRACE).await.unwrap().thaw();
    assert_eq!(world.notes(), [format!("leave {}", ann.id)]);
    assert!(room.is_empty());
}

#[actix::test]
async fn a_room_without_a_usable_snapshot_begins_anew_with_its_members() {
    for (name, version, why) in [("hall", 0, "an older program"), ("haunted", 1, "a panic")] {
        let world = World::new();
        let rooms = world.process(1).await;
        let room = rooms.find_or_open(name).await.unwrap();
        let (_keeper, _) = Keeper::of(&rooms, Some(&room), GRACE);
        let ann = Client::joined(&room).await;
        rooms.hand_over_to_file(world.file()).await.unwrap();
        world.notes();

        let rooms = world.process(version).await;
        let (_keeper, inherited) = Keeper::of(&rooms, None, GRACE);
        let peer = inherited.into_iter().next().unwrap();
        let member = peer.membership().await.unwrap();
        let room = rooms.lookup(name).unwrap();
        room.running().await;
        room.freeze(GRACE).await.unwrap().thaw();
        assert_eq!(world.notes(), ["init", "join"], "{why}");
        assert_eq!(room.peers(), [ann.id]);
        let told = member.outbox().waiting();
        assert!(told.len() == 1 && told[0].contains("room_restarted"), "{told:?}");
    }
}

#[actix::test]
async fn rooms_that_cannot_be_handed_over_go_on() {
    let world = World::new();
    let rooms = world.process(1).await;
    let room = rooms.find_or_open("hall").await.unwrap();
    let (keeper, _) = Keeper::of(&rooms, Some(&room), GRACE);
    let (ann, mut bob) = (Client::joined(&room).await, Client::joined(&room).await);

    // Before anything has happened.
    let nowhere = world.folder.path().join("no/folder");
    assert!(rooms.hand_over_to_file(nowhere).await.is_err());
    assert_eq!(*keeper.steps.lock().unwrap(), [""; 0]);
    // The file cannot be moved to its place.
    std::fs::create_dir_all(world.folder.path().join("taken/by")).unwrap();
    assert!(rooms.hand_over_to_file(world.folder.path().join("taken")).await.is_err());
    assert_eq!(*keeper.steps.lock().unwrap(), ["disconnect", "keep", "go on"]);
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 1, "no half file");

    ann.say("still", To::All).unwrap();
    bob.expect("still").await;
    assert!(!rooms.is_closing());
    assert!(rooms.find_or_open("another").await.is_ok());
}

#[actix::test]
async fn one_member_that_cannot_be_read_again_costs_no_other() {
    let world = World::new();
    let rooms = world.process(1).await;
    let room = rooms.find_or_open("hall").await.unwrap();
    let (_keeper, _) = Keeper::of(&rooms, Some(&room), GRACE);
    let ann = Client::joined(&room).await;
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| json!([inner]));
    let mut others = Vec::new();
    for depth in [125, 200] {
        let auth = AuthData { metadata: nested(depth), ..AuthData::new(PeerId::random()) };
        let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
        let membership = room.reserve(NewMember::new(auth, outbox)).unwrap();
        membership.join().await.unwrap();
        others.push(membership);
    }
    assert_eq!(rooms.hand_over_to_file(world.file()).await.unwrap().peers, 3);

    let rooms = world.process(1).await;

    assert!(rooms.hand_over_error().is_none());
    let (_keeper, inherited) = Keeper::of(&rooms, None, GRACE);
    let mut back: Vec<PeerId> = inherited.iter().map(RestoredPeer::peer_id).collect();
    let mut expected = [ann.id, others[0].peer_id()];
    back.sort();
    expected.sort();
    assert_eq!(back, expected, "the third is too deep, and leaves");
}

#[actix::test]
async fn a_node_of_a_cluster_has_no_file_for_a_hand_over() {
    let world = World::new();
    let cluster = callboard_cluster::Cluster::builder(callboard_cluster::Embedded::default());
    let cluster = cluster.node("a1").build().unwrap();
    let rooms = Rooms::builder().cluster(&cluster).hand_over_file(world.file()).build();

    assert!(matches!(rooms.start().await, Err(StartRoomsError::HandOverInCluster)));
    let handed_over = rooms.hand_over_to_file(world.file()).await;
    assert!(matches!(handed_over, Err(HandOverError::InCluster)));
}

#[actix::test]
async fn a_file_that_is_none_is_ignored_and_said() {
    let world = World::new();
    std::fs::write(world.file(), "{}").unwrap();

    let rooms = world.process(1).await;

    assert!(matches!(rooms.hand_over_error(), Some(ReadHandOverError::NotPrivate)));
    assert!(rooms.find_or_open("hall").await.is_ok());
    assert!(world.file().exists(), "it may be another program's");
    rooms.hand_over_to_file(world.file()).await.unwrap();
    assert!(world.process(1).await.hand_over_error().is_none());
}

#[actix::test]
async fn a_room_that_the_application_opens_itself_has_its_state_too() {
    let world = World::new();
    let rooms = world.process(1).await;
    let options = RoomOptions::<Diary>::new("mine", Arc::clone(&world.notes));
    rooms.start_supervised(options.snapshot_version(1)).await.unwrap();
    rooms.hand_over_to_file(world.file()).await.unwrap();
    world.notes();

    let rooms = Rooms::builder().hand_over_file(world.file()).build();
    rooms.start().await.unwrap();
    let options = RoomOptions::<Diary>::new("mine", Arc::clone(&world.notes));
    let room = rooms.start_supervised(options.snapshot_version(2)).await.unwrap();
    room.running().await;

    assert_eq!(world.notes(), ["restore 0"]);
}
