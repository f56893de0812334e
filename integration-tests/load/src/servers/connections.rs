//! Callboard's peer connections, which send everything back, or forward it to each other.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use callboard_ice_handshake::handshake::Certificate;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_signaling::{Rate, WebRtc, WebRtcLimits};
use callboard_supervision::{ChildSpec, Flags, SupervisorRef, SupervisorSpec};
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use tokio::sync::oneshot;

/// Thread on which the owners of connections run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// The threads of their connections.
    Near,
    /// The application's thread.
    Far,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Echo,
    Publish,
    Subscribe,
}

/// Answers offers.
pub(super) struct Host {
    pub(super) connections: PeerConnections,
    configuration: Configuration,
    data: Api,
    media: Api,
    /// One forwarder for each media thread.
    forwarders: Vec<Addr<Forwarder>>,
    next: AtomicUsize,
    _tree: SupervisorRef,
}

impl Host {
    pub(super) async fn start(owners: Owners, estimate: bool) -> io::Result<Self> {
        let interfaces =
            InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback() && ip.is_ipv4());
        let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
        let options = PeerConnectionsOptions { sockets, ..PeerConnectionsOptions::default() };
        let connections = PeerConnections::start(options).await.map_err(io::Error::other)?;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut tree = SupervisorSpec::new(Flags::one_for_one());
        for thread in 0..connections.media_threads() {
            let tell = tell.clone();
            let forwarder = ChildSpec::new(format!("forwarder {thread}"), move || Forwarder {
                tell: Some(tell.clone()),
                ..Forwarder::default()
            });
            let near = connections.placement(thread).filter(|_| owners == Owners::Near);
            tree = tree.child(forwarder.placement(near.unwrap_or_default()));
        }
        let tree = tree.start().await.map_err(io::Error::other)?;
        // They start in order.
        let mut forwarders = Vec::new();
        for _ in 0..connections.media_threads() {
            forwarders.extend(told.recv().await);
        }
        let settings = ApiSettings { inline_candidates: true, ..ApiSettings::default() };
        let rtp = ApiSettings { media_mode: MediaMode::Rtp, ..settings.clone() };
        let registry = InterceptorRegistry {
            bandwidth_estimation: estimate.then_some(super::FIRST_ESTIMATE),
            ..InterceptorRegistry::default()
        };
        let api = |settings| Api::with_settings(MediaEngine::default(), registry.clone(), settings);
        let certificate = Certificate::generate().map_err(io::Error::other)?;
        Ok(Self {
            connections,
            configuration: Configuration {
                certificate: Some(certificate),
                ..Configuration::default()
            },
            data: api(settings),
            media: api(rtp),
            forwarders,
            next: AtomicUsize::new(0),
            _tree: tree,
        })
    }

    /// Returns the WebRTC options for clients that offer by WebSocket.
    pub(super) fn webrtc(&self) -> WebRtc {
        let limits = WebRtcLimits { data: Rate::UNLIMITED, ..WebRtcLimits::default() };
        WebRtc::new(self.connections.clone())
            .configuration(self.configuration.clone())
            .limits(limits)
    }

    async fn answer(&self, role: Role, sdp: String) -> Result<String, Box<dyn std::error::Error>> {
        // Connections that forward to each other are on one thread.
        let thread = match role {
            Role::Echo => self.next.fetch_add(1, Ordering::Relaxed) % self.forwarders.len(),
            Role::Publish | Role::Subscribe => 0,
        };
        let forwarder = &self.forwarders[thread];
        let (gathered, all_gathered) = oneshot::channel();
        let echo = match role {
            Role::Echo => Some(forwarder.send(NewEcho).await?),
            Role::Publish | Role::Subscribe => None,
        };
        let (api, owner) = match &echo {
            Some(echo) => (&self.data, echo.clone().recipient()),
            None => (&self.media, forwarder.clone().recipient()),
        };
        let configuration = self.configuration.clone();
        let connection = self.connections.open_on(thread, api, configuration, owner).await?;
        match echo {
            Some(echo) => echo.send(Begin(connection.clone(), gathered)).await?,
            None => forwarder.send(Begin(connection.clone(), gathered)).await?,
        }
        let answered = async {
            let offer = SessionDescription { kind: SdpType::Offer, sdp };
            connection.send(SetRemoteDescription(offer)).await??;
            let mut senders = Vec::new();
            if role == Role::Publish {
                connection.send(SetMediaSink(Some(forwarder.clone().recipient()))).await?;
            }
            if role == Role::Subscribe {
                for transceiver in connection.send(GetTransceivers).await? {
                    let codec = RtpCodecCapability::new(transceiver.kind.name());
                    let track = LocalTrack::new(codec, transceiver.id.to_string(), "media");
                    senders.push(connection.send(AddTrack(track)).await??);
                }
            }
            connection.send(SetLocalDescription(None)).await??;
            tokio::time::timeout(GATHERING, all_gathered).await??;
            if role != Role::Echo {
                let codecs = connection.send(GetTransceivers).await?;
                let payload_type = codecs.first().and_then(|one| one.codecs.first());
                let payload_type = payload_type.ok_or("no codec in common")?.0;
                let connection = connection.clone();
                forwarder.send(Enter { connection, senders, payload_type }).await?;
            }
            Ok(connection.send(LocalDescription).await?.ok_or("there is no answer")?.sdp)
        };
        let answered = answered.await;
        if answered.is_err() {
            connection.close().await;
        }
        answered
    }
}

