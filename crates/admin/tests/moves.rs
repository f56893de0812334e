//! Rooms that are moved to other nodes of a cluster from the tree.
#![cfg(feature = "cluster")]

mod common;

use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use callboard_admin::{Admin, AdminBuilder, FaultError, FaultKind, FaultOrder, Tree};
use callboard_cluster::{Cluster, Embedded, MemoryWire};
use callboard_room_supervisor::{Rejection, Room, RoomContext, RoomOptions, Rooms};
use callboard_supervision::{Flags, SupervisorSpec, TreeSnapshot};
use common::until;
use futures_util::future::select;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

struct Hall;

impl Room for Hall {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

/// Node of a cluster with rooms.
struct Node {
    cluster: Cluster,
    rooms: Rooms,
    admin: Admin,
}

impl Node {
    async fn start(
        directory: &Embedded,
        wire: &MemoryWire,
        name: &str,
        options: impl FnOnce(AdminBuilder, &Rooms) -> AdminBuilder,
    ) -> Self {
        let cluster = Cluster::builder(directory.clone()).node(name).wire(wire.clone());
        let cluster = cluster.hold(Duration::from_secs(60)).build().unwrap();
        let open = |name: &str| Some(RoomOptions::<Hall>::new(name, ()).into());
        let rooms = Rooms::builder().cluster(&cluster).on_demand(open).build();
        let tree = SupervisorSpec::new(Flags::one_for_one())
            .child(cluster.child_spec("cluster"))
            .child(rooms.child_spec("rooms"));
        let tree = tree.start_as("server").await.unwrap();
        let admin = Admin::builder(tree).cluster(&cluster).all_nodes(true);
        let admin = options(admin, &rooms).build();
        Self { cluster, rooms, admin }
    }

    /// Opens a room as soon as it can be had, and waits until it runs.
    async fn open(&self, name: &str) {
        until(name, async || match self.rooms.find_or_open(name).await {
            Ok(room) => room.is_running(),
            Err(_) => false,
        })
        .await;
    }

    /// Returns whether this node runs the room, by what it is told of it.
    fn runs(&self, name: &str) -> bool {
        self.rooms.lookup(name).is_some_and(|room| room.home().is_none() && room.is_running())
    }

    /// Moves a room as soon as that can be done: on a busy machine it may not stop in time, and goes on then.
    async fn moves(&self, order: &FaultOrder) {
        until("a move", async || match self.admin.inject(order).await {
            Ok(()) => true,
            Err(FaultError::NotMoved(_)) => false,
            Err(FaultError::Elsewhere { error, .. }) if error == "not_moved" => false,
            Err(error) => panic!("{error:?}"),
        })
        .await;
    }

    /// Waits until this node shows the other ones, and knows how many rooms they have.
    async fn knows(&self, nodes: &[(&str, usize)]) {
        until("the other nodes", async || {
            let all = self.admin.tree_of_all_nodes().await.unwrap();
            let shown: Vec<_> =
                all.children.iter().map(|node| (&*node.id, &*node.status)).collect();
            let running: Vec<_> = nodes.iter().map(|(name, _)| (*name, "running")).collect();
            let loads = self.cluster.loads().await.unwrap_or_default();
            let loads: Vec<_> = loads.iter().map(|it| (it.node.as_str(), it.rooms)).collect();
            shown == running && loads == nodes
        })
        .await;
    }

