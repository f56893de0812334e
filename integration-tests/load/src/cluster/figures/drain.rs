//! What clients notice of a drain: a node whose rooms and clients go to other nodes while all talk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard_client::{Client, ClientEvent, ClientMessage, ClientOptions, Recipients};
use futures_util::future::try_join_all;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Figure;
use crate::cluster::stage::Stage;
use crate::measure::Waits;

/// What all clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// They have come.
    Wait,
    /// They talk.
    Talk,
    /// They say nothing more.
    Listen,
    /// They leave, and tell what they have heard.
    Leave,
}

/// A client, of a room whose first member was at the node with the number `home`.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: usize,
    room: usize,
    home: usize,
    node: usize,
    /// Whether it sends messages to itself, which go by the room's home.
    pulses: bool,
}

/// What a client has sent and heard.
struct Heard {
    place: Place,
    /// Number of its messages to all.
    sent: u64,
    /// Numbers of the messages to all of each other, in the order in which they came.
    words: BTreeMap<u64, Vec<u64>>,
    /// Times at which its messages to itself came.
    pulses: Vec<Instant>,
}

/// Balancer of the connections of new clients, and of those that come back to the first address.
struct Balancer {
    nodes: Vec<SocketAddr>,
    /// Whether the first node takes no more clients.
    drains: AtomicBool,
}

/// Drains the first of three nodes, whose clients and those of the others talk all the time, and starts it again.
pub(super) async fn drained(stage: &mut Stage, peers: usize) -> io::Result<Vec<Figure>> {
    let nodes = stage.nodes().iter().take(NODES).map(|node| node.address).collect();
    let balancer = Arc::new(Balancer { nodes, drains: AtomicBool::new(false) });
    let (order, orders) = watch::channel(Order::Wait);
    let clients = gather(peers, &balancer, &orders).await?;

    order.send_replace(Order::Talk);
    sleep(BEFORE).await;
    balancer.drains.store(true, Ordering::Release);
    let began = Instant::now();
    stage.node(0).process.signal(Signal::SIGTERM)?;
    let ended = async {
        while !stage.node(0).process.has_ended() {
            sleep(BETWEEN_LOOKS).await;
        }
    };
    timeout(LONGEST, ended).await?;
    let took = began.elapsed();
    sleep(AFTER).await;
    order.send_replace(Order::Listen);
    sleep(AFTER).await;
    order.send_replace(Order::Leave);
    let heard = try_join_all(clients).await.map_err(io::Error::other)?;

    stage.node(0).process.kill().await?;
    stage.start_node(0)?;
    stage.whole().await?;
    let silences = |which: &dyn Fn(&Place) -> bool| {
        let mut waits = Waits::new();
        for heard in heard.iter().filter(|heard| heard.place.pulses && which(&heard.place)) {
            waits.add(longest_gap(&heard.pulses, (began, began + took)));
        }
        waits
    };
    let rooms = silences(&|place| place.home == 0 && place.node != 0);
    let guests = silences(&|place| place.node == 0);
    let others = silences(&|place| place.home != 0 && place.node != 0);
    let [lost, doubled, disordered] = compare(&heard);
    Ok(vec![
        Figure::new("drain: silence of a room that moves, p99", rooms.percentile(99.0), "ms")
            .at_most(100.0),
        Figure::new("drain: silence of a room that moves, longest", rooms.percentile(100.0), "ms")
            .at_most(250.0),
        Figure::new("… of a room that stays", others.percentile(100.0), "ms"),
        Figure::new("… of a client that goes to another node", guests.percentile(100.0), "ms"),
        Figure::new("drain: messages lost", lost, "").at_most(0.0),
        Figure::new("drain: messages that come twice", doubled, "").at_most(0.0),
        Figure::new("drain: messages out of order", disordered, "").at_most(0.0),
        Figure::new("drain: until the process has ended", took.as_secs_f64(), "s").at_most(15.0),
    ])
}

/// Lets all clients join, ten in a room, spread over the nodes.
async fn gather(
    peers: usize,
    balancer: &Arc<Balancer>,
    orders: &watch::Receiver<Order>,
) -> io::Result<Vec<JoinHandle<Heard>>> {
    let rooms = peers.div_ceil(10);
    let (mut running, mut joining) = (Vec::new(), Vec::new());
    for number in 0..peers {
        let (room, turn) = (number % rooms, number / rooms);
        let (home, node) = (room % NODES, (room + turn) % NODES);
        // Of a room that moves, one that moves as well and one that does not; of some others, one that does not.
        let pulses = (home == 0 && turn < 2) || (home == 1 && turn == 1 && room < 30);
        let place = Place { number, room, home, node, pulses };
        joining.push(join(place, Arc::clone(balancer)));
        // The first of each room comes first.
        if joining.len() == AT_ONCE || number + 1 == rooms || number + 1 == peers {
            for (place, client) in try_join_all(joining.drain(..)).await? {
                running.push(tokio::spawn(talk(place, client, orders.clone())));
            }
        }
    }
    Ok(running)
}

