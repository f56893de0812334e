//! Helpers: connections of one process, with owners that collect their events.
#![allow(dead_code, reason = "each test uses some of it")]

use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use tokio::sync::mpsc;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Owner that passes its events on.
struct Listener(mpsc::UnboundedSender<PeerConnectionEvent>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        _ = self.0.send(event);
    }
}

/// Starts a pool with two ports, one for each side: connections on one port cannot be each other's peers, since they
/// have one address.
pub(crate) async fn pool() -> PeerConnections {
    PeerConnections::start(loopback()).await.unwrap()
}

pub(crate) async fn pool_with(options: PeerConnectionsOptions) -> PeerConnections {
    let interfaces = loopback().sockets.interfaces;
    let sockets = UdpMuxOptions { interfaces, ..options.sockets };
    PeerConnections::start(PeerConnectionsOptions { sockets, ..options }).await.unwrap()
}

pub(crate) fn loopback() -> PeerConnectionsOptions {
    // A machine without network has only this one.
    let interfaces = InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback());
    let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
    PeerConnectionsOptions { media_threads: 2, sockets, ..PeerConnectionsOptions::default() }
}

/// Connection with its events.
pub(crate) struct Peer {
    pub(crate) connection: PeerConnectionHandle,
    events: mpsc::UnboundedReceiver<PeerConnectionEvent>,
    pub(crate) told: Vec<ConnectionEvent>,
    /// Candidates for the other side.
    pub(crate) candidates: Vec<Option<IceCandidate>>,
}

impl Peer {
    pub(crate) async fn open(pool: &PeerConnections, api: &Api) -> Self {
        Self::open_with(pool, api, Configuration::default()).await
    }

    pub(crate) async fn open_with(
        pool: &PeerConnections,
        api: &Api,
        configuration: Configuration,
    ) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let owner = Listener(tell).start();
        let connection = pool.open(api, configuration, owner.recipient()).await.unwrap();
        Self { connection, events, told: Vec::new(), candidates: Vec::new() }
    }

    /// Opens a connection on this media thread, and so on its port.
    pub(crate) async fn open_on(
        pool: &PeerConnections,
        thread: usize,
        configuration: Configuration,
    ) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let owner = Listener(tell).start();
        let connection =
            pool.open_on(thread, &Api::default(), configuration, owner.recipient()).await.unwrap();
        Self { connection, events, told: Vec::new(), candidates: Vec::new() }
    }

    /// Waits until its actor is gone, which is after `Closed` was sent.
    pub(crate) async fn gone(&self) {
        let gone = async {
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            while self.connection.is_open() {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it ends");
    }

    fn note(&mut self, event: ConnectionEvent) {
        if let ConnectionEvent::IceCandidate(candidate) = &event {
            self.candidates.push(candidate.clone());
        }
        self.told.push(event);
    }

    /// Returns the next event; none when there are no more.
    pub(crate) async fn next(&mut self) -> Option<&ConnectionEvent> {
        let event = self.events.recv().await?;
        self.note(event.event);
        self.told.last()
    }

    /// Waits for an event that this accepts.
    #[track_caller]
    pub(crate) fn until<R>(
        &mut self,
        mut what: impl FnMut(&ConnectionEvent) -> Option<R>,
    ) -> impl Future<Output = R> {
        let place = std::panic::Location::caller();
        async move {
            if let Some(found) = self.told.iter().find_map(&mut what) {
                return found;
            }
            let wait = async {
                loop {
                    let event =
                        self.next().await.unwrap_or_else(|| panic!("{place}: it has ended"));
                    if let Some(found) = what(event) {
                        return found;
                    }
                }
            };
            let found = tokio::time::timeout(PATIENCE, wait).await;
            match found {
                Ok(found) => found,
                Err(_) => panic!("{place}: not within {PATIENCE:?}: {:#?}", self.told),
            }
        }
    }

    pub(crate) async fn send<M>(&self, message: M) -> M::Result
    where
        M: Message + Send + 'static,
        M::Result: Send,
        PeerConnection: Handler<M>,
        Context<PeerConnection>: actix::dev::ToEnvelope<PeerConnection, M>,
    {
        self.connection.send(message).await.expect("it runs")
    }
}

/// Runs a round: one side offers, the other answers.
pub(crate) async fn negotiate(one: &mut Peer, other: &mut Peer) {
    let offer = one.send(CreateOffer::default()).await.unwrap();
    exchange(one, other, offer).await;
}

pub(crate) async fn exchange(one: &mut Peer, other: &mut Peer, offer: SessionDescription) {
    one.send(SetLocalDescription(Some(offer.clone()))).await.unwrap();
    other.send(SetRemoteDescription(offer)).await.unwrap();
    let answer = other.send(CreateAnswer::default()).await.unwrap();
    other.send(SetLocalDescription(Some(answer.clone()))).await.unwrap();
    one.send(SetRemoteDescription(answer)).await.unwrap();
}

/// Carries candidates until both report that they are connected.
pub(crate) async fn connect(one: &mut Peer, other: &mut Peer) {
    let connected = |peer: &Peer| {
        let state = |event: &ConnectionEvent| match event {
            ConnectionEvent::ConnectionStateChange(state) => Some(*state),
            _ => None,
        };
        peer.told.iter().rev().find_map(state) == Some(PeerConnectionState::Connected)
    };
    carry_until(one, other, |one, other| connected(one) && connected(other)).await;
}

/// Carries candidates until this is true.
pub(crate) async fn carry_until(
    one: &mut Peer,
    other: &mut Peer,
    done: impl Fn(&Peer, &Peer) -> bool,
) {
    let carry = async {
        while !done(one, other) {
            trickle(one, other).await;
            trickle(other, one).await;
            tokio::select! {
                _ = one.next() => {}
                _ = other.next() => {}
            }
        }
    };
    let carried = tokio::time::timeout(PATIENCE, carry).await;
    assert!(carried.is_ok(), "not in time: {:#?} {:#?}", one.told, other.told);
}

async fn trickle(from: &mut Peer, to: &mut Peer) {
    for candidate in from.candidates.drain(..).flatten() {
        to.send(AddIceCandidate(Some(candidate))).await.unwrap();
    }
}

pub(crate) fn opened(event: &ConnectionEvent) -> Option<DataChannelId> {
    match event {
        ConnectionEvent::DataChannelOpened(channel) => Some(*channel),
        ConnectionEvent::DataChannelAdded(info) => Some(info.id),
        _ => None,
    }
}

pub(crate) fn message(event: &ConnectionEvent) -> Option<DataChannelMessage> {
    match event {
        ConnectionEvent::DataChannelMessage { message, .. } => Some(message.clone()),
        _ => None,
    }
}

pub(crate) fn closed(event: &ConnectionEvent) -> Option<CloseReason> {
    match event {
        ConnectionEvent::Closed(reason) => Some(reason.clone()),
        _ => None,
    }
}

/// Sends a message on A, and waits until B receives it.
pub(crate) async fn talks(a: &mut Peer, b: &mut Peer, channel: DataChannelId, text: &str) {
    a.send(SendData::text(channel, text)).await.unwrap();
    let heard = |event: &ConnectionEvent| {
        message(event).filter(|heard| heard.as_bytes() == text.as_bytes())
    };
    b.until(heard).await;
}
