//! Rooms that another node runs: whole conversations over three nodes.

mod blocked;
#[path = "../common/mod.rs"]
mod common;
mod dying;
mod gathering;
mod lists;
mod moving;
mod moving_fails;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use callboard_cluster::WireFaults;
use callboard_room_supervisor::*;
use common::Client;
use common::nodes::{Node, until, within};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use world::{Book, Hall, World, expect_closed, join, say};

#[actix::test]
async fn clients_of_three_nodes_talk_in_one_room() {
    let world = World::new().await;
    let [a, b, c] = world.open("demo").await;
    let (mut ann, _) = join(&a, "ann").await;
    let (mut bob, welcome) = join(&b, "bob").await;
    assert_eq!(welcome, json!({ "peer_id": bob.id, "peers": [ann.id] }));
    assert_eq!(ann.expect("joined").await["peer_id"], json!(bob.id));
    let (mut cid, welcome) = join(&c, "cid").await;
    assert_eq!(welcome["peers"].as_array().unwrap().len(), 2);
    assert_eq!(ann.expect("joined").await["peer_id"], json!(cid.id));
    assert_eq!(bob.expect("joined").await["peer_id"], json!(cid.id));

    say(&bob, "hello", &json!({ "to": "all" }), To::All).unwrap();
    for client in [&mut ann, &mut cid] {
        let (event, message) = client.event().await;
        assert_eq!((event.as_str(), &message["from"]), ("hello", &json!(bob.id)));
        assert_eq!(message["data"], json!({ "to": "all" }));
    }
    say(&cid, "hello", &json!(1), vec![bob.id, ann.id]).unwrap();
    assert_eq!((bob.expect("hello").await, ann.expect("hello").await), (json!(1), json!(1)));
    say(&ann, "hello", &json!(2), To::All).unwrap();
    assert_eq!((bob.expect("hello").await, cid.expect("hello").await), (json!(2), json!(2)));

    let counts = |node: &Node| {
        let counts = node.rooms.count_by_place().unwrap();
        (counts.home, counts.away, counts.shut)
    };
    assert_eq!([&world.a1, &world.b2].map(counts), [(1, 0, 0), (0, 1, 0)]);

    // All of the list or none.
    let stranger = PeerId::random();
    say(&bob, "hello", &json!(3), vec![ann.id, stranger]).unwrap();
    let error = bob.expect("error").await;
    assert_eq!(error, json!({ "description": "No such peer", "details": [stranger] }));
    say(&bob, "secret", &json!(4), To::All).unwrap();
    say(&bob, "hello", &json!(5), To::All).unwrap();
    assert_eq!((ann.expect("hello").await, cid.expect("hello").await), (json!(5), json!(5)));

    bob.leave();
    assert_eq!(ann.expect("left").await["peer_id"], json!(bob.id));
    assert_eq!(cid.expect("left").await["peer_id"], json!(bob.id));
    within(b.freed()).await;
    assert!(world.b2.rooms.names().is_empty());
    cid.leave();
    assert_eq!(ann.expect("left").await["peer_id"], json!(cid.id));
    assert!(ann.has_read_all());
    assert_eq!(world.book.inits.load(Ordering::SeqCst), 1);
    assert_eq!(world.book.joins.load(Ordering::SeqCst), 3);
    assert_eq!(world.book.leaves.load(Ordering::SeqCst), 2);

    // Once more, over a new link.
    let b = world.b2.open("demo").await;
    let (_bob, welcome) = join(&b, "bob").await;
    assert_eq!(welcome["peers"], json!([ann.id]));
}

