//! Slots of forwarders in an offer of the peer.

use std::time::Instant;

use super::Session;
use crate::error::OfferSlotsError;
use crate::media::*;
use crate::slots::Slot;
use crate::state::SignalingState;

impl Session {
    /// Sets which sections of the pending offer send, and what.
    pub(crate) fn offer_slots(
        &mut self,
        now: Instant,
        slots: Vec<Slot>,
    ) -> Result<(), OfferSlotsError> {
        let (state, transceivers) = (self.jsep.signaling(), self.jsep.transceivers());
        let offer = match (state, self.jsep.remote()) {
            (SignalingState::HaveRemoteOffer, Some(offer)) => offer,
            (state, _) => return Err(OfferSlotsError::InvalidState(state)),
        };
        let sections = offer.sdp.media();
        let mut plan = Vec::with_capacity(sections.len());
        for section in sections {
            let Some(mid) = section.mid() else { continue };
            let Some(transceiver) = transceivers.by_mid(mid).filter(|it| !it.is_ending()) else {
                continue;
            };
            let theirs = Direction::of_sdp(section.direction());
            let slot = slots.iter().find(|slot| slot.mid == mid).filter(|_| theirs.receives());
            plan.push((transceiver.id, Direction::new(slot.is_some(), theirs.sends()), slot));
        }
        let news = self.jsep.change(|all| {
            let mut news = Vec::new();
            for (id, direction, slot) in plan {
                let Ok(transceiver) = all.usable(id) else { continue };
                transceiver.direction = direction;
                let Some(slot) = slot.filter(|_| transceiver.track.is_none()) else { continue };
                let codec = RtpCodecCapability::new(transceiver.kind.name());
                let track = LocalTrack::new(codec, &*slot.id, &*slot.stream_id);
                transceiver.attach(track);
                news.push((transceiver.sender, slot.resend));
            }
            news
        });
        for (sender, resend) in news {
            if resend.is_some() {
                self.configure_sender(sender, resend, None).expect("its transceiver is there");
            }
        }
        self.after(now, Ok(()));
        Ok(())
    }
}
