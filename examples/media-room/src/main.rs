//! A call of many: what each sends goes to the server once, and from there to all others in the room.

mod call;
mod pages;
mod recordings;

use std::process::ExitCode;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use callboard_admin::Admin;
use callboard_peer_connection::PeerConnections;
use callboard_room_supervisor::{RoomOptions, Rooms};
use callboard_signaling::{PeerOptions, Run, Signaling, WebRtc, body_within, client_script, tune};
use callboard_supervision::MainError;
use clap::Parser;
use example_pages::bots::{BotOptions, Bots};
use example_pages::options::{Network, Web};
use example_pages::process::Process;

use crate::call::{Call, Caller, hooks};
use crate::recordings::{RecordingOptions, Recordings};

/// A call of many, through the server.
///
/// Serves a page at http://ADDRESS/ROOM, for any name of a room; open it several times.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where to listen; port 0 takes a free one, printed in the first line of output
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    #[command(flatten)]
    recording: RecordingOptions,

    #[command(flatten)]
    bots: BotOptions,

    /// Bandwidth with which the estimate of each client begins, in bits per second; 0: all flows, nothing is estimated
    #[arg(long, value_name = "BITS", default_value_t = 1_000_000)]
    first_estimate: u64,

    #[command(flatten)]
    network: Network,

    #[command(flatten)]
    web: Web,

    #[command(flatten)]
    process: Process,
}

#[actix_web::main]
async fn main() -> Result<ExitCode, MainError> {
    let Cli { listen, recording, bots, first_estimate, network, web, process } = Cli::parse();
    if let Some(code) = process.begin("info") {
        return Ok(code);
    }
    let run = Run::new()?;
    let connections = PeerConnections::start(network.options()).await?;
    let webrtc = WebRtc::new(connections.clone())
        .configuration(network.configuration())
        .media()
        .first_estimate(Some(first_estimate));
    let recordings = Recordings::new(recording, webrtc.clone())?;
    let recorded = recordings.clone();
    // A room opens when the first asks for it, and closes when the last leaves.
    let open = move |name: &str| {
        let options = RoomOptions::<Call>::new(name, recorded.clone()).max_peers(MAX_PEERS);
        Some(options.close_when_empty(true).into())
    };
    let rooms = Rooms::builder().on_demand(open).build();
    let tree = rooms.start().await?;
    let caller = (recordings.clone(), Bots::new(bots, webrtc.clone()));
    let peers = PeerOptions::<Caller>::new(caller, rooms.clone())
        .webrtc(webrtc.clone())
        .hooks(hooks(recordings)?);
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
