//! Synthetic client: does what the browser's page does, without a browser. It reconnects by itself after every loss.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Moment};

use callboard_peer_connection::{IceCandidate, SessionDescription};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::flow::Flow;
use super::link::{Link, LinkEvent};
use crate::guest::CURSOR;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Client that runs until it is dropped.
pub(crate) struct Client {
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

struct Shared {
    seen: Mutex<Seen>,
    unplug: Notify,
}

/// State that it has seen of the server.
#[derive(Default)]
struct Seen {
    peer_id: Option<String>,
    /// Its own messages, to the server and back.
    echoes: Flow,
    /// Messages of the other members.
    others: Flow,
    by_channel: bool,
}

impl Client {
    /// Starts a client that joins this room.
    pub(crate) fn start(address: SocketAddr, room: &str, name: &str) -> Self {
        let shared = Arc::new(Shared { seen: Mutex::default(), unplug: Notify::new() });
        let url = format!("ws://{address}/socket/{room}?name={name}");
        let run = Run {
            url,
            shared: Arc::clone(&shared),
            resume: None,
            link: None,
            reopen: None,
            failed: 0,
        };
        Self { shared, running: actix::spawn(run.forever()) }
    }

    /// Returns its peer id, once it has joined.
    pub(crate) fn peer_id(&self) -> Option<String> {
        self.shared.seen().peer_id.clone()
    }

    /// Returns how long after this moment its messages flowed again, both ways, on a data
    /// channel; none while they do not.
    pub(crate) fn recovered(&self, injected: Moment, now: Moment) -> Option<Duration> {
        let seen = self.shared.seen();
        if !seen.by_channel {
            return None;
        }
        seen.echoes.recovered(injected, now).max(seen.others.recovered(injected, now)).filter(
            |_| {
                seen.echoes.recovered(injected, now).is_some()
                    && seen.others.recovered(injected, now).is_some()
            },
        )
    }

