//! Rooms that are moved from one node to another while their peers talk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::{Embedded, MemoryWire, WireFaults};
use callboard_room_supervisor::*;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::{interval, sleep};

use crate::common::Client;
use crate::common::nodes::{HOLD, Node, until, within};
use crate::dying::two_nodes;
use crate::world::{Book, World, expect_closed, join, options, say};

/// Joins with two clients at each node, and lets them read who is there.
pub(crate) async fn gather(rooms: &[RoomHandle; 3]) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for room in rooms.iter().flat_map(|room| [room; 2]) {
        let (client, _) = join(room, "peer").await;
        for other in &mut clients {
            assert_eq!(other.expect("joined").await["peer_id"], json!(client.id));
        }
        clients.push(client);
    }
    clients
}

/// Reads until all of the others' numbers below this one have come, each once and in order, and nothing else.
pub(crate) async fn expect_numbers(clients: &mut [Client], below: u64) {
    let senders = clients.len() - 1;
    for client in clients {
        let mut next: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..senders as u64 * below {
            let (event, message) = client.event().await;
            assert_eq!(event, "number", "{message}");
            let next = next.entry(message["from"].to_string()).or_default();
            assert_eq!(message["data"], json!(*next));
            *next += 1;
        }
        assert_eq!(client.take(), None);
    }
}

/// Moves a room. On a busy machine that may take longer than a room may stop; then it goes on, and is moved later.
pub(crate) async fn move_from(from: &Node, room: &str, to: &Node) {
    within(async { while from.rooms.move_room(room, to.cluster.node()).await.is_err() {} }).await;
}

async fn total(asks: &Client, reads: &mut Client) -> Value {
    say(asks, "total", &Value::Null, reads.id).unwrap();
    reads.expect("total").await
}

#[actix::test]
async fn a_room_moves_while_clients_of_three_nodes_talk() {
    const NUMBERS: u64 = 240;
    let world = World::new().await;
    let faults = WireFaults::default().loss(0.02).duplication(0.02);
    world.wire.set_faults(faults.delay(Duration::ZERO..Duration::from_millis(3)));
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;

    let moving = async {
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2)] {
            let nodes = world.nodes();
            move_from(nodes[from], "tally", nodes[to]).await;
            until(|| rooms[to].home().is_none()).await;
            assert_eq!(rooms[from].home().as_ref(), Some(nodes[to].cluster.node()));
        }
    };
    let talking = async {
        for number in 0..NUMBERS {
            for client in &clients {
                // In flight there is room for many.
                until(|| say(client, "number", &json!(number), To::All).is_ok()).await;
            }
            yield_now().await;
        }
    };
    futures_util::future::join(moving, talking).await;

    expect_numbers(&mut clients, NUMBERS).await;
    let [ref asks, .., ref mut reads] = clients[..] else { panic!("there are six") };
    assert_eq!(total(asks, reads).await, json!(6 * NUMBERS), "the room's state goes with it");
    let moved = world.nodes().map(|node| node.rooms.count_moves().unwrap().moved);
    assert_eq!(moved, [2, 1, 1]);
    assert_eq!(Book::read(&world.book.inits), 1);
    assert_eq!(Book::read(&world.book.restores), 4);
    assert_eq!(Book::read(&world.book.joins), 6);
    assert_eq!(Book::read(&world.book.leaves), 0);
    // All see the same members, and who comes and goes is told as ever.
    let mut gone = clients.remove(0);
    for room in &rooms {
        until(|| room.len() == 6).await;
    }
    gone.leave();
    let (eve, welcome) = join(&rooms[0], "eve").await;
    assert_eq!(welcome["peers"].as_array().unwrap().len(), 5);
    for client in &mut clients {
        assert_eq!(client.expect("left").await["peer_id"], json!(gone.id));
        assert_eq!(client.expect("joined").await["peer_id"], json!(eve.id));
    }
    assert_eq!(Book::read(&world.book.leaves), 1);
}

