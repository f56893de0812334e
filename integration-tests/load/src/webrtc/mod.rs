//! Lightweight WebRTC client on str0m: a socket of its own, one data channel or some tracks.

#[path = "../../../../crates/media-rooms/tests/egress/mod.rs"]
mod egress;
mod janus;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::config::CryptoProvider;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::client::Client;
use crate::http;
use crate::protocol::{self, Endpoint};

use self::egress::{Coding, Egress, Seen};
pub(crate) use self::janus::VideoRoom;

/// Purpose of a client.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// A channel on which the server sends back every message.
    Echo,
    /// Sending one track, for all subscribers.
    Publish,
    /// Receiving this many tracks, those of all publishers.
    Subscribe(usize),
    /// Sending a picture and a sound, and receiving this many of the others'.
    Join { pictures: usize, sounds: usize },
}

/// Message or packet from the server.
pub(crate) enum Heard {
    Message(Vec<u8>),
    /// Payload of an RTP packet.
    Packet(Arc<[u8]>),
    /// A receiver needs a key frame of a track that is sent.
    KeyframeWanted,
}

/// Peer connection to the server.
pub(crate) struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    buffer: Box<[u8; DATAGRAM]>,
    channel: Option<ChannelId>,
    /// Tracks that are sent, with the numbers of their packets.
    sent: Vec<(Mid, u64)>,
    /// Share of received packets that is lost, and the part of a packet that is due to be.
    loss: (f64, f64),
    /// Checker of what a media room sends; none of other servers.
    egress: Option<Egress<Mid>>,
    /// Session that has to be kept alive.
    _session: Option<janus::Session>,
}

impl Peer {
    /// Connects; resolves when the connection is up, and its channel open if it has one.
    pub(crate) async fn connect(server: Endpoint, wish: Wish) -> io::Result<Self> {
        Self::connect_in(server, "", wish).await
    }

