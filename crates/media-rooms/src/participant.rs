//! Handle of a participant: its offers, and the events of its connection.

use std::fmt;
use std::sync::Arc;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::{
    ConnectionEvent, Direction, LocalTrack, PeerConnectionState, RtpCodecCapability,
    SessionDescription,
};
use callboard_supervision::CallError;

use crate::error::AcceptMediaOfferError;
use crate::event::ParticipantId;
use crate::messages::ToSubscriber;
use crate::shared::{Seat, Shared};
use crate::stage::Section;

/// Participant of a media room. It leaves when this is dropped.
pub struct Participant {
    shared: Arc<Shared>,
    id: ParticipantId,
    seat: Arc<Seat>,
}

impl Participant {
    pub(crate) fn new(shared: Arc<Shared>, id: ParticipantId, seat: Arc<Seat>) -> Self {
        Self { shared, id, seat }
    }

    /// Returns the participant's identifier.
    pub fn id(&self) -> ParticipantId {
        self.id
    }

    /// Answers an offer of the client. Sections in which it sends are published; those in which it receives become
    /// slots. Audio and video slots are of one stream by their order, the first with the first, so that browsers play
    /// them in step.
    ///
    /// # Errors
    /// [`AcceptMediaOfferError`]; after [`Description`](AcceptMediaOfferError::Description) the connection goes on as
    /// before.
    pub async fn accept_offer(
        &self,
        offer: SessionDescription,
    ) -> Result<SessionDescription, AcceptMediaOfferError> {
        let connection = &self.seat.connection;
        connection.send(SetRemoteDescription(offer)).await??;
        let mut places = [0, 0];
        for transceiver in connection.send(GetTransceivers).await? {
            let place = &mut places[transceiver.kind as usize];
            *place += 1;
            if transceiver.stopped || transceiver.track.is_some() {
                continue;
            }
            let codec = RtpCodecCapability::new(transceiver.kind.name());
            let stream = format!("slot-{place}");
            let track = LocalTrack::new(codec, format!("{}-{place}", transceiver.kind), stream);
            let (sender, track) = (transceiver.sender, Some(track));
            connection.send(ReplaceTrack { sender, track }).await??;
            // The answer has what of it the client has offered.
            let (transceiver, direction) = (transceiver.id, Direction::SendRecv);
            connection.send(SetDirection { transceiver, direction }).await??;
        }
        connection.send(SetLocalDescription(None)).await??;
        let answer = connection.send(LocalDescription).await?;
        let transceivers = connection.send(GetTransceivers).await?;
        let sections: Vec<_> = transceivers.into_iter().filter_map(section).collect();
        self.shared.stage().negotiated(self.id, &sections);
        self.shared.settle();
        answer.ok_or(CallError::Ended.into())
    }

    /// Takes an event of the connection. Returns those that are the owner's affair: all but requests for key frames.
    /// Packets do not come to the owner while the connection is in the room.
    pub fn handle(&self, event: ConnectionEvent) -> Option<ConnectionEvent> {
        match event {
            ConnectionEvent::KeyframeRequested { transceiver, .. } => {
                // A subscriber that has no room for it has enough others.
                self.seat.subscriber.try_send(ToSubscriber::Refresh(transceiver));
                return None;
            }
            ConnectionEvent::ConnectionStateChange(PeerConnectionState::Connected) => {
                self.shared.stage().connected(self.id);
                self.shared.settle();
            }
            _ => {}
        }
        Some(event)
    }
}

/// Returns what was negotiated for a transceiver; none for one without a section in use.
fn section(transceiver: TransceiverInfo) -> Option<Section> {
    let direction = transceiver.current_direction.filter(|_| !transceiver.stopped)?;
    Some(Section {
        transceiver: transceiver.id,
        sender: transceiver.sender,
        mid: transceiver.mid?,
        kind: transceiver.kind,
        publishes: direction.receives(),
        receives: direction.sends(),
        codecs: transceiver.codecs,
        encodings: transceiver.encodings,
    })
}

impl Drop for Participant {
    fn drop(&mut self) {
        // One that was given up may have joined anew.
        if self.shared.seat(self.id).is_some_and(|seat| Arc::ptr_eq(&seat, &self.seat)) {
            self.shared.stage().leave(self.id);
            self.shared.settle();
        }
    }
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant").field("id", &self.id).finish_non_exhaustive()
    }
}
