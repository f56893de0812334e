//! Task of a client's peer connection: opens it, negotiates, and replaces it when it is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::{
    AcceptOffer, AddIceCandidate, CreateDataChannel, GetSignalingState, LocalDescription,
    MakeOffer, SetRemoteDescription,
};
use callboard_peer_connection::{
    Api, ConnectionEvent, DataChannelId, DataChannelMessage, IceCandidate, PeerConnectionEvent,
    PeerConnectionHandle, PeerConnectionState, PeerConnections, SessionDescription, SignalingState,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::WebRtcOptions;
use crate::core::Signal;
use crate::event::{ChannelData, ClientEvent};
use crate::failure_counter::FailureCounter;
use crate::shared::Shared;

/// Runs a client's peer connection until it is closed.
pub(super) async fn run(
    shared: Arc<Shared>,
    number: u64,
    options: WebRtcOptions,
    delays: (Duration, Duration),
    signals: mpsc::Receiver<Signal>,
) {
    let pool = match PeerConnections::start(options.pool.clone()).await {
        Ok(pool) => pool,
        Err(error) => {
            let cause = error.to_string();
            shared.links().end(number);
            return shared.tell(ClientEvent::PeerConnectionGaveUp { cause }).await;
        }
    };
    let mut task = Task {
        session: 0,
        shared,
        number,
        options,
        delays,
        signals,
        pool,
        current: None,
        reopen_at: Some(Instant::now()),
        deadline: None,
        failed: 0,
        same: 0,
        reopened: FailureCounter::new(MAX_REOPENED, MEMORY),
        connected_at: None,
    };
    let closed = task.run().await;
    task.drop_connection().await;
    task.pool.stop().await;
    if closed {
        task.tell_state(PeerConnectionState::Closed, None).await;
    }
    task.shared.links().end(number);
}

struct Task {
    shared: Arc<Shared>,
    number: u64,
    /// Number of the client's session that `current` was opened for.
    session: u64,
    options: WebRtcOptions,
    /// Longest delay before the first replacement, and before any.
    delays: (Duration, Duration),
    signals: mpsc::Receiver<Signal>,
    pool: PeerConnections,
    current: Option<Current>,
    reopen_at: Option<Instant>,
    /// Time by which the offer must be answered, or the connection be up.
    deadline: Option<Instant>,
    /// Connections in a row that failed.
    failed: u32,
    /// Failures in a row that the same offer would repeat.
    same: usize,
    reopened: FailureCounter,
    connected_at: Option<Instant>,
}

/// The connection of the moment.
struct Current {
    connection: PeerConnectionHandle,
    events: mpsc::Receiver<ConnectionEvent>,
    labels: HashMap<DataChannelId, String>,
    /// Whether its first offer was sent.
    has_offered: bool,
    /// Whether the server has answered it: earlier messages are about the previous one.
    is_answered: bool,
    /// Candidates that came before their description.
    early: Vec<Option<IceCandidate>>,
}

impl Task {
    /// Runs until the connection is closed for good; returns false if it was given up.
    async fn run(&mut self) -> bool {
        loop {
            let (deadline, reopen_at) = (self.deadline, self.reopen_at);
            let goes_on = tokio::select! {
                signal = self.signals.recv() => match signal {
                    Some(signal) => self.handle_signal(signal).await,
                    None => return true,
                },
                event = next_event(&mut self.current) => self.handle_event(event).await,
                () = until(deadline) => self.reopen(None).await,
                () = until(reopen_at) => self.open().await,
            };
            match goes_on {
                Ok(()) => {}
                Err(End::Disabled) => return true,
                Err(End::GaveUp(cause)) => {
                    self.drop_connection().await;
                    self.tell_state(PeerConnectionState::Failed, None).await;
                    // The application may open another as soon as it hears of this.
                    self.shared.links().end(self.number);
                    self.shared.tell(ClientEvent::PeerConnectionGaveUp { cause }).await;
                    return false;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), End> {
        self.reopen_at = None;
        self.tell_state(PeerConnectionState::New, None).await;
        self.session = self.present_session();
        match self.connect().await {
            Some(current) => {
                self.current = Some(current);
                self.offer().await;
                Ok(())
            }
            None => self.reopen(None).await,
        }
    }

    /// Creates a connection with its channels, and its offer.
    async fn connect(&self) -> Option<Current> {
        let (tell, events) = mpsc::channel(MAX_EVENTS);
        let owner = Owner(tell).start().recipient();
        let configuration = self.options.configuration.clone();
        let connection = self.pool.open(&Api::default(), configuration, owner).await.ok()?;
        let mut labels = HashMap::new();
        for (label, options) in &self.options.channels {
            let channel = CreateDataChannel { label: label.clone(), options: options.clone() };
            labels.insert(connection.send(channel).await.ok()?.ok()?, label.clone());
        }
        connection.send(MakeOffer).await.ok()?.ok()?;
        let (has_offered, is_answered, early) = (false, false, Vec::new());
        Some(Current { connection, events, labels, has_offered, is_answered, early })
    }

    /// Sends the first offer, if the client is in the room.
    async fn offer(&mut self) {
        let Some(current) = self.current.as_mut().filter(|current| !current.has_offered) else {
            return;
        };
        // It holds the candidates that were found before.
        let Ok(Some(offer)) = current.connection.send(LocalDescription).await else { return };
        let (session, data) = (self.session, json!(offer));
        current.has_offered = self.shared.with(|core| core.signal(session, "webrtc:offer", &data));
        if current.has_offered {
            self.deadline = Some(Instant::now() + ANSWER_TIME);
        } else if self.present_session() != session {
            // Two offers in one session would be answered twice, and the first answer be taken for that to the second.
            self.renew().await;
        }
    }

    /// Replaces the connection at once: the server of this session does not know it.
    async fn renew(&mut self) {
        self.drop_connection().await;
        self.reopen_at = Some(Instant::now());
    }

    /// Returns the number of the client's session, which the task may not have been told of yet.
    fn present_session(&self) -> u64 {
        self.shared.core(|core| core.session_number())
    }

    async fn handle_signal(&mut self, signal: Signal) -> Result<(), End> {
        match signal {
            Signal::Resumed => self.offer().await,
            // The connection was opened for it.
            Signal::NewSession(number) if number <= self.session => {}
            Signal::NewSession(_) => self.renew().await,
            Signal::Refused { event, error } => return self.handle_refusal(&event, &error).await,
            Signal::Event { event, data } => match event.as_str() {
                "webrtc:answer" => return self.handle_answer(data).await,
                "webrtc:offer" => return self.handle_offer(data).await,
                "webrtc:ice" => self.handle_candidate(data).await,
                "webrtc:state" => {
                    let is_over = matches!(data["state"].as_str(), Some("failed" | "closed"));
                    if is_over && self.is_answered() {
                        return self.reopen(data["reason"].as_str().map(str::to_owned)).await;
                    }
                }
                _ => {}
            },
        }
        Ok(())
    }

    async fn handle_refusal(&mut self, event: &str, error: &str) -> Result<(), End> {
        let is_open = self.current.is_some();
        match (event, error) {
            (_, "webrtc_disabled") => Err(End::Disabled),
            ("webrtc:offer", _) if is_open && !self.is_answered() => {
                // The next offer would fail in the same way.
                self.same += usize::from(error == "bad_description");
                if self.same > REPEATS {
                    return Err(End::GaveUp(error.to_owned()));
                }
                self.reopen(None).await
            }
            (_, "no_webrtc_session") if self.is_answered() => self.reopen(None).await,
            ("webrtc:answer", error) if error != "timeout" && self.is_answered() => {
                self.reopen(None).await
            }
            _ => Ok(()),
        }
    }

    async fn handle_answer(&mut self, data: Value) -> Result<(), End> {
        let Some(current) = self.current.as_mut().filter(|current| !current.is_answered) else {
            return Ok(());
        };
        let Some(answer) = read::<SessionDescription>(data) else { return self.reopen(None).await };
        match current.connection.send(SetRemoteDescription(answer)).await {
            Ok(Ok(())) => {}
            _ => return self.reopen(None).await,
        }
        current.is_answered = true;
        for candidate in std::mem::take(&mut current.early) {
            _ = current.connection.send(AddIceCandidate(candidate)).await;
        }
        self.same = 0;
        self.deadline = Some(Instant::now() + CONNECT_TIME);
        Ok(())
    }

    /// Answers an offer of the server, which has changed its side.
    async fn handle_offer(&mut self, data: Value) -> Result<(), End> {
        let Some(current) = self.current.as_ref().filter(|current| current.is_answered) else {
            return Ok(());
        };
        let state = current.connection.send(GetSignalingState).await;
        if !matches!(state, Ok(SignalingState::Stable)) {
            return Ok(());
        }
        let Some(offer) = read::<SessionDescription>(data) else { return self.reopen(None).await };
        let accepted = match current.connection.send(AcceptOffer(offer)).await {
            Ok(Ok(accepted)) => accepted,
            _ => return self.reopen(None).await,
        };
        match self.signal("webrtc:answer", &json!(accepted.answer)) {
            true => Ok(()),
            false => self.reopen(None).await,
        }
    }

    async fn handle_candidate(&mut self, data: Value) {
        let Some(current) = &mut self.current else { return };
        let Some(candidate) = read::<Option<IceCandidate>>(data) else { return };
        if current.is_answered {
            // One that does not fit belongs to the previous connection.
            _ = current.connection.send(AddIceCandidate(candidate)).await;
        } else if current.early.len() < MAX_EARLY {
            current.early.push(candidate);
        }
    }

    async fn handle_event(&mut self, event: ConnectionEvent) -> Result<(), End> {
        match event {
            // An offer holds all candidates that were found before it.
            ConnectionEvent::IceCandidate(candidate) if self.has_offered() => {
                self.signal("webrtc:ice", &json!(candidate));
            }
            ConnectionEvent::ConnectionStateChange(state) => {
                if state == PeerConnectionState::Connected {
                    self.deadline = None;
                    self.connected_at = Some(Instant::now());
                }
                self.tell_state(state, None).await;
            }
            ConnectionEvent::DataChannelAdded(info) => {
                self.channel_opened(info.id, Some(info.label.clone())).await;
            }
            ConnectionEvent::DataChannelOpened(id) => self.channel_opened(id, None).await,
            ConnectionEvent::DataChannelClosed(id) => {
                let label = self.current.as_mut().and_then(|current| current.labels.remove(&id));
                if let Some(label) = label {
                    self.channel_closed(label).await;
                }
            }
            ConnectionEvent::DataChannelMessage { channel, message } => {
                self.received(channel, message).await;
            }
            ConnectionEvent::Failed(reason) => return self.reopen(Some(reason.to_string())).await,
            ConnectionEvent::Closed(reason) => return self.reopen(Some(reason.to_string())).await,
            _ => {}
        }
        Ok(())
    }

    async fn channel_opened(&mut self, id: DataChannelId, label: Option<String>) {
        let Some(current) = &mut self.current else { return };
        if let Some(label) = label {
            if current.labels.len() >= MAX_CHANNELS {
                return;
            }
            current.labels.insert(id, label);
        }
        let Some(label) = current.labels.get(&id).cloned() else { return };
        let channel = (current.connection.clone(), id);
        self.shared.open_channel_of(self.number, &label, channel);
        self.shared.tell(ClientEvent::ChannelOpened { channel: label }).await;
    }

    async fn channel_closed(&self, label: String) {
        if self.shared.close_channel_of(self.number, &label) {
            self.shared.tell(ClientEvent::ChannelClosed { channel: label }).await;
        }
    }

    async fn received(&self, channel: DataChannelId, message: DataChannelMessage) {
        let label = self.current.as_ref().and_then(|current| current.labels.get(&channel));
        let Some(channel) = label.cloned() else { return };
        let data = match message {
            DataChannelMessage::Text(text) => {
                if channel == EVENTS && self.shared.with(|core| core.handle_channel_text(&text)) {
                    return;
                }
                ChannelData::Text(text)
            }
            DataChannelMessage::Binary(bytes) => ChannelData::Binary(bytes.into()),
        };
        self.shared.tell(ClientEvent::Data { channel, data }).await;
    }

    /// Starts a new connection after a delay, unless that has been done too often.
    async fn reopen(&mut self, reason: Option<String>) -> Result<(), End> {
        if self.reopened.add(Instant::now().into_std()) {
            return Err(End::GaveUp("no connection lasts".to_owned()));
        }
        if self.connected_at.take().is_some_and(|at| at.elapsed() >= STABLE) {
            self.failed = 0;
        }
        self.drop_connection().await;
        let (first, longest) = self.delays;
        let most = first.saturating_mul(2_u32.saturating_pow(self.failed)).min(longest);
        self.reopen_at = Some(Instant::now() + most.mul_f64(fastrand::f64()));
        self.failed = self.failed.saturating_add(1);
        if let Some(reason) = reason {
            self.tell_state(PeerConnectionState::Failed, Some(reason)).await;
        }
        Ok(())
    }

    async fn drop_connection(&mut self) {
        (self.deadline, self.reopen_at) = (None, None);
        let Some(current) = self.current.take() else { return };
        for label in current.labels.into_values() {
            self.channel_closed(label).await;
        }
        // Its last events go nowhere.
        drop(current.events);
        current.connection.close().await;
    }

    /// Sends an event of the connection's session; returns whether that is possible.
    fn signal(&self, event: &str, data: &Value) -> bool {
        self.shared.with(|core| core.signal(self.session, event, data))
    }

    async fn tell_state(&self, state: PeerConnectionState, reason: Option<String>) {
        self.shared.tell(ClientEvent::PeerConnection { state, reason }).await;
    }

    fn has_offered(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.has_offered)
    }

    fn is_answered(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.is_answered)
    }
}

/// Why no connection is opened any more.
enum End {
    /// The server has none.
    Disabled,
    GaveUp(String),
}

/// Owner of a connection, which passes its events on.
struct Owner(mpsc::Sender<ConnectionEvent>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, context: &mut Context<Self>) {
        let is_last = matches!(event.event, ConnectionEvent::Closed(_));
        let tell = self.0.clone();
        // Backpressure: nothing more is taken from the connection until there is room.
        let telling = async move { tell.send(event.event).await.is_err() };
        context.wait(telling.into_actor(self).map(move |gone, _, context| {
            if gone || is_last {
                context.stop();
            }
        }));
    }
}

/// Returns the next event of the connection, if there is one.
async fn next_event(current: &mut Option<Current>) -> ConnectionEvent {
    if let Some(current) = current
        && let Some(event) = current.events.recv().await
    {
        return event;
    }
    std::future::pending().await
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn read<T: DeserializeOwned>(data: Value) -> Option<T> {
    serde_json::from_value(data).ok()
}

/// Label of the data channel for calls.
const EVENTS: &str = "events";
/// Events that wait for the task; then the connection waits.
const MAX_EVENTS: usize = 256;
/// Number of candidates that may wait for a description.
const MAX_EARLY: usize = 64;
/// Number of data channels, those of the server among them.
const MAX_CHANNELS: usize = 256;
/// Time limit of an answer to an offer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Time limit of ICE and DTLS.
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// Time after which a connection does not count as failed.
const STABLE: Duration = Duration::from_secs(5);
/// Number of retries of an offer that fails in the same way.
const REPEATS: usize = 2;
/// Number of times that a lost peer connection is replaced within [`MEMORY`].
const MAX_REOPENED: usize = 12;
/// How long a failure is remembered.
const MEMORY: Duration = Duration::from_secs(600);
