//! Tests of rooms that block their threads, and of rooms that cannot be opened at all.

mod common;

use std::future::Future;
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::time::Duration;

use callboard_room_supervisor::*;
use callboard_supervision::{
    ArbiterPool, Event, Flags, Lifecycle, Placement, StartError, StartSupervisorError,
    SupervisorSpec,
};
use common::Client;
use tokio::sync::mpsc;

/// Callback in which a room blocks its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Nowhere,
    Init,
    Join,
    Forward,
    Leave,
    Terminate,
}

/// Gate at which a thread blocks until it is opened.
#[derive(Clone)]
struct Gate {
    blocks: Where,
    entered: mpsc::UnboundedSender<()>,
    open: Arc<Mutex<blocking::Receiver<()>>>,
}

/// Other side of a [`Gate`]: dropping it opens the gate for good.
struct Keeper {
    entered: mpsc::UnboundedReceiver<()>,
    _open: blocking::Sender<()>,
}

fn gate(blocks: Where) -> (Gate, Keeper) {
    let ((entered, has_entered), (open, opened)) = (mpsc::unbounded_channel(), blocking::channel());
    let gate = Gate { blocks, entered, open: Arc::new(Mutex::new(opened)) };
    (gate, Keeper { entered: has_entered, _open: open })
}

impl Gate {
    fn pass(&self, here: Where) {
        if self.blocks == here {
            _ = self.entered.send(());
            _ = self.open.lock().unwrap().recv();
        }
    }
}

impl Keeper {
    /// Waits until a room blocks its thread.
    async fn entered(&mut self) {
        within(self.entered.recv()).await.unwrap();
    }
}

struct Gated(Gate);

impl Room for Gated {
    type Options = Gate;

    fn on_init(gate: &Gate, _: &RoomContext) -> Result<Self, Rejection> {
        gate.pass(Where::Init);
        Ok(Self(gate.clone()))
    }

    async fn on_join(&mut self, _: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        self.0.pass(Where::Join);
        Ok(())
    }

    fn on_leave(&mut self, _: PeerId, _: &RoomContext) {
        self.0.pass(Where::Leave);
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        self.0.pass(Where::Forward);
        Some(message)
    }

    fn on_terminate(&mut self, _: &RoomContext) {
        self.0.pass(Where::Terminate);
    }
}

fn room(name: &str, gate: &Gate) -> RoomOptions<Gated> {
    RoomOptions::new(name, gate.clone())
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("in time")
}

/// Asserts that two clients can join, and that one gets the other's message.
async fn is_well(room: &RoomHandle) {
    within(async {
        let (a, mut b) = (Client::joined(room).await, Client::joined(room).await);
        a.say("hello", To::All).unwrap();
        b.expect("hello").await;
    })
    .await;
}

#[actix::test]
async fn a_room_that_blocks_its_thread_holds_up_no_other_wherever_it_blocks() {
    for blocks in [Where::Join, Where::Forward, Where::Leave, Where::Terminate] {
        let ((slow, mut keeper), (free, _free)) = (gate(blocks), gate(Where::Nowhere));
        let on_demand = free.clone();
        let rooms = Rooms::builder()
            .threads(5)
            .open_at_start(move || vec![room("slow", &slow).into(), room("other", &free).into()])
            .on_demand(move |name| Some(room(name, &on_demand).into()))
            .build();
        let tree = rooms.start().await.unwrap();
        let mut events = tree.events();
        let slow = rooms.lookup("slow").unwrap();
        let mut in_it = Client::reserved(&slow);
        let blocking = actix::spawn(async move {
            _ = in_it.join().await;
            _ = in_it.say("hello", To::All);
            in_it.leave();
            if blocks == Where::Terminate {
                slow.stop("enough").await;
            }
        });
        keeper.entered().await;

        // While it blocks: a room that was there before, and rooms that are opened now.
        is_well(&rooms.lookup("other").unwrap()).await;
        for name in ["new", "newer", "newest"] {
            is_well(&within(rooms.find_or_open(name)).await.unwrap()).await;
        }
        // The tree reports which room blocks.
        within(async {
            let blocks = |event: Event| {
                matches!(event.what, Lifecycle::Blocked(_))
                    && event.path.to_string() == "server/rooms/slow/room"
            };
            while !blocks(events.recv().await.unwrap()) {}
        })
        .await;
        assert!(tree.blocked() >= 1);

        drop(keeper);
        within(blocking).await.unwrap();
        within(tree.stop()).await;
    }
}

