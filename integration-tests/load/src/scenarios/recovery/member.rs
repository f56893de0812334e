//! Client that sends itself messages through the server, over its WebSocket and perhaps over a data channel, and
//! reconnects after every loss.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_peer_connection::{IceCandidate, SessionDescription};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::flow::Flow;
use super::link::{Engine, Link, LinkEvent, Offered};
use crate::client::Client;
use crate::protocol::Endpoint;

/// Member of a room, until this is dropped.
pub(super) struct Member {
    pub(super) room: String,
    /// Whether it has a WebRTC connection.
    pub(super) linked: bool,
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    wake: Notify,
}

/// State of a member: what it has seen of the server, and the notifications that it owes.
#[derive(Default)]
pub(super) struct Seen {
    /// Its peer id; none while it is not in the room.
    pub(super) id: Option<String>,
    /// Whether its data channel is open.
    pub(super) open: bool,
    pub(super) texts: Flow,
    pub(super) echoes: Flow,
    /// Whether its next connection must not get beyond its handshake.
    hold: bool,
    /// Notification when the messages of its WebSocket are answered again.
    answer: Option<Answer>,
    /// Notification when it learns that its connection is over.
    unlinked: Option<oneshot::Sender<Instant>>,
    /// Notification when the messages of its data channel come back again.
    relinked: Option<oneshot::Sender<Instant>>,
}

struct Answer {
    since: Instant,
    /// Whether it has been told of the failure: messages are answered by the restarted instance from then on.
    told: bool,
    tell: oneshot::Sender<Instant>,
}

impl Member {
    pub(super) fn start(
        server: Endpoint,
        room: String,
        engine: Option<Engine>,
        pause: Duration,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let linked = engine.is_some();
        let run = Run {
            server,
            room: room.clone(),
            engine,
            shared: Arc::clone(&shared),
            link: None,
            opening: None,
            reopen: None,
        };
        let running = tokio::spawn(async move {
            // The members do not start all at the same moment.
            sleep(pause).await;
            run.forever().await;
        });
        Self { room, linked, shared, running }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen()
    }

    /// Returns whether it is in its room, and its data channel open if it has one.
    pub(super) fn is_up(&self) -> bool {
        let seen = self.seen();
        seen.id.is_some() && (!self.linked || seen.open)
    }

    /// Prepares for a fault: the receiver gets the time at which its messages are answered again after it
    /// was told of the failure.
    pub(super) fn answers_again(&self, since: Instant) -> oneshot::Receiver<Instant> {
        let (tell, told) = oneshot::channel();
        let mut seen = self.seen();
        seen.texts.fault(since);
        if seen.open {
            seen.echoes.fault(since);
        }
        seen.answer = Some(Answer { since, told: false, tell });
        self.shared.wake.notify_one();
        told
    }

    /// Prepares for a fault in its connection: the receivers get the time at which it learns of the end, and the time
    /// at which messages come back over the next connection.
    pub(super) fn links_again(
        &self,
        since: Instant,
    ) -> (oneshot::Receiver<Instant>, oneshot::Receiver<Instant>) {
        let ((unlinked, over), (relinked, again)) = (oneshot::channel(), oneshot::channel());
        let mut seen = self.seen();
        seen.echoes.fault(since);
        (seen.unlinked, seen.relinked) = (Some(unlinked), Some(relinked));
        (over, again)
    }

