//! A call, behind signaling or by offers alone, in which one participant sends a picture at a time to all others.

use std::io;
use std::time::Duration;

use futures_util::future::{select_all, try_join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

use super::super::track::Flow;
use crate::client::Client;
use crate::protocol::{Endpoint, Protocol};
use crate::webrtc::{Heard, Peer, Wish};

pub(super) struct Call {
    publisher: Box<Peer>,
    viewers: Vec<Viewer>,
    /// All WebSockets; none without signaling.
    clients: Vec<Client>,
    /// Pictures that were sent.
    sent: u32,
}

struct Viewer {
    peer: Box<Peer>,
    /// Number of the last picture that it got.
    seen: u32,
}

impl Call {
    pub(super) async fn open(server: Endpoint, room: &str, viewers: usize) -> io::Result<Self> {
        let join = async |wish: Wish| {
            if server.protocol == Protocol::Offers {
                return Ok((None, Box::new(Peer::connect_in(server, room, wish).await?)));
            }
            let mut client = Client::join(server, room).await?;
            let peer = Box::new(Peer::connect_behind(&mut client, &wish).await?);
            io::Result::Ok((Some(client), peer))
        };
        let (client, publisher) = join(Wish::Publish).await?;
        let joining = (0..viewers).map(|_| join(Wish::Subscribe(1)));
        let joined: Vec<_> = stream::iter(joining).buffered(AT_ONCE).try_collect().await?;
        let (mut clients, peers): (Vec<_>, Vec<_>) = joined.into_iter().unzip();
        clients.push(client);
        let viewers = peers.into_iter().map(|peer| Viewer { peer, seen: 0 }).collect();
        let clients = clients.into_iter().flatten().collect();
        Ok(Self { publisher, viewers, clients, sent: 0 })
    }

    /// Sends a picture until all have it: the first may come before a viewer's place is known. Returns the number of
    /// viewers.
    pub(super) async fn play(&mut self) -> io::Result<u64> {
        let wanted = self.sent + 1;
        for _ in 0..ATTEMPTS {
            self.send()?;
            let Self { publisher, viewers, .. } = self;
            let seeing = try_join_all(viewers.iter_mut().map(|viewer| viewer.see(wanted)));
            let playing = async {
                tokio::select! {
                    seen = seeing => seen.map(drop),
                    ended = hear(publisher) => ended,
                }
            };
            if let Ok(played) = timeout(PATIENCE, playing).await {
                return played.map(|()| self.viewers.len() as u64);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn send(&mut self) -> io::Result<()> {
        self.sent += 1;
        // A key frame of VP8, in one packet.
        let mut packet = vec![0; Flow::VIDEO.size];
        packet[0] = 0x10;
        packet[2..6].copy_from_slice(&self.sent.to_be_bytes());
        let timestamp = Flow::VIDEO.timestamp(self.sent as usize);
        self.publisher.send_packet(0, packet, timestamp, true)
    }

    /// Reads what the server sends meanwhile. Cancelling loses no picture.
    pub(super) async fn listen(&mut self) -> io::Result<()> {
        let Self { publisher, viewers, clients, .. } = self;
        let seeing = viewers.iter_mut().map(|viewer| Box::pin(viewer.see(u32::MAX)));
        let reading: Vec<_> = clients.iter_mut().map(|client| Box::pin(client.next())).collect();
        let reading = async {
            match reading.is_empty() {
                true => std::future::pending().await,
                false => select_all(reading).await.0,
            }
        };
        tokio::select! {
            ended = hear(publisher) => ended,
            (seen, ..) = select_all(seeing) => seen,
            read = reading => read.map(drop),
        }
    }
}

impl Viewer {
    /// Waits for this picture, or a later one.
    async fn see(&mut self, wanted: u32) -> io::Result<()> {
        while self.seen < wanted {
            if let Heard::Packet(packet) = self.peer.next().await?
                && let &[_, _, a, b, c, d, ..] = &packet[..]
            {
                self.seen = self.seen.max(u32::from_be_bytes([a, b, c, d]));
            }
        }
        Ok(())
    }
}

/// Reads what comes for a publisher until its connection ends.
async fn hear(publisher: &mut Peer) -> io::Result<()> {
    loop {
        publisher.next().await?;
    }
}

/// Viewers that join at the same time.
const AT_ONCE: usize = 16;
/// Time after which a picture is sent again, and how often.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 20;
