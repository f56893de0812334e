//! Offers and answers, as str0m makes and takes them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::channel::ChannelConfig;
use str0m::error::SdpError;
use str0m::media::{Mid, Simulcast, SimulcastLayer};

use super::{Engine, EngineError, convert, extensions};
use crate::jsep::{AnswerPlan, CommitPlan, Extensions, OfferPlan};
use crate::media::*;

impl Engine {
    /// An offer of what is new; the mids of its new media, in order, and the user fragment of a restart.
    ///
    /// The one before it is forgotten. There is none when streams for placeholders have run out: str0m keeps those of
    /// the offers that were forgotten.
    pub(crate) fn create_offer(
        &mut self,
        plan: &OfferPlan,
    ) -> Option<(String, Vec<String>, Option<String>)> {
        let stream = if plan.data { Some(self.take_placeholder()?) } else { None };
        self.pending = None;
        let mut changes = self.rtc.sdp_api();
        let mids = plan
            .media
            .iter()
            .map(|media| {
                let simulcast = (!media.send_encodings.is_empty()).then(|| Simulcast {
                    send: media
                        .send_encodings
                        .iter()
                        .map(|rid| SimulcastLayer::new(rid.as_str()))
                        .collect(),
                    recv: Vec::new(),
                });
                let (kind, direction) =
                    (convert::kind(media.kind), convert::direction(media.direction));
                changes.add_media(kind, direction, None, None, simulcast).to_string()
            })
            .collect();
        if stream.is_some() {
            let config = ChannelConfig { negotiated: stream, ..ChannelConfig::default() };
            self.placeholders.push(changes.add_channel_with_config(config));
        }
        let ufrag = plan.restart.then(|| changes.ice_restart(true).ufrag);
        let Some((offer, pending)) = changes.apply() else {
            // Asked for nothing new: the caller has its text.
            return Some((String::new(), mids, None));
        };
        self.pending = Some(pending);
        Some((self.told(offer.to_sdp_string()), mids, ufrag))
    }

    /// A stream of no other channel: str0m panics at one that is taken.
    fn take_placeholder(&mut self) -> Option<u16> {
        let free = (1..=self.placeholder).rev().find(|id| !self.declared.contains(id))?;
        self.placeholder = free - 1;
        Some(free)
    }

    /// The offer of this side is taken back.
    pub(crate) fn forget_offer(&mut self) {
        self.pending = None;
    }

    /// Have header extensions where the next offer needs them. Says whether that is news: the engine must be made anew
    /// then, which it can be as long as nothing is negotiated.
    pub(crate) fn set_extensions(&mut self, extensions: &Option<Arc<Extensions>>) -> bool {
        let news = self.recipe.extensions != *extensions;
        if news {
            self.recipe.extensions.clone_from(extensions);
        }
        news
    }

    pub(super) fn renames(&self) -> bool {
        self.recipe.extensions.as_ref().is_some_and(|extensions| extensions.renames)
    }

    fn read<'a>(&mut self, now: Instant, description: &'a str) -> Cow<'a, str> {
        let description = self.admit_sources(now, description);
        match self.renames() {
            true => Cow::Owned(extensions::to_engine(&description)),
            false => description,
        }
    }

    fn told(&self, description: String) -> String {
        match self.renames() {
            true => extensions::from_engine(&description),
            false => description,
        }
    }

    /// Reads an offer that was checked; none for one in which nothing is. What cannot be read must not get any further.
    pub(crate) fn read_offer(
        &mut self,
        now: Instant,
        plan: &AnswerPlan,
    ) -> Result<Option<ReadOffer>, String> {
        let read =
            |offer| SdpOffer::from_sdp_string(&self.read(now, offer)).map_err(without_address);
        Ok(plan.offer.as_deref().map(read).transpose()?.map(ReadOffer))
    }

    /// Answer an offer that was checked. The same one may be answered again.
    pub(crate) fn accept_offer(
        &mut self,
        plan: &AnswerPlan,
        offer: ReadOffer,
    ) -> Result<String, EngineError> {
        self.pending = None;
        self.set_directions(&plan.directions, &[]);
        let answer = self.rtc.sdp_api().accept_offer(offer.0)?;
        Ok(self.told(answer.to_sdp_string()))
    }

    /// Reads an answer that was checked, as [`Self::read_offer`] does an offer.
    pub(crate) fn read_answer(
        &mut self,
        now: Instant,
        plan: &CommitPlan,
    ) -> Result<Option<ReadAnswer>, String> {
        let Some(answer) = &plan.answer else { return Ok(None) };
        let answer = self.read(now, answer);
        Ok(Some(match self.pending {
            Some(_) => {
                ReadAnswer::Answer(SdpAnswer::from_sdp_string(&answer).map_err(without_address)?)
            }
            // The offer was text alone: str0m knows of none, and takes the answer as an offer.
            None => ReadAnswer::Offer(SdpOffer::from_sdp_string(&answer).map_err(without_address)?),
        }))
    }

    /// Take an answer that was checked.
    pub(crate) fn accept_answer(
        &mut self,
        plan: &CommitPlan,
        answer: Option<ReadAnswer>,
    ) -> Result<(), EngineError> {
        self.set_directions(&plan.directions, &plan.stopped);
        match (answer, self.pending.take()) {
            (Some(ReadAnswer::Answer(answer)), Some(pending)) => {
                self.rtc.sdp_api().accept_answer(pending, answer)?;
            }
            (Some(ReadAnswer::Offer(offer)), _) => {
                _ = self.rtc.sdp_api().accept_offer(offer)?;
            }
            (_, pending) => self.pending = pending,
        }
        Ok(())
    }

    /// str0m does not let a peer set a direction that it has itself made inactive; so it is set before.
    fn set_directions(&mut self, directions: &[(String, Direction)], stopped: &[String]) {
        for (mid, direction) in directions {
            let mid = Mid::from(mid.as_str());
            if self.rtc.media(mid).is_some_and(|media| !media.stopped()) {
                self.rtc.sdp_api().set_direction(mid, convert::direction(*direction));
            }
        }
        for mid in stopped {
            let mid = Mid::from(mid.as_str());
            if self.rtc.media(mid).is_some() {
                self.rtc.sdp_api().stop_media(mid);
            }
        }
    }

    /// Undo what an answered offer has added, and have media flow as it did.
    pub(crate) fn undo(&mut self, new_mids: &[String], directions: &[(String, Direction)]) {
        for mid in new_mids {
            self.rtc.direct_api().remove_media(Mid::from(mid.as_str()));
        }
        self.set_directions(directions, &[]);
    }
}

/// An offer of the peer's that the engine has read.
pub(crate) struct ReadOffer(SdpOffer);

/// An answer of the peer's that the engine has read.
pub(crate) enum ReadAnswer {
    Answer(SdpAnswer),
    Offer(SdpOffer),
}

/// The first line of such an error says where in memory.
fn without_address(error: SdpError) -> String {
    error.to_string().lines().skip(1).collect::<Vec<_>>().join("; ")
}
