use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::cookie::{Cookie, SameSite};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use callboard::prelude::*;
use callboard::signaling::{RouteGuard, client_script};
use callboard::supervision::MainError;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Names of those who are logged in, by the value of their cookie.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, String>>>);

impl Sessions {
    fn open(&self, name: String) -> String {
        let session = Uuid::new_v4().to_string();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone(), name);
        session
    }

    fn name(&self, session: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }
}

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

async fn login(sessions: web::Data<Sessions>, login: web::Json<Login>) -> HttpResponse {
    let Login { name, password } = login.into_inner();
    // A real server asks its database, which keeps Argon2 hashes.
    if password != "sesame" || name.len() > 30 {
        return HttpResponse::Unauthorized().finish();
    }
    let cookie = Cookie::build("session", sessions.open(name)).path("/");
    let cookie = cookie.http_only(true).same_site(SameSite::Strict).finish();
    HttpResponse::NoContent().cookie(cookie).finish()
}

struct Lobby;

impl Room for Lobby {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    async fn on_join(&mut self, auth: &AuthData, room: &RoomContext) -> Result<(), Rejection> {
        // The room sees what `on_init` has made public.
        let name = auth.public.get("name");
        let taken = room.members().iter().any(|member| member.public().get("name") == name);
        if taken { Err("name_taken".into()) } else { Ok(()) }
    }
}

struct Guest;

impl Peer for Guest {
    type Options = Sessions;

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let session = request.cookie("session").map(|cookie| cookie.value().to_owned());
        let credentials = Map::from_iter([("session".to_owned(), Value::from(session))]);
        let room = request.match_info().query("room").to_owned();
        Ok(JoinRequest { credentials, room, ..JoinRequest::default() })
    }

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        sessions: &Sessions,
    ) -> Result<PeerInit<Self>, Rejection> {
        let session = auth.credentials["session"].as_str().unwrap_or_default();
        let name = sessions.name(session).ok_or("log_in_first")?;
        Ok(PeerInit::from(Self).public("name", name))
    }
}

async fn page() -> HttpResponse {
    let page = include_str!("page.html");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let sessions = Sessions::default();
    let lobby = || vec![RoomOptions::<Lobby>::new("lobby", ()).into()];
    let rooms = Rooms::builder().open_at_start(lobby).build();
    let options = PeerOptions::<Guest>::new(sessions.clone(), rooms.clone()).auth_first(true);
    let (signaling, own_pages) = (Signaling::new(options), RouteGuard::new());
    let app = move || {
        App::new()
            .app_data(web::Data::new(sessions.clone()))
            .route("/", web::get().to(page))
            .route("/login", web::post().to(login))
            .configure(client_script("/callboard.js"))
            .configure(signaling.at(&["/socket/{room}"]))
            .wrap(from_fn(own_pages.middleware()))
    };
    let listen = "127.0.0.1:8080";
    let bound = tune(HttpServer::new(app)).bind(listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(run(rooms, server).await?)
}
