use actix_web::{App, HttpRequest, HttpServer};
use callboard::prelude::*;
use callboard::signaling::jwt::{JwtClaims, JwtExpiry, JwtVerifier, bearer};
use callboard::supervision::MainError;

struct Lobby;

impl Room for Lobby {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

struct Player {
    claims: JwtClaims,
    /// Closes the client when its token expires.
    _expiry: Option<JwtExpiry>,
}

impl Peer for Player {
    type Options = JwtVerifier;

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let room = request.match_info().query("room").to_owned();
        Ok(JoinRequest { credentials: bearer(request), room, ..JoinRequest::default() })
    }

    async fn on_init(
        context: &InitContext,
        auth: &AuthData,
        jwt: &JwtVerifier,
    ) -> Result<PeerInit<Self>, Rejection> {
        let claims = jwt.verify(auth)?;
        println!("{} is {}", context.peer_id, claims.subject());
        Ok(claims.peer_init(Self { claims: claims.clone(), _expiry: None }))
    }

    fn on_joined(&mut self, context: &PeerContext) {
        self._expiry = Some(self.claims.close_at_expiry(&context.client));
    }
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let secret = std::env::var("JWT_SECRET").map_err(|error| format!("JWT_SECRET: {error}"))?;
    let jwt = JwtVerifier::hs256(secret.as_bytes())?;
    let jwt = jwt.issuer("login").audience("game");
    let lobby = || vec![RoomOptions::<Lobby>::new("lobby", ()).max_peers(50).into()];
    let rooms = Rooms::builder().open_at_start(lobby).build();
    let options = PeerOptions::<Player>::new(jwt, rooms.clone()).protocols(&["callboard"]);
    let signaling = Signaling::new(options);
    let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
    let listen = "127.0.0.1:8080";
    let bound = tune(HttpServer::new(app)).bind(listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(run(rooms, server).await?)
}
