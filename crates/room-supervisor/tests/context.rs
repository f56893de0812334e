//! Tests of what a room reaches by its context, and what others reach of it by its name.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard_room_supervisor::*;
use callboard_supervision::SupervisorRef;
use common::Client;
use serde_json::json;

/// Room that does in its callbacks what the application tells it.
struct Stage(Arc<Counts>);

#[derive(Default)]
struct Counts {
    inits: AtomicUsize,
    joins: AtomicUsize,
    readopts: AtomicUsize,
    ends: AtomicUsize,
}

/// Name in the metadata of a peer whose `on_joined` panics.
const BREAKS: &str = "breaks on_joined";
/// Names in the metadata of peers that `on_readopt` rejects.
const BANNED: &str = "banned later";

impl Room for Stage {
    type Options = Arc<Counts>;

    fn on_init(counts: &Arc<Counts>, room: &RoomContext) -> Result<Self, Rejection> {
        assert!(room.is_empty(), "it has admitted nobody yet");
        counts.inits.fetch_add(1, Ordering::SeqCst);
        Ok(Self(Arc::clone(counts)))
    }

    async fn on_join(&mut self, auth: &AuthData, room: &RoomContext) -> Result<(), Rejection> {
        self.0.joins.fetch_add(1, Ordering::SeqCst);
        assert!(room.member(auth.peer_id).is_none(), "it is no member yet");
        match auth.metadata.as_str() {
            Some("unwelcome") => Err(Rejection::with_details("banned", json!({ "days": 3 }))),
            _ => Ok(()),
        }
    }

    fn on_joined(&mut self, peer: PeerId, room: &RoomContext) {
        let breaks = room.member(peer).is_some_and(|member| member.auth().metadata == BREAKS);
        assert!(!breaks, "on_joined");
        room.send(peer, "welcome", &json!({ "to": room.name(), "members": room.len() })).unwrap();
    }

    async fn on_readopt(&mut self, members: &[Member], _: &RoomContext) -> Readopt {
        self.0.readopts.fetch_add(1, Ordering::SeqCst);
        let banned = members.iter().filter(|member| member.auth().metadata == BANNED);
        Readopt::AllBut(banned.map(|member| (member.peer_id(), BANNED.into())).collect())
    }

    fn on_leave(&mut self, peer: PeerId, room: &RoomContext) {
        assert!(room.member(peer).is_none(), "it is no member any more");
        room.broadcast("farewell", &room.len()).unwrap();
    }

    fn on_tick(&mut self, room: &RoomContext) {
        room.broadcast("tick", &()).unwrap();
    }

    fn on_terminate(&mut self, _: &RoomContext) {
        self.0.ends.fetch_add(1, Ordering::SeqCst);
    }
}

/// Message of the application to a stage.
enum Act {
    Say(&'static str),
    Tick(Duration),
    Close,
    Panic,
}

impl Tell<Act> for Stage {
    fn on_tell(&mut self, act: Act, room: &RoomContext) {
        match act {
            Act::Say(words) => room.broadcast("words", words).unwrap(),
            Act::Tick(period) => room.every(period),
            Act::Close => room.close("the end"),
            Act::Panic => panic!("on_tell"),
        }
    }
}

/// Room of another type.
struct Other;

impl Room for Other {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

impl Tell<Act> for Other {
    fn on_tell(&mut self, _: Act, _: &RoomContext) {}
}

async fn open(
    options: impl FnOnce(RoomOptions<Stage>) -> RoomOptions<Stage>,
) -> (SupervisorRef, Rooms, RoomHandle, Arc<Counts>) {
    let rooms = Rooms::builder().threads(0).build();
    let server = rooms.start().await.unwrap();
    let counts = Arc::new(Counts::default());
    let options = options(RoomOptions::new("stage", Arc::clone(&counts)));
    let room = rooms.start_supervised(options).await.unwrap();
    (server, rooms, room, counts)
}

/// Joins a client, and reads its `authenticated` and the room's greeting.
async fn welcomed(room: &RoomHandle) -> Client {
    let mut client = Client::joined(room).await;
    client.expect("welcome").await;
    client
}

#[actix::test]
async fn a_room_greets_a_member_after_its_client_is_authenticated() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut first = Client::joined(&room).await;
    assert_eq!(first.expect("welcome").await, json!({ "to": "stage", "members": 1 }));
    let mut second = Client::joined(&room).await;

    assert_eq!(second.expect("welcome").await, json!({ "to": "stage", "members": 2 }));
    second.leave();

    first.expect("joined").await;
    assert_eq!(first.expect("farewell").await, json!(1));
    assert_eq!(first.expect("left").await, json!({ "peer_id": second.id }));
}

/// Room that says in each callback that it runs.
struct Herald;

impl Room for Herald {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    async fn on_join(&mut self, _: &AuthData, room: &RoomContext) -> Result<(), Rejection> {
        room.broadcast("on_join", &()).unwrap();
        Ok(())
    }

