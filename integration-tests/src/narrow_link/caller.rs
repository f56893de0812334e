//! Caller: a client of a media room, with both sides of its connection. It sends three encodings of a picture at steady
//! rates, or receives those of others.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use callboard_media_rooms::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::egress::{Coding, Egress, Seen};
use super::side::{Heard, Side};
use crate::PATIENCE;

pub(crate) struct Caller {
    pub(crate) participant: Arc<OnceLock<Participant>>,
    pub(crate) id: ParticipantId,
    connection: PeerConnectionHandle,
    server: PeerConnectionHandle,
    heard: mpsc::UnboundedReceiver<Heard>,
    told: mpsc::UnboundedReceiver<Heard>,
    /// Of its pictures.
    sender: SenderId,
    payload_type: u8,
    encodings: [Encoding; 3],
    frames: u32,
    /// What was not handled yet of what its connection on the server and the room have said.
    pub(crate) news: Vec<Heard>,
    /// What it has received, by the numbers of those who have sent it.
    pub(crate) received: [Received; 256],
    /// Which says on its pictures who has sent them.
    number: u8,
    egress: Egress<TransceiverId>,
}

/// What was received of one caller.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    pub(crate) packets: u64,
    last: Option<Instant>,
    /// Longest time between two packets.
    pub(crate) longest_gap: Duration,
}

/// Encoding of a caller's pictures.
#[derive(Clone, Copy, Debug, Default)]
struct Encoding {
    /// Number of its next packet.
    next: u64,
    /// Whether a key frame was asked for.
    is_wanted: bool,
}

