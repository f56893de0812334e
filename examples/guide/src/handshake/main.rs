use std::sync::Arc;
use std::time::Instant;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard::handshake::{
    Certificate, ComponentInfo, Dtls, Handshake, HandshakeData, HandshakeFactory, Step, Wrap,
};
use callboard::prelude::*;
use callboard::signaling::{Run, WebRtc, client_script};
use callboard::supervision::MainError;
use callboard::webrtc::{Configuration, PeerConnections, PeerConnectionsOptions};

/// Wrapper around a DTLS handshake, which counts the packets that the server sends and prints who is at the other end.
struct Watched {
    peer: PeerId,
    sent: usize,
}

impl Wrap for Watched {
    fn step(&mut self, _: &mut dyn Handshake, _: Instant, step: Step) -> Step {
        if let Step::Packets(packets) | Step::FinishedWithPackets(_, packets) = &step {
            self.sent += packets.len();
        }
        if let Step::Finished(data) | Step::FinishedWithPackets(data, _) = &step
            && let HandshakeData::Dtls(dtls) = data
            && let Some(fingerprint) = &dtls.peer_fingerprint
        {
            println!("{}: {} packets sent, {fingerprint}", self.peer, self.sent);
        }
        // A wrapper may return another step, such as `Step::Failed`.
        step
    }
}

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

    fn configuration(&mut self, given: Configuration, context: &PeerContext) -> Configuration {
        let peer = context.peer_id;
        // One certificate for all connections of this server, set in `main`.
        let certificate = given.certificate.clone().expect("set in main");
        let dtls = Dtls::new(certificate).wrap(move |_: &ComponentInfo| Watched { peer, sent: 0 });
        Configuration { handshake: Some(Arc::new(dtls)), ..given }
    }
}

async fn page() -> HttpResponse {
    let page = include_str!("page.html");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let lobby = || vec![RoomOptions::<Lobby>::new("lobby", ()).max_peers(50).into()];
    let rooms = Rooms::builder().open_at_start(lobby).build();
    let tree = rooms.start().await?;
    let connections = PeerConnections::start(PeerConnectionsOptions::default()).await?;
    let certificate = Certificate::generate()?;
    let configuration =
        Configuration { certificate: Some(certificate), ..Configuration::default() };
    let webrtc = WebRtc::new(connections.clone()).configuration(configuration);
    let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms.clone()).webrtc(webrtc));
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
    Ok(Run::new()?.rooms(&rooms).connections(&connections).tree(&tree).serve(server).await?)
}
