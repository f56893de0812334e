//! Lifecycle of a server process: it runs until SIGINT or SIGTERM, then shuts down gracefully.

use std::fmt::{self, Debug};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use actix_web::dev::Server;
#[cfg(feature = "webrtc")]
use callboard_peer_connection::PeerConnections;
use callboard_room_supervisor::Rooms;
use callboard_supervision::{PanicReports, SupervisorRef, install_panic_hook};
use callboard_websocket::{Serve, connections_ended, drain};
use futures_util::future::{join, join_all, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::drain::Drain;

/// Runs a server until SIGINT or SIGTERM: starts `rooms` unless they run already, serves, and on the signal shuts down
/// gracefully. Every client is told "Room closed" and closed with 1001, then this returns, after 1.5 s at the latest. A
/// program that says that it listens [starts](Rooms::start) the rooms before: then it says so only if they stand.
///
/// A second signal ends the process at once, with code 1. [`Run`] can shut down more than rooms, and has a configurable
/// grace.
///
/// ```no_run
/// # use actix_web::{App, HttpServer};
/// # use callboard_room_supervisor::Rooms;
/// # use callboard_supervision::MainError;
/// # #[actix_web::main]
/// # async fn main() -> Result<(), MainError> {
/// # let (rooms, app) = (Rooms::new(), || App::new());
/// let server = callboard_signaling::tune(HttpServer::new(app)).bind("127.0.0.1:8080")?;
/// rooms.start().await?;
/// println!("listening on {}", server.addrs()[0]);
/// Ok(callboard_signaling::run(rooms, server).await?)
/// # }
/// ```
///
/// # Errors
/// The rooms or the server could not be started; or the rooms' supervisor has given up, or the server has ended by
/// itself, after the rest was shut down.
pub async fn run(rooms: Rooms, server: impl Serve) -> io::Result<()> {
    let run = Run::new()?.rooms(&rooms);
    // It begins to serve once the rooms have started.
    let server = Serving::start(server, run.grace)?;
    let tree = match rooms.is_running() {
        true => rooms.tree(),
        false => Some(rooms.start().await.map_err(io::Error::other)?),
    };
    // Rooms in a tree of the application's are stopped with that.
    let run = tree.iter().fold(run, Run::tree);
    run.finish(Some(server), pending::<()>()).await.map(|_| ())
}

/// The lifecycle of a server process: what ends it, and what is shut down then, in which order.
///
/// At SIGINT or SIGTERM no more connections are accepted, rooms are closed (their clients are told "Room closed" and
/// closed with 1001), then peer connections, then trees. At SIGTERM, or when it is drained, rooms with a [file for the
/// hand-over](callboard_room_supervisor::RoomsBuilder::hand_over_file) are handed over to the next process before:
/// their clients are closed with 1001 "server is restarting", and resume their sessions there. A node of a cluster is
/// [drained](Self::drain_on_sigterm) instead, if that was asked for. What has not ended after
/// the [grace](Self::grace) is cut off. A second signal, a quarter of a second or more after the first, ends the
/// process at once with code 1, even if a callback blocks the main thread.
///
/// Its constructor [installs a panic hook](install_panic_hook) that reports panics of actors with their paths, without
/// holding up the actor's thread.
pub struct Run {
    panics: PanicReports,
    asked: watch::Receiver<Option<&'static str>>,
    rooms: Vec<Rooms>,
    #[cfg(feature = "webrtc")]
    connections: Vec<PeerConnections>,
    trees: Vec<SupervisorRef>,
    before: Vec<Box<dyn FnOnce()>>,
    drain: Option<Drain>,
    grace: Duration,
    hand_over: bool,
}

impl Run {
    /// Listens for SIGINT and SIGTERM from now on: best before the process tells anyone that it is ready.
    ///
    /// # Errors
    /// Signals cannot be listened for.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            panics: install_panic_hook(),
            asked: listen()?,
            rooms: Vec::new(),
            #[cfg(feature = "webrtc")]
            connections: Vec::new(),
            trees: Vec::new(),
            before: Vec::new(),
            drain: None,
            grace: GRACE,
            hand_over: true,
        })
    }

    /// Closes these rooms at shutdown.
    pub fn rooms(mut self, rooms: &Rooms) -> Self {
        self.rooms.push(rooms.clone());
        self
    }

    /// Closes these peer connections at shutdown, after the rooms.
    #[cfg(feature = "webrtc")]
    pub fn connections(mut self, connections: &PeerConnections) -> Self {
        self.connections.push(connections.clone());
        self
    }

    /// Stops this tree at shutdown, after rooms and peer connections; the tree that was named last is stopped first. If
    /// it ends by itself the server is shut down, and the run fails.
    pub fn tree(mut self, tree: &SupervisorRef) -> Self {
        self.trees.push(tree.clone());
        self
    }

    /// Calls this at shutdown, before anything else.
    pub fn on_shutdown(mut self, before: impl FnOnce() + 'static) -> Self {
        self.before.push(Box::new(before));
        self
    }

    /// Drains this node of a cluster at SIGTERM, or when the drain is [begun](Drain::begin), before anything else: the
    /// server runs on meanwhile. A second signal ends the process at once as ever.
    pub fn drain_on_sigterm(self, drain: &Drain) -> Self {
        Self { drain: Some(drain.clone()), ..self }
    }

    /// Sets how long shutting down may take: the longest time for open connections to finish. Default: 1.5 s.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Runs this HTTP server until a signal comes, and shuts down.
    ///
    /// # Errors
    /// The server could not be started or has ended by itself, or a tree has ended by itself.
    pub async fn serve(self, server: impl Serve) -> io::Result<()> {
        let server = Serving::start(server, self.grace)?;
        self.finish(Some(server), pending::<()>()).await.map(|_| ())
    }

    /// Waits for a signal, and shuts down; for a server that is a child of one of the trees.
    ///
    /// # Errors
    /// A tree has ended by itself.
    pub async fn wait(self) -> io::Result<()> {
        self.until(pending::<()>()).await.map(|_| ())
    }

    /// Runs until `work` is done or a signal comes, and shuts down. Returns the result of the work; `None` if a signal
    /// came first.
    ///
    /// # Errors
    /// A tree has ended by itself; or the work was done, and not everything could be shut down within the grace.
    pub async fn until<T>(self, work: impl Future<Output = T>) -> io::Result<Option<T>> {
        self.finish(None, work).await
    }

    async fn finish<T>(
        mut self,
        mut server: Option<Serving>,
        work: impl Future<Output = T>,
    ) -> io::Result<Option<T>> {
        let end = tokio::select! {
            // A signal that came during the start takes precedence.
            biased;
            name = asked(&mut self.asked) => End::Asked(name),
            ended = serving(&mut server) => {
                let ended = ended.err().unwrap_or_else(|| io::Error::other("the HTTP server has ended"));
                server = None;
                End::Failed(ended)
            }
            reason = given_up(&self.trees) => {
                End::Failed(io::Error::other(format!("a supervisor has given up: {reason}")))
            }
            () = begun(self.drain.as_ref()) => End::Asked("drain"),
            done = work => End::Done(done),
        };
        if let End::Asked(name) = &end {
            log::info!("shutting down: {name}");
        }
        if let Some(drain) = self.drain.take()
            && matches!(end, End::Asked("SIGTERM" | "drain"))
        {
            server = while_serving(drain.run(), server).await;
        }
        // For a deploy the process gets SIGTERM, or is drained; who stops it at a terminal does not start another one.
        self.hand_over &= matches!(end, End::Asked("SIGTERM" | "drain"));
        let in_time = self.shut_down(server).await;
        match end {
            End::Failed(error) => Err(error),
            End::Done(_) if !in_time => Err(io::Error::new(io::ErrorKind::TimedOut, NOT_IN_TIME)),
            End::Done(done) => Ok(Some(done)),
            End::Asked(_) => {
                if !in_time {
                    log::warn!("{NOT_IN_TIME}");
                }
                Ok(None)
            }
        }
    }

    /// Shuts everything down; returns false if not all of it ended in time.
    async fn shut_down(self, mut server: Option<Serving>) -> bool {
        let Self { panics, asked, rooms, mut trees, before, grace, hand_over, .. } = self;
        #[cfg(feature = "webrtc")]
        let connections = self.connections;
        before.into_iter().for_each(|before| before());
        let handle = server.as_ref().map(|it| it.server.handle());
        let addresses = server.as_ref().map_or_else(Vec::new, |it| it.addresses.clone());
        let (all_ended, drop_it) = oneshot::channel::<()>();
        if hand_over {
            // It has time limits of its own.
            server = handing_over(&rooms, server).await;
        }
        let rest = async {
            if let Some(handle) = &handle {
                // Accepts no more from now on.
                handle.pause().await;
            }
            join_all(rooms.iter().map(|rooms| rooms.stop_all("shutdown"))).await;
            let http = async {
                if let Some(handle) = &handle {
                    drain();
                    tokio::select! {
                        () = handle.stop(true) => {}
                        // The server itself checks only once a second.
                        () = connections_ended(&addresses) => {
                            _ = all_ended.send(());
                        }
                    }
                }
            };
            let others = async {
                #[cfg(feature = "webrtc")]
                join_all(connections.iter().map(PeerConnections::stop)).await;
                while let Some(tree) = trees.pop() {
                    tree.stop().await;
                }
            };
            join(http, others).await
        };
        let http = async {
            if let Some(Serving { server, .. }) = server {
                tokio::select! {
                    _ = server => {}
                    Ok(()) = drop_it => {}
                }
            }
        };
        let ended = timeout(grace, join(http, rest)).await;
        // Kept until here, so that a second signal is recognised as one.
        drop(asked);
        // Reports of panics are written before the reason for which the process ends.
        drop(panics);
        ended.is_ok()
    }
}

