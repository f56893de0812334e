//! Tests of frozen rooms: what is sent to them waits, and their snapshots do not disturb them.

mod common;

use std::time::Duration;

use callboard_room_supervisor::*;
use common::Client;

/// Room that counts the messages of peers, and panics in `snapshot` after the message `trap`.
struct Counter {
    seen: Vec<String>,
}

impl Room for Counter {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self { seen: Vec::new() })
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        self.seen.push(message.event.clone());
        Some(message)
    }

    fn snapshot(&self) -> Option<Snapshot> {
        assert!(!self.seen.iter().any(|event| event == "trap"), "over the trap");
        Snapshot::of(&self.seen).ok()
    }
}

/// Room through which messages go without its actor.
struct Plain;

impl Room for Plain {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

async fn open<R: Room<Options = ()>>() -> (Rooms, RoomHandle) {
    let rooms = Rooms::new();
    rooms.start().await.unwrap();
    let options = RoomOptions::<R>::new("hall", ()).snapshot_version(4);
    let room = rooms.start_supervised(options).await.unwrap();
    (rooms, room)
}

const SOON: Duration = Duration::from_secs(30);

#[actix::test]
async fn a_frozen_room_has_handled_what_came_before_and_keeps_what_comes_after() {
    let (_rooms, room) = open::<Counter>().await;
    let (ann, mut bob) = (Client::joined(&room).await, Client::joined(&room).await);

    ann.say("before", To::All).unwrap();
    let frozen = room.freeze(SOON).await.unwrap();
    ann.say("after", To::All).unwrap();

    let snapshot = frozen.snapshot().unwrap();
    assert_eq!(snapshot.version(), 4);
    assert_eq!(snapshot.read::<Vec<String>>().unwrap(), ["joined", "joined", "before"]);
    bob.expect("before").await;
    // A second freeze waits in the mailbox behind the message.
    assert_eq!(room.freeze(Duration::ZERO).await.unwrap_err(), FreezeError::TimedOut);
    assert!(bob.has_read_all());
    frozen.thaw();
    bob.expect("after").await;
    let again = room.freeze(SOON).await.unwrap();
    assert!(again.snapshot().unwrap().read::<Vec<String>>().unwrap().contains(&"after".into()));
}

#[actix::test]
async fn a_frozen_room_that_forwards_directly_keeps_what_comes_as_well() {
    let (_rooms, room) = open::<Plain>().await;
    let (ann, mut bob) = (Client::joined(&room).await, Client::joined(&room).await);

    let frozen = room.freeze(SOON).await.unwrap();
    assert!(frozen.snapshot().is_none());
    ann.say("one", To::All).unwrap();
    assert!(bob.has_read_all());
    drop(frozen);
    ann.say("two", To::All).unwrap();

    bob.expect("one").await;
    bob.expect("two").await;
}

#[actix::test]
async fn a_panic_in_snapshot_costs_the_snapshot_alone() {
    let (_rooms, room) = open::<Counter>().await;
    let (ann, mut bob) = (Client::joined(&room).await, Client::joined(&room).await);
    ann.say("trap", To::All).unwrap();
    bob.expect("trap").await;

    let frozen = room.freeze(SOON).await.unwrap();
    assert!(frozen.snapshot().is_none());
    frozen.thaw();
    ann.say("on", To::All).unwrap();

    bob.expect("on").await;
}

#[actix::test]
async fn a_room_that_is_closed_cannot_be_frozen() {
    let (_rooms, room) = open::<Plain>().await;
    room.stop("bye").await;

    assert_eq!(room.freeze(SOON).await.unwrap_err(), FreezeError::RoomUnavailable);
}
