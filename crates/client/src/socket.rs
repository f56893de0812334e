//! A WebSocket to the server: how it is opened, polled and closed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, Stream, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::address::Address;
use crate::connector::{Connector, Transport};
use crate::error::UpgradeRefusal;
use crate::session::{ABNORMAL, Loss};

/// An open WebSocket.
pub(crate) struct Socket {
    frames: WebSocketStream<Box<dyn Transport>>,
    /// Whether something was written that may not have left this process.
    is_unflushed: bool,
    /// Whether nothing can be written any more.
    is_deaf: bool,
}

/// Something that has come from the server.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    /// A message that is no text.
    Other,
    /// A ping or a pong.
    Control,
    Lost(Loss),
}

impl Socket {
    /// Opens a WebSocket, with the token of a session to resume.
    pub(crate) async fn open(
        address: &Address,
        resume: Option<String>,
        max_message: usize,
        connector: &Connector,
    ) -> Result<Self, Loss> {
        let request = address.request(resume.as_deref()).map_err(Loss::Unreachable)?;
        let transport = connector.connect(address).await.map_err(Loss::Unreachable)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let opened =
            tokio_tungstenite::client_async_with_config(request, transport, Some(config)).await;
        match opened {
            Ok((frames, _)) => Ok(Self { frames, is_unflushed: false, is_deaf: false }),
            Err(Error::Http(response)) => Err(Loss::Refused(refusal(&response))),
            Err(error) => Err(Loss::Unreachable(error.to_string())),
        }
    }

    /// Sends texts while the connection takes them. Returns true when the last of them has left this
    /// process.
    pub(crate) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        mut next: impl FnMut() -> Option<String>,
    ) -> bool {
        if self.is_deaf {
            return false;
        }
        loop {
            match self.frames.poll_ready_unpin(context) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.is_broken(),
            }
            let Some(text) = next() else { break };
            self.is_unflushed = true;
            if self.frames.start_send_unpin(Message::text(text)).is_err() {
                return self.is_broken();
            }
        }
        if !self.is_unflushed {
            return false;
        }
        match self.frames.poll_flush_unpin(context) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                self.is_unflushed = false;
                true
            }
            Poll::Ready(Err(_)) => self.is_broken(),
        }
    }

    /// Returns the next thing from the server.
    pub(crate) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Incoming> {
        let next = ready!(Pin::new(&mut self.frames).poll_next(context));
        Poll::Ready(match next {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::Control,
            Some(Ok(Message::Binary(_))) => Incoming::Other,
            Some(Ok(Message::Close(close))) => Incoming::Lost(closed(close)),
            Some(Err(error)) => Incoming::Lost(loss(&error)),
            None => Incoming::Lost(loss(&Error::ConnectionClosed)),
        })
    }

    /// Sends these texts and a close frame, and waits a moment for the server's.
    pub(crate) async fn close(mut self, code: u16, texts: Vec<String>) {
        let closing = async {
            for text in texts {
                self.frames.feed(Message::text(text)).await?;
            }
            let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::default() };
            self.frames.send(Message::Close(Some(frame))).await?;
            while let Some(Ok(_)) = self.frames.next().await {}
            Ok::<_, Error>(())
        };
        // A server that does not take it finds the connection closed.
        _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }

    /// Notes that nothing can be written any more. What the server has said before can still be read.
    fn is_broken(&mut self) -> bool {
        self.is_deaf = true;
        false
    }
}

/// Returns the server's refusal.
fn refusal(response: &Response<Option<Vec<u8>>>) -> UpgradeRefusal {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Body {
        error: String,
        detail: serde_json::Value,
        details: serde_json::Value,
    }
    let body = response.body().as_deref().unwrap_or_default();
    let Body { error, detail, details } = serde_json::from_slice(body).unwrap_or_default();
    let retry_after = response.headers().get("retry-after");
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    UpgradeRefusal { status: response.status().as_u16(), error, detail, details, retry_after }
}

fn closed(close: Option<CloseFrame>) -> Loss {
    match close {
        Some(close) => Loss::Ended { code: close.code.into(), reason: close.reason.to_string() },
        None => Loss::Ended { code: NO_CODE, reason: String::new() },
    }
}

fn loss(error: &Error) -> Loss {
    let code = match error {
        Error::Capacity(_) => 1009,
        Error::Utf8(_) => 1007,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ABNORMAL,
        Error::Protocol(_) => 1002,
        _ => ABNORMAL,
    };
    let reason = error.to_string();
    if code == ABNORMAL { Loss::Ended { code, reason } } else { Loss::Violation { code, reason } }
}

/// Buffer of each read: messages of a room are small.
const READ_BUFFER: usize = 8_192;
/// Close code of a connection whose close frame has none.
const NO_CODE: u16 = 1005;
/// How long the server may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
