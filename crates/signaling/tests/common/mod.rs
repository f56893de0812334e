//! Test server with a room and scripted peers, and a plain WebSocket client.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod away;
#[path = "../../../websocket/tests/common/frame_header.rs"]
pub(crate) mod frame_header;
#[path = "../../../websocket/tests/common/raw.rs"]
pub(crate) mod raw;
#[cfg(feature = "webrtc")]
pub(crate) mod rtc;

use std::net::TcpListener;
use std::sync::Arc;
#[cfg(feature = "webrtc")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Service;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpRequest, HttpServer};
#[cfg(feature = "webrtc")]
use callboard_peer_connection::{Configuration, DataChannelMessage, PeerConnectionState};
use callboard_room_supervisor::*;
use callboard_signaling::*;
use callboard_supervision::SupervisorRef;
#[cfg(feature = "webrtc")]
use callboard_transport::gather::IceTransportPolicy;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A room for three peers that can be made to panic.
pub(crate) struct TestRoom(usize);

impl Room for TestRoom {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self(0))
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        if auth.credentials.get("name") == Some(&json!("unwelcome")) {
            return Err("not_you".into());
        }
        if auth.credentials.get("name") == Some(&json!("undecided")) {
            std::future::pending::<()>().await;
        }
        self.0 += 1;
        Ok(())
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        assert_ne!(message.event, "explode_room");
        Some(message)
    }
}

/// Bytes that the application sends to all members of a room, on the data channel `bytes`.
#[cfg(feature = "webrtc")]
pub(crate) struct Spread(pub(crate) Vec<u8>);

#[cfg(feature = "webrtc")]
impl Tell<Spread> for TestRoom {
    fn on_tell(&mut self, Spread(bytes): Spread, room: &RoomContext) {
        room.send_bytes("bytes", To::All, bytes);
    }
}

/// A peer whose behaviour depends on its name.
pub(crate) struct TestPeer {
    greets: bool,
}

impl Peer for TestPeer {
    type Options = ();

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let name =
            request.headers().get("name").map_or("somebody", |name| name.to_str().unwrap_or("?"));
        match name {
            "nobody" => return Err("no name".into()),
            "explosive" => panic!("parse_request"),
            _ => {}
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
            Some("endless") => std::future::pending().await,
            Some("bomb") => panic!("on_init"),
            Some("brief") => {
                let socket = SocketOptions { max_message: Some(128), ..SocketOptions::default() };
                Ok(PeerInit::from(Self { greets: false }).socket(socket))
            }
            Some("Ann") => Ok(PeerInit::from(Self { greets: false }).public("name", "Ann")),
            name => Ok(Self { greets: name == Some("greeted") }.into()),
        }
    }

    fn on_joined(&mut self, context: &PeerContext) {
        if self.greets {
            let greeting = RoomMessage::new("greeting", &context.room.name()).expect("a string");
            _ = context.client.send_to_client(&greeting);
        }
    }

    fn on_receive(&mut self, message: RoomMessage, context: &PeerContext) -> Option<RoomMessage> {
        match message.event.as_str() {
            "explode_peer" => panic!("on_receive"),
            "swallow" => None,
            "block" => {
                BLOCKED.store(true, Ordering::Relaxed);
                while BLOCKED.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                None
            }
            "stop_me" => {
                context.client.stop();
                None
            }
            "kick_me" => {
                context.client.close(4001, "kicked out").expect("a good code");
                None
            }
            // Server code may send what clients may not.
            "announce" => Some(RoomMessage { event: "joined".to_owned(), ..message }),
            "whoami" => {
                let answer = RoomMessage::new("you_are", &context.peer_id).expect("an id");
                _ = context.client.send_to_client(&answer);
                None
            }
            _ => Some(message),
        }
    }

    #[cfg(feature = "webrtc")]
    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &PeerContext) {
        assert_ne!(data.as_bytes(), b"explode_peer");
        // The same way that it came.
        _ = context.client.send_data(channel, data);
    }

    #[cfg(feature = "webrtc")]
    fn configuration(
        &mut self,
        configuration: Configuration,
        context: &PeerContext,
    ) -> Configuration {
        if RELAYED.lock().expect("nothing panics").contains(&context.peer_id.to_string()) {
            let ice_transport_policy = IceTransportPolicy::Relay;
            return Configuration { ice_transport_policy, ..configuration };
        }
        configuration
    }

    #[cfg(feature = "webrtc")]
    fn on_webrtc_state(
        &mut self,
        state: PeerConnectionState,
        reason: Option<&EndReason>,
        context: &PeerContext,
    ) {
        let heard = (context.peer_id, State { state, reason: reason.cloned() });
        STATES.lock().expect("nothing panics").push(heard);
    }
}