impl Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("rooms", &self.rooms)
            .field("trees", &self.trees)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// Accepts no more connections, and hands the rooms over, while the server runs on; returns the server if it still
/// does.
async fn handing_over(rooms: &[Rooms], server: Option<Serving>) -> Option<Serving> {
    let handle = server.as_ref().map(|it| it.server.handle());
    let handing_over = async {
        if let Some(handle) = handle {
            handle.pause().await;
        }
        join_all(rooms.iter().map(hand_over_rooms)).await;
    };
    while_serving(handing_over, server).await
}

/// Does this while the server runs on; returns the server if it still does.
async fn while_serving(work: impl Future<Output = ()>, server: Option<Serving>) -> Option<Serving> {
    let Some(mut server) = server else {
        work.await;
        return None;
    };
    let mut work = pin!(work);
    tokio::select! {
        () = &mut work => Some(server),
        _ = &mut server.server => {
            work.await;
            None
        }
    }
}

async fn begun(drain: Option<&Drain>) {
    match drain {
        Some(drain) => drain.begins().await,
        None => pending().await,
    }
}

/// Hands the rooms over to the process that replaces this one, if they have a file for that. What cannot be handed over
/// is shut down as ever.
async fn hand_over_rooms(rooms: &Rooms) {
    let Some(path) = rooms.hand_over_path() else { return };
    match rooms.hand_over_to_file(path).await {
        Ok(done) => log::info!("handed over to {}: {done:?}", path.display()),
        Err(error) => log::error!("{}: {error}", path.display()),
    }
}