    fn on_joined(&mut self, _: PeerId, room: &RoomContext) {
        room.broadcast("on_joined", &()).unwrap();
    }

    fn on_leave(&mut self, _: PeerId, room: &RoomContext) {
        room.broadcast("on_leave", &()).unwrap();
    }
}

#[actix::test]
async fn the_others_are_told_of_a_member_before_on_joined_and_after_on_leave() {
    let rooms = Rooms::builder().threads(0).build();
    let _server = rooms.start().await.unwrap();
    let room = rooms.start_supervised(RoomOptions::<Herald>::new("stage", ())).await.unwrap();
    let mut first = Client::joined(&room).await;
    first.expect("on_joined").await;
    let mut second = Client::joined(&room).await;
    second.expect("on_joined").await;
    second.leave();

    for event in ["on_join", "joined", "on_joined", "on_leave", "left"] {
        assert_eq!(first.event().await.0, event);
    }
}

#[actix::test]
async fn a_peer_that_was_admitted_stays_a_member_when_on_joined_panics() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut first = welcomed(&room).await;
    let mut second = Client::named(&room, BREAKS, OutboxLimits::default());

    assert_eq!(second.join().await, Ok(()));

    second.expect("authenticated").await;
    first.expect("joined").await;
    for client in [&mut first, &mut second] {
        client.expect("room_restarted").await;
    }
    second.say("hello", To::All).unwrap();
    first.expect("hello").await;
}

#[actix::test]
async fn a_full_room_rejects_with_a_code_and_without_asking_the_room() {
    let (_server, _, room, counts) = open(|options| options.max_peers(1)).await;
    let mut first = welcomed(&room).await;

    let rejected = Client::reserved(&room).join().await.unwrap_err();

    assert_eq!(rejected, JoinError::Rejected("room_is_full".into()));
    assert_eq!(rejected.details(), json!("room_is_full"));
    assert_eq!(counts.joins.load(Ordering::SeqCst), 1);
    first.leave();
    welcomed(&room).await;
}

#[actix::test]
async fn a_rejection_may_carry_details() {
    let (_server, _, room, _) = open(|options| options).await;
    let unwelcome = Client::named(&room, "unwelcome", OutboxLimits::default());

    let rejected = unwelcome.join().await.unwrap_err();

    assert_eq!(rejected.details(), json!({ "code": "banned", "details": { "days": 3 } }));
}

#[actix::test]
async fn members_are_known_with_their_public_metadata() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut first = welcomed(&room).await;
    let name = serde_json::Map::from_iter([("name".to_owned(), "Ann".into())]);
    let auth = AuthData { public: name.into(), ..AuthData::new(PeerId::random()) };
    let ann = auth.peer_id;
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let handle: Arc<String> = Arc::new("handle".to_owned());

    let membership = room.reserve(NewMember::new(auth, outbox).handle(handle)).unwrap();
    membership.join().await.unwrap();

    assert_eq!(
        first.expect("joined").await,
        json!({ "peer_id": ann, "metadata": { "name": "Ann" } })
    );
    let member = room.member(ann).unwrap();
    assert_eq!(member.public().get("name"), Some("Ann".into()));
    assert_eq!(*member.handle::<String>().unwrap(), "handle");
    assert!(member.handle::<u8>().is_none(), "it is of another type");
    let mut third = Client::reserved(&room);
    third.join().await.unwrap();
    let data = third.expect("authenticated").await;
    assert_eq!(data["metadata"], json!({ ann.to_string(): { "name": "Ann" } }));
}

#[actix::test]
async fn an_application_tells_a_room_of_the_right_type() {
    let (_server, rooms, room, _) = open(|options| options).await;
    rooms.start_supervised(RoomOptions::<Other>::new("other", ())).await.unwrap();
    let mut client = welcomed(&room).await;

    rooms.tell::<Stage, _>("stage", Act::Say("hello")).unwrap();

    assert_eq!(client.expect("words").await, json!("hello"));
    let tell = |name: &str| rooms.tell::<Stage, _>(name, Act::Say("hello"));
    assert_eq!(tell("nowhere"), Err(TellError::NoSuchRoom));
    assert_eq!(tell("other"), Err(TellError::OtherType));
    let over = (0..10_000).find_map(|_| room.tell::<Stage, _>(Act::Say("hello")).err());
    assert_eq!(over, Some(TellError::TooManyInFlight));
    room.stop("done").await;
    assert_eq!(room.tell::<Stage, _>(Act::Say("hello")), Err(TellError::RoomUnavailable));
}

