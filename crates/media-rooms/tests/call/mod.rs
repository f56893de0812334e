//! Helpers: clients of a media room over real sockets, which send pictures and sound and check what they get.
#![allow(dead_code, unused_imports, reason = "each test file uses a part")]

#[path = "../egress/mod.rs"]
mod egress;
mod lips;
mod talk;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use callboard_media_rooms::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_supervision::{Flags, SupervisorRef, SupervisorSpec};
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use tokio::sync::mpsc;

use egress::{Coding, Egress, Seen};
pub(crate) use lips::{Heeded, Lips};
pub(crate) use talk::{have, have_all_but, talk_until};

pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// Frame of sound that a client sends, and the one before where it is redundant.
pub(crate) const SOUND: [u8; 60] = [0xfc; 60];
const COPY: [u8; 4] = [0xfc, 1, 2, 3];

/// Owner that passes its events on; on the server through the participant.
struct Owner {
    tells_estimates: bool,
    participant: Arc<Mutex<Option<Participant>>>,
    tell: mpsc::UnboundedSender<Heard>,
}

/// Event at one side of a client's connection, or of the room.
#[derive(Debug)]
enum Heard {
    Connection(ConnectionEvent),
    Room(MediaEvent),
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        if matches!(event.event, ConnectionEvent::BandwidthEstimate { .. }) && !self.tells_estimates
        {
            return;
        }
        let event = match &*self.participant.lock().unwrap() {
            Some(participant) => participant.handle(event.event),
            None => Some(event.event),
        };
        if let Some(event) = event {
            _ = self.tell.send(Heard::Connection(event));
        }
    }
}

impl Handler<ParticipantEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: ParticipantEvent, _: &mut Context<Self>) {
        _ = self.tell.send(Heard::Room(event.event));
    }
}

/// A room, and the ports of its clients.
pub(crate) struct Call {
    pub(crate) pool: PeerConnections,
    pub(crate) room: MediaRoom,
    /// Supervisor above the room's own, which is named `media`.
    pub(crate) above: SupervisorRef,
    clients: usize,
    /// Estimate with which the bandwidth to clients begins; none, and it is not estimated.
    pub(crate) estimate: Option<u64>,
    /// Whether clients say when packets arrive. Default: yes.
    pub(crate) feedback: bool,
    /// Whether the room is told the estimate. Default: yes.
    pub(crate) tells_estimates: bool,
    /// Whether clients that join send redundant sound, and can receive it. Default: no.
    pub(crate) redundant: bool,
}

