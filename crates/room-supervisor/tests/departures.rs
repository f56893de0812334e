//! Tests of departures at the wrong moment: no ghost stays, no departure is announced twice, and no empty room stays
//! open.

mod common;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use callboard_room_supervisor::*;
use callboard_supervision::{Flags, Lifecycle, Restart, SupervisorRef, SupervisorSpec};
use common::Client;
use serde_json::json;
use tokio::sync::Semaphore;

/// Room that fails in one chosen place.
struct Fragile(Arc<Plan>);

struct Plan {
    inits: AtomicUsize,
    leaves: AtomicUsize,
    ends: AtomicUsize,
    /// Gate: `on_join` takes one permit of it; closed if no peer has to wait.
    gate: Semaphore,
    /// Number of peers that have come to the gate.
    at_gate: Semaphore,
    panic_in_init: AtomicBool,
    panic_in_leave: AtomicBool,
    panic_in_terminate: AtomicBool,
    /// Event over which `on_forward` panics, once.
    panic_over: Mutex<Option<&'static str>>,
    /// Peer that asks to join, and leaves by dropping its membership in `on_forward` of the next `joined`.
    gone_over_joined: Mutex<Option<Joining>>,
}

type Joining = Pin<Box<dyn Future<Output = Result<(), JoinError>> + Send>>;

impl Default for Plan {
    fn default() -> Self {
        let gate = Semaphore::new(0);
        gate.close();
        Self {
            inits: AtomicUsize::default(),
            leaves: AtomicUsize::default(),
            ends: AtomicUsize::default(),
            gate,
            at_gate: Semaphore::new(0),
            panic_in_init: AtomicBool::default(),
            panic_in_leave: AtomicBool::default(),
            panic_in_terminate: AtomicBool::default(),
            panic_over: Mutex::default(),
            gone_over_joined: Mutex::default(),
        }
    }
}

impl Plan {
    /// Creates a plan in which peers named `waits` are admitted when the gate opens.
    fn gated() -> Self {
        Self { gate: Semaphore::new(0), ..Self::default() }
    }

    /// Returns whether the room fails here, which it does once.
    fn fire(flag: &AtomicBool) -> bool {
        flag.swap(false, Ordering::SeqCst)
    }
}

impl Room for Fragile {
    type Options = Arc<Plan>;

    fn on_init(plan: &Arc<Plan>, _: &RoomContext) -> Result<Self, Rejection> {
        plan.inits.fetch_add(1, Ordering::SeqCst);
        assert!(!Plan::fire(&plan.panic_in_init), "on_init");
        Ok(Self(Arc::clone(plan)))
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        match auth.metadata.as_str() {
            Some("waits") => {
                self.0.at_gate.add_permits(1);
                if let Ok(permit) = self.0.gate.acquire().await {
                    permit.forget();
                }
                Ok(())
            }
            Some("explosive") => panic!("on_join"),
            Some("once") if self.0.inits.load(Ordering::SeqCst) > 1 => Err("once_only".into()),
            _ => Ok(()),
        }
    }

    fn on_leave(&mut self, _: PeerId, _: &RoomContext) {
        self.0.leaves.fetch_add(1, Ordering::SeqCst);
        assert!(!Plan::fire(&self.0.panic_in_leave), "on_leave");
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        if message.event == "joined" {
            drop(self.0.gone_over_joined.lock().unwrap().take());
        }
        let over = self.0.panic_over.lock().unwrap().take_if(|event| *event == message.event);
        assert_eq!(over, None, "on_forward");
        Some(message)
    }

    fn on_terminate(&mut self, _: &RoomContext) {
        self.0.ends.fetch_add(1, Ordering::SeqCst);
        assert!(!Plan::fire(&self.0.panic_in_terminate), "on_terminate");
    }
}

async fn open(
    plan: Plan,
    options: impl FnOnce(RoomOptions<Fragile>) -> RoomOptions<Fragile>,
) -> (SupervisorRef, Rooms, RoomHandle, Arc<Plan>) {
    // On this thread, so that the steps of the tests come between the steps of the room.
    let rooms = Rooms::builder().threads(0).build();
    let server = rooms.start().await.unwrap();
    let plan = Arc::new(plan);
    let options = options(RoomOptions::new("demo", Arc::clone(&plan)));
    let room = rooms.start_supervised(options).await.unwrap();
    (server, rooms, room, plan)
}

