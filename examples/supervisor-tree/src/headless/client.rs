//! Synthetic client: does what the browser's page does, without a browser. It reconnects by itself after every loss.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Moment};

use callboard_client::{
    ChannelData, ClientEvent, ClientHandle, ClientOptions, ClientState, WebRtcOptions,
};
use callboard_peer_connection::{DataChannelOptions, PeerConnectionsOptions};
use callboard_transport::mux::InterfaceFilter;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::flow::Flow;
use crate::guest::CURSOR;

/// Client that runs until it is dropped.
pub(crate) struct Client {
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
}

/// State that it has seen of the server.
#[derive(Default)]
struct Seen {
    /// Its connection, once it has joined.
    handle: Option<ClientHandle>,
    /// Its own messages, to the server and back.
    echoes: Flow,
    /// Messages of the other members.
    others: Flow,
    by_channel: bool,
}

impl Client {
    /// Starts a client that joins this room.
    pub(crate) fn start(address: SocketAddr, room: &str, name: &str) -> Self {
        let shared = Arc::<Shared>::default();
        let url = format!("ws://{address}/socket/{room}?name={name}");
        let running = actix::spawn(run_forever(url, Arc::clone(&shared)));
        Self { shared, running }
    }

    /// Returns its peer id, once it has joined.
    pub(crate) fn peer_id(&self) -> Option<String> {
        self.shared.seen().handle.as_ref().map(ClientHandle::peer_id)
    }

    /// Returns how long after this moment its messages flowed again, both ways, on a data
    /// channel; none while they do not.
    pub(crate) fn recovered(&self, fault: Moment, now: Moment) -> Option<Duration> {
        let seen = self.shared.seen();
        if !seen.by_channel {
            return None;
        }
        let (echoes, others) =
            (seen.echoes.recovered(fault, now)?, seen.others.recovered(fault, now)?);
        Some(echoes.max(others))
    }

    /// Cuts its WebSocket without a close frame.
    pub(crate) fn unplug(&self) {
        if let Some(handle) = &self.shared.seen().handle {
            handle.cut();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.running.abort();
        // The last handle, with which the client leaves.
        self.shared.seen().handle = None;
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Each update is a single push, so a poisoned lock is consistent.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self, text: &str, by_channel: bool) {
        let Ok(said) = serde_json::from_str::<Value>(text) else { return };
        let now = Instant::now().into_std();
        let mut seen = self.seen();
        match said["echo"].as_f64() {
            Some(micros) => {
                seen.by_channel = by_channel;
                let sent = began() + Duration::from_micros(micros.max(0.0) as u64);
                seen.echoes.mark(sent.into_std(), now);
            }
            None => seen.others.mark(now, now),
        }
    }
}

async fn run_forever(url: String, shared: Arc<Shared>) {
    loop {
        let options = ClientOptions::new().first_delay(AGAIN).longest_delay(AGAIN);
        if let Ok(client) = callboard_client::Client::connect(&url, options).await {
            shared.seen().handle = Some(client.handle());
            run(client, &shared).await;
        }
        sleep(AGAIN).await;
    }
}

/// Runs a client until it has given up.
async fn run(mut client: callboard_client::Client, shared: &Shared) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut by_channel = false;
    // It is not open yet.
    _ = client.open_peer_connection(webrtc());
    loop {
        let event = tokio::select! {
            event = client.next_event() => event,
            _ = ticks.tick() => {
                if !by_channel && client.state() != ClientState::Open {
                    continue;
                }
                // The time is the process's, as the server's is, but only this client reads it.
                let said = json!({ "t": began().elapsed().as_micros() as f64 }).to_string();
                // What is not taken is missing, as on a bad network.
                _ = client.send_data(CURSOR, said).await;
                continue;
            }
        };
        match event {
            Some(ClientEvent::Data { data: ChannelData::Text(text), .. }) => {
                shared.heard(&text, by_channel);
            }
            Some(ClientEvent::ChannelOpened { channel }) => by_channel |= channel == CURSOR,
            Some(ClientEvent::ChannelClosed { channel }) => by_channel &= channel != CURSOR,
            // Many faults in a short time are what this is for.
            Some(ClientEvent::PeerConnectionGaveUp { .. }) => {
                _ = client.open_peer_connection(webrtc());
            }
            Some(_) => {}
            None => return,
        }
    }
}

fn webrtc() -> WebRtcOptions {
    let mut pool =
        PeerConnectionsOptions { media_threads: 1, handshake_threads: 0, ..Default::default() };
    pool.sockets.interfaces = InterfaceFilter::with_loopback();
    let cursor =
        DataChannelOptions { ordered: false, max_retransmits: Some(0), ..Default::default() };
    WebRtcOptions::new().pool(pool).channel(CURSOR, cursor)
}

/// Returns the zero of the clock that stamps messages.
fn began() -> Instant {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

/// Interval of a peer's messages: within the rate of a WebSocket, which may stand in for the data channel.
const EVERY: Duration = Duration::from_millis(40);
/// Longest pause before another attempt.
const AGAIN: Duration = Duration::from_millis(50);
