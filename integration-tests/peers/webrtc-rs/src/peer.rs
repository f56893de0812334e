//! The connection, and what it is told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::sdp::RTCSessionDescription;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::*;
use webrtc::rtp_transceiver::RtpSender;
use webrtc::runtime::default_runtime;

use crate::media::{self, Frames};
use crate::tell;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The connection of the day, and everything around it.
#[derive(Default)]
pub(crate) struct Peer {
    now: Mutex<Option<Arc<Session>>>,
}

/// One connection.
struct Session {
    connection: Arc<dyn PeerConnection>,
    shared: Arc<Shared>,
    senders: Mutex<Vec<(Arc<dyn RtpSender>, media::Source)>>,
}

/// What its events change.
pub(crate) struct Shared {
    channels: Mutex<HashMap<String, Arc<Channel>>>,
    pub(crate) frames: Frames,
    echoes: AtomicBool,
    perfect: Mutex<Option<bool>>,
    /// Set once it has been built.
    connection: Mutex<Option<Arc<dyn PeerConnection>>>,
    /// One negotiation at a time.
    negotiating: Semaphore,
}

struct Channel {
    channel: Arc<dyn DataChannel>,
    tally: Mutex<Tally>,
    came: Notify,
}

#[derive(Clone, Default)]
struct Tally {
    messages: u64,
    bytes: u64,
    out_of_order: bool,
    last: Value,
}

impl Peer {
    pub(crate) async fn execute(&self, command: &Value) -> Result<Value> {
        let text = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
        if command["do"] == "new" {
            let old = self.now.lock().unwrap().take();
            if let Some(old) = old {
                old.connection.close().await?;
            }
            *self.now.lock().unwrap() = Some(Arc::new(Session::new().await?));
            return Ok(Value::Null);
        }
        let session = self.now.lock().unwrap().clone().ok_or("there is no connection")?;
        let connection = &session.connection;
        match command["do"].as_str().unwrap_or_default() {
            "offer" => {
                if command["restart"] == true {
                    connection.restart_ice().await?;
                }
                let offer = connection.create_offer(None).await?;
                connection.set_local_description(offer).await?;
                session.description().await
            }
            "answer" => {
                let answer = connection.create_answer(None).await?;
                connection.set_local_description(answer).await?;
                session.description().await
            }
            "remote" => {
                let description: RTCSessionDescription =
                    serde_json::from_value(command["description"].clone())?;
                connection.set_remote_description(description).await?;
                Ok(Value::Null)
            }
            "candidate" => {
                if let Some(candidate) = command.get("candidate").filter(|one| !one.is_null()) {
                    connection
                        .add_ice_candidate(serde_json::from_value(candidate.clone())?)
                        .await?;
                }
                Ok(Value::Null)
            }
            "channel" => session.create_channel(&text("label"), &command["options"]).await,
            "echo" => {
                session.shared.echoes.store(true, Ordering::Relaxed);
                Ok(Value::Null)
            }
            "send" => session.send(&text("label"), command).await,
            "received" => Ok(session.channel(&text("label"))?.tally()),
            "expect" => {
                let channel = session.channel(&text("label"))?;
                let wanted = command["messages"].as_u64().unwrap_or_default();
                loop {
                    let came = channel.came.notified();
                    if channel.tally.lock().unwrap().messages >= wanted {
                        return Ok(channel.tally());
                    }
                    came.await;
                }
            }
            "media" => {
                let (sender, source) = media::send(connection, &text("kind")).await?;
                let mut senders = session.senders.lock().unwrap();
                senders.push((sender, source));
                Ok(json!({ "sender": senders.len() - 1 }))
            }
            "unmedia" => {
                let at = command["sender"].as_u64().unwrap_or_default() as usize;
                let (sender, source) = session.senders.lock().unwrap().remove(at);
                drop(source);
                connection.remove_track(&sender).await?;
                Ok(Value::Null)
            }
            "decoded" => Ok(json!(session.shared.frames.count(&text("kind")))),
            "transport" => Ok(json!({ "dtlsVersion": null, "srtpCipher": null, "state": null })),
            "perfect" => {
                *session.shared.perfect.lock().unwrap() = Some(command["polite"] == true);
                Ok(Value::Null)
            }
            "signal" => session.signal(command).await,
            "state" => Ok(json!({ "signaling": session.signaling().await })),
            "close" => {
                connection.close().await?;
                Ok(Value::Null)
            }
            other => Err(format!("no command {other}").into()),
        }
    }
}

