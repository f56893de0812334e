//! Opening of a peer connection for a client, and answers to its offers.

use std::borrow::Cow;
use std::sync::Arc;

use actix::prelude::*;
use callboard_media_rooms::{Participant, ParticipantEvent, ParticipantId};
use callboard_peer_connection::messages::{AcceptOffer, GetAnsweredSections, LocalDescription};
use callboard_peer_connection::{PeerConnectionEvent, PeerConnectionHandle, SessionDescription};

use super::{HandleOfferError, MediaSeat, ServerPeerOptions};

/// What opens a new peer connection.
pub(super) struct Opening {
    pub(super) options: ServerPeerOptions,
    pub(super) seat: Option<MediaSeat>,
    pub(super) owner: Recipient<PeerConnectionEvent>,
    pub(super) media: Recipient<ParticipantEvent>,
    /// Participant of the client's connection so far.
    pub(super) replaces: Option<ParticipantId>,
}

impl Opening {
    /// Opens a new peer connection, as a participant of the media room if there is one.
    pub(super) async fn open(
        self,
    ) -> Result<(PeerConnectionHandle, Option<Arc<Participant>>), HandleOfferError> {
        let ServerPeerOptions { connections, api, configuration, user_id, limits } = self.options;
        // A message larger than the engine accepts ends the connection, so the engine accepts more than the
        // descriptions announce: a message from a client that ignores the announced limit is dropped, and the client is
        // told.
        let engine = api.settings().max_message_size;
        let taken = engine.max(limits.message).max(TAKEN);
        let api = if engine == 0 { api } else { api.max_message_size(taken) };
        let opened = match &self.seat {
            Some(seat) => {
                connections.open_on(seat.thread().await?, &api, configuration, self.owner).await
            }
            None => connections.open(&api, configuration, self.owner).await,
        };
        let connection = opened.map_err(|error| {
            // The client is told, and its peer limits the log.
            log::debug!("no connection for {user_id}: {error}");
            HandleOfferError::Unavailable
        })?;
        // What leads from the lines of the peer to those of the connection.
        log::debug!("the connection of {user_id} is {}", connection.id());
        let participant = match &self.seat {
            Some(seat) => match seat.join(&connection, self.media, self.replaces).await {
                Ok(participant) => Some(participant),
                Err(error) => {
                    connection.close().await;
                    return Err(error);
                }
            },
            None => None,
        };
        Ok((connection, participant))
    }
}

/// Returns the answer of this peer connection; with the candidates found so far if they are `inline`.
pub(super) async fn answer_by(
    connection: &PeerConnectionHandle,
    participant: Option<&Participant>,
    offer: SessionDescription,
    is_new: bool,
    inline: bool,
) -> Result<SessionDescription, HandleOfferError> {
    let gone = |_| HandleOfferError::Unavailable;
    let (answer, sections) = match participant {
        Some(participant) => {
            let answer = participant.accept_offer(offer).await?;
            (answer, connection.send(GetAnsweredSections).await.map_err(gone)?)
        }
        None => {
            let accepted = connection.send(AcceptOffer(offer)).await.map_err(gone)??;
            (accepted.answer, accepted.sections)
        }
    };
    // A new one would never connect. A connected one goes on without media.
    if is_new && sections.is_nothing() {
        return Err(HandleOfferError::NothingUsable(sections));
    }
    if !inline {
        return Ok(answer);
    }
    // Gathering has begun with the answer.
    connection.send(LocalDescription).await.map_err(gone)?.ok_or(HandleOfferError::Unavailable)
}

/// Returns a description that announces the largest accepted message (RFC 8841 §6).
pub(super) fn with_message_size(
    mut description: SessionDescription,
    bytes: u32,
) -> SessionDescription {
    let lines = description.sdp.split_inclusive('\n').map(|line| {
        if line.starts_with("a=max-message-size:") {
            Cow::Owned(format!("a=max-message-size:{}\r\n", bytes.max(1)))
        } else {
            Cow::Borrowed(line)
        }
    });
    description.sdp = lines.collect();
    description
}

/// The largest message whose sender is told that it is too large; it fits the receive window twice.
const TAKEN: u32 = 512 << 10;
