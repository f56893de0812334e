//! Server with a page whose connection pins the browser's certificate: the same name, the same certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, web};
use callboard_ice_handshake::handshake::{Certificate, Dtls, Fingerprint};
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_signaling::{Place, Run, body_within};
use clap::Parser;
use example_pages::options::{Network, Web};
use example_pages::process::Process;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Error;
use crate::pinning::pinning;

/// A page whose connection to this server has its certificate pinned: the same name, the same certificate.
#[derive(Debug, Parser)]
#[command(name = "custom-handshake browser", version)]
pub(crate) struct Cli {
    /// Where to listen
    #[arg(value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    #[command(flatten)]
    network: Network,

    #[command(flatten)]
    web: Web,

    #[command(flatten)]
    pub(crate) process: Process,
}

struct Server {
    connections: PeerConnections,
    api: Api,
    /// Configuration of all connections, without the certificate and the handshake of each.
    configuration: Configuration,
    /// First certificate of each name.
    pins: Mutex<HashMap<String, Fingerprint>>,
}

/// Serves the page until SIGINT or SIGTERM.
pub(crate) async fn serve(Cli { listen, network, web, .. }: Cli) -> Result<(), Error> {
    let connections = PeerConnections::start(network.options()).await?;
    // One answer over HTTP must contain all candidates.
    let settings = ApiSettings { inline_candidates: true, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::empty(), InterceptorRegistry::default(), settings);
    let run = Run::new()?.connections(&connections);
    let (configuration, route_guard) = (network.configuration(), web.route_guard());
    let server = Server { connections, api, configuration, pins: Mutex::default() };
    let server = web::Data::new(server);
    let http = HttpServer::new(move || {
        let app = App::new().app_data(server.clone()).route("/", web::get().to(page));
        let app = app.route("/ice-servers", web::get().to(ice_servers));
        let app = app.route("/offer", web::post().to(offer));
        app.wrap(from_fn(route_guard.middleware()))
            .wrap(from_fn(body_within(example_pages::BODY_TIME)))
    })
    .workers(1)
    .bind(&listen)
    .map_err(|error| example_pages::cannot_listen(listen, &error))?;
    for address in http.addrs() {
        println!("listening on http://{address}");
    }
    Ok(run.serve(http).await?)
}

async fn page() -> HttpResponse {
    let page = include_str!("../static/index.html");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

async fn ice_servers(server: web::Data<Server>) -> HttpResponse {
    example_pages::ice_servers(&server.configuration.ice_servers)
}

/// Offer of a browser, and the name under which it comes.
#[derive(Deserialize)]
struct Offer {
    name: String,
    offer: SessionDescription,
}

async fn offer(
    server: web::Data<Server>,
    place: web::ReqData<Place>,
    offer: web::Json<Offer>,
) -> HttpResponse {
    match answer(&server, place.into_inner(), offer.into_inner()).await {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

async fn answer(
    server: &Server,
    place: Place,
    Offer { name, offer }: Offer,
) -> Result<SessionDescription, Error> {
    let shown = offer.sdp.lines().find_map(|line| line.strip_prefix("a=fingerprint:"));
    let shown: Fingerprint = shown.ok_or("the offer has no fingerprint")?.parse()?;
    let pinned = {
        let mut pins = server.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if pins.len() >= MAX_NAMES && !pins.contains_key(&name) {
            return Err("there are too many names".into());
        }
        pins.entry(name).or_insert(shown).clone()
    };

    let certificate = Certificate::generate()?;
    // This name stands for this certificate; the fingerprint in the offer does not count.
    let handshake = Arc::new(pinning(Dtls::new(certificate.clone()), pinned));
    let configuration = Configuration {
        certificate: Some(certificate),
        handshake: Some(handshake),
        ..server.configuration.clone()
    };

    let (gathered, all_gathered) = oneshot::channel();
    let host = Host { gathered: Some(gathered), _place: place }.start().recipient();
    let connection = server.connections.open(&server.api, configuration, host).await?;
    let answered = async {
        connection.send(AcceptOffer(offer)).await??;
        // A STUN or TURN server that does not answer costs only its candidates.
        _ = timeout(GATHERING, all_gathered).await;
        Ok(connection.send(LocalDescription).await?.ok_or("there is no answer")?)
    };
    let answered: Result<_, Error> = answered.await;
    if answered.is_err() {
        connection.close().await;
    }
    answered
}

/// Actor that waits for the candidates, and stops with its connection.
struct Host {
    gathered: Option<oneshot::Sender<()>>,
    /// Place among the connections of its address; given back when the connection has ended.
    _place: Place,
}

impl Actor for Host {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Host {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, ctx: &mut Context<Self>) {
        match event.event {
            ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                // Only once.
                self.gathered.take().map(|gathered| gathered.send(()));
            }
            // The page sees that its connection has failed; this end need not be kept.
            ConnectionEvent::ConnectionStateChange(PeerConnectionState::Failed)
            | ConnectionEvent::Closed(_) => ctx.stop(),
            _ => {}
        }
    }
}

/// Most names that are remembered.
const MAX_NAMES: usize = 1_000;
/// Longest wait for candidates.
const GATHERING: Duration = Duration::from_secs(2);