impl Caller {
    /// Lets a caller join: with pictures if it has no slots.
    pub(crate) async fn join(
        room: &MediaRoom,
        (server_side, estimate): (&Side, Option<u64>),
        (side, thread): (&Side, usize),
        slots: usize,
    ) -> Self {
        let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
        let api = Api::with_settings(
            MediaEngine::of([Codec::Vp8]),
            InterceptorRegistry::default(),
            settings,
        );
        let participant = Arc::default();
        let server_api = api.clone().bandwidth_estimation(estimate);
        let (server, heard, owner) =
            server_side.open(room.thread(), &server_api, &participant).await;
        let (connection, told, _) = side.open(thread, &api, &Arc::default()).await;
        let id = ParticipantId(server.id());
        let joined = room.join(server.clone(), "caller", owner.recipient()).await;
        _ = participant.set(joined.expect("it joins"));
        if slots == 0 {
            let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "camera", "camera");
            let sending = AddTransceiver {
                direction: Direction::SendOnly,
                track: Some(track),
                send_encodings: RIDS.map(|rid| rid.parse().expect("a rid")).into(),
                ..AddTransceiver::new(TrackKind::Video)
            };
            connection.send(sending).await.unwrap().unwrap();
        }
        for _ in 0..slots {
            connection.send(AddTransceiver::receive(TrackKind::Video)).await.unwrap().unwrap();
        }
        let sender = connection.send(GetTransceivers).await.unwrap()[0].sender;
        let (encodings, news) = Default::default();
        let mut caller = Self {
            participant,
            id,
            connection,
            server,
            heard,
            told,
            sender,
            payload_type: 0,
            encodings,
            frames: 0,
            news,
            received: [Received::default(); 256],
            number: thread as u8,
            egress: Egress::new(),
        };
        caller.connect().await;
        caller
    }

    async fn connect(&mut self) {
        self.connection.send(SetLocalDescription(None)).await.unwrap().unwrap();
        let offer = self.connection.send(LocalDescription).await.unwrap().expect("an offer");
        let participant = self.participant.get().expect("it has joined");
        let answer = participant.accept_offer(offer).await.expect("an answer");
        self.egress.answered(&answer.sdp).expect("SSRCs of one section each");
        self.connection.send(SetRemoteDescription(answer)).await.unwrap().unwrap();
        self.payload_type = self.connection.send(GetTransceivers).await.unwrap()[0].codecs[0].0;
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
                    event if side == 0 => self.news.push(event),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, connecting).await.expect("it connects");
    }

    /// Takes what has come.
    pub(crate) fn listen(&mut self) {
        while let Ok(event) = self.heard.try_recv() {
            self.news.push(event);
        }
        while let Ok(event) = self.told.try_recv() {
            match event {
                Heard::Connection(ConnectionEvent::Packet(packet)) => {
                    let seen = Seen {
                        number: packet.sequence_number,
                        timestamp: packet.timestamp,
                        marker: packet.marker,
                        payload: &packet.payload,
                        coding: Coding::Vp8,
                    };
                    self.egress.check(packet.transceiver, seen).expect("one stream in each slot");
                    // What is empty is padding.
                    let Some(&from) = packet.payload.last() else { continue };
                    let (received, now) = (&mut self.received[usize::from(from)], Instant::now());
                    received.packets += 1;
                    if let Some(last) = received.last.replace(now) {
                        received.longest_gap = received.longest_gap.max(now - last);
                    }
                }
                Heard::Connection(ConnectionEvent::KeyframeRequested { rid, .. }) => {
                    let rids = RIDS.map(|rid| rid.parse().ok());
                    let encodings = self.encodings.iter_mut().zip(rids);
                    let wanted = encodings.filter(|(_, own)| rid == *own);
                    wanted.for_each(|(encoding, _)| encoding.is_wanted = true);
                }
                _ => {}
            }
        }
    }

    /// Sends a frame in each encoding: a key frame where one was asked for.
    pub(crate) async fn show(&mut self) {
        let mut batch = Vec::new();
        for (place, encoding) in self.encodings.iter_mut().enumerate() {
            let is_key = std::mem::take(&mut encoding.is_wanted);
            let packets = PACKETS[place];
            for at in 0..packets {
                let mut payload = vec![self.number; SIZE];
                payload[..6].copy_from_slice(&descriptor(self.frames, at == 0));
                if at == 0 {
                    // RFC 6386 §9.1: whether it is no key frame, the start code, and the picture's size.
                    let [low, high] = (180u16 << place).to_le_bytes();
                    let header = [u8::from(!is_key), 0, 0, 0x9d, 1, 0x2a, 64, 1, low, high];
                    payload[6..16].copy_from_slice(&header);
                }
                let packet = RtpPacket {
                    transceiver: TransceiverId(self.server.id().0),
                    rid: RIDS[place].parse().ok(),
                    payload_type: self.payload_type,
                    sequence_number: encoding.next,
                    timestamp: self.frames.wrapping_mul(90_000 / RATE),
                    marker: at + 1 == packets,
                    at: Instant::now().into_std(),
                    captured: None,
                    payload: payload.into(),
                    audio_level: None,
                    vp8: None,
                    extensions: HeaderExtensions::default(),
                };
                encoding.next += 1;
                batch.push(WriteRtp { sender: self.sender, packet });
            }
        }
        self.frames += 1;
        self.connection.send(WriteRtpBatch(batch)).await.expect("it is connected");
    }
}

/// Returns a descriptor of VP8 with a picture id of 15 bits and a TL0PICIDX (RFC 7741 §4.2).
fn descriptor(picture: u32, is_first: bool) -> [u8; 6] {
    let [_, _, high, low] = (picture & 0x7fff).to_be_bytes();
    [0x80 | u8::from(is_first) << 4, 0xe0, 0x80 | high, low, picture as u8, 0]
}

/// Names of the encodings, the lowest first.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];
/// Frames in a second.
pub(crate) const RATE: u32 = 20;
/// Packets of a frame in each encoding: 118, 235 and 942 kbit/s with their headers.
const PACKETS: [usize; 3] = [1, 2, 8];
/// Bytes of a packet's payload.
const SIZE: usize = 664;
