//! Test of joins, leaves, direct messages and crashes in any order, beside a room on a thread of its own: what each
//! member sees is consistent.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use callboard_room_supervisor::*;
use common::Client;
use proptest::prelude::*;
use serde_json::Value;

/// Room that forwards directly, and panics when it is told to.
struct Fragile;

struct Panic;

impl Room for Fragile {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    /// Takes a few turns, so that others act while the room admits a peer, or readopts it.
    async fn on_join(&mut self, _: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl Tell<Panic> for Fragile {
    fn on_tell(&mut self, Panic: Panic, _: &RoomContext) {
        panic!("on_tell");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join,
    /// The nth of the members leaves.
    Leave(usize),
    SayToAll(usize),
    /// The nth of the members says something to another.
    SayTo(usize, usize),
    /// It does so on the way through the room.
    SayThroughRoom(usize, usize),
    Crash,
    /// All messages are handled before the next step; without this, steps overlap.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Join),
        2 => any::<usize>().prop_map(Step::Leave),
        4 => any::<usize>().prop_map(Step::SayToAll),
        4 => any::<(usize, usize)>().prop_map(|(from, to)| Step::SayTo(from, to)),
        3 => any::<(usize, usize)>().prop_map(|(from, to)| Step::SayThroughRoom(from, to)),
        1 => Just(Step::Crash),
        1 => Just(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_member_hears_only_members_and_each_in_order(steps in prop::collection::vec(step(), 1..60)) {
        actix::System::new().block_on(play(steps));
    }
}

/// Member, and what it has heard.
struct Reader {
    client: Client,
    /// Number of messages that it has sent.
    said: u64,
    is_authenticated: bool,
    /// The other members, as it sees them.
    others: BTreeSet<PeerId>,
    /// Number of the last message of each of them.
    heard: BTreeMap<PeerId, u64>,
}

impl Reader {
    fn new(client: Client) -> Self {
        let (others, heard) = Default::default();
        Self { client, said: 0, is_authenticated: false, others, heard }
    }

    /// Says its next number. While the room is down, or busy, the message may be refused.
    fn say(&mut self, to: To) {
        self.said += 1;
        let message = RoomMessage::new("word", &self.said).expect("a number").to(to);
        _ = self.client.membership.as_ref().expect("a member").forward(message);
    }

    /// Reads all messages up to a mark. Returns false if the client was closed before.
    async fn read(&mut self) -> bool {
        loop {
            let text = match self.client.next().await {
                Deliver::Frame(text) => text,
                Deliver::Close(_) => return false,
            };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            let data = &message["data"];
            let event = message["event"].as_str().expect("an event");
            assert!(self.is_authenticated || event == "authenticated" || event == "error");
            match event {
                "mark" => return true,
                "authenticated" => {
                    assert!(!std::mem::replace(&mut self.is_authenticated, true), "once");
                    self.others = ids(&data["peers"]).collect();
                }
                "joined" => assert!(self.others.insert(id(&data["peer_id"])), "joined twice"),
                "left" => {
                    assert!(self.others.remove(&id(&data["peer_id"])), "left twice, or a ghost");
                    self.heard.remove(&id(&data["peer_id"]));
                }
                "room_restarted" => {
                    let is_known = |peer| peer == self.client.id || self.others.contains(&peer);
                    assert!(ids(&data["peers"]).all(is_known), "{message}");
                }
                "word" => {
                    let from = id(&message["from"]);
                    assert!(from == self.client.id || self.others.contains(&from), "a stranger");
                    let number = data.as_u64().expect("a number");
                    let before = self.heard.insert(from, number).unwrap_or_default();
                    // What goes through the room comes several times.
                    assert!(before <= number, "{number} after {before}");
                }
                // It is told why it is closed.
                "error" => {}
                other => panic!("unexpected: {other}"),
            }
        }
    }
}

fn id(value: &Value) -> PeerId {
    value.as_str().expect("an id").parse().expect("an id")
}

fn ids(list: &Value) -> impl Iterator<Item = PeerId> {
    list.as_array().expect("a list").iter().map(id)
}

async fn play(steps: Vec<Step>) {
    let rooms = Rooms::builder().threads(1).build();
    let server = rooms.start().await.expect("nothing to go wrong");
    let options = RoomOptions::<Fragile>::new("demo", ()).intensity(1000, Duration::from_secs(1));
    let room = rooms.start_supervised(options).await.expect("a free name");
    let mut there = Vec::new();

    for step in steps {
        let nth = |n: usize| n % there.len().max(1);
        match step {
            Step::Join => {
                let client = Client::reserved(&room);
                // A crash may come first; then it is not a member.
                if client.join().await.is_ok() {
                    there.push(Reader::new(client));
                }
            }
            Step::Crash => _ = room.tell::<Fragile, _>(Panic),
            Step::Settle => settle(&room, &mut there).await,
            _ if there.is_empty() => {}
            Step::Leave(n) => drop(there.swap_remove(nth(n))),
            Step::SayToAll(n) => {
                let n = nth(n);
                there[n].say(To::All);
            }
            Step::SayTo(n, to) | Step::SayThroughRoom(n, to) => {
                let (n, to) = (nth(n), there[nth(to)].client.id);
                let times = if matches!(step, Step::SayTo(..)) { 1 } else { MANY };
                there[n].say(To::Peers(vec![to; times]));
            }
        }
    }
    settle(&room, &mut there).await;

    let members: BTreeSet<_> = there.iter().map(|reader| reader.client.id).collect();
    assert_eq!(room.peers().into_iter().collect::<BTreeSet<_>>(), members);
    // None of them waits for the room any more: all hear the last words of all others.
    there.iter_mut().for_each(|reader| reader.say(To::All));
    settle(&room, &mut there).await;
    let last: BTreeMap<_, _> = there.iter().map(|it| (it.client.id, it.said)).collect();
    for Reader { client, others, heard, .. } in &there {
        assert_eq!(others.len() + 1, members.len());
        assert!(others.is_subset(&members));
        assert!(others.iter().all(|peer| *peer == client.id || heard[peer] == last[peer]));
    }
    room.stop("done").await;
    server.stop().await;
}

/// Reads all messages up to a mark that the room itself sends. Forgets who was closed.
async fn settle(room: &RoomHandle, there: &mut Vec<Reader>) {
    let mark = RoomMessage::new("mark", &()).expect("nothing").to(To::All);
    while room.forward_message(mark.clone()).await.is_err() {
        room.running().await;
    }
    for n in (0..there.len()).rev() {
        if !there[n].read().await {
            drop(there.swap_remove(n));
        }
    }
}

/// Number of addressees that is too large for a direct message.
const MANY: usize = 65;
