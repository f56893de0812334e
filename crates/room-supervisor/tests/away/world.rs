//! Three nodes, their rooms, and clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use callboard_cluster::{Embedded, MemoryWire};
use callboard_room_supervisor::*;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::common::Client;
use crate::common::nodes::{Node, within};

/// Room of whose callbacks the test is told.
pub(crate) struct Hall(Arc<Book>);

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) inits: AtomicUsize,
    pub(crate) joins: AtomicUsize,
    pub(crate) leaves: AtomicUsize,
    pub(crate) forwards: AtomicUsize,
    /// Permits for `on_join`, if there is a gate.
    pub(crate) gate: Option<Semaphore>,
    pub(crate) at_gate: AtomicUsize,
    pub(crate) restores: AtomicUsize,
    /// What happens when the next snapshot is taken.
    pub(crate) at_snapshot: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Book {
    pub(crate) fn at_snapshot(&self, happens: impl FnOnce() + Send + 'static) {
        *self.at_snapshot.lock().unwrap() = Some(Box::new(happens));
    }

    pub(crate) fn read(count: &AtomicUsize) -> usize {
        count.load(Ordering::SeqCst)
    }
}

impl Room for Hall {
    type Options = Arc<Book>;

    fn on_init(book: &Arc<Book>, _: &RoomContext) -> Result<Self, Rejection> {
        book.inits.fetch_add(1, Ordering::SeqCst);
        Ok(Self(Arc::clone(book)))
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        if auth.metadata == "nobody" {
            return Err(Rejection::with_details("banned", json!({ "days": 3 })));
        }
        if let Some(gate) = &self.0.gate {
            self.0.at_gate.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
        }
        self.0.joins.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn on_leave(&mut self, _: PeerId, _: &RoomContext) {
        self.0.leaves.fetch_add(1, Ordering::SeqCst);
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        self.0.forwards.fetch_add(1, Ordering::SeqCst);
        assert_ne!(message.event, "crash");
        (message.event != "secret").then_some(message)
    }
}

impl Tell<()> for Hall {
    fn on_tell(&mut self, (): (), _: &RoomContext) {}
}

/// Room that counts what is said in it, and has a state that goes with it.
pub(crate) struct Tally {
    hall: Hall,
    total: u64,
}

impl Room for Tally {
    type Options = Arc<Book>;

    fn on_init(book: &Arc<Book>, room: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self { hall: Hall::on_init(book, room)?, total: 0 })
    }

    async fn on_join(&mut self, auth: &AuthData, room: &RoomContext) -> Result<(), Rejection> {
        self.hall.on_join(auth, room).await
    }

    fn on_leave(&mut self, peer: PeerId, room: &RoomContext) {
        self.hall.on_leave(peer, room);
    }

    fn on_forward(&mut self, mut message: RoomMessage, room: &RoomContext) -> Option<RoomMessage> {
        match message.event.as_str() {
            "number" => self.total += 1,
            "total" => {
                message = RoomMessage {
                    from: message.from,
                    to: message.to,
                    ..RoomMessage::new("total", &self.total).unwrap()
                }
            }
            _ => {}
        }
        self.hall.on_forward(message, room)
    }

    fn snapshot(&self) -> Option<Snapshot> {
        if let Some(happens) = self.hall.0.at_snapshot.lock().unwrap().take() {
            happens();
        }
        Some(Snapshot::of(&self.total).unwrap())
    }

    fn restore(book: &Arc<Book>, snapshot: &Snapshot, _: &RoomContext) -> Result<Self, String> {
        book.restores.fetch_add(1, Ordering::SeqCst);
        let total = snapshot.read().map_err(|error| error.to_string())?;
        Ok(Self { hall: Hall(Arc::clone(book)), total })
    }
}

impl Tell<()> for Tally {
    fn on_tell(&mut self, (): (), _: &RoomContext) {}
}

/// Room whose messages do not wait for it.
pub(crate) struct Direct;

impl Room for Direct {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

pub(crate) struct World {
    pub(crate) wire: MemoryWire,
    pub(crate) directory: Embedded,
    pub(crate) a1: Node,
    pub(crate) b2: Node,
    pub(crate) c3: Node,
    pub(crate) book: Arc<Book>,
}

pub(crate) fn options(name: &str, book: &Arc<Book>) -> AnyRoomOptions {
    if name.starts_with("direct") {
        return RoomOptions::<Direct>::new(name, ()).close_when_empty(true).into();
    }
    if name.starts_with("tally") {
        return RoomOptions::<Tally>::new(name, Arc::clone(book)).into();
    }
    RoomOptions::<Hall>::new(name, Arc::clone(book)).close_when_empty(name == "brief").into()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Book::default()).await
    }

    pub(crate) async fn with(book: Book) -> Self {
        let (wire, directory, book) = (MemoryWire::new(), Embedded::new(), Arc::new(book));
        let start = async |name: &'static str| {
            let book = Arc::clone(&book);
            let open = move |name: &str| Some(options(name, &book));
            Node::on_wire(&directory, &wire, name, |rooms| rooms.on_demand(open)).await
        };
        let (a1, b2, c3) = (start("a1").await, start("b2").await, start("c3").await);
        Self { wire, directory, a1, b2, c3, book }
    }

    pub(crate) fn nodes(&self) -> [&Node; 3] {
        [&self.a1, &self.b2, &self.c3]
    }

    /// Opens a room at the first node, and then at the others.
    pub(crate) async fn open(&self, name: &str) -> [RoomHandle; 3] {
        let home = self.a1.open(name).await;
        assert_eq!(home.home(), None);
        let (b, c) = (self.b2.open(name).await, self.c3.open(name).await);
        for away in [&b, &c] {
            assert_eq!(away.home().as_ref(), Some(self.a1.cluster.node()));
        }
        [home, b, c]
    }
}

pub(crate) fn say(
    from: &Client,
    event: &str,
    data: &Value,
    to: impl Into<To>,
) -> Result<(), ForwardError> {
    let message = RoomMessage::new(event, data).unwrap().to(to.into());
    from.membership.as_ref().unwrap().forward(message)
}

/// Joins, and returns the client and its `authenticated`.
pub(crate) async fn join(room: &RoomHandle, name: &str) -> (Client, Value) {
    let mut client = Client::named(room, name, OutboxLimits::default());
    within(client.join()).await.unwrap();
    let welcome = client.expect("authenticated").await;
    (client, welcome)
}

pub(crate) async fn expect_closed(client: &mut Client, details: &str, code: u16) {
    let closed = client.expect("error").await;
    assert_eq!(closed, json!({ "description": "Room closed", "details": details }));
    let Deliver::Close(close) = client.next().await else { panic!("it is closed") };
    assert_eq!(close.code, code);
}
