//! Offers of the server: they bring the application's changes on the server's side of the peer connection to the
//! client.
//!
//! The server is the polite peer of perfect negotiation: an offer of the client's replaces an open offer of the server,
//! and the server's changes are offered again after that round.

use actix::prelude::*;
use callboard_peer_connection::error::{CreateOfferError, SetDescriptionError};
use callboard_peer_connection::messages::{
    GetDataChannel, GetSignalingState, MakeOffer, SetLocalDescription, SetRemoteDescription,
};
use callboard_peer_connection::{
    DataChannelId, PeerConnectionHandle, SdpType, SessionDescription, SignalingState,
};
use tokio::time::{Instant, timeout};

use super::super::*;
use super::rounds::AfterPause;
use super::{ServerPeer, with_message_size};

impl ServerPeer {
    /// Offers, unless a round is under way: if an offer is needed after that, there is another event.
    pub(super) fn offer(&mut self, ctx: &mut Context<Self>) {
        let wanted = self.connection.clone().filter(|_| self.rounds.may_offer());
        let Some(connection) = wanted else { return };
        let user = self.options.user_id.clone();
        let offering = async move { offer_of(&connection, &user).await };
        let offering = timeout(self.account.limits().answer_timeout, offering);
        ctx.wait(offering.into_actor(self).map(|offered, this, ctx| {
            let Ok(offer) = offered else { return this.offer_later(ctx) };
            let Some(offer) = offer else { return };
            let (round, limits) = (this.rounds.offered(), this.account.limits());
            ctx.run_later(limits.offer_timeout, move |this, ctx| {
                if this.rounds.is_unanswered(round) {
                    this.withdraw(ctx);
                }
            });
            let offer = with_message_size(offer, limits.message);
            this.tell(ServerPeerEvent::Offer(offer));
        }));
    }

    /// Offers again after a while, since the peer connection did not make the offer in time: its thread is blocked or
    /// overloaded. The offer that it may still make is not told to the client, so it is rolled back.
    fn offer_later(&mut self, ctx: &mut Context<Self>) {
        let Some(connection) = &self.connection else { return };
        let rollback = SetLocalDescription(Some(SessionDescription::rollback()));
        // Commands take effect in their order, so this one follows the offer. Without an offer it has no effect; if the
        // mailbox is full, the peer connection has so much to do that the next attempt is late as well.
        let rolled_back = connection.try_send(rollback).is_ok();
        let round = self.rounds.late(rolled_back);
        let wait = self.account.limits().offer_timeout;
        ctx.run_later(wait, move |this, ctx| match this.rounds.pause_over(round) {
            AfterPause::Offer => this.offer(ctx),
            AfterPause::RollBack => this.offer_later(ctx),
            AfterPause::Nothing => {}
        });
    }

    /// Rolls the offer back: the peer connection goes on as it was.
    fn withdraw(&mut self, ctx: &mut Context<Self>) {
        // Before the need for an offer is reported again.
        self.rounds.withdraw();
        let Some(connection) = self.connection.clone() else { return };
        let withdrawing = async move { roll_back(&connection).await };
        let withdrawing = timeout(self.account.limits().answer_timeout, withdrawing);
        ctx.wait(withdrawing.into_actor(self).map(|withdrawn, this, _| {
            if withdrawn == Ok(true) {
                this.tell(ServerPeerEvent::Unanswered);
            }
        }));
    }

    /// Handles the opening of a channel that the application has created.
    pub(super) fn own_channel_opened(&mut self, id: DataChannelId, ctx: &mut Context<Self>) {
        let Some(connection) = self.connection.clone() else { return };
        let asking = async move { connection.send(GetDataChannel(id)).await.ok().flatten() };
        // Messages on it wait.
        ctx.wait(asking.into_actor(self).map(move |info, this, _| {
            let Some(info) = info else { return };
            this.own.insert(id);
            this.channels.opened(id, &info.label);
            this.tell(ServerPeerEvent::ChannelOpen { id, label: info.label });
        }));
    }

    fn answered(
        &mut self,
        answer: SessionDescription,
    ) -> ResponseActFuture<Self, Result<(), HandleAnswerError>> {
        let Some(connection) = self.connection.clone() else {
            return Box::pin(actix::fut::ready(Err(HandleAnswerError::Unexpected)));
        };
        let taking = async move { take_answer(&connection, answer).await };
        let taking = timeout(self.account.limits().answer_timeout, taking);
        Box::pin(taking.into_actor(self).map(|taken, this, _| {
            taken.unwrap_or(Err(HandleOfferError::TimedOut.into()))?;
            this.rounds.settled();
            Ok(())
        }))
    }
}

impl Handler<HandleAnswer> for ServerPeer {
    type Result = AtomicResponse<Self, Result<(), HandleAnswerError>>;

    fn handle(
        &mut self,
        HandleAnswer(answer): HandleAnswer,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let now = Instant::now().into_std();
        let refused = if self.is_over_rate(&answer.sdp, now, ctx) {
            Some(HandleOfferError::RateLimited.into())
        } else if answer.kind != SdpType::Answer {
            Some(HandleAnswerError::NotAnAnswer)
        } else {
            self.check_budget(&answer.sdp, now).err().map(HandleAnswerError::from)
        };
        AtomicResponse::new(match refused {
            Some(error) => Box::pin(actix::fut::ready(Err(error))),
            None => self.answered(answer),
        })
    }
}

/// Returns an offer of this peer connection; none while a round is under way, or if no offer can be created.
async fn offer_of(connection: &PeerConnectionHandle, user: &str) -> Option<SessionDescription> {
    match connection.send(MakeOffer).await.ok()? {
        Ok(offer) => Some(offer),
        Err(SetDescriptionError::CreateOffer(CreateOfferError::InvalidState(_))) => None,
        Err(error) => {
            log::info!("{}: nothing is offered to {user}: {error}", connection.id());
            None
        }
    }
}

/// Rolls the open offer back; returns false if there is none.
async fn roll_back(connection: &PeerConnectionHandle) -> bool {
    if connection.send(GetSignalingState).await != Ok(SignalingState::HaveLocalOffer) {
        return false;
    }
    let rollback = SetLocalDescription(Some(SessionDescription::rollback()));
    matches!(connection.send(rollback).await, Ok(Ok(())))
}

/// Sets the answer to the open offer.
async fn take_answer(
    connection: &PeerConnectionHandle,
    answer: SessionDescription,
) -> Result<(), HandleAnswerError> {
    let gone = |_| HandleAnswerError::Unexpected;
    if connection.send(GetSignalingState).await.map_err(gone)? != SignalingState::HaveLocalOffer {
        return Err(HandleAnswerError::Unexpected);
    }
    let set = connection.send(SetRemoteDescription(answer)).await.map_err(gone)?;
    Ok(set.map_err(HandleOfferError::from)?)
}