/// Adds the routes `/echo`, `/publish`, `/subscribe`.
pub(super) fn configure(app: &mut web::ServiceConfig, host: web::Data<Host>) {
    app.app_data(host);
    for (path, role) in
        [("/echo", Role::Echo), ("/publish", Role::Publish), ("/subscribe", Role::Subscribe)]
    {
        let answer = move |host: web::Data<Host>, sdp: String| async move {
            match host.answer(role, sdp).await {
                Ok(sdp) => HttpResponse::Created().content_type(ContentType::plaintext()).body(sdp),
                Err(error) => HttpResponse::BadRequest().body(error.to_string()),
            }
        };
        app.route(path, web::post().to(answer));
    }
}

/// Actor that owns the connections that forward to each other, and starts other owners on its thread.
#[derive(Default)]
struct Forwarder {
    tell: Option<tokio::sync::mpsc::UnboundedSender<Addr<Self>>>,
    gathering: HashMap<PeerConnectionId, oneshot::Sender<()>>,
    /// In the order in which they came: the senders of the subscribers are in the same order.
    publishers: HashMap<PeerConnectionId, usize>,
    subscribers: Vec<Enter>,
}

#[derive(Message)]
#[rtype(result = "Addr<Echo>")]
struct NewEcho;

/// Announces a new connection, with the channel that is told when its candidates are complete.
#[derive(Message)]
#[rtype(result = "()")]
struct Begin(PeerConnectionHandle, oneshot::Sender<()>);

#[derive(Message)]
#[rtype(result = "()")]
struct Enter {
    connection: PeerConnectionHandle,
    senders: Vec<SenderId>,
    payload_type: u8,
}

impl Actor for Forwarder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(BATCHES);
        if let Some(tell) = &self.tell {
            _ = tell.send(ctx.address());
        }
    }
}

impl Handler<NewEcho> for Forwarder {
    type Result = MessageResult<NewEcho>;

    fn handle(&mut self, _: NewEcho, _: &mut Self::Context) -> Self::Result {
        MessageResult(Echo::default().start())
    }
}

impl Handler<Begin> for Forwarder {
    type Result = ();

    fn handle(&mut self, Begin(connection, gathered): Begin, _: &mut Self::Context) {
        self.gathering.insert(connection.id(), gathered);
    }
}

impl Handler<Enter> for Forwarder {
    type Result = ();

    fn handle(&mut self, entering: Enter, _: &mut Self::Context) {
        if entering.senders.is_empty() {
            let track = self.publishers.len();
            self.publishers.insert(entering.connection.id(), track);
        } else {
            self.subscribers.push(entering);
        }
    }
}

impl Handler<PacketBatch> for Forwarder {
    type Result = ();

    fn handle(&mut self, batch: PacketBatch, _: &mut Self::Context) {
        let Some(track) = self.publishers.get(&batch.connection) else { return };
        for Enter { connection, senders, payload_type } in &self.subscribers {
            let Some(sender) = senders.get(*track).copied() else { continue };
            let write = |packet: &RtpPacket| WriteRtp {
                sender,
                packet: RtpPacket { payload_type: *payload_type, ..packet.clone() },
            };
            // Packets for which a connection has no room are lost, as on a network.
            _ = connection.try_send(WriteRtpBatch(batch.packets.iter().map(write).collect()));
        }
    }
}

impl Handler<PeerConnectionEvent> for Forwarder {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Self::Context) {
        let PeerConnectionEvent { connection, event, .. } = event;
        match event {
            ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                if let Some(gathered) = self.gathering.remove(&connection) {
                    _ = gathered.send(());
                }
            }
            ConnectionEvent::Closed(_) => {
                self.subscribers.retain(|member| member.connection.id() != connection);
            }
            _ => {}
        }
    }
}

/// Actor that owns one connection.
#[derive(Default)]
struct Echo {
    connection: Option<PeerConnectionHandle>,
    gathered: Option<oneshot::Sender<()>>,
}

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Begin> for Echo {
    type Result = ();

    fn handle(&mut self, Begin(connection, gathered): Begin, _: &mut Self::Context) {
        (self.connection, self.gathered) = (Some(connection), Some(gathered));
    }
}

impl Handler<PeerConnectionEvent> for Echo {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, ctx: &mut Self::Context) {
        match event.event {
            ConnectionEvent::DataChannelMessage { channel, message } => {
                if let Some(connection) = &self.connection {
                    // A connection without room belongs to a client that ignores its window.
                    _ = connection.try_send(SendData { channel, message });
                }
            }
            ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                if let Some(gathered) = self.gathered.take() {
                    _ = gathered.send(());
                }
            }
            ConnectionEvent::Closed(_) => ctx.stop(),
            _ => {}
        }
    }
}

const GATHERING: Duration = Duration::from_secs(5);
/// Batches of packets that may wait for the forwarder.
const BATCHES: usize = 256;
