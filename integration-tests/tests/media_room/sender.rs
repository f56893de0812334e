//! Member of ours that sends a picture, and sound, without a browser: a picture of its own, one that is turned, late or
//! in many packets, or one whose numbers have wrapped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use futures_util::{SinkExt, StreamExt};
use integration_tests::{PATIENCE, Server};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::ours::Ours;

/// How a sender sends its picture, of 320 by 180 pixels.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Frames of VP8 that are sent again and again. The first is a key frame.
    pub(crate) film: Film,
    /// Packets of Opus that are sent again and again, from the same moment on; none if it is empty. [`SILENCE`] is one
    /// that says that it is not loud.
    pub(crate) sounds: Film,
    /// Time that a frame takes from its capture until it is sent.
    pub(crate) late: Duration,
    /// Frames in a second.
    pub(crate) rate: u32,
    /// Packets of each frame, as far as it has bytes for them.
    pub(crate) packets: usize,
    pub(crate) orientation: Option<VideoOrientation>,
    /// Packets that have one byte of the picture each, before frames are sent in `packets`: a frame is some 150 of
    /// them.
    pub(crate) crumbs: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            film: frames(include_bytes!("../../../examples/pages/bots/picture.ivf")),
            sounds: Film::default(),
            late: Duration::ZERO,
            rate: 15,
            packets: 1,
            orientation: None,
            crumbs: 0,
        }
    }
}

/// Encoded frames.
pub(crate) type Film = Arc<[Vec<u8>]>;

/// Member that sends a picture. It leaves when this is dropped.
pub(crate) struct Sender {
    sent: Arc<Sent>,
    running: JoinHandle<()>,
}

/// What a member has sent.
#[derive(Debug, Default)]
struct Sent {
    frames: AtomicU64,
    packets: AtomicU64,
}

impl Sender {
    /// Joins a room; resolves when its connection is up.
    pub(crate) async fn join(
        ours: &Ours,
        server: &Server,
        (room, name): (&str, &str),
        manner: Manner,
    ) -> Self {
        let address = format!("ws://{}/socket/{room}?name={name}", server.listen());
        let (socket, _) = tokio_tungstenite::connect_async(address).await.expect("it is let in");
        let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
        let engine = MediaEngine::of([Codec::Vp8, Codec::Opus]);
        let api = Api::with_settings(engine, InterceptorRegistry::default(), settings);
        let (connection, events) = ours.open(&api).await;
        let sections = [
            (TrackKind::Video, "video/VP8", "camera"),
            (TrackKind::Audio, "audio/opus", "microphone"),
        ];
        let sections = sections.into_iter().take(if manner.sounds.is_empty() { 1 } else { 2 });
        for (kind, codec, name) in sections {
            let track = LocalTrack::new(RtpCodecCapability::new(codec), "camera", name);
            let sending = AddTransceiver {
                direction: Direction::SendOnly,
                track: Some(track),
                ..AddTransceiver::new(kind)
            };
            connection.send(sending).await.unwrap().unwrap();
        }
        let sent = Arc::default();
        let mut run = Run {
            manner,
            socket,
            connection,
            events,
            is_up: false,
            ways: Vec::new(),
            place: 0,
            sounds: 0,
            sent: Arc::clone(&sent),
        };
        timeout(PATIENCE, run.connect()).await.expect("it connects");
        let running = tokio::spawn(async move { run.forever().await });
        Self { sent, running }
    }

    /// Returns how many frames it has sent of its picture.
    pub(crate) fn frames(&self) -> u64 {
        self.sent.frames.load(Ordering::Relaxed)
    }

