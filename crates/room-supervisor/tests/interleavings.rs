//! Test of joins, leaves, messages and crashes in any order: the events that a permanent member sees are consistent.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_room_supervisor::*;
use common::Client;
use proptest::prelude::*;
use serde_json::Value;

/// Room that panics when it is told to.
struct Fragile;

impl Room for Fragile {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    /// Takes a few turns, so that others act while the room admits a peer, or readmits it.
    async fn on_join(&mut self, _: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        assert_ne!(message.event, "explode");
        Some(message)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join,
    /// The nth of the members leaves.
    Leave(usize),
    Say(usize),
    Crash(usize),
    /// All messages are handled before the next step; without this, steps overlap.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Join),
        3 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::Say),
        1 => any::<usize>().prop_map(Step::Crash),
        2 => Just(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_who_is_there_sees_each_join_and_leave_once(steps in prop::collection::vec(step(), 1..40)) {
        actix::System::new().block_on(play(steps));
    }
}

async fn play(steps: Vec<Step>) {
    let rooms = Rooms::builder().threads(0).build();
    let server = rooms.start().await.expect("nothing to go wrong");
    let options = RoomOptions::<Fragile>::new("demo", ()).intensity(1000, Duration::from_secs(1));
    let room = rooms.start_supervised(options).await.expect("a free name");
    let mut witness = Client::joined(&room).await;
    let mut view = BTreeSet::new();
    let mut there: Vec<Client> = Vec::new();

    for step in steps {
        match step {
            Step::Join => {
                let client = Client::reserved(&room);
                // A crash may come first; then it is not a member.
                if client.join().await.is_ok() {
                    there.push(client);
                }
            }
            Step::Leave(nth) if !there.is_empty() => drop(there.swap_remove(nth % there.len())),
            // While the room is down, no messages are taken.
            Step::Say(nth) if !there.is_empty() => {
                _ = there[nth % there.len()].say("hello", To::All)
            }
            Step::Crash(nth) if !there.is_empty() => {
                _ = there[nth % there.len()].say("explode", To::All)
            }
            Step::Settle => settle(&room, &mut witness, &mut view).await,
            Step::Leave(_) | Step::Say(_) | Step::Crash(_) => {}
        }
    }
    settle(&room, &mut witness, &mut view).await;

    // A room may have crashed over a join after it answered: such clients are told, and disconnected.
    let left: BTreeSet<PeerId> =
        there.iter().filter(|client| !client.outbox.is_closed()).map(|client| client.id).collect();
    assert_eq!(view, left);
    assert_eq!(
        room.peers().into_iter().filter(|&peer| peer != witness.id).collect::<BTreeSet<_>>(),
        left
    );
    room.stop("done").await;
    assert!(rooms.names().is_empty());
    server.stop().await;
}

/// Reads all messages up to a mark that the room itself sends.
async fn settle(room: &RoomHandle, witness: &mut Client, view: &mut BTreeSet<PeerId>) {
    let mark = RoomMessage::new("mark", &()).expect("nothing").to(To::Peers(vec![witness.id]));
    while room.forward_message(mark.clone()).await.is_err() {
        tokio::task::yield_now().await;
    }
    loop {
        let (event, message) = witness.event().await;
        let peer =
            |value: &Value| value.as_str().and_then(|id| id.parse::<PeerId>().ok()).expect("an id");
        match event.as_str() {
            "mark" => break,
            "joined" => {
                assert!(view.insert(peer(&message["data"]["peer_id"])), "joined twice: {message}")
            }
            "left" => assert!(
                view.remove(&peer(&message["data"]["peer_id"])),
                "left twice, or a ghost: {message}"
            ),
            "room_restarted" => {
                let peers = message["data"]["peers"].as_array().expect("a list");
                assert!(
                    peers.iter().map(peer).all(|peer| peer == witness.id || view.contains(&peer)),
                    "{message}"
                );
            }
            "hello" => {}
            other => panic!("unexpected: {other}"),
        }
    }
}
