//! Benchmarks of signaling: a message from socket to socket through peer, room and outbox, beside a hand-written
//! baseline that only relays texts; a call, beside `ping`; parsing a candidate, beside plain deserialization of its
//! fields.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;

use actix_web::{App, HttpRequest, HttpServer};
use callboard_peer_connection::IceCandidate;
use callboard_room_supervisor::{AuthData, Room, RoomContext, RoomOptions, Rooms};
use callboard_signaling::rpc::HookContext;
use callboard_signaling::{
    Hooks, InitContext, JoinRequest, Peer, PeerInit, PeerOptions, Rate, Rejection, Signaling, tune,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

#[allow(dead_code, unused_imports, reason = "one function of it is measured")]
#[path = "../src/control.rs"]
mod control;
#[allow(dead_code, reason = "a part of it is measured")]
#[path = "../src/control_event.rs"]
mod control_event;
#[allow(dead_code, reason = "a part of it is measured")]
#[path = "../src/error_text.rs"]
mod error_text;
#[allow(dead_code, reason = "a part of it is measured")]
#[path = "../src/fields.rs"]
mod fields;
#[allow(dead_code, unused_imports, reason = "a part of it is measured")]
#[path = "../src/json_members.rs"]
mod json_members;
#[allow(dead_code, unused_imports, reason = "a part of it is measured")]
#[path = "../src/media_event.rs"]
mod media_event;
#[allow(dead_code, unused_imports, reason = "a part of it is measured")]
#[path = "../src/wish.rs"]
mod wish;

struct Open;

impl Room for Open {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

struct Guest;

impl Peer for Guest {
    type Options = ();

    fn parse_request(_: &HttpRequest) -> Result<JoinRequest, Rejection> {
        Ok(JoinRequest { room: "bench".to_owned(), ..JoinRequest::default() })
    }

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }
}

/// Starts Callboard on threads of its own, until the process ends.
fn callboard() -> SocketAddr {
    on_a_thread(|tell| {
        actix_web::rt::System::new().block_on(async {
            let rooms = Rooms::new();
            let _tree = rooms.start().await.map_err(io::Error::other)?;
            let room = RoomOptions::<Open>::new("bench", ());
            rooms.start_supervised(room).await.map_err(io::Error::other)?;
            let hooks = Hooks::builder().plugin("bench", |bench| {
                bench.hook("add", async |(a, b): (i64, i64), _: HookContext| {
                    Ok::<_, Rejection>(a + b)
                })
            });
            let options = PeerOptions::<Guest>::new((), rooms)
                .rate(Rate::UNLIMITED)
                .hooks(hooks.build().map_err(io::Error::other)?);
            let signaling = Signaling::new(options);
            let app = move || App::new().configure(signaling.at(&["/socket"]));
            let server =
                tune(HttpServer::new(app)).workers(1).disable_signals().bind(("127.0.0.1", 0))?;
            _ = tell.send(server.addrs()[0]);
            server.run().await
        })
    })
}

/// Starts the baseline: a hand-written server that relays each text to all other clients.
fn hand_written_relay() -> SocketAddr {
    on_a_thread(|tell| {
        runtime().block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            _ = tell.send(listener.local_addr()?);
            let mut others: Vec<UnboundedSender<Utf8Bytes>> = Vec::new();
            let (texts, mut said) = unbounded_channel();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (tcp, _) = accepted?;
                        tcp.set_nodelay(true)?;
                        let (sender, mut told) = unbounded_channel();
                        let (number, texts) = (others.len(), texts.clone());
                        others.push(sender);
                        tokio::spawn(async move {
                            let Ok(mut socket) = accept_async(tcp).await else { return };
                            loop {
                                tokio::select! {
                                    frame = socket.next() => match frame {
                                        Some(Ok(Frame::Text(text))) => {
                                            _ = texts.send((number, text));
                                        }
                                        Some(Ok(_)) => {}
                                        Some(Err(_)) | None => return,
                                    },
                                    Some(text) = told.recv() => {
                                        _ = socket.send(Frame::Text(text)).await;
                                    }
                                }
                            }
                        });
                    }
                    Some((from, text)) = said.recv() => {
                        let others = others.iter().enumerate().filter(|(number, _)| *number != from);
                        others.for_each(|(_, other)| _ = other.send(text.clone()));
                    }
                }
            }
        })
    })
}

