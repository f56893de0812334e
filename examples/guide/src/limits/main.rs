use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard::prelude::*;
use callboard::signaling::Limits;
use callboard::supervision::MainError;

/// A room of a game: all that a player sends goes to the others.
struct Arena;

impl Room for Arena {
    type Options = ();
    /// Messages need not pass through the room, which does not look at them.
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

struct Player;

impl Peer for Player {
    type Options = ();

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let arena = |name: &str| Some(RoomOptions::<Arena>::new(name, ()).max_peers(16).into());
    let rooms = Rooms::builder().on_demand(arena).max_on_demand(1_000).build();
    let options = PeerOptions::<Player>::new((), rooms.clone())
        // 1,000 messages and 1 MiB in a second over the WebSocket, 2,000 and 4 MiB over data channels.
        .limits(Limits::game())
        // Players are small and many: behind one address of a provider there may be hundreds.
        .max_connections(20_000)
        .max_connections_per_address(1_000)
        .max_message(4 * 1024)
        // A phone that changes from Wi-Fi to mobile data is back within seconds, as the same player.
        .resume_grace(Duration::from_secs(20))
        // A player that has vanished frees the place after 20 s rather than 60, and then the grace.
        .heartbeat(Some(Duration::from_secs(5)));
    let signaling = Signaling::new(options);
    let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
    let listen = "127.0.0.1:8080";
    let bound = tune(HttpServer::new(app)).bind(listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(run(rooms, server).await?)
}
