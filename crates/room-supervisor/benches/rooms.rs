//! Benchmark of a room, beside a baseline for the same messages: a table of channels, without actors, supervision,
//! limits or a member list that survives a crash.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, System};
use bytestring::ByteString;
use callboard_room_supervisor::*;
use callboard_supervision::SupervisorRef;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

struct Open;

impl Room for Open {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

/// Stand-in for the sockets, which is told when frames wait for one of them.
struct Wire;

impl Actor for Wire {
    type Context = Context<Self>;
}

impl Handler<OutboxReady> for Wire {
    type Result = ();

    fn handle(&mut self, _: OutboxReady, _: &mut Self::Context) {}
}

struct Client {
    membership: Membership,
    socket: SocketNumber,
}

impl Client {
    async fn join(room: &RoomHandle, wire: &Addr<Wire>) -> Self {
        let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
        let socket = outbox.attach(wire.clone().recipient(), None);
        let peer_id = PeerId::random();
        let auth = AuthData::new(peer_id);
        let membership = room.reserve(NewMember::new(auth, outbox)).expect("the room is open");
        membership.join().await.expect("everybody may");
        Self { membership, socket }
    }

    /// Takes out the waiting frames, which must be this many.
    fn read(&self, frames: usize) {
        for _ in 0..frames {
            assert!(matches!(self.membership.outbox().next(self.socket), Some(Deliver::Frame(_))));
        }
        assert_eq!(self.membership.outbox().next(self.socket), None);
    }
}

/// Room in which many listeners hear one speaker.
struct Hall {
    room: RoomHandle,
    wire: Addr<Wire>,
    speaker: Client,
    listeners: Vec<Client>,
    _rooms: SupervisorRef,
}

impl Hall {
    async fn open(listeners: usize) -> Self {
        let rooms = Rooms::new();
        let root = rooms.start().await.expect("nothing to go wrong");
        let options = RoomOptions::<Open>::new("hall", ());
        let room = rooms.start_supervised(options).await.expect("the name is free");
        let wire = Wire.start();
        let speaker = Client::join(&room, &wire).await;
        let mut all = Vec::new();
        for _ in 0..listeners {
            all.push(Client::join(&room, &wire).await);
        }
        for (at, listener) in all.iter().enumerate() {
            // The listener's `authenticated`, and one `joined` for each later client.
            listener.read(listeners - at);
        }
        speaker.read(listeners + 1);
        Self { room, wire, speaker, listeners: all, _rooms: root }
    }

    /// Waits until the room has handled all earlier messages: it answers in order.
    async fn settled(&self) {
        self.speaker.membership.join().await.expect("it is in already");
    }

    async fn broadcast(&self, message: &RoomMessage) {
        self.speaker.membership.forward(message.clone()).expect("the room runs");
        self.settled().await;
        self.listeners.iter().for_each(|listener| listener.read(1));
    }

    async fn tell_one(&self, message: &RoomMessage) {
        self.speaker.membership.forward(message.clone()).expect("the room runs");
        self.settled().await;
        self.listeners[0].read(1);
    }

    async fn come_and_go(&self) {
        let guest = Client::join(&self.room, &self.wire).await;
        guest.read(1);
        drop(guest);
        self.settled().await;
        self.speaker.read(2);
        self.listeners.iter().for_each(|listener| listener.read(2));
    }
}

/// Baseline for the same messages.
struct Table {
    senders: HashMap<PeerId, UnboundedSender<ByteString>>,
    receivers: Vec<UnboundedReceiver<ByteString>>,
}

impl Table {
    fn of(peers: impl Iterator<Item = PeerId>) -> Self {
        let (mut senders, mut receivers) = (HashMap::new(), Vec::new());
        for peer in peers {
            let (sender, receiver) = unbounded_channel();
            senders.insert(peer, sender);
            receivers.push(receiver);
        }
        Self { senders, receivers }
    }

    fn tell_all(&self, message: &RoomMessage) {
        let frame = message.encode();
        for sender in self.senders.values() {
            sender.send(frame.clone()).expect("it is there");
        }
    }

    fn read(&mut self, frames: usize) {
        for receiver in &mut self.receivers {
            (0..frames).for_each(|_| _ = receiver.try_recv().expect("a frame"));
        }
    }

    fn broadcast(&mut self, message: &RoomMessage) {
        self.tell_all(&message.clone());
        self.read(1);
    }

    fn tell_one(&mut self, message: &RoomMessage, at: usize) {
        let message = message.clone();
        let Some(To::Peers(peers)) = &message.to else { panic!("it is for one") };
        let frame = message.encode();
        for peer in peers {
            self.senders[peer].send(frame.clone()).expect("it is there");
        }
        self.receivers[at].try_recv().expect("a frame");
    }

