//! Readiness, about which the application decides as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::prelude::*;
use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
use actix_web::{App, web};
use callboard_admin::Admin;
use callboard_supervision::*;
use serde_json::{Map, Value, json};

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

#[actix::test]
async fn the_application_says_what_it_can_do_without_and_when_it_is_drained() {
    let root = SupervisorSpec::new(Flags::one_for_one()).child(ChildSpec::new("a", || Idle));
    let root = root.start().await.unwrap();
    let is_draining = Arc::new(AtomicBool::new(false));
    let drains = Arc::clone(&is_draining);
    let admin = Admin::builder(root.clone()).readiness(move || {
        let engine = Map::from_iter([("engine".to_owned(), Value::from("down"))]);
        if drains.load(Ordering::SeqCst) { Err(engine) } else { Ok(engine) }
    });
    let app = init_service(
        App::new().configure(admin.build().at("")).default_service(web::to(async || "elsewhere")),
    )
    .await;
    let ask = async |path: &str| {
        let answer = call_service(&app, TestRequest::get().uri(path).to_request()).await;
        let status = answer.status().as_u16();
        let body: Value = read_body_json(answer).await;
        (status, body)
    };

    assert_eq!(ask("/readyz").await, (200, json!({ "ready": true, "engine": "down" })));
    is_draining.store(true, Ordering::SeqCst);
    assert_eq!(ask("/readyz").await, (503, json!({ "ready": false, "engine": "down" })));
    assert_eq!(ask("/healthz").await, (200, json!({ "alive": true })));

    // What runs counts as well as what the application says.
    is_draining.store(false, Ordering::SeqCst);
    root.stop().await;
    assert_eq!(ask("/readyz").await.0, 503);
}

#[actix::test]
async fn a_node_is_drained_by_those_who_may_change_something() {
    let root = SupervisorSpec::new(Flags::one_for_one()).start().await.unwrap();
    let drains = Arc::new(AtomicBool::new(false));
    let begin = Arc::clone(&drains);
    let builder = || Admin::builder(root.clone()).token("full").read_token("read");
    let admin = builder().drain(move || begin.store(true, Ordering::SeqCst)).build();
    let without = builder().build();
    let app = App::new().configure(admin.at("/admin")).configure(without.at("/other"));
    let app = init_service(app).await;
    let ask = async |path: &str, token: &str| {
        let request = TestRequest::post().uri(path).insert_header(("authorization", token));
        call_service(&app, request.to_request()).await.status().as_u16()
    };

    assert_eq!(ask("/admin/cluster/drain", "Bearer wrong").await, 401);
    assert_eq!(ask("/admin/cluster/drain", "Bearer read").await, 403);
    assert_eq!(ask("/other/cluster/drain", "Bearer full").await, 404);
    assert!(!drains.load(Ordering::SeqCst));
    assert_eq!(ask("/admin/cluster/drain", "Bearer full").await, 202);
    assert!(drains.load(Ordering::SeqCst));
    root.stop().await;
}
