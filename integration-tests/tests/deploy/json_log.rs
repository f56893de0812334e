//! The log of a server as JSON: its fields, and what must never be in it.

use std::collections::BTreeSet;

use callboard_client::{CallFunctionError, Client, ClientOptions};
use futures_util::{SinkExt, StreamExt};
use integration_tests::{Moment, PATIENCE, in_network_namespace, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::get;
use super::logged::{Logged, parsed};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[test]
fn lines_name_room_and_peer_and_repeat_no_token_cookie_or_description() {
    for level in ["info", "debug"] {
        in_network_namespace(async || a_session_leaves_no_secret_in_the_log(level).await);
    }
}

async fn a_session_leaves_no_secret_in_the_log(level: &str) {
    let turn = "turn:127.0.0.1:9,user,turn-secret";
    let arguments =
        ["--listen", "127.0.0.1:0", "--admin-token", "admin-secret", "--ice-server", turn];
    let server = Logged::start("supervisor-tree", level, &arguments).await;
    let host = server.address.clone();
    let mut secrets: BTreeSet<String> = [
        "admin-secret",
        "turn-secret",
        "cookie-secret",
        "query-secret",
        "wrong-secret",
        "chat-secret",
        "argument-secret",
        "operator-secret",
        "description-secret",
        "abcdefghijklmnopqrstuvwx",
        "m=application",
        "a=fingerprint",
    ]
    .map(str::to_owned)
    .into();

    // A session, in which the client does much that is wrong.
    let (mut socket, welcome) = join(&host, "demo").await;
    let peer = welcome["data"]["peer_id"].as_str().expect("an id").to_owned();
    secrets.insert(welcome["data"]["resume"]["token"].as_str().expect("a token").to_owned());
    for text in [
        r#"{"event":"chat","data":"chat-secret","to":"all"}"#,
        r#"{"event":"chat","data":"chat-secret","to":["nobody"]}"#,
        r#"{"event":"authenticated","data":"chat-secret","to":"all"}"#,
        r#"{"event":"chat-secret"#,
        r#"{"event":"webrtc:offer","data":{"type":"offer","sdp":"v=0\r\ndescription-secret"}}"#,
        r#"{"event":"webrtc:ice","data":{"candidate":"description-secret"}}"#,
        r#"{"event":"rpc:call","data":{"argument-secret":1}}"#,
    ] {
        socket.send(Message::text(text)).await.expect("open");
    }
    let offer = json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": OFFER } });
    socket.send(Message::text(offer.to_string())).await.expect("open");
    let answer = event(&mut socket, "webrtc:answer").await;
    let sdp = answer["data"]["sdp"].as_str().expect("a description");
    let password = sdp.lines().find_map(|line| line.strip_prefix("a=ice-pwd:"));
    secrets.insert(password.expect("a password").to_owned());
    let caller = Client::connect(&format!("ws://{host}/socket/demo"), ClientOptions::new()).await;
    let caller = caller.expect("it is admitted");
    assert!(caller.call("demo", "echo", ["argument-secret"]).await.is_ok());
    for (function, argument) in
        [("hold_handshake", "operator-secret"), ("add", "argument-secret"), ("argument-secret", "")]
    {
        let refused = caller.call("demo", function, [argument]).await;
        assert!(matches!(refused, Err(CallFunctionError::Hook { .. })), "{refused:?}");
    }
    assert!(caller.call("demo", "panic", ()).await.is_err());

    // The connection is lost, and resumed with a token that then counts no more.
    let token = welcome["data"]["resume"]["token"].as_str().expect("a token");
    drop(socket);
    let (mut socket, _) = connect_async(format!("ws://{host}/socket/demo?resume={token}"))
        .await
        .expect("it comes back");
    let resumed = event(&mut socket, "resumed").await;
    secrets.insert(resumed["data"]["resume"]["token"].as_str().expect("a token").to_owned());
    assert!(connect_async(format!("ws://{host}/socket/demo?resume={token}")).await.is_err());
    let strange = format!("ws://{host}/socket/demo?token=query-secret");
    let mut strange = strange.into_client_request().expect("an address");
    strange.headers_mut().insert("origin", "https://evil.example".parse().expect("a header"));
    strange.headers_mut().insert("cookie", "session=cookie-secret".parse().expect("a header"));
    assert!(connect_async(strange).await.is_err());

    // The operator, and a stranger who guesses.
    for (path, headers, status) in [
        ("/tree", "authorization: Bearer admin-secret\r\n", "200"),
        ("/tree", "authorization: Bearer wrong-secret\r\n", "401"),
        ("/tree?token=wrong-secret", "cookie: session=cookie-secret\r\n", "401"),
        (
            "/ice-servers",
            "origin: https://evil.example\r\ncookie: session=cookie-secret\r\n",
            "403",
        ),
    ] {
        let (head, _) = get(&host, path, headers).await.expect("an answer");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
    for path in [format!("server/rooms/demo/{peer}"), "server/rooms/demo/room".to_owned()] {
        let fault = json!({ "path": path, "fault": "panic" }).to_string();
        assert_eq!(post(&host, "/tree/fault", &fault).await, "204", "{path}");
    }

    // The path of an actor leads to the ids.
    for (kind, wanted) in [("room", json!(["demo", null])), ("peer", json!(["demo", peer]))] {
        until(&format!("the end of the {kind}"), PATIENCE, async || {
            let lines = server.lines();
            let downs = lines.iter().filter(|line| line["level"] == "WARN");
            let mut downs = downs.filter(|line| text(line).contains("down: panic"));
            let found = downs.any(|line| json!([line["room"], line["peer"]]) == wanted);
            if found { Moment::Now(()) } else { Moment::NotYet(server.log()) }
        })
        .await;
    }
    let panicked = |line: &&Value| text(line).contains("panicked at") && line["peer"] == *peer;
    until("the place of the panic", PATIENCE, async || {
        match server.lines().iter().find(panicked) {
            Some(line) => {
                assert_eq!(line["actor"], format!("server/rooms/demo/{peer}"), "{line}");
                Moment::Now(())
            }
            None => Moment::NotYet(server.log()),
        }
    })
    .await;
    drop((socket, caller));

    let log = server.end().await;
    // The ICE library writes its passwords at the level debug.
    let lines = log.lines().filter(|line| !line.contains(r#""level":"DEBUG","target":"is::"#));
    let lines: Vec<&str> = lines.collect();
    for secret in &secrets {
        let told: Vec<_> = lines.iter().filter(|line| line.contains(secret.as_str())).collect();
        assert!(told.is_empty(), "{level}: {secret} is in {told:#?}");
    }
}

#[test]
fn lines_of_a_peer_connection_name_it_and_no_description_is_among_them() {
    in_network_namespace(async || {
        // Peers with connections in the same process, and faults in all actors.
        let arguments = ["--headless", "--peers", "2", "--seconds", "1"];
        let server = Logged::start("supervisor-tree", "debug", &arguments).await;
        // On a busy machine not all need recover in time, which does not matter here.
        let (_, log) = server.ended().await;

        let lines: Vec<Value> = log.lines().map(parsed).collect();
        let is_id = |id: &Value| id.as_str().is_some_and(|id| id.len() == 36);
        let of = |kind: &str| {
            let of_one = |line: &&Value| is_id(&line[kind]);
            lines.iter().filter(of_one).count()
        };
        assert!(of("peer") > 0 && of("connection") > 0, "{log}");
        let libraries = lines.iter().filter(|line| is_id(&line["connection"]));
        let mut libraries = libraries.filter_map(|line| line["target"].as_str());
        assert!(libraries.any(|target| target.starts_with("str0m")), "{log}");
        // A line of the peer names its connection.
        let ids: BTreeSet<&str> =
            lines.iter().filter_map(|line| line["connection"].as_str()).collect();
        let mut of_peers = lines.iter().filter(|line| is_id(&line["peer"]));
        assert!(of_peers.any(|line| ids.contains(last_word(line))), "{log}");
        for part in ["a=ice-pwd", "a=fingerprint", "m=application", "v=0\\r\\n"] {
            let told: Vec<&str> = log.lines().filter(|line| line.contains(part)).collect();
            assert!(told.is_empty(), "{part} is in {told:#?}");
        }
    });
}

#[test]
fn a_password_in_a_cookie_is_not_in_the_log() {
    in_network_namespace(async || {
        let server = Logged::start("mesh-call", "debug", &["--listen", "127.0.0.1:0"]).await;
        let host = server.address.clone();
        for (room, password, admitted) in [
            ("room", "PASSWORD", true),
            ("room", "wrong-secret", false),
            ("none", "PASSWORD", false),
        ] {
            let cookie = json!({ "username": "USERNAME", "password": password });
            let options = ClientOptions::new().header("cookie", format!("credentials={cookie}"));
            let url = format!("ws://{host}/socket/{room}");
            let client = Client::connect(&url, options).await;
            assert_eq!(client.is_ok(), admitted, "{room}, {password}");
        }
        let log = server.end().await;
        assert!(!log.contains("PASSWORD") && !log.contains("wrong-secret"), "{log}");
        assert!(log.contains("refused: unauthorized"), "{log}");
    });
}

fn last_word(line: &Value) -> &str {
    text(line).rsplit(' ').next().unwrap_or_default()
}

fn text(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

/// Joins a room, and returns the socket with its first message.
async fn join(host: &str, room: &str) -> (Socket, Value) {
    let url = format!("ws://{host}/socket/{room}?name=guest&token=query-secret");
    let mut request = url.into_client_request().expect("an address");
    let cookie = "session=cookie-secret".parse().expect("a header");
    request.headers_mut().insert("cookie", cookie);
    let (mut socket, _) = connect_async(request).await.expect("it is admitted");
    let welcome = event(&mut socket, "authenticated").await;
    (socket, welcome)
}

/// Returns the next event of this name.
async fn event(socket: &mut Socket, name: &str) -> Value {
    loop {
        let next = timeout(PATIENCE, socket.next()).await.unwrap_or_else(|_| panic!("no {name}"));
        if let Message::Text(text) = next.expect("open").expect("a message") {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["event"] == name {
                return message;
            }
        }
    }
}

/// Sends a request as the operator, and returns the status of the answer.
async fn post(host: &str, path: &str, body: &str) -> String {
    let mut tcp = TcpStream::connect(host).await.expect("it listens");
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer admin-secret\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    tcp.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.expect("an answer");
    answer.split(' ').nth(1).expect("a status").to_owned()
}

/// Offer of one data channel.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\na=fingerprint:sha-256 \
    00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";
