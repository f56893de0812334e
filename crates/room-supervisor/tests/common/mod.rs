//! A client as a room sees it: an outbox, and what came out of it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use actix::{Actor, Handler};
use callboard_room_supervisor::*;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

/// Passes on what it is delivered.
struct Wire(mpsc::UnboundedSender<Deliver>);

impl Actor for Wire {
    type Context = actix::Context<Self>;
}

impl Handler<Deliver> for Wire {
    type Result = ();
    fn handle(&mut self, deliver: Deliver, _: &mut Self::Context) {
        _ = self.0.send(deliver);
    }
}

pub(crate) struct Client {
    pub(crate) id: PeerId,
    pub(crate) lease: Option<Lease>,
    pub(crate) outbox: Arc<Outbox>,
    delivered: mpsc::UnboundedReceiver<Deliver>,
}

impl Client {
    /// A client with a seat, that has not joined.
    pub(crate) fn seated(room: &RoomHandle) -> Self {
        Self::named(room, "somebody", OutboxLimits::default())
    }

    pub(crate) fn named(room: &RoomHandle, name: &str, limits: OutboxLimits) -> Self {
        let (sender, delivered) = mpsc::unbounded_channel();
        let outbox = Arc::new(Outbox::new(limits, Wire(sender).start().recipient()));
        let id = PeerId::random();
        let auth = AuthData { peer_id: id, credentials: Map::new(), metadata: name.into() };
        let lease = room.seat(auth, Arc::clone(&outbox)).expect("the room is open");
        Self { id, lease: Some(lease), outbox, delivered }
    }

    /// A client that has joined, and has read its `authenticated`.
    pub(crate) async fn joined(room: &RoomHandle) -> Self {
        let mut client = Self::seated(room);
        client.join().await.expect("welcome");
        assert_eq!(client.event().await.0, "authenticated");
        client
    }

    pub(crate) async fn join(&self) -> Result<(), JoinError> {
        self.lease.as_ref().expect("seated").join().await
    }

    pub(crate) fn say(&self, event: &str, to: To) -> Result<(), ForwardError> {
        let message = Message::new(event, &"data").expect("a string").to(to);
        self.lease.as_ref().expect("seated").forward(message)
    }

    pub(crate) fn leave(&mut self) {
        self.lease = None;
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Deliver {
        let next = tokio::time::timeout(std::time::Duration::from_secs(5), self.delivered.recv());
        next.await.expect("something within 5 s").expect("the wire is there")
    }

    /// The next message: its event and all of it.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        match self.next().await {
            Deliver::Frame(text) => {
                self.outbox.drained(1, text.len());
                let value: Value = serde_json::from_str(&text).expect("JSON");
                (value["event"].as_str().expect("an event").to_owned(), value)
            }
            Deliver::Close(close) => panic!("closed: {close:?}"),
        }
    }

    /// The next message must be this one.
    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        let (next, value) = self.event().await;
        assert_eq!(next, event, "{value}");
        value["data"].clone()
    }

    pub(crate) async fn expect_close(&mut self, close: Close) {
        assert_eq!(self.next().await, Deliver::Close(close));
    }

    /// Nothing has come that was not read.
    pub(crate) fn has_read_all(&mut self) -> bool {
        self.delivered.try_recv().is_err()
    }
}
