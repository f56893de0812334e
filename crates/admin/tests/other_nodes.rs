//! Trees of all nodes of a cluster, and faults in those of others.
#![cfg(feature = "cluster")]

mod common;

use std::time::Duration;

use actix::prelude::*;
use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use callboard_admin::{Admin, AdminBuilder, FaultError, FaultKind, FaultOrder, Tree};
use callboard_cluster::{Cluster, Embedded, MemoryWire};
use callboard_supervision::*;
use common::{pause, until};
use serde_json::{Value, json};
use tokio::time::timeout;

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

/// Node of a cluster, with an actor of its own.
struct Node {
    cluster: Cluster,
    tree: SupervisorRef,
    admin: Admin,
}

impl Node {
    async fn start(directory: &Embedded, wire: &MemoryWire, name: &str, all_nodes: bool) -> Self {
        Self::start_with(directory, wire, name, all_nodes, |admin| admin).await
    }

    async fn start_with(
        directory: &Embedded,
        wire: &MemoryWire,
        name: &str,
        all_nodes: bool,
        options: impl FnOnce(AdminBuilder) -> AdminBuilder,
    ) -> Self {
        let cluster = Cluster::builder(directory.clone()).node(name).wire(wire.clone());
        let cluster = cluster.build().unwrap();
        let tree = SupervisorSpec::new(Flags::one_for_one())
            .child(cluster.child_spec("cluster"))
            .child(ChildSpec::new(format!("actor of {name}"), || Idle))
            .start_as("server")
            .await
            .unwrap();
        let admin = Admin::builder(tree.clone()).cluster(&cluster).all_nodes(all_nodes);
        let admin = options(admin).build();
        Self { cluster, tree, admin }
    }

    /// Waits until this holds of the trees of all nodes.
    async fn sees(&self, what: &str, holds: impl Fn(&Tree) -> bool) -> Tree {
        let mut last = None;
        let seen = async {
            loop {
                let tree = self.admin.tree_of_all_nodes().await.expect("they are shown");
                if holds(&tree) {
                    return tree;
                }
                last = Some(tree);
                pause().await;
            }
        };
        let seen = timeout(Duration::from_secs(60), seen).await;
        seen.unwrap_or_else(|_| panic!("{what}: {last:#?}"))
    }
}

fn node<'a>(tree: &'a Tree, name: &str) -> Option<&'a Tree> {
    tree.children.iter().find(|node| node.id == name)
}

fn is_shown(tree: &Tree, name: &str) -> bool {
    let actor = format!("actor of {name}");
    node(tree, name).is_some_and(|node| {
        node.status == "running"
            && node.find(&|it| it.id == actor && it.status == "running").is_some()
    })
}

async fn two(all_nodes: bool) -> (MemoryWire, Node, Node) {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let a1 = Node::start(&directory, &wire, "a1", true).await;
    let b2 = Node::start(&directory, &wire, "b2", all_nodes).await;
    (wire, a1, b2)
}

/// Returns the status of the answer to a request from this machine, and its JSON.
macro_rules! ask {
    ($app:expr, $request:expr) => {{
        let request = $request.peer_addr("127.0.0.1:50000".parse().unwrap());
        let request = request.insert_header(("host", "localhost")).to_request();
        let answer = call_service(&$app, request).await;
        let status = answer.status().as_u16();
        let body = read_body(answer).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }};
}

#[actix::test]
async fn each_node_shows_the_trees_of_all_and_injects_faults_there() {
    let (_, a1, b2) = two(true).await;
    for shows in [&a1, &b2] {
        let all = shows.sees("both", |all| is_shown(all, "a1") && is_shown(all, "b2")).await;
        let names: Vec<_> = all.children.iter().map(|node| &*node.id).collect();
        assert_eq!((&*all.id, names), ("cluster", vec!["a1", "b2"]));
    }
    let all = a1.admin.tree_of_all_nodes().await.unwrap();
    assert_eq!(node(&all, "a1").unwrap().details["here"], true);

    let panic = FaultOrder::new("server/actor of b2", FaultKind::Panic);
    assert_eq!(
        a1.admin.inject(&panic).await,
        Err(FaultError::NotFound("server/actor of b2".to_owned()))
    );
    a1.admin.inject(&panic.at_node("b2")).await.unwrap();
    let restarted = |all: &Tree| {
        let b2 = node(all, "b2").and_then(|node| node.find(&|it| it.id == "actor of b2"));
        b2.is_some_and(|actor| actor.restarts == 1 && actor.status == "running")
    };
    a1.sees("a restart", restarted).await;
    assert_eq!(b2.admin.recoveries()[0].path, "server/actor of b2");
    assert!(a1.admin.recoveries().is_empty());
}

