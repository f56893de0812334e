//! Client as a room sees it: an outbox, and the frames that came out of it.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod nodes;

use std::sync::Arc;

use actix::{Actor, Handler};
use callboard_room_supervisor::*;
use serde_json::Value;
use tokio::sync::Notify;

/// Socket that passes on that frames wait.
struct Wire(Arc<Notify>);

impl Actor for Wire {
    type Context = actix::Context<Self>;
}

impl Handler<OutboxReady> for Wire {
    type Result = ();
    fn handle(&mut self, _: OutboxReady, _: &mut Self::Context) {
        self.0.notify_one();
    }
}

pub(crate) struct Client {
    pub(crate) id: PeerId,
    pub(crate) membership: Option<Membership>,
    pub(crate) outbox: Arc<Outbox>,
    socket: SocketNumber,
    waiting: Arc<Notify>,
}

impl Client {
    /// Creates a client with a membership that has not joined.
    pub(crate) fn reserved(room: &RoomHandle) -> Self {
        Self::named(room, "somebody", OutboxLimits::default())
    }

    pub(crate) fn named(room: &RoomHandle, name: &str, limits: OutboxLimits) -> Self {
        Self::new(room, PeerId::random(), name, limits).expect("the room is open")
    }

    /// Creates a client of a peer that may be in another room as well, with a membership that has not joined.
    pub(crate) fn with_id(room: &RoomHandle, id: PeerId) -> Result<Self, JoinError> {
        Self::new(room, id, "somebody", OutboxLimits::default())
    }

    fn new(
        room: &RoomHandle,
        id: PeerId,
        name: &str,
        limits: OutboxLimits,
    ) -> Result<Self, JoinError> {
        let waiting = Arc::new(Notify::new());
        let outbox = Arc::new(Outbox::new(limits));
        let socket = outbox.attach(Wire(Arc::clone(&waiting)).start().recipient(), None);
        let auth = AuthData { metadata: name.into(), ..AuthData::new(id) };
        let member = NewMember::new(auth, Arc::clone(&outbox));
        let membership = Some(room.reserve(member)?);
        Ok(Self { id, membership, outbox, socket, waiting })
    }

    /// Creates a client that has joined, and has read its `authenticated`.
    pub(crate) async fn joined(room: &RoomHandle) -> Self {
        let mut client = Self::reserved(room);
        client.join().await.expect("welcome");
        assert_eq!(client.event().await.0, "authenticated");
        client
    }

    pub(crate) async fn join(&self) -> Result<(), JoinError> {
        self.membership.as_ref().expect("reserved").join().await
    }

    pub(crate) fn say(&self, event: &str, to: To) -> Result<(), ForwardError> {
        let message = RoomMessage::new(event, &"data").expect("a string").to(to);
        self.membership.as_ref().expect("reserved").forward(message)
    }

    /// Comes back with another connection: what was read of the one before may be lost.
    pub(crate) fn resume(&self) {
        self.membership.as_ref().expect("reserved").list_members();
    }

    pub(crate) fn leave(&mut self) {
        self.membership = None;
    }

    /// Returns the next item of the outbox.
    pub(crate) async fn next(&mut self) -> Deliver {
        let next = async {
            loop {
                match self.outbox.next(self.socket) {
                    Some(deliver) => return deliver,
                    None => self.waiting.notified().await,
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), next)
            .await
            .expect("something in time")
    }

    /// Returns the next message: its event, and the whole message.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        match self.next().await {
            Deliver::Frame(text) => {
                let value: Value = serde_json::from_str(&text).expect("JSON");
                (value["event"].as_str().expect("an event").to_owned(), value)
            }
            Deliver::Close(close) => panic!("closed: {close:?}"),
        }
    }

    /// Asserts that the next message is this event; returns its data.
    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        let (next, value) = self.event().await;
        assert_eq!(next, event, "{value}");
        value["data"].clone()
    }

    pub(crate) async fn expect_close(&mut self, close: CloseFrame) {
        assert_eq!(self.next().await, Deliver::Close(close));
    }

    /// Returns the next item of the outbox, if there is one.
    pub(crate) fn take(&mut self) -> Option<Deliver> {
        self.outbox.next(self.socket)
    }

    /// Returns whether all messages have been read.
    pub(crate) fn has_read_all(&mut self) -> bool {
        self.outbox.next(self.socket).is_none()
    }
}