    /// Replaces its connection with one that does not get beyond its handshake.
    pub(super) fn hold(&self, now: Instant) {
        let mut seen = self.seen();
        seen.echoes.fault(now);
        seen.hold = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Run {
    server: Endpoint,
    room: String,
    engine: Option<Engine>,
    shared: Arc<Shared>,
    link: Option<Link>,
    /// The next link, while it opens.
    opening: Option<oneshot::Receiver<io::Result<Offered>>>,
    /// Time at which the next link is opened.
    reopen: Option<Instant>,
}

#[derive(Deserialize)]
struct Heard<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Run {
    async fn forever(mut self) {
        loop {
            if let Ok(client) = Client::join(self.server, &self.room).await {
                // Messages that do not come back show that it has ended.
                _ = self.session(client).await;
                (self.link, self.opening, self.reopen) = (None, None, None);
                let mut seen = self.shared.seen();
                (seen.id, seen.open) = (None, false);
            }
            sleep(AGAIN).await;
        }
    }

    /// Runs one WebSocket, from joining until it is lost.
    async fn session(&mut self, mut client: Client) -> io::Result<()> {
        {
            let mut seen = self.shared.seen();
            seen.id = Some(client.id.clone());
            seen.answer.iter_mut().for_each(|answer| answer.told = true);
        }
        let mut next = Instant::now();
        self.reopen = self.engine.is_some().then_some(next);
        let shared = Arc::clone(&self.shared);
        loop {
            let reopen = self.reopen;
            tokio::select! {
                text = client.next() => self.heard(&text?).await?,
                event = next_event(&mut self.link) => self.handle_event(&mut client, event).await?,
                () = at(reopen) => self.open(),
                offered = offered(&mut self.opening) => self.offer(&mut client, offered?).await?,
                () = sleep_until(next) => next = self.speak(&mut client).await?,
                () = shared.wake.notified() => {
                    next = Instant::now();
                    if self.shared.seen().hold && self.link.is_some() {
                        client.send(r#"{"event":"webrtc:close","data":{}}"#).await?;
                    }
                }
            }
        }
    }

    /// Sends a message on each path; returns the time of the next ones.
    async fn speak(&mut self, client: &mut Client) -> io::Result<Instant> {
        let now = Instant::now();
        let (number, every) = {
            let mut seen = self.shared.seen();
            (seen.texts.send(now), if seen.answer.is_some() { PROBE } else { EVERY })
        };
        client
            .send(format!(r#"{{"event":"text","data":{number},"to":["{}"]}}"#, client.id))
            .await?;
        if let Some(link) = self.link.as_ref().filter(|link| link.open) {
            let number = self.shared.seen().echoes.send(now);
            // Texts that the channel does not take count as lost.
            _ = link.say(number.to_string());
        }
        Ok(now + every)
    }

    async fn heard(&mut self, text: &str) -> io::Result<()> {
        let Heard { event, data } = serde_json::from_str(text)?;
        let data = data.get();
        match event {
            "text" => self.answered(data.parse().map_err(io::Error::other)?),
            "room_restarted" => self.failed(),
            "error" if data.contains("\"Peer restarted\"") => self.failed(),
            "error" if data.contains("\"webrtc:offer\"") => self.over(true),
            "webrtc:answer" => {
                let answer = serde_json::from_str::<SessionDescription>(data)?;
                if let Some(link) = &self.link {
                    link.answered(answer).await;
                }
            }
            "webrtc:ice" => {
                let candidate = serde_json::from_str::<Option<IceCandidate>>(data)?;
                if let Some(link) = &self.link {
                    link.candidate(candidate).await;
                }
            }
            "webrtc:state" if data.contains("\"failed\"") || data.contains("\"closed\"") => {
                self.over(true)
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles a message that has come back over the WebSocket.
    fn answered(&self, number: usize) {
        let now = Instant::now();
        let mut seen = self.shared.seen();
        let sent = seen.texts.back(number, now);
        let again = |answer: &mut Answer| answer.told && sent.is_some_and(|at| at >= answer.since);
        if let Some(answer) = seen.answer.take_if(again) {
            seen.texts.recovered(now);
            if seen.open {
                seen.echoes.recovered(now);
            }
            _ = answer.tell.send(now);
        }
    }

    /// Handles the news that its peer or its room has failed and is back.
    fn failed(&self) {
        self.shared.seen().answer.iter_mut().for_each(|answer| answer.told = true);
    }

    async fn handle_event(&mut self, client: &mut Client, event: LinkEvent) -> io::Result<()> {
        match event {
            LinkEvent::Candidate(candidate) => {
                let text = json!({ "event": "webrtc:ice", "data": candidate }).to_string();
                client.send(text).await?;
            }
            LinkEvent::Open => self.shared.seen().open = true,
            LinkEvent::Text(text) => {
                let (number, now) = (text.parse().map_err(io::Error::other)?, Instant::now());
                let mut seen = self.shared.seen();
                seen.echoes.back(number, now);
                // Over the next connection, if a fault is injected into this one.
                if !seen.hold && seen.unlinked.is_none() {
                    if let Some(relinked) = seen.relinked.take() {
                        _ = relinked.send(now);
                    }
                    if seen.answer.is_none() {
                        seen.echoes.recovered(now);
                    }
                }
            }
            LinkEvent::Over => self.over(false),
            LinkEvent::Nothing => {}
        }
        Ok(())
    }

    /// Replaces a connection that is of no use any more. The server's message about its end comes over the WebSocket,
    /// and may be later than the connection's own event.
    fn over(&mut self, by_word: bool) {
        if self.link.take().is_none() && self.reopen.is_none() {
            return;
        }
        self.reopen = Some(Instant::now() + if by_word { Duration::ZERO } else { WORD });
        let mut seen = self.shared.seen();
        seen.open = false;
        if let Some(unlinked) = seen.unlinked.take_if(|_| by_word) {
            _ = unlinked.send(Instant::now());
        }
    }

    /// Opens a link while the WebSocket goes on.
    fn open(&mut self) {
        self.reopen = None;
        let held = std::mem::take(&mut self.shared.seen().hold);
        self.opening = self.engine.as_ref().map(|engine| Link::open(engine, held));
    }

    async fn offer(&mut self, client: &mut Client, (link, offer): Offered) -> io::Result<()> {
        self.opening = None;
        self.link = Some(link);
        client.send(json!({ "event": "webrtc:offer", "data": offer }).to_string()).await
    }
}

async fn offered(
    opening: &mut Option<oneshot::Receiver<io::Result<Offered>>>,
) -> io::Result<Offered> {
    match opening {
        Some(opening) => opening.await.map_err(io::Error::other)?,
        None => std::future::pending().await,
    }
}

/// Returns the next event of the link, if there is one.
async fn next_event(link: &mut Option<Link>) -> LinkEvent {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Interval of a member's messages.
const EVERY: Duration = Duration::from_millis(20);
/// Interval of messages while a member waits to be answered again: the resolution of that time.
const PROBE: Duration = Duration::from_millis(1);
/// How much later than a connection's end the message about it may come.
const WORD: Duration = Duration::from_millis(500);
/// Pause before another attempt.
const AGAIN: Duration = Duration::from_millis(5);
