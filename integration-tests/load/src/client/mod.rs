//! Lightweight signaling client for every protocol: joins a room, sends to one member or to all, and
//! waits for their messages.

mod callboard;
mod matchbox;
mod peerjs;
mod socket_io;
mod y_webrtc;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::protocol::{Endpoint, Protocol};

/// Member of a room.
pub(crate) struct Client {
    socket: Socket,
    protocol: Protocol,
    room: String,
    pub(crate) id: String,
}

/// Recipient of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To<'a> {
    Peer(&'a str),
    /// All other members of the room.
    All,
}

impl Client {
    /// Connects and joins a room; resolves when it is a member.
    pub(crate) async fn join(server: Endpoint, room: &str) -> io::Result<Self> {
        let Endpoint { protocol, address } = server;
        let (socket, id) = match protocol {
            Protocol::Callboard => callboard::join(address, room).await,
            Protocol::Matchbox => matchbox::join(address, room).await,
            Protocol::Peerjs => peerjs::join(address).await,
            Protocol::SocketIo => socket_io::join(address, room).await,
            Protocol::YWebrtc => y_webrtc::join(address, room).await,
            Protocol::Offers | Protocol::Forwards | Protocol::Janus | Protocol::Udp => {
                Err(io::ErrorKind::Unsupported.into())
            }
        }?;
        Ok(Self { socket, protocol, room: room.to_owned(), id })
    }

    /// Encodes a message of this event. `data` must need no escapes.
    pub(crate) fn message(&self, event: &str, data: &str, to: To<'_>) -> io::Result<Utf8Bytes> {
        let text = match self.protocol {
            Protocol::Callboard => Some(callboard::message(event, data, to)),
            Protocol::Matchbox => matchbox::message(event, data, to),
            Protocol::Peerjs => peerjs::message(event, data, to),
            Protocol::SocketIo => Some(socket_io::message(event, data, to)),
            Protocol::YWebrtc => Some(y_webrtc::message(event, data, to, &self.room)),
            Protocol::Offers | Protocol::Forwards | Protocol::Janus | Protocol::Udp => None,
        };
        text.map(Utf8Bytes::from).ok_or(io::ErrorKind::Unsupported.into())
    }

    /// Returns whether messages to all come back to their sender as well.
    pub(crate) fn hears_itself(&self) -> bool {
        self.protocol == Protocol::YWebrtc
    }

    /// Returns the server's address.
    pub(crate) fn server(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    pub(crate) async fn send(&mut self, text: impl Into<Utf8Bytes>) -> io::Result<()> {
        self.socket.send(Message::Text(text.into())).await.map_err(io::Error::other)
    }

    /// Returns the next text of any kind.
    pub(crate) async fn next(&mut self) -> io::Result<Utf8Bytes> {
        next(&mut self.socket).await
    }

    /// Returns the next text of this event: a message of another client, or `joined`.
    pub(crate) async fn until(&mut self, event: &str) -> io::Result<Utf8Bytes> {
        let mark = match (self.protocol, event) {
            (Protocol::Matchbox, "joined") => matchbox::JOINED.to_owned(),
            (Protocol::SocketIo, _) => socket_io::mark(event),
            // In any wrapping of the message.
            _ => format!("\"event\":\"{event}\""),
        };
        loop {
            let text = self.next().await?;
            if text.contains(&mark) {
                return Ok(text);
            }
            if self.protocol == Protocol::SocketIo && text == socket_io::PING {
                self.send(socket_io::PONG).await?;
            }
        }
    }

    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.socket.close(None).await.map_err(io::Error::other)
    }
}

type Socket = WebSocketStream<TcpStream>;

async fn open(server: SocketAddr, path: &str) -> io::Result<Socket> {
    let tcp = TcpStream::connect(server).await?;
    tcp.set_nodelay(true)?;
    // One process runs thousands of these clients.
    let config = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
    let url = format!("ws://{server}{path}");
    let opened = tokio_tungstenite::client_async_with_config(url, tcp, Some(config)).await;
    opened.map(|(socket, _)| socket).map_err(io::Error::other)
}

/// Returns the next text of any kind.
async fn next(socket: &mut Socket) -> io::Result<Utf8Bytes> {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await;
        let silent =
            || io::Error::new(io::ErrorKind::TimedOut, "the server was silent for a minute");
        match next.map_err(|_| silent())? {
            Some(Ok(Message::Text(text))) => return Ok(text),
            Some(Ok(Message::Binary(text))) => {
                return Utf8Bytes::try_from(text).map_err(io::Error::other);
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => {
                return Err(io::Error::other(format!("{other} in place of a message")));
            }
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

/// Creates the error for an unexpected text.
fn instead(text: &str, of: &str) -> io::Error {
    io::Error::other(format!("{text} in place of {of}"))
}

/// Time after which an operation has failed.
const PATIENCE: Duration = Duration::from_secs(60);
