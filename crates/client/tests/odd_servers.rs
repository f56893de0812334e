//! Servers that break the protocol, or keep a client waiting: none makes it panic, hang or grow.

mod common;

use std::time::Duration;

use callboard_client::{
    CallFunctionError, Client, ClientEvent, ClientState, ConnectError, Recipients, SendMessageError,
};
use common::{message, next, options, url, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message as Frame, protocol::frame::coding::CloseCode};

/// A server that does what a test says.
struct Script(TcpListener);

/// A client's WebSocket, and the query with which it was opened.
struct Guest {
    socket: WebSocketStream<TcpStream>,
    query: Option<String>,
}

impl Script {
    async fn start() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.expect("a port"))
    }

    fn url(&self) -> String {
        url(self.0.local_addr().expect("an address"))
    }

    async fn accept(&self) -> Guest {
        let (tcp, _) = within(self.0.accept()).await.expect("it listens");
        let mut query = None;
        #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
        let note = |request: &Request, response: Response| {
            query = request.uri().query().map(str::to_owned);
            Ok(response)
        };
        let socket =
            within(tokio_tungstenite::accept_hdr_async(tcp, note)).await.expect("a request");
        Guest { socket, query }
    }

    /// Accepts a client and lets it in.
    async fn admit(&self, event: &str, token: &str) -> Guest {
        let mut guest = self.accept().await;
        let resume = json!({ "token": token, "grace_ms": 600_000 });
        let data = json!({ "peer_id": "me", "peers": [], "resume": resume });
        guest.say(json!({ "event": event, "data": data, "from": null })).await;
        guest
    }

    /// Connects a client, which is let in.
    async fn join(&self) -> (Client, Guest) {
        self.join_with(options()).await
    }

    async fn join_with(&self, options: callboard_client::ClientOptions) -> (Client, Guest) {
        let url = self.url();
        let joining = Client::connect(&url, options);
        let (client, guest) = tokio::join!(joining, self.admit("authenticated", "first"));
        (client.expect("let in"), guest)
    }
}

impl Guest {
    async fn say(&mut self, message: Value) {
        self.frame(Frame::text(message.to_string())).await;
    }

    async fn frame(&mut self, frame: Frame) {
        self.socket.send(frame).await.expect("an open connection");
    }

    /// Sends bytes as they are.
    async fn raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).await.expect("an open connection");
    }

    /// Returns the next text that is no ping.
    async fn hear(&mut self) -> Value {
        loop {
            let frame = within(self.socket.next()).await.expect("more").expect("a frame");
            match frame {
                Frame::Text(text) if text != "ping" => return serde_json::from_str(&text).unwrap(),
                _ => {}
            }
        }
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "so".into() };
        self.frame(Frame::Close(Some(frame))).await;
        while let Some(Ok(_)) = within(self.socket.next()).await {}
    }
}

fn chat(data: Value) -> Value {
    json!({ "event": "chat", "data": data, "from": "a", "to": "all" })
}

