//! Sockets: the only file that names actix-web-actors.
//!
//! The socket is a thin pipe. Input from the client goes to the actor that owns the link, output goes to the client. It
//! decides nothing: it is polled only while the client reads, so timers and counts belong to the owner.

mod body;
mod last_words;

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use actix_codec::Encoder;
use actix_http::ws::Codec;
use actix_web::body::BoxBody;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws;
use bytestring::ByteString;
use callboard_outbox::{CloseFrame, Deliver, OutboxReady, SocketNumber};
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use self::body::{Body, LinkPlace, SocketState};
use self::last_words::{LOOK, LastWords};
use crate::admission::Admission;
use crate::counters::{SocketCount, SocketCounters};
use crate::frames::{Frame, FrameError, Frames};
use crate::link::SocketLink;
use crate::messages::{FromSocket, MAX_IN_FLIGHT, NewSocket, SocketEnd, SocketEvent, ToSocket};
use crate::tcp_connection::{TcpConnection, TcpDescriptor};
use crate::upgrade::{UpgradeError, check_upgrade};

/// Answer to an upgrade request: how a WebSocket is opened.
pub struct Upgrade<'a> {
    /// Limit of every message and frame, in bytes; a client that sends a larger one is closed with 1009.
    pub max_frame: usize,
    /// Subprotocols that the server speaks; the first one that the client names is chosen.
    pub protocols: &'a [&'static str],
    /// Counters of the route.
    pub counters: Arc<SocketCounters>,
}

/// A WebSocket that is about to open.
pub struct OpenedSocket {
    outbox_ready: Recipient<OutboxReady>,
    control: Recipient<ToSocket>,
    response: HttpResponse,
    state: Rc<SocketState>,
    tcp: Arc<TcpConnection>,
    counters: Arc<SocketCounters>,
}

impl Upgrade<'_> {
    /// Creates the socket's actor, and the response that carries it, on the connection's thread.
    ///
    /// # Errors
    /// [`UpgradeError`] if the request does not ask for a WebSocket as it must.
    pub fn open(
        self,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<OpenedSocket, UpgradeError> {
        check_upgrade(request)?;
        let mut response = ws::handshake_with_protocols(request, self.protocols)
            .map_err(|error| UpgradeError::Malformed(error.to_string()))?;
        let state = Rc::<SocketState>::default();
        let socket = Socket {
            owner: None,
            flowing: false,
            held: VecDeque::new(),
            credits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            state: Rc::clone(&state),
            counters: Arc::clone(&self.counters),
            closing: None,
            suspended: false,
            heard: false,
        };
        let mut frames = Frames::new(payload, self.max_frame);
        let reading = Rc::clone(&state);
        // Polled whenever the actor is, so it needs no waker while it is shut.
        let frames = stream::poll_fn(move |cx| {
            if reading.shut.get() { Poll::Pending } else { frames.poll_next_unpin(cx) }
        });
        let made = Rc::new(OnceCell::<Addr<Socket>>::new());
        let address = Rc::clone(&made);
        // The library's own reader gets an empty stream: it checks lengths too late, and does not end at every
        // violation.
        let body = Ctx::with_factory(stream::empty(), move |ctx| {
            ctx.add_stream(frames);
            _ = address.set(ctx.address());
            socket
        });
        let address = made.get().expect("the factory is called at once");
        Ok(OpenedSocket {
            outbox_ready: address.clone().recipient(),
            control: address.clone().recipient(),
            response: response.streaming(body),
            state,
            tcp: TcpConnection::new(request.conn_data::<TcpDescriptor>()),
            counters: self.counters,
        })
    }
}

impl OpenedSocket {
    /// Returns what a link needs to attach it.
    pub fn socket(&self) -> NewSocket {
        let (outbox_ready, control) = (self.outbox_ready.clone(), self.control.clone());
        NewSocket { outbox_ready, control, tcp: Arc::clone(&self.tcp) }
    }

    /// Marks the client as admitted, because it comes back: the limits before [`ToSocket::Flow`] do not apply.
    pub fn resumed(self) -> Self {
        self.state.admitted.set(true);
        self
    }

