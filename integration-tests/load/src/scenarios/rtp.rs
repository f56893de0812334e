//! Packets that the server forwards from each publisher to all subscribers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior};

use super::data::socket;
use super::track::{Flow, LAST, PACKET, sent};
use crate::measure::Waits;
use crate::protocol::Protocol;
use crate::report::Measured;
use crate::servers::{Process, udp};
use crate::webrtc::{Heard, Peer, VideoRoom, Wish};

/// Measures while each subscriber loses this share of the packets at first.
pub(super) async fn measure(
    server: &Process,
    publishers: usize,
    receivers: usize,
    flow: Flow,
    loss: f64,
    time: Duration,
) -> io::Result<Measured> {
    let room = VideoRoom::of(server.endpoint()).await?;
    let new = server.usage()?;
    let mut sending = vec![Sender::connect_in(room.as_ref(), server, 0).await?];
    let first = server.usage()?;
    // The server's tracks are in the order in which the publishers came.
    for number in 1..publishers {
        sending.push(Sender::connect_in(room.as_ref(), server, number).await?);
    }
    let alone = server.usage()?;
    let receiving =
        (0..receivers).map(|_| Receiver::connect(room.as_ref(), server, publishers, loss));
    let receiving = try_join_all(receiving).await?;
    let joined = server.usage()?;

    let epoch = Instant::now();
    let packets = flow.packets(time);
    let all_sent = Arc::new(AtomicBool::new(false));
    let (before, began) = (server.usage()?, Instant::now());
    let listening = receiving.into_iter().map(|receiver| {
        let all_sent = Arc::clone(&all_sent);
        let most = packets * publishers as u64;
        tokio::spawn(async move { receiver.listen(epoch, most, &all_sent).await })
    });
    let listening: Vec<_> = listening.collect();
    let sending = sending.into_iter().map(|mut sender| {
        tokio::spawn(async move {
            sender.pour(epoch, flow, time, 0).await?;
            // The last packet has been sent when nothing more is received.
            _ = tokio::time::timeout(LAST, async { while sender.hear().await.is_ok() {} }).await;
            io::Result::Ok(())
        })
    });
    for sent in try_join_all(sending).await.map_err(io::Error::other)? {
        sent?;
    }
    let took = began.elapsed();
    all_sent.store(true, Ordering::Relaxed);
    let heard = try_join_all(listening).await.map_err(io::Error::other)?;
    let after = server.usage()?;
    let mut waits = Waits::new();
    for receiver in heard {
        waits.join(&receiver?);
    }
    let delivered = waits.count() as f64;
    let sent = (packets * publishers as u64 * receivers as u64) as f64;
    let per_viewer = |total: f64| total / receivers as f64;
    let measured = Measured::default()
        .with(
            "CPU s per million forwarded",
            after.cpu_since(&before).as_secs_f64() * 1e6 / delivered,
        )
        .with("delivered", delivered)
        .with("lost, %", (sent - delivered) / sent * 1e2)
        .with("forwarded per second", delivered / took.as_secs_f64())
        .with("latency p50, ms", waits.percentile(50.0))
        .with("latency p99, ms", waits.percentile(99.0))
        .with("set-up CPU ms per viewer", per_viewer(joined.cpu_since(&alone).as_secs_f64() * 1e3));
    if !server.is_new() {
        return Ok(measured);
    }
    let memory = after.rss.saturating_sub(alone.rss) as f64 / 1_024.0;
    Ok(measured
        .with("first connection, CPU ms", first.cpu_since(&new).as_secs_f64() * 1e3)
        .with("KiB of memory per viewer", per_viewer(memory)))
}

pub(super) enum Sender {
    Track(Box<Peer>),
    Datagrams(UdpSocket),
}

impl Sender {
    /// Connects the publisher with this number, in the room if the server is Janus.
    async fn connect_in(
        room: Option<&VideoRoom>,
        server: &Process,
        number: usize,
    ) -> io::Result<Self> {
        match room {
            Some(room) => Ok(Self::Track(Box::new(room.publish(number, Wish::Publish).await?))),
            None => Self::connect(server).await,
        }
    }

    pub(super) async fn connect(server: &Process) -> io::Result<Self> {
        match server.protocol {
            Protocol::Udp => Ok(Self::Datagrams(socket(server.address).await?)),
            _ => Ok(Self::Track(Box::new(Peer::connect(server.endpoint(), Wish::Publish).await?))),
        }
    }

    /// Sends the packets of this time; the clock of the track begins at `from`.
    pub(super) async fn pour(
        &mut self,
        epoch: Instant,
        flow: Flow,
        time: Duration,
        from: u32,
    ) -> io::Result<()> {
        let mut beat = tokio::time::interval(flow.interval());
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for (number, size) in flow.frames(time).enumerate() {
            loop {
                tokio::select! {
                    biased;
                    _ = beat.tick() => break,
                    // The server's packets about the connection.
                    heard = self.hear() => heard?,
                }
            }
            let timestamp = from.wrapping_add(flow.timestamp(number));
            for at in 1..=size {
                let mut packet = flow.packet(epoch, at == 1)?;
                match self {
                    Self::Track(peer) => peer.send_packet(0, packet, timestamp, at == size)?,
                    Self::Datagrams(socket) => {
                        packet[0] = udp::PUBLISH;
                        _ = socket.send(&packet).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn hear(&mut self) -> io::Result<()> {
        match self {
            Self::Track(peer) => peer.next().await.map(drop),
            Self::Datagrams(_) => std::future::pending().await,
        }
    }
}

enum Receiver {
    Tracks(Box<Peer>),
    Datagrams(UdpSocket),
}

impl Receiver {
    async fn connect(
        room: Option<&VideoRoom>,
        server: &Process,
        tracks: usize,
        loss: f64,
    ) -> io::Result<Self> {
        let mut peer = match (room, server.protocol) {
            (Some(room), _) => room.subscribe(0..tracks).await?,
            (None, Protocol::Udp) => return Self::subscribe(server.address).await,
            (None, _) => Peer::connect(server.endpoint(), Wish::Subscribe(tracks)).await?,
        };
        peer.lose(loss);
        Ok(Self::Tracks(Box::new(peer)))
    }

    async fn subscribe(server: SocketAddr) -> io::Result<Self> {
        let socket = socket(server).await?;
        socket.send(&[udp::SUBSCRIBE]).await?;
        socket.recv(&mut [0; 1]).await?;
        Ok(Self::Datagrams(socket))
    }

    /// Returns how long each packet was under way, of at most `most`; ends when no more come.
    async fn listen(
        mut self,
        epoch: Instant,
        most: u64,
        all_sent: &AtomicBool,
    ) -> io::Result<Waits> {
        let mut waits = Waits::new();
        while waits.count() < most {
            match tokio::time::timeout(LAST, self.next(epoch)).await {
                Ok(sent) => waits.add(sent?.elapsed()),
                Err(_) if all_sent.load(Ordering::Relaxed) => break,
                Err(_) => {}
            }
        }
        Ok(waits)
    }

    /// Returns when the next packet was sent.
    async fn next(&mut self, epoch: Instant) -> io::Result<Instant> {
        match self {
            Self::Tracks(peer) => loop {
                if let Heard::Packet(packet) = peer.next().await? {
                    return sent(epoch, &packet);
                }
            },
            Self::Datagrams(socket) => {
                let mut buffer = [0; PACKET];
                let length = socket.recv(&mut buffer).await?;
                sent(epoch, &buffer[..length])
            }
        }
    }
}
