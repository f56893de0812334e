//! Servers that are replaced: clients come back to the next one as who they were, and nothing is lost or told twice.
#![cfg(feature = "rpc")]

mod talking;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use callboard_room_supervisor::*;
use callboard_signaling::rpc::{HookContext, Hooks};
use callboard_signaling::*;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// What callbacks of all processes have noted.
type Notes = Arc<Mutex<Vec<String>>>;

fn note(notes: &Notes, what: impl Into<String>) {
    notes.lock().unwrap().push(what.into());
}

fn take(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut *notes.lock().unwrap())
}

/// Room that keeps nothing but that it lives.
struct Hall<const DIRECT: bool>;

impl<const DIRECT: bool> Room for Hall<DIRECT> {
    type Options = Notes;
    const FORWARDS_DIRECTLY: bool = DIRECT;

    fn on_init(_: &Notes, _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of(&()).ok()
    }

    fn restore(notes: &Notes, _: &Snapshot, _: &RoomContext) -> Result<Self, String> {
        note(notes, "room restored");
        Ok(Self)
    }
}

/// Peer that counts its messages, unless its client is called `Plain`: then it keeps nothing.
struct Guest {
    notes: Notes,
    plain: bool,
    count: u32,
}

impl Peer for Guest {
    type Options = Notes;

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        notes: &Notes,
    ) -> Result<PeerInit<Self>, Rejection> {
        let name = auth.metadata.as_str().unwrap_or_default().to_owned();
        if name == "Banned" && notes.lock().unwrap().contains(&"ban".to_owned()) {
            return Err("banned".into());
        }
        note(notes, format!("init {name}"));
        let guest = Self { notes: Arc::clone(notes), plain: name != "Ann", count: 0 };
        Ok(PeerInit::from(guest).public("name", name))
    }

    fn on_joined(&mut self, _: &PeerContext) {
        note(&self.notes, "peer joined");
    }

    fn on_receive(&mut self, message: RoomMessage, context: &PeerContext) -> Option<RoomMessage> {
        self.count += 1;
        if message.event == "count" {
            let count = RoomMessage::new("count", &self.count).unwrap();
            _ = context.client.send_to_client(&count);
            return None;
        }
        Some(message)
    }

    fn snapshot(&self) -> Option<Snapshot> {
        if self.plain { None } else { Snapshot::of(&self.count).ok() }
    }

    async fn restore(
        _: &InitContext,
        _: &AuthData,
        notes: &Notes,
        snapshot: Snapshot,
    ) -> Result<Self, String> {
        let count = snapshot.read().map_err(|error| error.to_string())?;
        note(notes, format!("restore {count}"));
        Ok(Self { notes: Arc::clone(notes), plain: false, count })
    }

    fn on_terminate(&mut self, _: &PeerContext) {
        note(&self.notes, "peer terminated");
    }
}

/// A server in this process, which is replaced by another one.
struct Process {
    rooms: Rooms,
    address: SocketAddr,
    server: ServerHandle,
    file: PathBuf,
}

/// Hook that never answers.
async fn hang((): (), context: HookContext) -> Result<(), Rejection> {
    HANGS.notify_one();
    _ = context;
    std::future::pending().await
}

static HANGS: Notify = Notify::const_new();

impl Process {
    async fn start<const DIRECT: bool>(file: &Path, notes: &Notes, grace: Duration) -> Self {
        let (room, peer) = (Arc::clone(notes), Arc::clone(notes));
        let rooms = Rooms::builder().hand_over_file(file).on_demand(move |name| {
            Some(RoomOptions::<Hall<DIRECT>>::new(name, Arc::clone(&room)).erase())
        });
        let rooms = rooms.build();
        let hooks = Hooks::builder().plugin("a", |plugin| plugin.hook("hang", hang)).build();
        let options = PeerOptions::<Guest>::new(peer, rooms.clone())
            .resume_grace(grace)
            .hooks(hooks.unwrap());
        let signaling = Signaling::new(options);
        let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = tune(HttpServer::new(app)).workers(2).disable_signals();
        let server = server.listen(listener).unwrap().run();
        let handle = server.handle();
        rooms.start().await.unwrap();
        actix::spawn(server);
        Self { rooms, address, server: handle, file: file.to_owned() }
    }

    async fn join(&self, name: &str) -> Client {
        let mut client = Client::connect(self.address, name).await.unwrap();
        client.welcome("authenticated").await;
        client
    }

    /// Hands over, and ends as a process does.
    async fn replace(self) -> HandedOver {
        self.server.pause().await;
        let handed_over = self.rooms.hand_over_to_file(&self.file).await.unwrap();
        self.rooms.stop_all("shutdown").await;
        self.server.stop(false).await;
        if let Some(tree) = self.rooms.tree() {
            tree.stop().await;
        }
        handed_over
    }
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: String,
    token: String,
}