    /// Returns the response, whose body is the WebSocket and tells the link of its end. `admission` is the socket's
    /// place among the connections; the link gets it when the socket has ended.
    pub fn respond(
        self,
        link: Arc<SocketLink>,
        number: SocketNumber,
        admission: Admission,
    ) -> HttpResponse {
        let Self { response, state, tcp, counters, .. } = self;
        counters.add(SocketCount::Opened);
        _ = state.place.set(LinkPlace { link, number });
        response.map_body(|_, inner| {
            BoxBody::new(Body { inner, state, tcp, counters, admission: Some(admission) })
        })
    }
}

struct Socket {
    owner: Option<Recipient<FromSocket>>,
    flowing: bool,
    /// Input that arrived while no owner was ready for it.
    held: VecDeque<SocketEvent>,
    /// Credits for messages that the owner, on any thread, has not handled.
    credits: Arc<Semaphore>,
    state: Rc<SocketState>,
    counters: Arc<SocketCounters>,
    /// The server has sent a close frame and waits for the client's: how many more bytes are read until then.
    closing: Option<usize>,
    /// The server has sent a close frame, and takes what the client sends until it has the client's.
    suspended: bool,
    /// Whether something has come since the last look, of a client that is suspended.
    heard: bool,
}

type Ctx = ws::WebsocketContext<Socket>;

impl Socket {
    /// Adds a frame to what the body writes next. Not to the library's own queue, whose memory would stay.
    fn write(&self, message: ws::Message) {
        if self.suspended {
            return; // nothing follows a close frame (RFC 6455 §5.5.1)
        }
        let mut unwritten = self.state.unwritten.take();
        // It fails for parts of messages alone.
        _ = Codec::new().encode(message, &mut unwritten);
        self.state.unwritten.set(unwritten);
    }

    fn tell(&mut self, event: SocketEvent, ctx: &mut Ctx) {
        if let Some(LinkPlace { link, number }) = self.state.place.get()
            && !self.state.heard.replace(true)
        {
            link.heard(*number);
        }
        // Usually the owner is ready.
        let Some(event) = (if self.held.is_empty() { self.pass(event) } else { Some(event) })
        else {
            return;
        };
        let kept = |held: &VecDeque<SocketEvent>| held.iter().map(SocketEvent::kept).sum::<usize>();
        let admitted = self.state.admitted.get();
        // Usually none is held, and a first one of any size is kept.
        let room = admitted
            || self.held.is_empty()
            || self.held.len() < MAX_HELD && kept(&self.held) + event.kept() <= MAX_HELD_BYTES;
        if room {
            self.held.push_back(event);
            self.pass_on(ctx);
            if self.held.is_empty() {
                // Most clients are idle most of the time.
                self.held = VecDeque::new();
            } else if admitted {
                // Its owner is being restarted, or does not know this socket yet: the client waits.
                self.state.shut.set(true);
            }
        } else {
            self.end(ctx, 1008, "sent too much before it had joined");
        }
    }

    /// Returns the owner, if it is ready, and the number by which it knows this socket.
    fn ready_owner(&self) -> Option<(SocketNumber, &Recipient<FromSocket>)> {
        let place = self.state.place.get()?;
        let owner = self.owner.as_ref().filter(|owner| self.flowing && owner.connected())?;
        Some((place.number, owner))
    }

    /// Passes an event on to the owner; returns it if that is not ready for it.
    fn pass(&self, event: SocketEvent) -> Option<SocketEvent> {
        let Some((socket, owner)) = self.ready_owner() else { return Some(event) };
        let Ok(credit) = Arc::clone(&self.credits).try_acquire_many_owned(event.weight()) else {
            return Some(event);
        };
        // Bounded by the credit.
        owner.do_send(FromSocket { socket, event, credit });
        None
    }

    /// Passes on to the owner what it is ready for. While the owner is busy, nothing is read, and the client waits.
    fn pass_on(&mut self, ctx: &mut Ctx) {
        if self.ready_owner().is_none() {
            return;
        }
        while let Some(event) = self.held.pop_front() {
            let weight = event.weight();
            let Some(event) = self.pass(event) else { continue };
            self.held.push_front(event);
            let more = Arc::clone(&self.credits).acquire_many_owned(weight).into_actor(self);
            ctx.wait(more.map(|credit, this, ctx| {
                // A large message may need all credits.
                drop(credit);
                this.pass_on(ctx);
            }));
            return;
        }
        self.state.shut.set(false);
    }

