//! A client of the protocol, as light as it can be.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Somebody in a room.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    pub(crate) id: String,
    /// How many were there before.
    pub(crate) seen: usize,
}

#[derive(Deserialize)]
struct Authenticated {
    data: Identity,
}

#[derive(Deserialize)]
struct Identity {
    peer_id: String,
    peers: Vec<serde::de::IgnoredAny>,
}

impl Client {
    /// In when this resolves.
    pub(crate) async fn join(server: SocketAddr, room: &str) -> io::Result<Self> {
        let tcp = TcpStream::connect(server).await?;
        tcp.set_nodelay(true)?;
        // Thousands of them are in this process.
        let config = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
        let url = format!("ws://{server}/socket/{room}");
        let (mut socket, _) = tokio_tungstenite::client_async_with_config(url, tcp, Some(config))
            .await
            .map_err(io::Error::other)?;
        let first = next(&mut socket).await?;
        let Ok(Authenticated { data }) = serde_json::from_str(&first) else {
            return Err(io::Error::other(format!("{first} in place of authenticated")));
        };
        Ok(Self { socket, id: data.peer_id, seen: data.peers.len() })
    }

    /// Where it is connected to.
    pub(crate) fn server(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    pub(crate) async fn send(&mut self, text: impl Into<Utf8Bytes>) -> io::Result<()> {
        self.socket.send(Message::Text(text.into())).await.map_err(io::Error::other)
    }

    /// The next text, whatever it is.
    pub(crate) async fn next(&mut self) -> io::Result<Utf8Bytes> {
        next(&mut self.socket).await
    }

    /// The next text of this event.
    pub(crate) async fn until(&mut self, event: &str) -> io::Result<Utf8Bytes> {
        let event = format!("\"event\":\"{event}\"");
        loop {
            let text = self.next().await?;
            if text.contains(&event) {
                return Ok(text);
            }
        }
    }

    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.socket.close(None).await.map_err(io::Error::other)
    }
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> io::Result<Utf8Bytes> {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await;
        match next.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
            Some(Ok(Message::Text(text))) => return Ok(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => {
                return Err(io::Error::other(format!("{other} in place of a message")));
            }
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
