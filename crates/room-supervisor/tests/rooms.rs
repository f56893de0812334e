//! Tests of rooms from outside: which members get which messages, in which order, and recovery when a room fails.

mod common;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use callboard_room_supervisor::*;
use callboard_supervision::{ArbiterPool, ChildSpec, Event, Lifecycle, Placement, SupervisorRef};
use common::Client;
use serde_json::json;
use tokio::sync::broadcast;

/// Room that is controlled by the peers' names and events, and counts its callbacks.
struct Probe(Arc<Counts>);

#[derive(Default)]
struct Counts {
    inits: AtomicUsize,
    joins: AtomicUsize,
    leaves: AtomicUsize,
    ends: AtomicUsize,
}

impl Counts {
    fn read(&self) -> (usize, usize, usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (read(&self.inits), read(&self.joins), read(&self.leaves), read(&self.ends))
    }
}

impl Room for Probe {
    type Options = Arc<Counts>;

    fn on_init(counts: &Arc<Counts>, _: &RoomContext) -> Result<Self, Rejection> {
        counts.inits.fetch_add(1, Ordering::SeqCst);
        Ok(Self(Arc::clone(counts)))
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        match auth.metadata.as_str() {
            Some("unwelcome") => return Err("not_you".into()),
            Some("explosive") => panic!("on_join"),
            Some("endless") => std::future::pending().await,
            // Admitted once.
            Some("once") if self.0.inits.load(Ordering::SeqCst) > 1 => {
                return Err("once_only".into());
            }
            _ => {}
        }
        self.0.joins.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn on_leave(&mut self, _: PeerId, _: &RoomContext) {
        self.0.leaves.fetch_add(1, Ordering::SeqCst);
    }

    fn on_forward(&mut self, mut message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        match message.event.as_str() {
            "swallow" => None,
            "explode" => panic!("on_forward"),
            "change" => {
                message.event = "changed".into();
                Some(message)
            }
            _ => Some(message),
        }
    }

    fn on_terminate(&mut self, _: &RoomContext) {
        self.0.ends.fetch_add(1, Ordering::SeqCst);
    }
}

async fn open(
    options: impl FnOnce(RoomOptions<Probe>) -> RoomOptions<Probe>,
) -> (SupervisorRef, Rooms, RoomHandle, Arc<Counts>) {
    // On this thread, so that the steps of the tests come between the steps of the room.
    let rooms = Rooms::builder().threads(0).build();
    let server = rooms.start().await.unwrap();
    let counts = Arc::new(Counts::default());
    let room = rooms
        .start_supervised(options(RoomOptions::new("demo", Arc::clone(&counts))))
        .await
        .unwrap();
    (server, rooms, room, counts)
}

/// Waits until the room's node has ended.
async fn down(events: &mut broadcast::Receiver<Event>, name: &str) {
    let is_down =
        |event: Event| event.path.name() == name && matches!(event.what, Lifecycle::Down(_));
    while !is_down(events.recv().await.unwrap()) {}
}

#[actix::test]
async fn others_hear_joined_before_the_joiner_hears_authenticated_with_who_is_there() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut first = Client::joined(&room).await;
    let mut second = Client::reserved(&room);

    second.join().await.unwrap();

    assert_eq!(first.expect("joined").await, json!({ "peer_id": second.id }));
    let data = second.expect("authenticated").await;
    assert_eq!(data, json!({ "peer_id": second.id, "peers": [first.id] }));
    assert!(second.has_read_all());
}

#[actix::test]
async fn a_refused_peer_is_given_the_reason_and_no_member_notices() {
    let (_server, _, room, counts) = open(|options| options).await;
    let mut bystander = Client::joined(&room).await;
    let unwelcome = Client::named(&room, "unwelcome", OutboxLimits::default());

    assert_eq!(unwelcome.join().await, Err(JoinError::Rejected("not_you".into())));

    drop(unwelcome);
    assert_eq!(room.peers(), [bystander.id]);
    room.stop("").await;
    bystander.expect("error").await;
    assert_eq!(counts.read(), (1, 1, 0, 1));
}

#[actix::test]
async fn messages_reach_their_addressees_all_or_none() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut a = Client::joined(&room).await;
    let mut b = Client::joined(&room).await;
    let mut c = Client::joined(&room).await;
    a.expect("joined").await;
    a.expect("joined").await;
    b.expect("joined").await;
    let stranger = PeerId::random();

    a.say("to_all", To::All).unwrap();
    a.say("to_b_and_me", To::Peers(vec![b.id, a.id])).unwrap();
    a.say("to_nobody", To::Peers(vec![b.id, stranger])).unwrap();
    a.say("swallow", To::All).unwrap();
    a.say("change", To::Peers(vec![c.id])).unwrap();

    assert_eq!(b.event().await.1["from"], json!(a.id));
    b.expect("to_b_and_me").await;
    a.expect("to_b_and_me").await;
    let error = a.expect("error").await;
    assert_eq!(error, json!({ "description": "No such peer", "details": [stranger] }));
    c.expect("to_all").await;
    c.expect("changed").await;
    assert!(a.has_read_all() && b.has_read_all() && c.has_read_all());
}

