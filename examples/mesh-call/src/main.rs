//! Browsers in a mesh call: the Membrane guide's application on Callboard.

mod cli;
mod config;
mod credentials;
mod http;
mod pages;
mod peer;
mod room;

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::{RoomOptions, Rooms};
use callboard_signaling::{PeerOptions, Run, Signaling, tls};
use callboard_supervision::{Flags, SupervisorSpec};
use clap::Parser;
use example_pages::process::inherited_listener;
use rustls::ServerConfig;

use crate::cli::Cli;
use crate::config::Config;
use crate::http::Site;
use crate::peer::Caller;
use crate::room::MeshRoom;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let inherited = match inherited_listener() {
        Ok(inherited) => inherited,
        Err(error) => return usage(&error),
    };
    if let Some(code) = cli.process.begin("info") {
        return code;
    }
    let config = match Config::read(cli.config.as_deref()) {
        Ok(config) => Arc::new(config),
        Err(error) => return usage(&error),
    };
    let tls = match cli
        .tls()
        .map(|(certificate, key)| tls::server_config(certificate, key))
        .transpose()
    {
        Ok(tls) => tls,
        Err(error) => return usage(&error),
    };
    // The system has ended when its error is printed, so that nothing is printed after it.
    let served = actix::System::new().block_on(serve(cli, config, tls, inherited));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-call: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    cli: Cli,
    config: Arc<Config>,
    tls: Option<ServerConfig>,
    inherited: Option<TcpListener>,
) -> std::io::Result<()> {
    let run = Run::new()?;
    if inherited.is_none() {
        example_pages::check_listen(cli.listen)?;
    }
    let rooms = rooms(&config);
    let options = PeerOptions::<Caller>::new(Arc::clone(&config), rooms.clone()).auth_first(true);
    let signaling = Signaling::new(cli.web.apply(options));
    let drain = cli.drain_seconds;
    let ice_servers = Arc::new(cli.ice_servers.list);
    let proxies = cli.web.trusted_proxies();
    let listen = cli.listen;
    let told = false;
    let site =
        Site { listen, inherited, tls, config, ice_servers, signaling, proxies, drain, told };
    // The site needs the rooms: when they fail, it is restarted after them.
    let tree = SupervisorSpec::new(Flags::rest_for_one().intensity(3, Duration::from_secs(10)))
        .child(rooms.child_spec("rooms"))
        .child(site.child_spec())
        .start_as("mesh-call")
        .await
        .map_err(std::io::Error::other)?;
    run.rooms(&rooms).tree(&tree).grace(drain + FORCE_GRACE).wait().await
}

/// Creates the configured rooms, open as long as the server runs.
fn rooms(config: &Arc<Config>) -> Rooms {
    let config = Arc::clone(config);
    let open = move || {
        let rooms = config.rooms.iter();
        rooms
            .map(|room| {
                RoomOptions::<MeshRoom>::new(room.name.as_str(), ())
                    .max_peers(room.max_peers.get() as usize)
                    .into()
            })
            .collect()
    };
    Rooms::builder().open_at_start(open).build()
}

/// Prints an error in the user's arguments or configuration.
fn usage(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("mesh-call: {error}");
    ExitCode::from(2)
}

/// Extra time at shutdown: the HTTP server keeps the drain time itself; this is for parts that
/// are stuck in spite of it.
const FORCE_GRACE: Duration = Duration::from_secs(1);
