//! Member of ours that sends a picture without a browser: turned, in many packets, or with numbers that have wrapped.

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
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::ours::Ours;

/// How a sender sends its picture, of 320 by 180 pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Frames in a second.
    pub(crate) rate: u32,
    /// Packets of each frame, as far as it has bytes for them.
    pub(crate) packets: usize,
    pub(crate) orientation: Option<VideoOrientation>,
    /// How often its numbers go on [`LEAP`] later, as after so many packets: after 10 frames each time.
    pub(crate) leaps: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self { rate: 15, packets: 1, orientation: None, leaps: 0 }
    }
}

/// Member that sends a picture. It leaves when this is dropped.
pub(crate) struct Sender {
    sent: Arc<Sent>,
    running: JoinHandle<()>,
}

/// What a member has sent.
#[derive(Debug, Default)]
struct Sent {
    frames: AtomicU64,
    /// With those that were left out.
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
        let engine = MediaEngine::of([Codec::Vp8]);
        let api = Api::with_settings(engine, InterceptorRegistry::default(), settings);
        let (connection, events) = ours.open(&api).await;
        let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "camera", "camera");
        let sending = AddTransceiver {
            direction: Direction::SendOnly,
            track: Some(track),
            ..AddTransceiver::new(TrackKind::Video)
        };
        connection.send(sending).await.unwrap().unwrap();
        let sender = connection.send(GetTransceivers).await.unwrap()[0].sender;
        let (sent, frames) = (Arc::default(), frames());
        let mut run = Run {
            manner,
            socket,
            connection,
            events,
            is_up: false,
            sender,
            payload_type: 0,
            frames,
            place: 0,
            sent: Arc::clone(&sent),
        };
        timeout(PATIENCE, run.connect()).await.expect("it connects");
        let running = tokio::spawn(async move { run.forever().await });
        Self { sent, running }
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
    sender: SenderId,
    payload_type: u8,
    frames: Vec<&'static [u8]>,
    /// Place of the next frame.
    place: usize,
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
        self.payload_type = transceivers[0].codecs[0].0;
    }

    async fn forever(&mut self) {
        let began = Instant::now();
        for leap in 1..=self.manner.leaps {
            self.send(began, 10 * leap).await;
            self.sent.packets.fetch_add(LEAP, Ordering::Relaxed);
        }
        self.send(began, u64::MAX).await;
    }

    /// Sends frames until that many were sent.
    async fn send(&mut self, began: Instant, until: u64) {
        let Manner { rate, packets, .. } = self.manner;
        let mut pace = interval(Duration::from_secs(1) / rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.sent.frames.load(Ordering::Relaxed) < until {
            tokio::select! {
                come = self.next() => self.handle(come).await,
                _ = pace.tick() => {
                    let timestamp = (began.elapsed().as_micros() * 9 / 100) as u32;
                    self.show(timestamp, packets).await;
                }
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
            Come::Event(ConnectionEvent::KeyframeRequested { .. }) => self.place = 0,
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

    /// Sends the next frame in so many packets (RFC 7741 §4.2: a picture id of 15 bits).
    async fn show(&mut self, timestamp: u32, packets: usize) {
        let frame = self.frames[self.place];
        self.place = (self.place + 1) % self.frames.len();
        let count = self.sent.frames.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = (count as u32 & 0x7fff).to_be_bytes();
        let length = frame.len().div_ceil(packets);
        let last = frame.len().div_ceil(length) - 1;
        let first = self.sent.packets.load(Ordering::Relaxed);
        let mut extensions = HeaderExtensions::default();
        extensions.video_orientation = self.manner.orientation;
        let mut batch = Vec::new();
        for (place, part) in frame.chunks(length).enumerate() {
            let descriptor = [0x80 | u8::from(place == 0) << 4, 0x80, 0x80 | high, low];
            let packet = RtpPacket {
                transceiver: TransceiverId(self.connection.id().0),
                rid: None,
                payload_type: self.payload_type,
                sequence_number: first + place as u64,
                timestamp,
                marker: place == last,
                at: Instant::now().into_std(),
                captured: None,
                payload: [&descriptor, part].concat().into(),
                audio_level: None,
                vp8: None,
                extensions: extensions.clone(),
            };
            batch.push(WriteRtp { sender: self.sender, packet });
        }
        self.sent.packets.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.connection.send(WriteRtpBatch(batch)).await.expect("it is connected");
    }
}

async fn told(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Value {
    loop {
        if let Message::Text(text) = socket.next().await.expect("it is open").expect("a message") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

/// Returns the frames of an IVF file: a header of 32 bytes, then each frame after its length and its time.
fn frames() -> Vec<&'static [u8]> {
    let mut rest = &include_bytes!("../../../examples/pages/bots/picture.ivf")[32..];
    let mut frames = Vec::new();
    while let Some((head, body)) = rest.split_first_chunk::<12>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (frame, others) = body.split_at(length);
        frames.push(frame);
        rest = others;
    }
    frames
}

/// Numbers that are left out in a leap: not so many that a receiver could miss a wrap (RFC 3711 §3.3.1).
pub(crate) const LEAP: u64 = 28_000;
