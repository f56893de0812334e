//! Connecting: statuses, their order, and what a client is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard_room_supervisor::{LocalRegistry, RoomOptions, RoomRegistry, Rooms};
use callboard_signaling::{Count, Origins};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

use crate::common::away::counted;
use crate::common::{Server, TestRoom, eventually};

#[actix::test]
async fn a_client_is_authenticated_with_who_is_there_and_the_others_hear_it() {
    let server = Server::start(|options| options).await;
    let (mut first, there) = server.join().await;
    assert_eq!(there, 0);

    let (second, there) = server.join().await;

    assert_eq!(there, 1);
    assert_eq!(first.expect("joined").await, json!({ "peer_id": second.id }));
    drop(second);
    first.expect("left").await;
}

#[actix::test]
async fn each_refusal_has_its_status_and_its_reason() {
    let server = Server::start(|options| options.init_timeout(Duration::from_secs(2))).await;
    for (path, name, status, error) in [
        ("/socket/demo", "nobody", 400, json!({ "error": "bad_request", "detail": "no name" })),
        (
            "/socket/demo",
            "impostor",
            401,
            json!({ "error": "unauthorized", "detail": "wrong_credentials" }),
        ),
        ("/socket/demo", "endless", 503, json!({ "error": "timeout" })),
        ("/socket/demo", "explosive", 500, json!({ "error": "internal" })),
        ("/socket/demo", "bomb", 500, json!({ "error": "internal" })),
        ("/socket/unknown", "somebody", 404, json!({ "error": "no_such_room" })),
        ("/socket/unknown", "impostor", 404, json!({ "error": "no_such_room" })),
        ("/socket/unknown", "nobody", 400, json!({ "error": "bad_request", "detail": "no name" })),
    ] {
        assert_eq!(
            server.refusal(path, &[("name", name)]).await,
            (status, error),
            "{path} as {name}"
        );
    }
    assert_eq!(server.counters.get(Count::Panicked), 2);
    server.join().await;
}

#[actix::test]
async fn with_auth_first_a_stranger_learns_nothing_about_rooms() {
    let server = Server::start(|options| options.auth_first(true)).await;
    let answer = server.refusal("/socket/demo", &[("name", "impostor")]).await;

    for room in ["unknown", "other", "demo2"] {
        let path = format!("/socket/{room}");
        assert_eq!(server.refusal(&path, &[("name", "impostor")]).await, answer, "{room}");
    }
    assert_eq!(answer.0, 401);
    assert_eq!(server.refusal("/socket/unknown", &[]).await.0, 404, "one who is known may know");
}

#[actix::test]
async fn names_that_no_room_can_have_are_refused() {
    let server = Server::start(|options| options).await;
    let long = "x".repeat(257);
    for room in ["%00", "a%0D%0Ab", "..%2F..%2Fetc", "%2E%2E", "%F0%9F%98%80", &long] {
        assert_eq!(server.refusal(&format!("/socket/{room}"), &[]).await.0, 400, "{room}");
    }
}

#[actix::test]
async fn a_refused_peer_is_told_why_and_closed() {
    let server = Server::start(|options| options).await;

    let mut client = server.connect(&[("name", "unwelcome")]).await.unwrap();

    assert_eq!(client.expect_error("Could not join room").await, "not_you");
    client.expect_close(1000).await;
}

#[actix::test]
async fn pages_of_other_origins_are_refused() {
    let same = Server::start(|options| options).await;
    let host = format!("http://{}", same.address);
    same.connect(&[("origin", &host)]).await.unwrap();
    for origin in ["null", "http://127.0.0.1", "http://evil.example", "https://evil.127.0.0.1"] {
        assert_eq!(same.refusal("/socket/demo", &[("origin", origin)]).await.0, 403, "{origin}");
    }
    let list = Server::start(|options| options.origin_list(["https://a.example"])).await;
    list.connect(&[("origin", "https://A.example")]).await.unwrap();
    assert_eq!(list.refusal("/socket/demo", &[("origin", "http://a.example")]).await.0, 403);
    let any = Server::start(|options| options.origins(Origins::Any)).await;
    any.connect(&[("origin", "null")]).await.unwrap();
    assert_eq!(same.counters.get(Count::ForeignOrigin), 4);
}

