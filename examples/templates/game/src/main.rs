//! A game: the server moves all players twenty times a second, and says where they are over unordered data channels.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::{self, Query};
use actix_web::{App, HttpResponse, HttpServer};
use callboard::prelude::*;
use callboard::rooms::{AnyRoomOptions, Tell};
use callboard::signaling::{Run, WebRtc, client_script};
use callboard::supervision::MainError;
use callboard::webrtc::{DataChannelMessage, PeerConnections, PeerConnectionsOptions};
use serde_json::json;

/// The field: who first reaches the coin gets a point.
struct Arena {
    players: BTreeMap<PeerId, Player>,
    coin: (i32, i32),
}

#[derive(Clone, Copy)]
struct Player {
    at: (i32, i32),
    heading: (i32, i32),
    points: u32,
}

impl Room for Arena {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), room: &RoomContext) -> Result<Self, Rejection> {
        room.every(TICK);
        Ok(Self { players: BTreeMap::new(), coin: (FIELD / 8, FIELD / 2) })
    }

    fn on_joined(&mut self, peer: PeerId, _: &RoomContext) {
        let at = self.free_place();
        self.players.insert(peer, Player { at, heading: (0, 0), points: 0 });
    }

    fn on_leave(&mut self, peer: PeerId, _: &RoomContext) {
        self.players.remove(&peer);
    }

    fn on_tick(&mut self, room: &RoomContext) {
        if let Some((peer, points)) = self.step() {
            // Points must arrive: they go over the WebSocket.
            _ = room.broadcast("points", &json!({ "peer": peer, "points": points }));
        }
        let places = self.players.iter().map(|(peer, it)| json!([peer, it.at.0, it.at.1]));
        let world = json!({ "coin": self.coin, "players": places.collect::<Vec<_>>() });
        // A place that is lost is replaced 50 ms later: it goes over an unordered channel without repetition.
        room.send_data(CHANNEL, To::All, DataChannelMessage::Text(world.to_string()));
    }
}

impl Arena {
    /// Returns the first of 16 places to start from that no player is near.
    fn free_place(&self) -> (i32, i32) {
        let place =
            |number: i32| ((2 * (number % 4) + 1) * FIELD / 8, (2 * (number / 4) + 1) * FIELD / 8);
        let is_free = |place: &(i32, i32)| {
            self.players.values().all(|it| distance(it.at, *place) >= FIELD / 8)
        };
        (0..16).map(place).find(is_free).unwrap_or_default()
    }

    /// Moves everything by one tick; returns who has reached the coin, with the points that this makes.
    fn step(&mut self) -> Option<(PeerId, u32)> {
        let coin = self.coin;
        let mut first = None;
        for (peer, player) in &mut self.players {
            let moved = |at: i32, by: i32| (at + by * SPEED).clamp(0, FIELD);
            player.at =
                (moved(player.at.0, player.heading.0), moved(player.at.1, player.heading.1));
            if distance(player.at, coin) <= REACH && first.is_none() {
                player.points += 1;
                first = Some((*peer, player.points));
                self.coin = (fastrand::i32(0..=FIELD), fastrand::i32(0..=FIELD));
            }
        }
        first
    }
}

fn distance(one: (i32, i32), other: (i32, i32)) -> i32 {
    (one.0 - other.0).abs().max((one.1 - other.1).abs())
}

/// What a player tells the arena: the direction in which it goes on.
struct Steer(PeerId, (i32, i32));

impl Tell<Steer> for Arena {
    fn on_tell(&mut self, Steer(peer, heading): Steer, _: &RoomContext) {
        if let Some(player) = self.players.get_mut(&peer) {
            player.heading = heading;
        }
    }
}

/// The client of a player.
struct Gamer;

impl Peer for Gamer {
    type Options = ();

