use std::env;

use actix_web::{App, HttpServer};
use callboard::cluster::{Cluster, Nats, NatsOptions, NatsWire};
use callboard::prelude::*;
use callboard::signaling::Run;
use callboard::supervision::MainError;

struct Lobby;

impl Room for Lobby {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn on_joined(&mut self, _: PeerId, room: &RoomContext) {
        _ = room.broadcast("here", &room.len());
    }
}

struct Guest {
    node: String,
}

impl Peer for Guest {
    type Options = String;

    async fn on_init(
        _: &InitContext,
        _: &AuthData,
        node: &String,
    ) -> Result<PeerInit<Self>, Rejection> {
        Ok(PeerInit::from(Self { node: node.clone() }).public("node", node.clone()))
    }

    fn on_joined(&mut self, context: &PeerContext) {
        let home = context.room.home().map_or_else(|| self.node.clone(), |home| home.to_string());
        println!("{} joins here at {}, the room is at {home}", context.peer_id, self.node);
    }
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    env_logger::init();
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let (node, servers) = (setting("NODE", "a1"), setting("NATS", "nats://127.0.0.1:4222"));

    let nats = NatsOptions::new().cluster("lobby");
    let directory = Nats::connect(&servers, nats.clone()).await?;
    let wire = NatsWire::connect(&servers, nats).await?;
    let cluster = Cluster::builder(directory).wire(wire).node(&node).build()?;
    let open = |name: &str| Some(RoomOptions::<Lobby>::new(name, ()).close_when_empty(true).into());
    let rooms = Rooms::builder().cluster(&cluster).on_demand(open).build();
    let entered = cluster.start().await?;
    let tree = rooms.start().await?;

    let signaling = Signaling::new(PeerOptions::<Guest>::new(node, rooms.clone()));
    let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
    let listen = setting("LISTEN", "127.0.0.1:8080");
    let bound = tune(HttpServer::new(app)).bind(&listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(Run::new()?.rooms(&rooms).tree(&entered).tree(&tree).serve(server).await?)
}
