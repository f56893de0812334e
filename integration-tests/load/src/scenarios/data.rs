//! Messages on data channels, which the server sends back.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::measure::Waits;
use crate::protocol::Protocol;
use crate::report::Measured;
use crate::servers::{Process, udp};
use crate::webrtc::{Heard, Peer, Wish};

pub(super) async fn measure(
    server: &Process,
    connections: usize,
    window: usize,
    sizes: &[usize],
    time: Duration,
) -> io::Result<Measured> {
    let mut measured = Measured::default();
    for size in sizes.iter().copied() {
        if server.protocol == Protocol::Udp && size > LARGEST_DATAGRAM {
            continue;
        }
        // No more bytes under way than a connection takes at a time.
        let window = window.min((MOST_UNDER_WAY / size).max(1));
        let part = format!("{size} B, {window} × {connections}");
        measured =
            measured.with_part(&part, of_size(server, connections, window, size, time).await?);
    }
    Ok(measured)
}

async fn of_size(
    server: &Process,
    connections: usize,
    window: usize,
    size: usize,
    time: Duration,
) -> io::Result<Measured> {
    let lines = (0..connections).map(|_| Line::connect(server));
    let lines = try_join_all(lines).await?;
    let playing = lines.into_iter().map(|line| tokio::spawn(play(line, window, size, WARM_UP)));
    let warm = try_join_all(playing).await.map_err(io::Error::other)?;
    let lines = warm.into_iter().collect::<io::Result<Vec<_>>>()?;

    let (before, began) = (server.usage()?, Instant::now());
    let playing = lines.into_iter().map(|(line, _)| tokio::spawn(play(line, window, size, time)));
    let played = try_join_all(playing).await.map_err(io::Error::other)?;
    let (took, after) = (began.elapsed(), server.usage()?);
    let mut waits = Waits::new();
    for line in played {
        let (line, its) = line?;
        waits.join(&its);
        line.close().await?;
    }
    let messages = waits.count() as f64;
    let rate = messages / took.as_secs_f64();
    Ok(Measured::default()
        .with("CPU s per million", after.cpu_since(&before).as_secs_f64() * 1e6 / messages)
        .with("messages per second", rate)
        .with("MB per second", rate * size as f64 / 1e6)
        .with("round trip p50, ms", waits.percentile(50.0))
        .with("round trip p99, ms", waits.percentile(99.0)))
}

/// Sends a window of messages at a time, until the time is over and the last has come back.
async fn play(
    mut line: Line,
    window: usize,
    size: usize,
    time: Duration,
) -> io::Result<(Line, Waits)> {
    let message = vec![udp::ECHO; size];
    let end = Instant::now() + time;
    let (mut waits, mut sent) = (Waits::new(), VecDeque::new());
    for _ in 0..window {
        line.send(&message).await?;
        sent.push_back(Instant::now());
    }
    while let Some(began) = sent.pop_front() {
        let back = tokio::time::timeout(PATIENCE, line.next()).await??;
        if back != size {
            return Err(io::Error::other(format!("{back} B came back of {size} B")));
        }
        let now = Instant::now();
        waits.add(now - began);
        if now < end {
            line.send(&message).await?;
            sent.push_back(now);
        }
    }
    Ok((line, waits))
}

/// Connection of one client.
enum Line {
    Channel(Box<Peer>),
    Datagrams(UdpSocket),
}

impl Line {
    async fn connect(server: &Process) -> io::Result<Self> {
        match server.protocol {
            Protocol::Udp => Ok(Self::Datagrams(socket(server.address).await?)),
            _ => Ok(Self::Channel(Box::new(Peer::connect(server.endpoint(), Wish::Echo).await?))),
        }
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Channel(peer) => peer.send(message),
            Self::Datagrams(socket) => socket.send(message).await.map(drop),
        }
    }

    /// Returns the length of the next message.
    async fn next(&mut self) -> io::Result<usize> {
        match self {
            Self::Channel(peer) => match peer.next().await? {
                Heard::Message(message) => Ok(message.len()),
                Heard::Packet(_) | Heard::KeyframeWanted => Err(io::ErrorKind::InvalidData.into()),
            },
            Self::Datagrams(socket) => socket.recv(&mut [0; LARGEST_DATAGRAM]).await,
        }
    }

    async fn close(self) -> io::Result<()> {
        match self {
            Self::Channel(peer) => peer.close().await,
            Self::Datagrams(_) => Ok(()),
        }
    }
}

/// Binds a socket that is connected to this server.
pub(super) async fn socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

const WARM_UP: Duration = Duration::from_millis(300);
const LARGEST_DATAGRAM: usize = 1_200;
const MOST_UNDER_WAY: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(10);
