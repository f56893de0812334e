//! WebSocket edge: the only file that names actix-web-actors.
//!
//! The socket is a thin pipe. Input from the client goes to the peer's actor, output of the room goes to the client. It
//! decides nothing: it is polled only while the client reads, so timers and counts belong to the peer.

mod body;

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use actix_web::body::BoxBody;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws;
use bytestring::ByteString;
use callboard_room_supervisor::{
    CloseFrame, Deliver, Description, MailWaiting, PeerId, RoomMessage, SocketNumber,
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::body::{Body, Fate, Place};
use crate::attachment::{Attachment, End, Plug};
use crate::cable::Cable;
use crate::counters::{Count, Counters};
use crate::frames::{Frame, FrameError, Frames};
use crate::limits::Admission;
use crate::session::TOO_LARGE;
use crate::upgrade::{self, UpgradeError};

/// Input of a WebSocket, for the peer behind it. The [`Attachment`] tells the peer when the socket ends.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromSocket {
    /// Number of the socket among the client's.
    pub(crate) socket: SocketNumber,
    pub(crate) event: Event,
    /// Returned when the peer has handled the event, or never will.
    _credit: OwnedSemaphorePermit,
}

/// Input from the client.
#[derive(Debug)]
pub(crate) enum Event {
    /// A complete text message, and how many of its bytes were reported before as frames.
    Text { text: ByteString, counted: usize },
    /// The text `ping`, a fragment, or a ping, pong or binary frame of this size.
    Frame { bytes: usize, binary: bool },
}

impl Event {
    /// Returns how many of its bytes were not reported before.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text { text, counted } => text.len().saturating_sub(*counted),
            Self::Frame { bytes, .. } => *bytes,
        }
    }

    /// Returns how many bytes are held until the peer has handled it.
    fn kept(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Frame { .. } => 0,
        }
    }

    /// Returns how many credits it takes.
    fn weight(&self) -> u32 {
        let weight = 1 + self.kept() / BYTES_PER_CREDIT;
        u32::try_from(weight.min(MAX_IN_FLIGHT)).expect("the maximum fits")
    }
}

/// Command of a peer to its WebSocket; messages to the client wait in its outbox instead.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToSocket {
    /// The peer to attach. The client's messages are held back.
    Attach(Recipient<FromSocket>),
    /// The peer is ready for the client's messages.
    Flow,
    /// Order to send a ping.
    Ping,
    /// Order to close the WebSocket.
    End(CloseFrame),
}

/// Parameters for opening a WebSocket.
pub(crate) struct Edge<'a> {
    /// Limit of every message and frame, in bytes; one that is larger is answered with this limit.
    pub(crate) max_frame: usize,
    pub(crate) protocols: &'a [&'static str],
    pub(crate) peer_id: PeerId,
    pub(crate) counters: Arc<Counters>,
}

/// A WebSocket that is about to open.
pub(crate) struct Opened {
    mail: Recipient<MailWaiting>,
    control: Recipient<ToSocket>,
    response: HttpResponse,
    fate: Rc<Fate>,
}

/// Interface to actix-web-actors: another library would need another implementation.
pub(crate) trait OpenSocket {
    /// Creates the socket's actor and the response that carries it.
    fn open(self, request: &HttpRequest, payload: Payload) -> Result<Opened, UpgradeError>;
}

impl OpenSocket for Edge<'_> {
    fn open(self, request: &HttpRequest, payload: Payload) -> Result<Opened, UpgradeError> {
        upgrade::check(request)?;
        let mut response = ws::handshake_with_protocols(request, self.protocols)
            .map_err(|error| UpgradeError::Malformed(error.to_string()))?;
        let fate = Rc::<Fate>::default();
        let socket = Socket {
            peer: None,
            flowing: false,
            held: VecDeque::new(),
            max_frame: self.max_frame,
            peer_id: self.peer_id,
            credits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            fate: Rc::clone(&fate),
            counters: self.counters,
            closing: None,
        };
        let mut frames = Frames::new(payload, self.max_frame);
        let reading = Rc::clone(&fate);
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
        Ok(Opened {
            mail: address.clone().recipient(),
            control: address.clone().recipient(),
            response: response.streaming(body),
            fate,
        })
    }
}

impl Opened {
    /// Returns what a peer needs to attach it.
    pub(crate) fn plug(&self, cable: &Arc<Cable>) -> Plug {
        let (mail, control) = (self.mail.clone(), self.control.clone());
        Plug { mail, control, cable: Arc::clone(cable) }
    }