    /// Connects to a server that has rooms, in the room of this name.
    pub(crate) async fn connect_in(server: Endpoint, room: &str, wish: Wish) -> io::Result<Self> {
        let Endpoint { protocol, address } = server;
        let connecting = async {
            let (mut peer, offer, pending) = Self::offer(address, &wish).await?;
            let offer = offer.to_sdp_string();
            let path = match wish {
                Wish::Echo => "/echo",
                Wish::Publish => "/publish",
                Wish::Subscribe(_) => "/subscribe",
                Wish::Join { .. } => "/join",
            };
            let path = if room.is_empty() { path.to_owned() } else { format!("{path}/{room}") };
            let answer = match (protocol, &wish) {
                (protocol::Protocol::Janus, Wish::Echo) => {
                    let (answer, session) = janus::echo::offer(address, offer).await?;
                    peer._session = Some(session);
                    answer
                }
                (protocol::Protocol::Janus, _) => return Err(io::ErrorKind::Unsupported.into()),
                // As in WHIP (RFC 9725 §4.2).
                _ => http::ask(address, "POST", &path, ("application/sdp", offer)).await?.1,
            };
            peer.take(&answer, pending)?;
            peer.connected(&wish).await?;
            Ok(peer)
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        connected.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Connects to the server peer of a client, by way of its WebSocket.
    pub(crate) async fn connect_behind(client: &mut Client, wish: &Wish) -> io::Result<Self> {
        let (mut peer, offer, pending) = Self::offer(client.server()?, wish).await?;
        let offer = json!({ "type": "offer", "sdp": offer.to_sdp_string() });
        let offer = json!({ "event": "webrtc:offer", "data": offer });
        client.send(offer.to_string()).await?;
        let late = |what| io::Error::new(io::ErrorKind::TimedOut, format!("there is no {what}"));
        let answering = async {
            loop {
                let told: Value = serde_json::from_str(&client.next().await?)?;
                match told["event"].as_str() {
                    Some("webrtc:answer") => return Ok(told),
                    Some("error") => return Err(io::Error::other(told.to_string())),
                    _ => {}
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answering).await;
        let answer = answer.map_err(|_| late("answer"))??;
        let sdp = answer["data"]["sdp"].as_str().ok_or(io::ErrorKind::InvalidData)?;
        let mut egress = Egress::new();
        egress.answered(sdp).map_err(invalid)?;
        peer.egress = Some(egress);
        // The server's candidates come later: its connectivity checks reveal its address.
        peer.take(sdp, pending)?;
        let connected = tokio::time::timeout(PATIENCE, peer.connected(wish)).await;
        connected.map_err(|_| late("path"))??;
        Ok(peer)
    }

    /// Returns the port of its socket.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    async fn offer(
        server: SocketAddr,
        wish: &Wish,
    ) -> io::Result<(Self, SdpOffer, SdpPendingOffer)> {
        let has_sound = matches!(wish, Wish::Join { .. });
        let mut peer = Self::new(server, !matches!(wish, Wish::Echo), has_sound).await?;
        let mut changes = peer.rtc.sdp_api();
        let mut media = |kind, direction| changes.add_media(kind, direction, None, None, None);
        let (mut sent, mut channel) = (Vec::new(), None);
        match wish {
            Wish::Echo => channel = Some(changes.add_channel("echo".to_owned())),
            Wish::Publish => sent.push((media(MediaKind::Video, Direction::SendOnly), 0)),
            Wish::Subscribe(tracks) => {
                (0..*tracks).for_each(|_| _ = media(MediaKind::Video, Direction::RecvOnly));
            }
            Wish::Join { pictures, sounds } => {
                let kinds = [(MediaKind::Video, *pictures), (MediaKind::Audio, *sounds)];
                sent.extend(kinds.map(|(kind, _)| (media(kind, Direction::SendOnly), 0)));
                for (kind, count) in kinds {
                    (0..count).for_each(|_| _ = media(kind, Direction::RecvOnly));
                }
            }
        }
        let (offer, pending) = changes.apply().ok_or(io::ErrorKind::InvalidInput)?;
        (peer.sent, peer.channel) = (sent, channel);
        Ok((peer, offer, pending))
    }

    async fn new(server: SocketAddr, has_media: bool, has_sound: bool) -> io::Result<Self> {
        let socket = UdpSocket::bind((own_address(server).await?, 0)).await?;
        let address = socket.local_addr()?;
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(crypto())
            .set_rtp_mode(has_media)
            .set_sctp_max_message_size(256 << 10)
            .set_sctp_max_buffered_amount(4 << 20)
            .clear_codecs()
            .enable_vp8(true)
            .enable_opus(has_sound, false)
            .build(now());
        let candidate = Candidate::host(address, "udp").map_err(io::Error::other)?;
        rtc.add_local_candidate(candidate);
        Ok(Self {
            rtc,
            socket,
            address,
            buffer: Box::new([0; DATAGRAM]),
            channel: None,
            sent: Vec::new(),
            loss: (0.0, 0.0),
            egress: None,
            _session: None,
        })
    }

    fn take(&mut self, answer: &str, pending: SdpPendingOffer) -> io::Result<()> {
        let answer = SdpAnswer::from_sdp_string(answer).map_err(io::Error::other)?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(io::Error::other)
    }

    async fn connected(&mut self, wish: &Wish) -> io::Result<()> {
        loop {
            match (self.event().await?, wish) {
                (Event::ChannelOpen(channel, _), Wish::Echo) => {
                    self.channel = Some(channel);
                    return Ok(());
                }
                (Event::Connected, Wish::Publish | Wish::Subscribe(_) | Wish::Join { .. }) => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Returns the next message or packet. Cancelling loses nothing.
    ///
    /// # Errors
    /// The connection is over; [`InvalidData`](io::ErrorKind::InvalidData) where a media room has sent what it may not.
    pub(crate) async fn next(&mut self) -> io::Result<Heard> {
        loop {
            match self.event().await? {
                Event::ChannelData(data) => return Ok(Heard::Message(data.data)),
                Event::RtpPacket(packet) => {
                    self.check(&packet)?;
                    return Ok(Heard::Packet(packet.payload));
                }
                Event::KeyframeRequest(_) => return Ok(Heard::KeyframeWanted),
                Event::ChannelClose(_) => return Err(io::ErrorKind::ConnectionReset.into()),
                _ => {}
            }
        }
    }

    fn check(&mut self, packet: &RtpPacket) -> io::Result<()> {
        let Some(egress) = &mut self.egress else { return Ok(()) };
        let ssrc = packet.header.ssrc;
        let stream = self.rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid());
        let mid = stream.ok_or_else(|| invalid(format!("SSRC {ssrc} is of no section")))?;
        let is_sound = self.rtc.media(mid).is_some_and(|media| media.kind() == MediaKind::Audio);
        let seen = Seen {
            number: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: &packet.payload,
            coding: if is_sound { Coding::Sound } else { Coding::Vp8 },
        };
        egress.check(mid, seen).map_err(invalid)
    }

    /// Sends a message: it goes out with the next call of `next`.
    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let channel = self.channel.and_then(|channel| self.rtc.channel(channel));
        let mut channel = channel.ok_or(io::ErrorKind::NotConnected)?;
        match channel.write(true, message).map_err(io::Error::other)? {
            true => Ok(()),
            false => Err(io::Error::other("a window is more than a channel's buffer holds")),
        }
    }

    /// Says goodbye on the channel, so that a server that goes on running can drop the connection.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        let Some(channel) = self.channel else { return Ok(()) };
        self.rtc.direct_api().close_data_channel(channel);
        let closing = async {
            loop {
                match self.next().await {
                    Ok(_) => {}
                    // The server has said goodbye, too.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        // A server that does not answer has received the goodbye nevertheless.
        tokio::time::timeout(GOODBYE, closing).await.unwrap_or(Ok(()))
    }

    /// Loses this share of the packets that it receives from now on, each of them before anything sees it.
    pub(crate) fn lose(&mut self, share: f64) {
        self.loss.0 = share;
    }

    /// Sends a packet of a track: 0, or with [`Wish::Join`] 1 for the sound.
    pub(crate) fn send_packet(
        &mut self,
        track: usize,
        payload: Vec<u8>,
        timestamp: u32,
        is_last: bool,
    ) -> io::Result<()> {
        let lost = || io::Error::from(io::ErrorKind::NotConnected);
        let (mid, number) = self.sent.get_mut(track).ok_or_else(lost)?;
        let media = self.rtc.media(*mid).ok_or_else(lost)?;
        let pt = *media.remote_pts().first().ok_or_else(lost)?;
        *number += 1;
        let write = RtpWrite::new(pt, (*number).into(), timestamp, now(), payload);
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(*mid, None).ok_or_else(lost)?;
        stream.write_rtp(write.marker(is_last).nackable(true));
        self.timeout()
    }

    fn timeout(&mut self) -> io::Result<()> {
        self.rtc.handle_input(Input::Timeout(now())).map_err(io::Error::other)
    }

    /// Returns the engine's next event.
    async fn event(&mut self) -> io::Result<Event> {
        loop {
            let due = match self.rtc.poll_output().map_err(io::Error::other)? {
                Output::Event(event) => return Ok(event),
                Output::Transmit(transmit) => {
                    let to = transmit.destination;
                    while let Err(error) = self.socket.try_send_to(&transmit.contents, to) {
                        match error.kind() {
                            io::ErrorKind::WouldBlock => self.socket.writable().await?,
                            // The server's port is closed: the time-out will notice.
                            _ => break,
                        }
                    }
                    continue;
                }
                Output::Timeout(due) => due,
            };
            if !self.rtc.is_alive() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if self.receive()? {
                continue;
            }
            tokio::select! {
                ready = self.socket.readable() => ready?,
                () = tokio::time::sleep_until(Instant::from_std(due)) => self.timeout()?,
            }
        }
    }

    /// Reads one datagram, if there is one.
    fn receive(&mut self) -> io::Result<bool> {
        let (length, source) = match self.socket.try_recv_from(&mut self.buffer[..]) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // Errors of earlier sends (ICMP).
            Err(_) => return Ok(true),
        };
        // RTP or RTCP (RFC 7983 §7).
        if (128..192).contains(&self.buffer[0]) {
            let (share, due) = &mut self.loss;
            // Evenly: neither many at once nor the same ones of each frame.
            *due += *share;
            if *due >= 1.0 {
                *due -= 1.0;
                return Ok(true);
            }
        }
        if let Ok(contents) = self.buffer[..length].try_into() {
            let (proto, destination) = (Protocol::Udp, self.address);
            let receive = Receive { proto, source, destination, contents };
            self.rtc.handle_input(Input::Receive(now(), receive)).map_err(io::Error::other)?;
        }
        Ok(true)
    }
}

fn invalid(rule: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, rule)
}

/// Returns the local address that reaches the server: candidates are in its network.
async fn own_address(server: SocketAddr) -> io::Result<IpAddr> {
    let any = if server.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let probe = UdpSocket::bind((any, 0)).await?;
    // Connecting a UDP socket sends nothing.
    probe.connect(server).await?;
    Ok(probe.local_addr()?.ip())
}

/// Returns the crypto provider of all engines.
pub(crate) fn crypto() -> Arc<CryptoProvider> {
    static CRYPTO: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(CRYPTO.get_or_init(|| Arc::new(str0m::crypto::from_feature_flags())))
}

pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Time after which connecting has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const GOODBYE: Duration = Duration::from_secs(1);
/// Size of the receive buffer, in bytes: no peer sends larger datagrams.
const DATAGRAM: usize = 2_000;
