//! The server peer as an actor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::{
    AddIceCandidate, CloseDataChannel, LocalDescription, SendData, SetLocalDescription,
    SetRemoteDescription,
};
use callboard_peer_connection::{
    ConnectionEvent, DataChannelId, DataChannelMessage, IceCandidate, PeerConnectionEvent,
    PeerConnectionHandle, PeerConnectionState, SessionDescription,
};
use callboard_supervision::{Exit, ExitReason};
use tokio::time::{Instant, timeout};

use super::limits::{Account, Fate, origin};
use super::*;

/// The WebRTC peer of one user.
///
/// It ends when it is told to [`Close`], when its connection is over, or with the one who controls it.
pub struct ServerPeer {
    options: ServerPeerOptions,
    controller: Recipient<ServerPeerEvent>,
    account: Account,
    connection: Option<PeerConnectionHandle>,
    /// Whose offer the connection has answered: the session id of its origin.
    origin: Option<String>,
    state: PeerConnectionState,
    channels: Channels,
    entry: Option<Entry>,
    /// How often in a row it has been found without a controller.
    alone: u32,
}

/// The open channels, as everyone sees them who sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channels(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    connection: Option<PeerConnectionHandle>,
    by_label: HashMap<String, DataChannelId>,
    labels: HashMap<DataChannelId, String>,
}

impl Channels {
    fn with<T>(&self, act: impl FnOnce(&mut Open) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn connected(&self, connection: Option<PeerConnectionHandle>) -> Vec<(DataChannelId, String)> {
        self.with(|open| {
            let old = std::mem::take(open);
            open.connection = connection;
            old.labels.into_iter().collect()
        })
    }

    fn opened(&self, id: DataChannelId, label: &str) {
        self.with(|open| {
            // Of several of one label the first that is open is sent to.
            open.by_label.entry(label.to_owned()).or_insert(id);
            open.labels.insert(id, label.to_owned());
        });
    }

    fn closed(&self, id: DataChannelId) -> Option<String> {
        self.with(|open| {
            let label = open.labels.remove(&id)?;
            if open.by_label.get(&label) == Some(&id) {
                open.by_label.remove(&label);
                let other = open.labels.iter().find(|(_, other)| **other == label);
                if let Some(other) = other.map(|(id, _)| *id) {
                    open.by_label.insert(label.clone(), other);
                }
            }
            Some(label)
        })
    }

    fn label(&self, id: DataChannelId) -> Option<String> {
        self.with(|open| open.labels.get(&id).cloned())
    }

    fn count(&self) -> usize {
        self.with(|open| open.labels.len())
    }

    pub(crate) fn labels(&self) -> Vec<String> {
        self.with(|open| open.labels.values().cloned().collect())
    }

    pub(crate) fn connection(&self) -> Option<PeerConnectionHandle> {
        self.with(|open| open.connection.clone())
    }

    /// Send on the channel of this label, from any thread, without waiting for what becomes of it.
    pub(crate) fn send(
        &self,
        label: &str,
        message: DataChannelMessage,
    ) -> Result<(), SendDataError> {
        let found =
            self.with(|open| open.connection.clone().zip(open.by_label.get(label).copied()));
        let (connection, channel) =
            found.ok_or_else(|| SendDataError::NoChannel(label.to_owned()))?;
        connection.try_send(SendData { channel, message }).map_err(|error| match error {
            callboard_supervision::CallError::Full => SendDataError::Busy,
            _ => SendDataError::NoChannel(label.to_owned()),
        })
    }

    pub(crate) fn has(&self, label: &str) -> bool {
        self.with(|open| open.by_label.contains_key(label))
    }
}

/// The one who controlled it has been replaced.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Control(pub(crate) Recipient<ServerPeerEvent>);

impl ServerPeer {
    /// A peer that tells `controller` what happens.
    pub fn new(options: ServerPeerOptions, controller: Recipient<ServerPeerEvent>) -> Self {
        let account = Account::new(options.limits);
        Self {
            options,
            controller,
            account,
            connection: None,
            origin: None,
            state: PeerConnectionState::New,
            channels: Channels::default(),
            entry: None,
            alone: 0,
        }
    }

    /// Start it beside the current actor, without a supervisor: it ends when its controller does.
    pub fn start(options: ServerPeerOptions, controller: Recipient<ServerPeerEvent>) -> Addr<Self> {
        callboard_supervision::spawn(Self::new(options, controller))
    }

    pub(crate) fn with(mut self, channels: Channels, entry: Entry) -> Self {
        (self.channels, self.entry) = (channels, Some(entry));
        self
    }

    fn tell(&self, event: ServerPeerEvent) {
        // Bounded: by the client's rates, and by what a connection tells.
        self.controller.do_send(event);
    }