impl Session {
    async fn new() -> Result<Self> {
        let mut media_engine = MediaEngine::default();
        media_engine.register_default_codecs()?;
        let registry = register_default_interceptors(Registry::new(), &mut media_engine)?;
        let shared = Arc::new(Shared {
            channels: Mutex::default(),
            frames: Frames::default(),
            echoes: AtomicBool::new(false),
            perfect: Mutex::default(),
            connection: Mutex::default(),
            negotiating: Semaphore::new(1),
        });
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media_engine)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Handler(Arc::clone(&shared))))
            .with_runtime(default_runtime().ok_or("no runtime")?)
            // The address of every test's network.
            .with_udp_addrs(vec!["10.99.0.1:0".to_owned()])
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        *shared.connection.lock().unwrap() = Some(Arc::clone(&connection));
        Ok(Self { connection, shared, senders: Mutex::default() })
    }

    async fn description(&self) -> Result<Value> {
        let description = self.connection.local_description().await.ok_or("no description")?;
        Ok(serde_json::to_value(description)?)
    }

    fn channel(&self, label: &str) -> Result<Arc<Channel>> {
        let channel = self.shared.channels.lock().unwrap().get(label).cloned();
        channel.ok_or_else(|| format!("no channel {label}").into())
    }

    async fn create_channel(&self, label: &str, options: &Value) -> Result<Value> {
        let number =
            |name: &str| options[name].as_u64().and_then(|number| u16::try_from(number).ok());
        let init = RTCDataChannelInit {
            ordered: options["ordered"].as_bool().unwrap_or(true),
            max_retransmits: number("maxRetransmits"),
            max_packet_life_time: number("maxPacketLifeTime"),
            protocol: options["protocol"].as_str().unwrap_or_default().to_owned(),
            ..RTCDataChannelInit::default()
        };
        let channel = self.connection.create_data_channel(label, Some(init)).await?;
        self.shared.adopt(label.to_owned(), channel);
        Ok(Value::Null)
    }

    async fn send(&self, label: &str, command: &Value) -> Result<Value> {
        let channel = self.channel(label)?;
        if let Some(text) = command["text"].as_str() {
            channel.channel.send_text(text).await?;
            return Ok(Value::Null);
        }
        let length = command["bytes"].as_u64().unwrap_or_default() as usize;
        for number in 0..command["count"].as_u64().unwrap_or(1) as u32 {
            let mut bytes: BytesMut =
                (0..length).map(|at| (at as u32 * 7 + number) as u8).collect();
            if length >= 4 {
                bytes[..4].copy_from_slice(&number.to_be_bytes());
            }
            // It waits by itself while too much is on its way.
            channel.channel.send(bytes).await?;
        }
        Ok(Value::Null)
    }

    async fn signaling(&self) -> String {
        match (
            self.connection.pending_local_description().await,
            self.connection.pending_remote_description().await,
        ) {
            (None, None) => "stable".to_owned(),
            _ => "not stable".to_owned(),
        }
    }

    /// Perfect negotiation (W3C §10.7).
    async fn signal(&self, command: &Value) -> Result<Value> {
        let polite = self.shared.perfect.lock().unwrap().ok_or("perfect negotiation is not on")?;
        if let Some(description) = command.get("description").filter(|one| !one.is_null()) {
            let offers = description["type"] == "offer";
            let _turn = self.shared.negotiating.acquire().await;
            if offers && self.signaling().await != "stable" {
                if !polite {
                    return Ok(Value::Null);
                }
                // It takes no offer of its own back by itself.
                self.connection
                    .set_local_description(RTCSessionDescription::rollback(None)?)
                    .await?;
            }
            let description: RTCSessionDescription = serde_json::from_value(description.clone())?;
            self.connection.set_remote_description(description).await?;
            if offers {
                let answer = self.connection.create_answer(None).await?;
                self.connection.set_local_description(answer).await?;
                tell(json!({ "event": "description", "description": self.description().await? }));
            }
        } else if let Some(candidate) = command.get("candidate").filter(|one| !one.is_null()) {
            // Those of an offer that was ignored fit no description.
            _ = self.connection.add_ice_candidate(serde_json::from_value(candidate.clone())?).await;
        }
        Ok(Value::Null)
    }
}

