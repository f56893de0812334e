//! Moves of rooms that come to nothing, or that something fails in the middle of.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_cluster::NodeId;
use callboard_room_supervisor::*;
use futures_util::future;
use serde_json::json;
use tokio::sync::oneshot;

use crate::common::Client;
use crate::common::nodes::{Node, until, within};
use crate::moving::{expect_numbers, gather, move_from};
use crate::world::{Book, World, expect_closed, say};

/// Lets this happen when the room has stopped for its move, and tells when it has.
fn when_it_stops(world: &World, happens: impl FnOnce() + Send + 'static) -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    world.book.at_snapshot(move || {
        happens();
        _ = tell.send(());
    });
    told
}

fn cut(world: &World, one: &Node, other: &Node) -> impl FnOnce() + Send + 'static {
    let (wire, one, other) =
        (world.wire.clone(), one.cluster.node().clone(), other.cluster.node().clone());
    move || {
        wire.cut(&one, &other, true);
        wire.cut(&other, &one, true);
    }
}

/// Says a number at each client.
fn say_all(clients: &[Client], number: u64) {
    clients.iter().for_each(|client| say(client, "number", &json!(number), To::All).unwrap());
}

#[actix::test]
async fn a_room_that_cannot_be_moved_stays_where_it_is() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;
    let to = async |node: &Node, name: &str, to: &NodeId| {
        within(node.rooms.move_room(name, to)).await.unwrap_err()
    };
    let nodes = world.nodes().map(|node| node.cluster.node().clone());

    let counts = || {
        let MoveCounts { moved, refused, .. } = world.a1.rooms.count_moves().unwrap();
        (moved, refused)
    };
    assert_eq!(to(&world.a1, "none", &nodes[1]).await, MoveRoomError::NoSuchRoom);
    assert_eq!(counts(), (0, 0));
    assert_eq!(to(&world.a1, "tally", &nodes[0]).await, MoveRoomError::Here);
    assert_eq!(counts(), (0, 1));
    let elsewhere = MoveRoomError::Elsewhere(nodes[0].clone());
    assert_eq!(to(&world.b2, "tally", &nodes[2]).await, elsewhere);
    let unknown = NodeId::new("unknown").unwrap();
    let refused = to(&world.a1, "tally", &unknown).await;
    assert!(matches!(refused, MoveRoomError::Refused { .. }), "{refused}");
    // It does not take more rooms.
    world.b2.cluster.drain();
    let refused = to(&world.a1, "tally", &nodes[1]).await;
    assert!(matches!(refused, MoveRoomError::Refused { .. }), "{refused}");

    say_all(&clients, 0);
    expect_numbers(&mut clients, 1).await;
    assert_eq!(Book::read(&world.book.restores), 0);
    move_from(&world.a1, "tally", &world.c3).await;
    say_all(&clients, 0);
    expect_numbers(&mut clients, 1).await;
}

#[actix::test]
async fn a_room_whose_next_home_is_silent_goes_on_after_two_seconds() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;
    let stops = when_it_stops(&world, cut(&world, &world.a1, &world.b2));

    let talking = async {
        stops.await.unwrap();
        // The clients of the silent node hear and say it later, or are gone: that is not of the move.
        say_all(&clients[..2], 0);
    };
    let moving = world.a1.rooms.move_room("tally", world.b2.cluster.node());
    let began = tokio::time::Instant::now();
    let (moved, ()) = future::join(within(moving), talking).await;

    assert!(matches!(moved, Err(MoveRoomError::Refused { .. })), "{moved:?}");
    assert!(began.elapsed() >= Duration::from_secs(2));
    for at in [1, 4, 5] {
        assert_eq!(clients[at].expect("number").await, json!(0));
    }
    assert_eq!(rooms[0].home(), None);
}

