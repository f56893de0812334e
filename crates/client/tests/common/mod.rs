//! A real server with a room, a cable to it that can be cut, and clients.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpServer};
use callboard_client::{Client, ClientEvent, ClientMessage, ClientOptions, ClientState};
use callboard_peer_connection::DataChannelMessage;
use callboard_room_supervisor::*;
use callboard_signaling::rpc::{HookContext, Hooks};
use callboard_signaling::*;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// A room that rejects some, and can be made to panic.
pub(crate) struct TestRoom;

impl Room for TestRoom {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        match auth.credentials["name"].as_str() {
            Some("unwelcome") => Err("not_you".into()),
            Some("undecided") => std::future::pending().await,
            _ => Ok(()),
        }
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        assert_ne!(message.event, "explode_room");
        Some(message)
    }
}

/// A peer whose behaviour depends on its name.
pub(crate) struct TestPeer;

impl Peer for TestPeer {
    type Options = ();

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let name = request.headers().get("name").map_or("somebody", |name| name.to_str().unwrap());
        if name == "nobody" {
            return Err("no name".into());
        }
        let room = request.match_info().query("room").to_owned();
        let credentials = Map::from_iter([("name".to_owned(), name.into())]);
        Ok(JoinRequest { credentials, metadata: Value::Null, room })
    }

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        (): &(),
    ) -> Result<PeerInit<Self>, Rejection> {
        match auth.credentials["name"].as_str() {
            Some("impostor") => Err("wrong_credentials".into()),
            _ => Ok(Self.into()),
        }
    }

    fn on_receive(&mut self, message: RoomMessage, context: &PeerContext) -> Option<RoomMessage> {
        match message.event.as_str() {
            "kick_me" => context.client.close(4001, "kicked out").expect("a good code"),
            // To `url`, with its session or without.
            "move_me" => {
                let data: Value = serde_json::from_str(message.data.get()).expect("JSON");
                let to = match data["url"].as_str() {
                    Some(url) => Move::to(url),
                    None => Move::to_first_address(),
                };
                let to = if data["resume"] == true { to.resume() } else { to };
                context.client.move_by(&to).expect("a good address");
            }
            // Calls the client's function of this name.
            "call_me" => {
                let (client, name) = (context.client.clone(), message.data.get().to_owned());
                actix_web::rt::spawn(async move {
                    let name: String = serde_json::from_str(&name).expect("a name");
                    let answer = client.call(&name, &json!([1, 2]), LONG).await;
                    let answer = match answer {
                        Ok(answer) => json!({ "ok": answer }),
                        Err(error) => json!({ "error": error.to_string() }),
                    };
                    _ = client.send_to_client(&RoomMessage::new("called", &answer).expect("JSON"));
                });
            }
            _ => return Some(message),
        }
        None
    }

    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &PeerContext) {
        // The same way that it came.
        _ = context.client.send_data(channel, data);
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) rooms: Rooms,
    pub(crate) counters: Arc<Counters>,
}