    fn come_and_go(&mut self) {
        let (peer, (sender, mut receiver)) = (PeerId::random(), unbounded_channel());
        let none = PublicMetadata::default();
        self.tell_all(&RoomMessage::joined(peer, &none));
        let others = self.senders.keys().map(|&other| (other, &none));
        let welcome = RoomMessage::authenticated(peer, others, None).encode();
        sender.send(welcome).expect("it is there");
        self.senders.insert(peer, sender);
        receiver.try_recv().expect("a frame");
        self.senders.remove(&peer);
        self.tell_all(&RoomMessage::left(peer));
        self.read(2);
    }
}

fn message(to: To) -> RoomMessage {
    RoomMessage::new("offer", &"x".repeat(1_024)).expect("a string").to(to)
}

fn rooms(criterion: &mut Criterion) {
    let system = System::new();
    for listeners in [10, 100, 1_000] {
        let hall = system.block_on(Hall::open(listeners));
        let ids = || hall.listeners.iter().map(|listener| listener.membership.peer_id());
        let mut table = Table::of(ids());
        let all = message(To::All);

        let mut group = criterion.benchmark_group(format!("1 KiB to {listeners}"));
        group.throughput(Throughput::Elements(listeners as u64));
        group.bench_function("room", |bencher| {
            bencher.iter(|| system.block_on(hall.broadcast(&all)));
        });
        group.bench_function("baseline", |bencher| bencher.iter(|| table.broadcast(&all)));
        group.finish();

        if listeners == 10 {
            let mut group = criterion.benchmark_group("1 KiB to one of 10");
            let one = message(To::Peers(ids().take(1).collect()));
            group.bench_function("room", |bencher| {
                bencher.iter(|| system.block_on(hall.tell_one(&one)));
            });
            group.bench_function("baseline", |bencher| bencher.iter(|| table.tell_one(&one, 0)));
            group.finish();

            let everybody = ids().chain([hall.speaker.membership.peer_id()]);
            let mut table = Table::of(everybody);
            let mut group = criterion.benchmark_group("join and leave among 11");
            group.bench_function("room", |bencher| {
                bencher.iter(|| system.block_on(hall.come_and_go()));
            });
            group.bench_function("baseline", |bencher| bencher.iter(|| table.come_and_go()));
            group.finish();
        }
    }
}

fn outboxes(criterion: &mut Criterion) {
    let system = System::new();
    let wire = system.block_on(async { Wire.start() });
    let outbox = Outbox::new(OutboxLimits::default());
    let socket = outbox.attach(wire.recipient(), None);
    let (sender, mut receiver) = unbounded_channel();
    let frame = message(To::All).encode();

    let mut group = criterion.benchmark_group("100 frames in and out");
    group.throughput(Throughput::Elements(100));
    group.bench_function("outbox", |bencher| {
        bencher.iter(|| {
            (0..100).for_each(|_| outbox.push(frame.clone()).expect("there is room"));
            (0..100).for_each(|_| assert!(black_box(outbox.next(socket)).is_some()));
            assert_eq!(outbox.next(socket), None);
            // The wire is told of each batch.
            system.block_on(tokio::task::yield_now());
        });
    });
    group.bench_function("channel", |bencher| {
        bencher.iter(|| {
            (0..100).for_each(|_| sender.send(frame.clone()).expect("it is there"));
            (0..100).for_each(|_| _ = black_box(receiver.try_recv().expect("a frame")));
            system.block_on(tokio::task::yield_now());
        });
    });
    group.finish();
}

/// Smallest reader of a message: three fields, whose content is not parsed.
#[derive(Deserialize)]
struct Bare<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    to: &'a RawValue,
}

fn texts(criterion: &mut Criterion) {
    let to = PeerId::random();
    let sdp = "a=candidate:1 1 UDP 2122252543 192.0.2.1 50000 typ host\\r\\n".repeat(18);
    let large =
        format!(r#"{{"event":"offer","data":{{"type":"offer","sdp":"{sdp}"}},"to":["{to}"]}}"#);
    let small = r#"{"event":"hello","data":1,"to":"all"}"#.to_owned();
    for (name, text) in [("a text of 1 KiB", large), ("a text of 37 B", small)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("parse", |bencher| {
            let limits = MessageLimits::default();
            bencher.iter(|| RoomMessage::parse(black_box(&text), &limits).expect("a message"));
        });
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| {
                let Bare { event, data, to } =
                    serde_json::from_str(black_box(&text)).expect("a message");
                black_box((event, data, to));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, rooms, outboxes, texts);
criterion_main!(benches);