    /// Admits everyone, by the name in the address; the others see it.
    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        (): &(),
    ) -> Result<PeerInit<Self>, Rejection> {
        let query = auth.metadata.as_str().unwrap_or_default();
        let query =
            Query::<BTreeMap<String, String>>::from_query(query).map_err(|_| "bad_query")?;
        let name: String = query.get("name").ok_or("no_name")?.chars().take(20).collect();
        Ok(PeerInit::from(Self).public("name", name))
    }

    /// Steers. What is no direction is ignored: nothing that a client sends is trusted.
    fn on_data(&mut self, _: &str, data: DataChannelMessage, context: &PeerContext) {
        if let DataChannelMessage::Text(text) = data
            && let Some((x, y)) = text.split_once(',')
            && let (Ok(x @ -1..=1), Ok(y @ -1..=1)) = (x.parse(), y.parse())
        {
            _ = context.room.tell::<Arena, _>(Steer(context.peer_id, (x, y)));
        }
    }
}

/// Opens an arena when the first player asks for it; it is closed when the last leaves.
fn open(name: &str) -> Option<AnyRoomOptions> {
    Some(RoomOptions::<Arena>::new(name, ()).max_peers(MAX_PLAYERS).close_when_empty(true).into())
}

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(include_str!("page.html"))
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let rooms = Rooms::builder().on_demand(open).build();
    let tree = rooms.start().await?;
    let connections = PeerConnections::start(PeerConnectionsOptions::default()).await?;
    let options = PeerOptions::<Gamer>::new((), rooms.clone());
    let signaling = Signaling::new(options.webrtc(WebRtc::new(connections.clone())));
    let app = move || {
        App::new()
            .configure(client_script("/callboard.js"))
            .configure(signaling.at(&["/socket/{room}"]))
            .route("/", web::get().to(page))
    };
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let bound = tune(HttpServer::new(app)).bind(&listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(Run::new()?.rooms(&rooms).connections(&connections).tree(&tree).serve(server).await?)
}

/// Label of the data channel.
const CHANNEL: &str = "world";
/// Time between two steps: 20 in a second.
const TICK: Duration = Duration::from_millis(50);
/// Width and height of the field.
const FIELD: i32 = 400;
/// Distance that a player moves in one step.
const SPEED: i32 = 5;
/// Distance from which a player reaches the coin.
const REACH: i32 = 12;
const MAX_PLAYERS: usize = 16;

#[cfg(test)]
mod tests {
    use callboard_test_kit::{FakePeer, single_threaded_rooms};

    use super::*;

    #[actix_web::test]
    async fn who_steers_to_the_coin_gets_a_point_and_all_are_told() {
        // Time passes only when nothing else is left to do, and then at once.
        tokio::time::pause();
        let rooms = single_threaded_rooms().on_demand(open).build();
        rooms.start().await.unwrap();
        let room = rooms.find_or_open("field").await.unwrap();
        let ann = FakePeer::join(&room).await.unwrap();
        let mut bob = FakePeer::join(&room).await.unwrap();

        room.tell::<Arena, _>(Steer(ann.id(), (0, 1))).unwrap();

        let told = bob.expect("points").await;
        assert_eq!(told, json!({ "peer": ann.id(), "points": 1 }));
    }

    #[test]
    fn players_do_not_start_where_another_is() {
        let mut arena = Arena { players: BTreeMap::new(), coin: (0, 0) };
        for _ in 0..MAX_PLAYERS {
            let at = arena.free_place();
            let others = arena.players.values();
            assert!(others.map(|it| distance(it.at, at)).all(|between| between >= FIELD / 8));
            let player = Player { at, heading: (0, 0), points: 0 };
            arena.players.insert(PeerId::random(), player);
        }
    }

    #[test]
    fn players_do_not_leave_the_field() {
        let peer = PeerId::random();
        let player = Player { at: (1, FIELD), heading: (-1, 1), points: 0 };
        let mut arena = Arena { players: BTreeMap::from([(peer, player)]), coin: (FIELD, 0) };
        arena.step();
        assert_eq!(arena.players[&peer].at, (0, FIELD));
    }
}
