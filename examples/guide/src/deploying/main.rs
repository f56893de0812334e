use std::env;
use std::net::IpAddr;
use std::str::FromStr;

use actix_web::{App, HttpServer};
use callboard::admin::Admin;
use callboard::prelude::*;
use callboard::signaling::{Run, TrustedProxies, WebRtc};
use callboard::supervision::MainError;
use callboard::transport::mux::PortChoice;
use callboard::webrtc::{PeerConnections, PeerConnectionsOptions};

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

/// Reads a setting from the environment, if it is there.
fn setting<T: FromStr<Err: std::fmt::Display>>(name: &str) -> Result<Option<T>, MainError> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|error| format!("{name}: {error}").into())
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    env_logger::init();
    let lobby = || vec![RoomOptions::<Lobby>::new("lobby", ()).max_peers(50).into()];
    let rooms = Rooms::builder().open_at_start(lobby).build();
    let tree = rooms.start().await?;

    let mut sockets = PeerConnectionsOptions::default();
    if let Some(port) = setting::<u16>("UDP_PORT")? {
        // Each media thread has a port: this one, and those behind it.
        sockets.sockets.port = PortChoice::Fixed(port);
        sockets.media_threads = 1;
    }
    sockets.sockets.announced.extend(setting::<IpAddr>("ANNOUNCE")?);
    let connections = PeerConnections::start(sockets).await?;
    let webrtc = WebRtc::new(connections.clone());

    let proxies = setting::<TrustedProxies>("TRUSTED_PROXY")?.unwrap_or_default();
    let mut options = PeerOptions::<Guest>::new((), rooms.clone());
    options = options.webrtc(webrtc.clone()).trusted_proxies(proxies.clone());
    if let Some(origin) = setting::<String>("ORIGIN")? {
        options = options.origin_list([origin]);
    }
    let signaling = Signaling::new(options);
    let mut admin = Admin::builder(tree.clone()).webrtc(&webrtc).trusted_proxies(proxies);
    if let Some(token) = setting::<String>("ADMIN_TOKEN")? {
        admin = admin.token(token);
    }
    let admin = admin.counters(signaling.counters()).build();
    let app = move || {
        App::new().configure(signaling.at(&["/socket/{room}"])).configure(admin.at("/admin"))
    };
    let listen = setting("LISTEN")?.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let bound = tune(HttpServer::new(app)).bind(&listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(Run::new()?.rooms(&rooms).connections(&connections).tree(&tree).serve(server).await?)
}
