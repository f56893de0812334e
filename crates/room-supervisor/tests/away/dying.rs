//! Homes that die: the clients of the other nodes stay, and the room goes on at one of those.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use callboard_cluster::{Embedded, MemoryWire};
use callboard_room_supervisor::*;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use crate::common::Client;
use crate::common::nodes::{HOLD, Node, until, within};
use crate::moving::move_from;
use crate::world::{Book, World, expect_closed, join, options, say};

/// Reads what a client is told when its home has died, up to the restart: returns who has left.
pub(crate) async fn expect_restart(client: &mut Client, stay: &[PeerId]) -> BTreeSet<PeerId> {
    let mut left = BTreeSet::new();
    loop {
        let (event, message) = client.event().await;
        match event.as_str() {
            "left" => {
                let peer = serde_json::from_value(message["data"]["peer_id"].clone()).unwrap();
                assert!(left.insert(peer), "left twice");
            }
            "room_restarted" => {
                let peers =
                    serde_json::from_value::<BTreeSet<PeerId>>(message["data"]["peers"].clone());
                assert_eq!(peers.unwrap(), stay.iter().copied().collect());
                return left;
            }
            other => panic!("{other}: {message}"),
        }
    }
}

async fn kill_a1(world: &World) {
    world.a1.kill(&world.wire, &[&world.b2, &world.c3]).await;
}

#[actix::test]
async fn when_the_home_dies_the_clients_of_other_nodes_stay_in_the_room() {
    for name in ["demo", "direct"] {
        let world = World::new().await;
        let [a, b, c] = world.open(name).await;
        let (mut ann, _) = join(&a, "ann").await;
        let (mut bob, _) = join(&b, "bob").await;
        let (mut bea, _) = join(&b, "bea").await;
        let (mut cid, _) = join(&c, "cid").await;
        for (client, others) in [(&mut ann, 3), (&mut bob, 2), (&mut bea, 1)] {
            for _ in 0..others {
                client.expect("joined").await;
            }
        }
        let stay = [bob.id, bea.id, cid.id];

        kill_a1(&world).await;

        for client in [&mut bob, &mut bea, &mut cid] {
            assert_eq!(expect_restart(client, &stay).await, BTreeSet::from([ann.id]));
        }
        // One has the room, the other follows it.
        let homes = [b.home(), c.home()];
        let nodes = [world.b2.cluster.node().clone(), world.c3.cluster.node().clone()];
        assert!(
            homes == [None, Some(nodes[0].clone())] || homes == [Some(nodes[1].clone()), None],
            "{homes:?}"
        );
        say(&bob, "hello", &json!(1), To::All).unwrap();
        say(&cid, "hello", &json!(2), vec![bob.id]).unwrap();
        assert_eq!((bea.expect("hello").await, cid.expect("hello").await), (json!(1), json!(1)));
        assert_eq!(bob.expect("hello").await, json!(2));
        for room in [&b, &c] {
            until(|| room.peers().into_iter().collect::<BTreeSet<_>>() == BTreeSet::from(stay))
                .await;
        }
        // Who comes now is told all, and so are the others.
        let (mut eve, welcome) = join(&c, "eve").await;
        assert_eq!(welcome["peers"].as_array().unwrap().len(), 3);
        for client in [&mut bob, &mut bea, &mut cid] {
            assert_eq!(client.expect("joined").await["peer_id"], json!(eve.id));
        }
        bob.leave();
        for client in [&mut bea, &mut cid, &mut eve] {
            assert_eq!(client.expect("left").await["peer_id"], json!(bob.id));
            assert!(client.has_read_all());
        }
    }
}