impl Call {
    /// Starts a room for so many clients. Each has a port of its own: connections between the same two ports could not
    /// be told apart.
    pub(crate) async fn start(clients: usize) -> Self {
        let interfaces =
            InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback() && ip.is_ipv4());
        let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
        let options = PeerConnectionsOptions {
            // Two for the room, and one for each client.
            media_threads: 2 + clients,
            sockets,
            ..PeerConnectionsOptions::default()
        };
        let pool = PeerConnections::start(options).await.unwrap();
        let (spec, room) = MediaRoom::child("media", pool.clone(), 0);
        let above = SupervisorSpec::new(Flags::one_for_one().intensity(10, PATIENCE)).child(spec);
        let above = above.start_as("media-room").await.unwrap();
        Self {
            pool,
            room,
            above,
            clients: 0,
            estimate: None,
            feedback: true,
            tells_estimates: true,
            redundant: false,
        }
    }

    /// Lets a client join that sends a voice and pictures, the first with this number, and has so many slots of either
    /// kind. Resolves when it is connected.
    pub(crate) async fn join(&mut self, first: u64, slots: usize) -> Client {
        self.join_as(0, first, slots, &[]).await
    }

    /// Answers the offer of another program, with all codecs; its media stays for as long as what is returned.
    pub(crate) async fn answer(&self, offer: &str) -> (ParticipantId, Participant, String) {
        let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
        let api =
            Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
        let (tell, _told) = mpsc::unbounded_channel();
        let owner = Owner { tells_estimates: false, participant: Arc::default(), tell }.start();
        let events = owner.clone().recipient();
        let opened = self.pool.open_on(0, &api, Configuration::default(), events).await;
        let server = opened.unwrap();
        let id = ParticipantId(server.id());
        let joined = self.room.join(server, "program", owner.recipient()).await.unwrap();
        let answer = joined.accept_offer(SessionDescription::offer(offer)).await.unwrap();
        (id, joined, answer.sdp)
    }

    /// Likewise, with its connection on this thread of the room: 0 or 1.
    pub(crate) async fn join_on(&mut self, thread: usize, first: u64, slots: usize) -> Client {
        self.join_as(thread, first, slots, &[]).await
    }

    /// Likewise; the client sends its pictures in these encodings of simulcast, the lowest first.
    pub(crate) async fn join_as(
        &mut self,
        thread: usize,
        first: u64,
        slots: usize,
        rids: &[&str],
    ) -> Client {
        let rids: Vec<Rid> = rids.iter().map(|rid| rid.parse().unwrap()).collect();
        self.clients += 1;
        let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
        let engine = MediaEngine::of([Codec::Opus, Codec::Vp8]);
        let engine = if self.redundant { engine.codec(Codec::Red) } else { engine };
        let api = |bandwidth_estimation, transport_wide_feedback| {
            let registry = InterceptorRegistry {
                bandwidth_estimation,
                transport_wide_feedback,
                ..InterceptorRegistry::default()
            };
            Api::with_settings(engine.clone(), registry, settings.clone())
        };
        let apis = [api(self.estimate, true), api(None, self.feedback)];
        let open = async |api: &Api, thread, participant: &Arc<Mutex<Option<Participant>>>| {
            let (tell, told) = mpsc::unbounded_channel();
            let (participant, tells_estimates) = (Arc::clone(participant), self.tells_estimates);
            let owner = Owner { tells_estimates, participant, tell }.start();
            let events = owner.clone().recipient();
            let connection =
                self.pool.open_on(thread, api, Configuration::default(), events).await.unwrap();
            (connection, told, owner)
        };
        let participant = Arc::default();
        let (server, heard, owner) = open(&apis[0], thread, &participant).await;
        let (connection, told, _) = open(&apis[1], 1 + self.clients, &Arc::default()).await;
        let owner = owner.recipient();
        let joined = self.room.join(server.clone(), "client", owner.clone()).await.unwrap();
        *participant.lock().unwrap() = Some(joined);
        for mime_type in ["audio/opus", "video/VP8"] {
            let track = LocalTrack::new(RtpCodecCapability::new(mime_type), mime_type, "camera");
            let kind = track.codec.kind().unwrap();
            let (direction, track) = (Direction::SendOnly, Some(track));
            let send_encodings = if kind == TrackKind::Video { rids.clone() } else { Vec::new() };
            // As browsers do, where a page does not say otherwise.
            let direction = if send_encodings.is_empty() { direction } else { Direction::SendRecv };
            let adding =
                AddTransceiver { direction, track, send_encodings, ..AddTransceiver::new(kind) };
            connection.send(adding).await.unwrap().unwrap();
        }
        for _ in 0..slots {
            for kind in [TrackKind::Audio, TrackKind::Video] {
                connection.send(AddTransceiver::receive(kind)).await.unwrap().unwrap();
            }
        }
        let transceivers = connection.send(GetTransceivers).await.unwrap();
        let senders = transceivers.iter().take(2).map(|one| one.sender).collect();
        let mut client = Client {
            participant,
            server,
            owner,
            heard,
            connection,
            told,
            senders,
            payload_types: Vec::new(),
            red: None,
            sound: first,
            encodings: match rids.is_empty() {
                true => vec![Encoding::new(None, first)],
                false => rids.into_iter().map(|rid| Encoding::new(Some(rid), first)).collect(),
            },
            frames: 0,
            began: tokio::time::Instant::now(),
            time: 0,
            level: -127,
            room: Vec::new(),
            received: Vec::new(),
            egress: Egress::new(),
        };
        client.negotiate().await;
        client.connect().await;
        client
    }
}

