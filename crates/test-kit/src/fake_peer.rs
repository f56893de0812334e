//! Member of a room without a WebSocket: it sends messages, and reads what the room has sent it.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use callboard_room_supervisor::{
    AuthData, CloseFrame, Deliver, ForwardError, JoinError, Membership, NewMember, Outbox,
    OutboxLimits, OutboxReady, PeerId, RoomHandle, RoomMessage, SocketNumber, To,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

/// A peer in a room, in place of a client's. It leaves when it is dropped.
///
/// Its methods that wait give up after two minutes, which is no time if time is virtual.
#[derive(Debug)]
pub struct FakePeer {
    id: PeerId,
    membership: Membership,
    outbox: Arc<Outbox>,
    socket: SocketNumber,
    waiting: Arc<Notify>,
}

impl FakePeer {
    /// Creates a peer that joins this room, and reads its `authenticated`. Needs an actix system.
    ///
    /// # Errors
    /// [`JoinError`]
    pub async fn join(room: &RoomHandle) -> Result<Self, JoinError> {
        Self::join_as(room, AuthData::new(PeerId::random())).await
    }

    /// Creates a peer with this authentication data, likewise.
    ///
    /// # Errors
    /// [`JoinError`]
    pub async fn join_as(room: &RoomHandle, auth: AuthData) -> Result<Self, JoinError> {
        let waiting = Arc::new(Notify::new());
        let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
        let socket = outbox.attach(Wire(Arc::clone(&waiting)).start().recipient(), None);
        let id = auth.peer_id;
        let membership = room.reserve(NewMember::new(auth, Arc::clone(&outbox)))?;
        membership.join().await?;
        let mut peer = Self { id, membership, outbox, socket, waiting };
        peer.expect("authenticated").await;
        Ok(peer)
    }

    /// Returns the peer's id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Sends a message through the room.
    ///
    /// # Errors
    /// [`ForwardError`]
    ///
    /// # Panics
    /// If the data cannot be written as JSON.
    pub fn send(&self, to: To, event: &str, data: &impl Serialize) -> Result<(), ForwardError> {
        let message = RoomMessage::new(event, data).expect("data that can be written as JSON");
        self.membership.forward(message.to(to))
    }

    /// Returns the next message that the room has sent, as the client would get it.
    ///
    /// # Panics
    /// If there is none within two minutes, or the peer is closed.
    #[track_caller]
    pub fn next_message(&mut self) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            match self.deliver().await {
                Some(Deliver::Frame(text)) => {
                    serde_json::from_str(&text).expect("a room sends JSON")
                }
                other => panic!("{place}: no message within {PATIENCE:?}, but {other:?}"),
            }
        }
    }

    /// Returns the data of the next message, which must be of this event.
    ///
    /// # Panics
    /// If another message comes, or none within two minutes.
    #[track_caller]
    pub fn expect(&mut self, event: &str) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        let next = self.next_message();
        async move {
            let mut message = next.await;
            assert_eq!(message["event"], event, "{place}: {message}");
            message["data"].take()
        }
    }

    /// Returns how the room closes the peer, which must come next.
    ///
    /// # Panics
    /// If a message comes, or nothing within two minutes.
    #[track_caller]
    pub fn expect_close(&mut self) -> impl Future<Output = CloseFrame> {
        let place = std::panic::Location::caller();
        async move {
            match self.deliver().await {
                Some(Deliver::Close(close)) => close,
                other => panic!("{place}: not closed within {PATIENCE:?}, but {other:?}"),
            }
        }
    }

    async fn deliver(&mut self) -> Option<Deliver> {
        let next = async {
            loop {
                match self.outbox.next(self.socket) {
                    Some(deliver) => return deliver,
                    None => self.waiting.notified().await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.ok()
    }
}

/// Socket that passes on that something waits.
struct Wire(Arc<Notify>);

impl Actor for Wire {
    type Context = Context<Self>;
}

impl Handler<OutboxReady> for Wire {
    type Result = ();

    fn handle(&mut self, _: OutboxReady, _: &mut Context<Self>) {
        self.0.notify_one();
    }
}

/// How long a peer waits for what must come; twice the longest timer that is likely to be waited for.
const PATIENCE: Duration = Duration::from_secs(120);