/// Peers whose new peer connections use relays only, and there are no relays.
#[cfg(feature = "webrtc")]
pub(crate) static RELAYED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// While true, a peer blocks its thread.
pub(crate) static BLOCKED: AtomicBool = AtomicBool::new(false);

/// A state of a peer connection, as reported to the peer.
#[cfg(feature = "webrtc")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) state: PeerConnectionState,
    pub(crate) reason: Option<EndReason>,
}

/// Takes the states of its client's peer connection that were reported to this peer.
#[cfg(feature = "webrtc")]
pub(crate) fn take_states(peer: &str) -> Vec<State> {
    let mut states = STATES.lock().expect("nothing panics");
    states.extract_if(.., |(id, _)| id.to_string() == peer).map(|(_, state)| state).collect()
}

#[cfg(feature = "webrtc")]
static STATES: Mutex<Vec<(PeerId, State)>> = Mutex::new(Vec::new());

enum Http {
    Tuned,
    Light,
}

/// Serves these routes, and returns the address. It depends on no type of a test: HTTP servers take long to compile.
fn listen(http: Http, routes: Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>) -> String {
    let app = move || {
        let routes = Arc::clone(&routes);
        let app = App::new().wrap_fn(|request, service| {
            let response = service.call(request);
            async {
                let mut response = response.await?;
                let worker = format!("{:?}", std::thread::current().id());
                let worker = HeaderValue::from_str(&worker).expect("ASCII");
                response.headers_mut().insert(HeaderName::from_static("worker"), worker);
                Ok(response)
            }
        });
        app.configure(move |config| routes(config))
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    match http {
        Http::Tuned => {
            let server = tune(HttpServer::new(app).workers(2).disable_signals());
            actix_web::rt::spawn(server.listen(listener).expect("a listener").run());
        }
        Http::Light => {
            let server = actix_server::Server::build().workers(2).disable_signals();
            let server = server.listen("light", listener, move || http_service(app.clone()));
            actix_web::rt::spawn(server.expect("a listener").run());
        }
    }
    address
}

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) rooms: Rooms,
    pub(crate) tree: SupervisorRef,
    pub(crate) counters: Arc<Counters>,
}

