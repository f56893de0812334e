//! Homes that die while they wait for the members that other nodes offer: the next one waits for the same nodes, so
//! that no client is told of another that it has left, and stays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::*;
use tokio::time::Instant;

use crate::common::Client;
use crate::common::nodes::{Node, until, within};
use crate::dying::expect_restart;
use crate::moving::{gather, move_from};
use crate::world::{World, expect_closed, join, options};

/// Starts a node more.
async fn start(world: &World, name: &str) -> Node {
    let book = Arc::clone(&world.book);
    let open = move |name: &str| Some(options(name, &book));
    Node::on_wire(&world.directory, &world.wire, name, |rooms| rooms.on_demand(open)).await
}

/// Clients at three nodes, each with its room, whose home has died; none of the nodes can find the next one yet.
struct Left {
    world: World,
    d4: Node,
    rooms: [RoomHandle; 3],
    clients: [Client; 3],
}

impl Left {
    async fn new() -> Self {
        let world = World::new().await;
        let d4 = start(&world, "d4").await;
        let [_, b, c] = world.open("demo").await;
        let d = d4.open("demo").await;
        let ((mut bob, _), (mut cid, _)) = (join(&b, "bob").await, join(&c, "cid").await);
        let (dan, _) = join(&d, "dan").await;
        for joined in [cid.id, dan.id] {
            assert_eq!(bob.expect("joined").await["peer_id"], serde_json::json!(joined));
        }
        cid.expect("joined").await;
        let left = Self { world, d4, rooms: [b, c, d], clients: [bob, cid, dan] };
        left.nodes().iter().for_each(|node| node.cable.cut(true));
        left.world.a1.kill(&left.world.wire, &left.nodes()).await;
        left
    }

    fn nodes(&self) -> [&Node; 3] {
        [&self.world.b2, &self.world.c3, &self.d4]
    }

    /// Lets these nodes, by their places, find the next home.
    fn free(&self, nodes: impl IntoIterator<Item = usize>) {
        nodes.into_iter().for_each(|at| self.nodes()[at].cable.cut(false));
    }

    /// Waits until this home has been offered the client of this place.
    async fn is_offered(&self, home: &RoomHandle, client: usize) {
        until(|| home.home().is_none() && home.peers().contains(&self.clients[client].id)).await;
    }
}

#[actix::test]
async fn the_next_home_waits_for_those_for_whom_one_has_waited_that_dies() {
    let mut left = Left::new().await;
    left.free([0]);
    until(|| left.rooms[0].home().is_none()).await;
    left.free([1]);
    left.is_offered(&left.rooms[0], 1).await;

    left.world.b2.kill(&left.world.wire, &left.nodes()[1..]).await;
    until(|| left.rooms[1].home().is_none()).await;
    left.free([2]);

    let [bob, cid, dan] = &mut left.clients;
    let stay = [cid.id, dan.id];
    for client in [cid, dan] {
        assert_eq!(expect_restart(client, &stay).await, BTreeSet::from([bob.id]));
    }
}

/// It knows of no node but by those that have come.
#[actix::test]
async fn the_next_home_waits_for_all_if_one_dies_that_was_opened_anew_and_reached_by_one() {
    let mut left = Left::new().await;
    let e5 = start(&left.world, "e5").await;
    let e = e5.open("demo").await;
    left.free([0]);
    left.is_offered(&e, 0).await;

    e5.kill(&left.world.wire, &left.nodes()).await;
    until(|| left.rooms[0].home().is_none()).await;
    left.free([1, 2]);

    let stay = left.clients.each_ref().map(|client| client.id);
    for client in &mut left.clients {
        assert_eq!(expect_restart(client, &stay).await, BTreeSet::new());
    }
}

/// It has adopted the members that it knew.
#[actix::test]
async fn a_home_waits_for_nodes_of_which_it_hears_from_one_that_comes_late() {
    let mut left = Left::new().await;
    let (e5, f6) = (start(&left.world, "e5").await, start(&left.world, "f6").await);
    let (_e, f) = (e5.open("demo").await, f6.open("demo").await);
    let (mut fay, _) = join(&f, "fay").await;
    let [b2, c3, d4] = left.nodes();
    e5.kill(&left.world.wire, &[b2, c3, d4, &f6]).await;
    let stays = [fay.id];
    assert_eq!(expect_restart(&mut fay, &stays).await, BTreeSet::new());

    left.free([0]);
    left.is_offered(&f, 0).await;
    left.free([1, 2]);

    let others = left.clients.each_ref().map(|client| client.id);
    let stay = [others[0], others[1], others[2], fay.id];
    for client in &mut left.clients {
        assert_eq!(client.expect("joined").await["peer_id"], serde_json::json!(fay.id));
        assert_eq!(expect_restart(client, &stay).await, BTreeSet::new());
    }
    let mut joined = BTreeSet::new();
    for _ in others {
        joined.insert(fay.expect("joined").await["peer_id"].to_string());
    }
    assert_eq!(joined, others.map(|id| serde_json::json!(id).to_string()).into());
    assert!(fay.has_read_all());
}

/// It cannot find the room for longer than a home waits for nodes that may be dead.
#[actix::test]
async fn a_node_that_lives_is_waited_for_longer() {
    let mut left = Left::new().await;
    left.free([0, 1]);
    until(|| left.rooms[..2].iter().any(|room| room.home().is_none())).await;
    let began = Instant::now();
    until(|| began.elapsed() > Duration::from_secs(3)).await;
    left.free([2]);

    let stay = left.clients.each_ref().map(|client| client.id);
    for client in &mut left.clients {
        assert_eq!(expect_restart(client, &stay).await, BTreeSet::new());
    }
}

/// The clients of other nodes need not wait until it has gathered them.
#[actix::test]
async fn a_node_that_is_stopped_while_it_gathers_lets_the_next_have_the_room_at_once() {
    let world = World::new().await;
    let rooms = world.open("tally").await;
    let mut clients = gather(&rooms).await;
    let (b2, c3) = (world.b2.cluster.node(), world.c3.cluster.node());
    // It waits for this one, which does not come.
    for (from, to) in [(b2, c3), (c3, b2)] {
        world.wire.cut(from, to, true);
    }
    move_from(&world.a1, "tally", &world.b2).await;
    until(|| rooms[1].home().is_none()).await;
    let World { a1, b2, c3, wire: _wire, directory: _directory, book: _book } = world;

    let began = Instant::now();
    within(b2.stop()).await;
    let stopped = began.elapsed();

    let gone: BTreeSet<_> = clients[2..4].iter().map(|client| client.id).collect();
    for mut client in clients.drain(2..4) {
        expect_closed(&mut client, "shutdown", 1001).await;
    }
    let stay: Vec<_> = clients.iter().map(|client| client.id).collect();
    for client in &mut clients {
        assert_eq!(expect_restart(client, &stay).await, gone);
    }
    assert!(stopped < Duration::from_secs(4), "it gathers for 5 s: {stopped:?}");
    drop(clients);
    for node in [a1, c3] {
        within(node.stop()).await;
    }
}
