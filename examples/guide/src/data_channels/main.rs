use std::collections::HashMap;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard::prelude::*;
use callboard::rooms::Tell;
use callboard::signaling::{Run, WebRtc, client_script};
use callboard::supervision::MainError;
use callboard::webrtc::{DataChannelMessage, PeerConnections, PeerConnectionsOptions};

/// A board on which all see the pointers of all.
struct Board {
    pointers: HashMap<PeerId, (u16, u16)>,
}

impl Room for Board {
    type Options = ();

    fn on_init((): &(), room: &RoomContext) -> Result<Self, Rejection> {
        room.every(Duration::from_millis(50));
        Ok(Self { pointers: HashMap::new() })
    }

    fn on_leave(&mut self, peer: PeerId, _: &RoomContext) {
        self.pointers.remove(&peer);
    }

    fn on_tick(&mut self, room: &RoomContext) {
        let places: Vec<_> = self.pointers.values().map(|(x, y)| format!("{x},{y}")).collect();
        // An unreliable channel: a place that is lost is replaced 50 ms later. A message is never empty.
        let text = format!("pointers {}", places.join(" "));
        room.send_data("pointers", To::All, DataChannelMessage::Text(text));
    }
}

/// What a peer tells its room.
struct Moved(PeerId, (u16, u16));

impl Tell<Moved> for Board {
    fn on_tell(&mut self, Moved(peer, place): Moved, room: &RoomContext) {
        if room.member(peer).is_some() {
            self.pointers.insert(peer, place);
        }
    }
}

struct Player;

impl Peer for Player {
    type Options = ();

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }

    fn on_data(&mut self, _: &str, data: DataChannelMessage, context: &PeerContext) {
        // What is no place is ignored: never keep what a client sends without reading it.
        if let DataChannelMessage::Text(text) = data
            && let Some((x, y)) = text.split_once(',')
            && let (Ok(x), Ok(y)) = (x.parse(), y.parse())
        {
            _ = context.room.tell::<Board, _>(Moved(context.peer_id, (x, y)));
        }
    }
}

async fn page() -> HttpResponse {
    let page = include_str!("page.html");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let board = || vec![RoomOptions::<Board>::new("board", ()).max_peers(20).into()];
    let rooms = Rooms::builder().open_at_start(board).build();
    let tree = rooms.start().await?;
    let connections = PeerConnections::start(PeerConnectionsOptions::default()).await?;
    let options = PeerOptions::<Player>::new((), rooms.clone());
    let signaling = Signaling::new(options.webrtc(WebRtc::new(connections.clone())));
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
    Ok(Run::new()?.rooms(&rooms).connections(&connections).tree(&tree).serve(server).await?)
}
