//! Clients that their server sends to another address: nothing is lost, nothing comes twice.

mod common;

use callboard_client::{Client, ClientEvent, ClientState, MoveFailure, Recipients};
use callboard_signaling::Count;
use common::{Cable, Server, eventually, join, next, within};
use serde_json::json;

/// Lets the client be moved.
fn order(client: &Client, to: &str, resume: bool) {
    client.send(Recipients::All, "move_me", json!({ "url": to, "resume": resume })).unwrap();
}

/// Sends numbers in both directions while the client moves; returns what each of them has heard, in order.
async fn talk(client: &mut Client, other: &mut Client, to: &str) -> [Vec<ClientEvent>; 2] {
    let (mut heard, mut heard_by_other) = (Vec::new(), Vec::new());
    for number in 0..300 {
        if number == 100 {
            order(client, to, true);
        }
        client.send(Recipients::All, "up", number).unwrap();
        other.send(Recipients::All, "down", number).unwrap();
        if number % 10 == 0 {
            client.flush().await;
            other.flush().await;
        }
        heard.extend(std::iter::from_fn(|| client.try_next_event()));
        heard_by_other.extend(std::iter::from_fn(|| other.try_next_event()));
    }
    let is_last = |event: &ClientEvent| matches!(event, ClientEvent::Message(it) if it.data == 299);
    while !heard.iter().any(is_last) || !heard.iter().any(is_move) {
        heard.push(within(client.next_event()).await.expect("it runs"));
    }
    while !heard_by_other.iter().any(is_last) {
        heard_by_other.push(within(other.next_event()).await.expect("it runs"));
    }
    [heard, heard_by_other]
}

fn is_move(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Moved { .. } | ClientEvent::MoveFailed(_))
}

/// Returns the numbers that have come, and the events that are no messages.
fn numbers(heard: Vec<ClientEvent>) -> (Vec<u64>, Vec<ClientEvent>) {
    let (messages, others) =
        heard.into_iter().partition(|it| matches!(it, ClientEvent::Message(_)));
    let messages: Vec<ClientEvent> = messages;
    let number = |event| match event {
        ClientEvent::Message(message) => message.data.as_u64().expect("a number"),
        other => panic!("{other:?}"),
    };
    (messages.into_iter().map(number).collect(), others)
}

#[actix_web::test]
async fn a_session_moves_to_another_address_unnoticed() {
    let server = Server::with_grace().await;
    let (here, there) = (Cable::to(server.address).await, Cable::to(server.address).await);
    let mut other = server.join().await;
    let mut client = join(here.address).await;
    let id = client.peer_id();
    next(&mut other).await;
    let (from, to) = (common::url(here.address), common::url(there.address));

    let [heard, heard_by_other] = talk(&mut client, &mut other, &to).await;

    let all: Vec<u64> = (0..300).collect();
    let (down, events) = numbers(heard);
    assert_eq!((down, events), (all.clone(), vec![ClientEvent::Moved { from, to: to.clone() }]));
    assert_eq!(numbers(heard_by_other), (all, vec![]));
    assert_eq!((client.peer_id(), client.state()), (id, ClientState::Open));
    // It is there, and comes back to there.
    there.cut();
    assert_eq!(next(&mut client).await, ClientEvent::Resumed);
    assert_eq!((here.opened(), there.opened()), (1, 2));
    // That address is gone: it comes back over the first one.
    there.unplug();
    assert_eq!(next(&mut client).await, ClientEvent::Resumed);
    let back = ClientEvent::Moved { from: to, to: common::url(here.address) };
    assert_eq!(next(&mut client).await, back);
}

