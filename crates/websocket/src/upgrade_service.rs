//! HTTP service for actix-web apps with WebSockets that hold no buffers while they are idle.
//!
//! actix-http keeps 16 KiB of buffers with each connection. If there is a service for upgrades, it hands the connection
//! over and drops its buffers; the rest of the work is small enough to be written here. The app stays the same, and so
//! do its WebSockets: a payload that is read, and a body that is written.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_codec::{AsyncRead, AsyncWrite, Encoder, Framed, FramedParts, ReadBuf};
use actix_http::error::{DispatchError, PayloadError};
use actix_http::h1::{Codec, ExpectHandler, Message};
use actix_http::{BoxedPayloadStream, ConnectionType, HttpService, Payload, Request, Response};
use actix_service::boxed::{self, BoxService, BoxServiceFactory};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service,
    map_config,
};
#[cfg(feature = "tls")]
use actix_tls::accept::{TlsError, rustls_0_23::TlsStream};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::AppConfig;
use actix_web::http::StatusCode;
use actix_web::rt::net::TcpStream;
use actix_web::web::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use tokio::time::timeout;

use crate::open_connections::{Open, draining};
use crate::tcp_connection::{TcpDescriptor, on_connect};

/// Creates an actix-web app as a service of TCP connections, for actix-server: where
/// [`HttpServer`](actix_web::HttpServer) keeps about 9 KiB for an idle WebSocket, this keeps none of it. Otherwise it
/// equals a [tuned](crate::tune) server with actix-http's defaults. The app is created twice in each worker: for
/// upgrades, and for all other requests.
///
/// ```no_run
/// use actix_web::{App, web};
/// use callboard_websocket::http_service;
///
/// # #[actix_web::main]
/// # async fn main() -> std::io::Result<()> {
/// let app = || App::new().route("/", web::get().to(|| async { "hello" }));
/// let server = actix_server::Server::build().bind("http", "127.0.0.1:8080", move || http_service(app))?;
/// server.run().await
/// # }
/// ```
pub fn http_service<F, I, S, B>(
    app: F,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    F: Fn() -> I + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    service(move || erase(app())).tcp()
}

/// Creates the same service over TLS.
#[cfg(feature = "tls")]
pub fn https_service<F, I, S, B>(
    app: F,
    config: rustls::ServerConfig,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (),
    Error = TlsError<io::Error, DispatchError>,
    InitError = (),
>
where
    F: Fn() -> I + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    service::<TlsStream<TcpStream>>(move || erase(app())).rustls_0_23(config)
}

/// An app of any type.
type AnyApp = BoxServiceFactory<(), Request, Response<BoxBody>, Response<BoxBody>, ()>;
type ReadyApp = BoxService<Request, Response<BoxBody>, Response<BoxBody>>;
type Upgrades<T> = BoxServiceFactory<(), (Request, Framed<T, Codec>), (), actix_http::Error, ()>;

fn erase<I, S, B>(app: I) -> AnyApp
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let app = map_config(app, |()| AppConfig::default())
        .map(|response: S::Response| response.into().map_body(|_, body| body.boxed()))
        .map_err(Into::into)
        .map_init_err(|error| log::error!("the app cannot be built: {error:?}"));
    boxed::factory(app)
}

fn service<T>(
    app: impl Fn() -> AnyApp + 'static,
) -> HttpService<T, AnyApp, BoxBody, ExpectHandler, Upgrades<T>>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let plain = app();
    let app = Rc::new(app());
    let upgrades = fn_factory(move || {
        let app = Rc::clone(&app);
        async move {
            let app = Rc::new(app.new_service(()).await?);
            Ok(fn_service(move |(request, framed)| upgrade(Rc::clone(&app), request, framed)))
        }
    });
    HttpService::build()
        .tcp_nodelay(true)
        .graceful_shutdown_signal(draining)
        .on_connect_ext(|connection: &T, extensions| on_connect(connection, extensions))
        .upgrade(boxed::factory(upgrades))
        .finish(plain)
}

/// Handles a connection that asks for another protocol; it ends with the response.
fn upgrade<T>(app: Rc<ReadyApp>, request: Request, framed: Framed<T, Codec>) -> Upgraded<T>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let open = request.conn_data::<TcpDescriptor>().map(TcpDescriptor::open);
    Upgraded { stage: Stage::Answering(Box::pin(answer(app, request, framed))), open }
}

/// Connection that has asked for another protocol. Not an async block, which would have room for each stage's values at
/// once, for as long as the WebSocket is open.
struct Upgraded<T> {
    stage: Stage<T>,
    /// Counts the connection as open.
    open: Option<Arc<Open>>,
}

/// Stage of such a connection. The short ones are boxed: they take more memory than the long one.
enum Stage<T> {
    Answering(Pin<Box<dyn Future<Output = io::Result<Outgoing<T>>>>>),
    Writing(Outgoing<T>),
    SayingGoodbye(Pin<Box<dyn Future<Output = ()>>>),
    Ended,
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Future for Upgraded<T> {
    type Output = Result<(), actix_http::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Answering(answering) => match ready!(answering.as_mut().poll(cx)) {
                    Ok(outgoing) => this.stage = Stage::Writing(outgoing),
                    Err(_) => break,
                },
                Stage::Writing(outgoing) => {
                    let written = ready!(outgoing.poll(cx));
                    let Stage::Writing(outgoing) = mem::replace(&mut this.stage, Stage::Ended)
                    else {
                        break;
                    };
                    if written.is_err() {
                        break;
                    }
                    this.stage = Stage::SayingGoodbye(Box::pin(goodbye(outgoing)));
                }
                Stage::SayingGoodbye(goodbye) => {
                    ready!(goodbye.as_mut().poll(cx));
                    break;
                }
                Stage::Ended => break,
            }
        }
        this.stage = Stage::Ended;
        this.open = None;
        Poll::Ready(Ok(()))
    }
}

