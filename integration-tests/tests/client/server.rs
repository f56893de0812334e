//! A small server built on the crates, on a thread of its own.

use std::net::Ipv4Addr;
use std::thread;

use actix::System;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use callboard_room_supervisor::{AuthData, JoinRefusal, PeerId, Room, RoomOptions, Rooms};
use callboard_signaling::{
    BadRequest, Context, Init, InitContext, JoinRequest, Peer, PeerOptions, Refused, Signaling,
    client_script, tune,
};
use tokio::sync::oneshot;

use crate::page::HTML;

/// Serves a page at `/`, the client at `/callboard.js`, and the room `lobby` for four at `/socket/lobby`.
pub(crate) struct Server {
    pub(crate) port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// At this port, or at any if it is 0.
    pub(crate) async fn start(port: u16) -> Self {
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                let rooms = Rooms::new();
                let tree = rooms.start().await.expect("nothing runs yet that could fail");
                let lobby = RoomOptions::<Lobby>::new("lobby", ());
                rooms.start_supervised(lobby).await.expect("the name is free");
                let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms.clone()));
                let app = move || {
                    App::new()
                        .route("/", web::get().to(page))
                        .configure(client_script("/callboard.js"))
                        .configure(signaling.at(&["/socket/{room}"]))
                };
                let server = tune(HttpServer::new(app).workers(1).disable_signals())
                    .bind((Ipv4Addr::LOCALHOST, port))
                    .expect("the port is free")
                    .shutdown_timeout(1);
                let port = server.addrs()[0].port();
                let server = server.run();
                let handle = server.handle();
                let serving = actix::spawn(server);
                _ = tell.send(port);
                _ = stopped.await;
                rooms.stop_all("shutdown").await;
                tree.stop().await;
                handle.stop(true).await;
                _ = serving.await;
            });
        });
        let port = told.await.expect("the server starts");
        Self { port, stop: Some(stop), thread: Some(thread) }
    }

    /// Ends it: its clients are told, and its port is free.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(HTML)
}

/// A room for four.
struct Lobby(usize);

impl Room for Lobby {
    type Options = ();

    fn on_init((): &()) -> Result<Self, String> {
        Ok(Self(0))
    }

    async fn on_join(&mut self, _: &AuthData) -> Result<(), JoinRefusal> {
        if self.0 >= 4 {
            return Err("room_is_full".into());
        }
        self.0 += 1;
        Ok(())
    }

    fn on_leave(&mut self, _: PeerId) {
        self.0 -= 1;
    }
}

/// Whoever does not say `?name=impostor`.
struct Guest;

impl Peer for Guest {
    type Options = ();

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, BadRequest> {
        let room = request.match_info().query("room").to_owned();
        let metadata = request.query_string().into();
        Ok(JoinRequest { room, metadata, ..JoinRequest::default() })
    }

    async fn on_init(_: &InitContext, auth: &AuthData, (): &()) -> Result<Init<Self>, Refused> {
        if auth.metadata == "name=impostor" { Err("wrong name".into()) } else { Ok(Self.into()) }
    }

    fn on_receive(
        &mut self,
        message: callboard_room_supervisor::Message,
        context: &Context,
    ) -> Option<callboard_room_supervisor::Message> {
        if message.event == "stop_me" {
            context.client.stop();
            return None;
        }
        Some(message)
    }
}
