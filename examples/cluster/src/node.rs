//! A node: the rooms of this process, shared with those of the others.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use callboard_admin::Admin;
use callboard_cluster::{Cluster, Nats, NatsOptions, NatsWire};
use callboard_peer_connection::PeerConnections;
use callboard_room_supervisor::{RoomOptions, Rooms};
use callboard_signaling::{
    Drain, PeerOptions, Run, Signaling, WebRtc, body_within, client_script, is_room_name, tune,
};
use callboard_supervision::{Flags, MainError, SupervisorSpec};
use serde_json::json;
use tokio::net::lookup_host;

use crate::faults::LASTS;
use crate::guest::{FaultTimes, Guest, Hall, Place};
use crate::hooks::hooks;
use crate::{Cli, Node, pages};

/// Runs a node until SIGINT or SIGTERM. At SIGTERM its clients go to other nodes first.
pub(crate) async fn run(cli: &Cli, name: &str) -> Result<(), MainError> {
    let run = Run::new()?;
    let listener = TcpListener::bind(cli.listen);
    let listener = listener.map_err(|error| example_pages::cannot_listen(cli.listen, &error))?;
    let address = listener.local_addr()?;

    let cluster = cluster(&cli.node, name).await?;
    // Any name opens a room, at the first node that is asked for it; at the others its clients are guests.
    let open = |name: &str| {
        let options = RoomOptions::<Hall>::new(name, ()).close_when_empty(true);
        is_room_name(name).then(|| options.into())
    };
    let rooms = Rooms::builder().cluster(&cluster).on_demand(open).build();
    let tree = SupervisorSpec::new(Flags::rest_for_one())
        .child(cluster.child_spec("cluster"))
        .child(rooms.child_spec("rooms"))
        .start_as("server")
        .await?;

    let hold = cli.node.hold.filter(|_| cli.node.faults);
    let faults = hold.map(|hold| FaultTimes { lasts: LASTS, hold });
    let place = Place::new(&cluster, cli.node.url.as_deref(), faults)?;
    let connections = PeerConnections::start(cli.network.options()).await?;
    let webrtc =
        WebRtc::new(connections.clone()).configuration(cli.network.configuration()).media();
    let functions = hooks(place.clone())?;
    let guests = || {
        let guests = PeerOptions::<Guest>::new(place.clone(), rooms.clone());
        cli.web.apply(guests.hooks(functions.clone()).resume_grace(RESUME_GRACE))
    };
    let signaling = Signaling::new(guests());
    // Media does not cross nodes: these clients go to the node that runs their room.
    let calls = Signaling::new(guests().webrtc(webrtc.clone()));
    let drain = Drain::new(&rooms).spread(Duration::from_secs(cli.node.drain_spread));
    let (lease, drains, begins) = (cluster.clone(), drain.clone(), drain.clone());
    let (shown, moved) = (rooms.clone(), rooms.clone());
    // Without NATS a node goes on with the rooms that it has: it must not be restarted for that.
    let readiness = move || {
        let mut ready = drains.readiness()?;
        ready.insert("in_cluster".to_owned(), json!(lease.lease().is_some()));
        Ok(ready)
    };
    let admin = Admin::builder(tree.clone())
        .counters(signaling.counters())
        .counters(calls.counters())
        .webrtc(&webrtc)
        .cluster(&cluster)
        .all_nodes(true)
        .node_faults(cli.node.faults)
        .trusted_proxies(cli.web.trusted_proxies())
        .readiness(readiness)
        .drain(move || begins.begin())
        .move_room(
            move |actor| shown.room_at(&actor.path).map(|room| room.name().to_owned()),
            move |room, to| {
                let rooms = moved.clone();
                async move { rooms.move_room(&room, &to).await }
            },
        )
        .build();
    let origins = Data::new(cli.web.origins.clone());
    let ice_servers = Data::new(cli.network.servers.list.clone());
    let route_guard = cli.web.route_guard();
    let app = move || {
        App::new()
            .app_data(ice_servers.clone())
            .wrap(from_fn(body_within(example_pages::BODY_TIME)))
            .wrap(example_pages::security_headers())
            .configure(signaling.at(&["/socket/{room}"]))
            .configure(calls.at(&["/call/{room}"]))
            .configure(client_script("/callboard.js"))
            .configure(admin.at(""))
            .configure(pages::configure(origins.clone(), &route_guard))
    };
    let server = tune(HttpServer::new(app)).listen(listener)?;
    println!("listening on http://{address}/");
    let run = run.rooms(&rooms).connections(&connections).tree(&tree).drain_on_sigterm(&drain);
    Ok(run.grace(GRACE).serve(server).await?)
}

async fn cluster(options: &Node, name: &str) -> Result<Cluster, MainError> {
    let servers = options.nats.as_deref().unwrap_or_default();
    let mut nats = NatsOptions::new().cluster("example").replicas(options.replicas);
    if let Some(file) = &options.credentials {
        nats = nats.credentials(file);
    }
    let directory = Nats::connect(servers, nats.clone()).await?;
    let wire = NatsWire::connect(servers, nats).await?;
    let mut node = Cluster::builder(directory).wire(wire).node(name);
    if let Some(url) = &options.url {
        node = node.url(url);
    }
    if let Some(file) = &options.lock_file {
        node = node.lock_file(file);
    }
    if let Some(name) = &options.liveness {
        let cannot = |cause: String| format!("--liveness {name}: {cause}");
        let found = lookup_host(name).await.map_err(|error| cannot(error.to_string()))?.next();
        node = node.liveness(found.ok_or_else(|| cannot("no such host".to_owned()))?);
    }
    if let Some(seconds) = options.hold {
        node = node.hold(Duration::from_secs(seconds));
    }
    Ok(node.build()?)
}

/// Time for which a page that has lost its connection may come back to its session, at any node.
const RESUME_GRACE: Duration = Duration::from_secs(15);
/// Longest time for the end, after a drain: the node leaves the cluster, for which NATS must answer.
const GRACE: Duration = Duration::from_secs(3);