impl Server {
    pub(crate) async fn start(
        options: impl FnOnce(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> Self {
        Self::start_with(Rooms::new(), options).await
    }

    /// Starts the same server with [`http_service`].
    pub(crate) async fn start_light(
        options: impl FnOnce(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> Self {
        Self::start_on(Http::Light, Rooms::new(), options).await
    }

    /// Starts one of each.
    pub(crate) async fn start_both(
        options: impl Fn(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> [Self; 2] {
        Self::start_both_with(Rooms::new, options).await
    }

    pub(crate) async fn start_both_with(
        rooms: impl Fn() -> Rooms,
        options: impl Fn(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> [Self; 2] {
        let tuned = Self::start_on(Http::Tuned, rooms(), &options).await;
        [tuned, Self::start_on(Http::Light, rooms(), &options).await]
    }

    pub(crate) async fn start_with(
        rooms: Rooms,
        options: impl FnOnce(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> Self {
        Self::start_on(Http::Tuned, rooms, options).await
    }

    async fn start_on(
        http: Http,
        rooms: Rooms,
        options: impl FnOnce(PeerOptions<TestPeer>) -> PeerOptions<TestPeer>,
    ) -> Self {
        Self::serve(http, rooms, |rooms| options(PeerOptions::new((), rooms))).await
    }

    /// Starts the same server with peers of another kind.
    pub(crate) async fn of_peers<P: Peer>(options: impl FnOnce(Rooms) -> PeerOptions<P>) -> Self {
        Self::serve(Http::Tuned, Rooms::new(), options).await
    }

    async fn serve<P: Peer>(
        http: Http,
        rooms: Rooms,
        options: impl FnOnce(Rooms) -> PeerOptions<P>,
    ) -> Self {
        let tree = rooms.start().await.expect("nothing to go wrong");
        for name in ["demo", "other"] {
            let room = RoomOptions::<TestRoom>::new(name, ());
            // A join that the room leaves undecided waits for as long as a test takes.
            let room = room.join_timeout(Duration::from_secs(600));
            rooms.start_supervised(room).await.expect("a free name");
        }
        let signaling = Signaling::new(options(rooms.clone()));
        let counters = signaling.counters();
        let routes = move |config: &mut ServiceConfig| {
            signaling.at(&["/socket/{room}", "/webrtc/{room}"])(config);
        };
        let address = listen(http, Arc::new(routes));
        Self { address, rooms, tree, counters }
    }

    pub(crate) async fn connect(&self, headers: &[(&'static str, &str)]) -> Result<Client, Error> {
        self.connect_to("/socket/demo", headers).await
    }

    pub(crate) async fn connect_to(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request()?;
        for &(name, value) in headers {
            request.headers_mut().append(name, value.parse().expect("a header value"));
        }
        let (socket, response) = tokio_tungstenite::connect_async(request).await?;
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().expect("ASCII").to_owned())
        };
        let (protocol, worker) = (header("sec-websocket-protocol"), header("worker"));
        let worker = worker.expect("each answer has it");
        Ok(Client { socket, id: String::new(), protocol, worker })
    }

    /// Expects a refusal; returns the status and the body.
    pub(crate) async fn refusal(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> (u16, Value) {
        match self.connect_to(path, headers).await {
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                (response.status().as_u16(), serde_json::from_slice(body).unwrap_or_default())
            }
            Ok(_) => panic!("{path} {headers:?} was let in"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Connects a client that joins; returns it with the number of earlier members.
    pub(crate) async fn join(&self) -> (Client, usize) {
        let (client, data) = self.enter().await;
        (client, data["peers"].as_array().expect("a list").len())
    }

    /// Connects a client that joins; returns it with the data of its welcome.
    pub(crate) async fn enter(&self) -> (Client, Value) {
        let mut client = self.connect(&[]).await.expect("let in");
        let data = client.expect("authenticated").await;
        client.id = data["peer_id"].as_str().expect("an id").to_owned();
        (client, data)
    }

    /// Connects a client that joins; returns it with its resume token.
    pub(crate) async fn join_with_token(&self) -> (Client, String) {
        let (client, data) = self.enter().await;
        (client, data["resume"]["token"].as_str().expect("a token").to_owned())
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) id: String,
    pub(crate) protocol: Option<String>,
    /// Thread of the server that serves it.
    pub(crate) worker: String,
}

/// Loses a client's connection without a close: it ends with a reset.
pub(crate) fn cut(client: Client) {
    if let MaybeTlsStream::Plain(tcp) = client.socket.get_ref() {
        tcp.set_zero_linger().expect("an open connection");
    }
}

impl Client {
    pub(crate) async fn send(&mut self, value: Value) {
        self.text(&value.to_string()).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.frame(Frame::text(text)).await;
    }

    pub(crate) async fn frame(&mut self, frame: Frame) {
        self.socket.send(frame).await.expect("the connection is open");
    }

    /// Returns the next frame that is neither a ping nor a pong.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.socket.next()).await;
            match next.expect("something within a minute") {
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(frame)) => return Some(frame),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Returns the next message that is not the list of members: that comes to each client that was away.
    pub(crate) async fn message(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Frame::Text(text)) if text.contains(r#""event":"room_members""#) => {}
                Some(Frame::Text(text)) => {
                    return serde_json::from_str(&text)
                        .unwrap_or_else(|_| json!({ "text": text.as_str() }));
                }
                other => panic!("no message, but {other:?}"),
            }
        }
    }

    /// Expects a message of this event next; returns its data.
    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        let message = self.message().await;
        assert_eq!(message["event"], event, "{message}");
        message["data"].clone()
    }

    /// Expects an error of this description next; returns its details.
    pub(crate) async fn expect_error(&mut self, description: &str) -> Value {
        let data = self.expect("error").await;
        assert_eq!(data["description"], description, "{data}");
        data["details"].clone()
    }

    /// Expects the connection to be closed next, with this code.
    pub(crate) async fn expect_close(&mut self, code: u16) {
        match self.next().await {
            Some(Frame::Close(Some(close))) => assert_eq!(u16::from(close.code), code, "{close}"),
            other => panic!("not closed, but {other:?}"),
        }
    }
}

/// Waits until this holds, at most a minute.
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

/// Waits until this many connections have ended, the room's supervisor has this many children (including the room), and
/// no more descriptors than this are open.
pub(crate) async fn settle(server: &Server, ended: u64, children: usize, open: usize) {
    let settled = async {
        let room = server
            .tree
            .supervisor("rooms")
            .and_then(|rooms| rooms.supervisor("demo"))
            .expect("a room");
        while server.counters.get(Count::Ended) < ended
            || room.count_children().await.expect("the room runs").specs > children
            || descriptors() > open
        {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), settled).await.is_err() {
        let ended = server.counters.get(Count::Ended);
        panic!("{ended} ended, {} descriptors are open: {}", descriptors(), server.tree.snapshot());
    }
}

pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}
