//! A call of many: what each sends goes to the server once, and from there to all others in the room.

mod pages;
mod recordings;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::web::Query;
use actix_web::{App, HttpServer, web};
use callboard_admin::Admin;
use callboard_peer_connection::{PeerConnectionState, PeerConnections};
use callboard_room_supervisor::{
    AnyRoomOptions, AuthData, Rejection, Room, RoomContext, RoomOptions, Rooms,
};
use callboard_signaling::{
    EndReason, InitContext, Peer, PeerContext, PeerInit, PeerOptions, Run, Signaling, WebRtc,
    body_within, client_script, tune,
};
use callboard_supervision::MainError;
use clap::Parser;
use example_pages::options::{Network, Web};
use example_pages::process::Process;
use recordings::Recordings;
use serde::Deserialize;

/// A call of many, through the server.
///
/// Serves a page at http://ADDRESS/ROOM, for any name of a room; open it several times.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where to listen; port 0 takes a free one, printed in the first line of output
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    /// Record all calls into files in this folder
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    #[command(flatten)]
    network: Network,

    #[command(flatten)]
    web: Web,

    #[command(flatten)]
    process: Process,
}

/// Room of a call. Its media room opens with the first peer connection.
struct Call;

impl Room for Call {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

/// Someone in a call.
struct Caller {
    recordings: Option<Arc<Recordings>>,
}

/// Query of the WebSocket's address.
#[derive(Default, Deserialize)]
struct Introduction {
    #[serde(default)]
    name: String,
}

impl Peer for Caller {
    type Options = Option<Arc<Recordings>>;

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        recordings: &Self::Options,
    ) -> Result<PeerInit<Self>, Rejection> {
        let query = auth.metadata.as_str().unwrap_or_default();
        let introduction = Query::<Introduction>::from_query(query).map_err(|_| "bad_name")?;
        let name: String = introduction.into_inner().name.chars().take(LONGEST_NAME).collect();
        let recordings = recordings.clone();
        Ok(PeerInit::from(Self { recordings }).public("name", name))
    }

    fn on_webrtc_state(
        &mut self,
        state: PeerConnectionState,
        _: Option<&EndReason>,
        context: &PeerContext,
    ) {
        let begins = state == PeerConnectionState::Connected;
        if let Some(recordings) = self.recordings.as_ref().filter(|_| begins) {
            recordings.begin(&context.room);
        }
    }
}

/// Opens a room when the first asks for it; it is closed when the last leaves.
fn open(name: &str) -> Option<AnyRoomOptions> {
    Some(RoomOptions::<Call>::new(name, ()).max_peers(MAX_PEERS).close_when_empty(true).into())
}

#[actix_web::main]
async fn main() -> Result<ExitCode, MainError> {
    let Cli { listen, record, network, web, process } = Cli::parse();
    if let Some(code) = process.begin("info") {
        return Ok(code);
    }
    let run = Run::new()?;
    let connections = PeerConnections::start(network.options()).await?;
    let webrtc = WebRtc::new(connections.clone()).configuration(network.configuration()).media();
    let rooms = Rooms::builder().on_demand(open).build();
    let tree = rooms.start().await?;
    let recordings = record.map(|folder| Recordings::new(folder, webrtc.clone()));
    let peers = PeerOptions::<Caller>::new(recordings, rooms.clone()).webrtc(webrtc.clone());
    let signaling = Signaling::new(web.apply(peers));
    // Programs on this machine may read the tree and inject faults.
    let admin = Admin::builder(tree.clone()).webrtc(&webrtc).counters(signaling.counters()).build();
    let ice_servers = web::Data::new(network.servers.list);
    let route_guard = web.route_guard();
    let app = move || {
        App::new()
            .app_data(ice_servers.clone())
            .wrap(from_fn(body_within(example_pages::BODY_TIME)))
            .wrap(example_pages::security_headers())
            .configure(signaling.at(&["/socket/{room}"]))
            .configure(client_script("/callboard.js"))
            .configure(admin.at("/admin"))
            .configure(pages::configure(&route_guard))
    };
    let bound = tune(HttpServer::new(app)).bind(&listen);
    let server = bound.map_err(|error| example_pages::cannot_listen(listen, &error))?;
    println!("listening on http://{}/", server.addrs()[0]);
    run.rooms(&rooms).connections(&connections).tree(&tree).serve(server).await?;
    Ok(ExitCode::SUCCESS)
}

/// Largest number of members: a browser shows as many others at once.
const MAX_PEERS: usize = 26;
/// Longest name, in characters.
const LONGEST_NAME: usize = 40;