    /// Cuts its WebSocket without a goodbye.
    pub(crate) fn unplug(&self) {
        self.shared.unplug.notify_one();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Each update is a single push, so a poisoned lock is consistent.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Run {
    url: String,
    shared: Arc<Shared>,
    /// Resume token for a lost WebSocket.
    resume: Option<String>,
    link: Option<Link>,
    /// Time at which the next link is opened.
    reopen: Option<Instant>,
    /// Consecutive links that failed.
    failed: u32,
}

impl Run {
    async fn forever(mut self) {
        loop {
            let url = match &self.resume {
                Some(token) => format!("{}&resume={token}", self.url),
                None => self.url.clone(),
            };
            match timeout(OPEN_TIME, connect_async(url)).await {
                Ok(Ok((socket, _))) => self.session(socket).await,
                // The server has refused: it does not know the session any more.
                Ok(Err(tokio_tungstenite::tungstenite::Error::Http(_))) => self.resume = None,
                _ => {}
            }
            sleep(AGAIN).await;
        }
    }

    /// Runs one WebSocket until it is lost.
    async fn session(&mut self, mut socket: Socket) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        let mut joined = false;
        loop {
            let out = tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(Frame::Text(text))) => self.received(&text, &mut joined).await,
                    Some(Ok(Frame::Close(_))) => {
                        self.resume = None;
                        return;
                    }
                    Some(Ok(_)) => Vec::new(),
                    Some(Err(_)) | None => return,
                },
                event = next(&mut self.link) => self.handle_event(event),
                _ = ticks.tick(), if joined => self.tick().await,
                () = shared.unplug.notified() => return,
            };
            for text in out {
                if socket.send(Frame::text(text)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Handles a message from the server; returns the messages to send.
    async fn received(&mut self, text: &str, joined: &mut bool) -> Vec<String> {
        let Ok(Value::Object(mut message)) = serde_json::from_str(text) else { return Vec::new() };
        let data = message.remove("data").unwrap_or_default();
        match message.get("event").and_then(Value::as_str) {
            Some("authenticated") => {
                *joined = true;
                self.resume = token(&data);
                self.shared.seen().peer_id = data["peer_id"].as_str().map(str::to_owned);
                (self.link, self.failed, self.reopen) = (None, 0, Some(Instant::now()));
            }
            Some("resumed") => {
                *joined = true;
                self.resume = token(&data);
            }
            Some("webrtc:answer") => {
                if let (Some(link), Ok(answer)) =
                    (&self.link, serde_json::from_value::<SessionDescription>(data))
                {
                    link.answered(answer).await;
                }
            }
            Some("webrtc:ice") => {
                if let (Some(link), Ok(candidate)) =
                    (&self.link, serde_json::from_value::<Option<IceCandidate>>(data))
                {
                    link.candidate(candidate).await;
                }
            }
            Some("webrtc:state") if matches!(data["state"].as_str(), Some("failed" | "closed")) => {
                self.over()
            }
            Some("webrtc:data") => self.heard(data["data"].as_str().unwrap_or_default(), false),
            Some("error") if data["details"]["event"] == "webrtc:offer" => self.over(),
            _ => {}
        }
        Vec::new()
    }

    /// Handles an event of the link; returns the messages to send.
    fn handle_event(&mut self, happened: LinkEvent) -> Vec<String> {
        match happened {
            LinkEvent::Candidate(candidate) => return vec![event("webrtc:ice", &json!(candidate))],
            LinkEvent::Text(text) => self.heard(&text, true),
            LinkEvent::Over => self.over(),
            LinkEvent::Nothing => {}
        }
        Vec::new()
    }

    fn over(&mut self) {
        if self.link.take().is_some() {
            self.reopen = Some(Instant::now() + AGAIN * self.failed);
            self.failed = (self.failed + 1).min(MOST_FAILED);
        }
    }

    /// Sends a message, and opens a link if it is time; returns the messages to send.
    async fn tick(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        if self.reopen.is_some_and(|when| when <= Instant::now()) {
            self.reopen = None;
            match Link::open().await {
                Some((link, offer)) => {
                    self.link = Some(link);
                    out.push(event("webrtc:offer", &json!(offer)));
                }
                None => self.reopen = Some(Instant::now() + AGAIN),
            }
        }
        // The time is the process's, as the server's is, but only this client reads it.
        let said = json!({ "t": began().elapsed().as_micros() as f64 }).to_string();
        if !self.link.as_ref().is_some_and(|link| link.say(&said)) {
            out.push(event("webrtc:send", &json!({ "channel": CURSOR, "data": said })));
        }
        out
    }

    fn heard(&mut self, text: &str, by_channel: bool) {
        let Ok(said) = serde_json::from_str::<Value>(text) else { return };
        let now = Instant::now().into_std();
        let mut seen = self.shared.seen();
        match said["echo"].as_f64() {
            Some(micros) => {
                if by_channel {
                    self.failed = 0;
                }
                seen.by_channel = by_channel;
                let sent = began() + Duration::from_micros(micros.max(0.0) as u64);
                seen.echoes.mark(sent.into_std(), now);
            }
            None => seen.others.mark(now, now),
        }
    }
}

/// Returns the next event of the link, if there is one.
async fn next(link: &mut Option<Link>) -> LinkEvent {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

fn token(data: &Value) -> Option<String> {
    data["resume"]["token"].as_str().map(str::to_owned)
}

fn event(name: &str, data: &Value) -> String {
    json!({ "event": name, "data": data }).to_string()
}

/// Returns the zero of the clock that stamps messages.
fn began() -> Instant {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

/// Interval of a peer's messages: within the rate of a WebSocket, which may stand in for the data channel.
const EVERY: Duration = Duration::from_millis(40);
/// Pause before another attempt.
const AGAIN: Duration = Duration::from_millis(50);
const MOST_FAILED: u32 = 10;
const OPEN_TIME: Duration = Duration::from_secs(5);