#[actix::test]
async fn the_first_protocol_that_both_speak_is_agreed_on() {
    let server =
        Server::start(|options| options.protocols(&["callboard.v1", "callboard.v2"])).await;

    let client = server
        .connect(&[("sec-websocket-protocol", "other, callboard.v2, callboard.v1")])
        .await
        .unwrap();

    assert_eq!(client.protocol.as_deref(), Some("callboard.v2"));
    assert_eq!(server.connect(&[]).await.unwrap().protocol, None);
}

#[actix::test]
async fn connections_are_limited_in_all_and_from_one_address() {
    for server in Server::start_both(|options| options.max_connections_per_address(1)).await {
        let (first, _) = server.join().await;
        assert_eq!(server.refusal("/socket/demo", &[]).await.0, 429);
        drop(first);
        // Its place is free once the server has noticed.
        counted(&server, Count::Ended, 1).await;
        server.join().await;
    }

    for server in Server::start_both(|options| options.max_connections(0)).await {
        assert_eq!(server.refusal("/socket/demo", &[]).await.0, 503);
    }
}

#[actix::test]
async fn a_request_that_asks_for_no_websocket_is_told_to() {
    let server = Server::start(|options| options).await;
    for (headers, status) in [
        ("", "426"),
        ("Upgrade: websocket\r\nConnection: upgrade\r\n", "426"),
        (
            "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: x\r\n",
            "426",
        ),
        ("Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n", "400"),
    ] {
        let mut tcp = TcpStream::connect(&server.address).await.unwrap();
        let request =
            format!("GET /socket/demo HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
        let request = if headers.is_empty() {
            request
        } else {
            request.replacen("Connection: close\r\n", "", 1)
        };
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        tcp.read_exact(&mut line).await.unwrap();
        assert_eq!(std::str::from_utf8(&line[9..]).unwrap(), status, "{headers}");
    }
}

#[actix::test]
async fn both_paths_lead_to_the_same_room() {
    let server = Server::start(|options| options).await;
    let (mut here, _) = server.join().await;

    let mut there = server.connect_to("/webrtc/demo", &[]).await.unwrap();

    assert_eq!(there.expect("authenticated").await["peers"], json!([here.id]));
    here.expect("joined").await;
}

#[actix::test]
async fn a_room_is_opened_on_demand_only_for_clients_that_are_admitted() {
    let rooms = Rooms::builder()
        .on_demand(|name| {
            let options = RoomOptions::<TestRoom>::new(name, ()).close_when_empty(true);
            name.starts_with("open-").then(|| options.into())
        })
        .build();
    let server = Server::start_with(rooms, |options| options).await;

    assert_eq!(server.refusal("/socket/open-1", &[("name", "impostor")]).await.0, 401);
    assert_eq!(server.refusal("/socket/shut-1", &[]).await.0, 404);
    assert!(server.rooms.lookup("open-1").is_none(), "a stranger opens no room");

    let mut client = server.connect_to("/socket/open-1", &[]).await.unwrap();
    client.expect("authenticated").await;
    assert!(server.rooms.lookup("open-1").is_some());
    drop(client);
    eventually("the room is closed", || server.rooms.lookup("open-1").is_none()).await;
}

/// That a client does not come back is its own decision.
#[actix::test]
async fn a_room_that_was_closed_is_opened_again_until_the_application_says_no() {
    let forbidden = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&forbidden);
    let rooms = Rooms::builder()
        .on_demand(move |name| {
            let options = RoomOptions::<TestRoom>::new(name, ());
            (!asked.load(Ordering::Relaxed)).then(|| options.into())
        })
        .build();
    let server = Server::start_with(rooms, |options| options).await;
    for again in [false, true] {
        let mut client = server.connect_to("/socket/open-1", &[]).await.expect("let in");
        client.expect("authenticated").await;
        forbidden.store(again, Ordering::Relaxed);
        server.rooms.lookup("open-1").expect("it is open").stop("over").await;
        assert_eq!(client.expect_error("Room closed").await, "over");
        client.expect_close(1000).await;
    }
    assert_eq!(server.refusal("/socket/open-1", &[]).await.0, 404);
}

#[actix::test]
async fn who_comes_while_a_room_is_closing_finds_a_new_one() {
    let rooms = Rooms::builder()
        .on_demand(|name| {
            let options = RoomOptions::<TestRoom>::new(name, ()).close_when_empty(true);
            name.starts_with("open-").then(|| options.into())
        })
        .build();
    let server =
        Server::start_with(rooms, |options| options.rooms_per_minute_per_address(1_000)).await;

    for _ in 0..50 {
        let mut client = server.connect_to("/socket/open-1", &[]).await.expect("never refused");
        client.expect("authenticated").await;
        drop(client);
    }
}

