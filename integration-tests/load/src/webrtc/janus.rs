//! Janus' EchoTest plugin, through Janus' API over a WebSocket: binary messages come back unchanged.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;

/// Janus session, which is kept alive until this is dropped.
pub(super) struct Session {
    _close: oneshot::Sender<()>,
}

pub(super) async fn offer(server: SocketAddr, sdp: String) -> io::Result<(String, Session)> {
    let mut line = Line::connect(server).await?;
    let session = line.ask(json!({ "janus": "create" })).await?["data"]["id"].take();
    let attach =
        json!({ "janus": "attach", "plugin": "janus.plugin.echotest", "session_id": session });
    let handle = line.ask(attach).await?["data"]["id"].take();
    let body = json!({ "audio": false, "video": false, "data": true });
    let message = json!({
        "janus": "message", "session_id": session, "handle_id": handle, "body": body,
        "jsep": { "type": "offer", "sdp": sdp },
    });
    // The acknowledgement may come after the result.
    line.say(message).await?;
    let complete = json!({
        "janus": "trickle", "session_id": session, "handle_id": handle,
        "candidate": { "completed": true },
    });
    line.say(complete).await?;
    let answer = loop {
        let told = line.next().await?;
        if let Some(answer) = told["jsep"]["sdp"].as_str() {
            break answer.to_owned();
        }
        if told["janus"] == "error" {
            return Err(io::Error::other(told.to_string()));
        }
    };
    let (_close, closed) = oneshot::channel();
    tokio::spawn(line.keep(session, closed));
    Ok((answer, Session { _close }))
}

struct Line {
    socket: WebSocketStream<TcpStream>,
    asked: u64,
}

impl Line {
    async fn connect(server: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(server).await?;
        tcp.set_nodelay(true)?;
        let mut request =
            format!("ws://{server}/").into_client_request().map_err(io::Error::other)?;
        let protocol = HeaderValue::from_static("janus-protocol");
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let (socket, _) =
            tokio_tungstenite::client_async(request, tcp).await.map_err(io::Error::other)?;
        Ok(Self { socket, asked: 0 })
    }

    async fn say(&mut self, mut what: Value) -> io::Result<String> {
        self.asked += 1;
        let transaction = self.asked.to_string();
        what["transaction"] = json!(transaction);
        self.socket.send(what.to_string().into()).await.map_err(io::Error::other)?;
        Ok(transaction)
    }

    /// Sends a request and returns its result.
    async fn ask(&mut self, what: Value) -> io::Result<Value> {
        let transaction = self.say(what).await?;
        loop {
            let told = self.next().await?;
            if told["transaction"] == transaction {
                return match told["janus"].as_str() {
                    Some("success") => Ok(told),
                    _ => Err(io::Error::other(told.to_string())),
                };
            }
        }
    }

    async fn next(&mut self) -> io::Result<Value> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text)?),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Keeps the session alive. When its WebSocket closes, Janus ends the session and the connection.
    async fn keep(mut self, session: Value, mut closed: oneshot::Receiver<()>) {
        let mut beat = tokio::time::interval(KEEP_ALIVE);
        loop {
            let kept = tokio::select! {
                _ = &mut closed => break,
                told = self.next() => told.map(drop),
                _ = beat.tick() => {
                    self.say(json!({ "janus": "keepalive", "session_id": session })).await.map(drop)
                }
            };
            if kept.is_err() {
                return;
            }
        }
        // The other side may be gone already.
        _ = self.socket.close(None).await;
    }
}

/// Interval of keep-alives: Janus ends a session after 60 s of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
