//! The WebSocket edge: the only file that names actix-web-actors.
//!
//! The socket is a thin pipe. What comes from the client goes to the peer's actor, what the room has for the client
//! goes out. It decides nothing: it is polled only while the client reads, so clocks and counts live in the peer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use actix::prelude::*;
use actix_http::ws::Item;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws;
use bytestring::ByteString;
use callboard_room_supervisor::{Close, Deliver, Outbox};

use crate::cable::Cable;
use crate::counters::{Count, Counters};
use crate::limits::Admission;
use crate::session::TOO_LARGE;

/// What a WebSocket tells the peer behind it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum FromSocket {
    /// A whole text message.
    Text(ByteString),
    /// The text `ping`, or a ping, pong or binary frame of this size.
    Frame { bytes: usize, binary: bool },
    /// The connection has ended.
    Gone,
}

/// What a WebSocket is told by the peer behind it; what is for the client comes as [`Deliver`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToSocket {
    /// This is the peer now. Hold the client's messages back.
    Attach(Recipient<FromSocket>),
    /// The peer is ready for them.
    Flow,
    /// Send a ping.
    Ping,
}

/// How to open a WebSocket.
pub(crate) struct Edge<'a> {
    pub(crate) max_message: usize,
    pub(crate) protocols: &'a [&'static str],
    /// What a client is told whose message is too large.
    pub(crate) too_large: ByteString,
    pub(crate) counters: Arc<Counters>,
}

/// A WebSocket that is about to open.
pub(crate) struct Opened {
    pub(crate) deliver: Recipient<Deliver>,
    pub(crate) control: Recipient<ToSocket>,
    response: HttpResponse,
    handed_over: HandedOver,
}

/// The trait behind which actix-web-actors stands: another library would bring another implementation.
pub(crate) trait OpenSocket {
    /// Why a request opens no WebSocket.
    type Error: std::fmt::Display;

    /// Whether the request asks for a WebSocket as it must (RFC 6455 §4.2.1).
    fn check(request: &HttpRequest) -> Result<(), Self::Error>;

    /// Make the socket's actor and the response that carries it.
    fn open(self, request: &HttpRequest, payload: Payload) -> Result<Opened, Self::Error>;
}

impl OpenSocket for Edge<'_> {
    type Error = ws::HandshakeError;

    fn check(request: &HttpRequest) -> Result<(), Self::Error> {
        ws::handshake(request).map(|_| ())
    }

    fn open(self, request: &HttpRequest, payload: Payload) -> Result<Opened, Self::Error> {
        Self::check(request)?;
        let handed_over = HandedOver::default();
        let socket = Socket {
            peer: None,
            flowing: false,
            held: VecDeque::new(),
            fragments: None,
            max_message: self.max_message,
            too_large: self.too_large,
            handed_over: Rc::clone(&handed_over),
            counters: self.counters,
        };
        let (addr, response) = ws::WsResponseBuilder::new(socket, request, payload)
            .protocols(self.protocols)
            .frame_size(self.max_message)
            .start_with_addr()
            .map_err(|_| ws::HandshakeError::BadWebsocketKey)?;
        Ok(Opened {
            deliver: addr.clone().recipient(),
            control: addr.recipient(),
            response,
            handed_over,
        })
    }
}

impl Opened {
    /// The response, whose body is the WebSocket: it reports to the outbox what has left, and to the cable its end.
    pub(crate) fn respond(
        self,
        outbox: Arc<Outbox>,
        cable: Arc<Cable>,
        admission: Admission,
        counters: Arc<Counters>,
    ) -> HttpResponse {
        let handed_over = self.handed_over;
        self.response.map_body(|_, inner| {
            BoxBody::new(Body {
                inner,
                outbox,
                handed_over,
                cable,
                counters,
                _admission: admission,
            })
        })
    }
}

/// Messages and bytes that the actor has handed to actix and that have not left with the body's next chunk.
type HandedOver = Rc<Cell<(usize, usize)>>;

struct Socket {
    peer: Option<Recipient<FromSocket>>,
    flowing: bool,
    /// What came while no peer was ready for it.
    held: VecDeque<FromSocket>,
    /// The parts of a fragmented message; none while none is under way. `Some(None)`: a binary one, not kept.
    fragments: Option<Option<BytesMut>>,
    max_message: usize,
    too_large: ByteString,
    handed_over: HandedOver,
    counters: Arc<Counters>,
}

type Ctx = ws::WebsocketContext<Socket>;

impl Socket {
    fn tell(&mut self, event: FromSocket, ctx: &mut Ctx) {
        match self.peer.as_ref().filter(|peer| self.flowing && peer.connected()) {
            // Bounded: the peer runs on this thread after each read, and what is read at once is bounded.
            Some(peer) => peer.do_send(event),
            None if self.held.len() < MAX_HELD => self.held.push_back(event),
            None => self.end(ctx, 1008, "sent too much before it had joined"),
        }
    }