/// Client with both sides of its connection.
pub(crate) struct Client {
    pub(crate) participant: Arc<Mutex<Option<Participant>>>,
    pub(crate) server: PeerConnectionHandle,
    owner: Recipient<ParticipantEvent>,
    heard: mpsc::UnboundedReceiver<Heard>,
    pub(crate) connection: PeerConnectionHandle,
    told: mpsc::UnboundedReceiver<Heard>,
    /// Of sound and of pictures, as all pairs here.
    senders: Vec<SenderId>,
    payload_types: Vec<u8>,
    /// Payload type of redundant sound, if it has that.
    red: Option<u8>,
    /// Number of the next packet of sound.
    sound: u64,
    pub(crate) encodings: Vec<Encoding>,
    frames: u64,
    began: tokio::time::Instant,
    /// Time of the last frame, in units of the clock of video.
    time: u32,
    /// Level of its voice in dBov.
    pub(crate) level: i8,
    /// What the room has said.
    pub(crate) room: Vec<MediaEvent>,
    pub(crate) received: Vec<RtpPacket>,
    egress: Egress<TransceiverId>,
}

/// Encoding of a client's pictures.
pub(crate) struct Encoding {
    rid: Option<Rid>,
    /// Number of the next packet.
    next: u64,
    /// Whether a key frame was asked for and not sent yet.
    wanted: bool,
    /// Whether it is sent.
    pub(crate) active: bool,
}

impl Encoding {
    fn new(rid: Option<Rid>, next: u64) -> Self {
        Self { rid, next, wanted: false, active: true }
    }
}

impl Client {
    pub(crate) fn id(&self) -> ParticipantId {
        ParticipantId(self.server.id())
    }

    async fn negotiate(&mut self) {
        self.connection.send(SetLocalDescription(None)).await.unwrap().unwrap();
        let offer = self.connection.send(LocalDescription).await.unwrap().unwrap();
        let participant = self.participant.lock().unwrap().take().unwrap();
        let answer = participant.accept_offer(offer).await.unwrap();
        *self.participant.lock().unwrap() = Some(participant);
        self.egress.answered(&answer.sdp).unwrap();
        self.connection.send(SetRemoteDescription(answer)).await.unwrap().unwrap();
        let transceivers = self.connection.send(GetTransceivers).await.unwrap();
        self.payload_types = transceivers.iter().take(2).map(|one| one.codecs[0].0).collect();
        let mut sounds = transceivers[0].codecs.iter();
        self.red = sounds.find(|(_, codec)| codec.mime_type == "audio/red").map(|(it, _)| *it);
    }

    /// Lets the connection, which is up, join once more.
    pub(crate) async fn join_again(&mut self, room: &MediaRoom) {
        let (server, owner) = (self.server.clone(), self.owner.clone());
        let joined = loop {
            // The room may not have let it go yet.
            match room.join(server.clone(), "again", owner.clone()).await {
                Err(JoinMediaRoomError::Joined) => tokio::task::yield_now().await,
                joined => break joined.unwrap(),
            }
        };
        let before = self.participant.lock().unwrap().replace(joined);
        drop(before);
        self.negotiate().await;
    }

