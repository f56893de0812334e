//! Server that behaves as no server of ours does, one connection after the other.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Server that admits every client, and then runs a script for each connection; connections are numbered from 0.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: AbortHandle,
}

/// Connection of a client.
pub(crate) struct Connection {
    pub(crate) number: usize,
    path: String,
    socket: WebSocketStream<TcpStream>,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Scripted {
    pub(crate) async fn start<Running>(
        script: impl Fn(Connection) -> Running + Send + Sync + 'static,
    ) -> Self
    where
        Running: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a bound socket").port();
        let (heard, asked) =
            (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (all, asks) = (Arc::clone(&heard), Arc::clone(&asked));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut path = String::new();
                #[expect(clippy::result_large_err, reason = "the library's type")]
                let read = |request: &Request, response| {
                    path = request.uri().to_string();
                    Ok(response)
                };
                let accepted = tokio_tungstenite::accept_hdr_async(stream, read).await;
                let Ok(socket) = accepted else { continue };
                let number = {
                    let mut asks = asks.lock().expect("nothing panics");
                    asks.push(path.clone());
                    asks.len() - 1
                };
                let heard = Arc::clone(&all);
                tokio::spawn(script(Connection { number, path, socket, heard }));
            }
        });
        Self { port, heard, asked, accepting: accepting.abort_handle() }
    }

    /// Returns the number of WebSockets that were opened.
    pub(crate) fn connections(&self) -> usize {
        self.asked.lock().expect("nothing panics").len()
    }

    /// Returns the paths at which WebSockets were opened, with their queries.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nothing panics").clone()
    }

    /// Returns the data of all messages of this name that have come.
    pub(crate) fn heard(&self, event: &str) -> Vec<Value> {
        let heard = self.heard.lock().expect("nothing panics");
        heard.iter().filter(|heard| heard["event"] == event).map(|it| it["data"].clone()).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Connection {
    /// Returns the path at which it was opened, with its query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the server's port.
    pub(crate) fn local_port(&self) -> u16 {
        self.socket.get_ref().local_addr().expect("it is open").port()
    }

    /// Tells the client that it is admitted, as a new peer.
    pub(crate) async fn let_in(&mut self) {
        let data = json!({ "peer_id": format!("peer-{}", self.number), "peers": [] });
        self.say(json!({ "event": "authenticated", "data": data })).await;
    }

    pub(crate) async fn say(&mut self, what: Value) {
        // The page may be closed already.
        _ = self.socket.send(Frame::text(what.to_string())).await;
    }

    pub(crate) async fn error(&mut self, description: &str, details: Value) {
        let data = json!({ "description": description, "details": details });
        self.say(json!({ "event": "error", "data": data })).await;
    }

    /// Returns the next message; none when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await?.ok()? {
                Frame::Text(text) if text == "ping" => {
                    self.socket.send(Frame::text("pong")).await.ok()?;
                }
                Frame::Text(text) => {
                    let heard: Value = serde_json::from_str(&text).expect("the client sends JSON");
                    self.heard.lock().expect("nothing panics").push(heard.clone());
                    return Some(heard);
                }
                _ => {}
            }
        }
    }

    /// Waits for a message of this name; returns false when the connection has ended.
    pub(crate) async fn until(&mut self, event: &str) -> bool {
        while let Some(heard) = self.next().await {
            if heard["event"] == event {
                return true;
            }
        }
        false
    }

    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        _ = self.socket.close(Some(frame)).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