#[actix::test]
async fn a_node_is_drained_and_cut_off_from_another_one_if_it_allows_that() {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let a1 = Node::start(&directory, &wire, "a1", true).await;
    let (drained, begun) = std::sync::mpsc::channel();
    let allow = |admin: AdminBuilder| {
        admin.node_faults(true).drain(move || drained.send(()).expect("the test goes on"))
    };
    let _b2 = Node::start_with(&directory, &wire, "b2", true, allow).await;
    let all = a1.sees("both", |all| is_shown(all, "b2")).await;
    assert_eq!(node(&all, "b2").unwrap().details["faults"], json!(["drain", "cut", "kill"]));
    assert_eq!(node(&all, "a1").unwrap().details.get("faults"), None);
    let inject = |node: &str, fault| {
        let (admin, order) = (a1.admin.clone(), FaultOrder::of_node(node, fault));
        async move { admin.inject(&order).await }
    };

    for fault in [FaultKind::Cut, FaultKind::Kill] {
        assert_eq!(inject("a1", fault).await, Err(FaultError::NodeFaultsOff));
    }
    assert_eq!(inject("a1", FaultKind::Drain).await, Err(FaultError::NoDrain));
    assert_eq!(inject("a1", FaultKind::Panic).await, Err(FaultError::NotFound(String::new())));
    let at_actor = FaultOrder::new("server/actor of b2", FaultKind::Cut).at_node("b2");
    let Err(FaultError::Elsewhere { status, error, .. }) = a1.admin.inject(&at_actor).await else {
        panic!("a cut is of a node")
    };
    assert_eq!((status, &*error), (400, "of_node"));

    inject("b2", FaultKind::Drain).await.unwrap();
    assert!(begun.try_recv().is_ok() && begun.try_recv().is_err());

    let cut = |seconds| FaultOrder {
        seconds: Some(seconds),
        ..FaultOrder::of_node("b2", FaultKind::Cut)
    };
    let Err(FaultError::Elsewhere { status, error, .. }) = a1.admin.inject(&cut(601.0)).await
    else {
        panic!("it is too long")
    };
    assert_eq!((status, &*error), (400, "bad_time"));
    a1.admin.inject(&cut(3.0)).await.unwrap();
    let is_silent = |all: &Tree| node(all, "b2").is_some_and(|node| node.status == "silent");
    a1.sees("silence", is_silent).await;
    a1.sees("an answer", |all| is_shown(all, "b2")).await;
}

#[actix::test]
async fn the_routes_say_what_is_wrong_also_of_other_nodes() {
    let (_, a1, b2) = two(true).await;
    a1.sees("both", |all| is_shown(all, "b2")).await;
    let app = init_service(App::new().configure(a1.admin.at("/admin"))).await;
    let get = |query: &str| TestRequest::get().uri(&format!("/admin/tree{query}"));
    let fault = |order: Value| TestRequest::post().uri("/admin/tree/fault").set_json(order);

    assert_eq!(ask!(app, get("")).1["id"], "server");
    assert_eq!(ask!(app, get("?nodes=all")).1["id"], "cluster");
    assert_eq!(ask!(app, get("?nodes=b2")).0, 400);
    let kill = |node: &str, path: &str| json!({ "node": node, "path": path, "fault": "kill" });
    assert_eq!(ask!(app, fault(kill("b2", "server/actor of b2"))), (204, Value::Null));
    assert_eq!(ask!(app, fault(kill("a1", "server/actor of a1"))).0, 204);
    let (status, refused) = ask!(app, fault(kill("b2", "server/nothing")));
    assert_eq!((status, &refused["error"]), (404, &json!("not_found")));
    assert_eq!(refused["detail"], "no actor is at server/nothing");
    let (status, refused) = ask!(app, fault(kill("c3", "server")));
    assert_eq!((status, &refused["error"]), (404, &json!("no_such_node")));
    let (status, refused) = ask!(app, fault(kill("b2", "server")));
    assert_eq!((status, &refused["error"]), (409, &json!("root")));
    drop(b2);
}

