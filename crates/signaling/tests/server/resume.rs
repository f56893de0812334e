//! A client that loses its connection and comes back.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use callboard_room_supervisor::{OutboxLimits, RoomMessage, To};
use callboard_signaling::{Count, Rate};
use futures_util::future::{join, select};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::common::away::*;
use crate::common::rtc::{RtcClient, webrtc};
use crate::common::{BLOCKED, Server, eventually};

#[actix::test]
async fn one_that_was_cut_off_comes_back_as_who_it_was_and_has_missed_nothing() {
    let server = server().await;
    let (mut bystander, _) = server.join().await;
    let (guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    let id = guest.id.clone();
    lose(&server, guest).await;

    for number in 0..100 {
        bystander.send(json!({ "event": "news", "data": number, "to": [id] })).await;
    }
    settle(&mut bystander).await;
    let (mut guest, next) = server.resume(&token).await;

    assert_eq!(guest.id, id);
    assert_ne!(next, token);
    for number in 0..100 {
        assert_eq!(guest.expect("news").await, number);
    }
    guest.send(json!({ "event": "hello", "to": "all" })).await;
    bystander.expect("hello").await;
    assert_eq!(server.rooms.lookup("demo").unwrap().peers().len(), 2);
}

/// What the server has written into a connection that is dead by then is lost.
#[actix::test]
async fn one_that_has_missed_who_came_and_went_is_told_who_is_there() {
    let server = server().await;
    let (mut leaver, _) = server.join().await;
    let (guest, mut token) = server.join_with_token().await;
    let (mut bystander, _) = server.join().await;
    leaver.frame(Frame::Close(None)).await;
    bystander.expect("left").await;
    server.has_written(&guest).await;
    // It has read of neither.
    lose(&server, guest).await;

    for _ in 0..2 {
        let (mut guest, next) = server.resume(&token).await;
        let members = BTreeSet::from([guest.id.clone(), bystander.id.clone()]);
        assert_eq!(guest.expect_list().await, members.into_iter().collect::<Vec<_>>());
        settle(&mut guest).await;
        // Also one that has missed nothing.
        lose(&server, guest).await;
        token = next;
    }
    bystander.send(json!({ "event": "news", "to": "all" })).await;
    settle(&mut bystander).await;
    bystander.frame(Frame::Close(None)).await;
    let room = server.rooms.lookup("demo").unwrap();
    eventually("it has left", || room.len() == 1).await;

    // What waits comes before.
    let (mut guest, _) = server.resume(&token).await;
    for event in ["news", "left"] {
        guest.expect(event).await;
    }
    assert_eq!(guest.expect_list().await, [guest.id.clone()]);
}

/// Neither the room of the URL nor what it holds of credentials is read.
#[actix::test]
async fn a_token_leads_to_its_own_room_even_if_another_is_asked_for() {
    let server = server().await;
    let (guest, token) = server.join_with_token().await;
    let id = guest.id.clone();
    lose(&server, guest).await;

    let path = format!("/socket/other?resume={token}");
    let mut guest = server.connect_to(&path, &[("name", "nobody")]).await.expect("let in");

    assert_eq!(guest.expect("resumed").await["peer_id"], id.as_str());
    let members = |room: &str| server.rooms.lookup(room).unwrap().peers().len();
    assert_eq!((members("demo"), members("other")), (1, 0));
}

#[actix::test]
async fn what_both_say_of_resumption_is_as_written() {
    let server = Server::start(|options| options.resume_grace(Duration::from_millis(90_500))).await;

    let mut client = server.connect(&[]).await.unwrap();
    let data = client.expect("authenticated").await;

    let fields: Vec<_> = data.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["peer_id", "peers", "resume"]);
    assert_eq!(data["resume"]["grace_ms"], 90_500);
    let token = data["resume"]["token"].as_str().unwrap();
    let url_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    assert!(token.len() >= 22 && token.chars().all(url_safe), "128 bits or more: {token}");
    let mut client = server.connect_to(&format!("/socket/demo?resume={token}"), &[]).await.unwrap();
    let message = client.message().await;
    let next = message["data"]["resume"]["token"].as_str().unwrap();
    let resume = json!({ "token": next, "grace_ms": 90_500 });
    assert_eq!(
        message,
        json!({
            "event": "resumed",
            "data": { "peer_id": data["peer_id"], "resume": resume },
            "from": null,
            "to": [data["peer_id"]],
        })
    );
}

#[actix::test]
async fn a_token_that_is_wrong_or_used_is_refused() {
    let server = server().await;
    let (guest, token) = server.join_with_token().await;
    lose(&server, guest).await;
    let path = |token: &str| format!("/socket/demo?resume={token}");

    for wrong in ["", "x", &token[1..], &token.to_ascii_uppercase(), &"A".repeat(10_000)] {
        assert_eq!(server.refusal(&path(wrong), &[]).await, CANNOT(), "{wrong}");
    }
    let origin = [("origin", "https://evil.example")];
    assert_eq!(server.refusal(&path(&token), &origin).await.0, 403);
    let (mut guest, next) = server.resume(&token).await;
    settle(&mut guest).await;
    lose(&server, guest).await;

    assert_eq!(server.refusal(&path(&token), &[]).await, CANNOT(), "used");
    server.resume(&next).await;
    assert_eq!(server.counters.get(Count::CannotResume), 6);
}

