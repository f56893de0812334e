//! Rooms that are opened at the node that a policy names, wherever they are asked for.

mod common;

use std::time::Duration;

use callboard_cluster::{Candidate, Embedded, Hash, LeastLoad, MemoryWire, NodeId, RoomPlacement};
use callboard_room_supervisor::*;
use common::nodes::{Node, within};

struct Hall;

impl Room for Hall {
    type Options = ();

    fn on_init((): &(), room: &RoomContext) -> Result<Self, Rejection> {
        if room.name() == "refused" { Err("not here".into()) } else { Ok(Self) }
    }
}

async fn nodes(policy: impl Fn(RoomsBuilder) -> RoomsBuilder) -> [Node; 3] {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let open = |name: &str| {
        let options = RoomOptions::<Hall>::new(name, ());
        Some(options.across_nodes(!name.starts_with("local")).into())
    };
    let start = async |name| {
        Node::on_wire(&directory, &wire, name, |rooms| policy(rooms.on_demand(open))).await
    };
    let nodes = [start("a1").await, start("b2").await, start("c3").await];
    for node in &nodes {
        knows(node, 3).await;
    }
    nodes
}

/// Waits until a node knows so many that take rooms.
async fn knows(node: &Node, number: usize) {
    within(async {
        while node.cluster.candidates("any").await.map(|nodes| nodes.len()) != Some(number) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Returns the node that has a room which is asked for here.
async fn home(node: &Node, name: &str) -> String {
    let room = node.open(name).await;
    room.home().map_or_else(|| node.cluster.node().to_string(), |home| home.to_string())
}

#[actix::test]
async fn rooms_are_spread_wherever_they_are_asked_for() {
    let nodes = nodes(|rooms| rooms.place(LeastLoad)).await;
    let mut homes = Vec::new();
    for number in 0..9 {
        homes.push(home(&nodes[0], &format!("room {number}")).await);
    }
    for node in ["a1", "b2", "c3"] {
        let count = homes.iter().filter(|home| *home == node).count();
        assert!((2..=4).contains(&count), "{homes:?}");
    }
    // A room that is open stays where it is, and opens nowhere else.
    for (number, at) in homes.iter().enumerate() {
        assert_eq!(home(&nodes[1], &format!("room {number}")).await, *at);
    }
    let open: usize = nodes[2].rooms.list().iter().filter(|room| room.home().is_none()).count();
    assert_eq!(open, homes.iter().filter(|home| *home == "c3").count());
    assert_eq!(nodes[2].rooms.list().len(), open, "no room of others");
}

#[actix::test]
async fn all_nodes_open_a_room_at_the_same_node() {
    let nodes = nodes(|rooms| rooms.place(Hash)).await;
    for number in 0..6 {
        let name = format!("room {number}");
        let homes = futures_util::future::join_all(nodes.iter().map(|node| home(node, &name)));
        let homes = homes.await;
        assert!(homes.iter().all(|home| *home == homes[0]), "{name}: {homes:?}");
        let all = ["a1", "b2", "c3"].map(|name| Candidate::new(NodeId::new(name).unwrap(), 0));
        let wanted = Hash.place(&name, &all, &all[0].node);
        assert_eq!(homes[0], wanted.to_string());
    }
}

/// Wishes for a node that does not open what it is asked for.
struct Elsewhere;

impl RoomPlacement for Elsewhere {
    fn place(&self, room: &str, _: &[Candidate], _: &NodeId) -> NodeId {
        NodeId::new(if room == "nowhere" { "d4" } else { "b2" }).unwrap()
    }
}

#[actix::test]
async fn what_is_not_opened_elsewhere_is_opened_where_it_is_asked_for() {
    let nodes = nodes(|rooms| rooms.place(Elsewhere)).await;
    assert_eq!(home(&nodes[0], "demo").await, "b2");
    assert_eq!(home(&nodes[0], "nowhere").await, "a1");
    assert_eq!(home(&nodes[0], "local room").await, "a1");
    assert!(nodes[0].rooms.find_or_open("refused").await.is_err());
    assert!(nodes[1].rooms.lookup("refused").is_none());
}

#[actix::test]
async fn a_node_that_is_about_to_leave_gets_no_rooms() {
    let nodes = nodes(|rooms| rooms.place(LeastLoad)).await;
    nodes[1].cluster.drain();
    knows(&nodes[0], 2).await;
    for number in 0..6 {
        assert_ne!(home(&nodes[0], &format!("room {number}")).await, "b2");
    }
}
