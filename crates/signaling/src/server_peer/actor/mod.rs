//! Actor of a server peer.

mod connection;
mod controller;
mod media;
mod offering;
mod opening;
mod rounds;
mod tracks;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use actix::prelude::*;
use callboard_media_rooms::Participant;
use callboard_peer_connection::error::{DescriptionError, SetDescriptionError};
use callboard_peer_connection::messages::AddIceCandidate;
use callboard_peer_connection::{
    CloseReason, DataChannelId, PeerConnectionHandle, PeerConnectionState, SessionDescription,
};
use callboard_room_supervisor::Outbox;
use callboard_supervision::{Exit, ExitReason, has_panicked};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::channels::Channels;
use super::usage::{Usage, cost, origin, sections};
use super::*;
use crate::peer_ref::PeerRef;
pub use controller::ServerPeerHandle;
pub(crate) use controller::{Control, Controller};
use controller::{Lifeline, Watch};
use opening::{Opening, answer_by, with_message_size};
use rounds::Rounds;

/// The WebRTC peer of one user.
///
/// It ends when it is told to [`CloseServerPeer`], when its peer connection is over, or together with its controller.
pub struct ServerPeer {
    options: ServerPeerOptions,
    controller: Controller,
    watch: Watch,
    /// Lifeline to its handle, until it has started.
    lifeline: Option<Lifeline>,
    account: Usage,
    connection: Option<PeerConnectionHandle>,
    /// Place in the media of its client's room, if there is any.
    seat: Option<MediaSeat>,
    participant: Option<Arc<Participant>>,
    /// What its client wishes to receive, if it has said that.
    wishes: Option<Wishes>,
    /// What the client says of its tracks.
    described: Vec<TrackDescription>,
    /// Session id in the origin of the offer that the peer connection has answered.
    origin: Option<String>,
    state: PeerConnectionState,
    channels: Channels,
    tracks: Tracks,
    /// Channels that the application has created.
    own: BTreeSet<DataChannelId>,
    rounds: Rounds,
    entry: Option<Entry>,
    /// Outbox of the client of the peer in front of it, closed when that peer is gone for good. A peer that has crashed
    /// is restarted soon, and finds its connection.
    client: Option<Arc<Outbox>>,
    /// Address of the client.
    address: Option<IpAddr>,
}

impl ServerPeer {
    /// Creates a server peer that sends its events to `controller` and ends with it, for a supervisor. The controller
    /// must have been started by a supervisor or by [`spawn`](callboard_supervision::spawn), which report its end.
    pub fn new<A>(options: ServerPeerOptions, controller: &Addr<A>) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<ServerPeerEvent>,
    {
        Self::controlled_by(options, Controller::monitored(controller.clone()))
    }

    /// Creates a server peer of this controller.
    pub(crate) fn controlled_by(options: ServerPeerOptions, controller: Controller) -> Self {
        let account = Usage::new(options.limits);
        Self {
            options,
            controller,
            watch: Watch::default(),
            lifeline: None,
            account,
            connection: None,
            seat: None,
            participant: None,
            wishes: None,
            described: Vec::new(),
            origin: None,
            state: PeerConnectionState::New,
            channels: Channels::default(),
            tracks: Tracks::default(),
            own: BTreeSet::new(),
            rounds: Rounds::default(),
            entry: None,
            client: None,
            address: None,
        }
    }

    /// Starts one beside the current actor, without a supervisor. It ends when the handle is dropped: keep the handle
    /// in the controller, and they end together.
    pub fn start(
        options: ServerPeerOptions,
        controller: Recipient<ServerPeerEvent>,
    ) -> ServerPeerHandle {
        let (lifeline, handle_dropped) = oneshot::channel();
        let mut peer = Self::controlled_by(options, Controller::holding_handle(controller));
        peer.lifeline = Some(handle_dropped);
        ServerPeerHandle { addr: callboard_supervision::spawn(peer), _lifeline: lifeline }
    }

    /// Makes it the server peer of a peer of a route.
    pub(crate) fn behind(mut self, client: &PeerRef, entry: Entry) -> Self {
        self.channels = client.channels().clone();
        self.tracks = self.channels.tracks();
        self.account = Usage::going_on(self.options.limits, self.channels.spent());
        (self.entry, self.client) = (Some(entry), Some(Arc::clone(client.outbox())));
        self.address = client.address();
        self
    }