#[actix::test]
async fn a_node_that_does_not_answer_is_silent_and_shown_again_when_it_does() {
    let (wire, a1, b2) = two(true).await;
    a1.sees("both", |all| is_shown(all, "b2")).await;
    let ids = [a1.cluster.node().clone(), b2.cluster.node().clone()];
    let cut = |cut| {
        wire.cut(&ids[0], &ids[1], cut);
        wire.cut(&ids[1], &ids[0], cut);
    };

    cut(true);
    let is_silent = |all: &Tree| node(all, "b2").is_some_and(|node| node.status == "silent");
    let all = a1.sees("silence", is_silent).await;
    assert!(node(&all, "b2").unwrap().children.is_empty() && is_shown(&all, "a1"));
    let silent = |all: &Tree| node(all, "b2")?.details.get("silent_ms")?.as_u64();
    a1.sees("a longer silence", |all| silent(all).is_some_and(|ms| ms > 600)).await;
    let kill = FaultOrder::new("server/actor of b2", FaultKind::Kill).at_node("b2");
    assert_eq!(a1.admin.inject(&kill).await, Err(FaultError::NoAnswer("b2".to_owned())));

    cut(false);
    let all = a1.sees("an answer", |all| is_shown(all, "b2")).await;
    assert_eq!(silent(&all), None);
}

#[actix::test]
async fn a_node_that_does_not_show_itself_is_not_shown_and_shows_no_other() {
    let (_, a1, b2) = two(false).await;
    // They know each other.
    b2.cluster.lines().unwrap().connect(a1.cluster.node());
    let lines = a1.cluster.lines().unwrap();
    until("a line", async || lines.line(b2.cluster.node()).is_some()).await;
    let all = a1.admin.tree_of_all_nodes().await.unwrap();
    assert!(is_shown(&all, "a1") && node(&all, "b2").is_none(), "{all:#?}");
    let kill = FaultOrder::new("server/actor of b2", FaultKind::Kill).at_node("b2");
    assert_eq!(a1.admin.inject(&kill).await, Err(FaultError::NoSuchNode("b2".to_owned())));
    assert!(b2.admin.tree_of_all_nodes().await.is_none());
    let kill = FaultOrder::new("server/actor of a1", FaultKind::Kill).at_node("a1");
    assert_eq!(b2.admin.inject(&kill).await, Err(FaultError::OneNode));

    let app = init_service(App::new().configure(b2.admin.at(""))).await;
    let (status, refused) = ask!(app, TestRequest::get().uri("/tree?nodes=all"));
    assert_eq!((status, &refused["error"]), (404, &json!("one_node")));
    b2.tree.stop().await;
    a1.tree.stop().await;
}

#[actix::test]
async fn a_tree_that_is_too_large_for_an_answer_is_said_to_be() {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let a1 = Node::start(&directory, &wire, "a1", true).await;
    let cluster = Cluster::builder(directory).node("b2").wire(wire).build().unwrap();
    let tree = SupervisorSpec::new(Flags::one_for_one()).child(cluster.child_spec("cluster"));
    let tree = tree.start_as("server").await.unwrap();
    // The root, the cluster, its node and its lines.
    let admin = Admin::builder(tree).annotate(|_| Some(json!("x".repeat(300_000))));
    let _admin = admin.cluster(&cluster).all_nodes(true).build();

    let is_large = |all: &Tree| node(all, "b2").is_some_and(|node| node.status == "too large");
    let all = a1.sees("a large tree", is_large).await;
    assert_eq!(node(&all, "b2").unwrap().details["actors"], 4);
}