    /// Answer an offer: by the connection that there is, or by a new one.
    fn answer(
        &mut self,
        offer: SessionDescription,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<(), HandleOfferError>> {
        let whose = origin(&offer.sdp).map(str::to_owned);
        let known = self.connection.clone().filter(|connection| connection.is_open());
        let same = known.filter(|_| self.origin == whose);
        if same.is_none() {
            self.let_go();
        }
        self.origin = whose;
        let (options, owner) = (self.options.clone(), ctx.address().recipient());
        let limit = self.account.limits().answer_timeout;
        let opening = async move {
            if let Some(connection) = same {
                return Ok(connection);
            }
            let configuration = options.configuration.clone();
            let opened = options.connections.open(&options.api, configuration, owner).await;
            opened.map_err(|error| {
                log::warn!("no connection for {}: {error}", options.user_id);
                HandleOfferError::Unavailable
            })
        };
        let answering = opening.into_actor(self).then(move |opened, this, _| {
            if let Ok(connection) = &opened {
                this.adopt(connection.clone());
            }
            let answering = async move {
                let connection = opened?;
                let gone = |_| HandleOfferError::Unavailable;
                connection.send(SetRemoteDescription(offer)).await.map_err(gone)??;
                connection.send(SetLocalDescription(None)).await.map_err(gone)??;
                let answer = connection.send(LocalDescription).await.map_err(gone)?;
                answer.ok_or(HandleOfferError::Unavailable)
            };
            let bounded = async move {
                timeout(limit, answering).await.unwrap_or(Err(HandleOfferError::TimedOut))
            };
            bounded.into_actor(this)
        });
        Box::pin(answering.map(|answered, this, _| {
            let answer = match answered {
                Ok(answer) => answer,
                Err(error) => {
                    // A connection that has answered nothing yet is of no use.
                    if this.state == PeerConnectionState::New && this.channels.count() == 0 {
                        this.let_go();
                    }
                    return Err(error);
                }
            };
            // What the connection has told meanwhile waits in the mailbox: candidates come after the answer.
            this.tell(ServerPeerEvent::Answer(answer));
            Ok(())
        }))
    }

    fn adopt(&mut self, connection: PeerConnectionHandle) {
        if self.connection.as_ref().map(PeerConnectionHandle::id) == Some(connection.id()) {
            return;
        }
        if let Some(entry) = &self.entry {
            entry.connected(Some(connection.id()));
        }
        self.channels.connected(Some(connection.clone()));
        self.connection = Some(connection);
    }

    /// Close the connection, if there is one; what it tells from now on is nobody's.
    fn let_go(&mut self) {
        for (id, label) in self.channels.connected(None) {
            self.tell(ServerPeerEvent::ChannelClosed { id, label });
        }
        if let Some(connection) = self.connection.take() {
            // One that has no room for it has ended, or is about to hear of its owner's end.
            _ = connection.try_send(callboard_peer_connection::messages::Close);
        }
        if let Some(entry) = &self.entry {
            entry.connected(None);
        }
        self.state = PeerConnectionState::New;
    }

    fn came(
        &mut self,
        channel: DataChannelId,
        message: DataChannelMessage,
        ctx: &mut Context<Self>,
    ) {
        let now = Instant::now().into_std();
        let fate = self.account.data(now, message.len());
        let Some(label) = self.channels.label(channel) else { return };
        match fate {
            Fate::Pass => self.tell(ServerPeerEvent::Data { label, message }),
            Fate::Drop => {}
            Fate::TellRate => self.tell(ServerPeerEvent::Refused(Refusal::RateLimited)),
            Fate::TellLarge => self.tell(ServerPeerEvent::Refused(Refusal::TooLarge)),
            Fate::Close => self.end(ctx),
        }
    }

    fn channel_opened(&mut self, id: DataChannelId, label: String) {
        if self.channels.count() >= self.account.limits().channels {
            self.tell(ServerPeerEvent::Refused(Refusal::TooManyChannels));
            if let Some(connection) = &self.connection {
                // One that has no room for it is closed soon.
                _ = connection.try_send(CloseDataChannel(id));
            }
            return;
        }
        self.channels.opened(id, &label);
        self.tell(ServerPeerEvent::ChannelOpen { id, label });
    }

    fn now_in(&mut self, state: PeerConnectionState) {
        if self.state != state {
            self.state = state;
            if let Some(entry) = &self.entry {
                entry.in_state(state);
            }
            self.tell(ServerPeerEvent::ConnectionState(state));
        }
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        self.let_go();
        self.now_in(PeerConnectionState::Closed);
        ctx.exit(ExitReason::Normal);
    }
}

impl Actor for ServerPeer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(LOOK, |this, ctx| {
            this.alone = if this.controller.connected() { 0 } else { this.alone + 1 };
            // A peer that has crashed may be back soon.
            let patience = if this.entry.is_some() { PATIENCE } else { 0 };
            if this.alone > patience {
                this.end(ctx);
            }
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(connection) = self.connection.take() {
            _ = connection.try_send(callboard_peer_connection::messages::Close);
        }
        self.channels.connected(None);
    }
}

impl Handler<HandleOffer> for ServerPeer {
    type Result = AtomicResponse<Self, Result<(), HandleOfferError>>;