impl Client {
    async fn connect(address: SocketAddr, query: &str) -> Result<Self, Error> {
        let (socket, _) = connect_async(format!("ws://{address}/socket/hall?{query}")).await?;
        Ok(Self { socket, id: String::new(), token: String::new() })
    }

    async fn resume(&mut self, address: SocketAddr) {
        let query = format!("resume={}", self.token);
        let Self { socket, .. } = Self::connect(address, &query).await.expect("it comes back");
        self.socket = socket;
        self.welcome("resumed").await;
    }

    async fn welcome(&mut self, event: &str) {
        let data = self.expect(event).await;
        let id = data["peer_id"].as_str().unwrap();
        assert!(self.id.is_empty() || self.id == id);
        self.id = id.to_owned();
        self.token = data["resume"]["token"].as_str().unwrap().to_owned();
    }

    async fn send(&mut self, event: &str, data: Value, to: Value) {
        let text = json!({ "event": event, "data": data, "to": to }).to_string();
        self.socket.send(Frame::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        let next = timeout(Duration::from_secs(60), self.socket.next()).await;
        next.expect("in time").expect("a frame").expect("a good frame")
    }

    async fn message(&mut self) -> Value {
        loop {
            match self.next().await {
                // It has come back.
                Frame::Text(text) if text.contains(r#""event":"room_members""#) => {}
                Frame::Text(text) => return serde_json::from_str(&text).unwrap(),
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn expect(&mut self, event: &str) -> Value {
        let message = self.message().await;
        assert_eq!(message["event"], event, "{message}");
        message["data"].clone()
    }

    /// Reads until the server says goodbye, which is answered; returns what came before.
    async fn goodbye(&mut self) -> Vec<Value> {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Frame::Text(text) => before.push(serde_json::from_str(&text).unwrap()),
                Frame::Close(Some(close)) => {
                    assert_eq!(u16::from(close.code), 1001);
                    assert_eq!(close.reason.as_str(), "server is restarting");
                    while let Some(Ok(_)) = self.socket.next().await {}
                    return before;
                }
                _ => {}
            }
        }
    }
}

const GRACE: Duration = Duration::from_secs(600);

#[actix::test]
async fn all_come_back_as_who_they_were_and_no_one_is_told() {
    let (folder, notes) = (tempfile::tempdir().unwrap(), Notes::default());
    let file = folder.path().join("rooms");
    let process = Process::start::<false>(&file, &notes, GRACE).await;
    let (mut ann, mut bob) = (process.join("Ann").await, process.join("Bob").await);
    ann.expect("joined").await;
    let call = json!({ "type": "call_hook", "id": 7, "plugin": "a", "fn": "hang", "args": [] });
    bob.socket.send(Frame::text(call.to_string())).await.unwrap();
    HANGS.notified().await;
    for number in 0..3 {
        ann.send("count", number.into(), "all".into()).await;
        assert_eq!(ann.expect("count").await, number + 1);
    }
    take(&notes);

    let (handed_over, ..) = tokio::join!(process.replace(), ann.goodbye(), bob.goodbye());

    assert_eq!((handed_over.rooms, handed_over.peers), (1, 2));
    assert_eq!(take(&notes), [""; 0], "no callback is called any more");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&ann.token), "tokens are not in the file");
    let process = Process::start::<false>(&file, &notes, GRACE).await;
    bob.resume(process.address).await;
    let error = bob.message().await;
    assert_eq!((&error["type"], &error["id"]), (&json!("hook_error"), &json!(7)));
    assert_eq!(error["error"], "server_restarted");
    // Ann is away, and gets it later.
    bob.send("hello", 1.into(), json!([ann.id])).await;
    ann.resume(process.address).await;
    assert_eq!(ann.expect("hello").await, 1);
    ann.send("count", 0.into(), "all".into()).await;
    assert_eq!(ann.expect("count").await, 4, "its peer has its state");
    ann.send("hello", 2.into(), "all".into()).await;
    assert_eq!(bob.expect("hello").await, 2);
    let mut told = take(&notes);
    told.sort();
    assert_eq!(told, ["init Bob", "peer joined", "restore 3", "room restored"]);

    // A token is good once, and the next one leads to a third process.
    tokio::join!(process.replace(), ann.goodbye(), bob.goodbye());
    let process = Process::start::<false>(&file, &notes, GRACE).await;
    ann.resume(process.address).await;
    bob.resume(process.address).await;
    ann.send("hello", 3.into(), "all".into()).await;
    assert_eq!(bob.expect("hello").await, 3);
    let mut cat = process.join("Cat").await;
    assert_eq!(ann.expect("joined").await["peer_id"], cat.id.as_str());
    cat.socket.close(None).await.unwrap();
    assert_eq!(ann.expect("left").await["peer_id"], cat.id.as_str());
}

#[actix::test]
async fn a_process_that_is_replaced_right_after_its_start_loses_no_one() {
    let (folder, notes) = (tempfile::tempdir().unwrap(), Notes::default());
    let file = folder.path().join("rooms");
    let process = Process::start::<false>(&file, &notes, GRACE).await;
    let (mut ann, mut bob) = (process.join("Ann").await, process.join("Bob").await);
    ann.expect("joined").await;
    ann.send("hello", 1.into(), "all".into()).await;
    let (_, _, before) = tokio::join!(process.replace(), ann.goodbye(), bob.goodbye());

    for _ in 0..3 {
        let process = Process::start::<false>(&file, &notes, GRACE).await;
        assert_eq!(process.replace().await.peers, 2);
    }
    let process = Process::start::<false>(&file, &notes, GRACE).await;
    ann.resume(process.address).await;
    bob.resume(process.address).await;

    if before.is_empty() {
        assert_eq!(bob.expect("hello").await, 1);
    }
    bob.send("hello", 2.into(), "all".into()).await;
    assert_eq!(ann.expect("hello").await, 2);
}

#[actix::test]
async fn who_does_not_come_back_or_may_not_leaves_once() {
    let (folder, notes) = (tempfile::tempdir().unwrap(), Notes::default());
    let file = folder.path().join("rooms");
    // A client that is away has a grace period of its own; this is the rest of it.
    let process = Process::start::<false>(&file, &notes, Duration::from_secs(5)).await;
    let (mut ann, mut bob) = (process.join("Ann").await, process.join("Bob").await);
    let mut banned = process.join("Banned").await;
    tokio::join!(process.replace(), ann.goodbye(), bob.goodbye(), banned.goodbye());
    note(&notes, "ban");

    let process = Process::start::<false>(&file, &notes, Duration::from_secs(5)).await;
    ann.resume(process.address).await;

    let mut gone = [ann.expect("left").await, ann.expect("left").await];
    gone.sort_by_key(Value::to_string);
    let mut ids = [json!({ "peer_id": bob.id }), json!({ "peer_id": banned.id })];
    ids.sort_by_key(Value::to_string);
    assert_eq!(gone, ids);
    let late = Client::connect(process.address, &format!("resume={}", bob.token)).await;
    assert!(matches!(late, Err(Error::Http(response)) if response.status() == 410));
    ann.send("echo", 1.into(), json!([ann.id])).await;
    assert_eq!(ann.expect("echo").await, 1, "no more is said");
}

#[actix::test]
async fn one_that_does_not_answer_the_goodbye_comes_back_as_well() {
    let (folder, notes) = (tempfile::tempdir().unwrap(), Notes::default());
    let file = folder.path().join("rooms");
    let process = Process::start::<true>(&file, &notes, GRACE).await;
    let (mut ann, mut deaf) = (process.join("Ann").await, process.join("Deaf").await);

    let ((), _) = tokio::join!(async { _ = process.replace().await }, ann.goodbye());
    let process = Process::start::<true>(&file, &notes, GRACE).await;
    ann.resume(process.address).await;
    deaf.resume(process.address).await;

    ann.send("hello", 1.into(), json!([deaf.id])).await;
    assert_eq!(deaf.expect("hello").await, 1);
}

#[actix::test]
async fn a_server_that_cannot_write_goes_on_and_one_that_is_closing_says_so() {
    let (folder, notes) = (tempfile::tempdir().unwrap(), Notes::default());
    let process = Process::start::<false>(&folder.path().join("rooms"), &notes, GRACE).await;
    let (mut ann, mut bob) = (process.join("Ann").await, process.join("Bob").await);
    ann.expect("joined").await;

    assert!(process.rooms.hand_over_to_file(folder.path().join("no/folder")).await.is_err());
    ann.send("hello", 1.into(), "all".into()).await;
    assert_eq!(bob.expect("hello").await, 1);

    // The file cannot be moved to its place, when the clients are gone already.
    std::fs::create_dir_all(folder.path().join("taken/by")).unwrap();
    let failing = process.rooms.hand_over_to_file(folder.path().join("taken"));
    let (failed, ..) = tokio::join!(failing, ann.goodbye(), bob.goodbye());
    assert!(failed.is_err());
    bob.resume(process.address).await;
    let call = json!({ "type": "call_hook", "id": 1, "plugin": "a", "fn": "hang", "args": [] });
    bob.socket.send(Frame::text(call.to_string())).await.unwrap();
    ann.resume(process.address).await;
    bob.send("hello", 2.into(), "all".into()).await;
    assert_eq!(ann.expect("hello").await, 2);
    ann.send("hello", 3.into(), "all".into()).await;
    assert_eq!(bob.expect("hello").await, 3);

    process.rooms.hand_over_to_file(&process.file).await.unwrap();
    let refused = Client::connect(process.address, &format!("resume={}", ann.token)).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 503));
}