    /// Closes, and reads no more.
    fn end(&mut self, ctx: &mut Ctx, code: u16, reason: &str) {
        self.state.end.set(SocketEnd::Closed);
        let description = (!reason.is_empty()).then(|| reason.to_owned());
        self.write(ws::Message::Close(Some(ws::CloseReason { code: code.into(), description })));
        ctx.stop();
    }

    /// Closes, and reads on until the client's close frame, so that the connection can be closed right after it (RFC
    /// 6455 §7.1.1). For the owner, the socket has ended.
    fn close(&mut self, ctx: &mut Ctx, CloseFrame { code, reason }: CloseFrame) {
        if self.closing.replace(DISCARD).is_some() {
            return;
        }
        self.state.end.set(SocketEnd::Closed);
        let description = (!reason.is_empty()).then(|| reason.into_owned());
        self.write(ws::Message::Close(Some(ws::CloseReason { code: code.into(), description })));
        self.held = VecDeque::new();
        if let Some(LinkPlace { link, number }) = self.state.place.get() {
            link.socket_ended(*number, SocketEnd::Closed, None);
        }
        ctx.run_later(LINGER, |_, ctx| ctx.stop());
    }

    /// Asks the client to come back to another process. What it has sent before it reads this is still handled, and
    /// what waits for it stays in the outbox.
    fn suspend(&mut self, ctx: &mut Ctx, CloseFrame { code, reason }: CloseFrame) {
        if self.suspended {
            return;
        }
        let description = (!reason.is_empty()).then(|| reason.into_owned());
        self.write(ws::Message::Close(Some(ws::CloseReason { code: code.into(), description })));
        self.suspended = true;
        Self::linger(ctx, LastWords::default());
    }

    /// Waits for the close frame of a client that is suspended.
    fn linger(ctx: &mut Ctx, mut words: LastWords) {
        ctx.run_later(LOOK, move |this, ctx| match words.look(mem::take(&mut this.heard)) {
            true => Self::linger(ctx, words),
            false => ctx.stop(),
        });
    }

    /// Discards input after our close frame, until the client's.
    fn discard(&mut self, left: usize, frame: &Result<Frame, FrameError>, ctx: &mut Ctx) {
        let bytes = match frame {
            Ok(Frame::Close(_)) => {
                self.state.both_closed.set(true);
                return ctx.stop();
            }
            Ok(Frame::Text { text, .. }) => text.len(),
            Ok(Frame::Binary { bytes } | Frame::Part { bytes } | Frame::Pong(bytes)) => *bytes,
            Ok(Frame::Ping(payload)) => payload.len(),
            Err(_) => return ctx.stop(),
        };
        self.closing = left.checked_sub(bytes + HEADER);
        if self.closing.is_none() {
            ctx.stop();
        }
    }

    /// Rejects a message that is too large. It is not known yet what the message was for, so the error names the limit
    /// of all messages. Nothing more is read after this: it would be the rest of the message.
    fn too_large(&mut self, ctx: &mut Ctx) {
        let text = self.state.place.get().and_then(|place| place.link.too_large());
        if let Some(text) = text {
            self.write(ws::Message::Text(text));
        }
        let CloseFrame { code, reason } = CloseFrame::TOO_LARGE;
        self.end(ctx, code, &reason);
    }

    /// Passes on a frame that carries no message.
    fn frame(&mut self, ctx: &mut Ctx, bytes: usize, binary: bool) {
        self.tell(SocketEvent::Frame { bytes, binary }, ctx);
    }

    fn text(&mut self, ctx: &mut Ctx, text: ByteString, counted: usize) {
        if text == "ping" {
            self.write(ws::Message::Text("pong".into()));
            return self.frame(ctx, text.len() - counted, false);
        }
        self.counters.add(SocketCount::Received);
        self.tell(SocketEvent::Text { text, counted }, ctx);
    }
}

impl Actor for Socket {
    type Context = Ctx;

    fn stopped(&mut self, _: &mut Self::Context) {
        // The body may have more to write, and stay for as long as the client does not read it.
        if let Some(LinkPlace { link, number }) = self.state.place.get() {
            link.socket_ended(*number, self.state.end.get(), None);
        }
    }
}

