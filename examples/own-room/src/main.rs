//! A quiz for ten: a room that says how many play, and a peer that keeps its client from giving the solution away.
use std::time::Duration;

use actix_web::{App, HttpServer, middleware::from_fn};
use callboard::prelude::*;
use callboard::{signaling::body_within, supervision::MainError};

struct Quiz;

impl Room for Quiz {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn on_joined(&mut self, _: PeerId, room: &RoomContext) {
        _ = room.broadcast("players", &room.len());
    }
}

struct Player;

impl Peer for Player {
    type Options = ();

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        (): &(),
    ) -> Result<PeerInit<Self>, Rejection> {
        if auth.metadata == "open=sesame" { Ok(Self.into()) } else { Err("who are you?".into()) }
    }

    fn on_receive(&mut self, message: RoomMessage, _: &PeerContext) -> Option<RoomMessage> {
        (message.event != "solution").then_some(message)
    }
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    env_logger::init();
    let quiz = || vec![RoomOptions::<Quiz>::new("quiz", ()).max_peers(10).into()];
    let rooms = Rooms::builder().open_at_start(quiz).build();
    rooms.start().await?;
    let signaling = Signaling::new(PeerOptions::<Player>::new((), rooms.clone()));
    let no_slow_bodies = || from_fn(body_within(Duration::from_secs(10)));
    let app = move || App::new().configure(signaling.at(&["/{room}"])).wrap(no_slow_bodies());
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let bound = tune(HttpServer::new(app)).bind(&listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on ws://{}", server.addrs()[0]);
    Ok(run(rooms, server).await?)
}