#[actix::test]
async fn a_room_ticks_until_it_is_told_to_stop() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut client = welcomed(&room).await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();

    room.tell::<Stage, _>(Act::Tick(Duration::from_secs(10))).unwrap();
    for tick in 1..=3 {
        client.expect("tick").await;
        assert_eq!(start.elapsed().as_secs(), 10 * tick);
    }
    room.tell::<Stage, _>(Act::Tick(Duration::ZERO)).unwrap();
    room.tell::<Stage, _>(Act::Say("quiet")).unwrap();
    client.expect("words").await;

    tokio::time::advance(Duration::from_secs(100)).await;
    room.tell::<Stage, _>(Act::Say("still quiet")).unwrap();
    client.expect("words").await;
}

#[actix::test]
async fn a_room_that_closes_itself_tells_its_members_and_terminates_once() {
    let (_server, rooms, room, counts) = open(|options| options).await;
    let mut client = welcomed(&room).await;

    room.tell::<Stage, _>(Act::Close).unwrap();

    assert_eq!(
        client.expect("error").await,
        json!({ "description": "Room closed", "details": "the end" })
    );
    client.expect_close(CloseFrame::NORMAL).await;
    room.ended().await;
    assert_eq!(counts.inits.load(Ordering::SeqCst), 1);
    assert_eq!(counts.ends.load(Ordering::SeqCst), 1);
    assert!(rooms.tell::<Stage, _>("stage", Act::Close).is_err());
}

#[actix::test]
async fn a_room_that_panics_over_a_message_readopts_its_members_in_one_step() {
    let (_server, _, room, counts) = open(|options| options).await;
    let mut stays = welcomed(&room).await;
    let mut banned = Client::named(&room, BANNED, OutboxLimits::default());
    banned.join().await.unwrap();
    stays.expect("joined").await;
    for event in ["authenticated", "welcome"] {
        banned.expect(event).await;
    }

    room.tell::<Stage, _>(Act::Tick(Duration::from_secs(3600))).unwrap();
    room.tell::<Stage, _>(Act::Panic).unwrap();

    assert_eq!(stays.expect("room_restarted").await, json!({ "peers": [stays.id] }));
    assert_eq!(stays.expect("left").await, json!({ "peer_id": banned.id }));
    assert_eq!(banned.expect("error").await["details"], BANNED);
    banned.expect_close(CloseFrame::NORMAL).await;
    room.tell::<Stage, _>(Act::Say("again")).unwrap();
    assert_eq!(stays.expect("words").await, json!("again"));
    let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    assert_eq!((read(&counts.inits), read(&counts.readopts), read(&counts.joins)), (2, 1, 2));
}

#[actix::test]
async fn rooms_and_peers_are_reached_by_name_from_anywhere() {
    let (_server, rooms, room, _) = open(|options| options).await;
    rooms.start_supervised(RoomOptions::<Other>::new("other", ())).await.unwrap();
    let (mut a, mut b) = (welcomed(&room).await, welcomed(&room).await);
    a.expect("joined").await;
    let stranger = PeerId::random();

    rooms.send("stage", To::All, "to_all", &1).unwrap();
    rooms.send_to_peer(b.id, "to_b", &2).unwrap();

    assert_eq!(a.expect("to_all").await, json!(1));
    assert_eq!(b.expect("to_all").await, json!(1));
    assert_eq!(b.expect("to_b").await, json!(2));
    assert_eq!(rooms.find_peer(a.id).unwrap().name(), "stage");
    assert!(rooms.find_peer(stranger).is_none());
    let mut names: Vec<_> = rooms.list().iter().map(|room| room.name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["other", "stage"]);
    assert_eq!(
        rooms.send("stage", vec![a.id, stranger], "to_nobody", &3),
        Err(SendToMembersError::Forward(ForwardError::NoSuchPeer(vec![stranger])))
    );
    assert_eq!(rooms.send_to_peer(stranger, "to_nobody", &3), Err(SendToMembersError::NoSuchRoom));
    assert!(a.has_read_all() && b.has_read_all());
    assert!(rooms.close("other", "done").await);
    assert!(!rooms.close("other", "done").await, "it is closed");
}

#[actix::test]
async fn a_member_is_kicked_with_a_code_and_a_reason() {
    let (_server, _, room, _) = open(|options| options).await;
    let mut client = welcomed(&room).await;

    assert_eq!(room.kick(client.id, 999, "bad"), Err(KickError::Close(CloseError::Code(999))));
    assert_eq!(room.kick(PeerId::random(), 4000, "out"), Err(KickError::NoSuchPeer));
    assert_eq!(
        room.kick(client.id, 4000, "é".repeat(62)),
        Err(KickError::Close(CloseError::LongReason)),
        "124 bytes"
    );
    let reason = format!("out: {}", "é".repeat(59));
    room.kick(client.id, 4000, reason.clone()).unwrap();

    client.expect_close(CloseFrame { code: 4000, reason: reason.into() }).await;
}
