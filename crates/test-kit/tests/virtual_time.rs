//! A server and its clients in one thread, in virtual time.

use std::time::Duration;

use actix_web::App;
use callboard_client::{ClientEvent, ClientOptions, ClientState, ConnectError, Recipients};
use callboard_room_supervisor::*;
use callboard_signaling::*;
use callboard_test_kit::{FakePeer, TestServer, single_threaded_rooms};
use tokio::time::Instant;

struct Hall;

impl Room for Hall {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

struct Guest;

impl Peer for Guest {
    type Options = ();

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }
}

async fn server() -> (TestServer, RoomHandle) {
    tokio::time::pause();
    let rooms = single_threaded_rooms().build();
    rooms.start().await.unwrap();
    let room = rooms.start_supervised(RoomOptions::<Hall>::new("hall", ())).await.unwrap();
    let options = PeerOptions::<Guest>::new((), rooms.clone());
    let signaling = Signaling::new(options.resume_grace(Duration::from_secs(3_600)));
    (TestServer::start(move || App::new().configure(signaling.at(&["/{room}"]))).await, room)
}

#[actix::test]
async fn a_client_that_comes_back_within_its_grace_is_the_same_peer() {
    let (server, room) = server().await;
    let mut bystander = FakePeer::join(&room).await.unwrap();
    let delay = Duration::from_secs(1_000);
    let options = ClientOptions::new().first_delay(delay).longest_delay(delay);
    let mut client = server.client("/hall", options).await.unwrap();
    let peer_id = client.peer_id();
    bystander.expect("joined").await;
    let began = Instant::now();

    client.cut();
    let resumed = async { while client.next_event().await != Some(ClientEvent::Resumed) {} };
    // Most of a quarter of an hour, which takes no time.
    resumed.await;

    assert!(began.elapsed() <= delay + Duration::from_secs(20));
    assert_eq!(client.peer_id(), peer_id);
    client.send(Recipients::All, "chat", "still here").unwrap();
    assert_eq!(bystander.expect("chat").await, "still here");
}

#[actix::test]
async fn an_hour_of_silence_is_bridged_by_heartbeats() {
    let (server, _room) = server().await;
    let client = server.client("/hall", ClientOptions::new()).await.unwrap();

    tokio::time::sleep(Duration::from_secs(3_600)).await;

    assert_eq!(client.state(), ClientState::Open);
}

#[actix::test]
async fn what_the_server_refuses_is_refused_here_too() {
    let (server, _room) = server().await;

    let refused = server.client("/nowhere", ClientOptions::new()).await.err();

    let Some(ConnectError::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!((refusal.status, &*refusal.error), (404, "no_such_room"));
}

#[actix::test]
async fn a_fake_peer_sees_what_a_client_would() {
    let (server, room) = server().await;
    let client = server.client("/hall", ClientOptions::new()).await.unwrap();
    let mut peer = FakePeer::join(&room).await.unwrap();

    client.send(peer.id().to_string(), "chat", "hello").unwrap();
    let message = peer.next_message().await;
    assert_eq!((&message["event"], &message["data"]), (&"chat".into(), &"hello".into()));
    assert_eq!(message["from"], client.peer_id());
    client.close().await;
    assert_eq!(peer.expect("left").await["peer_id"], client.peer_id());

    room.stop("good night").await;
    assert_eq!(peer.expect("error").await["details"], "good night");
    assert_eq!(peer.expect_close().await, CloseFrame::NORMAL);
}