/// It does not know yet that the room has gone.
#[actix::test]
async fn what_the_server_of_a_third_node_sends_reaches_all_while_the_room_moves() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;
    // What is sent is on its way for a while.
    let (early, late) = (Duration::from_millis(2), Duration::from_millis(6));
    world.wire.set_faults(WireFaults::default().delay(early..late));
    let (nodes, mut sent) = (world.nodes(), 0_u64);
    let mut news = clients.iter().map(|_| BTreeSet::new()).collect::<Vec<_>>();

    for (from, to) in [(0, 1), (1, 0)].repeat(4) {
        let mut turns = interval(Duration::from_millis(1));
        let moving = move_from(nodes[from], "tally", nodes[to]);
        let mut moving = std::pin::pin!(moving);
        // While its node looks for the room, the sender is told so.
        let send = |sent| u64::from(rooms[2].send(To::All, "news", &sent).is_ok());
        loop {
            tokio::select! {
                () = &mut moving => break,
                _ = turns.tick() => sent += send(sent),
            }
        }
        until(|| rooms[2].home().as_ref() == Some(nodes[to].cluster.node())).await;

        for (client, news) in clients.iter_mut().zip(&mut news) {
            while (news.len() as u64) < sent {
                let number = client.expect("news").await.as_u64().unwrap();
                assert!(news.insert(number), "{number} twice");
            }
        }
    }
    assert!(news.iter().all(|news| news.iter().copied().eq(0..sent)));
}

/// They have no seats at the new home yet.
#[actix::test]
async fn who_comes_and_goes_while_the_room_moves_does_so_once() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let [a, b, c] = &rooms;
    let ((mut ann, _), (bob, _), (cid, _)) =
        (join(a, "ann").await, join(b, "bob").await, join(c, "cid").await);
    let (abe, _) = join(a, "abe").await;
    let mut stay = [ann.id, cid.id];
    stay.sort();
    for _ in 0..3 {
        ann.expect("joined").await;
    }
    let mut members = [Some(abe), Some(bob)];
    let (sender, taken) = tokio::sync::oneshot::channel();
    world.book.at_snapshot(move || _ = sender.send(()));
    let new = [a, b, c].map(|room| Client::named(room, "new", OutboxLimits::default()));

    let meanwhile = async {
        taken.await.unwrap();
        members.iter_mut().for_each(|member| drop(member.take()));
        futures_util::future::join_all(new.iter().map(|client| within(client.join()))).await
    };
    let moving = world.a1.rooms.move_room("tally", world.b2.cluster.node());
    let (moved, joined) = futures_util::future::join(within(moving), meanwhile).await;

    assert_eq!((moved, joined), (Ok(()), vec![Ok(()); 3]));
    let mut events: Vec<_> = Vec::new();
    for _ in 0..5 {
        events.push(ann.event().await.0);
    }
    events.sort();
    assert_eq!(events, ["joined", "joined", "joined", "left", "left"]);
    until(|| Book::read(&world.book.leaves) == 2).await;
    assert_eq!(Book::read(&world.book.joins), 7);
    for room in &rooms {
        until(|| room.len() == 5).await;
    }
    assert_eq!(ann.take(), None);
}

/// As after a crash.
#[actix::test]
async fn a_room_without_a_snapshot_begins_anew_with_its_members() {
    let world = World::new().await;
    let rooms = world.open("demo").await;
    let mut clients = gather(&rooms).await;

    move_from(&world.a1, "demo", &world.c3).await;

    for client in &mut clients {
        let peers = client.expect("room_restarted").await["peers"].clone();
        assert_eq!(peers.as_array().unwrap().len(), 6);
    }
    say(&clients[0], "number", &json!(0), To::All).unwrap();
    for client in &mut clients[1..] {
        assert_eq!(client.expect("number").await, json!(0));
    }
    assert_eq!(Book::read(&world.book.inits), 2);
}

#[actix::test]
async fn messages_of_the_server_reach_a_room_wherever_it_is() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;

    let sending = async {
        for number in 0..300 {
            rooms[0].broadcast("news", &number).unwrap();
            yield_now().await;
        }
    };
    let moving = world.a1.rooms.move_room("tally", world.b2.cluster.node());
    let (moved, ()) = futures_util::future::join(within(moving), sending).await;

    moved.unwrap();
    for client in &mut clients {
        for number in 0..300 {
            assert_eq!(client.expect("news").await, json!(number));
        }
    }
    assert_eq!(rooms[0].tell::<crate::world::Tally, ()>(()), Err(TellError::Elsewhere));
    assert_eq!(rooms[1].tell::<crate::world::Tally, ()>(()), Ok(()));
    rooms[0].stop("enough").await;
    for client in &mut clients {
        expect_closed(client, "enough", 1000).await;
    }
}