    /// Carries candidates until both sides are connected.
    async fn connect(&mut self) {
        let mut connected = [false; 2];
        let connecting = async {
            while connected != [true; 2] {
                let (side, event) = tokio::select! {
                    event = self.heard.recv() => (0, event),
                    event = self.told.recv() => (1, event),
                };
                let other = [&self.connection, &self.server][side];
                match event.expect("it runs") {
                    Heard::Connection(ConnectionEvent::IceCandidate(Some(candidate))) => {
                        other.send(AddIceCandidate(Some(candidate))).await.unwrap().unwrap();
                    }
                    Heard::Connection(ConnectionEvent::ConnectionStateChange(state)) => {
                        connected[side] = state == PeerConnectionState::Connected;
                    }
                    Heard::Connection(ConnectionEvent::KeyframeRequested { rid, .. }) => {
                        self.want(rid);
                    }
                    Heard::Connection(_) => {}
                    Heard::Room(event) => self.room.push(event),
                }
            }
        };
        tokio::time::timeout(PATIENCE, connecting).await.expect("it connects");
    }

    /// Sets what the client wishes to receive.
    pub(crate) fn wish(&self, wishes: Wishes) -> Result<(), WishError> {
        self.participant.lock().unwrap().as_ref().unwrap().wish(wishes)
    }

    fn want(&mut self, rid: Option<Rid>) {
        self.encodings.iter_mut().filter(|it| it.rid == rid).for_each(|it| it.wanted = true);
    }

    /// Sends a packet of sound, and a frame of two packets in each encoding: a key frame when one was asked for.
    pub(crate) async fn talk(&mut self) {
        self.listen();
        let sound = self.sound_to_send();
        let number = self.sound;
        self.sound += 1;
        self.write(0, None, number, (self.frames as u32).wrapping_mul(960), false, sound).await;
        let picture = (self.frames % 0x8000) as u16;
        let descriptor =
            [0x90, 0xe0, 0x80 | (picture >> 8) as u8, picture as u8, self.frames as u8, 0];
        // Where there are several encodings their reports must be true: times are those of the clock then.
        self.time = match self.encodings.len() {
            1 => (self.frames as u32).wrapping_mul(3_000),
            _ => (self.began.elapsed().as_millis() as u32 * 90).max(self.time + 90),
        };
        for place in 0..self.encodings.len() {
            let Encoding { rid, next, wanted, active } = &mut self.encodings[place];
            if !*active {
                continue;
            }
            let (rid, number, key) = (*rid, *next, std::mem::take(wanted));
            *next += 2;
            let height = 180u16 << place;
            let [low, high] = height.to_le_bytes();
            let start = [&descriptor[..], &[u8::from(!key), 0, 0, 0x9d, 1, 0x2a, 64, 1, low, high]];
            let rest = [&[0x80], &descriptor[1..], &vec![place as u8; 200 << place]].concat();
            // Each encoding has times of its own (RFC 3550 §5.1).
            let time = self.time.wrapping_add(place as u32 * 1_000_000_000);
            self.write(1, rid, number, time, false, start.concat()).await;
            self.write(1, rid, number + 1, time, true, rest).await;
        }
        self.frames += 1;
    }

    /// Sends the first packet of a frame, with this many bytes, whose others never come.
    pub(crate) async fn cut_frame_short(&mut self, length: usize) {
        let picture = (self.frames % 0x8000) as u16;
        let (high, low) = (0x80 | (picture >> 8) as u8, picture as u8);
        let mut payload = vec![0x90, 0xe0, high, low, self.frames as u8, 0, 1];
        payload.resize(length, 0);
        let (rid, number) = (self.encodings[0].rid, self.encodings[0].next);
        self.encodings[0].next += 1;
        let time = (self.frames as u32).wrapping_mul(3_000);
        self.frames += 1;
        self.write(1, rid, number, time, false, payload).await;
    }

    /// Returns a frame of sound, behind a copy of the one before if the client has redundancy (RFC 2198).
    fn sound_to_send(&self) -> Vec<u8> {
        let opus = self.payload_types[0];
        let copy = [0x80 | opus, 0x0f, 0, COPY.len() as u8, opus];
        let before = if self.red.is_some() { [&copy[..], &COPY].concat() } else { Vec::new() };
        [&before[..], &SOUND].concat()
    }

