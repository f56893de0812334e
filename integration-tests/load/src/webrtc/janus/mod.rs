//! Janus' API over a WebSocket, and the plugins that are measured.

pub(super) mod echo;
mod video_room;

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

pub(crate) use self::video_room::VideoRoom;

/// Janus session, which is kept alive until this is dropped.
pub(super) struct Session {
    up: oneshot::Receiver<()>,
    _close: oneshot::Sender<()>,
}

impl Session {
    /// Waits until Janus has the connection up as well.
    async fn up(&mut self) -> io::Result<()> {
        (&mut self.up).await.map_err(|_| io::ErrorKind::ConnectionReset.into())
    }
}

/// Session with a handle of a plugin, for one peer connection.
struct Handle {
    line: Line,
    session: Value,
    id: Value,
}

impl Handle {
    async fn attach(server: SocketAddr, plugin: &str) -> io::Result<Self> {
        let mut line = Line::connect(server).await?;
        let session = line.ask(json!({ "janus": "create" })).await?["data"]["id"].take();
        let attach = json!({ "janus": "attach", "plugin": plugin, "session_id": session });
        let id = line.ask(attach).await?["data"]["id"].take();
        Ok(Self { line, session, id })
    }

    /// Sends a request to the plugin, with a description whose candidates are complete; returns what comes of it.
    async fn request(
        &mut self,
        body: Value,
        description: Option<(&str, String)>,
    ) -> io::Result<Value> {
        let (session, id) = (self.session.clone(), self.id.clone());
        let mut message =
            json!({ "janus": "message", "session_id": session, "handle_id": id, "body": body });
        let is_offer_or_answer = description.is_some();
        if let Some((kind, sdp)) = description {
            message["jsep"] = json!({ "type": kind, "sdp": sdp });
        }
        let transaction = self.line.say(message).await?;
        if is_offer_or_answer {
            let complete = json!({
                "janus": "trickle", "session_id": session, "handle_id": id,
                "candidate": { "completed": true },
            });
            self.line.say(complete).await?;
        }
        loop {
            let told = self.line.next().await?;
            // The acknowledgement may come after the result.
            if told["transaction"] != transaction || told["janus"] == "ack" {
                continue;
            }
            let is_error =
                told["janus"] == "error" || !told["plugindata"]["data"]["error_code"].is_null();
            return if is_error { Err(io::Error::other(told.to_string())) } else { Ok(told) };
        }
    }

    fn keep(self) -> Session {
        let (_close, closed) = oneshot::channel();
        let (is_up, up) = oneshot::channel();
        tokio::spawn(self.line.keep(self.session, closed, is_up));
        Session { up, _close }
    }
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
    async fn keep(
        mut self,
        session: Value,
        mut closed: oneshot::Receiver<()>,
        up: oneshot::Sender<()>,
    ) {
        let mut beat = tokio::time::interval(KEEP_ALIVE);
        let mut up = Some(up);
        loop {
            let kept = tokio::select! {
                _ = &mut closed => break,
                told = self.next() => told.map(|told| {
                    if told["janus"] == "webrtcup" && let Some(up) = up.take() {
                        // Not all wait for it.
                        _ = up.send(());
                    }
                }),
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