#[actix::test]
async fn a_node_moves_all_its_rooms_to_where_their_peers_are() {
    let world = World::new().await;
    let mut rooms = Vec::new();
    let mut clients = Vec::new();
    for (number, node) in [(0, 1), (1, 2), (2, 2), (3, 1)] {
        let name = format!("tally {number}");
        let home = world.a1.open(&name).await;
        let (here, _) = join(&home, "here").await;
        let away = world.nodes()[node].open(&name).await;
        let (there, _) = join(&away, "there").await;
        clients.push((here, there));
        rooms.push((home, node));
    }
    // One without peers goes to the node with the fewest rooms; one that is not shared stays.
    world.a1.open("tally 4").await;
    let alone = RoomOptions::<crate::world::Direct>::new("alone", ()).across_nodes(false);
    world.a1.rooms.start_supervised(alone).await.unwrap();
    world.a1.cluster.drain();

    let moved = within(world.a1.rooms.move_all()).await;

    assert_eq!((moved.moved, moved.stayed), (5, 1));
    for (room, node) in &rooms {
        assert_eq!(room.home().as_ref(), Some(world.nodes()[*node].cluster.node()));
    }
    for (here, there) in &mut clients {
        assert_eq!(here.expect("joined").await["peer_id"], json!(there.id));
        say(here, "number", &json!(1), To::All).unwrap();
        say(there, "number", &json!(2), To::All).unwrap();
        assert_eq!(
            (here.expect("number").await, there.expect("number").await),
            (json!(2), json!(1))
        );
    }
}

/// A node that has stood still knows the others by old news: they seem to be silent.
#[actix::test]
async fn a_node_that_hears_of_no_other_waits_before_it_moves_its_rooms() {
    let (directory, wire, book) = (Embedded::new(), MemoryWire::new(), Arc::<Book>::default());
    let node = async |name: &str| {
        let book = Arc::clone(&book);
        let open = move |name: &str| Some(options(name, &book));
        let build = |rooms: RoomsBuilder| rooms.on_demand(open);
        Node::on_wire_holding(3 * HOLD, (&directory, &wire), name, build).await
    };
    let (a1, b2) = (node("a1").await, node("b2").await);
    let room = a1.open("tally").await;
    until(|| a1.cluster.nodes().len() == 1).await;
    b2.cable.cut(true);
    let takers = async || a1.cluster.loads().await.map(|takers| takers.len());
    within(async {
        while takers().await != Some(1) {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    a1.cluster.drain();

    let moving = within(a1.rooms.move_all());
    // After the first look.
    let heard = async { b2.cable.cut(false) };
    let (moved, ()) = tokio::join!(moving, heard);

    assert_eq!((moved.moved, moved.stayed), (1, 0));
    assert_eq!(room.home().as_ref(), Some(b2.cluster.node()));
}

/// Its session has ended when it is drained: its rooms go once it has them again, and it takes no others.
#[actix::test]
async fn a_node_moves_rooms_that_it_does_not_hold_once_it_has_them_again() {
    let book = Arc::<Book>::default();
    let ([a1, b2], _wire, [mut ann, mut bob]) = two_nodes(&book).await;
    let room = a1.rooms.lookup("tally").unwrap();
    a1.cable.cut(true);
    until(|| a1.rooms.count_by_place().is_some_and(|rooms| rooms.shut == 1)).await;
    a1.cluster.drain();

    let moving = within(a1.rooms.move_all());
    // After the first look.
    let heals = async { a1.cable.cut(false) };
    let (moved, ()) = tokio::join!(moving, heals);

    assert_eq!((moved.moved, moved.stayed), (1, 0));
    assert_eq!(room.home().as_ref(), Some(b2.cluster.node()));
    say(&bob, "hello", &json!("from bob"), To::All).unwrap();
    say(&ann, "hello", &json!("from ann"), To::All).unwrap();
    for client in [&mut ann, &mut bob] {
        client.expect("hello").await;
    }
    assert!(a1.rooms.find_or_open("tally 2").await.is_err());
}
