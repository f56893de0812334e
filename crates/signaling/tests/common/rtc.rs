//! A client with a WebSocket and a peer connection, which talks to the server like a browser.

use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_signaling::WebRtc;
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::{Client, Server};

/// Creates a pool of peer connections over loopback.
pub(crate) async fn pool() -> PeerConnections {
    let interfaces = InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback());
    let options = PeerConnectionsOptions {
        media_threads: 1,
        handshake_threads: 0,
        sockets: UdpMuxOptions { interfaces, ..UdpMuxOptions::default() },
        ..PeerConnectionsOptions::default()
    };
    PeerConnections::start(options).await.expect("a port")
}

pub(crate) async fn webrtc() -> WebRtc {
    WebRtc::new(pool().await)
}

struct Listener(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        _ = self.0.send(event.event);
    }
}

/// What comes to a client from its server.
enum Come {
    Frame(Frame),
    /// The end of the WebSocket.
    End,
    Event(ConnectionEvent),
}

pub(crate) struct RtcClient {
    pub(crate) ws: Client,
    /// Resume token.
    pub(crate) token: Option<String>,
    pub(crate) connection: PeerConnectionHandle,
    events: mpsc::UnboundedReceiver<ConnectionEvent>,
    /// A pool with a port of its own: two connections between the same two ports cannot be told apart.
    pool: PeerConnections,
    /// Message size that the client assumes the server to accept, in bytes, regardless of its answers.
    pub(crate) believes: Option<u32>,
    /// Whether it ignores the server's offers, like clients that do not know them.
    pub(crate) ignores_offers: bool,
    /// Messages of the server over the WebSocket.
    pub(crate) heard: Vec<Value>,
    /// Events of the peer connection.
    pub(crate) told: Vec<ConnectionEvent>,
}

impl RtcClient {
    /// Connects a client that has joined and not offered yet.
    pub(crate) async fn join(server: &Server) -> Self {
        let (ws, data) = server.enter().await;
        let token = data["resume"]["token"].as_str().map(str::to_owned);
        let pool = pool().await;
        let (connection, events) = connection(&pool).await;
        let (believes, ignores_offers, heard, told) = Default::default();
        Self { ws, token, connection, events, pool, believes, ignores_offers, heard, told }
    }

    /// Loses the WebSocket's connection without a close.
    pub(crate) async fn cut(&mut self) {
        self.ws.socket.get_mut().shutdown().await.expect("an open connection");
    }

    /// Continues with another WebSocket.
    pub(crate) fn come_back(&mut self, ws: Client) {
        self.ws = ws;
        self.heard.retain(|heard| heard["event"] != "gone");
    }

    /// Replaces the peer connection by a new one, like a page that is reloaded.
    pub(crate) async fn renew(&mut self) {
        self.connection.close().await;
        (self.connection, self.events) = connection(&self.pool).await;
        self.told.clear();
        self.heard.clear();
    }

    /// Creates and offers a channel; completes when it is open.
    pub(crate) async fn open(&mut self, label: &str) -> DataChannelId {
        let channel = self.channel(label).await;
        self.offer().await;
        self.opened(channel).await;
        channel
    }

    pub(crate) async fn channel(&mut self, label: &str) -> DataChannelId {
        self.connection
            .send(CreateDataChannel::new(label))
            .await
            .expect("it runs")
            .expect("a channel")
    }

    pub(crate) async fn opened(&mut self, channel: DataChannelId) {
        self.until("open channel", |this| {
            this.told.iter().any(
                |event| matches!(event, ConnectionEvent::DataChannelOpened(id) if *id == channel),
            )
        })
        .await;
    }

    pub(crate) async fn offer(&mut self) {
        let offer = self.local_description().await;
        self.ws.send(json!({ "event": "webrtc:offer", "data": offer })).await;
    }

    /// Returns an offer that has not been sent, or the answer to one.
    pub(crate) async fn local_description(&self) -> Value {
        self.connection.send(SetLocalDescription(None)).await.expect("it runs").expect("made");
        json!(self.connection.send(LocalDescription).await.expect("it runs"))
    }

    /// Answers an offer of the server, unless the client has an offer of its own open: then the server gives way.
    pub(crate) async fn take_offer(&mut self, offer: Value) {
        let state = self.connection.send(GetSignalingState).await.expect("it runs");
        if state != SignalingState::Stable {
            return;
        }
        let offer = serde_json::from_value(offer).expect("an offer");
        self.connection.send(SetRemoteDescription(offer)).await.expect("it runs").expect("taken");
        let answer = self.local_description().await;
        self.ws.send(json!({ "event": "webrtc:answer", "data": answer })).await;
    }

    pub(crate) async fn say(&self, channel: DataChannelId, text: &str) {
        self.connection.send(SendData::text(channel, text)).await.expect("it runs").expect("sent");
    }

    /// Sends a picture that needs no other one, with this text in it.
    pub(crate) async fn show(&self, sender: SenderId, text: &str) {
        let header = [0x10, 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0];
        let data = [&header[..], text.as_bytes()].concat();
        let sample = Sample::new(data, Duration::from_millis(33));
        let written = self.connection.send(WriteSample { sender, sample }).await;
        written.expect("it runs").expect("written");
    }

