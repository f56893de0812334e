//! Peer connections that send back what comes on data channels, for `integration-tests/load`: an offer that is posted
//! to /echo gets its answer, with all candidates.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::sdp::RTCSessionDescription;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::*;
use webrtc::runtime::default_runtime;

use crate::peer::Result;

/// On a port of its own, and says which; until standard input ends.
pub(crate) async fn serve(ip: IpAddr) -> Result<()> {
    let listener = TcpListener::bind((ip, 0)).await?;
    println!("{}", listener.local_addr()?);
    let accepting = async {
        loop {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let answering = service_fn(move |request| respond(ip, request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answering));
        }
    };
    let mut input = tokio::io::stdin();
    tokio::select! {
        ended = accepting => ended,
        _ = async { while input.read(&mut [0; 64]).await.is_ok_and(|length| length > 0) {} } => Ok(()),
    }
}

async fn respond(
    ip: IpAddr,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match request.uri().path() {
        "/echo" => match answer(ip, request).await {
            Ok(answer) => (StatusCode::CREATED, answer),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
        },
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}

async fn answer(ip: IpAddr, request: Request<Incoming>) -> Result<String> {
    let offer = Limited::new(request.into_body(), MOST).collect().await?.to_bytes();
    let offer = RTCSessionDescription::offer(String::from_utf8(offer.to_vec())?)?;
    let mut media_engine = MediaEngine::default();
    media_engine.register_default_codecs()?;
    let registry = register_default_interceptors(Registry::new(), &mut media_engine)?;
    let (gathered, all_gathered) = oneshot::channel();
    let echo = Arc::new(Echo::default());
    *echo.gathered.lock().unwrap() = Some(gathered);
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media_engine)
        .with_interceptor_registry(registry)
        .with_handler(Arc::clone(&echo) as Arc<dyn PeerConnectionEventHandler>)
        .with_runtime(default_runtime().ok_or("no runtime")?)
        .with_udp_addrs(vec![format!("{ip}:0")])
        .build()
        .await?;
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    *echo.connection.lock().unwrap() = Some(Arc::clone(&connection));
    connection.set_remote_description(offer).await?;
    let answer = connection.create_answer(None).await?;
    connection.set_local_description(answer).await?;
    all_gathered.await?;
    Ok(connection.local_description().await.ok_or("no description")?.sdp)
}

/// One connection, which this keeps up.
#[derive(Default)]
struct Echo {
    gathered: Mutex<Option<oneshot::Sender<()>>>,
    connection: Mutex<Option<Arc<dyn PeerConnection>>>,
}

impl Echo {
    fn close(&self) {
        let connection = self.connection.lock().unwrap().take();
        // Not here: this runs on the connection's own driver.
        tokio::spawn(async move {
            if let Some(connection) = connection {
                _ = connection.close().await;
            }
        });
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Echo {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete
            && let Some(gathered) = self.gathered.lock().unwrap().take()
        {
            // The client that asked may be gone.
            _ = gathered.send(());
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Failed {
            self.close();
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let connection = self.connection.lock().unwrap().clone();
        tokio::spawn(async move {
            while let Some(event) = channel.poll().await {
                let sent = match event {
                    DataChannelEvent::OnMessage(message) if message.is_string => {
                        channel.send_text(&String::from_utf8_lossy(&message.data)).await
                    }
                    DataChannelEvent::OnMessage(message) => channel.send(message.data).await,
                    DataChannelEvent::OnClose => break,
                    _ => Ok(()),
                };
                if sent.is_err() {
                    break;
                }
            }
            if let Some(connection) = connection {
                _ = connection.close().await;
            }
        });
    }
}

/// No offer is longer, in bytes.
const MOST: usize = 1 << 20;
