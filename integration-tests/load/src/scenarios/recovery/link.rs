//! Client's peer connection to the server, with one data channel.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use callboard_ice_handshake::handshake::{
    ComponentInfo, Dtls, Handshake, HandshakeFactory, Init, Step,
};
use callboard_peer_connection::messages::{
    AddIceCandidate, CreateDataChannel, LocalDescription, SendData, SetLocalDescription,
    SetRemoteDescription,
};
use callboard_peer_connection::{
    Api, Configuration, ConnectionEvent, DataChannelId, DataChannelMessage, IceCandidate,
    PeerConnectionEvent, PeerConnectionHandle, PeerConnectionState, PeerConnections,
    PeerConnectionsOptions, SessionDescription,
};
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use tokio::sync::{mpsc, oneshot};

/// Thread on which the clients' connections are supervised. They run on threads of their own.
#[derive(Clone)]
pub(super) struct Engine(Arc<Running>);

struct Running(System);

impl Engine {
    pub(super) async fn start() -> io::Result<Self> {
        let (tell, told) = oneshot::channel();
        std::thread::Builder::new().name("webrtc clients".to_owned()).spawn(move || {
            let runner = System::new();
            _ = tell.send(System::current());
            runner.run()
        })?;
        let system = told.await.map_err(io::Error::other)?;
        Ok(Self(Arc::new(Running(system))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Peer connection, from its offer to its end.
pub(super) struct Link {
    engine: Engine,
    /// Media thread of its own, as a browser's connections have a port each: the server tells them
    /// apart by their addresses.
    connections: PeerConnections,
    connection: PeerConnectionHandle,
    events: mpsc::UnboundedReceiver<ConnectionEvent>,
    channel: DataChannelId,
    pub(super) open: bool,
}

pub(super) type Offered = (Link, SessionDescription);

/// Event of a link.
pub(super) enum LinkEvent {
    /// Candidate for the server.
    Candidate(Option<IceCandidate>),
    Open,
    /// Text from the server.
    Text(String),
    /// The connection is of no use any more.
    Over,
    Nothing,
}

impl Link {
    /// Opens a link; the receiver gets it, with its offer. A link that is `held` does not shake hands: the server's
    /// handshake goes on until it is ended.
    pub(super) fn open(engine: &Engine, held: bool) -> oneshot::Receiver<io::Result<Offered>> {
        let (tell, told) = oneshot::channel();
        let itself = engine.clone();
        engine.0.0.arbiter().spawn(async move { _ = tell.send(Self::offer(itself, held).await) });
        told
    }

    async fn offer(engine: Engine, held: bool) -> io::Result<Offered> {
        let interfaces = InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback());
        let options = PeerConnectionsOptions {
            media_threads: 1,
            handshake_threads: 0,
            sockets: UdpMuxOptions { interfaces, ..UdpMuxOptions::default() },
            ..PeerConnectionsOptions::default()
        };
        let mut api = Api::default();
        if held {
            api = api.handshake(|dtls| Arc::new(Holding(dtls)));
        }
        let connections = PeerConnections::start(options).await.map_err(io::Error::other)?;
        let (tell, events) = mpsc::unbounded_channel();
        let owner = EventSink(tell).start().recipient();
        let connection = connections
            .open(&api, Configuration::default(), owner)
            .await
            .map_err(io::Error::other)?;
        let channel = connection.send(CreateDataChannel::new("echo")).await;
        let channel = channel.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let described = connection.send(SetLocalDescription(None)).await;
        described.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let offer = connection.send(LocalDescription).await.map_err(io::Error::other)?;
        let offer = offer.ok_or(io::ErrorKind::InvalidData)?;
        Ok((Self { engine, connections, connection, events, channel, open: false }, offer))
    }

    /// Takes the server's answer.
    pub(super) async fn answered(&self, answer: SessionDescription) {
        // An answer to an earlier offer does not fit, and does no harm.
        _ = self.connection.send(SetRemoteDescription(answer)).await;
    }

    pub(super) async fn candidate(&self, candidate: Option<IceCandidate>) {
        // A candidate of an earlier connection does not fit either.
        _ = self.connection.send(AddIceCandidate(candidate)).await;
    }

    /// Sends a text; returns whether the channel took it.
    pub(super) fn say(&self, text: String) -> bool {
        self.open && self.connection.try_send(SendData::text(self.channel, text)).is_ok()
    }

    pub(super) async fn next(&mut self) -> LinkEvent {
        match self.events.recv().await {
            Some(ConnectionEvent::IceCandidate(candidate)) => LinkEvent::Candidate(candidate),
            Some(ConnectionEvent::DataChannelOpened(_)) => {
                self.open = true;
                LinkEvent::Open
            }
            Some(ConnectionEvent::DataChannelMessage {
                message: DataChannelMessage::Text(text),
                ..
            }) => LinkEvent::Text(text),
            Some(
                ConnectionEvent::DataChannelClosed(_)
                | ConnectionEvent::Closed(_)
                | ConnectionEvent::ConnectionStateChange(
                    PeerConnectionState::Failed | PeerConnectionState::Closed,
                ),
            )
            | None => LinkEvent::Over,
            Some(_) => LinkEvent::Nothing,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let (connections, connection) = (self.connections.clone(), self.connection.clone());
        let engine = self.engine.clone();
        self.engine.0.0.arbiter().spawn(async move {
            connection.close().await;
            connections.stop().await;
            // The last clone ends the thread.
            drop(engine);
        });
    }
}

/// Recipient of a connection's events.
struct EventSink(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for EventSink {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for EventSink {
    type Result = ();

    fn handle(
        &mut self,
        PeerConnectionEvent { event, .. }: PeerConnectionEvent,
        ctx: &mut Context<Self>,
    ) {
        if self.0.send(event).is_err() {
            ctx.stop();
        }
    }
}

/// Factory of handshakes that send nothing and ignore every packet.
struct Holding(Dtls);

impl HandshakeFactory for Holding {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        Box::new(Held(self.0.new_handshake(component)))
    }
}

struct Held(Box<dyn Handshake>);

impl Handshake for Held {
    fn init(&mut self) -> Init {
        self.0.init()
    }

    fn connection_ready(&mut self, _: Instant) -> Step {
        Step::Ok
    }

    fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
        Step::Ok
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        self.0.is_handshake_packet(datagram)
    }
}