#[actix::test]
async fn a_broadcast_is_the_same_bytes_for_all() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut a = Client::joined(&room).await;
    let mut b = Client::joined(&room).await;
    a.expect("joined").await;

    let note = RoomMessage::new("note", &1).unwrap();
    assert_eq!(room.forward_message(note.clone()).await, Err(ForwardError::NotAddressed));
    room.forward_message(note.to(To::All)).await.unwrap();

    let (Deliver::Frame(to_a), Deliver::Frame(to_b)) = (a.next().await, b.next().await) else {
        panic!("closed")
    };
    assert_eq!(to_a.as_bytes().as_ptr(), to_b.as_bytes().as_ptr());
}

#[actix::test]
async fn a_peer_leaves_once_when_its_lease_is_gone() {
    let (_server, _, room, counts) = open(|options| options).await;
    let mut a = Client::joined(&room).await;
    let mut b = Client::joined(&room).await;
    a.expect("joined").await;

    b.leave();

    assert_eq!(a.expect("left").await, json!({ "peer_id": b.id }));
    b.expect_close(CloseFrame::FAILED).await;
    assert_eq!(counts.read(), (1, 2, 1, 0));
    assert_eq!(room.peers(), [a.id]);
}

#[actix::test]
async fn a_stopped_room_has_told_everyone_and_its_name_is_free() {
    let (_server, rooms, room, counts) = open(|options| options).await;
    let mut a = Client::joined(&room).await;

    room.stop("bed time").await;

    assert_eq!(
        a.expect("error").await,
        json!({ "description": "Room closed", "details": "bed time" })
    );
    a.expect_close(CloseFrame::NORMAL).await;
    assert!(rooms.lookup("demo").is_none());
    room.freed().await;
    assert_eq!(counts.read(), (1, 1, 0, 1), "on_terminate ran, and no new room began");
    assert_eq!(a.say("hello", To::All), Err(ForwardError::RoomUnavailable));
    rooms.start_supervised(RoomOptions::<Probe>::new("demo", counts)).await.unwrap();
}

#[actix::test]
async fn a_name_is_taken_once() {
    let (_server, rooms, _, counts) = open(|options| options).await;

    let again = rooms.start_supervised(RoomOptions::<Probe>::new("demo", counts)).await;

    assert_eq!(again.unwrap_err(), StartRoomError::AlreadyStarted);
}

#[actix::test]
async fn a_room_that_panics_readopts_its_peers_on_their_connections() {
    let (_server, _, room, counts) = open(|options| options).await;
    let mut a = Client::joined(&room).await;
    let mut b = Client::joined(&room).await;
    let mut once = Client::named(&room, "once", OutboxLimits::default());
    once.join().await.unwrap();
    once.expect("authenticated").await;
    for _ in 0..2 {
        a.expect("joined").await;
    }
    b.expect("joined").await;

    a.say("explode", To::All).unwrap();

    let mut peers = b.expect("room_restarted").await["peers"].as_array().unwrap().len();
    assert_eq!(peers, 2, "the third is not welcome any more");
    peers = a.expect("room_restarted").await["peers"].as_array().unwrap().len();
    assert_eq!(peers, 2);
    assert_eq!(once.expect("error").await["details"], "once_only");
    once.expect_close(CloseFrame::NORMAL).await;
    assert_eq!(counts.read(), (2, 5, 0, 0));
    assert_eq!(b.expect("left").await, json!({ "peer_id": once.id }));
    a.say("still_here", To::All).unwrap();
    b.expect("still_here").await;
}

#[actix::test]
async fn a_room_that_closes_on_a_crash_tells_its_peers() {
    let (_server, _, room, _) = open(|options| options.on_crash(OnCrash::Close)).await;
    let mut a = Client::joined(&room).await;

    a.say("explode", To::All).unwrap();

    assert_eq!(
        a.expect("error").await,
        json!({ "description": "Room closed", "details": "crashed" })
    );
    a.expect_close(CloseFrame::ROOM_FAILED).await;
}