#[actix::test]
async fn a_room_in_a_registry_of_its_own_is_opened_once_and_not_found() {
    let own: Arc<dyn RoomRegistry> = Arc::new(LocalRegistry::default());
    let elsewhere = Arc::clone(&own);
    let rooms = Rooms::builder()
        .on_demand(move |name| {
            let options = RoomOptions::<TestRoom>::new(name, ());
            Some(options.registry(Arc::clone(&elsewhere)).into())
        })
        .build();
    let server = Server::start_with(rooms, |options| options).await;
    let mut client = server.connect_to("/socket/hidden", &[]).await.expect("let in");
    client.expect("authenticated").await;

    let refused = server.refusal("/socket/hidden", &[]).await;

    assert_eq!(refused, (503, json!({ "error": "room_unavailable" })));
    assert_eq!(own.names(), ["hidden"]);
}

/// Creates rooms: all but the two of each server are opened on demand, up to this number.
fn rooms_on_demand(max: usize) -> Rooms {
    let open = |name: &str| {
        let options = RoomOptions::<TestRoom>::new(name, ()).close_when_empty(true);
        Some(options.into())
    };
    Rooms::builder().on_demand(open).max_on_demand(max).build()
}

/// Expects a refusal with this status for too many rooms; returns the seconds after which to try again.
async fn too_many_rooms(
    server: &Server,
    room: &str,
    headers: &[(&'static str, &str)],
    status: u16,
) -> u64 {
    let path = format!("/socket/{room}");
    let refused = server.refusal(&path, headers).await;
    assert_eq!(refused, (status, json!({ "error": "too_many_rooms" })));
    match server.connect_to(&path, headers).await {
        Err(Error::Http(response)) => {
            response.headers()["retry-after"].to_str().unwrap().parse().expect("seconds")
        }
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn one_address_does_not_take_all_rooms() {
    for server in Server::start_both_with(
        || rooms_on_demand(3),
        |options| options.trusted_proxies("127.0.0.1".parse().unwrap()).max_rooms_per_address(2),
    )
    .await
    {
        let from = |address: &'static str| [("x-forwarded-for", address)];
        let (a, b, c) = (from("192.0.2.1"), from("2001:db8::1"), from("2001:db8:0:1::1"));
        let enter = async |room: &str, from| {
            let mut client =
                server.connect_to(&format!("/socket/{room}"), from).await.expect("let in");
            client.expect("authenticated").await;
            client
        };

        let (first, _second) = (enter("1", &a).await, enter("2", &a).await);
        assert_eq!(too_many_rooms(&server, "3", &a, 429).await, 10);
        let _guest = enter("2", &a).await;
        let _third = enter("3", &b).await;
        assert_eq!(too_many_rooms(&server, "4", &c, 503).await, 10);
        let _guest = enter("3", &c).await;

        // The place of a room is free when it is closed, and its opener may open another one.
        drop(first);
        eventually("the room is closed", || server.rooms.lookup("1").is_none()).await;
        enter("4", &a).await;
    }
}

#[actix::test]
async fn a_crowd_for_a_room_that_is_not_open_yet_opens_one() {
    for server in Server::start_both_with(
        || rooms_on_demand(1),
        |options| options.rooms_per_minute_per_address(1),
    )
    .await
    {
        let crowd = (0..40).map(|_| server.connect_to("/socket/new", &[]));
        for client in futures_util::future::join_all(crowd).await {
            client.expect("let in");
        }
    }
}

#[actix::test]
async fn one_address_opens_so_many_rooms_in_a_minute() {
    for server in Server::start_both_with(
        || rooms_on_demand(9),
        |options| options.rooms_per_minute_per_address(2),
    )
    .await
    {
        for room in ["1", "2"] {
            drop(server.connect_to(&format!("/socket/{room}"), &[]).await.expect("let in"));
            eventually("the room is closed", || server.rooms.lookup(room).is_none()).await;
        }
        let wait = too_many_rooms(&server, "3", &[], 429).await;
        assert!((1..=60).contains(&wait), "{wait} s");
    }
}
