use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard::prelude::*;
use callboard::signaling::client_script;
use callboard::signaling::rpc::{HookContext, Hooks};
use callboard::supervision::MainError;

/// Rolls a die: clients call `dice.roll(6)`.
async fn roll(sides: u32, _: HookContext) -> Result<u32, Rejection> {
    if !(2..=100).contains(&sides) {
        return Err("no_such_die".into());
    }
    Ok(fastrand::u32(1..=sides))
}

/// Asks each client in the caller's room, by its function `guess`; those without an answer are left out.
async fn poll(question: String, caller: HookContext) -> Result<Vec<String>, Rejection> {
    let mut guesses = Vec::new();
    for client in caller.room.clients() {
        let guess = client.call("guess", &(&question,), Duration::from_secs(3)).await;
        guesses.extend(guess.ok().and_then(|guess| Some(guess.as_str()?.to_owned())));
    }
    Ok(guesses)
}

struct Table;

impl Room for Table {
    type Options = ();

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

async fn page() -> HttpResponse {
    let page = include_str!("page.html");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let table = || vec![RoomOptions::<Table>::new("table", ()).max_peers(8).into()];
    let rooms = Rooms::builder().open_at_start(table).build();
    let hooks = Hooks::builder()
        .plugin("dice", |dice| dice.hook("roll", roll))
        .plugin("game", |game| game.hook_within("poll", Duration::from_secs(30), poll))
        .build()?;
    let options = PeerOptions::<Player>::new((), rooms.clone()).hooks(hooks);
    let signaling = Signaling::new(options);
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