#[actix::test]
async fn a_room_waits_for_the_directory_in_the_middle_of_its_move() {
    for answers_alone in [false, true] {
        let world = World::new().await;
        let rooms = world.open("tally").await;
        let mut clients = gather(&rooms).await;
        let (cable, claims) = (world.a1.cable.clone(), world.a1.cable.claims());
        let stops = when_it_stops(&world, move || match answers_alone {
            true => cable.deafen(true),
            false => cable.cut(true),
        });

        let talking = async {
            stops.await.unwrap();
            say_all(&clients, 0);
            world.a1.cable.claims_more_than(claims).await;
            world.a1.cable.cut(false);
            world.a1.cable.deafen(false);
        };
        let moving = world.a1.rooms.move_room("tally", world.b2.cluster.node());
        let (moved, ()) = future::join(within(moving), talking).await;

        assert_eq!(moved, Ok(()));
        expect_numbers(&mut clients, 1).await;
        assert_eq!(rooms[0].home().as_ref(), Some(world.b2.cluster.node()));
        assert_eq!(Book::read(&world.book.inits), 1);
    }
}

/// Reads up to the restart; returns who has left.
async fn read_restart(client: &mut Client) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    loop {
        let (event, message) = client.event().await;
        match event.as_str() {
            "left" => assert!(left.insert(message["data"]["peer_id"].to_string()), "left twice"),
            "room_restarted" => return left,
            other => panic!("{other}: {message}"),
        }
    }
}

#[actix::test]
async fn a_home_that_dies_in_the_middle_of_a_move_dies_as_every_other() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;
    let (first, second) = (cut(&world, &world.a1, &world.b2), cut(&world, &world.a1, &world.c3));
    let stops = when_it_stops(&world, || {
        first();
        second();
    });

    let dying = async {
        stops.await.unwrap();
        world.a1.kill(&world.wire, &[&world.b2, &world.c3]).await;
    };
    let moving = world.a1.rooms.move_room("tally", world.b2.cluster.node());
    let (moved, ()) = future::join(within(moving), dying).await;

    assert!(moved.is_err());
    let gone: BTreeSet<_> =
        clients[..2].iter().map(|client| json!(client.id).to_string()).collect();
    for client in &mut clients[2..] {
        assert_eq!(read_restart(client).await, gone);
    }
    say_all(&clients[2..], 0);
    expect_numbers(&mut clients[2..], 1).await;
}

#[actix::test]
async fn a_new_home_that_dies_is_followed_by_the_next() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;

    move_from(&world.a1, "tally", &world.b2).await;
    world.b2.kill(&world.wire, &[&world.a1, &world.c3]).await;

    let gone: BTreeSet<_> =
        clients[2..4].iter().map(|client| json!(client.id).to_string()).collect();
    clients.drain(2..4);
    for client in &mut clients {
        assert_eq!(read_restart(client).await, gone);
    }
    say_all(&clients, 0);
    expect_numbers(&mut clients, 1).await;
}

/// Before the other node has it, or after: on all nodes.
#[actix::test]
async fn a_room_that_is_closed_while_it_moves_is_closed() {
    for is_given in [false, true] {
        let world = World::new().await;
        let rooms = world.open("tally").await;
        let mut clients = gather(&rooms).await;
        let (cable, claims) = (world.a1.cable.clone(), world.a1.cable.claims());
        let stops = when_it_stops(&world, move || {
            if is_given {
                cable.cut(true);
            }
        });

        let closing = async {
            stops.await.unwrap();
            if is_given {
                world.a1.cable.claims_more_than(claims).await;
            }
            let heal = async { world.a1.cable.cut(false) };
            future::join(within(rooms[0].stop("enough")), heal).await;
        };
        let moving = world.a1.rooms.move_room("tally", world.b2.cluster.node());
        _ = future::join(within(moving), closing).await;

        for client in &mut clients {
            expect_closed(client, "enough", 1000).await;
        }
        clients.iter_mut().for_each(Client::leave);
        for room in &rooms {
            within(room.freed()).await;
        }
        until(|| world.nodes().iter().all(|node| node.rooms.names().is_empty())).await;
    }
}
