//! Clients that lose their connections, and a server with a grace period.

use std::time::Duration;

use callboard_signaling::Count;
use callboard_supervision::SupervisorRef;
use serde_json::{Value, json};
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::{Client, Server, cut, eventually};

/// Grace period longer than any test.
pub(crate) const GRACE: Duration = Duration::from_secs(600);

pub(crate) async fn server() -> Server {
    Server::start(|options| options.resume_grace(GRACE)).await
}

impl Server {
    /// Resumes a session; returns the client with its next token.
    pub(crate) async fn resume(&self, token: &str) -> (Client, String) {
        let path = format!("/socket/demo?resume={token}");
        let mut client = self.connect_to(&path, &[]).await.expect("let in");
        let data = client.expect("resumed").await;
        client.id = data["peer_id"].as_str().expect("an id").to_owned();
        (client, data["resume"]["token"].as_str().expect("a token").to_owned())
    }

    /// Waits until all is written that is sent to a client.
    pub(crate) async fn has_written(&self, client: &Client) {
        let room = self.rooms.lookup("demo").expect("it runs");
        let id = client.id.parse().expect("an id");
        let written = || room.member(id).is_some_and(|it| it.outbox().backlog() == (0, 0));
        eventually("all is written", written).await;
    }
}

impl Client {
    /// Expects the list of members next; returns their ids, in order.
    pub(crate) async fn expect_list(&mut self) -> Vec<String> {
        let Some(Frame::Text(text)) = self.next().await else { panic!("it is closed") };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(message["event"], "room_members", "{message}");
        serde_json::from_value(message["data"]["peers"].clone()).expect("a list of ids")
    }
}

/// Waits until this has happened this often.
pub(crate) async fn counted(server: &Server, count: Count, times: u64) {
    eventually(&format!("{count:?} {times} times"), || server.counters.get(count) >= times).await;
}

/// Loses a client's connection, and waits until the server has noticed.
pub(crate) async fn lose(server: &Server, client: Client) {
    let before = server.counters.get(Count::Lost);
    cut(client);
    counted(server, Count::Lost, before + 1).await;
}

/// Makes the room handle all earlier messages; its answer must come next.
pub(crate) async fn settle(client: &mut Client) {
    client.send(json!({ "event": "settled", "to": [client.id] })).await;
    client.expect("settled").await;
}

/// Waits until something has come that the client has not read.
pub(crate) async fn has_unread(client: &Client) {
    let MaybeTlsStream::Plain(tcp) = client.socket.get_ref() else { panic!("it is not encrypted") };
    let peeked = tokio::time::timeout(Duration::from_secs(60), tcp.peek(&mut [0])).await;
    assert_eq!(peeked.expect("something within a minute").expect("an open connection"), 1);
}

pub(crate) fn room_node(server: &Server) -> SupervisorRef {
    let rooms = server.tree.supervisor("rooms").expect("it runs");
    rooms.supervisor("demo").expect("it runs")
}

pub(crate) const CANNOT: fn() -> (u16, Value) = || (410, json!({ "error": "cannot_resume" }));
