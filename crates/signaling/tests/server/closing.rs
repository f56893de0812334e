//! Closing a client with a code, and joining as its peer sees it.

use callboard_signaling::CloseError;
use serde_json::json;

use crate::common::Server;
use crate::common::away::GRACE;

#[actix::test]
async fn a_client_that_is_kicked_out_learns_why_leaves_once_and_cannot_resume() {
    let server = Server::start(|options| options.resume_grace(GRACE)).await;
    let (mut bystander, _) = server.join().await;
    let (mut guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;

    guest.send(json!({ "event": "kick_me", "to": "all" })).await;

    guest.expect_close(4001).await;
    assert_eq!(bystander.expect("left").await, json!({ "peer_id": guest.id }));
    let path = format!("/socket/demo?resume={token}");
    // A client that was not told yet is told now, and the others get nothing.
    server.connect_to(&path, &[]).await.expect("let in").expect_close(4001).await;
    bystander.send(json!({ "event": "echo", "to": [bystander.id] })).await;
    bystander.expect("echo").await;
}

#[actix::test]
async fn codes_that_no_server_closes_with_are_refused() {
    let (clients, mut met) = tokio::sync::mpsc::unbounded_channel();
    let hooks = callboard_signaling::Hooks::builder().plugin("test", |test| {
        test.hook("meet", move |(): (), context: callboard_signaling::rpc::HookContext| {
            let sent = clients.send(context.client).is_ok();
            async move { Ok::<_, callboard_signaling::Rejection>(sent) }
        })
    });
    let hooks = hooks.build().unwrap();
    let server = Server::start(|options| options.hooks(hooks)).await;
    let (mut guest, _) = server.join().await;
    guest
        .send(json!({ "type": "call_hook", "id": 1, "plugin": "test", "fn": "meet", "args": [] }))
        .await;
    assert_eq!(guest.message().await["data"], true);
    let peer = met.recv().await.unwrap();

    for code in [0, 999, 1002, 1005, 1006, 1007, 1009, 1014, 1015, 2999, 5000] {
        assert_eq!(peer.close(code, ""), Err(CloseError::Code(code)));
    }
    assert_eq!(
        CloseError::Code(42).to_string(),
        "42 is no code to close a client with: 1000, 1001, 1008, 1011 to 1013 and 3000 to 4999 are"
    );
    let long = "123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 1234";
    assert_eq!(peer.close(4000, long), Err(CloseError::LongReason));
    guest.text("ping").await;
    assert_eq!(guest.message().await["text"], "pong", "it is still there");
    assert_eq!(peer.close(4999, &long[1..]), Ok(()));

    guest.expect_close(4999).await;
}

#[actix::test]
async fn a_peer_hears_that_it_has_joined_before_it_hears_its_client_and_again_after_a_crash() {
    let server = Server::start(|options| options).await;
    let mut guest = server.connect(&[("name", "greeted")]).await.unwrap();
    guest.send(json!({ "event": "whoami", "to": "all" })).await;

    guest.expect("authenticated").await;
    assert_eq!(guest.expect("greeting").await, "demo");
    guest.expect("you_are").await;
    guest.send(json!({ "event": "explode_peer", "to": "all" })).await;

    assert_eq!(guest.expect("greeting").await, "demo");
    guest.expect_error("Peer restarted").await;
    let refused = server.connect(&[("name", "unwelcome")]).await;
    refused.unwrap().expect_error("Could not join room").await;
}

/// A client can tell by the code: 1000 is for good, 1012 is not.
#[actix::test]
async fn a_room_that_is_closed_says_so_with_another_code_than_one_that_has_failed() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    server.rooms.lookup("demo").unwrap().stop("the lesson is over").await;
    assert_eq!(a.expect_error("Room closed").await, "the lesson is over");
    a.expect_close(1000).await;

    let mut b = server.connect_to("/socket/other", &[]).await.unwrap();
    b.expect("authenticated").await;
    for _ in 0..3 {
        b.send(json!({ "event": "explode_room", "to": "all" })).await;
        b.expect("room_restarted").await;
    }
    b.send(json!({ "event": "explode_room", "to": "all" })).await;
    assert_eq!(b.expect_error("Room closed").await, "crashed");
    b.expect_close(1012).await;
}
