//! Callboard, without limits that the load would meet.

use std::io;
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use callboard_room_supervisor::{
    AuthData, OutboxLimits, Rejection, Room, RoomContext, RoomOptions, Rooms,
};
use callboard_signaling::*;

use super::connections::{self, Host, Owners};

pub(super) struct Open;

impl Room for Open {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

struct Guest;

impl Peer for Guest {
    type Options = ();

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }
}

/// HTTP server that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Http {
    /// `http_service`
    Service,
    /// actix-web's `HttpServer`, tuned
    Server,
}

pub(super) fn serve(owners: Owners, http: Http, estimate: bool) -> io::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let host = web::Data::new(Host::start(owners, estimate).await?);
        let rooms = Rooms::builder()
            .on_demand(|name: &str| {
                Some(RoomOptions::<Open>::new(name, ()).close_when_empty(true).into())
            })
            .build();
        let tree = rooms.start().await.map_err(io::Error::other)?;
        let options = PeerOptions::<Guest>::new((), rooms)
            .rate(Rate::UNLIMITED)
            .outbox(OutboxLimits { messages: 1 << 20, bytes: 1 << 30 })
            // The clients send no Origin, and are all from one address.
            .max_connections(1 << 20)
            .max_connections_per_address(1 << 20)
            .max_rooms_per_address(1 << 20)
            .rooms_per_minute_per_address(u32::MAX)
            .webrtc(host.webrtc())
            .heartbeat(Some(Duration::from_secs(15)));
        let signaling = Signaling::new(options);
        let app = move || {
            let app = App::new().configure(signaling.at(&["/socket/{room}"]));
            let tree = tree.clone();
            let actors = move || {
                let running = tree.snapshot().running();
                async move { running.to_string() }
            };
            let app = app.route("/actors", web::get().to(actors));
            app.configure(|app| connections::configure(app, host.clone()))
        };
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        super::announce(listener.local_addr()?);
        let server = match http {
            Http::Service => actix_server::Server::build()
                .disable_signals()
                .listen("http", listener, move || http_service(app.clone()))?
                .run(),
            Http::Server => tune(HttpServer::new(app)).disable_signals().listen(listener)?.run(),
        };
        tokio::select! {
            ended = server => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}
