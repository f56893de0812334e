//! Servers that are measured: each is this program, started again.

mod actors;
mod callboard;
mod connections;
mod counter;
pub(crate) mod link;
mod pages;
mod relay;
mod rooms;
mod str0m;
mod tree;
pub(crate) mod udp;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use self::callboard::Http;
use self::connections::Owners;
use self::rooms::Threads;
use self::tree::Offers;
use crate::http;
use crate::measure::{Family, Usage};
use crate::protocol::{Endpoint, Protocol};

/// Server that this program can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Server {
    /// Baseline: a hand-written relay on tokio-tungstenite, nothing but the protocol.
    Tokio,
    /// Baseline: bare actix-web-actors, the library below Callboard, without supervision, rooms as actors, limits.
    Actors,
    /// Baseline: datagrams without any protocol.
    Udp,
    /// Baseline: bare str0m, with one thread, one socket, a loop.
    Str0m,
    /// Baseline: bare str0m, with the datagrams of a burst to one client in one system call.
    Gso,
    /// Callboard: signaling with rooms that open on demand, and connections whose owners run on their threads.
    Callboard,
    /// Callboard with WebRTC peers, into whose tree faults can be injected.
    Tree,
    /// A plain actix actor that receives messages.
    Plain,
    /// The same actor as a supervised child.
    Supervised,
    /// Callboard, served by actix-web's `HttpServer`.
    Tuned,
    /// Callboard; the owners of its connections run on another thread.
    Far,
    /// Callboard with WebRTC peers, whose clients hear and see each other through it, served by `http_service`; faults
    /// can be injected as well.
    Media,
    /// Callboard's media room: publishers and subscribers as supervised actors.
    Rooms,
    /// The same, with the connections of a room on all media threads.
    Spread,
    /// Callboard with WebRTC peers and a page for browsers, which see each other through it, under a supervisor that
    /// starts it again when it has ended.
    Pages,
    /// Callboard's media room, with its clients, and a link between them that is cut and freed.
    Link,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokio => "tokio",
            Self::Actors => "actors",
            Self::Udp => "udp",
            Self::Str0m => "str0m",
            Self::Gso => "gso",
            Self::Callboard => "callboard",
            Self::Tree => "tree",
            Self::Plain => "plain",
            Self::Supervised => "supervised",
            Self::Tuned => "tuned",
            Self::Far => "far",
            Self::Rooms => "rooms",
            Self::Spread => "spread",
            Self::Pages => "pages",
            Self::Link => "link",
            Self::Media => "media",
        })
    }
}

impl Server {
    fn protocol(self) -> Protocol {
        match self {
            Self::Udp => Protocol::Udp,
            Self::Str0m | Self::Gso | Self::Rooms | Self::Spread => Protocol::Offers,
            // Callboard's servers that answer offers as well; callers only ask for what each one has.
            _ => Protocol::Callboard,
        }
    }

    /// Returns whether it can estimate the bandwidth of its clients.
    pub(crate) fn can_estimate(self) -> bool {
        matches!(self, Self::Str0m | Self::Gso | Self::Callboard | Self::Far | Self::Rooms)
    }
}

/// Runs this server, until standard input ends: with the process that has started it. Only `pages` has a port of its
/// choice, and without one runs as the supervisor of another.
pub(crate) fn serve(server: Server, estimate: bool, port: Option<u16>) -> io::Result<()> {
    match server {
        Server::Tokio => relay::serve(),
        Server::Actors => actors::serve(),
        Server::Tree => tree::serve(Offers::Echo),
        Server::Media => tree::serve(Offers::Media),
        Server::Plain => counter::serve(false),
        Server::Supervised => counter::serve(true),
        Server::Udp => udp::serve(),
        Server::Str0m => str0m::serve(false, estimate),
        Server::Gso => str0m::serve(true, estimate),
        Server::Callboard => callboard::serve(Owners::Near, Http::Service, estimate),
        Server::Tuned => callboard::serve(Owners::Near, Http::Server, estimate),
        Server::Far => callboard::serve(Owners::Far, Http::Service, estimate),
        Server::Rooms => rooms::serve(Threads::One, estimate),
        Server::Spread => rooms::serve(Threads::All, estimate),
        Server::Pages => match port {
            Some(port) => tree::serve(Offers::Page(port)),
            None => pages::supervise(),
        },
        Server::Link => link::serve(),
    }
}

