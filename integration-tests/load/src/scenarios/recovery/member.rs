//! A client that talks to itself through the server, over its WebSocket and perhaps over a data channel, and comes back
//! whatever it loses.

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
use super::link::{Engine, Link, Offered, Told};
use crate::client::Client;
use crate::protocol::Endpoint;

/// Somebody in a room, until this is dropped.
pub(super) struct Member {
    pub(super) room: String,
    /// It has a WebRTC connection.
    pub(super) linked: bool,
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    wake: Notify,
}

/// What it has seen of the server, and is to tell.
#[derive(Default)]
pub(super) struct Seen {
    /// Who it is; none while it is away.
    pub(super) id: Option<String>,
    /// Its data channel is open.
    pub(super) open: bool,
    pub(super) texts: Flow,
    pub(super) echoes: Flow,
    /// Its next connection is not to get beyond its handshake.
    hold: bool,
    /// Its WebSocket's messages are to be answered again.
    answer: Option<Answer>,
    /// It is to learn that its connection is over.
    unlinked: Option<oneshot::Sender<Instant>>,
    /// The messages of its data channel are to come back again.
    relinked: Option<oneshot::Sender<Instant>>,
}

struct Answer {
    shot: Instant,
    /// It has been told that what was shot has failed: what is answered now is answered by what came after.
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
            // Not all of them at the same moment.
            sleep(pause).await;
            run.forever().await;
        });
        Self { room, linked, shared, running }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen()
    }

    /// It is in its room, and its data channel is open if it has one.
    pub(super) fn is_up(&self) -> bool {
        let seen = self.seen();
        seen.id.is_some() && (!self.linked || seen.open)
    }

    /// It is about to be shot: when its messages are answered again after it has heard of that.
    pub(super) fn answers_again(&self, shot: Instant) -> oneshot::Receiver<Instant> {
        let (tell, told) = oneshot::channel();
        let mut seen = self.seen();
        seen.texts.shot(shot);
        if seen.open {
            seen.echoes.shot(shot);
        }
        seen.answer = Some(Answer { shot, told: false, tell });
        self.shared.wake.notify_one();
        told
    }

    /// Its connection is about to be shot: when it hears of that, and when messages come back over the next one.
    pub(super) fn links_again(
        &self,
        shot: Instant,
    ) -> (oneshot::Receiver<Instant>, oneshot::Receiver<Instant>) {
        let ((unlinked, over), (relinked, again)) = (oneshot::channel(), oneshot::channel());
        let mut seen = self.seen();
        seen.echoes.shot(shot);
        (seen.unlinked, seen.relinked) = (Some(unlinked), Some(relinked));
        (over, again)
    }

    /// Replace its connection with one that does not get beyond its handshake.
    pub(super) fn hold(&self, now: Instant) {
        let mut seen = self.seen();
        seen.echoes.shot(now);
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
    /// The next link.
    opening: Option<oneshot::Receiver<io::Result<Offered>>>,
    /// When the next link is to be opened.
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
                // Its end is seen by what does not come back.
                _ = self.session(client).await;
                (self.link, self.opening, self.reopen) = (None, None, None);
                let mut seen = self.shared.seen();
                (seen.id, seen.open) = (None, false);
            }
            sleep(AGAIN).await;
        }
    }

    /// One life of the WebSocket.
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
                told = told(&mut self.link) => self.told(&mut client, told).await?,
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

    /// Say something, on each way; when to speak again.
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
            // What it does not take does not come back.
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

    /// A message has come back over the WebSocket.
    fn answered(&self, number: usize) {
        let now = Instant::now();
        let mut seen = self.shared.seen();
        let sent = seen.texts.back(number, now);
        let again = |answer: &mut Answer| answer.told && sent.is_some_and(|at| at >= answer.shot);
        if let Some(answer) = seen.answer.take_if(again) {
            seen.texts.recovered(now);
            if seen.open {
                seen.echoes.recovered(now);
            }
            _ = answer.tell.send(now);
        }
    }

    /// Its peer or its room has failed, and is back.
    fn failed(&self) {
        self.shared.seen().answer.iter_mut().for_each(|answer| answer.told = true);
    }

    async fn told(&mut self, client: &mut Client, told: Told) -> io::Result<()> {
        match told {
            Told::Candidate(candidate) => {
                let text = json!({ "event": "webrtc:ice", "data": candidate }).to_string();
                client.send(text).await?;
            }
            Told::Open => self.shared.seen().open = true,
            Told::Text(text) => {
                let (number, now) = (text.parse().map_err(io::Error::other)?, Instant::now());
                let mut seen = self.shared.seen();
                seen.echoes.back(number, now);
                // Over the next connection, if this one is about to be shot or has been.
                if !seen.hold && seen.unlinked.is_none() {
                    if let Some(relinked) = seen.relinked.take() {
                        _ = relinked.send(now);
                    }
                    if seen.answer.is_none() {
                        seen.echoes.recovered(now);
                    }
                }
            }
            Told::Over => self.over(false),
            Told::Nothing => {}
        }
        Ok(())
    }

    /// The connection is of no use any more: another one. The server's word for it comes over the WebSocket, and may be
    /// later than what the connection itself tells.
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

    /// The WebSocket goes on meanwhile.
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

/// What happens to the link, if there is one.
async fn told(link: &mut Option<Link>) -> Told {
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

/// How often a member speaks.
const EVERY: Duration = Duration::from_millis(20);
/// How often one speaks that waits to be answered again: a step in which that time is known.
const PROBE: Duration = Duration::from_millis(1);
/// How much later than its end the word of it may come.
const WORD: Duration = Duration::from_millis(500);
/// Before it tries again what has failed.
const AGAIN: Duration = Duration::from_millis(5);