#[actix::test]
async fn a_peer_that_makes_the_room_panic_while_it_joins_is_rejected_by_the_next_instance() {
    let (_server, _, room, counts) = open(|options| options).await;
    let mut bystander = Client::joined(&room).await;
    let mut explosive = Client::named(&room, "explosive", OutboxLimits::default());

    assert_eq!(explosive.join().await, Err(JoinError::RoomCrashed));

    bystander.expect("room_restarted").await;
    assert_eq!(explosive.expect("error").await["details"], "room_crashed");
    explosive.expect_close(CloseFrame::NORMAL).await;
    assert_eq!(counts.read().0, 2, "one restart, not a loop");
}

#[actix::test]
async fn a_room_that_panics_too_often_is_given_up_and_its_clients_are_told() {
    let (server, rooms, room, _) =
        open(|options| options.intensity(0, Duration::from_secs(1))).await;
    let mut events = server.events();
    let mut a = Client::joined(&room).await;

    a.say("explode", To::All).unwrap();

    assert_eq!(
        a.expect("error").await,
        json!({ "description": "Room closed", "details": "crashed" })
    );
    a.expect_close(CloseFrame::ROOM_FAILED).await;
    while !matches!(events.recv().await.unwrap().what, Lifecycle::Down(reason) if !reason.is_abnormal())
    {
    }
    assert!(rooms.lookup("demo").is_none());
    assert!(
        server
            .snapshot()
            .find(&["rooms"])
            .is_some_and(|rooms| rooms.children.is_empty() && rooms.restarts == 0)
    );
}

#[actix::test]
async fn who_leaves_while_the_room_is_down_is_announced_by_the_next_one() {
    let (_server, _, room, counts) = open(|options| options).await;
    let mut a = Client::joined(&room).await;
    let mut b = Client::joined(&room).await;
    a.expect("joined").await;

    a.say("explode", To::All).unwrap();
    b.leave();

    a.expect("room_restarted").await;
    assert_eq!(a.expect("left").await, json!({ "peer_id": b.id }));
    assert_eq!(counts.read().2, 0, "the new room never let it in");
    assert!(a.has_read_all());
}

#[actix::test]
async fn an_on_join_without_end_is_refused_and_holds_up_no_other_room() {
    let (_server, rooms, room, counts) =
        open(|options| options.join_timeout(Duration::from_secs(2))).await;
    let other = rooms.start_supervised(RoomOptions::<Probe>::new("other", counts)).await.unwrap();
    let endless = Client::named(&room, "endless", OutboxLimits::default());

    let asking = endless.join();
    let mut elsewhere = Client::reserved(&other);
    let (asked, ()) = tokio::join!(asking, async {
        elsewhere.join().await.unwrap();
        elsewhere.expect("authenticated").await;
    });

    assert_eq!(asked, Err(JoinError::TimedOut));
    Client::joined(&room).await;
}

#[actix::test]
async fn a_client_that_does_not_read_is_closed_and_the_room_goes_on() {
    let (_server, _, room, _) = open(|options| options).await;
    let limits = OutboxLimits { messages: 10, bytes: 1 << 20 };
    let mut slow = Client::named(&room, "slow", limits);
    slow.join().await.unwrap();
    let mut fast = Client::joined(&room).await;

    for _ in 0..20 {
        fast.say("news", To::All).unwrap();
    }
    fast.say("echo", To::Peers(vec![fast.id])).unwrap();

    fast.expect("echo").await;
    let mut read = 0;
    while let Deliver::Frame(_) = slow.next().await {
        read += 1;
    }
    assert_eq!(read, 10);
    assert_eq!(slow.outbox.closing(), Some(&CloseFrame::TOO_SLOW));
}

#[actix::test]
async fn messages_in_flight_are_bounded() {
    let (_server, _, room, _) = open(|options| options).await;
    let a = Client::joined(&room).await;

    let refused = (0..10_000).find_map(|_| a.say("burst", To::All).err());

    assert_eq!(refused, Some(ForwardError::TooManyInFlight));
}

#[actix::test]
async fn rooms_open_and_close_on_demand() {
    let counts = Arc::new(Counts::default());
    let seen = Arc::clone(&counts);
    let rooms = Rooms::builder()
        .threads(0)
        .on_demand(move |name| {
            let options = RoomOptions::<Probe>::new(name, Arc::clone(&seen)).close_when_empty(true);
            name.starts_with("open-").then(|| options.into())
        })
        .build();
    let server = rooms.start().await.unwrap();
    let mut events = server.events();

    assert_eq!(rooms.find_or_open("other").await.unwrap_err(), StartRoomError::NoSuchRoom);
    let room = rooms.find_or_open("open-1").await.unwrap();
    let mut a = Client::joined(&room).await;
    let mut b = Client::joined(&rooms.find_or_open("open-1").await.unwrap()).await;
    a.leave();
    b.expect("left").await;
    b.leave();

    down(&mut events, "open-1").await;
    assert!(rooms.names().is_empty());
    assert_eq!(counts.read(), (1, 2, 2, 1));
    Client::joined(&rooms.find_or_open("open-1").await.unwrap()).await;
}