    /// Lets its client take part in the media of a room.
    pub(crate) fn in_media(mut self, seat: Option<MediaSeat>) -> Self {
        self.seat = seat;
        self
    }

    fn tell(&self, event: ServerPeerEvent) {
        // Bounded by the client's rates, and by the events of a peer connection.
        self.controller.events.do_send(event);
    }

    /// Answers an offer with the existing peer connection, or, if the offer is from another one of the client's, with a
    /// new one. The existing one stays until the new one has answered, so an unusable offer has no effect on it.
    fn answer(
        &mut self,
        offer: SessionDescription,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<(), HandleOfferError>> {
        let whose = origin(&offer.sdp).map(str::to_owned);
        let known = self.connection.clone().filter(|connection| connection.is_open());
        let same = known.filter(|_| self.origin == whose);
        let same = same.map(|connection| (connection, self.participant.clone()));
        let opening = Opening {
            options: self.options.clone(),
            seat: self.seat.clone(),
            owner: ctx.address().recipient(),
            media: ctx.address().recipient(),
            replaces: self.participant.as_ref().map(|participant| participant.id()),
        };
        let described = self.described.clone();
        let describe = move |participant: Option<&Participant>| {
            _ = participant.map(|participant| participant.describe(described.clone()));
        };
        let limit = self.account.limits().answer_timeout;
        let message = self.options.limits.message;
        let inline = self.options.api.settings().inline_candidates;
        let answering = async move {
            let by_same = match same {
                Some((same, participant)) => {
                    let answering = async {
                        // One whose media was given up begins it again.
                        let participant = match (participant, &opening.seat) {
                            (None, Some(seat)) => {
                                Some(seat.join(&same, opening.media.clone(), None).await?)
                            }
                            (participant, _) => participant,
                        };
                        let media = participant.as_deref();
                        describe(media);
                        let answer = answer_by(&same, media, offer.clone(), false, inline).await?;
                        Ok((answer, participant))
                    };
                    match timeout(limit, answering).await {
                        // It has just ended: a new one answers.
                        Ok(Err(HandleOfferError::Unavailable)) if !same.is_open() => None,
                        answered => Some((answered, same)),
                    }
                }
                None => None,
            };
            let (answered, connection) = match by_same {
                Some(answered) => answered,
                None => {
                    let (new, participant) = opening.open().await?;
                    let media = participant.as_deref();
                    describe(media);
                    let answered =
                        timeout(limit, answer_by(&new, media, offer, true, inline)).await;
                    if !matches!(answered, Ok(Ok(_))) {
                        new.close().await;
                    }
                    (answered.map(|answered| Ok((answered?, participant))), new)
                }
            };
            let answered = answered.unwrap_or(Err(HandleOfferError::TimedOut));
            let (answer, participant): (_, Option<_>) = answered?;
            Result::<_, HandleOfferError>::Ok((
                connection,
                participant,
                with_message_size(answer, message),
            ))
        };
        Box::pin(answering.into_actor(self).map(move |answered, this, ctx| {
            let (connection, participant, answer) = answered?;
            this.origin = whose;
            this.adopt(connection);
            this.participant = participant;
            // They are not too many; one that has left meanwhile is told that its media has failed.
            _ = this.wishes.clone().map_or(Ok(()), |wishes| this.wish(wishes));
            this.rounds.settled();
            // The peer connection's events wait in the mailbox meanwhile, so candidates come after the answer.
            this.tell(ServerPeerEvent::Answer(answer));
            this.send_tracks(ctx);
            Ok(())
        }))
    }

    /// Checks whether a description is within the limits, before it is read.
    fn check_budget(&self, sdp: &str, now: std::time::Instant) -> Result<(), HandleOfferError> {
        let (found, limit) = (sections(sdp), self.account.limits().sections);
        if found > limit {
            let error = DescriptionError::TooManySections { found, limit };
            return Err(SetDescriptionError::from(error).into());
        }
        let cost = cost(sdp, found);
        let of_address = || match (&self.entry, self.address) {
            (Some(entry), Some(address)) => entry.webrtc().describe(address, cost, now),
            _ => Ok(()),
        };
        let paid = self.account.describe(now, cost, of_address);
        paid.map_err(|wait| HandleOfferError::OverBudget { wait })
    }

    /// Makes this the peer connection.
    fn adopt(&mut self, connection: PeerConnectionHandle) {
        if self.connection.as_ref().map(PeerConnectionHandle::id) == Some(connection.id()) {
            return;
        }
        self.release_connection();
        if let Some(entry) = &self.entry {
            entry.connected(Some(connection.id()));
        }
        self.channels.connected(Some(connection.clone()));
        self.tracks.connected(Some(connection.clone()));
        self.connection = Some(connection);
    }

    /// Closes the peer connection, if there is one; its later events are ignored.
    fn release_connection(&mut self) {
        self.own.clear();
        self.rounds.settled();
        self.participant = None;
        for (id, label) in self.channels.connected(None) {
            self.tell(ServerPeerEvent::ChannelClosed { id, label });
        }
        for track in self.tracks.connected(None) {
            self.tell(ServerPeerEvent::TrackRemoved(track));
        }
        if let Some(connection) = self.connection.take() {
            // If its mailbox is full, it has ended, or is about to notice the end of its owner.
            _ = connection.try_send(callboard_peer_connection::messages::Close);
        }
        if let Some(entry) = &self.entry {
            entry.connected(None);
            entry.in_state(PeerConnectionState::New);
        }
        self.state = PeerConnectionState::New;
    }

    /// Counts an offer or answer against the client's rate; returns true if it is over it. If the client goes on, its
    /// peer connection is closed after it has been told.
    fn is_over_rate(&self, sdp: &str, now: std::time::Instant, ctx: &mut Context<Self>) -> bool {
        let over = self.account.offer(now, sdp.len());
        if over == Some(true) && self.connection.is_some() {
            let told = actix::fut::wrap_future::<_, Self>(std::future::ready(()));
            ctx.spawn(told.map(|(), this, ctx| this.end(EndReason::RateLimited, ctx)));
        }
        over.is_some()
    }

    fn end(&mut self, reason: EndReason, ctx: &mut Context<Self>) {
        if self.state != PeerConnectionState::Closed {
            self.release_connection();
            self.tell(ServerPeerEvent::Closed(reason));
            self.set_state(PeerConnectionState::Closed);
        }
        ctx.exit(ExitReason::Normal);
    }
}

impl Actor for ServerPeer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.watch_controller(ctx);
        self.tracks.serve(Some(ctx.address().recipient()));
        if let Some(lifeline) = self.lifeline.take() {
            self.hold_lifeline(lifeline, ctx);
        }
    }

    /// Runs also after a panic; its monitors report that.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.tracks.serve(None);
        if self.state == PeerConnectionState::Closed {
            return; // it has ended by itself, and has said so
        }
        let was_connected = self.connection.is_some();
        self.release_connection();
        if was_connected && !has_panicked() {
            self.tell(ServerPeerEvent::Closed(CloseReason::Stopped.into()));
            self.set_state(PeerConnectionState::Closed);
        }
    }
}

