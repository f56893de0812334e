//! Callboard's media room, as applications use it: a supervised publisher and subscriber for each connection.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
use callboard_ice_handshake::handshake::Certificate;
use callboard_media_rooms::{
    Allocator, Bitrate, Demand, Grant, MediaRoom, Participant, ParticipantEvent,
};
use callboard_peer_connection::messages::LocalDescription;
use callboard_peer_connection::*;
use callboard_supervision::StartSupervisorError;
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use tokio::sync::{Mutex, oneshot};

/// On which threads the connections of a room are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// On the room's own.
    One,
    /// As many on each media thread.
    All,
}

pub(super) fn serve(threads: Threads, estimate: bool) -> io::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let host = web::Data::new(Host::start(threads, estimate).await?);
        let server = HttpServer::new(move || {
            let app = App::new().app_data(host.clone());
            ["/publish", "/subscribe", "/join"].into_iter().fold(app, |app, path| {
                app.route(path, web::post().to(answer))
                    .route(&format!("{path}/{{room}}"), web::post().to(answer))
            })
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0))?;
        super::announce(server.addrs()[0]);
        tokio::select! {
            ended = server.run() => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}

async fn answer(
    host: web::Data<Host>,
    room: Option<web::Path<String>>,
    sdp: String,
) -> HttpResponse {
    let room = room.map(web::Path::into_inner).unwrap_or_default();
    match host.answer(room, sdp).await {
        Ok(sdp) => HttpResponse::Created().content_type(ContentType::plaintext()).body(sdp),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

/// Answers offers as a participant of a room, which it opens for the first.
struct Host {
    connections: PeerConnections,
    rooms: Mutex<HashMap<String, MediaRoom>>,
    threads: Threads,
    /// Number of connections so far.
    next: AtomicUsize,
    configuration: Configuration,
    api: Api,
}

impl Host {
    async fn start(threads: Threads, estimate: bool) -> io::Result<Self> {
        let interfaces =
            InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback() && ip.is_ipv4());
        let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
        let options = PeerConnectionsOptions { sockets, ..PeerConnectionsOptions::default() };
        let connections = PeerConnections::start(options).await.map_err(io::Error::other)?;
        let settings = ApiSettings {
            inline_candidates: true,
            media_mode: MediaMode::Rtp,
            ..ApiSettings::default()
        };
        let registry = InterceptorRegistry {
            bandwidth_estimation: estimate.then_some(super::FIRST_ESTIMATE),
            ..InterceptorRegistry::default()
        };
        let certificate = Some(Certificate::generate().map_err(io::Error::other)?);
        let configuration = Configuration { certificate, ..Configuration::default() };
        let api = Api::with_settings(MediaEngine::default(), registry, settings);
        let (rooms, next) = Default::default();
        Ok(Self { connections, rooms, threads, next, configuration, api })
    }

    async fn room(&self, name: String) -> Result<MediaRoom, StartSupervisorError> {
        let mut rooms = self.rooms.lock().await;
        if let Some(room) = rooms.get(&name) {
            return Ok(room.clone());
        }
        // In turn, as signaling does.
        let thread = rooms.len() % self.connections.media_threads();
        let room = MediaRoom::start(self.connections.clone(), thread).await?;
        room.set_allocator(|| Everything);
        rooms.insert(name, room.clone());
        Ok(room)
    }

    async fn answer(
        &self,
        room: String,
        sdp: String,
    ) -> Result<String, Box<dyn std::error::Error>> {
        let room = self.room(room).await?;
        let (gathered, all_gathered) = oneshot::channel();
        let participant = Arc::default();
        let owner =
            Guest { participant: Arc::clone(&participant), gathered: Some(gathered) }.start();
        let (configuration, events) = (self.configuration.clone(), owner.clone().recipient());
        let turn = match self.threads {
            Threads::One => 0,
            Threads::All => self.next.fetch_add(1, Ordering::Relaxed),
        };
        let thread = (room.thread() + turn) % self.connections.media_threads();
        let connection = self.connections.open_on(thread, &self.api, configuration, events).await?;
        let joined = room.join(connection.clone(), "guest", owner.recipient()).await?;
        let joined = participant.get_or_init(|| joined);
        joined.accept_offer(SessionDescription { kind: SdpType::Offer, sdp }).await?;
        tokio::time::timeout(GATHERING, all_gathered).await??;
        Ok(connection.send(LocalDescription).await?.ok_or("there is no answer")?.sdp)
    }
}

/// Allocator that pauses nothing, so that with an estimate as much is forwarded as without: a machine that is busy with
/// both sides of all connections looks like a narrow path.
struct Everything;

impl Allocator for Everything {
    fn allocate(&mut self, _: Bitrate, demands: &[Demand], grants: &mut Vec<Grant>) {
        let highest = |demand: &Demand| demand.layers.len().checked_sub(1).map(Grant::Layer);
        grants.extend(demands.iter().map(|demand| highest(demand).unwrap_or(Grant::Paused)));
    }
}

/// Owner of one connection.
struct Guest {
    participant: Arc<OnceLock<Participant>>,
    gathered: Option<oneshot::Sender<()>>,
}

impl Actor for Guest {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Guest {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, ctx: &mut Self::Context) {
        let event = match self.participant.get() {
            Some(participant) => participant.handle(event.event),
            None => Some(event.event),
        };
        match event {
            Some(ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete)) => {
                if let Some(gathered) = self.gathered.take() {
                    _ = gathered.send(());
                }
            }
            Some(ConnectionEvent::Closed(_)) => ctx.stop(),
            _ => {}
        }
    }
}

impl Handler<ParticipantEvent> for Guest {
    type Result = ();

    fn handle(&mut self, _: ParticipantEvent, _: &mut Self::Context) {}
}

const GATHERING: Duration = Duration::from_secs(5);
