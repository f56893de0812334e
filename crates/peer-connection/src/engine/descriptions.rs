//! Offers and answers of str0m.

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
    /// Creates an offer of what is new. Returns its text, the mids of its new media in order, and the user fragment of
    /// a restart.
    ///
    /// The offer before it is forgotten. Returns none when streams for placeholders have run out: str0m keeps those of
    /// forgotten offers.
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
            // There is nothing new: the caller has the text.
            return Some((String::new(), mids, None));
        };
        self.pending = Some(pending);
        Some((self.told(offer.to_sdp_string()), mids, ufrag))
    }

    /// Returns a stream that has no channel: str0m panics at one that is taken.
    fn take_placeholder(&mut self) -> Option<u16> {
        let free = (1..=self.placeholder).rev().find(|id| !self.declared.contains(id))?;
        self.placeholder = free - 1;
        Some(free)
    }

    /// Drops the pending offer of this side.
    pub(crate) fn forget_offer(&mut self) {
        self.pending = None;
    }

    /// Sets where the next offer needs header extensions. Returns whether that changes: then the engine must be created
    /// again, which is possible as long as nothing is negotiated.
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

    /// Reads an offer that was checked; none where the plan has none. An offer that cannot be read must go no further.
    pub(crate) fn read_offer(
        &mut self,
        now: Instant,
        plan: &AnswerPlan,
    ) -> Result<Option<ReadOffer>, String> {
        let read =
            |offer| SdpOffer::from_sdp_string(&self.read(now, offer)).map_err(without_address);
        Ok(plan.offer.as_deref().map(read).transpose()?.map(ReadOffer))
    }

    /// Answers an offer that was checked. The same offer may be answered again.
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

    /// Reads an answer that was checked, as [`Self::read_offer`] reads an offer.
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
            // The offer was text alone: str0m has no pending one, and takes the answer as an offer.
            None => ReadAnswer::Offer(SdpOffer::from_sdp_string(&answer).map_err(without_address)?),
        }))
    }

    /// Applies an answer that was checked.
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

    /// Sets directions before str0m sees a description: it does not let a peer set one that it has itself made
    /// inactive.
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

    /// Undoes what an answered offer has added, and restores the directions.
    pub(crate) fn undo(&mut self, new_mids: &[String], directions: &[(String, Direction)]) {
        for mid in new_mids {
            self.rtc.direct_api().remove_media(Mid::from(mid.as_str()));
        }
        self.set_directions(directions, &[]);
    }
}

/// Offer of the peer that the engine has read.
pub(crate) struct ReadOffer(SdpOffer);

/// Answer of the peer that the engine has read.
pub(crate) enum ReadAnswer {
    Answer(SdpAnswer),
    Offer(SdpOffer),
}

/// Returns the error's text without its first line, which contains a memory address.
fn without_address(error: SdpError) -> String {
    error.to_string().lines().skip(1).collect::<Vec<_>>().join("; ")
}
