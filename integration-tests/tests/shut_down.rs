//! Graceful shutdown of every example. At SIGTERM and SIGINT every client is told, and the process ends soon, with code
//! 0. An error that keeps it from starting is the one line of its output.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use integration_tests::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Clients that answer the close frame and leave the rest to the server, with a browser's idle connection beside them.
#[tokio::test]
async fn it_ends_within_two_seconds_if_all_take_their_goodbye() {
    for example in [OWN_ROOM, MESH_CALL, SUPERVISOR_TREE] {
        let mut times = Vec::new();
        for _ in 0..3 {
            let mut server = Server::start(&example, &[]).await;
            let clients = [server.join().await, server.join().await];
            let idle = server.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;

            let sent = Instant::now();
            server.signal(Signal::SIGTERM);

            let clients = join_all(clients.map(expect_goodbye)).await;
            assert_eq!(server.ended().await.code(), Some(0), "{}", example.name);
            times.push(sent.elapsed());
            drop((clients, idle));
        }

        println!("{}: {times:?}", example.name);
        // The shortest time counts, because this machine may have other work.
        assert!(times.iter().min() < Some(&PROMISE), "{}: {times:?}", example.name);
    }
}

#[tokio::test]
async fn every_client_of_every_example_is_told_and_the_process_ends() {
    for example in [OWN_ROOM, MESH_CALL, SUPERVISOR_TREE] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut server = Server::start(&example, &[]).await;
            let clients = [server.join().await, server.join().await];
            let idle = server.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let half = server.ask("GET / HT").await;

            let sent = Instant::now();
            server.signal(signal);

            for client in clients {
                expect_goodbye(client).await;
            }
            let status = server.ended().await;
            assert_eq!(status.code(), Some(0), "{} {signal}", example.name);
            assert!(sent.elapsed() < SOON, "{} {signal}: {:?}", example.name, sent.elapsed());
            println!("{} {signal}: {:?}", example.name, sent.elapsed());
            drop((idle, half));
        }
    }
}

#[tokio::test]
async fn pages_without_rooms_end_as_well() {
    for example in [ECHO, CUSTOM_HANDSHAKE] {
        let mut server = Server::start(&example, &[]).await;
        let idle = server.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let half = server
            .ask("POST /offer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n")
            .await;

        let sent = Instant::now();
        server.signal(Signal::SIGTERM);

        assert_eq!(server.ended().await.code(), Some(0), "{}", example.name);
        assert!(sent.elapsed() < SOON, "{}: {:?}", example.name, sent.elapsed());
        println!("{}: {:?}", example.name, sent.elapsed());
        drop((idle, half));
    }
}

#[tokio::test]
async fn a_hundred_clients_are_told_and_one_that_does_not_read_holds_nothing_up() {
    let mut server = Server::start(&SUPERVISOR_TREE, &[]).await;
    let clients = join_all((0..100).map(|_| server.join())).await;
    let mute = server.mute().await;

    let sent = Instant::now();
    server.signal(Signal::SIGTERM);

    join_all(clients.into_iter().map(expect_goodbye)).await;
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(sent.elapsed() < SOON, "{:?}", sent.elapsed());
    println!("100 and one that does not read: {:?}", sent.elapsed());
    drop(mute);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&MESH_CALL, &["--drain-seconds", "300"]).await;
    let client = server.join().await;
    let mute = server.mute().await;
    server.signal(Signal::SIGTERM);
    expect_goodbye(client).await;

    // A signal right after the first one counts as the same.
    let forcing = async {
        while server.child.try_wait().expect("a status").is_none() {
            server.signal(Signal::SIGTERM);
            // Pause between two checks whether it has ended.
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, forcing).await.expect("it ends");

    assert_eq!(server.ended().await.code(), Some(1));
    drop(mute);
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_said_in_one_line() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    // No machine has the second address (RFC 5737).
    for (address, error) in [(taken.as_str(), "in use"), ("192.0.2.1:8080", "assign")] {
        for example in [OWN_ROOM, PLAIN_TREE, MESH_CALL, SUPERVISOR_TREE, ECHO, CUSTOM_HANDSHAKE] {
            let argument = |it: &&'static str| if it.contains(':') { address } else { it };
            let output = Command::new(program::of_the_workspace(example.name))
                .args(example.arguments.iter().map(argument))
                .env("RUST_BACKTRACE", "1")
                .env_remove("RUST_LOG")
                .kill_on_drop(true)
                .output();
            let output = timeout(PATIENCE, output).await.expect("it ends").expect("it starts");

            let said = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(1), "{}: {said}", example.name);
            let (_, why) =
                said.split_once(&format!(": cannot listen on {address}: ")).expect(&said);
            assert!(why.contains(error) && !why.contains(address), "{}: {said}", example.name);
            assert_eq!(said.lines().count(), 1, "{}: {said}", example.name);
            assert!(output.stdout.is_empty(), "{}", example.name);
        }
    }
}

/// Program, and the way a client joins a room of it.
struct Example {
    name: &'static str,
    arguments: &'static [&'static str],
    path: &'static str,
    cookie: Option<&'static str>,
}

