//! Tests of rooms that forward directly: messages do not wait for the room, and what holds of messages holds of these.

mod common;

use std::future::Future;
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::time::Duration;

use callboard_room_supervisor::*;
use callboard_supervision::SupervisorRef;
use common::Client;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

/// Room that never looks at a message.
struct Direct(Arc<Plan>);

/// What a room does, and when it goes on.
struct Plan {
    /// Told whenever the room waits.
    waits: mpsc::UnboundedSender<()>,
    /// Lets a thread go on that is blocked.
    go_on: Mutex<blocking::Receiver<()>>,
    /// Lets an `on_join` go on.
    decides: Semaphore,
    /// Whether the next instance blocks in `on_init`.
    blocks_init: Mutex<bool>,
}

/// Other side of a [`Plan`].
struct Control {
    waits: mpsc::UnboundedReceiver<()>,
    go_on: blocking::Sender<()>,
    plan: Arc<Plan>,
}

impl Plan {
    fn block(&self) {
        _ = self.waits.send(());
        _ = self.go_on.lock().unwrap().recv();
    }
}

impl Control {
    /// Waits until the room waits.
    async fn waits(&mut self) {
        within(self.waits.recv()).await.unwrap();
    }
}

impl Room for Direct {
    type Options = Arc<Plan>;
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init(plan: &Arc<Plan>, _: &RoomContext) -> Result<Self, Rejection> {
        if std::mem::take(&mut *plan.blocks_init.lock().unwrap()) {
            plan.block();
        }
        Ok(Self(Arc::clone(plan)))
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        if auth.metadata == "slow" {
            _ = self.0.waits.send(());
            self.0.decides.acquire().await.unwrap().forget();
        }
        Ok(())
    }

    async fn on_readopt(&mut self, members: &[Member], _: &RoomContext) -> Readopt {
        let unwanted = members.iter().filter(|member| member.auth().metadata == "unwanted");
        Readopt::AllBut(unwanted.map(|member| (member.peer_id(), "unwanted".into())).collect())
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        panic!("on_forward: {message:?}")
    }
}

enum Act {
    Block,
    Panic,
}

impl Tell<Act> for Direct {
    fn on_tell(&mut self, act: Act, _: &RoomContext) {
        match act {
            Act::Block => self.0.block(),
            Act::Panic => panic!("on_tell"),
        }
    }
}

/// Opens a room on a thread of its own.
async fn open() -> (SupervisorRef, RoomHandle, Control) {
    let ((waits, has_waited), (go_on, goes_on)) = (mpsc::unbounded_channel(), blocking::channel());
    let plan = Arc::new(Plan {
        waits,
        go_on: Mutex::new(goes_on),
        decides: Semaphore::new(0),
        blocks_init: Mutex::new(false),
    });
    let rooms = Rooms::builder().threads(1).build();
    let server = rooms.start().await.unwrap();
    let options = RoomOptions::<Direct>::new("demo", Arc::clone(&plan));
    let room = rooms.start_supervised(options).await.unwrap();
    (server, room, Control { waits: has_waited, go_on, plan })
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("in time")
}

/// Returns two members that have read of each other.
async fn two(room: &RoomHandle) -> (Client, Client) {
    let (mut a, b) = (Client::joined(room).await, Client::joined(room).await);
    a.expect("joined").await;
    (a, b)
}

/// Returns addressees of whom there are too many for a direct message: one, many times.
fn many(peer: PeerId) -> To {
    To::Peers(vec![peer; MANY])
}

#[actix::test]
async fn messages_arrive_while_the_room_blocks_its_thread() {
    let (server, room, mut control) = open().await;
    let (mut a, mut b) = two(&room).await;
    room.tell::<Direct, _>(Act::Block).unwrap();
    control.waits().await;

    a.say("to_all", To::All).unwrap();
    a.say("to_b", b.id.into()).unwrap();
    b.say("to_both", To::Peers(vec![a.id, b.id])).unwrap();

    let (_, message) = b.event().await;
    assert_eq!(message, json!({ "event": "to_all", "data": "data", "from": a.id, "to": "all" }));
    b.expect("to_b").await;
    b.expect("to_both").await;
    a.expect("to_both").await;
    assert!(a.has_read_all() && b.has_read_all());
    control.go_on.send(()).unwrap();
    within(server.stop()).await;
}