#[actix::test]
async fn one_that_is_lost_before_it_has_read_its_new_token_comes_back_with_the_old_one() {
    let server = server().await;
    let (guest, token) = server.join_with_token().await;
    let id = guest.id.clone();
    lose(&server, guest).await;

    for _ in 0..2 {
        let path = format!("/socket/demo?resume={token}");
        // It reads nothing.
        lose(&server, server.connect_to(&path, &[]).await.expect("a socket")).await;
    }
    let (mut guest, next) = server.resume(&token).await;
    assert_eq!(guest.id, id);
    settle(&mut guest).await;
    lose(&server, guest).await;
    assert_eq!(server.refusal(&format!("/socket/demo?resume={token}"), &[]).await, CANNOT());
    server.resume(&next).await;
}

#[actix::test]
async fn of_two_that_come_with_one_token_one_is_let_in() {
    let server = server().await;
    let (guest, mut token) = server.join_with_token().await;
    let id = guest.id.clone();
    lose(&server, guest).await;

    for _ in 0..20 {
        let path = format!("/socket/demo?resume={token}");
        let both = join(server.connect_to(&path, &[]), server.connect_to(&path, &[])).await;

        let ((Ok(mut winner), Err(_)) | (Err(_), Ok(mut winner))) = both else {
            panic!("{both:?}");
        };
        let data = winner.expect("resumed").await;
        assert_eq!(data["peer_id"], id.as_str());
        token = data["resume"]["token"].as_str().unwrap().to_owned();
        lose(&server, winner).await;
    }
    assert_eq!(server.counters.get(Count::CannotResume), 20);
}

#[actix::test]
async fn a_connection_that_is_still_there_is_taken_over() {
    let server = server().await;
    let (mut bystander, _) = server.join().await;
    let (mut old, token) = server.join_with_token().await;
    bystander.expect("joined").await;

    let (mut new, _) = server.resume(&token).await;

    assert_eq!(new.id, old.id);
    old.expect_close(1000).await;
    counted(&server, Count::Ended, 1).await;
    bystander.send(json!({ "event": "news", "to": [new.id] })).await;
    new.expect("news").await;
    new.send(json!({ "event": "hello", "to": "all" })).await;
    bystander.expect("hello").await;
    assert_eq!(server.counters.get(Count::Lost), 0);
}

