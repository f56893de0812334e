//! Small server built on the crates, on a thread of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use actix::System;
use actix_web::{App, HttpResponse, HttpServer, web};
use callboard_cluster::{Cluster, NodeId};
use callboard_media_rooms::ParticipantId;
use callboard_peer_connection::messages::{AddTrack, CreateDataChannel};
use callboard_peer_connection::{
    DataChannelMessage, LocalTrack, PeerConnectionHandle, PeerConnections, PeerConnectionsOptions,
    RtpCodecCapability,
};
use callboard_room_supervisor::{
    AuthData, Rejection, Room, RoomContext, RoomMessage, RoomOptions, Rooms,
};
use callboard_signaling::rpc::HookContext;
use callboard_signaling::{
    Drain, Hooks, InitContext, Limits, Move, Origins, Peer, PeerContext, PeerInit, PeerOptions,
    Rate, Run, Signaling, WebRtc, WebRtcLimits, client_script, tune,
};
use callboard_supervision::{CallError, Fault};
use integration_tests::{Moment, PATIENCE, until};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

use crate::page::HTML;

/// Options of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Port to listen on; 0 for any.
    pub(crate) port: u16,
    pub(crate) webrtc: bool,
    /// Whether clients hear and see each other through the server.
    pub(crate) media: bool,
    /// Whether the bandwidth to each client of a media room is estimated.
    pub(crate) estimates: bool,
    pub(crate) resume_grace: Duration,
    /// Rate limit of data channels.
    pub(crate) data: Rate,
    /// Largest message of a data channel, in bytes.
    pub(crate) message: u32,
}

impl Default for Setup {
    fn default() -> Self {
        let data = Limits::default().data_channels;
        let message = WebRtcLimits::default().message;
        Self {
            port: 0,
            webrtc: true,
            media: false,
            estimates: true,
            resume_grace: Duration::ZERO,
            data,
            message,
        }
    }
}

/// Server with a page at `/`, the client at `/callboard.js`, the room `lobby` for four at `/socket/lobby`, and
/// on-demand rooms whose names begin with `pop-`.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Begins to drain it, if it is a node of a cluster.
    pub(crate) drain: Option<Drain>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) async fn start(setup: Setup) -> Self {
        Self::start_as(setup, None).await
    }

    /// Starts it as this node of a cluster. It ends by itself when it is drained.
    pub(crate) async fn start_node(setup: Setup, node: &Cluster) -> Self {
        Self::start_as(setup, Some(node.clone())).await
    }

    async fn start_as(setup: Setup, node: Option<Cluster>) -> Self {
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let serving = move || System::new().block_on(serve(setup, node, tell, stopped));
        let thread = thread::spawn(serving);
        let (port, drain) = told.await.expect("the server starts");
        Self { port, drain, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&self) {
        until("the end of the server", PATIENCE, async || match &self.thread {
            Some(thread) if !thread.is_finished() => Moment::NotYet("it runs".to_owned()),
            _ => Moment::Now(()),
        })
        .await;
    }

    /// Stops it: its clients are told, and its port is free.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(
    setup: Setup,
    node: Option<Cluster>,
    tell: oneshot::Sender<(u16, Option<Drain>)>,
    stopped: oneshot::Receiver<()>,
) {
    let rooms = match &node {
        Some(node) => Rooms::builder().cluster(node),
        None => Rooms::builder(),
    };
    let node_tree = match &node {
        Some(node) => Some(node.start().await.expect("it runs nowhere else")),
        None => None,
    };
    let rooms = rooms
        .on_demand(|name| {
            let options = RoomOptions::<Lobby>::new(name, ()).max_peers(4).close_when_empty(true);
            name.starts_with("pop-").then(|| options.into())
        })
        .build();
    let tree = rooms.start().await.expect("nothing runs yet that could fail");
    let lobby = RoomOptions::<Lobby>::new("lobby", ()).max_peers(4);
    rooms.start_supervised(lobby).await.expect("the name is free");
    let connections = PeerConnections::start(PeerConnectionsOptions::default()).await;
    let connections = connections.expect("an address to be reached at");
    let options = PeerOptions::<Guest>::new((), rooms.clone())
        .origins(Origins::Any)
        .resume_grace(setup.resume_grace);
    let options = match setup.webrtc {
        true => {
            let Setup { data, message, .. } = setup;
            let limits = WebRtcLimits { data, message, ..WebRtcLimits::default() };
            let webrtc = WebRtc::new(connections.clone()).limits(limits);
            let webrtc = if setup.media { webrtc.media() } else { webrtc };
            let webrtc = if setup.estimates { webrtc } else { webrtc.first_estimate(None) };
            options.hooks(hooks(&rooms, Some(webrtc.clone()))).webrtc(webrtc)
        }
        false => options.hooks(hooks(&rooms, None)),
    };
    let signaling = Signaling::new(options);
    let app = move || {
        App::new()
            .route("/", web::get().to(page))
            .configure(client_script("/callboard.js"))
            .configure(signaling.at(&["/socket/{room}"]))
    };
    let server = tune(HttpServer::new(app).workers(1).disable_signals())
        .bind((Ipv4Addr::LOCALHOST, setup.port))
        .expect("the port is free")
        .shutdown_timeout(1);
    let port = server.addrs()[0].port();
    let server = server.run();
    let handle = server.handle();
    let serving = actix::spawn(server);
    let drain = node_tree.is_some().then(|| Drain::new(&rooms).spread(SPREAD));
    _ = tell.send((port, drain.clone()));

    match drain {
        Some(drain) => {
            let run = Run::new().expect("signals can be listened for").drain_on_sigterm(&drain);
            let run = run.rooms(&rooms).tree(&tree);
            node_tree.iter().fold(run, Run::tree).until(stopped).await.expect("it ends in time");
        }
        None => _ = stopped.await,
    }
    rooms.stop_all("shutdown").await;
    tree.stop().await;
    handle.stop(true).await;
    _ = serving.await;
    connections.stop().await;
}

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(HTML)
}

