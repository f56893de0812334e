//! Test that a peer is found by the index where a look into each room finds it, also over crashes and ends of rooms.

mod common;

use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::*;
use common::Client;
use proptest::prelude::*;

/// Room that panics when it is told to, and then readopts all but one.
struct Fragile;

impl Room for Fragile {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    async fn on_readopt(&mut self, members: &[Member], _: &RoomContext) -> Readopt {
        let last = members.last().map(|member| (member.peer_id(), "too_many".into()));
        Readopt::AllBut(last.into_iter().collect())
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        assert_ne!(message.event, "explode");
        Some(message)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A peer joins the nth room, which is opened if it is not open.
    Join(usize),
    /// A peer that is a member of one room joins the nth as well, under the same id.
    JoinTwice(usize),
    /// A peer gets a membership in the nth room, and does not join.
    Reserve(usize),
    /// The nth membership ends.
    Leave(usize),
    Crash(usize),
    Stop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<usize>().prop_map(Step::Join),
        2 => any::<usize>().prop_map(Step::JoinTwice),
        1 => any::<usize>().prop_map(Step::Reserve),
        4 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::Crash),
        1 => any::<usize>().prop_map(Step::Stop),
    ]
}

const NAMES: [&str; 3] = ["attic", "cellar", "hall"];

fn name(n: usize) -> &'static str {
    NAMES[n % NAMES.len()]
}

fn options(name: &str) -> Option<AnyRoomOptions> {
    let options = RoomOptions::<Fragile>::new(name, ());
    Some(options.intensity(100, Duration::from_secs(1)).into())
}

async fn open(rooms: &Rooms, name: &str) -> RoomHandle {
    match rooms.lookup(name) {
        Some(room) => room,
        None => rooms.find_or_open(name).await.expect("it opens"),
    }
}

async fn take(rooms: &Rooms, clients: &mut Vec<Client>, step: Step) {
    match step {
        Step::Join(n) => clients.push(Client::joined(&open(rooms, name(n)).await).await),
        Step::JoinTwice(n) => {
            let room = open(rooms, name(n)).await;
            let is_here = |client: &&Client| {
                client.membership.as_ref().is_some_and(|it| it.room().name() == name(n))
            };
            let here: Vec<_> = clients.iter().filter(is_here).map(|client| client.id).collect();
            let elsewhere = clients.iter().map(|client| client.id).find(|id| !here.contains(id));
            if let Some(id) = elsewhere {
                match Client::with_id(&room, id) {
                    Ok(client) => {
                        client.join().await.expect("welcome");
                        clients.push(client);
                    }
                    // It has just left this room.
                    Err(error) => assert_eq!(error, JoinError::PeerIdTaken),
                }
            }
        }
        Step::Reserve(n) => clients.push(Client::reserved(&open(rooms, name(n)).await)),
        Step::Leave(n) if !clients.is_empty() => drop(clients.swap_remove(n % clients.len())),
        Step::Leave(_) => {}
        Step::Crash(n) => {
            let Some(room) = rooms.lookup(name(n)) else { return };
            let explode = RoomMessage::new("explode", &()).expect("JSON").to(To::All);
            assert!(room.forward_message(explode).await.is_err());
            room.running().await;
        }
        Step::Stop(n) => _ = rooms.close(name(n), "over").await,
    }
}

/// Asserts that each peer is found where it is, in one of the rooms if it is in several.
fn compare(rooms: &Rooms, clients: &[Client]) {
    for peer in clients.iter().map(|client| client.id) {
        let mut scanned = rooms.list();
        scanned.retain(|room| room.member(peer).is_some());
        let names: Vec<_> = scanned.iter().map(RoomHandle::name).collect();
        match rooms.find_peer(peer) {
            Some(room) => assert!(names.contains(&room.name()), "{} of {names:?}", room.name()),
            None => assert!(names.is_empty(), "not found in {names:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_peer_is_found_where_a_look_into_each_room_finds_it(
        steps in prop::collection::vec(step(), 1..30)
    ) {
        actix::System::new().block_on(async {
            // On this thread, so that no room changes between the two ways to look.
            let rooms = Rooms::builder().on_demand(options).threads(0).build();
            let server = rooms.start().await.expect("it starts");
            let mut clients = Vec::new();

            for step in steps {
                take(&rooms, &mut clients, step).await;
                compare(&rooms, &clients);
            }
            let ids: Vec<_> = clients.iter().map(|client| client.id).collect();
            clients.clear();

            assert!(ids.into_iter().all(|peer| rooms.find_peer(peer).is_none()));
            server.stop().await;
        });
    }
}

/// Registry without an index.
#[derive(Default)]
struct Plain(LocalRegistry);

impl RoomRegistry for Plain {
    fn register(&self, name: &str, room: RoomHandle) -> Result<(), RegisterError> {
        self.0.register(name, room)
    }

    fn unregister(&self, name: &str) {
        self.0.unregister(name);
    }

    fn lookup(&self, name: &str) -> Option<RoomHandle> {
        self.0.lookup(name)
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

#[actix::test]
async fn without_an_index_each_room_is_looked_into() {
    let rooms = Rooms::builder().registry(Arc::new(Plain::default())).build();
    let _server = rooms.start().await.expect("it starts");
    for name in NAMES {
        let room = rooms.start_supervised(RoomOptions::<Fragile>::new(name, ())).await;
        let client = Client::joined(&room.expect("it opens")).await;

        assert_eq!(rooms.find_peer(client.id).expect("it is there").name(), name);
    }
    assert!(rooms.find_peer(PeerId::random()).is_none());
}

#[actix::test]
async fn a_peer_is_not_found_in_a_room_of_another_registry() {
    let (rooms, own) = (Rooms::new(), Arc::new(LocalRegistry::default()));
    let _server = rooms.start().await.expect("it starts");
    let options = RoomOptions::<Fragile>::new("attic", ()).registry(own);
    let room = rooms.start_supervised(options).await.expect("it opens");

    let client = Client::joined(&room).await;

    assert!(rooms.find_peer(client.id).is_none());
}
