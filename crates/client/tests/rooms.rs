//! Clients of a real server: they join, see each other, exchange messages, and leave.

mod common;

use callboard_client::{Client, ClientEvent, ClientState, Recipients, SendMessageError};
use common::{Cable, Server, join, message, next, options, within};
use serde_json::json;

#[actix_web::test]
async fn two_clients_see_each_other() {
    let server = Server::start(|options| options).await;
    let mut one = server.join().await;
    let mut two = server.join().await;

    let ClientEvent::Joined(member) = next(&mut one).await else { panic!() };
    assert_eq!(member.peer_id, two.peer_id());
    assert_eq!(one.peers()[0].peer_id, two.peer_id());
    assert_eq!(two.peers()[0].peer_id, one.peer_id());

    one.send(Recipients::All, "chat", "hello").unwrap();
    let received = message(&mut two).await;
    assert_eq!((&*received.event, &received.data), ("chat", &json!("hello")));
    assert_eq!((received.from, received.to), (Some(one.peer_id()), Recipients::All));
    two.send(one.peer_id(), "offer", json!({ "sdp": "…" })).unwrap();
    let received = message(&mut one).await;
    assert_eq!((received.data, received.from), (json!({ "sdp": "…" }), Some(two.peer_id())));
    assert_eq!(received.to, Recipients::from(one.peer_id()));
    two.send("nobody", "offer", ()).unwrap();
    let ClientEvent::Error(error) = next(&mut two).await else { panic!() };
    assert_eq!(error.code, "invalid_message");

    two.close().await;
    let ClientEvent::State(change) = next(&mut two).await else { panic!() };
    assert_eq!((change.state, change.code), (ClientState::Closed, None));
    assert_eq!(within(two.next_event()).await, None);
    assert_eq!(two.send(Recipients::All, "chat", ()), Err(SendMessageError::Closed));
    assert_eq!(next(&mut one).await, ClientEvent::Left { peer_id: two.peer_id() });
    assert_eq!(one.peers(), []);
}

#[actix_web::test]
async fn a_client_leaves_when_all_its_handles_are_dropped() {
    let server = Server::with_grace().await;
    let mut bystander = server.join().await;
    let client = server.join().await;
    next(&mut bystander).await;
    let (peer_id, handle) = (client.peer_id(), client.handle());

    drop(client);
    handle.send(Recipients::All, "chat", "still here").unwrap();
    assert_eq!(message(&mut bystander).await.data, "still here");
    drop(handle);

    // At once, although the server would have waited for it.
    assert_eq!(next(&mut bystander).await, ClientEvent::Left { peer_id });
}

#[actix_web::test]
async fn a_thousand_messages_come_in_order() {
    let server = Server::start(|options| options).await;
    let mut one = server.join().await;
    let two = server.join().await;
    next(&mut one).await;

    let padding = "x".repeat(2_000);
    for number in 0..1_000 {
        let data = json!([number, padding]);
        while let Err(error) = two.send(Recipients::All, "count", &data) {
            assert_eq!(error, SendMessageError::QueueFull);
            two.flush().await;
        }
    }
    for number in 0..1_000 {
        assert_eq!(message(&mut one).await.data[0], number);
    }
}

#[actix_web::test]
async fn an_application_that_takes_its_time_misses_nothing() {
    let server = Server::start(|options| options).await;
    let mut slow = Client::connect(&server.url(), options().events(1)).await.expect("let in");
    let fast = server.join().await;
    next(&mut slow).await;

    for number in 0..200 {
        fast.send(Recipients::All, "count", number).unwrap();
    }
    fast.flush().await;
    // Nothing is read now but what it has room for; calls and messages still go out.
    slow.send(fast.peer_id(), "still", "here").unwrap();
    within(slow.flush()).await;

    for number in 0..200 {
        assert_eq!(message(&mut slow).await.data, number);
    }
    assert_eq!(slow.state(), ClientState::Open);
}

#[actix_web::test]
async fn a_client_runs_on_any_runtime_of_tokio() {
    let server = Server::with_grace().await;
    let cable = Cable::to(server.address).await;
    let mut here = server.join().await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let address = cable.address;

    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut there = join(address).await;
            _ = tell.send(there.peer_id());
            let received = message(&mut there).await;
            there.send(received.from.unwrap(), "pong", ()).unwrap();
            assert_eq!(next(&mut there).await, ClientEvent::Resumed);
            there.close().await;
        });
    });

    let peer_id = within(told).await.unwrap();
    next(&mut here).await;
    here.send(peer_id.clone(), "ping", ()).unwrap();
    assert_eq!(message(&mut here).await.event, "pong");
    cable.cut();
    assert_eq!(next(&mut here).await, ClientEvent::Left { peer_id });
    thread.join().unwrap();
}

#[actix_web::test]
async fn a_room_that_fails_and_restarts_is_reported() {
    let server = Server::start(|options| options).await;
    let mut one = server.join().await;
    let two = server.join().await;
    next(&mut one).await;

    two.send(Recipients::All, "explode_room", ()).unwrap();

    assert_eq!(next(&mut one).await, ClientEvent::RoomRestarted);
    assert_eq!(one.peers()[0].peer_id, two.peer_id());
}

#[actix_web::test]
async fn a_client_that_is_closed_by_the_application_stays_away() {
    let server = Server::with_grace().await;
    let mut client = server.join().await;

    client.send(Recipients::All, "kick_me", ()).unwrap();

    let ClientEvent::State(change) = next(&mut client).await else { panic!() };
    let expected = (ClientState::Closed, Some(4001), "kicked out");
    assert_eq!((change.state, change.code, &*change.reason), expected);
    assert_eq!(within(client.next_event()).await, None);
    within(client.close()).await;
}

#[actix_web::test]
async fn a_connection_attempt_that_is_given_up_leaves_nothing_behind() {
    let server = Server::start(|options| options).await;
    let undecided = options().header("name", "undecided");
    let url = server.url();
    let attempt = Client::connect(&url, undecided);
    let opened = || server.counters.get(callboard_signaling::Count::Opened) == 1;
    tokio::select! {
        joined = attempt => panic!("{joined:?}"),
        () = common::eventually("opened", opened) => {}
    }

    let ended = || server.counters.get(callboard_signaling::Count::Ended) == 1;
    common::eventually("ended", ended).await;
}