    /// Marks the client as admitted, because it comes back to its peer: the limits before joining do not apply.
    pub(crate) fn resumed(self) -> Self {
        self.fate.admitted.set(true);
        self
    }

    /// Returns the response, whose body is the WebSocket and reports its end.
    pub(crate) fn respond(
        self,
        (attachment, number): (Arc<Attachment>, SocketNumber),
        cable: Arc<Cable>,
        admission: Admission,
        counters: Arc<Counters>,
    ) -> HttpResponse {
        let fate = self.fate;
        _ = fate.place.set(Place { attachment, number });
        self.response.map_body(|_, inner| {
            BoxBody::new(Body { inner, fate, cable, counters, admission: Some(admission) })
        })
    }
}

struct Socket {
    peer: Option<Recipient<FromSocket>>,
    flowing: bool,
    /// Input that arrived while no peer was ready for it.
    held: VecDeque<Event>,
    /// Credits for messages that the peer, on any thread, has not handled.
    credits: Arc<Semaphore>,
    max_frame: usize,
    peer_id: PeerId,
    fate: Rc<Fate>,
    counters: Arc<Counters>,
    /// The server has sent a close frame and waits for the client's: how many more bytes are read until then.
    closing: Option<usize>,
}

type Ctx = ws::WebsocketContext<Socket>;