/// Reason why a run ends.
enum End<T> {
    Asked(&'static str),
    Failed(io::Error),
    Done(T),
}

/// A running server.
struct Serving {
    server: Server,
    /// Addresses that it is bound to. Empty: all of this process's.
    addresses: Vec<SocketAddr>,
}

impl Serving {
    fn start(server: impl Serve, grace: Duration) -> io::Result<Self> {
        let addresses = server.addresses();
        Ok(Self { server: server.start(grace)?, addresses })
    }
}

async fn asked(asked: &mut watch::Receiver<Option<&'static str>>) -> &'static str {
    match asked.wait_for(Option::is_some).await.map(|name| *name) {
        Ok(Some(name)) => name,
        _ => pending().await,
    }
}

async fn serving(server: &mut Option<Serving>) -> io::Result<()> {
    match server {
        Some(Serving { server, .. }) => server.await,
        None => pending().await,
    }
}

async fn given_up(trees: &[SupervisorRef]) -> callboard_supervision::ExitReason {
    if trees.is_empty() {
        return pending().await;
    }
    select_all(trees.iter().map(|tree| Box::pin(tree.ended()))).await.0
}

/// Returns a receiver of the first signal of this process.
fn listen() -> io::Result<watch::Receiver<Option<&'static str>>> {
    static FIRST: Mutex<Option<watch::Sender<Option<&'static str>>>> = Mutex::new(None);
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(first) = &*first {
        return Ok(first.subscribe());
    }
    let (tell, told) = watch::channel(None);
    // On a thread of its own, so that signals are handled even if all others are blocked.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _runtime = runtime.enter();
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Signals { interrupt: signal(interrupt)?, terminate: signal(terminate)? }
    };
    let listening = signals.hear(tell.clone());
    thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listening))?;
    *first = Some(tell);
    Ok(told)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn hear(mut self, tell: watch::Sender<Option<&'static str>>) {
        let name = self.next().await;
        // Counted before the runs are notified: they may have ended soon after.
        let runs = tell.receiver_count() > 0;
        tell.send_replace(Some(name));
        // Without a run that could shut down gracefully, the first signal is enough.
        if runs {
            let same = sleep(SAME);
            tokio::pin!(same);
            loop {
                tokio::select! {
                    () = &mut same => break,
                    // A signal to a whole process group may arrive twice.
                    _ = self.next() => {}
                }
            }
            self.next().await;
            log::warn!("ended by a second signal");
        }
        std::process::exit(1);
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Default grace: what a container supervisor or a person at a terminal takes for "at once", and ten times what closing
/// takes.
const GRACE: Duration = Duration::from_millis(1_500);
/// Interval after the first signal in which another one counts as the same.
const SAME: Duration = Duration::from_millis(250);
const NOT_IN_TIME: &str = "not everything ended in time, and was cut off";