#[actix::test]
async fn what_a_blocked_connection_has_not_taken_goes_to_the_next_and_it_is_cut() {
    const LAST: u64 = 399;
    let limits = OutboxLimits { messages: 1_000, bytes: 64 << 20 };
    let server = Server::start(|options| {
        let options = options.resume_grace(GRACE).outbox(limits).rate(Rate::UNLIMITED);
        options.close_grace(Duration::from_millis(50))
    })
    .await;
    let (mut bystander, _) = server.join().await;
    // It reads nothing, and the system's buffers hold less than is sent.
    let (mut old, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    let room = server.rooms.lookup("demo").unwrap();
    for number in 0..=LAST {
        let data = json!({ "number": number, "padding": "x".repeat(50_000) });
        let news =
            RoomMessage::new("news", &data).unwrap().to(To::Peers(vec![old.id.parse().unwrap()]));
        room.forward_message(news).await.unwrap();
    }

    let (mut new, _) = server.resume(&token).await;

    let first = new.expect("news").await["number"].as_u64().unwrap();
    assert!(first > 0, "the system has taken some");
    for number in first + 1..=LAST {
        assert_eq!(new.expect("news").await["number"], number);
    }
    counted(&server, Count::Cut, 1).await;
    counted(&server, Count::Ended, 1).await;
    let mut read = 0;
    while let Some(frame) = old.next().await {
        let Ok(text) = frame.into_text() else { break };
        let Ok(message) = serde_json::from_str::<Value>(&text) else { break };
        assert_eq!(message["data"]["number"], read);
        read += 1;
    }
    assert!((1..=first).contains(&read), "{read} by the old one, from {first} on by the new one");
    assert!(first - read < 5, "{} were on their way", first - read);
    settle(&mut bystander).await;
}

#[actix::test]
async fn a_silent_client_is_cut_off_and_may_come_back() {
    let server = Server::start(|options| {
        options.resume_grace(GRACE).heartbeat(Some(Duration::from_secs(1)))
    })
    .await;
    // It answers no ping because it is never polled.
    let (mute, token) = server.join_with_token().await;
    counted(&server, Count::Silent, 1).await;
    counted(&server, Count::Lost, 1).await;

    let (mut guest, _) = server.resume(&token).await;

    assert_eq!(guest.id, mute.id);
    settle(&mut guest).await;
}

#[actix::test]
async fn a_lost_connection_still_counts_and_its_client_needs_no_second_place() {
    let server = Server::start(|options| options.resume_grace(GRACE).max_connections(1)).await;
    let (guest, token) = server.join_with_token().await;
    lose(&server, guest).await;
    counted(&server, Count::Ended, 1).await;

    assert_eq!(server.refusal("/socket/demo", &[]).await.0, 503);
    let (mut guest, _) = server.resume(&token).await;
    assert_eq!(server.refusal("/socket/demo", &[]).await.0, 503);

    guest.socket.close(None).await.unwrap();
    counted(&server, Count::Ended, 2).await;
    server.join().await;
}

#[actix::test]
async fn the_new_connection_may_be_on_another_thread_than_the_peer() {
    let server = Server::start(|options| options.resume_grace(GRACE).rate(Rate::UNLIMITED)).await;
    let (mut guest, mut token) = server.join_with_token().await;
    let pool = guest.worker.clone();

    for crossing in 0..5 {
        loop {
            lose(&server, guest).await;
            (guest, token) = server.resume(&token).await;
            if guest.worker != pool {
                break;
            }
        }
        for number in 0..200 {
            guest.send(json!({ "event": "echo", "data": number, "to": [guest.id] })).await;
        }
        for number in 0..200 {
            assert_eq!(guest.expect("echo").await, number, "{crossing}");
        }
        // More than may be in flight from one thread to the other.
        for _ in 0..5_000 {
            guest.send(json!({ "event": "swallow", "to": "all" })).await;
        }
        settle(&mut guest).await;
    }
    assert_eq!(server.counters.get(Count::TooMany), 0);
}

/// More messages than are held for a client that has not joined: `callboard.js` keeps up to 256 for such a moment.
#[actix::test]
async fn what_comes_before_the_peer_has_heard_of_the_new_connection_waits() {
    let server = Server::start(|options| options.resume_grace(GRACE)).await;
    let (guest, token) = server.join_with_token().await;
    let (mut blocker, _) = server.join().await;
    while blocker.worker != guest.worker {
        (blocker, _) = server.join().await;
    }
    lose(&server, guest).await;
    blocker.send(json!({ "event": "block", "to": "all" })).await;
    eventually("the peer's thread is blocked", || BLOCKED.load(Ordering::Relaxed)).await;

    // One of them is served by the thread that is not blocked.
    let path = format!("/socket/demo?resume={token}");
    let (one, other) = (server.connect_to(&path, &[]), server.connect_to(&path, &[]));
    let (resumed, _late) = select(pin!(one), pin!(other)).await.factor_first();
    let mut guest = resumed.expect("let in");
    guest.id = guest.expect("resumed").await["peer_id"].as_str().expect("an id").to_owned();
    for number in 0..200 {
        guest.send(json!({ "event": "echo", "data": number, "to": [guest.id] })).await;
    }
    // It may hear of blockers that have come and gone.
    let is_of_members = |frame: &Frame| {
        let Frame::Text(text) = frame else { return false };
        ["joined", "left", "room_members"]
            .iter()
            .any(|event| text.contains(&format!(r#""event":"{event}""#)))
    };
    let closed = async {
        loop {
            let frame = guest.next().await;
            if !frame.as_ref().is_some_and(is_of_members) {
                return frame;
            }
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(1), closed).await;
    assert!(closed.is_err(), "{closed:?} while its peer is busy");
    BLOCKED.store(false, Ordering::Relaxed);

    let mut echoes = 0;
    while echoes < 200 {
        let message = guest.message().await;
        if message["event"] == "echo" {
            assert_eq!(message["data"], echoes);
            echoes += 1;
        }
    }
}

#[actix::test]
async fn a_data_channel_goes_on_while_its_client_has_no_websocket() {
    let webrtc = webrtc().await;
    let server = Server::start(|options| options.resume_grace(GRACE).webrtc(webrtc)).await;
    let mut client = RtcClient::join(&server).await;
    let token = client.token.clone().expect("there is a grace");
    let chat = client.open("chat").await;
    client.until("connected", |client| client.in_state("connected")).await;

    for number in 0..100 {
        client.say(chat, &number.to_string()).await;
        if number == 50 {
            client.cut().await;
        }
    }
    counted(&server, Count::Lost, 1).await;
    client.until("echoes", |client| client.texts(chat).count() == 100).await;
    assert!(client.texts(chat).map(str::to_owned).eq((0..100).map(|number| number.to_string())));

    let (ws, _) = server.resume(&token).await;
    assert_eq!(ws.id, client.ws.id);
    client.come_back(ws);
    let more = client.open("more").await;
    client.say(more, "hello").await;
    client.until("echo", |client| client.texts(more).any(|text| text == "hello")).await;
    client.say(chat, "still here").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "still here")).await;
}
