use actix_web::{App, HttpResponse, HttpServer, web};
use callboard::prelude::*;
use callboard::signaling::client_script;
use callboard::supervision::MainError;

/// A room that tells its members how many they are.
struct Lobby;

impl Room for Lobby {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn on_joined(&mut self, _: PeerId, room: &RoomContext) {
        _ = room.broadcast("count", &room.len());
    }

    fn on_leave(&mut self, _: PeerId, room: &RoomContext) {
        _ = room.broadcast("count", &room.len());
    }
}

/// What the server keeps of one client.
struct Guest;

impl Peer for Guest {
    type Options = ();

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }

    fn on_receive(&mut self, message: RoomMessage, _: &PeerContext) -> Option<RoomMessage> {
        // Only these go on to the others.
        (message.event == "chat").then_some(message)
    }
}

async fn page() -> HttpResponse {
    let page = include_str!("page.html");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let lobby = || vec![RoomOptions::<Lobby>::new("lobby", ()).max_peers(50).into()];
    let rooms = Rooms::builder().open_at_start(lobby).build();
    let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms.clone()));
    let app = move || {
        App::new()
            .route("/", web::get().to(page))
            .configure(client_script("/callboard.js"))
            .configure(signaling.at(&["/socket/{room}"]))
    };
    let listen = "127.0.0.1:8080";
    let bound = tune(HttpServer::new(app)).bind(listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(run(rooms, server).await?)
}