impl StreamHandler<Result<Frame, FrameError>> for Socket {
    fn handle(&mut self, frame: Result<Frame, FrameError>, ctx: &mut Ctx) {
        if let Some(left) = self.closing {
            return self.discard(left, &frame, ctx);
        }
        self.heard = self.suspended;
        match frame {
            Ok(Frame::Text { text, counted }) => self.text(ctx, text, counted),
            Ok(Frame::Binary { bytes }) => self.frame(ctx, bytes, true),
            Ok(Frame::Part { bytes } | Frame::Pong(bytes)) => self.frame(ctx, bytes, false),
            Ok(Frame::Ping(payload)) => {
                let bytes = payload.len();
                self.write(ws::Message::Pong(payload));
                self.frame(ctx, bytes, false);
            }
            Ok(Frame::Close(reason)) => {
                // A client that is asked to come back answers with the code that it has got.
                let answers = self.suspended && !matches!(reason, Some((1000, _)));
                if matches!(reason, None | Some((1000 | 1001, _))) && !answers {
                    self.state.end.set(SocketEnd::Closed);
                }
                self.write(ws::Message::Close(reason.map(|(code, reason)| ws::CloseReason {
                    code: code.into(),
                    description: (!reason.is_empty()).then_some(reason),
                })));
                self.state.both_closed.set(true);
                ctx.stop();
            }
            Err(FrameError::TooLarge) => self.too_large(ctx),
            Err(error) => self.end(ctx, error.close_code(), &error.to_string()),
        }
    }
}

/// Required by the library, whose own reader gets no input; see [`OpenSocket::open`].
impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Socket {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Ctx) {}

    fn finished(&mut self, _: &mut Ctx) {}
}

impl Handler<OutboxReady> for Socket {
    type Result = ();

    fn handle(&mut self, _: OutboxReady, ctx: &mut Ctx) {
        self.send(ctx);
    }
}

impl Socket {
    /// Takes messages out of the outbox. They leave with the body's next chunk; the rest stays where another socket
    /// could find it.
    fn send(&mut self, ctx: &mut Ctx) {
        if self.closing.is_some() || self.suspended {
            return;
        }
        let state = Rc::clone(&self.state);
        let Some(LinkPlace { link, number }) = state.place.get() else { return };
        let mut bytes = 0;
        while bytes < CHUNK {
            match link.outbox().next(*number) {
                Some(Deliver::Frame(text)) => {
                    bytes += text.len();
                    self.counters.add(SocketCount::Sent);
                    self.write(ws::Message::Text(text));
                }
                Some(Deliver::Close(close)) => return self.close(ctx, close),
                None => return,
            }
        }
        state.full.set(true);
        ctx.spawn(NextChunk(state).map(|(), this: &mut Self, ctx| this.send(ctx)));
    }
}

/// Future that is ready when the taken messages have been written. Polled with the body, so it needs no waker.
struct NextChunk(Rc<SocketState>);

impl ActorFuture<Socket> for NextChunk {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Socket,
        _: &mut Ctx,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if self.0.full.get() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Handler<ToSocket> for Socket {
    type Result = ();

    fn handle(&mut self, told: ToSocket, ctx: &mut Ctx) {
        match told {
            _ if self.closing.is_some() => {}
            ToSocket::Attach(owner) => {
                self.owner = Some(owner);
                self.flowing = false;
            }
            ToSocket::Flow => {
                self.flowing = true;
                self.state.admitted.set(true);
                self.pass_on(ctx);
            }
            ToSocket::Ping => self.write(ws::Message::Ping(Bytes::new())),
            ToSocket::Close(close) => self.close(ctx, close),
            ToSocket::Suspend(close) => self.suspend(ctx, close),
        }
    }
}

/// Number of messages of a client that are held until its owner has joined: some candidates that came too soon.
const MAX_HELD: usize = 64;
/// Number of their bytes, unless it is one message alone.
const MAX_HELD_BYTES: usize = 1 << 20;
/// Time limit of the wait for the client's close frame: as long as actix-http waits for the end of a connection.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read and discarded meanwhile.
const DISCARD: usize = 256 * 1024;
/// Shortest frame header of a client, in bytes (RFC 6455 §5.2).
const HEADER: usize = 6;
/// Bytes taken out at once: actix-http asks for more while it has fewer than this to write.
const CHUNK: usize = 32 * 1024;
