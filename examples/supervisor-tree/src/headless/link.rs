//! Synthetic client's peer connection to the server.

use actix::prelude::*;
use callboard_peer_connection::messages::{
    AddIceCandidate, CreateDataChannel, LocalDescription, SendData, SetLocalDescription,
    SetRemoteDescription,
};
use callboard_peer_connection::{
    Api, Configuration, ConnectionEvent, DataChannelId, DataChannelMessage, IceCandidate,
    PeerConnectionEvent, PeerConnectionHandle, PeerConnectionState, PeerConnections,
    PeerConnectionsOptions, SessionDescription,
};
use callboard_transport::mux::InterfaceFilter;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::guest::CURSOR;

/// Peer connection, from its offer to its end.
pub(crate) struct Link {
    /// Media thread of its own, as a browser's connections have a port each: the server tells them
    /// apart by their addresses.
    connections: PeerConnections,
    connection: PeerConnectionHandle,
    events: Receiver<ConnectionEvent>,
    channel: DataChannelId,
    open: bool,
}

type Offered = (PeerConnectionHandle, Receiver<ConnectionEvent>, DataChannelId, SessionDescription);

/// Event of a link.
pub(crate) enum LinkEvent {
    /// Candidate for the server.
    Candidate(Option<IceCandidate>),
    /// Text from the server.
    Text(String),
    /// The connection is of no use any more.
    Over,
    Nothing,
}

impl Link {
    /// Opens a connection and creates its offer. Returns none if it ends at once.
    pub(crate) async fn open() -> Option<(Self, SessionDescription)> {
        let mut options =
            PeerConnectionsOptions { media_threads: 1, handshake_threads: 0, ..Default::default() };
        options.sockets.interfaces = InterfaceFilter::with_loopback();
        let connections = PeerConnections::start(options).await.ok()?;
        let offered = Self::offer(&connections).await;
        if offered.is_none() {
            connections.stop().await;
        }
        let (connection, events, channel, offer) = offered?;
        Some((Self { connections, connection, events, channel, open: false }, offer))
    }

    async fn offer(connections: &PeerConnections) -> Option<Offered> {
        let (tell, events) = channel(MAILBOX);
        let owner = EventSink(tell).start().recipient();
        let opened = connections.open(&Api::default(), Configuration::default(), owner).await;
        let connection = opened.ok()?;
        let mut cursor = CreateDataChannel::new(CURSOR);
        cursor.options.ordered = false;
        cursor.options.max_retransmits = Some(0);
        let channel = connection.send(cursor).await.ok()?.ok()?;
        connection.send(SetLocalDescription(None)).await.ok()?.ok()?;
        let offer = connection.send(LocalDescription).await.ok()??;
        Some((connection, events, channel, offer))
    }

    /// Takes the server's answer.
    pub(crate) async fn answered(&self, answer: SessionDescription) {
        // An answer to an earlier offer does not fit, and does no harm.
        _ = self.connection.send(SetRemoteDescription(answer)).await;
    }

    pub(crate) async fn candidate(&self, candidate: Option<IceCandidate>) {
        // A candidate of an earlier connection does not fit either.
        _ = self.connection.send(AddIceCandidate(candidate)).await;
    }

    /// Sends a text; returns whether the channel took it.
    pub(crate) fn say(&self, text: &str) -> bool {
        let message = SendData::text(self.channel, text);
        self.open && self.connection.try_send(message).is_ok()
    }

    pub(crate) async fn next(&mut self) -> LinkEvent {
        match self.events.recv().await {
            Some(ConnectionEvent::IceCandidate(candidate)) => LinkEvent::Candidate(candidate),
            Some(ConnectionEvent::DataChannelOpened(_)) => {
                self.open = true;
                LinkEvent::Nothing
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
            | None => {
                self.open = false;
                LinkEvent::Over
            }
            Some(_) => LinkEvent::Nothing,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let (connections, connection) = (self.connections.clone(), self.connection.clone());
        actix::spawn(async move {
            connection.close().await;
            connections.stop().await;
        });
    }
}

/// Recipient of a connection's events.
struct EventSink(Sender<ConnectionEvent>);

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
        let closed = matches!(event, ConnectionEvent::Closed(_));
        // Backpressure: a synthetic client that does not keep up misses messages, as any client does.
        _ = self.0.try_send(event);
        if closed || self.0.is_closed() {
            ctx.stop();
        }
    }
}

/// Most events that wait for a synthetic client.
const MAILBOX: usize = 1_024;
