//! Handle of a participant: its offers, and the events of its connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::sdp::{MediaKind, Sdp};
use callboard_peer_connection::{
    ConnectionEvent, PeerConnectionState, SenderPosition, SessionDescription,
};
use callboard_supervision::CallError;

use crate::core::rewrite::Position;
use crate::error::{AcceptMediaOfferError, WishError};
use crate::event::{ParticipantId, TrackDescription};
use crate::messages::ToSubscriber;
use crate::shared::{NO_ESTIMATE, Seat, Shared};
use crate::stage;
use crate::wishes::Wishes;

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
        let (places, slots) = read(&offer.sdp);
        connection.send(SetRemoteDescription(offer)).await??;
        // What the client has offered and no more: the server never needs an offer of its own.
        connection.send(OfferSlots(slots)).await??;
        connection.send(SetLocalDescription(None)).await??;
        let answer = connection.send(LocalDescription).await?;
        let transceivers = connection.send(GetTransceivers).await?;
        let mut sections = Vec::with_capacity(transceivers.len());
        let negotiated = transceivers.into_iter().filter_map(|transceiver| {
            // A section without a mid is no slot.
            let place = places.get(transceiver.mid.as_deref()?).copied().unwrap_or_default();
            section(transceiver, place)
        });
        for mut section in negotiated {
            if section.receives {
                // A section in which something has flowed before goes on there, also where it was no slot meanwhile.
                let (sender, rid) = (section.sender, None);
                section.position =
                    connection.send(GetSenderPosition { sender, rid }).await?.map(position);
            }
            sections.push(section);
        }
        let state = connection.send(GetConnectionState).await?;
        let mut stage = self.shared.stage();
        stage.negotiated(self.id, &sections);
        if state == PeerConnectionState::Connected {
            // Its event may have come before the owner had this participant.
            stage.connected(self.id);
        }
        drop(stage);
        self.shared.settle();
        answer.ok_or(CallError::Ended.into())
    }

    /// Sets what the participant wishes to receive, in place of all its earlier wishes. They stay in force until others
    /// are set, also for tracks that are published later, and while actors are restarted.
    ///
    /// # Errors
    /// [`WishError`]
    pub fn wish(&self, wishes: Wishes) -> Result<(), WishError> {
        if !wishes.is_within_limits() {
            return Err(WishError::TooMany);
        }
        if !self.shared.stage().wish(self.id, wishes) {
            return Err(WishError::Left);
        }
        // One that has no room for it looks again within half a second.
        self.seat.viewer.subscriber.try_send(ToSubscriber::Allocate { soon: true });
        self.shared.settle();
        Ok(())
    }

    /// Sets what the participant says of its own tracks, for all others, in place of all that it has said before: by
    /// the
    /// `a=mid` of their sections in the next offer that is accepted. The caller limits how much that is.
    pub fn describe(&self, tracks: Vec<TrackDescription>) {
        self.shared.stage().describe(self.id, tracks);
    }

    /// Mutes a track on the participant's own behalf, or ends that: while it is muted, nothing of it is forwarded. A
    /// track that the application has [muted](crate::MediaRoom::mute) stays so. Returns whether the participant
    /// publishes a track in the section with this `a=mid`.
    pub fn mute(&self, mid: &str, muted: bool) -> bool {
        let there = self.shared.stage().mute_own(self.id, mid, muted);
        self.shared.settle();
        there
    }

    /// Tells the application everything once more: the tracks that others publish ([`MediaEvent::Tracks`]), what each
    /// slot carries and what flows in it, whether each track of its own is muted by the application, and which
    /// encodings it should send. For one whose client may have missed some of it.
    ///
    /// [`MediaEvent::Tracks`]: crate::MediaEvent::Tracks
    pub fn restate(&self) {
        self.shared.stage().restate_to(self.id);
        self.shared.settle();
    }

    /// Takes an event of the connection. Returns those that are the owner's affair: all but requests for key frames.
    /// Packets do not come to the owner while the connection is in the room.
    pub fn handle(&self, event: ConnectionEvent) -> Option<ConnectionEvent> {
        match event {
            ConnectionEvent::KeyframeRequested { transceiver, .. } => {
                // A subscriber that has no room for it has enough others.
                self.seat.viewer.subscriber.try_send(ToSubscriber::Refresh(transceiver));
                return None;
            }
            ConnectionEvent::BandwidthEstimate { bitrate, can_probe } => {
                // Where the peer does not say when packets arrive, the estimate stays what it was at first.
                let estimate = if can_probe { bitrate } else { NO_ESTIMATE };
                self.seat.estimate.store(estimate, Ordering::Relaxed);
                // One that has no room for it looks again within half a second.
                self.seat.viewer.subscriber.try_send(ToSubscriber::Allocate { soon: true });
            }
            ConnectionEvent::ReceptionReports(ref reports) => {
                // The next ones come in a second.
                self.seat
                    .viewer
                    .subscriber
                    .try_send(ToSubscriber::Received(reports.as_slice().into()));
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

/// Returns the place of each section of an offer among those of its kind, from 1, by its mid; and slots for those in
/// which the client receives.
fn read(offer: &str) -> (HashMap<String, usize>, Vec<Slot>) {
    let offer = Sdp::parse(offer);
    let (mut places, mut slots, mut counts) = (HashMap::new(), Vec::new(), [0, 0]);
    for section in offer.media() {
        let count = match section.kind() {
            MediaKind::Audio => &mut counts[0],
            MediaKind::Video => &mut counts[1],
            _ => continue,
        };
        *count += 1;
        let (place, Some(mid)) = (*count, section.mid()) else { continue };
        places.insert(mid.to_owned(), place);
        let receives = match section.direction().or(offer.session().direction()) {
            Some("sendonly" | "inactive") => false,
            Some("recvonly") => true,
            // Browsers show nothing of what comes in a section in which they send simulcast.
            _ => !section
                .attributes("simulcast")
                .any(|it| it.split_whitespace().any(|it| it == "send")),
        };
        if receives {
            let id = format!("{}-{place}", section.media());
            let slot = Slot::new(mid, format!("slot-{place}"), id);
            slots.push(slot.resend(RESENT.0, RESENT.1));
        }
    }
    (places, slots)
}

/// Returns what was negotiated for a transceiver, in the so many-th section of its kind; none for one whose section is
/// not in use.
fn section(transceiver: TransceiverInfo, stream: usize) -> Option<stage::Section> {
    let direction = transceiver.current_direction.filter(|_| !transceiver.stopped)?;
    Some(stage::Section {
        transceiver: transceiver.id,
        sender: transceiver.sender,
        mid: transceiver.mid?,
        kind: transceiver.kind,
        publishes: direction.receives(),
        receives: direction.sends(),
        stream,
        codecs: transceiver.codecs.into(),
        encodings: transceiver.encodings,
        position: None,
    })
}

fn position(last: SenderPosition) -> Position {
    let SenderPosition { sequence_number, timestamp, vp8, .. } = last;
    let (picture_id, tl0) = vp8.map_or((None, None), |vp8| (vp8.picture_id, vp8.tl0_picture_index));
    let now = tokio::time::Instant::now().into_std();
    Position::after(sequence_number, timestamp, picture_id, tl0, now)
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

/// Packets of a slot that are kept to be sent again, and for how long: enough for a loss on a path of half a second and
/// back. They are most of what a viewer takes; the engine keeps twice as many by itself, for five times as long.
const RESENT: (usize, Duration) = (512, Duration::from_millis(600));