#[actix::test]
async fn no_more_rooms_are_open_on_demand_than_may_be() {
    let options = |name: &str| {
        Some(RoomOptions::<Probe>::new(name, Arc::default()).close_when_empty(true).into())
    };
    let rooms = Rooms::builder().threads(0).on_demand(options).max_on_demand(2).build();
    let server = rooms.start().await.unwrap();
    let mut events = server.events();
    let mut a = Client::joined(&rooms.find_or_open("a").await.unwrap()).await;
    let _b = Client::joined(&rooms.find_or_open("b").await.unwrap()).await;

    assert_eq!(rooms.find_or_open("c").await.unwrap_err(), StartRoomError::TooManyRooms);
    rooms.find_or_open("b").await.expect("one that is open needs no place");
    assert_eq!(rooms.open_on_demand("b").await.unwrap_err(), StartRoomError::AlreadyStarted);
    let room = rooms.lookup("a").unwrap();
    a.leave();
    down(&mut events, "a").await;
    assert!(room.is_closed());
    rooms.find_or_open("c").await.expect("its place is free");

    rooms.stop_all("shutdown").await;
    assert_eq!(rooms.find_or_open("d").await.unwrap_err(), StartRoomError::ShuttingDown);
}

#[actix::test]
async fn stopping_all_tells_everyone_that_the_server_goes_away() {
    let (server, rooms, room, _) = open(|options| options).await;
    let mut a = Client::joined(&room).await;

    rooms.stop_all("maintenance").await;

    assert_eq!(a.expect("error").await["details"], "maintenance");
    a.expect_close(CloseFrame::GOING_AWAY).await;
    server.stop().await;
}

#[actix::test]
async fn a_server_that_is_stopped_closes_its_rooms_in_good_order() {
    let (server, rooms, room, counts) = open(|options| options).await;
    let mut a = Client::joined(&room).await;

    server.stop().await;

    assert_eq!(a.expect("error").await["details"], "shutdown");
    a.expect_close(CloseFrame::GOING_AWAY).await;
    assert_eq!(counts.read().3, 1);
    assert!(rooms.names().is_empty());
}

#[actix::test]
async fn a_peer_that_comes_while_its_room_is_being_opened_is_started_when_it_is_open() {
    struct Idle;
    impl actix::Actor for Idle {
        type Context = actix::Context<Self>;
    }
    /// Room that opens when it is told to.
    struct Slow;
    impl Room for Slow {
        type Options = Arc<Mutex<std::sync::mpsc::Receiver<()>>>;
        fn on_init(gate: &Self::Options, _: &RoomContext) -> Result<Self, Rejection> {
            gate.lock().unwrap().recv().map_err(|error| error.to_string())?;
            Ok(Self)
        }
    }
    let (open, gate) = std::sync::mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    let elsewhere = Placement::Pool(ArbiterPool::new(1));
    let options = move |name: &str| {
        let options = RoomOptions::<Slow>::new(name, Arc::clone(&gate));
        Some(options.placement(elsewhere.clone()).into())
    };
    let rooms = Rooms::builder().on_demand(options).build();
    let server = rooms.start().await.unwrap();

    let second = async {
        // The name is registered before the room is up.
        let room = loop {
            match rooms.lookup("new") {
                Some(room) => break room,
                None => tokio::task::yield_now().await,
            }
        };
        let mut starting = pin!(room.start_peer(ChildSpec::new("second", || Idle)));
        let first =
            std::future::poll_fn(|context| Poll::Ready(starting.as_mut().poll(context))).await;
        assert!(first.is_pending(), "the room is not open: {first:?}");
        open.send(()).unwrap();
        starting.await
    };
    let (opened, started) = tokio::join!(rooms.find_or_open("new"), second);

    opened.unwrap();
    started.unwrap();
    server.stop().await;
}

#[actix::test]
async fn a_room_on_demand_that_no_one_joins_is_closed_after_a_while() {
    tokio::time::pause();
    let open = |name: &str| {
        let options = RoomOptions::<Probe>::new(name, Arc::default());
        Some(options.close_when_empty(true).into())
    };
    let rooms = Rooms::builder().threads(0).on_demand(open).build();
    rooms.start().await.unwrap();

    rooms.find_or_open("given up").await.unwrap().freed().await;

    assert!(rooms.names().is_empty());
}
