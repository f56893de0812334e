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