impl Server {
    pub(crate) async fn start(
        options: impl FnOnce(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> Self {
        let rooms = Rooms::new();
        rooms.start().await.expect("nothing to go wrong");
        let room = RoomOptions::<TestRoom>::new("demo", ());
        let room = room.join_timeout(Duration::from_secs(600));
        rooms.start_supervised(room).await.expect("a free name");
        let signaling = Signaling::new(options(PeerOptions::new((), rooms.clone())));
        let counters = signaling.counters();
        Self { address: serve(signaling), rooms, counters }
    }

    /// Starts a server that lets clients resume their sessions.
    pub(crate) async fn with_grace() -> Self {
        Self::start(|options| options.resume_grace(Duration::from_secs(600))).await
    }

    pub(crate) fn url(&self) -> String {
        url(self.address)
    }

    pub(crate) async fn join(&self) -> Client {
        join(self.address).await
    }
}

/// Serves these routes, and returns the address. It is compiled once, and not for each kind of options of a test.
fn serve(signaling: Signaling<TestPeer>) -> SocketAddr {
    let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tune(HttpServer::new(app).workers(1).disable_signals());
    actix_web::rt::spawn(server.listen(listener).expect("a listener").run());
    address
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("ws://{address}/socket/demo")
}

/// Options of a client that does not wait long.
pub(crate) fn options() -> ClientOptions {
    ClientOptions::new()
        .first_delay(Duration::from_millis(5))
        .longest_delay(Duration::from_millis(50))
}

pub(crate) async fn join(address: SocketAddr) -> Client {
    Client::connect(&url(address), options()).await.expect("let in")
}

/// Number of calls that have come to the gate.
pub(crate) static STARTED: AtomicUsize = AtomicUsize::new(0);
/// Lets calls through.
pub(crate) static GATE: Semaphore = Semaphore::const_new(0);
const LONG: Duration = Duration::from_secs(60);

/// Functions of the server for the tests of calls.
pub(crate) fn hooks() -> Hooks {
    let hooks = Hooks::builder().plugin("test", |test| {
        test.hook("add", async |(a, b): (i64, i64), _: HookContext| Ok::<_, Rejection>(a + b))
            .hook("none", async |(): (), _: HookContext| Ok::<_, Rejection>("none"))
            .hook("refuse", async |why: String, _: HookContext| Err::<(), _>(Rejection::new(why)))
            .hook("gate", async |(): (), _: HookContext| {
                STARTED.fetch_add(1, Ordering::SeqCst);
                GATE.acquire().await.expect("it is never closed").forget();
                Ok::<_, Rejection>("through")
            })
            .hook("never", async |(): (), _: HookContext| {
                std::future::pending::<Result<(), Rejection>>().await
            })
    });
    hooks.build().expect("good names")
}

/// Returns the next event that is no change of the state.
pub(crate) async fn next(client: &mut Client) -> ClientEvent {
    loop {
        match within(client.next_event()).await.expect("the client runs") {
            ClientEvent::State(change) if change.state != ClientState::Closed => {}
            event => return event,
        }
    }
}

/// Returns the next message of the application, which must come next.
pub(crate) async fn message(client: &mut Client) -> ClientMessage {
    match next(client).await {
        ClientEvent::Message(message) => message,
        other => panic!("no message, but {other:?}"),
    }
}

/// Waits for what must come within a minute.
#[track_caller]
pub(crate) fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let limited = tokio::time::timeout(Duration::from_secs(60), future).await;
        limited.unwrap_or_else(|_| panic!("{place}: not within a minute"))
    }
}

/// Waits until this holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            // Interval of checks: other threads need the processor.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "not within a minute: {what}");
}

/// A cable between clients and a server.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Whether the server's bytes pass.
    passes: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    is_unplugged: bool,
    running: Vec<JoinHandle<()>>,
    opened: usize,
}

impl Cable {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let passes = watch::Sender::new(true);
        let (ours, gate) = (Arc::clone(&state), passes.clone());
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("it listens");
                client.set_zero_linger().expect("an open connection");
                let mut state = ours.lock().expect("nothing panics");
                if state.is_unplugged {
                    continue;
                }
                state.opened += 1;
                let gate = gate.subscribe();
                state.running.push(tokio::spawn(carry(client, server, gate)));
            }
        });
        Self { address, state, passes, accepting }
    }

    /// Cuts all connections without a goodbye. New ones are carried.
    pub(crate) fn cut(&self) {
        for running in self.state.lock().expect("nothing panics").running.drain(..) {
            running.abort();
        }
    }

    /// Cuts all connections, and carries no more until it is plugged in.
    pub(crate) fn unplug(&self) {
        self.state.lock().expect("nothing panics").is_unplugged = true;
        self.cut();
    }

    pub(crate) fn plug_in(&self) {
        self.state.lock().expect("nothing panics").is_unplugged = false;
    }

    /// Holds back what the server sends, or lets it pass again.
    pub(crate) fn hold_back(&self, holds: bool) {
        self.passes.send_replace(!holds);
    }

    /// Returns how many connections it has carried.
    pub(crate) fn opened(&self) -> usize {
        self.state.lock().expect("nothing panics").opened
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut passes: watch::Receiver<bool>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut server = TcpStream::connect(server).await.expect("it runs");
    server.set_zero_linger().expect("an open connection");
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = tokio::io::copy(&mut from_client, &mut to_server);
    let down = async {
        let mut buffer = [0; 4_096];
        loop {
            let read = from_server.read(&mut buffer).await?;
            _ = passes.wait_for(|passes| *passes).await;
            if read == 0 {
                return to_client.shutdown().await;
            }
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    _ = tokio::join!(up, down);
}
