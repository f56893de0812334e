//! Server within the test's thread: an actix-web app, and connections that are no sockets.

use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use actix_http::{HttpService, Protocol, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, map_config};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::AppConfig;
use callboard_client::{Client, ClientOptions, ConnectError};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// An actix-web app that runs on the test's thread until this is dropped.
///
/// ```
/// use actix_web::App;
/// use callboard_client::{ClientEvent, ClientOptions, Recipients};
/// use callboard_room_supervisor::*;
/// use callboard_signaling::*;
/// use callboard_test_kit::{TestServer, single_threaded_rooms};
///
/// # struct Hall;
/// # impl Room for Hall {
/// #     type Options = ();
/// #     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> { Ok(Self) }
/// # }
/// # struct Guest;
/// # impl Peer for Guest {
/// #     type Options = ();
/// #     async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
/// #         Ok(Self.into())
/// #     }
/// # }
/// # #[actix::main]
/// # async fn main() {
/// let rooms = single_threaded_rooms().build();
/// rooms.start().await.unwrap();
/// rooms.start_supervised(RoomOptions::<Hall>::new("hall", ())).await.unwrap();
/// let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms.clone()));
/// let server = TestServer::start(|| App::new().configure(signaling.at(&["/{room}"]))).await;
///
/// let mut ann = server.client("/hall", ClientOptions::new()).await.unwrap();
/// let bob = server.client("/hall", ClientOptions::new()).await.unwrap();
/// bob.send(Recipients::All, "chat", "hello").unwrap();
///
/// assert!(matches!(ann.next_event().await, Some(ClientEvent::Joined(_))));
/// let Some(ClientEvent::Message(message)) = ann.next_event().await else { panic!() };
/// assert_eq!(message.data, "hello");
/// # }
/// ```
#[derive(Debug)]
pub struct TestServer {
    connections: mpsc::UnboundedSender<DuplexStream>,
    accepting: JoinHandle<()>,
}

impl TestServer {
    /// Starts an app. Needs an actix system.
    ///
    /// # Panics
    /// If the app cannot be built.
    pub async fn start<F, I, S, B>(app: F) -> Self
    where
        F: FnOnce() -> I,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Response<BoxBody>> + 'static,
        S::InitError: Debug,
        S::Response: Into<Response<B>> + 'static,
        B: MessageBody + 'static,
    {
        let app = map_config(app(), |()| AppConfig::default());
        let http = HttpService::<DuplexStream, _, _>::build().finish(app);
        let service = http.new_service(()).await.expect("an app that can be built");
        let (connections, mut opened) = mpsc::unbounded_channel();
        let accepting = actix_web::rt::spawn(async move {
            while let Some(connection) = opened.recv().await {
                let serving = service.call((connection, Protocol::Http1, Some(CLIENT)));
                actix_web::rt::spawn(async move {
                    // A connection that ends early is the test's business.
                    _ = serving.await;
                });
            }
        });
        Self { connections, accepting }
    }

    /// Connects a client at this path, such as `/socket/demo`; completes when it has joined its room.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn client(&self, path: &str, options: ClientOptions) -> Result<Client, ConnectError> {
        let connections = self.connections.clone();
        let open = move || {
            let (ours, servers) = tokio::io::duplex(BUFFER);
            let sent = connections.send(servers);
            std::future::ready(match sent {
                Ok(()) => Ok(ours),
                Err(_) => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            })
        };
        Client::connect_over(&format!("ws://localhost{path}"), options, open).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Address that all clients seem to have.
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// Bytes that a connection holds each way.
const BUFFER: usize = 64 << 10;