impl Shared {
    fn adopt(self: &Arc<Self>, label: String, channel: Arc<dyn DataChannel>) {
        let adopted = Arc::new(Channel { channel, tally: Mutex::default(), came: Notify::new() });
        self.channels.lock().unwrap().insert(label.clone(), Arc::clone(&adopted));
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(event) = adopted.channel.poll().await {
                match event {
                    DataChannelEvent::OnOpen => tell(json!({ "event": "open", "label": label })),
                    DataChannelEvent::OnClose => tell(json!({ "event": "closed", "label": label })),
                    DataChannelEvent::OnMessage(message) => {
                        adopted.heard(&message.data, message.is_string);
                        if shared.echoes.load(Ordering::Relaxed) {
                            let sent = match message.is_string {
                                true => {
                                    adopted
                                        .channel
                                        .send_text(&String::from_utf8_lossy(&message.data))
                                        .await
                                }
                                false => adopted.channel.send(message.data).await,
                            };
                            if let Err(error) = sent {
                                tell(json!({ "event": "trouble", "text": error.to_string() }));
                            }
                        }
                    }
                    _ => {}
                }
            }
        });
    }
}

impl Channel {
    fn heard(&self, data: &[u8], is_text: bool) {
        let mut tally = self.tally.lock().unwrap();
        tally.last = if is_text {
            json!({ "text": String::from_utf8_lossy(data) })
        } else {
            let number = data.first_chunk().map(|number| u64::from(u32::from_be_bytes(*number)));
            tally.out_of_order |= number.is_some_and(|number| number != tally.messages);
            json!({ "bytes": data.len(), "sum": data.iter().fold(0_u32, |sum, byte| sum.wrapping_add((*byte).into())) })
        };
        tally.messages += 1;
        tally.bytes += data.len() as u64;
        drop(tally);
        self.came.notify_waiters();
    }

    fn tally(&self) -> Value {
        let Tally { messages, bytes, out_of_order, last } = self.tally.lock().unwrap().clone();
        json!({ "messages": messages, "bytes": bytes, "inOrder": !out_of_order, "last": last })
    }
}

struct Handler(Arc<Shared>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(candidate) => tell(json!({ "event": "candidate", "candidate": candidate })),
            Err(error) => tell(json!({ "event": "trouble", "text": error.to_string() })),
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        tell(json!({ "event": "connection", "state": state.to_string() }));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let label = channel.label().await.unwrap_or_default();
        let protocol = channel.protocol().await.unwrap_or_default();
        let ordered = channel.ordered().await.unwrap_or_default();
        tell(
            json!({ "event": "channel", "label": label, "protocol": protocol, "ordered": ordered, "negotiated": false }),
        );
        self.0.adopt(label, channel);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tell(json!({ "event": "track", "kind": track.kind().await.to_string() }));
        media::watch(Arc::clone(&self.0), track);
    }

    async fn on_negotiation_needed(&self) {
        if self.0.perfect.lock().unwrap().is_none() {
            return;
        }
        let shared = Arc::clone(&self.0);
        let Some(connection) = shared.connection.lock().unwrap().clone() else { return };
        // Not here: this runs on the connection's own driver.
        tokio::spawn(async move {
            let _turn = shared.negotiating.acquire().await;
            if connection.pending_local_description().await.is_some() {
                return;
            }
            let offered = async {
                let offer = connection.create_offer(None).await?;
                connection.set_local_description(offer).await
            };
            let offered = offered.await;
            match offered {
                Ok(()) => {
                    let description = connection.local_description().await;
                    tell(json!({ "event": "description", "description": description }));
                }
                Err(error) => tell(json!({ "event": "trouble", "text": error.to_string() })),
            }
        });
    }
}
