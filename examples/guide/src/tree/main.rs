use actix_web::{App, HttpServer};
use callboard::admin::Admin;
use callboard::prelude::*;
use callboard::signaling::Run;
use callboard::supervision::MainError;

struct Lobby;

impl Room for Lobby {
    type Options = ();

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

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    // Panics, restarts and refusals go to the log: RUST_LOG=info shows them.
    env_logger::init();
    let lobby = || vec![RoomOptions::<Lobby>::new("lobby", ()).max_peers(50).into()];
    let rooms = Rooms::builder().open_at_start(lobby).build();
    let tree = rooms.start().await?;
    let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms.clone()));
    let admin = Admin::builder(tree.clone()).counters(signaling.counters()).build();
    let app = move || {
        App::new().configure(signaling.at(&["/socket/{room}"])).configure(admin.at("/admin"))
    };
    let listen = "127.0.0.1:8080";
    let bound = tune(HttpServer::new(app)).bind(listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(Run::new()?.rooms(&rooms).tree(&tree).serve(server).await?)
}