/// One after the other.
#[actix::test]
async fn the_last_node_has_the_room_when_two_homes_have_died() {
    let world = World::new().await;
    let [a, b, c] = world.open("demo").await;
    let ((ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    let (mut cid, _) = join(&c, "cid").await;
    bob.expect("joined").await;

    kill_a1(&world).await;
    let stay = [bob.id, cid.id];
    for client in [&mut bob, &mut cid] {
        assert_eq!(expect_restart(client, &stay).await, BTreeSet::from([ann.id]));
    }
    let (dies, goes_on, last) = match b.home() {
        None => (&world.b2, &c, &mut cid),
        Some(_) => (&world.c3, &b, &mut bob),
    };
    let other = if dies.cluster.node() == world.b2.cluster.node() { &world.c3 } else { &world.b2 };
    dies.kill(&world.wire, &[other]).await;

    let stays = [last.id];
    let gone = stay.iter().copied().filter(|peer| *peer != last.id).collect::<BTreeSet<_>>();
    assert_eq!(expect_restart(last, &stays).await, gone);
    assert_eq!(goes_on.home(), None);
    let (_eve, welcome) = join(goes_on, "eve").await;
    assert_eq!(welcome["peers"], json!([last.id]));
}

#[actix::test]
async fn what_is_said_while_the_home_is_dead_arrives_once_and_in_order() {
    let world = World::new().await;
    let [_, b, c] = world.open("demo").await;
    let ((mut bob, _), (mut cid, _)) = (join(&b, "bob").await, join(&c, "cid").await);
    bob.expect("joined").await;
    for number in 0..50 {
        say(&bob, "number", &json!(number), To::All).unwrap();
        say(&cid, "number", &json!(number), vec![bob.id]).unwrap();
    }

    kill_a1(&world).await;
    for number in 50..100 {
        say(&bob, "number", &json!(number), To::All).unwrap();
        say(&cid, "number", &json!(number), vec![bob.id]).unwrap();
    }

    for client in [&mut bob, &mut cid] {
        let mut numbers: Vec<u64> = Vec::new();
        while numbers.last() != Some(&99) {
            let (event, message) = client.event().await;
            if event == "number" {
                numbers.push(message["data"].as_u64().unwrap());
            } else {
                assert_eq!(event, "room_restarted");
            }
        }
        assert!(numbers.is_sorted_by(|before, after| before < after), "{numbers:?}");
        // What the dead home had taken and not passed on is lost, and nothing else.
        assert!((50..100).all(|number| numbers.contains(&number)), "{numbers:?}");
    }
}

#[actix::test]
async fn who_joins_while_the_home_is_dead_waits_for_the_next() {
    let world = World::new().await;
    let [_, b, c] = world.open("demo").await;
    let ((mut bob, _), (mut cid, _)) = (join(&b, "bob").await, join(&c, "cid").await);
    bob.expect("joined").await;
    kill_a1(&world).await;
    let [eve, fay] = [&b, &c].map(|room| Client::named(room, "late", OutboxLimits::default()));

    let joined = futures_util::future::join(within(eve.join()), within(fay.join())).await;

    assert_eq!(joined, (Ok(()), Ok(())));
    for client in [&mut bob, &mut cid] {
        let mut joined = BTreeSet::new();
        while joined.len() < 2 {
            let (event, message) = client.event().await;
            if event == "joined" {
                joined.insert(message["data"]["peer_id"].to_string());
            } else {
                assert_eq!(event, "room_restarted");
            }
        }
        assert_eq!(joined, BTreeSet::from([eve.id, fay.id].map(|id| json!(id).to_string())));
    }
}

/// As when the home's process is started again at once, and its clients come back to it.
#[actix::test]
async fn a_home_that_knows_of_no_member_takes_those_of_other_nodes_when_all_have_offered_theirs() {
    let world = World::new().await;
    let mut rooms = Vec::new();
    for name in ["one", "two", "three"] {
        let [_, b, c] = world.open(name).await;
        let ((mut bob, _), (cid, _)) = (join(&b, "bob").await, join(&c, "cid").await);
        bob.expect("joined").await;
        rooms.push((name, bob, cid));
    }
    // They cannot claim the rooms themselves.
    let others = [&world.b2, &world.c3];
    others.iter().for_each(|node| node.cable.cut(true));
    kill_a1(&world).await;
    let open = Arc::clone(&world.book);
    let open = move |name: &str| Some(options(name, &open));
    let d4 = Node::on_wire(&world.directory, &world.wire, "d4", |rooms| rooms.on_demand(open));
    let d4 = d4.await;
    for (name, ..) in &rooms {
        assert_eq!(d4.open(name).await.home(), None);
    }

    let began = Instant::now();
    others.iter().for_each(|node| node.cable.cut(false));
    let mut took = Vec::new();
    for (_, bob, cid) in &mut rooms {
        let stay = [bob.id, cid.id];
        for client in [bob, cid] {
            assert_eq!(expect_restart(client, &stay).await, BTreeSet::new());
        }
        took.push(began.elapsed());
    }

    // It waits for 2 s only for nodes that do not come.
    assert!(took[0] < Duration::from_secs(2), "{took:?}");
}

/// As with `kill`, but it says so.
#[actix::test]
async fn when_the_home_is_stopped_the_clients_of_other_nodes_stay_in_the_room() {
    let World { a1, b2, c3, book, wire: _wire, directory: _directory } = World::new().await;
    let (a, b, c) = (a1.open("demo").await, b2.open("demo").await, c3.open("demo").await);
    let ((mut ann, _), (mut bob, _)) = (join(&a, "ann").await, join(&b, "bob").await);
    let (mut cid, _) = join(&c, "cid").await;
    bob.expect("joined").await;
    ann.expect("joined").await;
    ann.expect("joined").await;

    within(a1.stop()).await;

    expect_left_then_closed(&mut ann).await;
    let stay = [bob.id, cid.id];
    for client in [&mut bob, &mut cid] {
        assert_eq!(expect_restart(client, &stay).await, BTreeSet::from([ann.id]));
    }
    assert_eq!(book.inits.load(Ordering::SeqCst), 2);
    say(&bob, "hello", &json!(1), To::All).unwrap();
    assert_eq!(cid.expect("hello").await, json!(1));
}

async fn expect_left_then_closed(client: &mut Client) {
    loop {
        match client.next().await {
            Deliver::Frame(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                assert!(matches!(message["event"].as_str(), Some("left" | "error")), "{message}");
            }
            Deliver::Close(close) => return assert_eq!(close.code, 1001),
        }
    }
}

/// Two nodes, where the first loses its session fast, and a client at each, in a room of the first.
pub(crate) async fn two_nodes(book: &Arc<Book>) -> ([Node; 2], MemoryWire, [Client; 2]) {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let node = async |name: &str, hold| {
        let book = Arc::clone(book);
        let open = move |name: &str| Some(options(name, &book));
        Node::on_wire_holding(hold, (&directory, &wire), name, |rooms| rooms.on_demand(open)).await
    };
    let (a1, b2) = (node("a1", HOLD).await, node("b2", 60 * HOLD).await);
    let (home, away) = (a1.open("tally").await, b2.open("tally").await);
    let (mut ann, _) = join(&home, "ann").await;
    let (bob, _) = join(&away, "bob").await;
    ann.expect("joined").await;
    ([a1, b2], wire, [ann, bob])
}

/// Lets a node lose its session, and claim its room again. No other node has had it, and the claim has another number.
async fn claim_again(node: &Node) {
    let claims = node.cable.claims();
    node.cable.cut(true);
    until(|| node.rooms.count_by_place().is_some_and(|rooms| rooms.shut == 1)).await;
    node.cable.cut(false);
    within(node.cable.claims_more_than(claims)).await;
    until(|| node.rooms.count_by_place().is_some_and(|rooms| rooms.home == 1)).await;
}

#[actix::test]
async fn clients_notice_nothing_of_a_home_that_claims_its_room_again() {
    let book = Arc::<Book>::default();
    let ([a1, b2], _wire, [mut ann, mut bob]) = two_nodes(&book).await;

    claim_again(&a1).await;

    // Longer than an edge waits before it leaves a home.
    let (end, mut turns) = (Instant::now() + Duration::from_secs(4), interval(TURN));
    while Instant::now() < end {
        turns.tick().await;
        say(&ann, "hello", &json!("from ann"), To::All).unwrap();
        say(&bob, "hello", &json!("from bob"), To::All).unwrap();
        for client in [&mut ann, &mut bob] {
            client.expect("hello").await;
        }
    }
    assert_eq!(Book::read(&book.joins), 2);
    // The other node knows the new claim, by which the room can go there.
    move_from(&a1, "tally", &b2).await;
    say(&bob, "hello", &json!("from bob"), To::All).unwrap();
    ann.expect("hello").await;
    for node in [a1, b2] {
        within(node.stop()).await;
    }
}

/// The edge is lost to the home, which tells the others so, and finds it again with another number.
#[actix::test]
async fn who_was_said_to_have_left_does_not_come_again() {
    let book = Arc::<Book>::default();
    let ([a1, b2], wire, [mut ann, mut bob]) = two_nodes(&book).await;
    let away = b2.rooms.lookup("tally").unwrap();
    let (here, there) = (a1.cluster.node(), b2.cluster.node());
    let cut = |is_cut| [(here, there), (there, here)].map(|(from, to)| wire.cut(from, to, is_cut));

    cut(true);
    claim_again(&a1).await;
    assert_eq!(ann.expect("left").await["peer_id"], json!(bob.id));
    cut(false);

    expect_closed(&mut bob, "elsewhere", 1012).await;
    bob.leave();
    within(away.freed()).await;
    let (eve, _) = join(&b2.open("tally").await, "eve").await;
    assert_eq!(ann.expect("joined").await["peer_id"], json!(eve.id));
}

#[actix::test]
async fn clients_wait_ten_seconds_at_most_for_a_room_that_no_node_can_open() {
    let World { a1, b2, c3: _c3, book: _, wire: _wire, directory: _directory } = World::new().await;
    let (_, b) = (a1.open("demo").await, b2.open("demo").await);
    let (mut bob, _) = join(&b, "bob").await;
    b2.cable.cut(true);

    within(a1.stop()).await;

    let began = tokio::time::Instant::now();
    expect_closed(&mut bob, "elsewhere", 1012).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
    bob.leave();
    within(b.freed()).await;
    b2.cable.cut(false);
}

/// Time between two rounds of a talk.
const TURN: Duration = Duration::from_millis(100);