#[actix_web::test]
async fn a_client_that_does_not_get_there_stays_and_loses_nothing() {
    let server = Server::with_grace().await;
    let nowhere = Cable::to(server.address).await;
    nowhere.unplug();
    let mut other = server.join().await;
    let mut client = server.join().await;
    next(&mut other).await;

    let [heard, heard_by_other] =
        talk(&mut client, &mut other, &common::url(nowhere.address)).await;

    let all: Vec<u64> = (0..300).collect();
    let (down, events) = numbers(heard);
    assert_eq!(down, all);
    assert!(matches!(*events, [ClientEvent::MoveFailed(MoveFailure::Lost(_))]), "{events:?}");
    assert_eq!(numbers(heard_by_other), (all, vec![]));
}

#[actix_web::test]
async fn a_client_without_a_session_joins_the_same_room_anew_and_hears_all_once() {
    let server = Server::start(|options| options).await;
    let there = Cable::to(server.address).await;
    let mut other = server.join().await;
    let mut client = server.join().await;
    let previous = client.peer_id();
    next(&mut other).await;
    let to = common::url(there.address);

    let mut heard = Vec::new();
    for number in 0..300 {
        if number == 100 {
            order(&client, &to, false);
        }
        other.send(Recipients::All, "down", number).unwrap();
        if number % 10 == 0 {
            other.flush().await;
        }
        heard.extend(std::iter::from_fn(|| client.try_next_event()));
    }
    while !heard.iter().any(is_move) {
        heard.push(within(client.next_event()).await.expect("it runs"));
    }
    let moved = client.peer_id();
    other.send(Recipients::All, "down", 300).unwrap();
    let is_last = |event: &ClientEvent| matches!(event, ClientEvent::Message(it) if it.data == 300);
    while !heard.iter().any(is_last) {
        heard.push(within(client.next_event()).await.expect("it runs"));
    }

    let (down, events) = numbers(heard);
    assert_eq!(down, (0..=300).collect::<Vec<u64>>());
    let rejoined = ClientEvent::Rejoined { peer_id: moved.clone(), previous: previous.clone() };
    assert_eq!(events, [rejoined, ClientEvent::Moved { from: server.url(), to }]);
    let members: Vec<_> = client.peers().into_iter().map(|peer| peer.peer_id).collect();
    assert_eq!(members, [other.peer_id()], "it is not beside itself");
    let ClientEvent::Joined(member) = next(&mut other).await else { panic!("no one joined") };
    assert_eq!(member.peer_id, moved);
    assert_eq!(next(&mut other).await, ClientEvent::Left { peer_id: previous });
}

#[actix_web::test]
async fn a_client_moves_to_another_server_and_leaves_this_one() {
    let [one, two] = [Server::with_grace().await, Server::with_grace().await];
    let mut other = one.join().await;
    let mut there = two.join().await;
    let mut client = one.join().await;
    let previous = client.peer_id();
    next(&mut other).await;

    // Its path is that of the present address.
    order(&client, &format!("ws://{}", two.address), false);

    assert_eq!(next(&mut client).await, ClientEvent::Left { peer_id: other.peer_id() });
    let ClientEvent::Joined(member) = next(&mut client).await else { panic!("no one is there") };
    assert_eq!(member.peer_id, there.peer_id());
    let rejoined = ClientEvent::Rejoined { peer_id: client.peer_id(), previous: previous.clone() };
    assert_eq!(next(&mut client).await, rejoined);
    assert_eq!(next(&mut client).await, ClientEvent::Moved { from: one.url(), to: two.url() });
    assert_eq!(next(&mut other).await, ClientEvent::Left { peer_id: previous });
    assert!(matches!(next(&mut there).await, ClientEvent::Joined(_)));
    // Closed by the client, as one that leaves: it is not waited for.
    eventually("ended", || one.counters.get(Count::Lost) == 0).await;

    // And back to the address that it knows.
    let order = json!({ "resume": false });
    client.send(Recipients::All, "move_me", order).unwrap();
    loop {
        match next(&mut client).await {
            ClientEvent::Moved { from, to } => {
                assert_eq!((from, to), (two.url(), one.url()));
                break;
            }
            ClientEvent::Joined(_) | ClientEvent::Left { .. } | ClientEvent::Rejoined { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