    /// Returns the sound that has come: whether with redundancy, and the payload.
    pub(crate) fn sounds(&self) -> Vec<(bool, &[u8])> {
        let is_sound = |packet: &&RtpPacket| {
            [Some(self.payload_types[0]), self.red].contains(&Some(packet.payload_type))
        };
        let sounds = self.received.iter().filter(is_sound);
        sounds.map(|it| (Some(it.payload_type) == self.red, &*it.payload)).collect()
    }

    async fn write(
        &self,
        kind: usize,
        rid: Option<Rid>,
        sequence_number: u64,
        timestamp: u32,
        marker: bool,
        payload: Vec<u8>,
    ) {
        let packet = RtpPacket {
            transceiver: TransceiverId(self.server.id().0),
            rid,
            payload_type: self.red.filter(|_| kind == 0).unwrap_or(self.payload_types[kind]),
            sequence_number,
            timestamp,
            marker,
            at: tokio::time::Instant::now().into_std(),
            captured: None,
            payload: payload.into(),
            audio_level: (kind == 0).then_some(self.level),
            vp8: None,
            extensions: HeaderExtensions::default(),
        };
        let sender = self.senders[kind];
        self.connection.send(WriteRtp { sender, packet }).await.unwrap().unwrap();
    }

    /// Returns the number of the next packet of pictures.
    pub(crate) fn sent_pictures(&self) -> u64 {
        self.encodings[0].next
    }

    /// Takes what has come.
    pub(crate) fn listen(&mut self) {
        while let Ok(event) = self.told.try_recv() {
            match event {
                Heard::Connection(ConnectionEvent::Packet(packet)) => self.receive(packet),
                Heard::Connection(ConnectionEvent::KeyframeRequested { rid, .. }) => {
                    self.want(rid);
                }
                _ => {}
            }
        }
        while let Ok(event) = self.heard.try_recv() {
            match event {
                Heard::Room(event) => self.room.push(event),
                Heard::Connection(ConnectionEvent::NegotiationNeeded) => {
                    panic!("the server never needs an offer");
                }
                Heard::Connection(_) => {}
            }
        }
    }

    fn receive(&mut self, packet: RtpPacket) {
        let coding = match packet.payload_type {
            sound if sound == self.payload_types[0] || self.red == Some(sound) => Coding::Sound,
            vp8 if vp8 == self.payload_types[1] => Coding::Vp8,
            _ => Coding::OtherPicture,
        };
        let RtpPacket { sequence_number: number, timestamp, marker, .. } = packet;
        let seen = Seen { number, timestamp, marker, payload: &packet.payload, coding };
        let checked = self.egress.check(packet.transceiver, seen);
        checked.unwrap_or_else(|rule| panic!("sent to {}: {rule}", self.id()));
        self.received.push(packet);
    }

    /// Returns the packets of each slot that has received something, sound first, in the order of their numbers: what a
    /// busy machine has lost is sent again, and comes late.
    pub(crate) fn streams(&self) -> Vec<Vec<&RtpPacket>> {
        let mut streams: Vec<Vec<&RtpPacket>> = Vec::new();
        for packet in &self.received {
            match streams.iter_mut().find(|it| it[0].transceiver == packet.transceiver) {
                Some(stream) => stream.push(packet),
                None => streams.push(vec![packet]),
            }
        }
        for stream in &mut streams {
            stream.sort_by_key(|packet| packet.sequence_number);
        }
        streams.sort_by_key(|stream| stream[0].payload[0] != 0xfc);
        streams
    }

    /// Returns how many packets of this stream are missing.
    pub(crate) fn missing(stream: &[&RtpPacket]) -> u64 {
        let numbers = stream.iter().map(|packet| packet.sequence_number);
        let (first, last) = (numbers.clone().min().unwrap(), numbers.max().unwrap());
        last + 1 - first - stream.len() as u64
    }
}
