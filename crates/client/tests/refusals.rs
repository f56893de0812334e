//! Clients that are not let in: each reason has its error.

mod common;

use std::time::Duration;

use callboard_client::{Client, ClientOptions, ConnectError, UpgradeRefusal};
use common::{Server, options, within};
use serde_json::{Value, json};

async fn refused(url: &str, options: ClientOptions) -> ConnectError {
    match within(Client::connect(url, options)).await {
        Ok(client) => panic!("{client:?} was let in"),
        Err(error) => error,
    }
}

/// Expects a refusal of the WebSocket.
async fn refusal(url: &str, options: ClientOptions) -> UpgradeRefusal {
    match refused(url, options).await {
        ConnectError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn named(name: &str) -> ClientOptions {
    options().header("name", name)
}

#[actix_web::test]
async fn each_refusal_says_why() {
    let server = Server::start(|options| options).await;
    let refused = async |url: &str, options| {
        let UpgradeRefusal { status, error, detail, .. } = refusal(url, options).await;
        (status, error, detail)
    };
    let (url, other) = (server.url(), format!("ws://{}/socket/other", server.address));

    let expected = |status, error: &str, detail: Value| (status, error.to_owned(), detail);
    assert_eq!(refused(&other, options()).await, expected(404, "no_such_room", Value::Null));
    let unauthorized = refused(&url, named("impostor")).await;
    assert_eq!(unauthorized, expected(401, "unauthorized", json!("wrong_credentials")));
    assert_eq!(
        refused(&url, named("nobody")).await,
        expected(400, "bad_request", json!("no name"))
    );
    let foreign = options().header("origin", "https://evil.example");
    let (status, error, _) = refused(&url, foreign).await;
    assert_eq!((status, &*error), (403, "forbidden_origin"));
    let nowhere = format!("http://{}/nowhere", server.address);
    assert_eq!(refused(&nowhere, options()).await, expected(404, "", Value::Null));
}

#[actix_web::test]
async fn an_overloaded_server_is_named() {
    let server = Server::start(|options| options.max_connections(0)).await;
    let refusal = refusal(&server.url(), options()).await;
    assert_eq!((refusal.status, &*refusal.error), (503, "overloaded"));
}

#[actix_web::test]
async fn a_room_that_rejects_the_client_says_why() {
    let server = Server::start(|options| options).await;
    let error = refused(&server.url(), named("unwelcome")).await;
    assert_eq!(error, ConnectError::Rejected(json!("not_you")));
}

#[actix_web::test]
async fn a_room_that_does_not_decide_is_not_waited_for_without_end() {
    let server = Server::start(|options| options).await;
    let options = named("undecided").join_timeout(Duration::from_millis(200));
    assert_eq!(refused(&server.url(), options).await, ConnectError::Timeout);
}

#[actix_web::test]
async fn no_server_is_no_refusal() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = common::url(free.local_addr().unwrap());
    drop(free);
    let error = refused(&url, options()).await;
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
}

#[actix_web::test]
async fn an_address_that_is_none_is_the_callers_error() {
    for url in ["", "localhost:80", "ftp://localhost", "ws://"] {
        let error = refused(url, options()).await;
        assert!(matches!(error, ConnectError::Address(_)), "{url}: {error:?}");
    }
    let error = refused("ws://localhost:1", options().header("a", "b\r\nc")).await;
    assert!(matches!(error, ConnectError::Address(_)), "{error:?}");
}
