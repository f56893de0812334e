//! The processes of a cluster on this machine, under a supervisor that starts each again when it ends.

use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use callboard_signaling::Run;
use callboard_supervision::{Flags, MainError, SupervisorSpec};

use crate::faults::Nodes;
use crate::nats::{NatsServer, Way};
use crate::process::{child_spec, command};

/// Runs a NATS server and the nodes until SIGINT or SIGTERM. The first node listens at this address, the others at the
/// ports after that.
pub(crate) async fn run(first: SocketAddr, nats_server: Option<&Path>) -> Result<(), MainError> {
    if !first.ip().is_loopback() {
        Err(
            "pages may kill nodes here, so only this machine may see them; run each node by --node",
        )?;
    }
    // What was asked for comes before what this machine allows.
    let server = NatsServer::find(nats_server)?;
    let mut addresses = Vec::new();
    for number in 0..NODES.len() {
        let port = u16::try_from(number).ok().and_then(|number| first.port().checked_add(number));
        let port = port.filter(|port| *port > 0);
        let port = port.ok_or("three nodes listen at three ports from this one on: 1 to 65533")?;
        let address = SocketAddr::new(first.ip(), port);
        example_pages::check_listen(address)?;
        addresses.push(address);
    }
    // Pages of each node may come to each: they do when theirs is drained.
    let names =
        |address: &SocketAddr| [address.to_string(), format!("localhost:{}", address.port())];
    let origins = addresses.iter().flat_map(names);
    let origins: Vec<_> = origins.map(|name| format!("--origin=http://{name}")).collect();
    let run = Run::new()?;
    let folder = tempfile::tempdir()?;
    let (nodes, program) = (Nodes::default(), env::current_exe()?);

    let flags = Flags::one_for_one().intensity(RESTARTS, Duration::from_secs(10));
    let (nats, records) = (server.clone(), folder.path().join("nats"));
    let nats = child_spec("nats", "Server is ready", &nodes, move || nats.command(&records));
    let mut tree = SupervisorSpec::new(flags).child(nats);
    for (name, address) in NODES.into_iter().zip(&addresses) {
        let way = Way::open(server.address).await?;
        let options = [
            format!("--node={name}"),
            format!("--listen={address}"),
            format!("--url=ws://{address}"),
            format!("--nats=nats://{}", way.address),
            format!("--lock-file={}", folder.path().join(name).display()),
            "--liveness=127.0.0.1:0".to_owned(),
            format!("--hold={HOLD}"),
            format!("--drain-spread={SPREAD}"),
            "--faults".to_owned(),
        ];
        let options: Vec<_> = options.into_iter().chain(origins.iter().cloned()).collect();
        nodes.add(name, way);
        let program = program.clone();
        tree = tree.child(child_spec(name, "listening on", &nodes, move || {
            let mut command = command(&program);
            command.args(&options);
            command
        }));
    }
    let tree = tree.start_as("machine").await?;
    // Scripts wait for the first line.
    addresses.iter().for_each(|address| println!("listening on http://{address}/"));
    run.tree(&tree).grace(GRACE).wait().await?;
    Ok(())
}

/// Names of the nodes.
const NODES: [&str; 3] = ["a1", "b2", "c3"];
/// Time for which a node's session holds, in seconds. There is one NATS server, which elects no leader: it may be
/// shorter than the 15 s that three of them need.
const HOLD: u64 = 6;
/// Time in which the clients of a node that is drained are told, in seconds: there are few.
const SPREAD: u64 = 1;
/// Restarts within 10 s that the supervisor allows: many, for fault injection.
const RESTARTS: u32 = 100;
/// Longest time for the end of all processes: one after another, in 3 s at most.
const GRACE: Duration = Duration::from_secs(12);