fn panic_over(plan: &Plan, event: &'static str) {
    *plan.panic_over.lock().unwrap() = Some(event);
}

#[actix::test]
async fn a_peer_that_leaves_while_a_restarted_room_readopts_it_is_announced_once() {
    let (_server, _, room, plan) = open(Plan::gated(), |options| options).await;
    let mut stays = Client::joined(&room).await;
    plan.gate.add_permits(1);
    let mut goes = Client::named(&room, "waits", OutboxLimits::default());
    goes.join().await.unwrap();
    stays.expect("joined").await;
    plan.at_gate.acquire().await.unwrap().forget();

    panic_over(&plan, "explode");
    stays.say("explode", To::All).unwrap();
    plan.at_gate.acquire().await.unwrap().forget();
    goes.leave();
    plan.gate.add_permits(1);

    stays.expect("room_restarted").await;
    assert_eq!(stays.expect("left").await, json!({ "peer_id": goes.id }));
    stays.say("end", To::Peers(vec![stays.id])).unwrap();
    stays.expect("end").await;
    assert_eq!(plan.leaves.load(Ordering::SeqCst), 1, "on_join let it in, so on_leave is due");
    assert_eq!(room.peers(), [stays.id]);
}

#[actix::test]
async fn a_peer_that_leaves_while_its_join_is_announced_leaves_once() {
    let (_server, _, room, plan) = open(Plan::default(), |options| options).await;
    let mut stays = Client::joined(&room).await;
    let mut goes = Client::reserved(&room);

    let membership = goes.membership.take().unwrap();
    let mut joining: Joining = Box::pin(async move { membership.join().await });
    let asked = std::future::poll_fn(|cx| Poll::Ready(joining.as_mut().poll(cx))).await;
    assert!(asked.is_pending());
    *plan.gone_over_joined.lock().unwrap() = Some(joining);

    assert_eq!(stays.expect("joined").await, json!({ "peer_id": goes.id }));
    assert_eq!(stays.expect("left").await, json!({ "peer_id": goes.id }));
    assert_eq!(plan.leaves.load(Ordering::SeqCst), 1);
    assert_eq!(room.peers(), [stays.id]);
}

#[actix::test]
async fn a_room_that_panics_over_left_announces_it_all_the_same() {
    let (_server, _, room, plan) = open(Plan::default(), |options| options).await;
    let mut stays = Client::joined(&room).await;
    let mut first = Client::joined(&room).await;
    let mut second = Client::joined(&room).await;
    stays.expect("joined").await;
    stays.expect("joined").await;

    panic_over(&plan, "left");
    first.leave();
    second.leave();

    assert_eq!(stays.expect("left").await, json!({ "peer_id": first.id }));
    let mut rest = [stays.event().await, stays.event().await];
    rest.sort_by(|(a, _), (b, _)| a.cmp(b));
    let [(left, message), (restarted, _)] = rest;
    assert_eq!((left.as_str(), restarted.as_str()), ("left", "room_restarted"));
    assert_eq!(message["data"]["peer_id"], json!(second.id));
    stays.say("end", To::Peers(vec![stays.id])).unwrap();
    stays.expect("end").await;
}

#[actix::test]
async fn a_room_that_panics_in_on_leave_has_told_the_others_and_is_restarted() {
    let (_server, _, room, plan) = open(Plan::default(), |options| options).await;
    let mut stays = Client::joined(&room).await;
    let mut goes = Client::joined(&room).await;
    stays.expect("joined").await;

    plan.panic_in_leave.store(true, Ordering::SeqCst);
    goes.leave();

    assert_eq!(stays.expect("left").await, json!({ "peer_id": goes.id }));
    assert_eq!(stays.expect("room_restarted").await, json!({ "peers": [stays.id] }));
    assert_eq!(plan.leaves.load(Ordering::SeqCst), 1);
    assert_eq!(plan.inits.load(Ordering::SeqCst), 2);
}