impl Handler<HandleOffer> for ServerPeer {
    type Result = AtomicResponse<Self, Result<(), HandleOfferError>>;

    fn handle(&mut self, HandleOffer(offer): HandleOffer, ctx: &mut Self::Context) -> Self::Result {
        let now = Instant::now().into_std();
        let refused = if self.is_over_rate(&offer.sdp, now, ctx) {
            Some(HandleOfferError::RateLimited)
        } else if offer.kind != callboard_peer_connection::SdpType::Offer {
            Some(HandleOfferError::NotAnOffer)
        } else {
            self.check_budget(&offer.sdp, now).err()
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
                self.end(EndReason::RateLimited, ctx);
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
    type Result = ResponseFuture<Result<(), SendToChannelError>>;

    fn handle(
        &mut self,
        SendToChannel { label, message }: SendToChannel,
        _: &mut Self::Context,
    ) -> Self::Result {
        let found = self.channels.find(&label);
        Box::pin(
            async move { found.ok_or(SendToChannelError::NoChannel(label))?.send(message).await },
        )
    }
}

impl Handler<ConnectionState> for ServerPeer {
    type Result = MessageResult<ConnectionState>;

    fn handle(&mut self, _: ConnectionState, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state)
    }
}

impl Handler<CloseServerPeer> for ServerPeer {
    type Result = ();

    fn handle(&mut self, _: CloseServerPeer, ctx: &mut Self::Context) {
        self.end(EndReason::Closed, ctx);
    }
}

/// Events that a peer connection may send while an offer is being answered, before it holds the rest back.
const MAILBOX: usize = 256;
