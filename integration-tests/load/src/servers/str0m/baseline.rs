//! Baseline of all connections in one loop, as in str0m's examples; a table finds the connection of each datagram.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callboard_ice_handshake::handshake::Certificate;
use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::ice::StunMessage;
use str0m::media::{MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::gso::Gso;
use crate::servers::FIRST_ESTIMATE;
use crate::webrtc::{crypto, now};

/// Role of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Echo,
    Publish,
    Subscribe,
    /// Both.
    Join,
}

pub(super) struct Offer {
    pub(super) role: Role,
    /// Name of the room whose tracks it is about.
    pub(super) room: String,
    pub(super) sdp: String,
    pub(super) answer: oneshot::Sender<Result<String, String>>,
}

pub(super) struct Baseline {
    socket: UdpSocket,
    /// How bursts are sent in one call, if they are.
    gso: Option<Gso>,
    estimate: bool,
    address: SocketAddr,
    certificate: Certificate,
    peers: Vec<Peer>,
    by_source: HashMap<SocketAddr, usize>,
    by_ufrag: HashMap<String, usize>,
    due: BTreeSet<(std::time::Instant, usize)>,
    rooms: Vec<Room>,
    by_name: HashMap<String, usize>,
    /// Numbers of the rooms in which packets wait.
    busy: Vec<usize>,
}

/// Room whose subscribers receive all that is published in it.
#[derive(Default)]
struct Room {
    /// Published tracks, in the order in which they came: their publishers, and of what kind they are.
    tracks: Vec<(usize, MediaKind)>,
    subscribers: Vec<usize>,
    /// Packets that were received and not forwarded yet, with the numbers of their tracks.
    waiting: Vec<(usize, RtpPacket)>,
}

struct Peer {
    rtc: Rtc,
    /// Number of its room.
    room: usize,
    due: std::time::Instant,
    /// Sections in which it sends, with the numbers of the tracks.
    sent: Vec<(Mid, usize)>,
    /// Numbers of the tracks by the streams that were received.
    streams: Vec<(Ssrc, usize)>,
    /// Sections in which it receives.
    received: Vec<(Mid, MediaKind)>,
    /// Section in which it receives each track.
    routes: Vec<Option<Mid>>,
}

