//! Client as the Membrane WebRTC Server's documents describe it, and nothing beyond them.
//!
//! It connects with its credentials in a cookie, waits for `authenticated`, distinguishes `joined`, `left` and `error`,
//! and sends offers, answers and candidates as events of its own `to` one peer. It does not know the `peers` list,
//! `room_restarted`, or any description of an error but the three.

mod common;

use common::{ANY_PORT, PATIENCE, Program};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

struct MembraneClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    peer_id: String,
}

impl MembraneClient {
    async fn open(program: &Program, room: &str) -> Self {
        let mut request =
            format!("ws://{}/webrtc/{room}", program.address).into_client_request().unwrap();
        let cookie = r#"credentials={"username":"USERNAME","password":"PASSWORD"}"#;
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("admitted");
        Self { socket, peer_id: String::new() }
    }

    async fn join(program: &Program, room: &str) -> Self {
        let mut client = Self::open(program, room).await;
        let message = client.next().await;
        assert_eq!((&message["event"], &message["from"]), (&json!("authenticated"), &json!(null)));
        client.peer_id = message["data"]["peer_id"].as_str().expect("an id").to_owned();
        assert_eq!(message["to"], json!([client.peer_id]));
        client
    }

    async fn send(&mut self, event: &str, data: Value, to: &str) {
        let message = json!({ "event": event, "data": data, "to": [to] }).to_string();
        self.socket.send(Message::text(message)).await.expect("open");
    }

    async fn next(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("in time");
            match next.expect("open").expect("a frame") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn closed(&mut self) -> bool {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("in time");
        matches!(next, None | Some(Ok(Message::Close(_)) | Err(_)))
    }
}

#[tokio::test]
async fn a_call_is_set_up_and_ended_as_in_the_guide() {
    let program = Program::start(&ANY_PORT).await;
    let mut first = MembraneClient::join(&program, "room").await;
    let mut second = MembraneClient::join(&program, "room").await;
    let joined = json!({ "event": "joined", "data": { "peer_id": second.peer_id }, "from": null, "to": "all" });
    assert_eq!(first.next().await, joined);

    let (one, two) = (first.peer_id.clone(), second.peer_id.clone());
    first.send("offer", json!({ "sdp": "v=0…" }), &two).await;
    let offer = json!({ "event": "offer", "data": { "sdp": "v=0…" }, "from": one, "to": [two] });
    assert_eq!(second.next().await, offer);
    second.send("answer", json!({ "sdp": "v=0" }), &one).await;
    assert_eq!(first.next().await["event"], "answer");
    for index in 0..3 {
        second.send("candidate", json!({ "candidate": index }), &one).await;
        assert_eq!(first.next().await["data"]["candidate"], index);
    }

    drop(second);
    let left = json!({ "event": "left", "data": { "peer_id": two }, "from": null, "to": "all" });
    assert_eq!(first.next().await, left);
}

#[tokio::test]
async fn a_third_one_is_told_that_the_room_is_full_and_disconnected() {
    let program = Program::start(&ANY_PORT).await;
    let _first = MembraneClient::join(&program, "room").await;
    let _second = MembraneClient::join(&program, "room").await;

    let mut third = MembraneClient::open(&program, "room").await;

    let error = third.next().await;
    assert_eq!(error["event"], "error");
    assert_eq!(
        error["data"],
        json!({ "description": "Could not join room", "details": "room_is_full" })
    );
    assert!(third.closed().await);
}

#[tokio::test]
async fn text_that_is_no_json_is_answered_and_the_connection_stays() {
    let program = Program::start(&ANY_PORT).await;
    let mut client = MembraneClient::join(&program, "other").await;

    client.socket.send(Message::text("not json")).await.unwrap();

    assert_eq!(client.next().await["data"]["description"], "Invalid message");
    let own = client.peer_id.clone();
    client.send("echo", json!(1), &own).await;
    assert_eq!(client.next().await["event"], "echo");
}

#[tokio::test]
async fn everyone_is_told_when_the_server_ends() {
    let mut program = Program::start(&ANY_PORT).await;
    let mut client = MembraneClient::join(&program, "room").await;

    program.signal("-TERM");

    assert_eq!(client.next().await["data"]["description"], "Room closed");
    assert!(client.closed().await);
    assert_eq!(program.ended().await.code(), Some(0));
}