#[actix::test]
async fn messages_arrive_while_the_room_decides_on_a_peer_which_gets_none_of_them() {
    let (server, room, mut control) = open().await;
    let (a, mut b) = two(&room).await;
    let mut newcomer = Client::named(&room, "slow", OutboxLimits::default());
    let joining = newcomer.membership.take().unwrap();
    let joining = actix::spawn(async move { joining.join().await.map(|()| joining) });
    control.waits().await;

    a.say("meanwhile", To::All).unwrap();
    b.expect("meanwhile").await;
    control.plan.decides.add_permits(1);
    newcomer.membership = Some(within(joining).await.unwrap().unwrap());
    a.say("to_three", To::All).unwrap();

    newcomer.expect("authenticated").await;
    newcomer.expect("to_three").await;
    b.expect("joined").await;
    b.expect("to_three").await;
    within(server.stop()).await;
}

#[actix::test]
async fn messages_arrive_while_the_room_is_restarted() {
    let (server, room, mut control) = open().await;
    let (mut a, mut b) = two(&room).await;
    *control.plan.blocks_init.lock().unwrap() = true;
    room.tell::<Direct, _>(Act::Panic).unwrap();
    control.waits().await;
    assert!(!room.is_running());

    a.say("meanwhile", To::All).unwrap();
    b.expect("meanwhile").await;
    // The room would have to answer.
    let stranger = PeerId::random();
    assert_eq!(a.say("to_nobody", stranger.into()), Err(ForwardError::RoomUnavailable));
    control.go_on.send(()).unwrap();

    for client in [&mut a, &mut b] {
        client.expect("room_restarted").await;
    }
    b.say("afterwards", To::All).unwrap();
    a.expect("afterwards").await;
    within(server.stop()).await;
}

#[actix::test]
async fn a_message_overtakes_none_of_its_sender_that_waits_for_the_room() {
    let (server, room, mut control) = open().await;
    let (a, mut b) = two(&room).await;
    let c = Client::joined(&room).await;
    b.expect("joined").await;
    room.tell::<Direct, _>(Act::Block).unwrap();
    control.waits().await;

    a.say("first", many(b.id)).unwrap();
    a.say("second", b.id.into()).unwrap();
    c.say("from_another", b.id.into()).unwrap();

    b.expect("from_another").await;
    assert!(b.has_read_all(), "the others wait");
    room.tell::<Direct, _>(Act::Block).unwrap();
    control.go_on.send(()).unwrap();
    control.waits().await;
    for _ in 0..MANY {
        b.expect("first").await;
    }
    b.expect("second").await;
    // None of them waits any more.
    a.say("third", b.id.into()).unwrap();
    b.expect("third").await;
    control.go_on.send(()).unwrap();
    within(server.stop()).await;
}

#[actix::test]
async fn direct_messages_reach_their_addressees_all_or_none() {
    let (server, room, _control) = open().await;
    let (mut a, mut b) = two(&room).await;
    let strangers = [PeerId::random(), PeerId::random()];

    a.say("to_nobody", To::Peers(vec![b.id, strangers[0], strangers[1]])).unwrap();
    a.say("to_b", b.id.into()).unwrap();

    let error = a.expect("error").await;
    assert_eq!(error, json!({ "description": "No such peer", "details": strangers }));
    b.expect("to_b").await;
    within(server.stop()).await;
}

#[actix::test]
async fn a_room_that_forwards_directly_looks_at_nothing() {
    let (server, room, _control) = open().await;
    let (mut a, mut b) = two(&room).await;

    let word = RoomMessage::new("word", &1).unwrap();
    room.forward_message(word.to(To::All)).await.unwrap();
    a.say("long_way", many(b.id)).unwrap();
    for client in [&mut a, &mut b] {
        client.expect("word").await;
    }
    for _ in 0..MANY {
        b.expect("long_way").await;
    }
    b.leave();

    assert_eq!(a.expect("left").await, json!({ "peer_id": b.id }));
    within(server.stop()).await;
}

/// Room that drops some messages before the other one gets them.
struct Quiet<R>(R);

impl<R: Room> Room for Quiet<R> {
    type Options = R::Options;

    fn on_init(options: &R::Options, room: &RoomContext) -> Result<Self, Rejection> {
        R::on_init(options, room).map(Self)
    }

    fn on_forward(&mut self, message: RoomMessage, room: &RoomContext) -> Option<RoomMessage> {
        let message = (message.event != "shout").then_some(message)?;
        if R::FORWARDS_DIRECTLY { Some(message) } else { self.0.on_forward(message, room) }
    }
}