    fn end(&mut self, ctx: &mut Ctx, code: u16, reason: &str) {
        let description = (!reason.is_empty()).then(|| reason.to_owned());
        ctx.close(Some(ws::CloseReason { code: code.into(), description }));
        ctx.stop();
    }

    /// Nothing more is read after this: the rest of the message would follow.
    fn too_large(&mut self, ctx: &mut Ctx) {
        ctx.text(self.too_large.clone());
        self.end(ctx, TOO_LARGE.code, TOO_LARGE.reason);
    }

    /// A frame that carries no message.
    fn frame(&mut self, ctx: &mut Ctx, bytes: usize, binary: bool) {
        self.tell(FromSocket::Frame { bytes, binary }, ctx);
    }

    fn text(&mut self, ctx: &mut Ctx, text: ByteString) {
        if text == "ping" {
            ctx.text("pong");
            return self.frame(ctx, text.len(), false);
        }
        self.counters.add(Count::Received);
        self.tell(FromSocket::Text(text), ctx);
    }

    /// One part of a fragmented message (RFC 6455 §5.4).
    fn fragment(&mut self, ctx: &mut Ctx, item: Item) {
        let (part, last) = match (item, &mut self.fragments) {
            (Item::FirstText(part), None) => {
                self.fragments = Some(Some(BytesMut::new()));
                (part, false)
            }
            (Item::FirstBinary(part), None) => {
                self.fragments = Some(None);
                (part, false)
            }
            (Item::Continue(part), Some(_)) => (part, false),
            (Item::Last(part), Some(_)) => (part, true),
            _ => return self.end(ctx, 1002, "fragments out of order"),
        };
        self.frame(ctx, part.len(), false);
        if let Some(Some(text)) = &mut self.fragments {
            if text.len() + part.len() > self.max_message {
                return self.too_large(ctx);
            }
            text.extend_from_slice(&part);
        }
        if last {
            match self.fragments.take().flatten().map(|text| ByteString::try_from(text.freeze())) {
                Some(Ok(text)) => self.text(ctx, text),
                Some(Err(_)) => self.end(ctx, 1007, "not UTF-8"),
                None => self.frame(ctx, 0, true),
            }
        }
    }
}

impl Actor for Socket {
    type Context = Ctx;

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(peer) = &self.peer {
            // Once.
            peer.do_send(FromSocket::Gone);
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Socket {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Ctx) {
        match message {
            Ok(ws::Message::Text(text)) => self.text(ctx, text),
            Ok(ws::Message::Binary(bytes)) => self.frame(ctx, bytes.len(), true),
            Ok(ws::Message::Continuation(item)) => self.fragment(ctx, item),
            Ok(ws::Message::Ping(bytes)) => {
                ctx.pong(&bytes);
                self.frame(ctx, bytes.len(), false);
            }
            Ok(ws::Message::Pong(bytes)) => self.frame(ctx, bytes.len(), false),
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(ws::Message::Nop) => {}
            Err(ws::ProtocolError::Overflow) => self.too_large(ctx),
            Err(ws::ProtocolError::Io(error)) if error.to_string().contains("UTF") => {
                self.end(ctx, 1007, "not UTF-8")
            }
            Err(ws::ProtocolError::Io(_)) => ctx.stop(),
            Err(error) => self.end(ctx, 1002, &error.to_string()),
        }
    }
}

impl Handler<Deliver> for Socket {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Ctx) {
        match deliver {
            Deliver::Frame(text) => {
                let (messages, bytes) = self.handed_over.get();
                self.handed_over.set((messages + 1, bytes + text.len()));
                self.counters.add(Count::Sent);
                ctx.text(text);
            }
            Deliver::Close(Close { code, reason }) => self.end(ctx, code, reason),
        }
    }
}

impl Handler<ToSocket> for Socket {
    type Result = ();

    fn handle(&mut self, told: ToSocket, ctx: &mut Ctx) {
        match told {
            ToSocket::Attach(peer) => {
                self.peer = Some(peer);
                self.flowing = false;
            }
            ToSocket::Flow => {
                self.flowing = true;
                for event in std::mem::take(&mut self.held) {
                    self.tell(event, ctx);
                }
            }
            ToSocket::Ping => ctx.ping(b""),
        }
    }
}

/// The response body around the WebSocket.
struct Body {
    inner: BoxBody,
    outbox: Arc<Outbox>,
    handed_over: HandedOver,
    cable: Arc<Cable>,
    counters: Arc<Counters>,
    _admission: Admission,
}

impl MessageBody for Body {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let chunk = ready!(Pin::new(&mut self.inner).poll_next(cx));
        // A chunk carries everything that was handed over before it.
        let (messages, bytes) = self.handed_over.take();
        self.outbox.drained(messages, bytes);
        Poll::Ready(chunk)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.counters.add(Count::Ended);
        self.cable.ended();
    }
}

/// How many messages of a client are kept until its peer has joined: some candidates that came too soon.
const MAX_HELD: usize = 64;
