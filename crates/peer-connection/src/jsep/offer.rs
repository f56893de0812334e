//! Offers of this side (RFC 8829 §5.2).

use super::local_description::{Described, Part};
use super::rewriting;
use super::transceiver::Transceivers;
use super::{Jsep, Local, Settings};
use crate::error::CreateOfferError;
use crate::media::*;
use crate::sdp::{Sdp, Section};
use crate::state::SignalingState;
use crate::{SdpType, SessionDescription};

/// New parts of an offer, which the engine must add.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfferPlan {
    pub(crate) media: Vec<NewMedia>,
    /// Whether to add a section of data channels.
    pub(crate) data: bool,
    pub(crate) restart: bool,
}

/// Section of new media.
#[derive(Clone, Debug)]
pub(crate) struct NewMedia {
    pub(crate) transceiver: TransceiverId,
    pub(crate) kind: TrackKind,
    pub(crate) direction: Direction,
    pub(crate) send_encodings: Vec<Rid>,
}

impl OfferPlan {
    /// Returns whether the engine has something to add. Everything else of an offer is made as text.
    pub(crate) fn needs_engine(&self) -> bool {
        !self.media.is_empty() || self.data || self.restart
    }
}

/// Offer of this side that was created.
#[derive(Clone, Debug)]
pub(super) struct Created {
    pub(super) described: Described,
    pub(super) offered: Offered,
}

/// Effect of an offer, beside its text.
#[derive(Clone, Debug, Default)]
pub(super) struct Offered {
    /// Mids that it gives to transceivers.
    pub(super) mids: Vec<(TransceiverId, String)>,
    pub(super) restart: bool,
}

impl Jsep {
    /// Plans an offer.
    pub(crate) fn plan_offer(&self, ice_restart: bool) -> Result<OfferPlan, CreateOfferError> {
        match self.signaling {
            SignalingState::Closed => return Err(CreateOfferError::Closed),
            SignalingState::Stable => {}
            // The pending offer is created again. Additions since then wait for the next round: the engine holds one
            // offer at a time.
            SignalingState::HaveLocalOffer => return Ok(OfferPlan::default()),
            state => return Err(CreateOfferError::InvalidState(state)),
        }
        if ice_restart && self.remote.is_none() {
            return Err(CreateOfferError::NoIceAgent);
        }
        let new = self.transceivers.iter().filter(|one| one.mid.is_none() && !one.is_ending());
        let media = new.map(|one| NewMedia {
            transceiver: one.id,
            kind: one.kind,
            direction: one.direction,
            send_encodings: one.send_encodings.clone(),
        });
        let has_transport = self.current_transport().is_some();
        Ok(OfferPlan {
            media: media.collect(),
            data: self.data_wanted && !self.has_data_section(),
            restart: (ice_restart || self.restart_wanted) && has_transport,
        })
    }

    /// Returns whether a section of data channels was negotiated.
    pub(crate) fn has_data_section(&self) -> bool {
        self.current_local.as_ref().is_some_and(|local| local.outline().has_data())
    }

    /// Returns the offer: made from the engine's text, or from the text in force where the engine has nothing to add.
    pub(crate) fn offer_created(
        &mut self,
        plan: &OfferPlan,
        engine: Option<(String, Vec<String>)>,
    ) -> SessionDescription {
        let origin = self.next_version();
        let before = self.current_local.as_ref();
        let lines = |local: &Local| Sdp::clone(&local.described.sdp);
        let (mut sdp, offered) = match (engine, self.signaling) {
            (Some((text, mids)), _) => {
                let mids = plan.media.iter().map(|media| media.transceiver).zip(mids).collect();
                (Sdp::parse(&text), Offered { mids, restart: plan.restart })
            }
            (None, SignalingState::HaveLocalOffer) => {
                let pending = self.pending_local.as_ref().map(lines);
                (pending.unwrap_or_default(), self.offered.clone().unwrap_or_default())
            }
            (None, _) => {
                let sdp = before.map_or_else(|| rewriting::empty(origin), lines);
                (sdp, Offered::default())
            }
        };
        let mut bundle = Vec::new();
        for (at, section) in sdp.media_mut().iter_mut().enumerate() {
            let was = before.and_then(|before| before.outline().sections.get(at));
            // The engine has forgotten rejected sections.
            let rejected = before.filter(|_| was.is_some_and(|was| was.is_rejected));
            let rejected = rejected.and_then(|before| before.described.sdp.media().get(at));
            write_section(section, was, rejected, &self.transceivers, &offered.mids, self.settings);
            if section.port() != Some(0)
                && let Some(mid) = section.mid()
            {
                bundle.push(mid.to_owned());
            }
        }
        let bundle: Vec<&str> = bundle.iter().map(String::as_str).collect();
        rewriting::write_session(&mut sdp, origin, Some(&bundle));
        let described = Described::new(sdp, |_| None);
        let offer = SessionDescription { kind: SdpType::Offer, sdp: described.sdp.to_string() };
        self.last_offer = Some(Created { described, offered });
        offer
    }
}

/// Writes into a section of an offer what this side wants now.
fn write_section(
    section: &mut Section,
    was: Option<&Part>,
    rejected: Option<&Section>,
    transceivers: &Transceivers,
    mids: &[(TransceiverId, String)],
    settings: Settings,
) {
    // The engine may have another name for it, and does not know all kinds.
    let mid = was.map_or(section.mid(), |was| was.mid.as_deref()).map(str::to_owned);
    if let Some(rejected) = rejected {
        *section = rewriting::rejected(rejected, mid.as_deref());
        return;
    }
    if let Some(mid) = &mid {
        section.set_attribute("mid", mid);
    }
    rewriting::remove_candidates(section);
    rewriting::offer_profile(section);
    if section.has("setup") {
        section.set_attribute("setup", if settings.offer_active { "active" } else { "actpass" });
    }
    let transceiver = mid.as_deref().and_then(|mid| {
        let new = mids.iter().find(|(_, new)| new == mid).and_then(|(id, _)| transceivers.get(*id));
        new.or_else(|| transceivers.by_mid(mid))
    });
    let Some(transceiver) = transceiver.filter(|_| section.is_rtp()) else { return };
    if transceiver.is_ending() {
        *section = rewriting::rejected(section, mid.as_deref());
        return;
    }
    section.set_direction(transceiver.direction.name());
    rewriting::prefer(section, &transceiver.preferences);
    rewriting::write_track(section, transceiver, transceiver.direction.sends());
}
