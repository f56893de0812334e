//! Three NATS servers that keep what they store together.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use integration_tests::program;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::bed::Bed;
use super::process::Process;
use crate::http;

/// Names of the servers, and of their hosts.
pub(crate) const SERVERS: [&str; 3] = ["n1", "n2", "n3"];

pub(crate) struct Nats {
    servers: Vec<Server>,
}

pub(crate) struct Server {
    pub(crate) process: Process,
    arguments: Vec<String>,
    monitor: SocketAddr,
    client: SocketAddr,
}

impl Nats {
    /// Starts the servers on the hosts of their names; their files are in this folder.
    pub(crate) fn start(bed: &Bed, folder: &Path) -> io::Result<Self> {
        let routes = SERVERS.map(|name| format!("nats://{}:6222", bed.host(name).address));
        let mut servers = Vec::new();
        for name in SERVERS {
            let host = bed.host(name);
            let (address, routes) = (host.address, routes.join(", "));
            let [config, storage, log] =
                ["conf", "storage", "log"].map(|end| folder.join(format!("{name}.{end}")));
            let text = format!(
                "server_name: {name}\n\
                 listen: {address}:4222\n\
                 http: {address}:8222\n\
                 jetstream {{ store_dir: {storage:?}, max_mem: 256M, max_file: 256M }}\n\
                 cluster {{ name: faults, listen: {address}:6222, routes: [ {routes} ] }}\n"
            );
            std::fs::write(&config, text)?;
            let process = Process::new(&host.network, program::of_python("nats-server"), log);
            let arguments = vec!["--config".to_owned(), config.display().to_string()];
            let [monitor, client] = [8222, 4222].map(|port| SocketAddr::from((address, port)));
            let mut server = Server { process, arguments, monitor, client };
            server.start()?;
            servers.push(server);
        }
        Ok(Self { servers })
    }

    /// Returns the addresses for clients.
    pub(crate) fn urls(&self) -> String {
        let urls = self.servers.iter().map(|server| format!("nats://{}", server.client));
        urls.collect::<Vec<_>>().join(",")
    }

    pub(crate) fn server(&mut self, at: usize) -> &mut Server {
        &mut self.servers[at]
    }

    pub(crate) fn servers(&mut self) -> impl Iterator<Item = &mut Server> {
        self.servers.iter_mut()
    }

    /// Returns the number of the server that leads the bucket of a cluster; none while there is none.
    pub(crate) async fn leader(&self, cluster: &str) -> Option<usize> {
        for (at, name) in SERVERS.iter().enumerate() {
            // Only what it says of itself is true now.
            if let Some(stream) = self.stream(at, cluster).await
                && stream["cluster"]["leader"] == *name
            {
                return Some(at);
            }
        }
        None
    }

    /// Returns the number of consumers of the bucket; none while a server does not answer. Each server knows its own.
    pub(crate) async fn consumers(&self, cluster: &str) -> Option<u64> {
        let mut all = BTreeSet::new();
        for at in 0..self.servers.len() {
            let stream = self.stream(at, cluster).await?;
            let consumers = stream["consumer_detail"].as_array().cloned().unwrap_or_default();
            let names = consumers.iter().filter_map(|one| one["name"].as_str());
            all.extend(names.map(str::to_owned));
        }
        Some(all.len() as u64)
    }

    /// Returns what a server says of a bucket.
    async fn stream(&self, at: usize, cluster: &str) -> Option<Value> {
        let bucket = format!("KV_callboard_{cluster}");
        let path = "/jsz?streams=true&consumers=true";
        let body = ("application/json", String::new());
        let asking = http::ask(self.servers[at].monitor, "GET", path, body);
        let (_, answer) = timeout(Duration::from_secs(1), asking).await.ok()?.ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let accounts = answer["account_details"].as_array()?;
        let mut streams = accounts.iter().flat_map(|one| one["stream_detail"].as_array()).flatten();
        streams.find(|stream| stream["name"] == bucket.as_str()).cloned()
    }

    /// Waits until a server leads the bucket of a cluster; returns its number.
    pub(crate) async fn led(&self, cluster: &str) -> io::Result<usize> {
        let waiting = async {
            loop {
                if let Some(leader) = self.leader(cluster).await {
                    return leader;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONGEST, waiting)
            .await
            .map_err(|_| io::Error::other("no NATS server leads the bucket"))
    }
}

impl Server {
    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        self.process.start(&self.arguments)
    }
}

/// Longest wait for a leader.
const LONGEST: Duration = Duration::from_secs(60);