    /// Returns whether a picture with this text has arrived.
    pub(crate) fn sees(&self, text: &str) -> bool {
        self.told.iter().any(|event| match event {
            ConnectionEvent::Sample(sample) => sample.data.ends_with(text.as_bytes()),
            _ => false,
        })
    }

    /// Returns the texts that have arrived on a channel.
    pub(crate) fn texts(&self, on: DataChannelId) -> impl Iterator<Item = &str> {
        self.told.iter().filter_map(move |event| match event {
            ConnectionEvent::DataChannelMessage {
                channel,
                message: DataChannelMessage::Text(text),
            } if *channel == on => Some(text.as_str()),
            _ => None,
        })
    }

    /// Returns whether a text with this part has arrived on any channel.
    pub(crate) fn texts_any(&self, part: &str) -> bool {
        self.told.iter().any(|event| match event {
            ConnectionEvent::DataChannelMessage { message, .. } => {
                String::from_utf8_lossy(message.as_bytes()).contains(part)
            }
            _ => false,
        })
    }

    /// Returns the data of the events with this name that have arrived over the WebSocket.
    pub(crate) fn events<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Value> {
        self.heard.iter().filter(move |heard| heard["event"] == event).map(|heard| &heard["data"])
    }

    pub(crate) fn in_state(&self, state: &str) -> bool {
        self.events("webrtc:state").any(|data| data["state"] == state)
    }

    /// Returns whether the server has reported this failure.
    pub(crate) fn failed(&self, event: &str, error: &str) -> bool {
        self.events("error").any(|data| {
            data["description"] == "WebRTC failed"
                && data["details"]["event"] == event
                && data["details"]["error"] == error
        })
    }

    /// Passes on messages between client and server until this holds.
    #[track_caller]
    pub(crate) fn until<'a>(
        &'a mut self,
        what: &'a str,
        done: impl Fn(&Self) -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let carry = async {
                while !done(self) {
                    self.carry().await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(60), carry).await.is_err() {
                panic!("{place}: no {what}: {:#?} {:#?}", self.heard, self.told);
            }
        }
    }

    /// Passes on what has come, without waiting for more.
    pub(crate) async fn take(&mut self) {
        while let Some(come) = futures_util::FutureExt::now_or_never(self.next()) {
            self.pass_on(come).await;
        }
    }

    async fn carry(&mut self) {
        let come = self.next().await;
        self.pass_on(come).await;
    }

    /// Returns what comes next; nothing is lost if it is dropped before.
    async fn next(&mut self) -> Come {
        let gone = self.events("gone").next().is_some();
        tokio::select! {
            frame = self.ws.socket.next(), if !gone => match frame {
                Some(Ok(frame)) => Come::Frame(frame),
                Some(Err(_)) | None => Come::End,
            },
            Some(event) = self.events.recv() => Come::Event(event),
        }
    }

    async fn pass_on(&mut self, come: Come) {
        match come {
            Come::Frame(Frame::Text(text)) => {
                self.hear(serde_json::from_str(&text).expect("JSON")).await;
            }
            Come::Frame(Frame::Close(close)) => {
                let close = format!("{close:?}");
                self.heard.push(json!({ "event": "closed", "data": close }));
            }
            Come::Frame(_) => {}
            Come::End => self.heard.push(json!({ "event": "gone" })),
            Come::Event(event) => {
                if let ConnectionEvent::IceCandidate(candidate) = &event {
                    self.ws.send(json!({ "event": "webrtc:ice", "data": candidate })).await;
                }
                self.told.push(event);
            }
        }
    }

    async fn hear(&mut self, heard: Value) {
        match heard["event"].as_str() {
            Some("webrtc:answer") => {
                let mut data = heard["data"].clone();
                if let Some(bytes) = self.believes {
                    let sdp = data["sdp"].as_str().expect("text").lines().map(|line| {
                        match line.split_once("max-message-size:") {
                            Some((start, _)) => format!("{start}max-message-size:{bytes}\r\n"),
                            None => format!("{line}\r\n"),
                        }
                    });
                    data["sdp"] = sdp.collect::<String>().into();
                }
                let answer = serde_json::from_value(data).expect("an answer");
                // One that was closed meanwhile accepts none.
                _ = self.connection.send(SetRemoteDescription(answer)).await;
            }
            Some("webrtc:offer") if !self.ignores_offers => {
                self.take_offer(heard["data"].clone()).await;
            }
            Some("webrtc:ice") => {
                let candidate = serde_json::from_value(heard["data"].clone()).expect("a candidate");
                _ = self.connection.send(AddIceCandidate(candidate)).await;
            }
            _ => {}
        }
        self.heard.push(heard);
    }
}

async fn connection(
    pool: &PeerConnections,
) -> (PeerConnectionHandle, mpsc::UnboundedReceiver<ConnectionEvent>) {
    let (tell, events) = mpsc::unbounded_channel();
    let owner = Listener(tell).start();
    // Large enough for messages that the server does not accept.
    let api = Api::default().max_message_size(1 << 20);
    let connection =
        pool.open(&api, Configuration::default(), owner.recipient()).await.expect("a connection");
    (connection, events)
}
