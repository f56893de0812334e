//! Deadlines for the bodies of requests; actix-web and actix-http have none.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, RequestHead, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpResponse};
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use tokio::time::{Sleep, sleep};

/// Creates middleware that answers a request with 408 and ends its connection if the body has not come within `limit`
/// after the head; it also ends the connection if the handler does not read the whole body. Without it a client can
/// keep a connection open for ever by never ending its body. The routes of
/// `callboard-signaling` and `callboard-admin` have it. What a client sends after the answer 101 is not a body, and may
/// take any time; that a request asks for another protocol changes nothing.
///
/// ```no_run
/// # use std::time::Duration;
/// # use actix_web::{App, HttpServer, middleware::from_fn, web};
/// use callboard_websocket::body_within;
///
/// # let offer = || async { "answer" };
/// let app = move || {
///     App::new().route("/offer", web::post().to(offer)).wrap(from_fn(body_within(Duration::from_secs(10))))
/// };
/// # _ = callboard_websocket::tune(HttpServer::new(app));
/// ```
pub fn body_within<B: MessageBody + 'static>(
    limit: Duration,
) -> impl Fn(ServiceRequest, Next<B>) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>
{
    within(limit, |head| has_body(head) || may_send_on(head))
}

/// Creates the same middleware for a handler that reads nothing but a WebSocket's frames: it does not limit these.
pub fn no_body_within<B: MessageBody + 'static>(
    limit: Duration,
) -> impl Fn(ServiceRequest, Next<B>) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>
{
    within(limit, has_body)
}

fn within<B: MessageBody + 'static>(
    limit: Duration,
    limited: fn(&RequestHead) -> bool,
) -> impl Fn(ServiceRequest, Next<B>) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>
{
    move |mut request, next| {
        let body = limited(request.head()).then(|| Shared::of(&mut request, limit));
        Box::pin(async move {
            let response = next.call(request).await?;
            let Some(Shared { payload, state }) = body else {
                return Ok(response.map_into_boxed_body());
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                state.set(State::Upgraded);
            }
            Ok(match state.get() {
                State::Whole | State::Upgraded => response.map_into_boxed_body(),
                State::Coming => response.map_body(|_, body| Unread::of(body, payload)),
                State::Late => {
                    let late = too_late().map_body(|_, body| Unread::of(body, payload));
                    ServiceResponse::new(response.into_parts().0, late)
                }
            })
        })
    }
}

fn has_body(head: &RequestHead) -> bool {
    head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING)
}

/// Returns whether actix-http takes all following input for the body, even beyond the announced length.
fn may_send_on(head: &RequestHead) -> bool {
    let mut protocols = head.headers.get_all(UPGRADE);
    head.method == Method::CONNECT
        || protocols.any(|it| it.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

fn too_late() -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::REQUEST_TIMEOUT);
    response.json(json!({ "error": "timeout", "detail": "the body did not come" }))
}

/// Progress of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Coming,
    Whole,
    Late,
    /// There is no body: the connection has switched to another protocol.
    Upgraded,
}

/// The middleware's part of a body that a handler reads.
struct Shared {
    payload: Rc<RefCell<Payload>>,
    state: Rc<Cell<State>>,
}

impl Shared {
    /// Replaces the body of a request with one that has a deadline.
    fn of(request: &mut ServiceRequest, limit: Duration) -> Self {
        let payload = Rc::new(RefCell::new(request.take_payload()));
        let state = Rc::new(Cell::new(State::Coming));
        let body = Body {
            payload: Rc::clone(&payload),
            deadline: Some(Box::pin(sleep(limit))),
            state: Rc::clone(&state),
        };
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
        Self { payload, state }
    }
}

/// A body with a deadline.
struct Body {
    payload: Rc<RefCell<Payload>>,
    deadline: Option<Pin<Box<Sleep>>>,
    state: Rc<Cell<State>>,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { payload, deadline, state } = self.get_mut();
        let next = Pin::new(&mut *payload.borrow_mut()).poll_next(cx);
        if state.get() == State::Upgraded {
            *deadline = None;
        }
        let Some(deadline) = deadline else { return next };
        match next {
            Poll::Ready(None) => state.set(State::Whole),
            // A client that sends a little again and again is late as well.
            _ if deadline.as_mut().poll(cx).is_ready() => {
                state.set(State::Late);
                return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())));
            }
            _ => {}
        }
        next
    }
}

/// Body of a response to a request whose body was not read. While it exists, actix-http does not wait for the rest of
/// the request's body, and ends the connection.
struct Unread {
    body: BoxBody,
    _payload: Rc<RefCell<Payload>>,
}

impl Unread {
    fn of(body: impl MessageBody + 'static, payload: Rc<RefCell<Payload>>) -> BoxBody {
        BoxBody::new(Self { body: body.boxed(), _payload: payload })
    }
}

impl MessageBody for Unread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }
}

/// Deadline of bodies on our own routes, which need little or none.
pub const BODY_TIME: Duration = Duration::from_secs(5);