#[actix::test]
async fn several_rooms_that_block_hold_up_no_other() {
    let (slow, mut keeper) = gate(Where::Join);
    let (free, _free) = gate(Where::Nowhere);
    let rooms = Rooms::builder()
        .threads(10)
        .on_demand(move |name| {
            let gate = if name.starts_with("slow") { &slow } else { &free };
            Some(room(name, gate).into())
        })
        .build();
    let tree = rooms.start().await.unwrap();
    let first = rooms.find_or_open("first").await.unwrap();
    let mut blocking = Vec::new();
    for number in 0..8 {
        let slow = rooms.find_or_open(&format!("slow-{number}")).await.unwrap();
        blocking.push(actix::spawn(async move {
            let client = Client::reserved(&slow);
            _ = client.join().await;
        }));
    }
    keeper.entered().await;

    is_well(&first).await;
    is_well(&within(rooms.find_or_open("last")).await.unwrap()).await;

    drop(keeper);
    for blocking in blocking {
        within(blocking).await.unwrap();
    }
    within(tree.stop()).await;
}

#[actix::test]
async fn a_room_that_blocks_while_it_is_opened_holds_up_no_other() {
    let (slow, mut keeper) = gate(Where::Init);
    let (free, _free) = gate(Where::Nowhere);
    let rooms = Rooms::builder()
        .on_demand(move |name| {
            let gate = if name == "slow" { &slow } else { &free };
            Some(room(name, gate).into())
        })
        .build();
    let tree = rooms.start().await.unwrap();
    let opening = rooms.clone();
    let opening = actix::spawn(async move { opening.find_or_open("slow").await.map(|_| ()) });
    keeper.entered().await;

    for name in ["other", "another"] {
        is_well(&within(rooms.find_or_open(name)).await.unwrap()).await;
    }
    assert!(!opening.is_finished());

    drop(keeper);
    assert_eq!(within(opening).await.unwrap(), Ok(()));
    is_well(&rooms.lookup("slow").unwrap()).await;
    within(tree.stop()).await;
}

#[actix::test]
async fn an_opening_goes_on_when_its_caller_has_gone_and_leaves_nothing_if_it_fails() {
    struct Refusing;
    impl Room for Refusing {
        type Options = Gate;
        fn on_init(gate: &Gate, _: &RoomContext) -> Result<Self, Rejection> {
            gate.pass(Where::Init);
            Err("not today".into())
        }
    }
    let (slow, mut keeper) = gate(Where::Init);
    let refusing = slow.clone();
    let rooms = Rooms::builder()
        .on_demand(move |name| match name {
            "slow" => Some(room(name, &slow).into()),
            _ => Some(RoomOptions::<Refusing>::new(name, refusing.clone()).into()),
        })
        .build();
    let tree = rooms.start().await.unwrap();
    for name in ["slow", "refusing"] {
        let opening = rooms.clone();
        let opening = actix::spawn(async move { opening.find_or_open(name).await.map(|_| ()) });
        keeper.entered().await;
        opening.abort();
    }

    let (slow, refusing) = (rooms.lookup("slow").unwrap(), rooms.lookup("refusing").unwrap());
    assert!(!slow.is_running());

    drop(keeper);

    within(slow.running()).await;
    within(refusing.freed()).await;
    assert!(slow.is_running());
    assert_eq!(rooms.names(), ["slow"]);
    let error = rooms.find_or_open("refusing").await.unwrap_err();
    assert!(error.to_string().contains("not today"), "{error}");
    within(tree.stop()).await;
}

#[actix::test]
async fn rooms_share_threads_when_there_are_more_of_them_and_may_have_one_of_their_own() {
    let (free, _keeper) = gate(Where::Nowhere);
    let own = free.clone();
    let rooms = Rooms::builder()
        .threads(2)
        .on_demand(move |name| {
            let options = room(name, &own);
            let alone = Placement::Pool(ArbiterPool::new(1));
            Some(if name == "alone" { options.placement(alone) } else { options }.into())
        })
        .build();
    let tree = rooms.start().await.unwrap();
    let mut threads = Vec::new();
    for name in ["a", "b", "c", "d", "alone"] {
        rooms.find_or_open(name).await.unwrap();
        let snapshot = tree.snapshot();
        threads.push(snapshot.find(&["rooms", name, "room"]).unwrap().thread.clone().unwrap());
    }
    let (alone, shared) = threads.split_last().unwrap();

    assert!(!shared.contains(alone));
    let on = |thread: &Arc<str>| shared.iter().filter(|other| *other == thread).count();
    assert!(shared.iter().all(|thread| on(thread) == 2), "{threads:?}");
    within(tree.stop()).await;

    // Without threads of their own they run on their supervisor's thread.
    let here =
        Rooms::builder().threads(0).open_at_start(move || vec![room("a", &free).into()]).build();
    let tree = here.start().await.unwrap();
    let snapshot = tree.snapshot();
    let thread = |path: &[&str]| snapshot.find(path).unwrap().thread.clone();
    assert_eq!(thread(&["rooms", "a", "room"]), thread(&["rooms"]));
    within(tree.stop()).await;
}