impl Socket {
    fn tell(&mut self, event: Event, ctx: &mut Ctx) {
        if let Some(Place { attachment, number }) = self.fate.place.get()
            && !self.fate.heard.replace(true)
        {
            attachment.heard(*number);
        }
        let kept = |held: &VecDeque<Event>| held.iter().map(Event::kept).sum::<usize>();
        let admitted = self.fate.admitted.get();
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
                // Its peer is being restarted, or does not know this socket yet: the client waits.
                self.fate.shut.set(true);
            }
        } else {
            self.end(ctx, 1008, "sent too much before it had joined");
        }
    }

    /// Passes on to the peer what it is ready for. While the peer is busy, nothing is read, and the client waits.
    fn pass_on(&mut self, ctx: &mut Ctx) {
        let Some(place) = self.fate.place.get() else { return };
        let ready = |peer: &&Recipient<_>| self.flowing && peer.connected();
        let Some(peer) = self.peer.as_ref().filter(ready) else { return };
        while let Some(weight) = self.held.front().map(Event::weight) {
            let Ok(credit) = Arc::clone(&self.credits).try_acquire_many_owned(weight) else {
                let more = Arc::clone(&self.credits).acquire_many_owned(weight).into_actor(self);
                ctx.wait(more.map(|credit, this, ctx| {
                    // A large message may need all credits.
                    drop(credit);
                    this.pass_on(ctx);
                }));
                return;
            };
            let Some(event) = self.held.pop_front() else { return };
            // Bounded by the credit.
            peer.do_send(FromSocket { socket: place.number, event, _credit: credit });
        }
        self.fate.shut.set(false);
    }

    /// Closes, and reads no more.
    fn end(&mut self, ctx: &mut Ctx, code: u16, reason: &str) {
        self.fate.end.set(End::Closed);
        let description = (!reason.is_empty()).then(|| reason.to_owned());
        ctx.close(Some(ws::CloseReason { code: code.into(), description }));
        ctx.stop();
    }

    /// Closes, and reads on until the client's close frame, so that the connection can be closed right after it (RFC
    /// 6455 §7.1.1). For the peer, the socket has ended.
    fn close(&mut self, ctx: &mut Ctx, CloseFrame { code, reason }: CloseFrame) {
        if self.closing.replace(DISCARD).is_some() {
            return;
        }
        self.fate.end.set(End::Closed);
        let description = (!reason.is_empty()).then(|| reason.to_owned());
        ctx.close(Some(ws::CloseReason { code: code.into(), description }));
        self.held = VecDeque::new();
        if let Some(Place { attachment, number }) = self.fate.place.get() {
            attachment.ended(*number, End::Closed, None);
        }
        ctx.run_later(LINGER, |_, ctx| ctx.stop());
    }

    /// Discards input after our close frame, until the client's.
    fn discard(&mut self, left: usize, frame: &Result<Frame, FrameError>, ctx: &mut Ctx) {
        let bytes = match frame {
            Ok(Frame::Close(_)) => {
                self.fate.both_closed.set(true);
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
        let details = json!({ "max_bytes": self.max_frame });
        ctx.text(RoomMessage::error(self.peer_id, Description::MessageTooLarge, &details).encode());
        self.end(ctx, TOO_LARGE.code, TOO_LARGE.reason);
    }

    /// Passes on a frame that carries no message.
    fn frame(&mut self, ctx: &mut Ctx, bytes: usize, binary: bool) {
        self.tell(Event::Frame { bytes, binary }, ctx);
    }

    fn text(&mut self, ctx: &mut Ctx, text: ByteString, counted: usize) {
        if text == "ping" {
            ctx.text("pong");
            return self.frame(ctx, text.len() - counted, false);
        }
        self.counters.add(Count::Received);
        self.tell(Event::Text { text, counted }, ctx);
    }
}

impl Actor for Socket {
    type Context = Ctx;

    fn stopped(&mut self, _: &mut Self::Context) {
        // The body may have more to write, and stay for as long as the client does not read it.
        if let Some(Place { attachment, number }) = self.fate.place.get() {
            attachment.ended(*number, self.fate.end.get(), None);
        }
    }
}

impl StreamHandler<Result<Frame, FrameError>> for Socket {
    fn handle(&mut self, frame: Result<Frame, FrameError>, ctx: &mut Ctx) {
        if let Some(left) = self.closing {
            return self.discard(left, &frame, ctx);
        }
        match frame {
            Ok(Frame::Text { text, counted }) => self.text(ctx, text, counted),
            Ok(Frame::Binary { bytes }) => self.frame(ctx, bytes, true),
            Ok(Frame::Part { bytes } | Frame::Pong(bytes)) => self.frame(ctx, bytes, false),
            Ok(Frame::Ping(payload)) => {
                let bytes = payload.len();
                ctx.write_raw(ws::Message::Pong(payload));
                self.frame(ctx, bytes, false);
            }
            Ok(Frame::Close(reason)) => {
                if matches!(reason, None | Some((1000 | 1001, _))) {
                    self.fate.end.set(End::Closed);
                }
                ctx.close(reason.map(|(code, reason)| ws::CloseReason {
                    code: code.into(),
                    description: (!reason.is_empty()).then_some(reason),
                }));
                self.fate.both_closed.set(true);
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

impl Handler<MailWaiting> for Socket {
    type Result = ();

    fn handle(&mut self, _: MailWaiting, ctx: &mut Ctx) {
        self.send(ctx);
    }
}

impl Socket {
    /// Takes messages out of the outbox. They leave with the body's next chunk; the rest stays where another socket
    /// could find it.
    fn send(&mut self, ctx: &mut Ctx) {
        if self.closing.is_some() {
            return;
        }
        let fate = Rc::clone(&self.fate);
        let Some(Place { attachment, number }) = fate.place.get() else { return };
        let mut bytes = 0;
        while bytes < CHUNK {
            match attachment.outbox.next(*number) {
                Some(Deliver::Frame(text)) => {
                    bytes += text.len();
                    self.counters.add(Count::Sent);
                    ctx.text(text);
                }
                Some(Deliver::Close(close)) => return self.close(ctx, close),
                None => return,
            }
        }
        fate.full.set(true);
        ctx.spawn(NextChunk(fate).map(|(), this: &mut Self, ctx| this.send(ctx)));
    }
}

/// Future that is ready when the taken messages have been written. Polled with the body, so it needs no waker.
struct NextChunk(Rc<Fate>);

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
            ToSocket::Attach(peer) => {
                self.peer = Some(peer);
                self.flowing = false;
            }
            ToSocket::Flow => {
                self.flowing = true;
                self.fate.admitted.set(true);
                self.pass_on(ctx);
            }
            ToSocket::Ping => ctx.ping(b""),
            ToSocket::End(close) => self.close(ctx, close),
        }
    }
}

/// Number of messages of a client that are held until its peer has joined: some candidates that came too soon.
const MAX_HELD: usize = 64;
/// Number of their bytes, unless it is one message alone.
const MAX_HELD_BYTES: usize = 1 << 20;
/// Number of messages of a client that may wait for its peer: a bound on the peer's mailbox.
const MAX_IN_FLIGHT: usize = 256;
/// Larger messages count as several, so that 1 MiB may wait, or one message alone.
const BYTES_PER_CREDIT: usize = 4 * 1024;
/// Time limit of the wait for the client's close frame: as long as actix-http waits for the end of a connection.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read and discarded meanwhile.
const DISCARD: usize = 256 * 1024;
/// Shortest frame header of a client, in bytes (RFC 6455 §5.2).
const HEADER: usize = 6;
/// Bytes taken out at once: actix-http asks for more while it has fewer than this to write.
const CHUNK: usize = 32 * 1024;
