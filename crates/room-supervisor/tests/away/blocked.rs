//! Threads of rooms that are blocked: messages of rooms that other nodes run pass them by, in order.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use callboard_room_supervisor::*;
use futures_util::future::FutureExt;
use serde_json::json;

use crate::common::Client;
use crate::common::nodes::{Node, until, within};
use crate::world::{World, join, options, say};

/// Room that blocks its thread while it forwards a message that asks for it.
struct Blocker(Arc<Gate>);

struct Gate {
    blocks: SyncSender<()>,
    opens: Mutex<Receiver<()>>,
}

impl Room for Blocker {
    type Options = Arc<Gate>;

    fn on_init(gate: &Arc<Gate>, _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self(Arc::clone(gate)))
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        if message.event == "block" {
            self.0.blocks.send(()).unwrap();
            // Or the test has failed.
            _ = self.0.opens.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        Some(message)
    }
}

#[actix::test]
async fn messages_of_a_room_elsewhere_pass_a_blocked_thread_and_stay_in_order() {
    let world = World::new().await;
    let book = Arc::clone(&world.book);
    let open = move |name: &str| Some(options(name, &book));
    let d4 = Node::on_wire(&world.directory, &world.wire, "d4", |rooms| {
        rooms.threads(1).on_demand(open)
    })
    .await;
    let home = world.a1.open("demo").await;
    let away = d4.open("demo").await;
    let ((mut ann, _), (mut dan, _)) = (join(&home, "ann").await, join(&away, "dan").await);
    ann.expect("joined").await;
    say(&ann, "hello", &json!(0), To::All).unwrap();
    dan.expect("hello").await;
    let ((blocks, blocked), (opens, opened)) = (sync_channel(1), sync_channel(1));
    let gate = Arc::new(Gate { blocks, opens: Mutex::new(opened) });
    let blocker = RoomOptions::<Blocker>::new("blocker", gate);
    let blocker = d4.rooms.start_supervised(blocker).await.unwrap();
    let (eve, _) = join(&blocker, "eve").await;
    say(&eve, "block", &json!(0), To::All).unwrap();
    until(|| blocked.try_recv().is_ok()).await;

    for number in 0..100 {
        say(&ann, "number", &json!(number), To::All).unwrap();
        assert_eq!(dan.expect("number").await, json!(number));
    }
    for number in 0..100 {
        say(&dan, "number", &json!(number), To::All).unwrap();
        assert_eq!(ann.expect("number").await, json!(number));
    }
    for number in 0..100 {
        say(&dan, "number", &json!(number), To::All).unwrap();
    }
    for number in 0..100 {
        assert_eq!(ann.expect("number").await, json!(number));
    }

    // A peer that comes waits for the thread, and so do others behind it.
    let guest = Client::named(&away, "fay", OutboxLimits::default());
    let joining = guest.join();
    let mut joining = std::pin::pin!(joining);
    assert!(joining.as_mut().now_or_never().is_none());
    drop(opens);
    within(joining).await.unwrap();
    dan.expect("joined").await;
}
