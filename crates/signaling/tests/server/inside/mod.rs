//! A server with admin routes, and an HTTP client.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard_admin::*;
use callboard_peer_connection::messages::CreateDataChannel;
use callboard_peer_connection::*;
use callboard_room_supervisor::*;
use callboard_signaling::rpc::HookContext;
use callboard_signaling::*;
use callboard_supervision::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Client, TestPeer, TestRoom};
use crate::peers::{self, Peer, connect, negotiate};

/// Serves these routes, and returns the address. It is compiled once, and not for each kind of options of a test.
fn listen(signaling: Signaling<TestPeer>, admin: Admin) -> SocketAddr {
    let app = move || {
        let app = App::new().configure(signaling.at(&["/socket/{room}"]));
        app.configure(admin.at("/admin"))
    };
    let server = tune(HttpServer::new(app).workers(1).disable_signals())
        .bind(("127.0.0.1", 0))
        .expect("a port");
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    address
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) root: SupervisorRef,
    pub(crate) admin: Admin,
    pub(crate) connections: PeerConnections,
    /// Owners of the peer connections.
    pub(crate) owned: Arc<Mutex<Vec<(String, PeerConnectionId)>>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|admin| admin).await
    }

    /// Starts a server with rooms and peer connections below one root.
    pub(crate) async fn start_with(options: impl FnOnce(AdminBuilder) -> AdminBuilder) -> Self {
        let rooms = Rooms::new();
        let (tell, told) = std::sync::mpsc::channel();
        let homes = PeerConnections::child("webrtc", peers::loopback(), move |pool| {
            _ = tell.send(pool);
        });
        let root = SupervisorSpec::new(Flags::one_for_one())
            .child(rooms.child_spec("rooms"))
            .child(homes.expect("ports"))
            .start_as("server")
            .await
            .expect("nothing to go wrong");
        let connections = told.recv().expect("it has been started");
        Self::serve(rooms, root, connections, options).await
    }

    pub(crate) async fn serve(
        rooms: Rooms,
        root: SupervisorRef,
        connections: PeerConnections,
        options: impl FnOnce(AdminBuilder) -> AdminBuilder,
    ) -> Self {
        rooms.start_supervised(RoomOptions::<TestRoom>::new("demo", ())).await.expect("free");
        let hooks = Hooks::builder().plugin("test", |test| {
            test.hook("add", async |(a, b): (i64, i64), _: HookContext| Ok::<_, Rejection>(a + b))
                .hook("refuse", async |(): (), _: HookContext| Err::<(), _>(Rejection::new("no")))
        });
        let hooks = hooks.build().expect("good names");
        let signaling = Signaling::new(PeerOptions::<TestPeer>::new((), rooms).hooks(hooks));
        let owned: Arc<Mutex<Vec<(String, PeerConnectionId)>>> = Arc::default();
        let graft = Arc::clone(&owned);
        let admin = Admin::builder(root.clone())
            .connections(connections.clone())
            .counters(signaling.counters())
            .graft(move || graft.lock().unwrap().clone());
        let admin = options(admin).build();
        let address = listen(signaling, admin.clone());
        Self { address, root, admin, connections, owned }
    }

    pub(crate) fn own(&self, peer: &str, connection: PeerConnectionId) {
        self.owned.lock().unwrap().push((peer.to_owned(), connection));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &[], &body.to_string()).await
    }

    /// Sends a request with these headers; without a host header, it gets the one that a browser would send.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request += &format!("host: localhost:{}\r\n", self.address.port());
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        let mut connection = TcpStream::connect(self.address).await.expect("it listens");
        connection.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("it answers in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) async fn tree(&self) -> Tree {
        let answer = self.get("/admin/tree").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("a tree")
    }

    /// Connects a client that joins; returns it with the id of its peer.
    pub(crate) async fn join(&self) -> (Client, String) {
        let mut client = self.open("/socket/demo", &[]).await.expect("let in");
        let id = client.expect("authenticated").await["peer_id"].as_str().unwrap().to_owned();
        (client, id)
    }

    pub(crate) async fn look(&self) -> Client {
        self.open("/admin/tree/stream", &[]).await.expect("let in")
    }

    /// Opens a WebSocket; or returns the status of the refusal.
    pub(crate) async fn open(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for &(name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => {
                Ok(Client { socket, id: String::new(), protocol: None, worker: String::new() })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Returns the status and the error in the body.
    pub(crate) fn error(&self) -> (u16, String) {
        let json = self.json();
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{json}");
        (self.status, json["error"].as_str().expect("a name").to_owned())
    }
}

/// Returns the next message of a stream for which this holds.
pub(crate) async fn until(stream: &mut Client, holds: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let message = stream.message().await;
            if holds(&message) {
                return message;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("in time")
}

/// Returns the next recovery of this actor that is whole.
pub(crate) async fn whole(stream: &mut Client, path: &str) -> Value {
    let it = |message: &Value| {
        message["recovery"]["path"] == path && message["recovery"]["whole_ms"].is_number()
    };
    until(stream, it).await["recovery"].clone()
}

/// Returns the node with this path in a message of a stream.
pub(crate) fn node(message: &Value, path: &str) -> Option<Tree> {
    let tree: Tree = serde_json::from_value(message.get("tree")?.clone()).ok()?;
    tree.find(&|node| node.path == path).cloned()
}

/// Creates two connected peer connections, of two peers of the room, with a data channel.
pub(crate) async fn call(server: &Server) -> (Peer, Peer, DataChannelId) {
    let mut one = Peer::open_on(&server.connections, 0, Configuration::default()).await;
    let mut other = Peer::open_on(&server.connections, 1, Configuration::default()).await;
    let channel = one.send(CreateDataChannel::new("chat")).await.unwrap();
    negotiate(&mut one, &mut other).await;
    connect(&mut one, &mut other).await;
    one.until(peers::opened).await;
    (one, other, channel)
}

pub(crate) fn order(path: &str, fault: &str) -> Value {
    json!({ "path": path, "fault": fault })
}

/// Asserts that every node has these members and no others.
pub(crate) fn check_shape(node: &Value, above: Option<&str>) {
    let members: BTreeSet<&str> = node.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "children",
        "depth",
        "details",
        "id",
        "kind",
        "last_exit",
        "path",
        "restarts",
        "status",
        "thread",
        "type",
        "uptime_ms",
    ];
    assert_eq!(members, BTreeSet::from(expected), "{node}");
    let path = node["path"].as_str().unwrap();
    assert!(path.ends_with(node["id"].as_str().unwrap()), "{node}");
    if let Some(above) = above {
        assert!(path.starts_with(above), "{path} below {above}");
    }
    assert!(["worker", "supervisor"].contains(&node["kind"].as_str().unwrap()), "{node}");
    assert!(node["details"].is_object() && node["depth"].is_u64() && node["restarts"].is_u64());
    for child in node["children"].as_array().unwrap() {
        check_shape(child, Some("server"));
    }
}
