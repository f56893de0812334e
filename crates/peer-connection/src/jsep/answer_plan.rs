//! Plans of what an answer changes in the engine: an answer of this side (RFC 8829 §5.3), or of the peer (§5.11).

use std::sync::Arc;

use super::checked::{Checked, Extensions};
use super::local_description::Described;
use super::names::section_name;
use super::rewriting::{self, Treatment};
use super::{AnsweredSections, Jsep, Transceiver, extensions, formats};
use crate::error::CreateAnswerError;
use crate::media::*;
use crate::sdp::{Sdp, Section};
use crate::state::SignalingState;
use crate::{SdpType, SessionDescription};

/// Plan of an answer, for the engine.
#[derive(Clone, Debug)]
pub(crate) struct AnswerPlan {
    /// The offer, narrowed to what this side wants of it; none if it has no media.
    pub(crate) offer: Option<String>,
    /// Directions of the sections, by the engine's mids.
    pub(crate) directions: Vec<(String, Direction)>,
    /// Whether this offer restarts ICE, or has the first section of data channels, or takes a rejected section's place:
    /// changes that the engine cannot undo.
    pub(crate) restart: bool,
    pub(crate) new_data: bool,
    pub(crate) recycled: bool,
    /// The engine's mids of sections that are new.
    pub(crate) new_mids: Vec<String>,
    /// Places that the engine must give header extensions.
    pub(crate) extensions: Option<Arc<Extensions>>,
}

/// Plan of a remote answer, for the engine.
#[derive(Clone, Debug)]
pub(crate) struct CommitPlan {
    /// The answer; none if it has no media.
    pub(crate) answer: Option<String>,
    pub(crate) directions: Vec<(String, Direction)>,
    /// The engine's mids of sections that have ended.
    pub(crate) stopped: Vec<String>,
    /// Whether the engine has made the offer. What was text alone, it takes as an offer of the peer.
    pub(crate) restart: bool,
}

impl Jsep {
    /// Plans how much of the remote offer is accepted.
    pub(crate) fn plan_answer(&self) -> Result<AnswerPlan, CreateAnswerError> {
        match self.signaling {
            SignalingState::Closed => return Err(CreateAnswerError::Closed),
            SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer => {}
            state => return Err(CreateAnswerError::InvalidState(state)),
        }
        let remote = self.remote_pending.as_ref().expect("there is an offer in these states");
        let before = self.current_local.as_ref().map(|local| &local.outline().sections);
        let was_active = |at: usize| {
            before.is_some_and(|before| before.get(at).is_some_and(|was| !was.is_rejected))
        };
        let mut plan = AnswerPlan {
            offer: None,
            directions: Vec::new(),
            restart: match (self.current_transport(), &remote.transport) {
                (Some(before), Some(now)) => {
                    (&before.ufrag, &before.password) != (&now.ufrag, &now.password)
                }
                _ => false,
            },
            new_data: false,
            recycled: false,
            new_mids: Vec::new(),
            extensions: remote.extensions.clone(),
        };
        let known_sections = before.map_or(0, |before| before.len());
        let setup = remote.transport.as_ref().and_then(|transport| transport.setup.as_deref());
        let setup = match setup {
            Some("actpass") if self.settings.answer_active => "passive",
            // RFC 4145 §4: an offer without `a=setup` is active.
            setup => setup.unwrap_or("active"),
        };
        let estimates = self.settings.estimates;
        let text =
            rewriting::for_engine(remote, self.remote.as_ref(), setup, estimates, |at, section| {
                let treatment = self.answer_section(remote, at, section, was_active(at));
                let Treatment::Taken(direction, _) = &treatment else { return treatment };
                let name = || section_name(at, section);
                if !was_active(at) {
                    plan.recycled |= at < known_sections;
                    if section.is_data() {
                        plan.new_data = true;
                    } else {
                        plan.new_mids.push(name());
                    }
                }
                if section.is_rtp() {
                    plan.directions.push((name(), direction.reversed()));
                }
                treatment
            });
        if remote.transport.is_some() {
            plan.offer = Some(text);
        }
        Ok(plan)
    }

    /// Narrows a section of an offer to what this side wants of it.
    fn answer_section(
        &self,
        remote: &Checked,
        at: usize,
        section: &Section,
        was_active: bool,
    ) -> Treatment {
        let offered = Direction::of_sdp(section.direction());
        if section.is_data() && was_active {
            // The engine cannot end it; the answer for the peer says otherwise.
            return Treatment::Taken(offered, None);
        }
        if !remote.facts[at].usable {
            return if section.is_rtp() && was_active {
                Treatment::Rejected
            } else {
                Treatment::Hidden
            };
        }
        if section.is_data() {
            return Treatment::Taken(offered, None);
        }
        let transceiver = section.mid().and_then(|mid| self.transceivers.by_mid(mid));
        match transceiver {
            Some(transceiver) if !transceiver.is_ending() => {
                let ours = offered.reversed().intersection(transceiver.direction);
                let kept = formats::preferred(section, &transceiver.preferences);
                Treatment::Taken(ours.reversed(), kept)
            }
            _ if was_active => Treatment::Rejected,
            _ => Treatment::Hidden,
        }
    }