#[actix::test]
async fn a_room_that_panics_in_on_terminate_is_closed_all_the_same() {
    let (_server, rooms, room, plan) = open(Plan::default(), |options| options).await;
    let mut client = Client::joined(&room).await;
    plan.panic_in_terminate.store(true, Ordering::SeqCst);

    room.stop("bed time").await;

    assert_eq!(client.expect("error").await["details"], "bed time");
    client.expect_close(CloseFrame::NORMAL).await;
    assert!(rooms.names().is_empty());
    assert_eq!(
        (plan.inits.load(Ordering::SeqCst), plan.ends.load(Ordering::SeqCst)),
        (1, 1),
        "not restarted, and not told twice"
    );
}

#[actix::test]
async fn a_peer_that_the_restarted_room_rejects_leaves_for_those_who_saw_it_join() {
    let (_server, _, room, plan) = open(Plan::default(), |options| options).await;
    let mut stays = Client::joined(&room).await;
    let mut once = Client::named(&room, "once", OutboxLimits::default());
    once.join().await.unwrap();
    once.expect("authenticated").await;
    stays.expect("joined").await;

    panic_over(&plan, "explode");
    stays.say("explode", To::All).unwrap();

    assert_eq!(once.expect("error").await["details"], "once_only");
    assert_eq!(stays.expect("room_restarted").await, json!({ "peers": [stays.id] }));
    assert_eq!(stays.expect("left").await, json!({ "peer_id": once.id }));
    once.leave();
    stays.say("end", To::Peers(vec![stays.id])).unwrap();
    stays.expect("end").await;
    assert_eq!(plan.leaves.load(Ordering::SeqCst), 0, "the new room never let it in");
}