    /// Returns the paths of the actors for which this node allows a move.
    async fn movable(&self) -> Vec<String> {
        fn visit(tree: &Tree, paths: &mut Vec<String>) {
            if tree.details.get("faults") == Some(&json!(["move"])) {
                paths.push(tree.path.clone());
            }
            tree.children.iter().for_each(|child| visit(child, paths));
        }
        let mut paths = Vec::new();
        visit(&self.admin.tree().await, &mut paths);
        paths
    }
}

/// Lets rooms be moved.
fn allow(admin: AdminBuilder, rooms: &Rooms) -> AdminBuilder {
    allow_after(admin, rooms, || ready(()))
}

/// Lets rooms be moved after this.
fn allow_after<F: Future<Output = ()> + Send + 'static>(
    admin: AdminBuilder,
    rooms: &Rooms,
    before: impl Fn() -> F + Send + Sync + 'static,
) -> AdminBuilder {
    let (shown, moved) = (rooms.clone(), rooms.clone());
    admin.move_room(
        move |actor| shown.room_at(&actor.path).map(|room| room.name().to_owned()),
        move |room, to| {
            let (rooms, before) = (moved.clone(), before());
            async move {
                before.await;
                rooms.move_room(&room, &to).await
            }
        },
    )
}

/// Starts three nodes: two allow moves.
async fn three() -> [Node; 3] {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let a1 = Node::start(&directory, &wire, "a1", allow).await;
    let b2 = Node::start(&directory, &wire, "b2", allow).await;
    [a1, b2, Node::start(&directory, &wire, "c3", |admin, _| admin).await]
}

#[actix::test]
async fn a_room_goes_to_the_node_with_the_fewest_rooms_or_to_the_one_that_is_named() {
    let [a1, b2, c3] = three().await;
    a1.open("demo").await;
    b2.open("other").await;
    a1.knows(&[("a1", 1), ("b2", 1), ("c3", 0)]).await;
    assert_eq!(a1.movable().await, ["server/rooms/demo/room"]);

    a1.moves(&FaultOrder::move_room("server/rooms/demo/room")).await;
    until("the room", async || c3.runs("demo")).await;
    assert!(!a1.runs("demo"));
    assert!(a1.movable().await.is_empty());

    // From another node, by the path of the room's supervisor.
    a1.knows(&[("a1", 0), ("b2", 1), ("c3", 1)]).await;
    let order = FaultOrder::move_room("server/rooms/other").at_node("b2");
    a1.moves(&FaultOrder { to: Some("c3".to_owned()), ..order }).await;
    until("the room", async || c3.runs("other")).await;
    assert!(!b2.runs("other"));
    assert!(a1.admin.recoveries().is_empty() && b2.admin.recoveries().is_empty());
}

#[actix::test]
async fn a_node_shows_its_tree_to_others_while_it_moves_a_room_for_one_of_them() {
    let (directory, wire, gate) = (Embedded::new(), MemoryWire::new(), Arc::default());
    let a1 = Node::start(&directory, &wire, "a1", allow).await;
    let waits: Arc<(Notify, Notify)> = Arc::clone(&gate);
    let slowly = |admin: AdminBuilder, rooms: &Rooms| {
        allow_after(admin, rooms, move || {
            let waits = Arc::clone(&waits);
            async move {
                waits.0.notify_one();
                waits.1.notified().await;
            }
        })
    };
    let b2 = Node::start(&directory, &wire, "b2", slowly).await;
    b2.open("demo").await;
    a1.knows(&[("a1", 0), ("b2", 1)]).await;

    let order = FaultOrder::move_room("server/rooms/demo/room").at_node("b2");
    let meanwhile = async {
        gate.0.notified().await;
        let began = Instant::now();
        until("trees", async || {
            let all = a1.admin.tree_of_all_nodes().await.unwrap();
            // One that was asked for after the move had begun.
            all.children.iter().all(|it| it.status == "running") && began.elapsed() > KEPT
        })
        .await;
        assert!(b2.runs("demo"));
        // Also for further attempts.
        loop {
            gate.1.notify_one();
            gate.0.notified().await;
        }
    };
    let moving = pin!(a1.moves(&order));
    select(moving, pin!(meanwhile)).await;
    until("the room", async || a1.runs("demo")).await;
}

