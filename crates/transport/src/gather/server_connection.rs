//! Connection to a TURN server: a socket or a stream of its own, and the task that serves it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;

use super::{RelayId, RelayTransport};

/// Event of a connection to a server.
pub(super) enum ServerEvent {
    Open(RelayId, SocketAddr),
    Bytes(RelayId, Bytes),
    Lost(RelayId, String),
}

/// Our end of a connection to a server: what is put in goes to the server; dropping it closes the connection when all
/// is sent.
pub(super) struct ServerConnection {
    pub(super) relay: RelayId,
    to_server: mpsc::Sender<Bytes>,
    /// Dropping it ends the connection.
    _wanted: oneshot::Sender<()>,
}

impl ServerConnection {
    /// Opens a connection; it sends its events to `tell`, for as long as `tell` is open.
    pub(super) fn open(
        relay: RelayId,
        transport: RelayTransport,
        server: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
        tell: mpsc::Sender<ServerEvent>,
    ) -> Self {
        let (to_server, outgoing) = mpsc::channel(OUTGOING);
        let (wanted, unwanted) = oneshot::channel::<()>();
        actix::spawn(async move {
            // A dropped connection sends what is queued, for at most `CLOSING`.
            let served = tokio::select! {
                served = serve(relay, transport, server, tls, outgoing, &tell) => served,
                () = async {
                    _ = unwanted.await;
                    tokio::time::sleep(CLOSING).await;
                } => Ok(()),
            };
            let why = match served {
                Ok(()) => "the TURN server has closed the connection".to_owned(),
                Err(error) => error.to_string(),
            };
            _ = tell.send(ServerEvent::Lost(relay, why)).await;
        });
        Self { relay, to_server, _wanted: wanted }
    }

    /// Sends; returns whether there was room in the queue.
    pub(super) fn send(&self, contents: Bytes) -> bool {
        self.to_server.try_send(contents).is_ok()
    }
}

async fn serve(
    relay: RelayId,
    transport: RelayTransport,
    server: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    outgoing: mpsc::Receiver<Bytes>,
    tell: &mpsc::Sender<ServerEvent>,
) -> io::Result<()> {
    match transport {
        RelayTransport::Udp => {
            let any: SocketAddr = match server {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            // Connected: only this server is heard, and so are errors of its port.
            socket.connect(server).await?;
            _ = tell.send(ServerEvent::Open(relay, socket.local_addr()?)).await;
            serve_udp(relay, &socket, outgoing, tell).await
        }
        RelayTransport::Tcp => {
            let stream = connect(server).await?;
            _ = tell.send(ServerEvent::Open(relay, stream.local_addr()?)).await;
            serve_stream(relay, stream, outgoing, tell).await
        }
        RelayTransport::Tls(name) => {
            let config = match tls {
                Some(config) => config,
                None => system_roots()?,
            };
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            let stream = connect(server).await?;
            let local = stream.local_addr()?;
            let stream = TlsConnector::from(config).connect(name, stream).await?;
            _ = tell.send(ServerEvent::Open(relay, local)).await;
            serve_stream(relay, stream, outgoing, tell).await
        }
    }
}

async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let connecting = tokio::time::timeout(CONNECTING, TcpStream::connect(server)).await;
    let stream = connecting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn serve_udp(
    relay: RelayId,
    socket: &UdpSocket,
    mut outgoing: mpsc::Receiver<Bytes>,
    tell: &mpsc::Sender<ServerEvent>,
) -> io::Result<()> {
    let mut buffer = vec![0; LARGEST + 1];
    loop {
        tokio::select! {
            contents = outgoing.recv() => match contents {
                // A datagram that cannot be sent is lost; a lost server shows by other means.
                Some(contents) => match socket.send(&contents).await {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(error),
                    _ => {}
                },
                None => return Ok(()),
            },
            received = socket.recv(&mut buffer) => {
                let received = match received {
                    Ok(received) if received > LARGEST => continue,
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(error),
                    // This error is about one datagram that was sent earlier.
                    Err(_) => continue,
                };
                let contents = Bytes::copy_from_slice(&buffer[..received]);
                // What the reader's queue has no room for is lost, as on the network.
                if let Err(mpsc::error::TrySendError::Closed(_)) = tell.try_send(ServerEvent::Bytes(relay, contents)) {
                    return Ok(());
                }
            }
        }
    }
}

async fn serve_stream(
    relay: RelayId,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut outgoing: mpsc::Receiver<Bytes>,
    tell: &mpsc::Sender<ServerEvent>,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        while let Some(contents) = outgoing.recv().await {
            writer.write_all(&contents).await?;
            writer.flush().await?;
        }
        _ = tokio::time::timeout(CLOSING, writer.shutdown()).await;
        Ok(())
    };
    let read = async {
        let mut buffer = vec![0; BITE];
        loop {
            let read = reader.read(&mut buffer).await?;
            // Nothing of a stream may be lost: its reader sets the pace.
            if read == 0
                || tell
                    .send(ServerEvent::Bytes(relay, Bytes::copy_from_slice(&buffer[..read])))
                    .await
                    .is_err()
            {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = write => ended,
        ended = read => ended,
    }
}

/// Returns a configuration that trusts the certificates of this system.
fn system_roots() -> io::Result<Arc<ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(io::Error::other(
            "this system has no trusted certificates to check a TURN server's with",
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(
        config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// Datagrams that wait for a slow connection; more are dropped.
const OUTGOING: usize = 256;
/// Bytes of a datagram of a TURN server; larger ones, which no path carries in one piece, are lost.
const LARGEST: usize = 8_192;
/// Bytes that are read of a stream at once: as many of them as of datagrams wait for a slow component.
const BITE: usize = 4_096;
const CONNECTING: Duration = Duration::from_secs(10);
const CLOSING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn a_stream_waits_for_a_slow_component_in_small_bites_and_loses_nothing() {
        const SENT: usize = 1 << 20;
        let (mut server, ours) = tokio::io::duplex(SENT);
        server.write_all(&vec![7; SENT]).await.unwrap();
        drop(server);
        let (tell, mut told) = mpsc::channel(4);
        let (_to_server, outgoing) = mpsc::channel(1);
        let serve = async move {
            serve_stream(RelayId(0), ours, outgoing, &tell).await.unwrap();
        };
        let read = async {
            let mut read = 0;
            while let Some(ServerEvent::Bytes(_, bytes)) = told.recv().await {
                assert!(bytes.len() <= BITE, "{}", bytes.len());
                read += bytes.len();
            }
            read
        };
        let ((), read) = tokio::join!(serve, read);
        assert_eq!(read, SENT);
    }

    #[actix::test]
    async fn a_datagram_that_no_path_carries_whole_is_lost_and_the_next_is_read() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        ours.connect(server.local_addr().unwrap()).await.unwrap();
        let address = ours.local_addr().unwrap();
        for size in [LARGEST + 1, LARGEST] {
            server.send_to(&vec![7; size], address).await.unwrap();
        }
        let (tell, mut told) = mpsc::channel(4);
        let (_to_server, outgoing) = mpsc::channel(1);
        let serve = serve_udp(RelayId(0), &ours, outgoing, &tell);
        tokio::select! {
            ended = serve => panic!("{ended:?}"),
            first = told.recv() => {
                let Some(ServerEvent::Bytes(_, bytes)) = first else { panic!("no datagram") };
                assert_eq!(bytes.len(), LARGEST);
            }
        }
    }
}