const OWN_ROOM: Example = Example {
    name: "own-room",
    arguments: &["127.0.0.1:0"],
    path: "/quiz?open=sesame",
    cookie: None,
};
const MESH_CALL: Example = Example {
    name: "mesh-call",
    arguments: &["--listen", "127.0.0.1:0"],
    path: "/socket/other",
    cookie: Some(r#"credentials={"username":"USERNAME","password":"PASSWORD"}"#),
};
const SUPERVISOR_TREE: Example = Example {
    name: "supervisor-tree",
    arguments: &["--listen", "127.0.0.1:0"],
    path: "/socket/demo",
    cookie: None,
};
const PLAIN_TREE: Example =
    Example { name: "plain-tree", arguments: &["127.0.0.1:0"], path: "", cookie: None };
const ECHO: Example = Example { name: "echo", arguments: &["127.0.0.1:0"], path: "", cookie: None };
const CUSTOM_HANDSHAKE: Example = Example {
    name: "custom-handshake",
    arguments: &["browser", "127.0.0.1:0"],
    path: "",
    cookie: None,
};

struct Server<'a> {
    example: &'a Example,
    child: Child,
    address: String,
}

impl<'a> Server<'a> {
    async fn start(example: &'a Example, more: &[&str]) -> Self {
        let mut child = Command::new(program::of_the_workspace(example.name))
            .args(example.arguments)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = timeout(PATIENCE, lines.next_line()).await;
        let first = first.expect("in time").expect("text").expect("a line");
        let address = first.split_once("://").expect("an address").1.trim_end_matches('/');
        Self { example, address: address.to_owned(), child }
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.child.id() {
            let id = Pid::from_raw(i32::try_from(id).expect("a process id"));
            kill(id, signal).expect("it can be sent");
        }
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("a status")
    }

    /// Opens a connection and sends this text on it.
    async fn ask(&self, text: &str) -> TcpStream {
        let mut tcp = TcpStream::connect(&self.address).await.expect("it listens");
        tcp.write_all(text.as_bytes()).await.expect("open");
        if text.starts_with("GET / HTTP") {
            tcp.read_u8().await.expect("an answer");
        }
        tcp
    }

    /// Returns a client that has joined.
    async fn join(&self) -> WebSocketStream<TcpStream> {
        self.join_by(TcpSocket::new_v4().expect("a socket")).await.0
    }

    async fn join_by(&self, socket: TcpSocket) -> (WebSocketStream<TcpStream>, Value) {
        let url = format!("ws://{}{}", self.address, self.example.path);
        let mut request = url.into_client_request().expect("a request");
        if let Some(cookie) = self.example.cookie {
            request.headers_mut().insert("cookie", cookie.parse().expect("a header"));
        }
        let address = self.address.parse().expect("an address");
        let tcp = socket.connect(address).await.expect("it listens");
        let (mut client, _) = client_async(request, tcp).await.expect("admitted");
        loop {
            let message = next(&mut client).await.expect("a message");
            let message: Value =
                serde_json::from_str(message.to_text().expect("text")).expect("JSON");
            if message["event"] == "authenticated" {
                return (client, message["data"]["peer_id"].clone());
            }
        }
    }

    /// Returns a client whose unread messages do not fit its connection, and that does not read.
    async fn mute(&self) -> WebSocketStream<TcpStream> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a small buffer");
        let (mut client, id) = self.join_by(socket).await;
        let message =
            json!({ "event": "bulk", "data": "x".repeat(60_000), "to": [id] }).to_string();
        for _ in 0..60 {
            // By then it may be closed already, and its connection is as stuck.
            if client.send(Message::text(message.clone())).await.is_err() {
                break;
            }
        }
        client
    }
}

/// Checks that the client is told that the room is closed, perhaps after other messages, and is then closed with 1001.
/// It answers, and the server closes its connection.
async fn expect_goodbye(mut client: WebSocketStream<TcpStream>) -> WebSocketStream<TcpStream> {
    let mut told = false;
    loop {
        match next(&mut client).await {
            Some(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["event"] == "error" {
                    assert_eq!(message["data"]["description"], "Room closed", "{message}");
                    assert_eq!(message["data"]["details"], "shutdown", "{message}");
                    told = true;
                }
            }
            Some(Message::Close(Some(close))) => {
                assert_eq!(close.code, CloseCode::Away, "{close}");
                assert!(told, "closed without a word");
                assert!(next(&mut client).await.is_none(), "nothing follows");
                return client;
            }
            Some(Message::Ping(_) | Message::Pong(_)) => {}
            other => panic!("not closed, but {other:?}"),
        }
    }
}

async fn next(client: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    let next = timeout(PATIENCE, client.next()).await.expect("in time");
    next.map(|message| message.expect("open"))
}

const PATIENCE: Duration = Duration::from_secs(60);
/// Promised time of the shutdown with clients that answer the close frame.
const PROMISE: Duration = Duration::from_secs(2);
/// Upper limit: it takes 1.1 s with a client that does not answer, and 31 s if connections are waited for. The rest is
/// for a busy machine.
const SOON: Duration = Duration::from_secs(20);