#[actix_web::test]
async fn what_cannot_be_understood_is_counted_and_ignored() {
    let script = Script::start().await;
    let (mut client, mut guest) = script.join().await;
    let deep = "[".repeat(100_000);
    let texts = ["", "{", "hello", "null", "[]", "{}", r#"{"event":1}"#, &deep];

    for text in texts {
        guest.frame(Frame::text(text)).await;
    }
    guest.frame(Frame::binary(vec![1, 2, 3])).await;
    guest.say(json!({ "event": "joined", "data": 1 })).await;
    guest.say(json!({ "event": "authenticated", "data": { "peer_id": "you" } })).await;
    guest.frame(Frame::Ping(Vec::new().into())).await;
    guest.frame(Frame::text("pong")).await;
    guest.say(chat(json!("hello"))).await;

    assert_eq!(message(&mut client).await.data, "hello");
    assert_eq!(client.malformed(), texts.len() as u64 + 3);
    assert_eq!((client.peer_id().as_str(), client.state()), ("me", ClientState::Open));
}

#[actix_web::test]
async fn frames_that_break_the_protocol_end_the_connection_and_the_third_time_the_client() {
    let long_ping = [b"\x89\x7e\x00\x7e", [b'x'; 126].as_slice()].concat();
    let frames: [(&str, u16, &[u8]); 6] = [
        ("reserved bits", 1002, b"\xf1\x01x"),
        ("a reserved opcode", 1002, b"\x83\x01x"),
        ("a mask", 1002, b"\x81\x81\0\0\0\0x"),
        ("a long ping", 1002, &long_ping),
        ("no UTF-8", 1007, b"\x81\x01\xff"),
        ("an endless frame", 1009, b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
    ];
    for (what, code, bytes) in frames {
        let script = Script::start().await;
        let (mut client, mut guest) = script.join().await;
        for _ in 0..2 {
            guest.raw(bytes).await;
            // The session goes on: what the server says next may be all right.
            guest = script.admit("resumed", "next").await;
            assert_eq!(
                guest.query.as_deref().map(|query| query.starts_with("resume=")),
                Some(true)
            );
            assert_eq!(next(&mut client).await, ClientEvent::Resumed, "{what}");
        }
        guest.raw(bytes).await;

        let ClientEvent::GaveUp(error) = next(&mut client).await else { panic!("{what}") };
        assert_eq!(error.code, code, "{what}");
        let ClientEvent::State(change) = next(&mut client).await else { panic!("{what}") };
        assert_eq!(change.state, ClientState::Closed);
    }
}

#[actix_web::test]
async fn a_message_over_the_limit_is_not_kept() {
    let script = Script::start().await;
    let (mut client, mut guest) = script.join_with(options().max_message(1_000)).await;
    guest.say(chat(json!("x".repeat(900)))).await;
    message(&mut client).await;
    guest.say(chat(json!("x".repeat(1_000)))).await;

    let lost = within(client.next_event()).await;
    let Some(ClientEvent::State(change)) = lost else { panic!("{lost:?}") };
    assert_eq!((change.state, change.code), (ClientState::Waiting, Some(1009)));
}

#[actix_web::test]
async fn a_token_is_kept_until_the_next_one_was_read() {
    let script = Script::start().await;
    let (mut client, guest) = script.join().await;
    drop(guest);

    // The server has changed the token at the upgrade, but what it said is lost with the connection.
    for _ in 0..3 {
        let guest = script.accept().await;
        assert_eq!(guest.query.as_deref(), Some("resume=first"));
        drop(guest);
    }
    let guest = script.admit("resumed", "second").await;
    assert_eq!(guest.query.as_deref(), Some("resume=first"));
    assert_eq!(next(&mut client).await, ClientEvent::Resumed);
    drop(guest);
    let guest = script.accept().await;
    assert_eq!(guest.query.as_deref(), Some("resume=second"));
}

#[actix_web::test]
async fn a_server_that_never_answers_is_given_up() {
    let script = Script::start().await;
    let url = script.url();
    let options = options().join_timeout(Duration::from_millis(200));
    // The system accepts the connection, and no program reads it.
    let error = within(Client::connect(&url, options)).await.err();
    assert_eq!(error, Some(ConnectError::Timeout));
}

#[actix_web::test]
async fn an_answer_that_is_no_http_is_no_websocket() {
    let endless = b"x: y\r\n".repeat(1 << 20);
    let answers: [&[u8]; 4] = [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        &[b"HTTP/1.1 101 Switching Protocols\r\n", &*endless].concat(),
    ];
    for answer in answers {
        let script = Script::start().await;
        let url = script.url();
        let answering = async {
            let (mut tcp, _) = script.0.accept().await.unwrap();
            _ = tcp.read(&mut [0; 1_024]).await;
            // The client may have gone before it is over.
            _ = tcp.write_all(answer).await;
            tcp
        };
        let (joined, _) =
            within(async { tokio::join!(Client::connect(&url, options()), answering) }).await;
        let error = joined.err();
        assert!(
            matches!(error, Some(ConnectError::Unreachable(_) | ConnectError::Refused(_))),
            "{error:?}"
        );
    }
}

#[actix_web::test]
async fn a_server_that_does_not_read_makes_nothing_grow_without_bound() {
    let script = Script::start().await;
    let (client, mut guest) = script.join().await;

    let text = "x".repeat(10_000);
    let mut sent = 0;
    let mut full = 0;
    // Room may come back while the system's buffers still take some.
    loop {
        match client.send(Recipients::All, "chat", (sent, &text)) {
            Ok(()) => (sent, full) = (sent + 1, 0),
            Err(error) => {
                assert_eq!(error, SendMessageError::QueueFull);
                full += 1;
                if full == 20 {
                    break;
                }
                _ = tokio::time::timeout(Duration::from_millis(5), client.flush()).await;
            }
        }
        assert!(sent < 10_000, "100 MB were taken");
    }
    let call = client.call("a", "b", ());
    assert_eq!(within(call).await, Err(CallFunctionError::QueueFull));

    for number in 0..sent {
        assert_eq!(guest.hear().await["data"][0], number);
    }
    within(client.flush()).await;
}

#[actix_web::test]
async fn a_connection_that_ends_in_the_same_way_is_given_up_the_third_time() {
    let script = Script::start().await;
    let (mut client, mut guest) = script.join().await;
    for _ in 0..2 {
        guest.close(1011).await;
        guest = script.admit("authenticated", "x").await;
    }
    guest.close(1011).await;

    let error = loop {
        if let ClientEvent::GaveUp(error) = next(&mut client).await {
            break error;
        }
    };
    assert_eq!((error.code, &*error.reason), (1011, "so"));
}

#[actix_web::test]
async fn a_message_that_was_too_large_is_not_sent_again() {
    let script = Script::start().await;
    let (mut client, mut guest) = script.join().await;
    let large = "x".repeat(500);
    client.send(Recipients::All, "chat", &large).unwrap();
    guest.hear().await;
    let data = json!({ "description": "Message too large", "details": { "max_bytes": 100 } });
    guest.say(json!({ "event": "error", "data": data, "from": null })).await;
    guest.close(1009).await;
    let _guest = script.admit("authenticated", "x").await;

    let ClientEvent::Error(error) = next(&mut client).await else { panic!() };
    assert_eq!(error.code, "message_too_large");
    while client.state() != ClientState::Open {
        within(client.next_event()).await.expect("it runs");
    }
    let refused = client.send(Recipients::All, "chat", &large);
    assert_eq!(refused, Err(SendMessageError::TooLarge { max_bytes: 100 }));
    client.send(Recipients::All, "chat", "short").unwrap();
}

#[actix_web::test]
async fn a_server_cannot_make_it_run_more_than_64_functions() {
    let script = Script::start().await;
    let (client, mut guest) = script.join().await;
    client.register("never", async |_| {
        std::future::pending::<()>().await;
        Ok::<_, String>(())
    });

    for id in 0..70 {
        guest.say(json!({ "type": "call_hook", "id": id, "fn": "never", "args": [] })).await;
    }

    for id in 64..70 {
        let refused = json!({ "type": "hook_error", "id": id, "error": "overloaded" });
        assert_eq!(guest.hear().await, refused);
    }
}
