//! A call: each browser in a room is connected with every other, and the server carries their signaling.

use actix_web::web::{self, Query};
use actix_web::{App, HttpResponse, HttpServer};
use callboard::prelude::*;
use callboard::rooms::AnyRoomOptions;
use callboard::signaling::client_script;
use callboard::supervision::MainError;
use serde::Deserialize;

/// The room of a call: it admits everyone, and forwards offers, answers and candidates without a look at them.
struct Call;

impl Room for Call {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

/// Someone in a call.
struct Caller;

/// What a browser says of itself, in the query of the WebSocket's address.
#[derive(Deserialize)]
struct Introduction {
    name: String,
}

impl Peer for Caller {
    type Options = ();

    /// Admits everyone who has a name. A server of yours would look at a password or a token here.
    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        (): &(),
    ) -> Result<PeerInit<Self>, Rejection> {
        let query = auth.metadata.as_str().unwrap_or_default();
        let introduction = Query::<Introduction>::from_query(query).map_err(|_| "no_name")?;
        let name = introduction.into_inner().name;
        if name.trim().is_empty() || name.len() > MAX_NAME {
            return Err("no_name".into());
        }
        Ok(PeerInit::from(Self).public("name", name))
    }
}

/// Opens a room when the first asks for it; it is closed when the last leaves.
fn open(name: &str) -> Option<AnyRoomOptions> {
    Some(RoomOptions::<Call>::new(name, ()).max_peers(MAX_PEERS).close_when_empty(true).into())
}

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(include_str!("page.html"))
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let rooms = Rooms::builder().on_demand(open).build();
    let signaling = Signaling::new(PeerOptions::<Caller>::new((), rooms.clone()));
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
    Ok(run(rooms, server).await?)
}

/// Largest number of members: each sends its picture to all others.
const MAX_PEERS: usize = 6;
/// Longest name, in bytes.
const MAX_NAME: usize = 60;

#[cfg(test)]
mod tests {
    use callboard_client::{ClientEvent, ClientOptions, ConnectError, Recipients};
    use callboard_test_kit::{TestServer, single_threaded_rooms};

    use super::*;

    async fn start() -> TestServer {
        let rooms = single_threaded_rooms().on_demand(open).build();
        rooms.start().await.unwrap();
        let signaling = Signaling::new(PeerOptions::<Caller>::new((), rooms));
        TestServer::start(|| App::new().configure(signaling.at(&["/socket/{room}"]))).await
    }

    #[actix_web::test]
    async fn callers_see_each_others_names_and_offer_to_one_alone() {
        let server = start().await;
        let path = |name: &str| format!("/socket/demo?name={name}");
        let mut ann = server.client(&path("Ann"), ClientOptions::new()).await.unwrap();
        let bob = server.client(&path("Bob"), ClientOptions::new()).await.unwrap();

        let Some(ClientEvent::Joined(joined)) = ann.next_event().await else { panic!() };
        assert_eq!((&*joined.peer_id, &joined.metadata["name"]), (&*bob.peer_id(), &"Bob".into()));

        bob.send(Recipients::Peers(vec![ann.peer_id()]), "offer", "SDP").unwrap();
        let Some(ClientEvent::Message(offer)) = ann.next_event().await else { panic!() };
        assert_eq!((offer.from, offer.data), (Some(bob.peer_id()), "SDP".into()));
    }

    #[actix_web::test]
    async fn a_client_without_a_name_does_not_join() {
        let server = start().await;
        let refused = server.client("/socket/demo", ClientOptions::new()).await;
        assert!(matches!(refused, Err(ConnectError::Refused(it)) if it.status == 401));
    }
}
