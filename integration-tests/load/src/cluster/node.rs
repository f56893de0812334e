//! Node: signaling over WebSockets, with rooms on a cluster.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard_admin::Admin;
use callboard_cluster::{Cluster, ClusterBuilder, Embedded, Nats, NatsOptions, NatsWire};
use callboard_room_supervisor::{AuthData, Rejection, Rooms};
use callboard_signaling::*;
use callboard_supervision::SupervisorRef;
use clap::Args;
use serde_json::json;

use super::hall::{self, Book};
use super::wall_clock;

#[derive(Args)]
pub(crate) struct NodeOptions {
    /// Name of the node.
    pub(crate) name: String,
    /// Address to listen on.
    pub(crate) listen: SocketAddr,
    /// Addresses of NATS; without, the node is alone, with a directory in its memory.
    #[arg(long)]
    pub(crate) nats: Option<String>,
    /// Whether there is no cluster at all.
    #[arg(long, conflicts_with = "nats")]
    pub(crate) alone: bool,
    /// Name of the cluster.
    #[arg(long, default_value = "main")]
    pub(crate) cluster: String,
    /// For how many seconds a renewal of the session holds.
    #[arg(long)]
    pub(crate) hold: Option<u64>,
    /// File that the process locks.
    #[arg(long)]
    pub(crate) lock: Option<PathBuf>,
    /// Address at which the process listens as long as it lives.
    #[arg(long)]
    pub(crate) liveness: Option<SocketAddr>,
    /// File for the history.
    #[arg(long)]
    pub(crate) history: Option<PathBuf>,
    /// Seconds between two looks at each client.
    #[arg(long, default_value_t = 15)]
    pub(crate) heartbeat: u64,
    /// For how many seconds a peer outlives its WebSocket.
    #[arg(long, default_value_t = 3)]
    pub(crate) grace: u64,
}

struct Guest;

impl Peer for Guest {
    type Options = ();

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }
}

/// Runs the node until its process ends.
pub(crate) fn serve(options: NodeOptions) -> Result<(), Box<dyn Error>> {
    actix_web::rt::System::new().block_on(async {
        let book = Arc::new(Book::new(&options.name, options.history.as_deref())?);
        let cluster = cluster(&options).await?;
        let on_demand = {
            let book = Arc::clone(&book);
            move |name: &str| Some(hall::options(name, &book))
        };
        let mut rooms = Rooms::builder().threads(THREADS).on_demand(on_demand);
        if let Some(cluster) = &cluster {
            rooms = rooms.cluster(cluster);
        }
        let rooms = rooms.build();
        let tree = match &cluster {
            Some(cluster) => Some(cluster.start().await?),
            None => None,
        };
        let root = rooms.start().await?;
        let peers = PeerOptions::<Guest>::new((), rooms.clone())
            .rate(Rate::UNLIMITED)
            // All clients are from one address.
            .max_connections_per_address(1 << 20)
            .max_rooms_per_address(1 << 20)
            .rooms_per_minute_per_address(u32::MAX)
            .heartbeat(Some(Duration::from_secs(options.heartbeat)))
            .resume_grace(Duration::from_secs(options.grace));
        let signaling = Signaling::new(peers);
        let drain = Drain::new(&rooms).spread(DRAIN_SPREAD);
        let admin = admin(&cluster, &rooms, &root, &drain);
        let mut run = Run::new()?.rooms(&rooms);
        if let Some(tree) = &tree {
            run = run.tree(tree);
        }
        run = run.tree(&root).drain_on_sigterm(&drain);
        let app = move || {
            let (cluster, rooms, actors) = (cluster.clone(), rooms.clone(), root.clone());
            let facts = move || {
                let facts = cluster.as_ref().map(Cluster::facts);
                let lease = facts.as_ref().and_then(|facts| facts.lease_remaining);
                let answer = json!({
                    "lease_ms": lease.map(|lease| lease.as_millis() as u64),
                    "lapses": facts.as_ref().map(|facts| facts.lapses),
                    "seals": facts.as_ref().map(|facts| facts.seals),
                    "refusals": facts.as_ref().map(|facts| facts.refusals),
                    "watched": facts.as_ref().map(|facts| facts.watched),
                    "actors": actors.snapshot().running(),
                    "rooms": here(&rooms),
                    "shut": rooms.count_by_place().map(|rooms| rooms.shut),
                    "wall_clock_ms": wall_clock::now(),
                });
                async move { HttpResponse::Ok().json(answer) }
            };
            App::new()
                .configure(signaling.at(&["/socket/{room}"]))
                .configure(admin.at(""))
                .route("/facts", web::get().to(facts))
        };
        let server = tune(HttpServer::new(app)).workers(WORKERS).disable_signals();
        Ok(run.grace(GRACE).serve(server.bind(options.listen)?).await?)
    })
}

/// Creates the admin routes, by which the node is drained and its rooms are moved.
fn admin(cluster: &Option<Cluster>, rooms: &Rooms, root: &SupervisorRef, drain: &Drain) -> Admin {
    let (shown, moved) = (rooms.clone(), rooms.clone());
    let (begins, drains) = (drain.clone(), drain.clone());
    let mut admin = Admin::builder(root.clone())
        .token(TOKEN)
        .readiness(move || drains.readiness())
        .drain(move || begins.begin());
    if let Some(cluster) = cluster {
        admin = admin.cluster(cluster).move_room(
            move |actor| shown.room_at(&actor.path).map(|room| room.name().to_owned()),
            move |room, to| {
                let rooms = moved.clone();
                async move { rooms.move_room(&room, &to).await }
            },
        );
    }
    admin.build()
}

/// Returns the names of the rooms that this node runs.
fn here(rooms: &Rooms) -> Vec<String> {
    let here = rooms.list().into_iter().filter(|room| room.home().is_none());
    here.map(|room| room.name().to_owned()).collect()
}

async fn cluster(options: &NodeOptions) -> Result<Option<Cluster>, Box<dyn Error>> {
    let mut builder: ClusterBuilder = match &options.nats {
        Some(servers) => {
            let nats = || NatsOptions::new().cluster(&options.cluster).replicas(3);
            let directory = Nats::connect(servers, nats()).await?;
            Cluster::builder(directory).wire(NatsWire::connect(servers, nats()).await?)
        }
        None if options.alone => return Ok(None),
        None => Cluster::builder(Embedded::new()),
    };
    if let Some(hold) = options.hold {
        builder = builder.hold(Duration::from_secs(hold));
    }
    if let Some(lock) = &options.lock {
        builder = builder.lock_file(lock);
    }
    if let Some(address) = options.liveness {
        builder = builder.liveness(address);
    }
    Ok(Some(builder.node(&options.name).build()?))
}

/// Threads of the rooms, and of the HTTP server: several nodes share the machine.
const THREADS: usize = 2;
const WORKERS: usize = 2;
/// Token of the admin routes: who asks is on another host.
pub(crate) const TOKEN: &str = "load";
/// In which time clients are told to go to other nodes, when the node is drained.
const DRAIN_SPREAD: Duration = Duration::from_secs(1);
/// Longest time for the end, after a drain.
const GRACE: Duration = Duration::from_secs(3);
