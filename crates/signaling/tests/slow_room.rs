//! Rooms that block their threads, as their clients and those of other rooms see them.

mod common;

use std::sync::{Arc, Mutex, mpsc};

use callboard_room_supervisor::*;
use common::{Server, eventually};
use serde_json::json;

/// Makes a room block: it reports that it has reached the point, and waits until the sender is dropped.
type Gate = Arc<Mutex<(mpsc::Sender<()>, mpsc::Receiver<()>)>>;

fn gate() -> (Gate, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((entered, has_entered), (open, opened)) = (mpsc::channel(), mpsc::channel());
    (Arc::new(Mutex::new((entered, opened))), has_entered, open)
}

fn pass(gate: &Gate) {
    let gate = gate.lock().unwrap();
    _ = gate.0.send(());
    _ = gate.1.recv();
}

async fn entered(has_entered: &mpsc::Receiver<()>) {
    eventually("it blocks", || has_entered.try_recv().is_ok()).await;
}

/// A room that blocks its thread when a peer joins.
struct SlowToJoin(Gate);

impl Room for SlowToJoin {
    type Options = Gate;

    fn on_init(gate: &Gate, _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self(Arc::clone(gate)))
    }

    async fn on_join(&mut self, _: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        pass(&self.0);
        Ok(())
    }
}

/// A room that blocks its thread while it is opened.
struct SlowToOpen;

impl Room for SlowToOpen {
    type Options = Gate;

    fn on_init(gate: &Gate, _: &RoomContext) -> Result<Self, Rejection> {
        pass(gate);
        Ok(Self)
    }
}

/// A room that forwards directly, and blocks its thread when it is told to.
struct Direct(Gate);

struct Block;

impl Room for Direct {
    type Options = Gate;
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init(gate: &Gate, _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self(Arc::clone(gate)))
    }
}

impl Tell<Block> for Direct {
    fn on_tell(&mut self, Block: Block, _: &RoomContext) {
        pass(&self.0);
    }
}

#[actix_web::test]
async fn clients_of_a_room_that_forwards_directly_talk_while_it_blocks_its_thread() {
    for server in Server::start_both(|options| options).await {
        let (gate, has_entered, open) = gate();
        let direct = RoomOptions::<Direct>::new("direct", gate);
        server.rooms.start_supervised(direct).await.unwrap();
        let mut a = server.connect_to("/socket/direct", &[]).await.expect("let in");
        let id = a.expect("authenticated").await["peer_id"].clone();
        let mut b = server.connect_to("/socket/direct", &[]).await.expect("let in");
        b.expect("authenticated").await;
        a.expect("joined").await;
        server.rooms.tell::<Direct, _>("direct", Block).unwrap();
        entered(&has_entered).await;

        for number in 0..100 {
            a.send(json!({"event": "word", "data": number, "to": "all"})).await;
        }
        for number in 0..100 {
            assert_eq!(b.expect("word").await, number);
        }
        b.send(json!({"event": "answer", "to": [id]})).await;
        a.expect("answer").await;

        drop(open);
        drop(b);
        a.expect("left").await;
        server.tree.stop().await;
    }
}

#[actix_web::test]
async fn clients_of_other_rooms_join_and_talk_while_a_room_blocks_its_thread() {
    let server = Server::start(|options| options).await;
    let (gate, has_entered, open) = gate();
    let slow = RoomOptions::<SlowToJoin>::new("slow", gate);
    server.rooms.start_supervised(slow).await.unwrap();
    let mut first = server.connect_to("/socket/slow", &[]).await.expect("let in");
    entered(&has_entered).await;
    let mut second = server.connect_to("/socket/slow", &[]).await.expect("let in");

    let ((mut a, none), (mut b, one)) = (server.join().await, server.join().await);
    assert_eq!((none, one), (0, 1));
    a.expect("joined").await;
    b.send(json!({"event": "hello", "to": "all"})).await;
    a.expect("hello").await;
    let mut other = server.connect_to("/socket/other", &[]).await.expect("let in");
    other.expect("authenticated").await;

    drop(open);
    first.expect("authenticated").await;
    second.expect("authenticated").await;
    server.tree.stop().await;
}

#[actix_web::test]
async fn a_room_that_blocks_while_it_is_opened_is_unavailable_and_others_are_opened() {
    let (gate, has_entered, open) = gate();
    let rooms = Rooms::builder().on_demand(move |name| match name {
        "slow" => Some(RoomOptions::<SlowToOpen>::new(name, Arc::clone(&gate)).into()),
        _ => Some(RoomOptions::<common::TestRoom>::new(name, ()).into()),
    });
    let server = Server::start_with(rooms.build(), |options| options).await;
    let refused = async { server.refusal("/socket/slow", &[]).await };
    let others = async {
        entered(&has_entered).await;
        for path in ["/socket/new", "/socket/newer", "/socket/demo"] {
            let mut client = server.connect_to(path, &[]).await.expect("let in");
            client.expect("authenticated").await;
        }
    };

    let (refused, ()) = futures_util::future::join(refused, others).await;

    assert_eq!(refused, (503, json!({"error": "room_unavailable"})));
    // It is still opened, for later clients.
    drop(open);
    let mut client = server.connect_to("/socket/slow", &[]).await.expect("let in");
    client.expect("authenticated").await;
    server.tree.stop().await;
}
