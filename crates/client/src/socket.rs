//! A WebSocket to the server: how it is opened, polled and closed. The only file that names tungstenite's types.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::address::Address;
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

/// A connection that carries a WebSocket.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Something that has come from the server.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    /// A message that is no text.
    Other,
    /// A ping or a pong.
    SignOfLife,
    Lost(Loss),
}

impl Socket {
    /// Opens a WebSocket, with the token of a session to resume.
    pub(crate) async fn open(
        address: &Address,
        resume: Option<String>,
        max_message: usize,
        tls: &Tls,
    ) -> Result<Self, Loss> {
        let unreachable = |error: std::io::Error| Loss::Unreachable(error.to_string());
        let request = address.request(resume.as_deref()).map_err(Loss::Unreachable)?;
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await;
        let tcp = tcp.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let transport: Box<dyn Transport> = match address.is_secure {
            true => tls.connect(&address.host, tcp).await.map_err(Loss::Unreachable)?,
            false => Box::new(tcp),
        };
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
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                Incoming::SignOfLife
            }
            Some(Ok(Message::Binary(_))) => Incoming::Other,
            Some(Ok(Message::Close(close))) => Incoming::Lost(closed(close)),
            Some(Err(error)) => Incoming::Lost(loss(&error)),
            None => Incoming::Lost(loss(&Error::ConnectionClosed)),
        })
    }

    /// Sends these texts and a close frame, and waits a moment for the server's.
    pub(crate) async fn close(mut self, code: u16, texts: Vec<String>) {
        let goodbye = async {
            for text in texts {
                self.frames.feed(Message::text(text)).await?;
            }
            let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::default() };
            self.frames.send(Message::Close(Some(frame))).await?;
            while let Some(Ok(_)) = self.frames.next().await {}
            Ok::<_, Error>(())
        };
        // A server that does not take it finds the connection closed.
        _ = tokio::time::timeout(GOODBYE, goodbye).await;
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
    }
    let body = response.body().as_deref().unwrap_or_default();
    let Body { error, detail } = serde_json::from_slice(body).unwrap_or_default();
    let retry_after = response.headers().get("retry-after");
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    UpgradeRefusal { status: response.status().as_u16(), error, detail, retry_after }
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

/// Configuration of TLS, shared by all connections of a client.
#[derive(Clone)]
pub(crate) struct Tls {
    #[cfg(feature = "tls")]
    connector: Option<tokio_rustls::TlsConnector>,
}

#[cfg(feature = "tls")]
impl Tls {
    /// Reads the system's certificates, if TLS is needed at all.
    pub(crate) fn new(is_needed: bool, trusted: &[u8]) -> Result<Self, String> {
        use rustls_pki_types::CertificateDer;
        use rustls_pki_types::pem::PemObject;
        if !is_needed {
            return Ok(Self { connector: None });
        }
        let mut roots = rustls::RootCertStore::empty();
        // Those that cannot be read vouch for nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in CertificateDer::pem_slice_iter(trusted) {
            let certificate = certificate.map_err(|error| format!("certificate: {error}"))?;
            roots.add(certificate).map_err(|error| format!("certificate: {error}"))?;
        }
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { connector: Some(std::sync::Arc::new(config).into()) })
    }

    async fn connect(&self, host: &str, tcp: TcpStream) -> Result<Box<dyn Transport>, String> {
        let name = rustls_pki_types::ServerName::try_from(host.to_owned())
            .map_err(|error| error.to_string())?;
        let connector = self.connector.as_ref().ok_or("there is no TLS")?;
        let stream = connector.connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;
        Ok(Box::new(stream))
    }
}

#[cfg(not(feature = "tls"))]
impl Tls {
    async fn connect(&self, _: &str, _: TcpStream) -> Result<Box<dyn Transport>, String> {
        Err("TLS needs the feature `tls`".to_owned())
    }
}

/// Buffer of each read: messages of a room are small.
const READ_BUFFER: usize = 8_192;
/// Close code of a connection whose close frame has none.
const NO_CODE: u16 = 1005;
/// How long the server may take to answer a close frame.
const GOODBYE: Duration = Duration::from_secs(1);