fn on_a_thread(
    serve: impl FnOnce(mpsc::Sender<SocketAddr>) -> io::Result<()> + Send + 'static,
) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || serve(tell).expect("it serves until the process ends"));
    told.recv().expect("it listens")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn connect(server: SocketAddr) -> Self {
        let tcp = TcpStream::connect(server).await.expect("it listens");
        tcp.set_nodelay(true).expect("an open connection");
        Self(client_async(format!("ws://{server}/socket"), tcp).await.expect("let in").0)
    }

    /// Connects and joins the room; returns the client with its peer id.
    async fn join(server: SocketAddr) -> (Self, String) {
        let mut client = Self::connect(server).await;
        let welcome: Value = serde_json::from_str(&client.next().await).expect("JSON");
        (client, welcome["data"]["peer_id"].as_str().expect("an id").to_owned())
    }

    async fn say(&mut self, text: &Utf8Bytes) {
        self.0.send(Frame::Text(text.clone())).await.expect("an open connection");
    }

    async fn next(&mut self) -> Utf8Bytes {
        loop {
            match self.0.next().await.expect("an open connection").expect("a frame") {
                Frame::Text(text) => return text,
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn sockets(criterion: &mut Criterion) {
    let (runtime, ours, baseline) = (runtime(), callboard(), hand_written_relay());
    let ((mut one, _), (mut other, id)) =
        runtime.block_on(async { (Client::join(ours).await, Client::join(ours).await) });
    let joined = runtime.block_on(one.next());
    assert!(joined.contains("\"joined\""), "{joined}");
    let text = format!(r#"{{"event":"offer","data":"{}","to":["{id}"]}}"#, "x".repeat(1_024));
    let text = Utf8Bytes::from(text);

    let mut group = criterion.benchmark_group("1 KiB from socket to socket");
    group.throughput(Throughput::Elements(1));
    group.bench_function("callboard", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                one.say(&text).await;
                other.next().await
            })
        });
    });
    let (mut from, mut to) = runtime
        .block_on(async { (Client::connect(baseline).await, Client::connect(baseline).await) });
    group.bench_function("baseline", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                from.say(&text).await;
                to.next().await
            })
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("there and back");
    let call = r#"{"type":"call_hook","id":1,"plugin":"bench","fn":"add","args":[1,2]}"#;
    for (name, text, answer) in [("call", call, "\"data\":3"), ("ping", "ping", "pong")] {
        let text = Utf8Bytes::from_static(text);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    one.say(&text).await;
                    let heard = one.next().await;
                    assert!(heard.contains(answer), "{heard}");
                })
            });
        });
    }
    group.finish();
}

/// The same fields, without any checks.
#[derive(Deserialize)]
struct Bare<'a> {
    event: &'a str,
    data: IceCandidate,
}

/// Reads an event of a client, as its peer does.
fn control(text: &str) -> Option<control::Control> {
    let mut fields = fields::Fields::default();
    fields.read(text).ok()?;
    control_event::ControlEvent::of(&fields).map(control::Control::read)
}

fn candidates(criterion: &mut Criterion) {
    let text = r#"{"event":"webrtc:ice","data":{"candidate":"candidate:1 1 udp 2122252543 192.0.2.1 50000 typ host generation 0 ufrag 3cKi","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"3cKi"}}"#;
    assert!(matches!(control(text), Some(control::Control::Ice(Some(_)))));

    let mut group = criterion.benchmark_group("a candidate");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| control(black_box(text)));
    });
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| {
            let Bare { event, data } = serde_json::from_str(black_box(text)).expect("a candidate");
            black_box((event, data));
        });
    });
    group.finish();
}

criterion_group!(benches, sockets, candidates);
criterion_main!(benches);
