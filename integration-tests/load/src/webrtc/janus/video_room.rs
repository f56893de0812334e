//! Janus' VideoRoom plugin: a connection for what a client sends, and another for what it receives.

use std::io;
use std::net::SocketAddr;

use serde_json::{Value, json};
use str0m::change::SdpOffer;

use super::{Handle, Session};
use crate::protocol::{Endpoint, Protocol};
use crate::webrtc::{PATIENCE, Peer, Wish};

/// Room of Janus, which it has until it ends.
pub(crate) struct VideoRoom {
    server: SocketAddr,
    id: u64,
}

impl VideoRoom {
    /// Creates a room, if the server is Janus.
    pub(crate) async fn of(server: Endpoint) -> io::Result<Option<Self>> {
        match server.protocol {
            Protocol::Janus => Self::create(server.address).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn create(server: SocketAddr) -> io::Result<Self> {
        let mut handle = Handle::attach(server, PLUGIN).await?;
        // Three publishers are its default.
        let body = json!({ "request": "create", "publishers": 1_000 });
        let told = handle.request(body, None).await?;
        let id = told["plugindata"]["data"]["room"].as_u64().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { server, id })
    }

    /// Sends the tracks of this wish under a number of the room; resolves when the connection is up at both sides.
    pub(crate) async fn publish(&self, number: usize, wish: Wish) -> io::Result<Peer> {
        in_time(async {
            let (mut peer, offer, pending) = Peer::offer(self.server, &wish).await?;
            let mut handle = Handle::attach(self.server, PLUGIN).await?;
            let body = json!({
                "request": "joinandconfigure", "ptype": "publisher", "room": self.id, "id": id(number),
            });
            let told = handle.request(body, Some(("offer", offer.to_sdp_string()))).await?;
            peer.take(sdp(&told)?, pending)?;
            peer.up(handle.keep(), &wish).await
        })
        .await
    }

    /// Receives all tracks that are sent under these numbers; resolves when the connection is up at both sides.
    pub(crate) async fn subscribe(&self, to: impl Iterator<Item = usize>) -> io::Result<Peer> {
        let streams: Vec<_> = to.map(|number| json!({ "feed": id(number) })).collect();
        in_time(async {
            let mut peer = Peer::new(self.server, true, true).await?;
            let mut handle = Handle::attach(self.server, PLUGIN).await?;
            let body = json!({
                "request": "join", "ptype": "subscriber", "room": self.id, "streams": streams,
            });
            let told = handle.request(body, None).await?;
            let offer = SdpOffer::from_sdp_string(sdp(&told)?).map_err(io::Error::other)?;
            let answer = peer.rtc.sdp_api().accept_offer(offer).map_err(io::Error::other)?;
            let answer = Some(("answer", answer.to_sdp_string()));
            handle.request(json!({ "request": "start" }), answer).await?;
            peer.up(handle.keep(), &Wish::Subscribe(streams.len())).await
        })
        .await
    }
}

impl Peer {
    async fn up(mut self, mut session: Session, wish: &Wish) -> io::Result<Self> {
        self.connected(wish).await?;
        // Until then Janus drops the packets of a connection.
        tokio::select! {
            up = session.up() => up?,
            error = async { loop { if let Err(error) = self.next().await { break error } } } => return Err(error),
        }
        self._session = Some(session);
        Ok(self)
    }
}

/// Returns the id of a publisher; 0 is none.
fn id(number: usize) -> usize {
    number + 1
}

fn sdp(told: &Value) -> io::Result<&str> {
    told["jsep"]["sdp"].as_str().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

async fn in_time<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, connecting).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

const PLUGIN: &str = "janus.plugin.videoroom";