/// Prints the address that the server listens on.
fn announce(address: SocketAddr) {
    println!("{address}");
}

/// Resolves when standard input ends.
pub(crate) async fn parent_gone() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // Not tokio's stdin: its thread could not be ended.
    std::thread::spawn(move || {
        _ = io::copy(&mut io::stdin(), &mut io::sink());
        _ = tell.send(());
    });
    _ = told.await;
}

/// Running server.
pub(crate) struct Process {
    /// Process of our own server: it ends with this value.
    child: Option<Child>,
    families: Vec<Family>,
    /// Whether it reports how many supervised actors it has.
    counts_actors: bool,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Attaches to a server that runs already, and goes on running.
    pub(crate) fn attach(endpoint: Endpoint, pids: &[u32]) -> io::Result<Self> {
        let Endpoint { protocol, address } = endpoint;
        let families = pids.iter().copied().map(Family::of).collect::<io::Result<_>>()?;
        Ok(Self { child: None, families, counts_actors: false, protocol, address })
    }

    pub(crate) async fn start(server: Server, estimate: bool) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        if matches!(server, Server::Tree | Server::Media | Server::Pages) {
            // As in production, panics are recorded with a backtrace. The log of panics is off:
            // all of them are injected.
            command.env("RUST_BACKTRACE", "1");
            command.env("RUST_LOG", "error,callboard_supervision::panic_hook=off");
        }
        let mut child = command
            .args(["serve", &server.to_string()])
            .args(estimate.then_some("--estimate"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(START, lines.next_line()).await;
        let line = line.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let address = line.unwrap_or_default().parse();
        let address = address.map_err(|_| io::Error::other(format!("{server} did not start")))?;
        let families = vec![Family::of(child.id().ok_or(io::ErrorKind::NotFound)?)?];
        let counts_actors = matches!(server, Server::Callboard | Server::Tuned | Server::Far);
        let (child, protocol) = (Some(child), server.protocol());
        Ok(Self { child, families, counts_actors, protocol, address })
    }

    /// Kills the server below a supervisor by SIGKILL; returns when that was.
    pub(crate) fn kill_child(&self) -> io::Result<SystemTime> {
        let family = self.families.first().ok_or(io::ErrorKind::NotFound)?;
        let child = family.children().first().and_then(|child| i32::try_from(*child).ok());
        let child = child.ok_or(io::ErrorKind::NotFound)?;
        #[expect(clippy::disallowed_methods, reason = "browsers tell their times by this clock")]
        let at = SystemTime::now();
        kill(Pid::from_raw(child), Signal::SIGKILL)?;
        Ok(at)
    }

    /// Returns whether it was started for this measurement, so that what its first clients cost shows.
    pub(crate) fn is_new(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { protocol: self.protocol, address: self.address }
    }

    /// Returns the number of open descriptors.
    pub(crate) fn descriptors(&self) -> io::Result<usize> {
        self.families.iter().map(|family| family.descriptors()).sum()
    }

    /// Returns the number of open descriptors, once there are at most `most`; or after a while.
    pub(crate) async fn descriptors_at_rest(&self, most: usize) -> io::Result<usize> {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..100 {
            looks.tick().await;
            if self.descriptors()? <= most {
                break;
            }
        }
        self.descriptors()
    }

    /// Returns the number of supervised actors, if the server reports it: once there are at most
    /// `most`; or after a while.
    pub(crate) async fn actors_at_rest(&self, most: Option<usize>) -> io::Result<Option<usize>> {
        if !self.counts_actors {
            return Ok(None);
        }
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let mut count = usize::MAX;
        for _ in 0..100 {
            looks.tick().await;
            let (_, answer) = http::ask(self.address, "GET", "/actors", Default::default()).await?;
            count = answer.parse().map_err(io::Error::other)?;
            if most.is_none_or(|most| count <= most) {
                break;
            }
        }
        Ok(Some(count))
    }

    pub(crate) fn usage(&self) -> io::Result<Usage> {
        let mut all = Usage::default();
        for family in &self.families {
            all += family.usage()?;
        }
        Ok(all)
    }
}

const START: Duration = Duration::from_secs(10);
/// Estimate to begin with, in bits per second: that of a fast line, so that what is measured is not held back.
const FIRST_ESTIMATE: u64 = 50_000_000;