async fn join(place: Place, balancer: Arc<Balancer>) -> io::Result<(Place, Client)> {
    let url = format!("ws://{}/socket/drain-{}", balancer.nodes[place.node], place.room);
    let open = move || {
        let skips = balancer.drains.load(Ordering::Acquire) && place.node == 0;
        // Others of a room go to different nodes.
        let node = if skips { 1 + place.number % (NODES - 1) } else { place.node };
        let address = balancer.nodes[node];
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }
    };
    let options = ClientOptions::new().first_delay(BETWEEN_LOOKS).refusals(u32::MAX);
    let client = Client::connect_over(&url, options, open).await.map_err(io::Error::other)?;
    Ok((place, client))
}

async fn talk(place: Place, mut client: Client, mut orders: watch::Receiver<Order>) -> Heard {
    let mut heard = Heard { place, sent: 0, words: BTreeMap::new(), pulses: Vec::new() };
    _ = orders.wait_for(|order| *order == Order::Talk).await;
    // Not all at the same time.
    sleep(BETWEEN_WORDS.mul_f64(place.number as f64 % 97.0 / 97.0)).await;
    let mut words = interval(BETWEEN_WORDS);
    let mut pulses = interval(BETWEEN_PULSES);
    words.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pulses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let order = *orders.borrow_and_update();
        if order == Order::Leave {
            client.close().await;
            return heard;
        }
        tokio::select! {
            event = client.next_event() => match event {
                Some(ClientEvent::Message(message)) => heard.hear(&message),
                Some(_) => {}
                None => return heard,
            },
            _ = words.tick(), if order == Order::Talk => {
                let word = json!({ "client": place.number, "n": heard.sent + 1 });
                if client.send(Recipients::All, "word", word).is_ok() {
                    heard.sent += 1;
                }
            }
            _ = pulses.tick(), if order == Order::Talk && place.pulses => {
                // What is not sent is a silence.
                _ = client.send(client.peer_id(), "pulse", ());
            }
            _ = orders.changed() => {}
        }
    }
}

impl Heard {
    fn hear(&mut self, message: &ClientMessage) {
        match message.event.as_str() {
            "pulse" => self.pulses.push(Instant::now()),
            "word" => {
                let number = |field: &str| message.data[field].as_u64();
                if let (Some(client), Some(n)) = (number("client"), number("n")) {
                    self.words.entry(client).or_default().push(n);
                }
            }
            _ => {}
        }
    }
}

/// Returns the longest time without a pulse that lies in a period at least in part.
fn longest_gap(pulses: &[Instant], (from, to): (Instant, Instant)) -> Duration {
    let gaps = pulses.windows(2).filter(|gap| gap[1] > from && gap[0] < to);
    let inside = gaps.map(|gap| gap[1] - gap[0]).max();
    // One that hears nothing any more has no gap, but an end.
    let end = pulses.last().map_or(to - from, |last| to.saturating_duration_since(*last));
    inside.unwrap_or_default().max(end)
}

/// Returns how many messages to all have been lost, have come twice, and have come after a later one, at all receivers.
fn compare(heard: &[Heard]) -> [f64; 3] {
    let mut counts = [0_u64; 3];
    for receiver in heard {
        let room = receiver.place.room;
        let others = heard.iter().filter(|other| other.place.room == room);
        for sender in others.filter(|other| other.place.number != receiver.place.number) {
            let number = sender.place.number as u64;
            let its = receiver.words.get(&number).map_or(&[][..], Vec::as_slice);
            let distinct = its.iter().collect::<BTreeSet<_>>().len() as u64;
            counts[0] += sender.sent.saturating_sub(distinct);
            counts[1] += its.len() as u64 - distinct;
            counts[2] += its.windows(2).filter(|two| two[0] > two[1]).count() as u64;
        }
    }
    counts.map(|count| count as f64)
}

/// Nodes with clients.
const NODES: usize = 3;
const AT_ONCE: usize = 50;
const BETWEEN_WORDS: Duration = Duration::from_secs(1);
const BETWEEN_PULSES: Duration = Duration::from_millis(20);
/// Time for which clients talk before the drain, and after it; and in which what they have said last arrives.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(90);