#[actix::test]
async fn rooms_are_started_once_until_they_have_ended() {
    let rooms = Rooms::new();
    let tree = rooms.start().await.unwrap();

    assert_eq!(rooms.start().await.unwrap_err(), StartRoomsError::AlreadyStarted);
    assert_eq!(rooms.clone().start().await.unwrap_err(), StartRoomsError::AlreadyStarted);
    let elsewhere = SupervisorSpec::new(Flags::one_for_one()).child(rooms.child_spec("rooms"));
    let StartSupervisorError::Child { error: StartError::Failed(error), .. } =
        elsewhere.start().await.unwrap_err()
    else {
        panic!("it did start");
    };
    assert_eq!(error, StartRoomsError::AlreadyStarted.to_string());

    // The first tree is not affected, and its rooms are restarted in it.
    let (free, _keeper) = gate(Where::Nowhere);
    is_well(&rooms.start_supervised(room("a", &free)).await.unwrap()).await;
    let mut events = tree.events();
    tree.inject("rooms", callboard_supervision::Fault::Kill).await.unwrap();
    within(async {
        loop {
            let event = events.recv().await.unwrap();
            if event.what == Lifecycle::Started && event.path.name() == "rooms" {
                break;
            }
        }
    })
    .await;
    within(async {
        // The old instance may still be ending.
        while rooms.start_supervised(room("b", &free)).await.is_err() {}
    })
    .await;
    within(tree.stop()).await;

    let again = rooms.start().await.unwrap();
    within(again.stop()).await;
}

#[actix::test]
async fn two_starts_at_once_are_one() {
    let rooms = Rooms::new();

    let (a, b) = futures_util::future::join(rooms.start(), rooms.start()).await;

    let (started, refused): (Vec<_>, Vec<_>) = [a, b].into_iter().partition(Result::is_ok);
    assert_eq!(started.len(), 1);
    assert_eq!(refused[0].as_ref().unwrap_err(), &StartRoomsError::AlreadyStarted);
    started[0].as_ref().unwrap().stop().await;
}

#[actix::test]
async fn a_name_that_no_client_can_enter_is_refused_however_the_room_is_opened() {
    let (free, _keeper) = gate(Where::Nowhere);
    for bad in ["", "a/b", ".hidden", "a\nb", "a?b", "a%b"] {
        assert!(!is_room_name(bad));
        let error = RoomOptionsError::Name(RoomNameError(bad.to_owned()));
        let at_start = free.clone();
        let rooms = Rooms::builder()
            .open_at_start(move || {
                vec![room("good", &at_start).into(), room(bad, &at_start).into()]
            })
            .build();
        assert_eq!(rooms.start().await.unwrap_err(), StartRoomsError::BadOptions(error.clone()));

        let rooms = Rooms::new();
        let tree = rooms.start().await.unwrap();
        let opened = rooms.start_supervised(room(bad, &free)).await;
        assert_eq!(opened.unwrap_err(), StartRoomError::BadOptions(error));
        assert!(rooms.names().is_empty());
        let (_, spec) = room_child_spec(room(bad, &free), Arc::new(LocalRegistry::default()));
        assert!(SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.is_err());
        tree.stop().await;
    }
}

#[actix::test]
async fn a_room_without_places_is_refused_each_way_it_is_opened() {
    let (free, _keeper) = gate(Where::Nowhere);
    let room = || room("demo", &free).max_peers(0);
    let error = RoomOptionsError::NoPlaces("demo".to_owned());
    assert_eq!(error.to_string(), "room \"demo\" admits no peer: its `max_peers` is 0");
    let at_start = free.clone();
    let of_start = move || vec![self::room("demo", &at_start).max_peers(0).into()];
    let rooms = Rooms::builder().open_at_start(of_start).build();
    assert_eq!(rooms.start().await.unwrap_err(), StartRoomsError::BadOptions(error.clone()));

    let rooms = Rooms::new();
    let tree = rooms.start().await.unwrap();
    let opened = rooms.start_supervised(room()).await;
    assert_eq!(opened.unwrap_err(), StartRoomError::BadOptions(error));
    let (_, spec) = room_child_spec(room(), Arc::new(LocalRegistry::default()));
    assert!(SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.is_err());

    assert!(rooms.names().is_empty());
    assert!(rooms.start_supervised(room().max_peers(1)).await.is_ok());
    tree.stop().await;
}

#[actix::test]
async fn the_tree_of_the_rooms_is_known_while_it_runs() {
    let rooms = Rooms::new();
    assert!(rooms.tree().is_none());
    let tree = rooms.start().await.unwrap();

    assert!(rooms.tree().is_some_and(|tree| tree.is_running()));

    tree.stop().await;
    assert!(rooms.tree().is_none());
}
