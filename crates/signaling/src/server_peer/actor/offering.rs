//! Offers of the server: what the application has changed on its side of the connection gets to the client.
//!
//! This side is the polite one of perfect negotiation: an offer of the client's takes the place of one of ours that is
//! open, and what ours was about is offered again after that round.

use actix::prelude::*;
use callboard_peer_connection::messages::{
    GetDataChannel, GetSignalingState, LocalDescription, SetLocalDescription, SetRemoteDescription,
};
use callboard_peer_connection::{
    DataChannelId, PeerConnectionHandle, SdpType, SessionDescription, SignalingState,
};
use tokio::time::{Instant, timeout};

use super::super::*;
use super::{ServerPeer, with_message_size};

/// How it stands with the offers of the server.
#[derive(Debug, Default)]
pub(super) struct Offering {
    /// Counts rounds, so that a deadline knows whether it is still its own.
    round: u64,
    /// The client has left one unanswered: the next one follows a round of its own.
    unanswered: bool,
}

impl Offering {
    /// No offer is open any more: the client has answered, or its own was answered, or the connection is another one.
    pub(super) fn settled(&mut self) {
        self.round += 1;
        self.unanswered = false;
    }
}

impl ServerPeer {
    /// Offers, unless a round is under way: if there is a need after that one, it is told again.
    pub(super) fn offer(&mut self, ctx: &mut Context<Self>) {
        let wanted = self.connection.clone().filter(|_| !self.offering.unanswered);
        let Some(connection) = wanted else { return };
        let user = self.options.user_id.clone();
        let offering = async move { offer_of(&connection, &user).await };
        let offering = timeout(self.account.limits().answer_timeout, offering);
        ctx.wait(offering.into_actor(self).map(|offered, this, ctx| {
            let Ok(Some(offer)) = offered else { return };
            this.offering.round += 1;
            let (round, limits) = (this.offering.round, this.account.limits());
            ctx.run_later(limits.offer_timeout, move |this, ctx| {
                if this.offering.round == round {
                    this.withdraw(ctx);
                }
            });
            let offer = with_message_size(offer, limits.message);
            this.tell(ServerPeerEvent::Offer(offer));
        }));
    }

    /// Takes the offer back: the connection goes on as it was.
    fn withdraw(&mut self, ctx: &mut Context<Self>) {
        // Before the need is told again.
        self.offering.unanswered = true;
        let Some(connection) = self.connection.clone() else { return };
        let withdrawing = async move { roll_back(&connection).await };
        let withdrawing = timeout(self.account.limits().answer_timeout, withdrawing);
        ctx.wait(withdrawing.into_actor(self).map(|withdrawn, this, _| {
            if withdrawn == Ok(true) {
                this.tell(ServerPeerEvent::Unanswered);
            }
        }));
    }

    /// A channel that the application has made is open.
    pub(super) fn own_channel_opened(&mut self, id: DataChannelId, ctx: &mut Context<Self>) {
        let Some(connection) = self.connection.clone() else { return };
        let asking = async move { connection.send(GetDataChannel(id)).await.ok().flatten() };
        // What comes on it waits.
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
            this.offering.settled();
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
            self.afford(&answer.sdp, now).err().map(HandleAnswerError::from)
        };
        AtomicResponse::new(match refused {
            Some(error) => Box::pin(actix::fut::ready(Err(error))),
            None => self.answered(answer),
        })
    }
}

/// The offer of this connection; none while a round is under way, or if there is none to be had.
async fn offer_of(connection: &PeerConnectionHandle, user: &str) -> Option<SessionDescription> {
    if connection.send(GetSignalingState).await.ok()? != SignalingState::Stable {
        return None;
    }
    if let Err(error) = connection.send(SetLocalDescription(None)).await.ok()? {
        log::info!("{}: nothing is offered to {user}: {error}", connection.id());
        return None;
    }
    connection.send(LocalDescription).await.ok()?
}

/// Takes the open offer back; false if there is none.
async fn roll_back(connection: &PeerConnectionHandle) -> bool {
    if connection.send(GetSignalingState).await != Ok(SignalingState::HaveLocalOffer) {
        return false;
    }
    let rollback = SetLocalDescription(Some(SessionDescription::rollback()));
    matches!(connection.send(rollback).await, Ok(Ok(())))
}

/// Sets the answer to the offer that is open.
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