    fn handle(&mut self, HandleOffer(offer): HandleOffer, ctx: &mut Self::Context) -> Self::Result {
        let refused = match self.account.offer(Instant::now().into_std(), offer.sdp.len()) {
            Some(close) => {
                if close {
                    self.end(ctx);
                }
                Some(HandleOfferError::RateLimited)
            }
            None if offer.kind != callboard_peer_connection::SdpType::Offer => {
                Some(HandleOfferError::NotAnOffer)
            }
            None => None,
        };
        AtomicResponse::new(match refused {
            Some(error) => Box::pin(actix::fut::ready(Err(error))),
            None => self.answer(offer, ctx),
        })
    }
}

impl Handler<AddCandidate> for ServerPeer {
    type Result = ResponseFuture<Result<(), AddCandidateError>>;

    fn handle(
        &mut self,
        AddCandidate(candidate): AddCandidate,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let bytes = candidate.as_ref().map_or(0, |candidate| candidate.candidate.len());
        if let Some(close) = self.account.candidate(Instant::now().into_std(), bytes) {
            if close {
                self.end(ctx);
            }
            return Box::pin(async { Err(AddCandidateError::RateLimited) });
        }
        let Some(connection) = self.connection.clone() else {
            return Box::pin(async { Err(AddCandidateError::NoSession) });
        };
        Box::pin(async move {
            let added = connection.send(AddIceCandidate(candidate)).await;
            Ok(added.map_err(|_| AddCandidateError::NoSession)??)
        })
    }
}

impl Handler<SendToChannel> for ServerPeer {
    type Result = ResponseFuture<Result<(), SendDataError>>;

    fn handle(
        &mut self,
        SendToChannel { label, message }: SendToChannel,
        _: &mut Self::Context,
    ) -> Self::Result {
        let found = self
            .channels
            .with(|open| open.connection.clone().zip(open.by_label.get(&label).copied()));
        Box::pin(async move {
            let (connection, channel) = found.ok_or(SendDataError::NoChannel(label))?;
            let sent = connection.send(SendData { channel, message }).await;
            sent.map_err(|_| SendDataError::Gone)?.map_err(SendDataError::Channel)
        })
    }
}

impl Handler<ConnectionState> for ServerPeer {
    type Result = MessageResult<ConnectionState>;

    fn handle(&mut self, _: ConnectionState, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state)
    }
}

impl Handler<Close> for ServerPeer {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        self.end(ctx);
    }
}

impl Handler<Control> for ServerPeer {
    type Result = ();

    fn handle(&mut self, Control(controller): Control, _: &mut Self::Context) {
        self.controller = controller;
    }
}

impl Handler<PeerConnectionEvent> for ServerPeer {
    type Result = ();

    fn handle(
        &mut self,
        PeerConnectionEvent { connection, event }: PeerConnectionEvent,
        ctx: &mut Self::Context,
    ) {
        if self.connection.as_ref().map(PeerConnectionHandle::id) != Some(connection) {
            return; // of one that was let go
        }
        match event {
            ConnectionEvent::IceCandidate(candidate) => {
                // W3C tells the end twice, of a generation and of all: the client hears it once.
                if candidate.as_ref().is_some_and(IceCandidate::is_end_of_candidates) {
                    return;
                }
                self.tell(ServerPeerEvent::Ice(candidate));
            }
            ConnectionEvent::ConnectionStateChange(state) => self.now_in(state),
            ConnectionEvent::DataChannelAdded(channel) => {
                self.channel_opened(channel.id, channel.label.clone());
            }
            ConnectionEvent::DataChannelMessage { channel, message } => {
                self.came(channel, message, ctx)
            }
            ConnectionEvent::DataChannelClosed(id) => {
                if let Some(label) = self.channels.closed(id) {
                    self.tell(ServerPeerEvent::ChannelClosed { id, label });
                }
            }
            ConnectionEvent::Closed(_) => self.end(ctx),
            _ => {}
        }
    }
}

/// How often it looks whether it still has a controller.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks a peer has to come back in after a crash: more than its `on_init` may take.
const PATIENCE: u32 = 15;
/// What a connection may tell while an offer is being answered, before it keeps the rest back.
const MAILBOX: usize = 256;