/// Says goodbye to a client that has got the whole response. Its body counts as open until then.
async fn goodbye<T: AsyncRead + AsyncWrite + Unpin>(outgoing: Outgoing<T>) {
    // A client that does not take it is gone.
    _ = timeout(GOODBYE, say_goodbye(Rc::clone(&outgoing.io))).await;
}

/// Closes our half, and then waits for the client's: a connection that is closed with unread input is reset, which may
/// destroy what was written last (RFC 9112 §9.6). A client that goes on sending is read only up to [`DISCARD`] bytes.
async fn say_goodbye<T: AsyncRead + AsyncWrite + Unpin>(io: Rc<RefCell<T>>) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *io.borrow_mut()).poll_shutdown(cx)).await?;
    let mut left = DISCARD;
    loop {
        let read = poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); READ];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *io.borrow_mut()).poll_read(cx, &mut read))?;
            Poll::Ready(io::Result::Ok(read.filled().len()))
        });
        match read.await? {
            0 => return Ok(()),
            read if read < left => left -= read,
            _ => return std::future::pending().await,
        }
    }
}

async fn answer<T>(
    app: Rc<ReadyApp>,
    request: Request,
    framed: Framed<T, Codec>,
) -> io::Result<Outgoing<T>>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let FramedParts { io, codec, read_buf, .. } = framed.into_parts();
    let io = Rc::new(RefCell::new(io));
    // Copied, because the buffer is large.
    let incoming = Incoming { io: Rc::clone(&io), first: Bytes::copy_from_slice(&read_buf) };
    drop(read_buf);
    let payload: BoxedPayloadStream = Box::pin(incoming);
    let (request, _) = request.replace_payload(Payload::Stream { payload });
    let response = app.call(request).await.unwrap_or_else(|error| error);
    Outgoing::new(io, codec, response)
}

/// Input of the client, read only on demand.
struct Incoming<T> {
    io: Rc<RefCell<T>>,
    /// Bytes that came together with the request.
    first: Bytes,
}

impl<T: AsyncRead + Unpin> Stream for Incoming<T> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut this.first))));
        }
        let mut space = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *this.io.borrow_mut()).poll_read(cx, &mut read))?;
        match read.filled() {
            [] => Poll::Ready(None),
            bytes => Poll::Ready(Some(Ok(Bytes::copy_from_slice(bytes)))),
        }
    }
}

/// Writer of a response. As in actix-http, its body is asked for more once its previous output has been taken.
struct Outgoing<T> {
    io: Rc<RefCell<T>>,
    body: BoxBody,
    /// Encoder of a body that is not the requested protocol: a refusal.
    codec: Option<Box<Codec>>,
    unwritten: Bytes,
    /// The body has ended.
    whole: bool,
}

impl<T> Outgoing<T> {
    fn new(io: Rc<RefCell<T>>, mut codec: Codec, response: Response<BoxBody>) -> io::Result<Self> {
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let mut body = None;
        let mut response = response.map_body(|_, its| body = Some(its));
        let body = body.unwrap_or_else(|| BoxBody::new(()));
        if !upgraded {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let mut head = BytesMut::new();
        codec.encode(Message::Item((response, body.size())), &mut head)?;
        let codec = (!upgraded).then(|| Box::new(codec));
        Ok(Self { io, body, codec, unwritten: head.freeze(), whole: false })
    }
}

impl<T: AsyncWrite + Unpin> Outgoing<T> {
    /// Polls the output; ready when everything has been written.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // A refusal leaves in one piece, as from actix-http.
            let refusal = self.codec.is_some();
            while refusal && !self.whole && self.unwritten.len() < READ {
                if self.poll_body(cx)?.is_pending() {
                    break;
                }
            }
            while !self.unwritten.is_empty() {
                let mut io = self.io.borrow_mut();
                match ready!(Pin::new(&mut *io).poll_write(cx, &self.unwritten))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.unwritten.advance(written),
                }
            }
            // Written bytes are not kept.
            self.unwritten = Bytes::new();
            if self.whole || self.poll_body(cx)?.is_pending() {
                ready!(Pin::new(&mut *self.io.borrow_mut()).poll_flush(cx))?;
                return if self.whole { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    /// Takes the next output of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let next = ready!(Pin::new(&mut self.body).poll_next(cx)).transpose();
        let next = next.map_err(|error| io::Error::other(error.to_string()))?;
        self.whole = next.is_none();
        self.unwritten = match &mut self.codec {
            None => next.unwrap_or_default(),
            Some(codec) => {
                let mut all = BytesMut::from(std::mem::take(&mut self.unwritten));
                codec.encode(Message::Chunk(next), &mut all)?;
                all.freeze()
            }
        };
        Poll::Ready(Ok(()))
    }
}

/// Bytes read at once.
const READ: usize = 8 * 1024;
/// Time limit of closing a connection.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes read and discarded meanwhile.
const DISCARD: usize = 256 * 1024;