#[actix::test]
async fn a_move_that_cannot_be_is_refused_with_the_reason() {
    let [a1, b2, c3] = three().await;
    a1.open("demo").await;
    b2.open("other").await;
    c3.open("third").await;
    a1.knows(&[("a1", 1), ("b2", 1), ("c3", 1)]).await;
    // A room of another node.
    a1.open("third").await;
    let app = init_service(App::new().configure(a1.admin.at(""))).await;
    let refused = async |order: Value| {
        let request = TestRequest::post().uri("/tree/fault").set_json(order);
        let request = request.peer_addr("127.0.0.1:50000".parse().unwrap());
        let request = request.insert_header(("host", "localhost")).to_request();
        let answer = call_service(&app, request).await;
        let status = answer.status().as_u16();
        let body = read_body(answer).await;
        let body: Value = serde_json::from_slice(&body).expect("it is refused");
        (status, body["error"].as_str().unwrap().to_owned(), body["detail"].clone())
    };
    let order = |path: &str, node: Option<&str>, to: Option<&str>| {
        let FaultOrder { fault, .. } = FaultOrder::new(path, FaultKind::Move);
        json!({ "path": path, "fault": fault, "node": node, "to": to })
    };
    const DEMO: &str = "server/rooms/demo/room";

    let cases = [
        (order("server/rooms/none/room", None, None), 404, "not_found"),
        (order("server/rooms", None, None), 404, "no_such_room"),
        (order("server/rooms/third/room", None, None), 404, "no_such_room"),
        (order(DEMO, None, Some("d4")), 404, "no_such_node"),
        (order(DEMO, Some("d4"), None), 404, "no_such_node"),
        (order("server/rooms/third/room", Some("c3"), None), 403, "move_off"),
        (order("server/rooms/none/room", Some("b2"), None), 404, "not_found"),
        (order("server/rooms/other/room", Some("b2"), Some("d4")), 404, "no_such_node"),
        (order("", None, None), 404, "not_found"),
    ];
    for (order, status, error) in cases {
        let answer = refused(order.clone()).await;
        assert_eq!((answer.0, &*answer.1), (status, error), "{order}: {answer:?}");
    }
    let why = json!("the room was not moved: it is at that node already");
    for (node, to, path) in [(None, "a1", DEMO), (Some("b2"), "b2", "server/rooms/other/room")] {
        let answer = refused(order(path, node, Some(to))).await;
        assert_eq!(answer, (409, "not_moved".to_owned(), why.clone()));
    }
    assert!(a1.runs("demo") && b2.runs("other"));

    // No other node takes rooms.
    for node in [&b2, &c3] {
        node.cluster.drain();
    }
    until("nodes that leave", async || a1.cluster.loads().await.is_some_and(|it| it.len() == 1))
        .await;
    let answer = refused(order(DEMO, None, None)).await;
    assert_eq!((answer.0, &*answer.1), (409, "no_other_node"));
    let answer = refused(order(DEMO, None, Some("b2"))).await;
    assert_eq!((answer.0, &*answer.1), (409, "not_moved"), "{answer:?}");
    assert!(a1.runs("demo"));
}

#[actix::test]
async fn an_order_is_answered_though_the_move_does_not_end() {
    let cluster = Cluster::builder(Embedded::new()).node("a1").build().unwrap();
    let rooms = Rooms::new();
    let tree = SupervisorSpec::new(Flags::one_for_one()).child(rooms.child_spec("demo"));
    let admin = Admin::builder(tree.start_as("server").await.unwrap()).cluster(&cluster);
    let room_of = |actor: &TreeSnapshot| (&*actor.id == "demo").then(|| "demo".to_owned());
    let admin = admin.move_room(room_of, |_, _| pending::<Result<(), String>>()).build();

    tokio::time::pause();
    let began = Instant::now();
    let order = FaultOrder { to: Some("a1".to_owned()), ..FaultOrder::move_room("server/demo") };
    assert_eq!(admin.inject(&order).await, Err(FaultError::StillMoving));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(15) && took < Duration::from_secs(16), "{took:?}");
}

/// Time for which trees of all nodes are kept, and more.
const KEPT: Duration = Duration::from_millis(400);