/// As deep as JSON can be where it is read: it must not cost the other peers of the node theirs.
#[actix::test]
async fn what_a_client_has_nested_deeply_crosses_and_costs_no_other() {
    let world = World::new().await;
    let [a, b, c] = world.open("demo").await;
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    ann.expect("joined").await;
    let deep = |levels| -> Value {
        let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        serde_json::from_str(&text).unwrap()
    };
    let fields = || Map::from_iter([("deep".to_owned(), deep(126))]);
    let id = PeerId::random();
    let auth = AuthData {
        credentials: fields(),
        metadata: deep(127),
        public: fields().into(),
        ..AuthData::new(id)
    };
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let membership = b.reserve(NewMember::new(auth, outbox)).unwrap();

    within(membership.join()).await.unwrap();

    assert_eq!(a.member(id).unwrap().auth().metadata, deep(127));
    for client in [&mut ann, &mut bob] {
        // Deeper than a test reads.
        let Deliver::Frame(joined) = client.next().await else { panic!("it goes on") };
        assert!(joined.starts_with(r#"{"event":"joined""#), "{joined}");
    }
    until(|| c.member(id).is_some_and(|member| !member.public().is_empty())).await;
    say(&bob, "hello", &json!(1), To::All).unwrap();
    assert_eq!(ann.expect("hello").await, json!(1));
}

/// More than one batch holds, of texts that are hardly longer than their places in it.
#[actix::test]
async fn many_guests_get_many_small_messages() {
    let world = World::new().await;
    let [a, b, _] = world.open("direct").await;
    let mut guests = Vec::new();
    for _ in 0..120 {
        let large = OutboxLimits { messages: 20_000, bytes: 8 << 20 };
        let guest = Client::named(&b, "guest", large);
        within(guest.join()).await.unwrap();
        guests.push(guest);
    }

    for number in 0..3_000 {
        a.broadcast("n", &number).unwrap();
    }

    for guest in &mut guests {
        let mut next = 0;
        while next < 3_000 {
            if let Deliver::Frame(text) = guest.next().await
                && text.starts_with(r#"{"event":"n""#)
            {
                assert!(text.contains(&format!(r#""data":{next},"#)), "{text}, {next}");
                next += 1;
            }
        }
    }
}

/// No one would open it again.
#[actix::test]
async fn a_room_that_is_not_opened_on_demand_stays_open_on_each_node() {
    let world = World::new().await;
    let options = || RoomOptions::<Hall>::new("demo", world.book.clone());
    let home = world.a1.rooms.start_supervised(options()).await.unwrap();
    let away = world.b2.rooms.start_supervised(options()).await.unwrap();
    assert_eq!(away.home().as_ref(), Some(world.a1.cluster.node()));
    let ((mut ann, _), (mut bob, _)) = (join(&home, "ann").await, join(&away, "bob").await);
    ann.expect("joined").await;

    bob.leave();
    ann.expect("left").await;
    let (mut bob, _) = join(&world.b2.rooms.lookup("demo").unwrap(), "bob").await;
    ann.expect("joined").await;

    home.stop("enough").await;
    expect_closed(&mut bob, "enough", 1000).await;
    within(away.freed()).await;
}

#[actix::test]
async fn who_is_rejected_at_home_is_told_so() {
    let world = World::new().await;
    let [_, b, _] = world.open("demo").await;
    let turned_away = Client::named(&b, "nobody", OutboxLimits::default());

    let rejected = within(turned_away.join()).await.unwrap_err();

    let rejection = Rejection::with_details("banned", json!({ "days": 3 }));
    assert_eq!(rejected, JoinError::Rejected(rejection));
    assert!(b.is_empty());
}

#[actix::test]
async fn each_node_shows_all_members_and_reaches_them() {
    let world = World::new().await;
    let [a, b, c] = world.open("demo").await;
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    ann.expect("joined").await;
    for room in [&a, &b, &c] {
        until(|| room.len() == 2).await;
        let mut peers = [ann.id, bob.id];
        peers.sort();
        let mut shown = room.peers();
        shown.sort();
        assert_eq!(shown, peers);
        assert!(room.member(ann.id).is_some() && room.member(PeerId::random()).is_none());
    }
    assert_eq!(b.member(bob.id).unwrap().auth().metadata, "bob");
    assert_eq!(c.member(bob.id).unwrap().auth().metadata, Value::Null, "it is the home's");
    assert!(!b.member(bob.id).unwrap().outbox().is_closed());
    assert_eq!(world.b2.rooms.find_peer(bob.id).unwrap().name(), "demo");

    c.send(To::All, "news", &1).unwrap();
    b.send(ann.id, "news", &2).unwrap();
    a.broadcast("news", &3).unwrap();
    world.a1.rooms.send_to_peer(bob.id, "news", &4).unwrap();
    let news = async |client: &mut Client| {
        let news =
            [client.expect("news").await, client.expect("news").await, client.expect("news").await];
        let mut news = news.map(|news| news.as_u64().unwrap());
        news.sort_unstable();
        news
    };
    assert_eq!(news(&mut ann).await, [1, 2, 3]);
    assert_eq!(news(&mut bob).await, [1, 3, 4]);
    let stranger = PeerId::random();
    let unknown = ForwardError::NoSuchPeer(vec![stranger]);
    assert_eq!(b.send(stranger, "news", &5), Err(SendToMembersError::Forward(unknown)));
    assert_eq!(b.tell::<Hall, ()>(()), Err(TellError::Elsewhere));
    assert_eq!(b.kick(stranger, 4000, ""), Err(KickError::NoSuchPeer));

    c.kick(bob.id, 4000, "enough").unwrap();
    bob.expect_close(CloseFrame::new(4000, "enough").unwrap()).await;
    bob.leave();
    assert_eq!(ann.expect("left").await["peer_id"], json!(bob.id));
    until(|| c.len() == 1).await;
}

#[actix::test]
async fn a_room_is_closed_on_all_nodes() {
    let world = World::new().await;
    for from in [0, 1] {
        let rooms = world.open("demo").await;
        let ((mut ann, _), (mut bob, _)) =
            (join(&rooms[0], "ann").await, join(&rooms[1], "bob").await);
        let (mut cid, _) = join(&rooms[2], "cid").await;
        ann.expect("joined").await;
        ann.expect("joined").await;
        bob.expect("joined").await;

        within(rooms[from].stop("time is up")).await;

        for client in [&mut ann, &mut bob, &mut cid] {
            expect_closed(client, "time is up", 1000).await;
            client.leave();
        }
        join_all(rooms.iter().map(|room| within(room.freed()))).await;
    }
    assert_eq!(world.book.inits.load(Ordering::SeqCst), 2);
}

#[actix::test]
async fn peers_of_a_node_that_is_stopped_leave() {
    let World { a1, b2, c3, book, wire: _wire, directory: _directory } = World::new().await;
    let (a, b, c) = (a1.open("demo").await, b2.open("demo").await, c3.open("demo").await);
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    let (mut cid, _) = join(&c, "cid").await;
    ann.expect("joined").await;
    ann.expect("joined").await;
    assert_eq!(bob.expect("joined").await["peer_id"], json!(cid.id));

    within(b2.stop()).await;

    expect_closed(&mut bob, "shutdown", 1001).await;
    for client in [&mut ann, &mut cid] {
        assert_eq!(client.expect("left").await["peer_id"], json!(bob.id));
    }
    bob.leave();
    say(&ann, "hello", &json!(1), To::All).unwrap();
    assert_eq!(cid.expect("hello").await, json!(1));
    assert_eq!(book.leaves.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn nodes_that_are_cut_from_each_other_part() {
    let world = World::new().await;
    let [a, b, _] = world.open("demo").await;
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    ann.expect("joined").await;

    let (here, there) = (world.a1.cluster.node(), world.b2.cluster.node());
    world.wire.cut(here, there, true);
    world.wire.cut(there, here, true);

    assert_eq!(ann.expect("left").await["peer_id"], json!(bob.id));
    expect_closed(&mut bob, "elsewhere", 1012).await;
    bob.leave();
    within(b.freed()).await;
    let refused = within(world.b2.rooms.find_or_open("demo")).await.unwrap_err();
    assert!(matches!(refused, StartRoomError::Unavailable { .. }), "{refused}");
    world.wire.cut(here, there, false);
    world.wire.cut(there, here, false);
    let b = world.b2.open("demo").await;
    join(&b, "bob").await;
    ann.expect("joined").await;
}

#[actix::test]
async fn a_room_that_crashes_keeps_its_guests() {
    let world = World::new().await;
    let [a, b, _] = world.open("demo").await;
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    ann.expect("joined").await;

    say(&bob, "crash", &json!(1), To::All).unwrap();

    for client in [&mut ann, &mut bob] {
        let peers = client.expect("room_restarted").await["peers"].clone();
        assert_eq!(peers.as_array().unwrap().len(), 2);
    }
    say(&bob, "hello", &json!(1), To::All).unwrap();
    assert_eq!(ann.expect("hello").await, json!(1));
}

#[actix::test]
async fn guests_count_where_a_room_closes_when_it_is_empty() {
    let world = World::new().await;
    let [a, b, c] = world.open("brief").await;
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    ann.leave();
    bob.expect("left").await;
    assert!(a.is_running());

    bob.leave();

    within(async { (a.freed().await, b.freed().await, c.freed().await) }).await;
    // The next who asks has it.
    assert_eq!(world.c3.open("brief").await.home(), None);
}

#[actix::test]
async fn a_large_message_crosses_too() {
    let world = World::new().await;
    let [a, b, _] = world.open("demo").await;
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    ann.expect("joined").await;
    let large = json!("x".repeat(900 << 10));

    say(&bob, "hello", &large, To::All).unwrap();
    assert_eq!(ann.expect("hello").await, large);
    say(&ann, "hello", &large, To::All).unwrap();
    assert_eq!(bob.expect("hello").await, large);
}

#[actix::test]
async fn a_guest_that_does_not_read_is_closed_and_holds_up_no_other() {
    let world = World::new().await;
    let [a, b, _] = world.open("direct 2").await;
    let (mut ann, _) = join(&a, "ann").await;
    let (mut bob, _) = join(&b, "bob").await;
    ann.expect("joined").await;
    let small = OutboxLimits { messages: 20, bytes: 1 << 20 };
    let slow = Client::named(&b, "slow", small);
    within(slow.join()).await.unwrap();
    ann.expect("joined").await;
    bob.expect("joined").await;

    for number in 0..200 {
        say(&ann, "hello", &json!(number), To::All).unwrap();
        assert_eq!(bob.expect("hello").await, json!(number));
    }

    until(|| slow.outbox.closing() == Some(&CloseFrame::TOO_SLOW)).await;
}

#[actix::test]
async fn messages_in_flight_have_one_bound_from_end_to_end() {
    let gate = Semaphore::new(2);
    let world = World::with(Book { gate: Some(gate), ..Book::default() }).await;
    let [a, b, _] = world.open("demo").await;
    let ((mut ann, _), (bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    ann.expect("joined").await;
    // The room decides on a peer, and handles nothing meanwhile.
    let waits = Client::reserved(&a);
    let joining = waits.join();
    let full = async {
        until(|| world.book.at_gate.load(Ordering::SeqCst) == 3).await;
        let said = (0..).position(|number| say(&bob, "hello", &json!(number), To::All).is_err());
        world.book.gate.as_ref().unwrap().add_permits(1);
        said.unwrap()
    };

    let (joined, said) = within(futures_util::future::join(joining, full)).await;

    joined.unwrap();
    assert_eq!(said, 1024);
    assert_eq!(ann.expect("joined").await["peer_id"], json!(waits.id));
    for number in 0..said {
        assert_eq!(ann.expect("hello").await, json!(number));
    }
    // And then there is room again.
    until(|| say(&bob, "more", &json!(0), To::All).is_ok()).await;
    assert_eq!(ann.expect("more").await, json!(0));
}

/// Frames of a node that has gone mad cost the rooms that they are of, and no other.
#[actix::test]
async fn what_cannot_be_read_ends_its_link_alone() {
    let world = World::new().await;
    let [a, b, _] = world.open("demo").await;
    let [_, other, _] = world.open("other").await;
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    let (mut eve, _) = join(&other, "eve").await;
    ann.expect("joined").await;
    let lines = world.b2.cluster.lines().unwrap();
    let send = |frame: &'static [u8]| lines.send(world.a1.cluster.node(), "rooms", frame.into());

    send(b"").unwrap();
    send(b"\x07\0").unwrap();
    send(b"\x01\x02\0\0\0\0\0\0\0\xff\0\0\0\x01{").unwrap();
    // Of the first link of this node.
    send(b"\x01\x02\0\0\0\0\0\0\0\x01\0\0\0\x01{").unwrap();

    assert_eq!(ann.expect("left").await["peer_id"], json!(bob.id));
    expect_closed(&mut bob, "elsewhere", 1012).await;
    other.send(To::All, "news", &1).unwrap();
    assert_eq!(eve.expect("news").await, json!(1));
}

/// Each sender's messages reach each receiver once and in order, over a wire that loses, doubles and delays.
#[actix::test]
async fn all_messages_arrive_once_and_in_order() {
    for name in ["demo", "direct"] {
        let world = World::new().await;
        let faults = WireFaults::default().loss(0.05).duplication(0.05);
        world.wire.set_faults(faults.delay(Duration::ZERO..Duration::from_millis(5)));
        let rooms = world.open(name).await;
        let joining = rooms.iter().flat_map(|room| [room; 2]).map(|room| join(room, "peer"));
        let mut clients: Vec<_> = Vec::new();
        for joining in joining {
            clients.push(within(joining).await.0);
        }
        let ids: Vec<_> = clients.iter().map(|client| client.id).collect();

        for number in 0..MESSAGES {
            for (at, client) in clients.iter().enumerate() {
                let to = if number % 2 == 0 { To::All } else { ids[(at + 1) % ids.len()].into() };
                say(client, "number", &json!(number), to).unwrap();
            }
        }

        for (at, client) in clients.iter_mut().enumerate() {
            let others =
                |from: usize| if (from + 1) % ids.len() == at { MESSAGES } else { MESSAGES / 2 };
            let expected: usize = (0..ids.len()).filter(|from| *from != at).map(others).sum();
            let mut last = std::collections::HashMap::new();
            let mut got = 0;
            while got < expected {
                let (event, message) = client.event().await;
                if event != "number" {
                    assert_eq!(event, "joined");
                    continue;
                }
                got += 1;
                let number = message["data"].as_u64().unwrap();
                let before = last.insert(message["from"].to_string(), number);
                assert!(before.is_none_or(|before| before < number), "{before:?} {number}");
            }
            assert!(client.has_read_all());
        }
    }
}

const MESSAGES: usize = 100;