impl Baseline {
    pub(super) async fn bind(gso: bool, estimate: bool) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // As large as Callboard's buffers.
        let options = socket2::SockRef::from(&socket);
        options.set_recv_buffer_size(2 << 20)?;
        options.set_send_buffer_size(2 << 20)?;
        Ok(Self {
            address: socket.local_addr()?,
            gso: gso.then(|| Gso::new(&socket)).transpose()?,
            socket,
            estimate,
            certificate: Certificate::generate().map_err(io::Error::other)?,
            peers: Vec::new(),
            by_source: HashMap::new(),
            by_ufrag: HashMap::new(),
            due: BTreeSet::new(),
            rooms: Vec::new(),
            by_name: HashMap::new(),
            busy: Vec::new(),
        })
    }

    pub(super) async fn run(
        mut self,
        mut offers: mpsc::UnboundedReceiver<Offer>,
    ) -> io::Result<()> {
        let mut buffer = [0; 2_000];
        loop {
            let next = self.due.first().map(|(due, _)| Instant::from_std(*due));
            let due = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                offer = offers.recv() => {
                    let Some(Offer { role, room, sdp, answer }) = offer else { return Ok(()) };
                    let answered = self.answer(role, room, &sdp);
                    _ = answer.send(answered.map_err(|error| error.to_string()));
                }
                ready = self.socket.readable() => {
                    ready?;
                    for _ in 0..AT_ONCE {
                        match self.socket.try_recv_from(&mut buffer) {
                            Ok((length, source)) => self.receive(&buffer[..length], source),
                            Err(_) => break,
                        }
                    }
                    self.forward();
                }
                () = due => {}
            }
            let now = now();
            while let Some((due, at)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
                self.due.remove(&(due, at));
                _ = self.peers[at].rtc.handle_input(Input::Timeout(now));
                self.poll(at);
            }
        }
    }

    fn answer(
        &mut self,
        role: Role,
        room: String,
        sdp: &str,
    ) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let now = now();
        let mut config = RtcConfig::new()
            .set_crypto_provider(crypto())
            .set_dtls_cert(self.certificate.to_dtls_cert())
            .set_rtp_mode(role != Role::Echo)
            .set_sctp_max_message_size(256 << 10)
            .set_sctp_max_buffered_amount(4 << 20);
        if self.estimate && matches!(role, Role::Subscribe | Role::Join) {
            config = config.enable_bwe(Some(Bitrate::bps(FIRST_ESTIMATE)));
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(self.address, "udp")?);
        let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(sdp)?)?;
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        let at = self.peers.len();
        self.by_ufrag.insert(ufrag, at);
        let room = *self.by_name.entry(room).or_insert(self.rooms.len());
        if room == self.rooms.len() {
            self.rooms.push(Room::default());
        }
        match role {
            Role::Echo | Role::Publish => {}
            Role::Subscribe | Role::Join => self.rooms[room].subscribers.push(at),
        }
        self.due.insert((now, at));
        self.peers.push(Peer {
            rtc,
            room,
            due: now,
            sent: Vec::new(),
            streams: Vec::new(),
            received: Vec::new(),
            routes: Vec::new(),
        });
        Ok(answer.to_sdp_string())
    }

    fn receive(&mut self, datagram: &[u8], source: SocketAddr) {
        let Ok(contents) = datagram.try_into() else { return };
        let destination = self.address;
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        let input = Input::Receive(now(), receive);
        let known = self.by_source.get(&source).copied();
        let Some(at) = known.or_else(|| self.find(datagram, &input)) else { return };
        self.by_source.insert(source, at);
        _ = self.peers[at].rtc.handle_input(input);
        self.poll(at);
    }

    /// Finds the connection of the first datagram from an address: a request names its addressee, an answer does not.
    fn find(&self, datagram: &[u8], input: &Input<'_>) -> Option<usize> {
        let message = StunMessage::parse(datagram).ok()?;
        match message.split_username() {
            Some((ufrag, _)) => self.by_ufrag.get(ufrag).copied(),
            None => self.peers.iter().position(|peer| peer.rtc.accepts(input)),
        }
    }

    fn poll(&mut self, at: usize) {
        let Self { peers, socket, gso, due: all_due, estimate, rooms, busy, .. } = self;
        let (peer, mut is_new) = (&mut peers[at], false);
        let Room { tracks, waiting, .. } = &mut rooms[peer.room];
        let waited = !waiting.is_empty();
        let now = now();
        let mut rounds = if *estimate { ROUNDS } else { 0 };
        loop {
            match peer.rtc.poll_output() {
                // The pacer lets one packet out each time that it is given a later time.
                Ok(Output::Timeout(due)) if rounds > 0 && due <= now + LEAD => {
                    rounds -= 1;
                    _ = peer.rtc.handle_input(Input::Timeout(due.max(now)));
                }
                Ok(Output::Timeout(due)) => {
                    all_due.remove(&(peer.due, at));
                    peer.due = due;
                    if peer.rtc.is_alive() {
                        all_due.insert((due, at));
                    }
                    break;
                }
                // Datagrams for which the socket has no room are lost.
                Ok(Output::Transmit(transmit)) => match gso {
                    Some(gso) => gso.add(socket, &transmit.contents, transmit.destination),
                    None => _ = socket.try_send_to(&transmit.contents, transmit.destination),
                },
                Ok(Output::Event(event)) => match event {
                    Event::ChannelData(data) => {
                        if let Some(mut channel) = peer.rtc.channel(data.id) {
                            _ = channel.write(data.binary, &data.data);
                        }
                    }
                    Event::MediaAdded(media) => {
                        is_new = true;
                        if media.direction.is_receiving() {
                            peer.sent.push((media.mid, tracks.len()));
                            tracks.push((at, media.kind));
                        }
                        if media.direction.is_sending() {
                            peer.received.push((media.mid, media.kind));
                        }
                    }
                    Event::RtpPacket(packet) => {
                        waiting.extend(peer.track(&packet).map(|track| (track, packet)));
                    }
                    _ => {}
                },
                Err(_) => {
                    all_due.remove(&(peer.due, at));
                    break;
                }
            }
        }
        if let Some(gso) = gso {
            gso.flush(socket);
        }
        let room = peer.room;
        if !waited && !waiting.is_empty() {
            busy.push(room);
        }
        if is_new {
            self.route(room);
        }
        // Without bursts, each packet is forwarded as it comes.
        if self.gso.is_none() {
            self.forward();
        }
    }

    /// Gives the sections of each subscriber of a room to the tracks of the others, in their order.
    fn route(&mut self, room: usize) {
        let Room { tracks, subscribers, .. } = &self.rooms[room];
        for &at in subscribers {
            let Peer { received, routes, .. } = &mut self.peers[at];
            let mut free = received.clone();
            let tracks = tracks.iter().map(|(publisher, kind)| {
                let others = *publisher != at;
                let place = free.iter().position(|(_, other)| others && other == kind)?;
                Some(free.remove(place).0)
            });
            *routes = tracks.collect();
        }
    }

    /// Forwards what waits in all rooms.
    fn forward(&mut self) {
        while let Some(room) = self.busy.pop() {
            self.forward_in(room);
        }
    }

    /// Forwards what waits in a room, to one subscriber after the other.
    fn forward_in(&mut self, room: usize) {
        let packets = std::mem::take(&mut self.rooms[room].waiting);
        for subscriber in 0..self.rooms[room].subscribers.len() {
            let at = self.rooms[room].subscribers[subscriber];
            let written =
                packets.iter().filter(|(track, packet)| self.write(at, *track, packet).is_some());
            if written.count() == 0 {
                continue;
            }
            _ = self.peers[at].rtc.handle_input(Input::Timeout(now()));
            self.poll(at);
        }
    }

    fn write(&mut self, at: usize, track: usize, packet: &RtpPacket) -> Option<()> {
        let Peer { rtc, routes, .. } = &mut self.peers[at];
        let mid = (*routes.get(track)?)?;
        let pt = *rtc.media(mid)?.remote_pts().first()?;
        let payload = Arc::clone(&packet.payload);
        let write = RtpWrite::new(pt, packet.seq_no, packet.header.timestamp, now(), payload);
        let write = write.marker(packet.header.marker).nackable(true);
        rtc.direct_api().stream_tx_by_mid(mid, None)?.write_rtp(write);
        Some(())
    }
}

impl Peer {
    /// Returns the number of a packet's track.
    fn track(&mut self, packet: &RtpPacket) -> Option<usize> {
        let ssrc = packet.header.ssrc;
        if let Some((_, track)) = self.streams.iter().find(|(other, _)| *other == ssrc) {
            return Some(*track);
        }
        let mid = self.rtc.direct_api().stream_rx(&ssrc)?.mid();
        let (_, track) = *self.sent.iter().find(|(other, _)| *other == mid)?;
        self.streams.push((ssrc, track));
        Some(track)
    }
}

/// Datagrams that are read before the loop does anything else.
const AT_ONCE: usize = 64;
/// Most times that an engine is given at once, and how far they lead: a microsecond for each packet.
const ROUNDS: u32 = 256;
const LEAD: Duration = Duration::from_micros(256);