/// Returns the functions that pages may call.
fn hooks(rooms: &Rooms, webrtc: Option<WebRtc>) -> Hooks {
    let rooms = rooms.clone();
    let gate = Arc::new(Semaphore::new(0));
    let dropped = Arc::new(AtomicUsize::new(0));
    let (waits, opens, counts) = (Arc::clone(&gate), gate, Arc::clone(&dropped));
    Hooks::builder()
        .plugin("test", |test| {
            test.hook("add", async |(a, b): (i64, i64), _: HookContext| Ok::<_, Rejection>(a + b))
                .hook("fail", async |(why,): (String,), _: HookContext| {
                    Err::<(), _>(Rejection::new(why))
                })
                .hook("wait", move |(): (), _: HookContext| {
                    let gate = Arc::clone(&waits);
                    let unless_done = Count(Arc::clone(&dropped));
                    async move {
                        gate.acquire().await.expect("it is never closed").forget();
                        std::mem::forget(unless_done);
                        Ok::<_, Rejection>("let through")
                    }
                })
                .hook("let_through", move |(): (), _: HookContext| {
                    opens.add_permits(1);
                    async { Ok::<_, Rejection>(()) }
                })
                .hook("dropped", move |(): (), _: HookContext| {
                    let dropped = counts.load(Ordering::SeqCst);
                    async move { Ok::<_, Rejection>(dropped) }
                })
                .hook("ask", async |(function, args): (String, Value), context: HookContext| {
                    let answer = context.client.call(&function, &args, ASK_TIME).await;
                    Ok::<_, Rejection>(match answer {
                        Ok(answer) => json!({ "answer": answer }),
                        Err(error) => json!({ "error": error.to_string() }),
                    })
                })
                .hook("add_channel", async |(label,): (String,), context: HookContext| {
                    let added = connection(&context)?.send(CreateDataChannel::new(label)).await;
                    added.map_err(refused)?.map(drop).map_err(refused)
                })
                .hook("add_track", async |(codec, id): (String, String), context: HookContext| {
                    let track = LocalTrack::new(RtpCodecCapability::new(codec), id, "ours");
                    let added = connection(&context)?.send(AddTrack(track)).await;
                    added.map_err(refused)?.map(drop).map_err(refused)
                })
                .hook("break_media", async |(what,): (String,), context: HookContext| {
                    break_media(&context, &what).await.map_err(refused)
                })
                .hook("move_room", move |(node,): (String,), context: HookContext| {
                    let (rooms, room) = (rooms.clone(), context.room.name().to_owned());
                    async move {
                        let node = NodeId::new(node).map_err(refused)?;
                        rooms.move_room(&room, &node).await.map_err(refused)
                    }
                })
                .hook("mute", move |(muted,): (bool,), context: HookContext| {
                    let told = webrtc.as_ref().ok_or_else(|| Rejection::new("there is no media"));
                    let told = told.and_then(|webrtc| mute(webrtc, &context, muted));
                    async { told }
                })
                .hook("kill_connection", async |(): (), context: HookContext| {
                    connection(&context)?.close().await;
                    Ok::<_, Rejection>(())
                })
        })
        .build()
        .expect("good names")
}

