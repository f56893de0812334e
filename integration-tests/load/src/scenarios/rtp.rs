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
use crate::measure::Waits;
use crate::protocol::Protocol;
use crate::report::Measured;
use crate::servers::{Process, udp};
use crate::webrtc::{Heard, Peer, Wish};

/// Packets of a publisher over time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Frames in a second.
    rate: u32,
    /// Packets of each frame, which are sent at once; then from the beginning.
    sizes: &'static [u32],
}

impl Flow {
    /// Video of 30 frames a second.
    pub(super) const VIDEO: Self = Self { rate: 30, sizes: &[8, 10, 9] };

    /// A packet at a time, this many in a second.
    pub(super) fn evenly(rate: u32) -> Self {
        Self { rate, sizes: &[1] }
    }

    /// Returns the numbers of packets of all frames in this time.
    fn frames(self, time: Duration) -> impl Iterator<Item = u32> {
        let count = u64::from(self.rate) * time.as_secs();
        self.sizes.iter().copied().cycle().take(count as usize)
    }

    fn packets(self, time: Duration) -> u64 {
        self.frames(time).map(u64::from).sum()
    }
}

/// Measures while each subscriber loses this share of the packets at first.
pub(super) async fn measure(
    server: &Process,
    publishers: usize,
    receivers: usize,
    flow: Flow,
    loss: f64,
    time: Duration,
) -> io::Result<Measured> {
    // The server's tracks are in the order in which the publishers came.
    let mut sending = Vec::new();
    for _ in 0..publishers {
        sending.push(Sender::connect(server).await?);
    }
    let receiving = (0..receivers).map(|_| Receiver::connect(server, publishers, loss));
    let receiving = try_join_all(receiving).await?;

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
    let sending = sending.into_iter().map(|sender| tokio::spawn(sender.pour(epoch, flow, time)));
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
    Ok(Measured::default()
        .with(
            "CPU s per million forwarded",
            after.cpu_since(&before).as_secs_f64() * 1e6 / delivered,
        )
        .with("delivered", delivered)
        .with("lost, %", (sent - delivered) / sent * 1e2)
        .with("forwarded per second", delivered / took.as_secs_f64())
        .with("latency p50, ms", waits.percentile(50.0))
        .with("latency p99, ms", waits.percentile(99.0)))
}

enum Sender {
    Track(Box<Peer>),
    Datagrams(UdpSocket),
}

impl Sender {
    async fn connect(server: &Process) -> io::Result<Self> {
        match server.protocol {
            Protocol::Udp => Ok(Self::Datagrams(socket(server.address).await?)),
            _ => Ok(Self::Track(Box::new(Peer::connect(server.endpoint(), Wish::Publish).await?))),
        }
    }

    /// Sends the packets of this time.
    async fn pour(mut self, epoch: Instant, flow: Flow, time: Duration) -> io::Result<()> {
        let mut beat = tokio::time::interval(Duration::from_secs(1) / flow.rate);
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
            // 90 kHz (RFC 7741 §4.1).
            let timestamp = (number as u32).wrapping_mul(90_000 / flow.rate);
            for at in 1..=size {
                let mut packet = vec![udp::PUBLISH; PACKET];
                let now = u64::try_from(epoch.elapsed().as_nanos()).map_err(io::Error::other)?;
                packet[1..9].copy_from_slice(&now.to_be_bytes());
                if let Self::Track(_) = self {
                    // VP8 (RFC 7741 §4.2): a frame begins with its first packet. The time behind it, which is far from
                    // filling eight bytes, says that it is a key frame.
                    packet[0] = if at == 1 { 0x10 } else { 0 };
                }
                match &mut self {
                    Self::Track(peer) => peer.send_packet(packet, timestamp, at == size)?,
                    Self::Datagrams(socket) => _ = socket.send(&packet).await?,
                }
            }
        }
        // The last packet has been sent when nothing more is received.
        _ = tokio::time::timeout(LAST, async { while self.hear().await.is_ok() {} }).await;
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
    async fn connect(server: &Process, tracks: usize, loss: f64) -> io::Result<Self> {
        match server.protocol {
            Protocol::Udp => Self::subscribe(server.address).await,
            _ => {
                let mut peer = Peer::connect(server.endpoint(), Wish::Subscribe(tracks)).await?;
                peer.lose(loss);
                Ok(Self::Tracks(Box::new(peer)))
            }
        }
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
            match tokio::time::timeout(LAST, self.next()).await {
                Ok(sent) => {
                    let sent = epoch + Duration::from_nanos(u64::from_be_bytes(sent?));
                    waits.add(sent.elapsed());
                }
                Err(_) if all_sent.load(Ordering::Relaxed) => break,
                Err(_) => {}
            }
        }
        Ok(waits)
    }

    /// Returns the time at which the next packet was sent.
    async fn next(&mut self) -> io::Result<[u8; 8]> {
        let mut buffer = [0; PACKET];
        let time = |packet: &[u8]| {
            let time = packet.get(1..9).and_then(|bytes| bytes.try_into().ok());
            time.ok_or(io::Error::from(io::ErrorKind::InvalidData))
        };
        match self {
            Self::Tracks(peer) => loop {
                if let Heard::Packet(packet) = peer.next().await? {
                    return time(&packet);
                }
            },
            Self::Datagrams(socket) => {
                let length = socket.recv(&mut buffer).await?;
                time(&buffer[..length])
            }
        }
    }
}

/// Size of a packet in bytes, as in video.
const PACKET: usize = 1_200;
/// Time after the last packet was sent when the missing ones count as lost.
const LAST: Duration = Duration::from_millis(500);
