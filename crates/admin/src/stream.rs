//! Stream of the tree's changes, by WebSocket.
//!
//! Events are sent at once, the tree at most four times a second and only if it has changed. A client that is behind
//! gets no tree until everything before it has been sent; one that stays behind is closed, and so is one that sends too
//! much.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytestring::ByteString;
use callboard_websocket::{
    CloseFrame, FromSocket, LinkOptions, OutboxLimits, Presence, Rate, RateMeter, RateVerdict,
    ResumeTokens, SocketCounters, SocketLink, SocketNumber, ToSocket, Upgrade,
};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::admin::{Admin, Inner, SAMPLE_EVERY};
use crate::error::AdminError;

/// Opens a stream of the tree.
pub(crate) async fn open(
    admin: &Admin,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, AdminError> {
    let inner = &admin.inner;
    let address = std::net::Ipv4Addr::UNSPECIFIED.into();
    let admission =
        inner.streams.admit(address, STREAMS, STREAMS).map_err(|_| AdminError::TooManyStreams)?;
    let events = inner.events.subscribe();
    let (version, tree) = admin.sample(true).await;
    let counters = Arc::new(SocketCounters::default());
    let upgrade =
        Upgrade { max_frame: MAX_MESSAGE, protocols: &[], counters: Arc::clone(&counters) };
    let opened = upgrade.open(request, payload).map_err(AdminError::NoWebSocket)?;
    let options = LinkOptions {
        address,
        outbox: LIMITS,
        resume_grace: Duration::ZERO,
        close_grace: CLOSE_GRACE,
        max_frame: MAX_MESSAGE,
        requested: Instant::now(),
    };
    let tokens = Arc::new(ResumeTokens::default());
    let (link, number) = SocketLink::new(options, (), opened.socket(), tokens, counters);
    // There is room for one.
    _ = link.outbox().push(tree);
    Stream {
        inner: Arc::clone(inner),
        link: Arc::clone(&link),
        socket: None,
        version,
        sampling: false,
        emptied: Instant::now(),
        heard: Instant::now(),
        meter: RateMeter::default(),
        events: Some(events),
    }
    .start();
    Ok(opened.respond(link, number, admission))
}

/// One client of the stream.
struct Stream {
    inner: Arc<Inner>,
    link: Arc<SocketLink>,
    socket: Option<SocketNumber>,
    /// Version of the tree that was sent last.
    version: u64,
    sampling: bool,
    /// Last time when nothing was waiting for the client.
    emptied: Instant,
    heard: Instant,
    /// Usage of the client's rate limit.
    meter: RateMeter,
    events: Option<Receiver<ByteString>>,
}

impl Stream {
    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.link.outbox().is_closed() {
            return ctx.stop();
        }
        let now = Instant::now();
        if self.link.outbox().backlog() != (0, 0) {
            if now.duration_since(self.emptied) >= PATIENCE {
                self.link.outbox().close(CloseFrame::TOO_SLOW);
            }
            return;
        }
        self.emptied = now;
        if std::mem::replace(&mut self.sampling, true) {
            return;
        }
        let admin = Admin { inner: Arc::clone(&self.inner) };
        let sampled = async move { admin.sample(false).await };
        ctx.spawn(sampled.into_actor(self).map(|(version, tree), this, _| {
            this.sampling = false;
            if version != this.version {
                this.version = version;
                // A client that is being closed already knows why.
                _ = this.link.outbox().push(tree);
            }
        }));
    }

    fn ping(&mut self) {
        if self.heard.elapsed() > SILENCE {
            self.link
                .outbox()
                .close(CloseFrame { code: 1001, reason: "no answer to pings".into() });
        } else if let Some(socket) = self.socket {
            // One every 15 s.
            self.link.send_to_socket(socket, ToSocket::Ping);
        }
    }
}

impl Actor for Stream {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Presence::Here(socket) = self.link.register(ctx.address().recipient()) else {
            return ctx.stop();
        };
        // Once for each stream.
        self.link.send_to_socket(socket, ToSocket::Attach(ctx.address().recipient()));
        self.link.send_to_socket(socket, ToSocket::Flow);
        self.socket = Some(socket);
        let events = futures_util::stream::unfold(self.events.take(), |events| async {
            let mut events = events?;
            match events.recv().await {
                Ok(event) => Some((Some(event), Some(events))),
                Err(RecvError::Lagged(_)) => Some((None, Some(events))),
                Err(RecvError::Closed) => None,
            }
        });
        ctx.add_stream(events);
        ctx.run_interval(SAMPLE_EVERY, Self::tick);
        ctx.run_interval(HEARTBEAT, |stream, _| stream.ping());
    }
}

impl StreamHandler<Option<ByteString>> for Stream {
    /// Passes an event on; none if some were missed. The next tree shows the effect of those, but no recovery.
    fn handle(&mut self, event: Option<ByteString>, ctx: &mut Context<Self>) {
        let told = event.map_or_else(|| self.inner.all_recoveries(), |event| vec![event]);
        if told.into_iter().any(|told| self.link.outbox().push(told).is_err()) {
            ctx.stop();
        }
    }
}

impl Handler<FromSocket> for Stream {
    type Result = ();

    /// Handles input of the client, which has nothing to say: it keeps the stream open, and is counted like that of a
    /// room's client.
    fn handle(&mut self, FromSocket { event, .. }: FromSocket, _: &mut Context<Self>) {
        let now = Instant::now();
        self.heard = now;
        let verdict = self.meter.count(&Rate::default(), now.into_std(), event.bytes());
        if verdict == RateVerdict::Close {
            self.link.outbox().close(CloseFrame::TOO_MANY);
        }
    }
}

impl Handler<Presence> for Stream {
    type Result = ();

    fn handle(&mut self, presence: Presence, ctx: &mut Context<Self>) {
        match presence {
            Presence::Here(..) => {}
            Presence::Away(_) | Presence::Gone => ctx.stop(),
        }
    }
}

/// Number of concurrent streams.
const STREAMS: usize = 64;
/// Size limit of a message: a client has nothing to say.
const MAX_MESSAGE: usize = 1_024;
/// Room for a tree of 15,000 actors, and for events until it has been sent.
const LIMITS: OutboxLimits = OutboxLimits { messages: 4_096, bytes: 8 << 20 };
/// Time that output may wait for a client.
const PATIENCE: Duration = Duration::from_secs(3);
const CLOSE_GRACE: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(40);