/// Returns the server's side of the page's connection.
fn connection(context: &HookContext) -> Result<PeerConnectionHandle, Rejection> {
    context.client.connection().ok_or_else(|| Rejection::new("there is none"))
}

/// Mutes all tracks of the caller, or ends that. Returns how many there are.
fn mute(webrtc: &WebRtc, context: &HookContext, muted: bool) -> Result<usize, Rejection> {
    let room = webrtc.media_room(&context.room).ok_or_else(|| Rejection::new("there is none"))?;
    let caller = ParticipantId(connection(context)?.id());
    let tracks = room.tracks().into_iter().filter(|track| track.participant == caller);
    Ok(tracks.filter(|track| room.mute(track.id, muted)).count())
}

/// Lets an actor of the room's media panic: the stage, or the one of this name of the caller.
async fn break_media(context: &HookContext, what: &str) -> Result<(), CallError> {
    let room = context.room.supervisor().ok_or(CallError::NotRunning)?;
    let media = room.supervisor("media").map_err(|_| CallError::NotRunning)?;
    let fault = Fault::Panic("a fault".into());
    if what == "stage" {
        return media.inject(what, fault).await;
    }
    let connection = context.client.connection().ok_or(CallError::NotRunning)?;
    let actors = media.supervisor(&connection.id().to_string());
    actors.map_err(|_| CallError::NotRunning)?.inject(what, fault).await
}

fn refused(why: impl ToString) -> Rejection {
    Rejection::new(why.to_string())
}

/// Counter of the calls that were dropped before they were done.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Room for four.
struct Lobby;

impl Room for Lobby {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

/// Peer that rejects `?name=impostor`, and `?name=once` once. The name in `?public=` is public. It sends data back.
struct Guest;

/// Whether `?name=once` has been rejected.
static ONCE: AtomicBool = AtomicBool::new(false);

impl Peer for Guest {
    type Options = ();

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        (): &(),
    ) -> Result<PeerInit<Self>, Rejection> {
        let once = auth.metadata == "name=once" && ONCE.swap(true, Ordering::SeqCst);
        match auth.metadata == "name=impostor" || once {
            true => Err("wrong name".into()),
            false => {
                let query = auth.metadata.as_str().unwrap_or_default();
                let name = query.strip_prefix("public=").map(str::to_owned);
                let peer = PeerInit::from(Self);
                Ok(if let Some(name) = name { peer.public("name", name) } else { peer })
            }
        }
    }

    fn on_receive(&mut self, message: RoomMessage, context: &PeerContext) -> Option<RoomMessage> {
        match message.event.as_str() {
            "stop_me" => context.client.stop(),
            "kick_me" => context.client.close(4001, "kicked out").expect("a good code"),
            // To `url`, with its session or without.
            "move_me" => {
                let data: Value = serde_json::from_str(message.data.get()).expect("JSON");
                let to = match data["url"].as_str() {
                    Some(url) => Move::to(url),
                    None => Move::to_first_address(),
                };
                let to = if data["resume"] == true { to.resume() } else { to };
                let to = if data["webrtc"] == "replace" { to.replace_webrtc() } else { to };
                context.client.move_by(&to).expect("a good address");
            }
            "restart_me" => context.client.close(1012, "restart").expect("a good code"),
            "close_room" => {
                let room = context.room.clone();
                actix::spawn(async move { room.stop("the lesson is over").await });
            }
            _ => return Some(message),
        }
        None
    }

    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &PeerContext) {
        // The page may be closed already.
        _ = context.client.send_data(channel, data);
    }
}

/// Time in which the clients of a node that is drained are told.
const SPREAD: Duration = Duration::from_secs(1);
/// Longest time for a page to answer a call.
const ASK_TIME: Duration = Duration::from_secs(5);
