//! Clients that talk numbered messages, and write down what they send and get.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use callboard_client::{Client, ClientEvent, ClientOptions, ClientState, Recipients};
use integration_tests::history::Event;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::balancer::Balancer;
use super::tap::Tap;
use super::views::Writer;

/// What all clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// They talk, and now and then one leaves and comes back.
    Churn,
    /// They talk, and none leaves.
    Talk,
    /// They talk, and those who were sent away from their own node leave and come back to it.
    Home,
    /// They say nothing.
    Listen,
    /// They leave.
    Leave,
}

/// A client, and the nodes to which it may connect: the first of them, as long as it can, and as the balancer sends
/// clients there.
#[derive(Clone)]
pub(super) struct Talker {
    pub(super) name: String,
    pub(super) room: String,
    pub(super) nodes: Vec<(String, SocketAddr)>,
    /// Whether it waits for its own node, the first, unless the balancer sends it elsewhere.
    pub(super) is_local: bool,
    pub(super) balancer: Balancer,
    pub(super) writer: Writer,
    /// Time in which it must be told something.
    pub(super) wait: Duration,
}

/// Numbers that a client uses once.
#[derive(Default)]
struct Numbers {
    socket: AtomicU64,
    /// Which of the nodes is tried next.
    node: AtomicUsize,
    /// Which of the nodes was tried last.
    last: AtomicUsize,
}

impl Talker {
    /// Talks until all leave.
    pub(super) async fn run(self, mut orders: watch::Receiver<Order>, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let numbers = Arc::new(Numbers::default());
        let mut n = 0;
        while *orders.borrow() != Order::Leave {
            let Some(mut client) = self.connect(&numbers).await else {
                sleep(BEFORE_RETRY).await;
                continue;
            };
            self.talk(&mut client, &numbers, &mut orders, &mut random, &mut n).await;
            if client.state() == ClientState::Open {
                self.writer.write(Event::Out);
            }
            client.close().await;
        }
    }

    async fn connect(&self, numbers: &Arc<Numbers>) -> Option<Client> {
        let url = format!("ws://{}/socket/{}", self.nodes.first()?.1, self.room);
        let (this, numbers) = (self.clone(), Arc::clone(numbers));
        let open = move || {
            let (this, numbers) = (this.clone(), Arc::clone(&numbers));
            async move { this.open(&numbers).await }
        };
        let options = ClientOptions::new()
            .first_delay(Duration::from_millis(100))
            .longest_delay(Duration::from_millis(500))
            .join_timeout(self.wait * 4 / 5)
            .heartbeat(self.wait / 3)
            .refusals(u32::MAX);
        Client::connect_over(&url, options, open).await.ok()
    }

    /// Opens a connection to a node, as a balancer does: to the next one after one that cannot be reached in time.
    async fn open(&self, numbers: &Numbers) -> io::Result<Tap> {
        let at = self.choose(numbers);
        numbers.last.store(at, Ordering::Relaxed);
        let (node, address) = &self.nodes[at];
        let socket = numbers.socket.fetch_add(1, Ordering::Relaxed);
        let asks = Event::Asks { socket, room: self.room.clone(), node: node.clone() };
        self.writer.write(asks);
        let opened = match timeout(self.wait / 5, TcpStream::connect(address)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match opened.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => Ok(Tap::new(stream, self.writer.clone(), &self.room, socket)),
            Err(error) => {
                self.writer.write(Event::Lost { socket, code: None });
                numbers.node.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Returns the number of the node to which the balancer sends it.
    fn choose(&self, numbers: &Numbers) -> usize {
        let first = if self.is_local { 0 } else { numbers.node.load(Ordering::Relaxed) };
        let all = (0..self.nodes.len()).map(|at| (first + at) % self.nodes.len());
        let mut open = all.filter(|at| self.balancer.sends_to(&self.nodes[*at].0));
        open.next().unwrap_or(0)
    }

    /// Talks for a while.
    async fn talk(
        &self,
        client: &mut Client,
        numbers: &Numbers,
        orders: &mut watch::Receiver<Order>,
        random: &mut fastrand::Rng,
        n: &mut u64,
    ) {
        let mut ticks = interval(BETWEEN_MESSAGES);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stay = Duration::from_millis(random.u64(5_000..40_000));
        let until = Instant::now() + stay;
        loop {
            let order = *orders.borrow_and_update();
            let is_away = self.is_local && numbers.last.load(Ordering::Relaxed) != 0;
            if order == Order::Home && is_away && client.state() == ClientState::Open {
                return;
            }
            tokio::select! {
                event = client.next_event() => match event {
                    Some(ClientEvent::State(change)) if change.state == ClientState::Closed => return,
                    Some(_) => {}
                    None => return,
                },
                _ = ticks.tick(), if matches!(order, Order::Churn | Order::Talk | Order::Home) => {
                    if client.state() == ClientState::Open {
                        self.say(client, random, n);
                    }
                }
                () = sleep_until(until), if order == Order::Churn => return,
                changed = orders.changed() => {
                    if changed.is_err() || *orders.borrow() == Order::Leave {
                        return;
                    }
                }
            }
        }
    }

    fn say(&self, client: &Client, random: &mut fastrand::Rng, n: &mut u64) {
        *n += 1;
        let to = match random.u8(0..8) {
            0..5 => None,
            // Itself, some others, and now and then one that is not there.
            kind => {
                let mut list = vec![client.peer_id()];
                let others = client.peers();
                let others = random.choose_multiple(others.iter(), 2);
                list.extend(others.into_iter().map(|member| member.peer_id.clone()));
                if kind == 7 && random.u8(0..4) == 0 {
                    list.push(uuid::Uuid::from_u128(random.u128(..)).to_string());
                }
                Some(list)
            }
        };
        self.writer.write(Event::Sent { n: *n, to: to.clone() });
        let to = to.map_or(Recipients::All, Recipients::Peers);
        if client.send(to, "number", json!({ "client": self.name, "n": *n })).is_err() {
            let what = "not sent".to_owned();
            self.writer.write(Event::Told { what, peers: Vec::new() });
        }
    }
}

const BETWEEN_MESSAGES: Duration = Duration::from_millis(200);
const BEFORE_RETRY: Duration = Duration::from_millis(200);