/// Room that forwards directly, and has no state.
struct Plain;

impl Room for Plain {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

#[actix::test]
async fn a_room_around_one_that_forwards_directly_looks_at_each_message() {
    let rooms = Rooms::new();
    let server = rooms.start().await.unwrap();
    let options = RoomOptions::<Quiet<Plain>>::new("demo", ());
    let room = rooms.start_supervised(options).await.unwrap();
    let (a, mut b) = two(&room).await;

    a.say("shout", To::All).unwrap();
    a.say("word", To::All).unwrap();

    b.expect("word").await;
    within(server.stop()).await;
}

#[actix::test]
async fn a_client_that_does_not_read_direct_messages_is_closed_and_the_others_get_them() {
    let (server, room, _control) = open().await;
    let limits = OutboxLimits { messages: 10, bytes: 1 << 20 };
    let mut slow = Client::named(&room, "idle", limits);
    slow.join().await.unwrap();
    let (a, mut b) = two(&room).await;

    for _ in 0..20 {
        a.say("news", To::All).unwrap();
    }

    for _ in 0..20 {
        b.expect("news").await;
    }
    assert_eq!(slow.outbox.closing(), Some(&CloseFrame::TOO_SLOW));
    let mut read = 0;
    while let Deliver::Frame(_) = slow.next().await {
        read += 1;
    }
    assert_eq!(read, 10);
    within(server.stop()).await;
}

#[actix::test]
async fn who_is_no_member_sends_nothing() {
    let (server, room, mut control) = open().await;
    let unwanted = Client::named(&room, "unwanted", OutboxLimits::default());
    unwanted.join().await.unwrap();
    let (mut a, mut b) = two(&room).await;
    let reserved = Client::reserved(&room);

    reserved.say("not_yet", To::All).unwrap();
    room.tell::<Direct, _>(Act::Panic).unwrap();
    for client in [&mut a, &mut b] {
        client.expect("room_restarted").await;
        client.expect("left").await;
    }
    unwanted.say("no_more", To::All).unwrap();
    // The room has seen all of it when it blocks.
    room.tell::<Direct, _>(Act::Block).unwrap();
    control.waits().await;

    assert!(a.has_read_all() && b.has_read_all());
    control.go_on.send(()).unwrap();
    room.stop("enough").await;
    assert_eq!(a.say("too_late", To::All), Err(ForwardError::RoomUnavailable));
    within(server.stop()).await;
}

#[actix::test]
async fn peers_on_several_threads_send_to_each_other_in_order() {
    let (server, room, _control) = open().await;
    let arbiters = [actix::Arbiter::new(), actix::Arbiter::new()];
    let done = Arc::new(Semaphore::new(0));
    let limits = OutboxLimits { messages: 1 << 20, bytes: 1 << 30 };
    let mut reader = Client::named(&room, "reader", limits);
    reader.join().await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    for arbiter in &arbiters {
        let (room, to, tell, done) = (room.clone(), reader.id, tell.clone(), Arc::clone(&done));
        arbiter.spawn(async move {
            let client = Client::joined(&room).await;
            tell.send(client.id).unwrap();
            for number in 0..WORDS {
                // Each tenth message takes the way through the room, and the next ones wait for it.
                let to = if number % 10 == 0 { many(to) } else { to.into() };
                let message = RoomMessage::new("word", &number).unwrap().to(to);
                while client.membership.as_ref().unwrap().forward(message.clone()).is_err() {
                    tokio::task::yield_now().await;
                }
            }
            _ = done.acquire().await;
        });
    }
    let mut next = std::collections::HashMap::from(
        [within(told.recv()).await.unwrap(), within(told.recv()).await.unwrap()].map(|it| (it, 0)),
    );

    while next.values().any(|next| *next < WORDS) {
        let (event, message) = reader.event().await;
        if event == "word" {
            let number = message["data"].as_u64().unwrap();
            let sender = message["from"].as_str().unwrap().parse().unwrap();
            let next = next.get_mut(&sender).unwrap();
            assert!(number == *next || number + 1 == *next && number % 10 == 0, "{number}, {next}");
            *next = number + 1;
        }
    }

    done.close();
    within(server.stop()).await;
    for arbiter in arbiters {
        arbiter.stop();
        arbiter.join().unwrap();
    }
}

/// Number of addressees that is too large for a direct message.
const MANY: usize = 65;
/// Number of messages that each peer sends.
const WORDS: u64 = 500;
