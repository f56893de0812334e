//! Browsers in a mesh call: the Membrane guide's application on Callboard.

mod cli;
mod config;
mod credentials;
mod http;
mod pages;
mod peer;
mod room;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::{RoomOptions, Rooms};
use callboard_signaling::{PeerOptions, Signaling, tls};
use callboard_supervision::{Flags, SupervisorRef, SupervisorSpec};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::cli::Cli;
use crate::config::Config;
use crate::http::Site;
use crate::peer::Caller;
use crate::room::MeshRoom;

fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
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
    let drain = cli.drain_seconds;
    actix::System::new().block_on(async {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return failed(&error),
        };
        let rooms = rooms(&config);
        let signaling = Signaling::new(PeerOptions::<Caller>::new(Arc::clone(&config), rooms.clone()).auth_first(true));
        let site = Site { listen: cli.listen, tls, config, signaling, drain, told: false };
        // The site needs the rooms: when they fail, it starts anew after them.
        let tree = SupervisorSpec::new(Flags::rest_for_one().intensity(3, Duration::from_secs(10)))
            .child(rooms.child_spec("rooms"))
            .child(site.child_spec())
            .start_as("mesh-call")
            .await;
        let tree = match tree {
            Ok(tree) => tree,
            Err(error) => return failed(&error),
        };
        tokio::select! {
            () = signals.next() => shut_down(&rooms, &tree, drain, signals).await,
            reason = tree.ended() => failed(&format!("everything that was tried failed again: {reason}")),
        }
    })
}

/// The configured rooms, open as long as the server runs.
fn rooms(config: &Arc<Config>) -> Rooms {
    let config = Arc::clone(config);
    let open = move || {
        let rooms = config.rooms.iter();
        rooms
            .map(|room| RoomOptions::<MeshRoom>::new(room.name.as_str(), room.max_peers).into())
            .collect()
    };
    Rooms::builder().open_at_start(open).build()
}

/// Tell everyone, then end what runs. A second signal ends the process at once.
async fn shut_down(
    rooms: &Rooms,
    tree: &SupervisorRef,
    drain: Duration,
    mut signals: Signals,
) -> ExitCode {
    log::info!("shutting down");
    let ending = async {
        rooms.stop_all("shutdown").await;
        tree.stop().await
    };
    tokio::select! {
        ended = timeout(drain + FORCE_GRACE, ending) => {
            if ended.is_err() {
                log::warn!("not everything ended in time");
            }
            ExitCode::SUCCESS
        }
        () = signals.next() => failed(&"ended by a second signal"),
    }
}

/// SIGINT and SIGTERM.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// What the user asked for cannot be done.
fn usage(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("mesh-call: {error}");
    ExitCode::from(2)
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("mesh-call: {error}");
    ExitCode::FAILURE
}

/// The HTTP server keeps the drain time itself; this is for what would be stuck in spite of it.
const FORCE_GRACE: Duration = Duration::from_secs(1);