    /// Returns the number of its next packet.
    pub(crate) fn number(&self) -> u64 {
        self.sent.packets.load(Ordering::Relaxed)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// What comes to a sender.
enum Come {
    Event(ConnectionEvent),
    Told(Value),
}

struct Run {
    manner: Manner,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    connection: PeerConnectionHandle,
    events: mpsc::UnboundedReceiver<ConnectionEvent>,
    is_up: bool,
    /// Senders of picture and sound, with their payload types.
    ways: Vec<(SenderId, u8)>,
    /// Place of the next frame.
    place: usize,
    /// Number of sounds that were sent.
    sounds: u32,
    sent: Arc<Sent>,
}

impl Run {
    async fn connect(&mut self) {
        while told(&mut self.socket).await["event"] != "authenticated" {}
        self.connection.send(SetLocalDescription(None)).await.unwrap().unwrap();
        let offer = self.connection.send(LocalDescription).await.unwrap().expect("an offer");
        self.say("webrtc:offer", &json!(offer)).await;
        while !self.is_up {
            let come = self.next().await;
            self.handle(come).await;
        }
        let transceivers = self.connection.send(GetTransceivers).await.unwrap();
        self.ways = transceivers.iter().map(|it| (it.sender, it.codecs[0].0)).collect();
    }

    async fn forever(&mut self) {
        let (began, lasts) = (Instant::now(), Duration::from_secs(1) / self.manner.rate);
        let (late, sounds) = (self.manner.late, !self.manner.sounds.is_empty());
        loop {
            let frames = self.sent.frames.load(Ordering::Relaxed) as u32;
            let (seen, heard) = (began + lasts * frames, began + SOUND_LASTS * self.sounds);
            tokio::select! {
                come = self.next() => self.handle(come).await,
                () = sleep_until(seen + late) => self.show(seen, frames).await,
                () = sleep_until(heard), if sounds => self.sound(heard).await,
            }
        }
    }

    /// Returns what comes next; nothing is lost if it is dropped before.
    async fn next(&mut self) -> Come {
        tokio::select! {
            event = self.events.recv() => Come::Event(event.expect("it runs")),
            told = told(&mut self.socket) => Come::Told(told),
        }
    }

    async fn handle(&mut self, come: Come) {
        match come {
            Come::Event(ConnectionEvent::IceCandidate(Some(candidate))) => {
                self.say("webrtc:ice", &json!(candidate)).await;
            }
            Come::Event(ConnectionEvent::ConnectionStateChange(state)) => {
                self.is_up = state == PeerConnectionState::Connected;
            }
            Come::Event(ConnectionEvent::KeyframeRequested { .. }) => {
                // The lowest bit of a frame says that it is none (RFC 6386 §9.1).
                while self.manner.film[self.place][0] & 1 == 1 {
                    self.place -= 1;
                }
            }
            Come::Event(_) => {}
            Come::Told(mut told) => {
                let data = told["data"].take();
                match told["event"].as_str() {
                    Some("webrtc:answer") => {
                        let answer = serde_json::from_value(data).expect("an answer");
                        self.connection.send(SetRemoteDescription(answer)).await.unwrap().unwrap();
                    }
                    Some("webrtc:ice") => {
                        let candidate = serde_json::from_value(data).expect("a candidate");
                        self.connection.send(AddIceCandidate(candidate)).await.unwrap().unwrap();
                    }
                    Some("error") => panic!("the server said {data}"),
                    _ => {}
                }
            }
        }
    }

    async fn say(&mut self, event: &str, data: &Value) {
        let text = json!({ "event": event, "data": data }).to_string();
        self.socket.send(Message::text(text)).await.expect("it is open");
    }

    /// Sends the next frame in packets (RFC 7741 §4.2: a picture id of 15 bits).
    async fn show(&mut self, captured: Instant, count: u32) {
        let film = Arc::clone(&self.manner.film);
        let frame = &film[self.place];
        self.place = (self.place + 1) % film.len();
        self.sent.frames.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = (count & 0x7fff).to_be_bytes();
        let first = self.sent.packets.load(Ordering::Relaxed);
        let packets = if first < self.manner.crumbs { frame.len() } else { self.manner.packets };
        let length = frame.len().div_ceil(packets);
        let last = frame.len().div_ceil(length) - 1;
        let mut batch = Vec::new();
        for (place, part) in frame.chunks(length).enumerate() {
            let descriptor = [0x80 | u8::from(place == 0) << 4, 0x80, 0x80 | high, low];
            let mut write = self.packet(0, first + place as u64, captured);
            write.packet.timestamp = count.wrapping_mul(90_000 / self.manner.rate);
            write.packet.marker = place == last;
            write.packet.payload = [&descriptor, part].concat().into();
            write.packet.extensions.video_orientation = self.manner.orientation;
            batch.push(write);
        }
        self.sent.packets.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.connection.send(WriteRtpBatch(batch)).await.expect("it is connected");
    }

    async fn sound(&mut self, captured: Instant) {
        let count = self.sounds;
        self.sounds += 1;
        let sounds = &self.manner.sounds;
        let sound = &sounds[count as usize % sounds.len()];
        let mut write = self.packet(1, count.into(), captured);
        write.packet.timestamp = count.wrapping_mul(960);
        write.packet.audio_level = Some(if **sound == SILENCE { -127 } else { -20 });
        write.packet.payload = sound.clone().into();
        self.connection.send(WriteRtpBatch(vec![write])).await.expect("it is connected");
    }

    /// Returns an empty packet of picture (0) or sound (1).
    fn packet(&self, way: usize, sequence_number: u64, captured: Instant) -> WriteRtp {
        let (sender, payload_type) = self.ways[way];
        let packet = RtpPacket {
            transceiver: TransceiverId(self.connection.id().0),
            rid: None,
            payload_type,
            sequence_number,
            timestamp: 0,
            marker: false,
            at: Instant::now().into_std(),
            captured: Some(captured.into_std()),
            payload: [].into(),
            audio_level: None,
            vp8: None,
            extensions: HeaderExtensions::default(),
        };
        WriteRtp { sender, packet }
    }
}

async fn told(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Value {
    loop {
        if let Message::Text(text) = socket.next().await.expect("it is open").expect("a message") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

/// Returns the sounds of bots.
pub(crate) fn notes() -> Film {
    frames(include_bytes!("../../../examples/pages/bots/sound.ivf"))
}

/// Returns the frames of an IVF file: a header of 32 bytes, then each frame after its length and its time.
fn frames(file: &[u8]) -> Film {
    let (mut rest, mut frames) = (&file[32..], Vec::new());
    while let Some((head, body)) = rest.split_first_chunk::<12>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (frame, others) = body.split_at(length);
        frames.push(frame.to_vec());
        rest = others;
    }
    frames.into()
}

/// Packet of Opus in which nothing is heard (RFC 6716 §3.1: CELT, 20 ms, one frame).
pub(crate) const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// Time that one sound lasts.
const SOUND_LASTS: Duration = Duration::from_millis(20);