    /// Returns the answer, made from the engine's text.
    pub(crate) fn answer_created(&mut self, engine: Option<String>) -> SessionDescription {
        let origin = self.next_version();
        let remote = self.remote_pending.as_ref().expect("there is an offer to answer");
        let mut sdp = match engine {
            Some(text) => Sdp::parse(&text),
            None => rewriting::empty(origin),
        };
        // Sections of an offer when none is accepted.
        if sdp.media().is_empty() {
            *sdp.media_mut() = remote.sdp.media().to_vec();
        }
        let mut bundle = Vec::new();
        let mut answered = AnsweredSections::default();
        let offered = remote.sdp.media().iter().zip(&remote.facts).enumerate();
        for (section, (at, (offered, facts))) in sdp.media_mut().iter_mut().zip(offered) {
            let mid = offered.mid();
            let told = mid.filter(|_| !facts.unnamed);
            if section.port() == Some(0) || remote.transport.is_none() || !facts.usable {
                *section = rewriting::rejected(offered, told);
                let transceiver = mid.and_then(|mid| self.transceivers.by_mid(mid));
                answered.reject(remote, at, transceiver.is_some_and(Transceiver::is_ending));
                continue;
            }
            answered.taken += 1;
            match told {
                Some(mid) => {
                    section.set_attribute("mid", mid);
                    bundle.push(mid);
                }
                None => section.remove_attributes("mid"),
            }
            rewriting::remove_candidates(section);
            rewriting::answer_profile(section, offered);
            extensions::answer(section, &remote.sdp, offered);
            // RFC 8285 §6: only if it was offered, and where it was offered.
            if offered.has("extmap-allow-mixed") {
                section.push_attribute("extmap-allow-mixed", None);
            }
            if section.is_rtp()
                && let Some(transceiver) = mid.and_then(|mid| self.transceivers.by_mid(mid))
            {
                // The engine answers by its own table, which may hold what this section did not offer.
                let is_offered = |format: &&str| offered.formats().any(|one| one == *format);
                let kept: Vec<String> =
                    section.formats().filter(is_offered).map(str::to_owned).collect();
                if !kept.is_empty() && kept.len() < section.formats().count() {
                    section.keep_formats(&kept);
                }
                let direction = Direction::of_sdp(section.direction());
                if !direction.receives() && !self.settings.estimates {
                    rewriting::remove_congestion_feedback(section);
                }
                rewriting::write_track(section, transceiver, direction.sends());
            }
        }
        // The answer has a group only if the offer has one.
        let bundle = remote.sdp.bundle().map(|_| bundle);
        rewriting::write_session(&mut sdp, origin, bundle.as_deref());
        if !remote.sdp.session().has("extmap-allow-mixed") {
            sdp.session_mut().remove_attributes("extmap-allow-mixed");
        }
        let described = Described::new(sdp, |at| {
            let facts = remote.facts.get(at).filter(|facts| facts.unnamed);
            facts.and(remote.sdp.media()[at].mid()).map(str::to_owned)
        });
        let answer = SessionDescription { kind: SdpType::Answer, sdp: described.sdp.to_string() };
        self.answered = answered;
        self.last_answer = Some(described);
        answer
    }

    /// Plans what the engine is given of an answer that was checked.
    pub(super) fn commit_plan(&self, checked: &Checked) -> CommitPlan {
        let offer = self.pending_local.as_ref().map(|offer| &offer.outline().sections[..]);
        let mut plan = CommitPlan {
            answer: None,
            directions: Vec::new(),
            stopped: Vec::new(),
            restart: self.offers_restart(),
        };
        let setup = checked.transport.as_ref().and_then(|transport| transport.setup.as_deref());
        // RFC 4145 §4: an answer without `a=setup` is passive.
        let setup = setup.unwrap_or("passive");
        let estimates = self.settings.estimates;
        let text = rewriting::for_engine(
            checked,
            self.remote.as_ref(),
            setup,
            estimates,
            |at, section| {
                let offered =
                    offer.and_then(|offer| offer.get(at)).filter(|part| !part.is_rejected);
                let theirs = Direction::of_sdp(section.direction());
                match offered {
                    Some(_) if section.is_data() => return Treatment::Taken(theirs, None),
                    _ if !section.is_rtp() => return Treatment::Hidden,
                    Some(offered) if !checked.facts[at].rejected => {
                        let agreed = theirs.reversed().intersection(offered.direction);
                        plan.directions.push((section_name(at, section), agreed));
                        return Treatment::Taken(agreed.reversed(), None);
                    }
                    _ => {}
                }
                plan.stopped.push(section_name(at, section));
                Treatment::Rejected
            },
        );
        if checked.transport.is_some() {
            plan.answer = Some(text);
        }
        plan
    }
}