/// Waits until the room's node has ended.
async fn ended(events: &mut tokio::sync::broadcast::Receiver<callboard_supervision::Event>) {
    let end = async {
        loop {
            let event = events.recv().await.expect("the server runs");
            if event.path.name() == "demo" && matches!(event.what, Lifecycle::Down(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("the room ends");
}

#[actix::test]
async fn a_room_that_closes_when_empty_does_so_after_a_crash_over_its_last_peer() {
    for on_crash in [OnCrash::Readopt, OnCrash::Close] {
        let (server, rooms, room, plan) =
            open(Plan::default(), |options| options.close_when_empty(true).on_crash(on_crash))
                .await;
        let mut events = server.events();
        let mut last = Client::joined(&room).await;

        panic_over(&plan, "explode");
        last.say("explode", To::All).unwrap();
        last.leave();

        ended(&mut events).await;
        assert!(rooms.names().is_empty(), "{on_crash:?}");
    }
}

#[actix::test]
async fn a_room_that_closes_when_empty_does_so_after_a_peer_that_crashed_it_while_joining() {
    let (server, rooms, room, _) =
        open(Plan::default(), |options| options.close_when_empty(true)).await;
    let mut events = server.events();
    let explosive = Client::named(&room, "explosive", OutboxLimits::default());

    assert_eq!(explosive.join().await, Err(JoinError::RoomCrashed));
    drop(explosive);

    ended(&mut events).await;
    assert!(rooms.names().is_empty());
}

#[actix::test]
async fn a_room_that_does_not_start_leaves_its_name_free() {
    let rooms = Rooms::new();
    let _server = rooms.start().await.unwrap();
    let plan = Arc::new(Plan::default());
    plan.panic_in_init.store(true, Ordering::SeqCst);
    let options = || RoomOptions::<Fragile>::new("demo", Arc::clone(&plan));

    let failed = rooms.start_supervised(options()).await.unwrap_err();

    assert!(matches!(failed, StartRoomError::Start(_)), "{failed:?}");
    assert!(rooms.names().is_empty());
    Client::joined(&rooms.start_supervised(options()).await.unwrap()).await;
}

#[actix::test]
async fn nothing_of_a_stopped_room_is_kept() {
    let (_server, _, room, plan) = open(Plan::default(), |options| options).await;
    let client = Client::joined(&room).await;

    room.stop("done").await;
    drop((room, client));

    assert_eq!(Arc::strong_count(&plan), 1);
}

#[actix::test]
async fn a_room_in_ones_own_tree_can_be_joined_again_after_its_supervisor_restarted_it() {
    let registry = Arc::new(LocalRegistry::default());
    let plan = Arc::new(Plan::default());
    let (room, spec) =
        room_child_spec(RoomOptions::<Fragile>::new("demo", Arc::clone(&plan)), registry.clone());
    let root = SupervisorSpec::new(Flags::one_for_one())
        .child(spec.restart(Restart::Transient))
        .start()
        .await
        .unwrap();
    let mut before = Client::joined(&room).await;

    root.terminate_child("demo").await.unwrap();
    assert_eq!(before.expect("error").await["details"], "shutdown");
    before.expect_close(CloseFrame::GOING_AWAY).await;
    root.restart_child("demo").await.unwrap();

    Client::joined(&room).await;
    assert_eq!(registry.names(), ["demo"]);
    root.stop().await;
    assert!(registry.names().is_empty());
}

/// RoomRegistry that ignores the case of names.
#[derive(Default)]
struct CaseBlind(LocalRegistry);

impl RoomRegistry for CaseBlind {
    fn register(&self, name: &str, room: RoomHandle) -> Result<(), RegisterError> {
        self.0.register(&name.to_lowercase(), room)
    }

    fn unregister(&self, name: &str) {
        self.0.unregister(&name.to_lowercase());
    }

    fn lookup(&self, name: &str) -> Option<RoomHandle> {
        self.0.lookup(&name.to_lowercase())
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

#[actix::test]
async fn a_registry_of_ones_own_decides_which_names_are_one() {
    let rooms = Rooms::builder().registry(Arc::new(CaseBlind::default())).build();
    let _server = rooms.start().await.unwrap();
    let options = |name: &str| RoomOptions::<Fragile>::new(name, Arc::new(Plan::default()));

    let room = rooms.start_supervised(options("Attic")).await.unwrap();
    let again = rooms.start_supervised(options("attic")).await;

    assert_eq!(again.unwrap_err(), StartRoomError::AlreadyStarted);
    assert_eq!(rooms.lookup("ATTIC").unwrap().name(), "Attic");
    room.stop("done").await;
    assert!(rooms.lookup("attic").is_none() && rooms.names().is_empty());
}

#[actix::test]
async fn a_peer_that_comes_back_under_its_id_waits_until_it_has_left() {
    let rooms = Rooms::new();
    let _server = rooms.start().await.expect("it starts");
    let room = rooms.start_supervised(RoomOptions::<Fragile>::new("demo", Arc::default())).await;
    let room = room.expect("it opens");
    let (mut witness, mut first) = (Client::joined(&room).await, Client::joined(&room).await);
    witness.expect("joined").await;

    assert_eq!(Client::with_id(&room, first.id).err(), Some(JoinError::PeerIdTaken));
    assert!(room.member(first.id).is_some(), "the refused one has changed nothing");
    first.leave();
    witness.expect("left").await;
    let second = Client::with_id(&room, first.id).expect("the id is free");

    second.join().await.expect("welcome");
    witness.expect("joined").await;
    assert_eq!(room.len(), 2);
}

#[actix::test]
async fn a_membership_that_was_rejected_ends_without_the_peer_that_has_its_id_now() {
    let rooms = Rooms::new();
    let _server = rooms.start().await.expect("it starts");
    let options = RoomOptions::<Fragile>::new("demo", Arc::default()).max_peers(1);
    let room = rooms.start_supervised(options).await.expect("it opens");
    let first = Client::joined(&room).await;
    let mut rejected = Client::reserved(&room);
    assert_eq!(rejected.join().await, Err(JoinError::Rejected("room_is_full".into())));
    drop(first);
    let second = Client::with_id(&room, rejected.id).expect("the id is free");
    // The room handles the departure of the first before.
    second.join().await.expect("welcome");

    rejected.leave();

    assert!(room.member(second.id).is_some());
}
