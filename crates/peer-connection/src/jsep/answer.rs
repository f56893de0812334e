//! Making answers (RFC 8829 §5.3), and taking those of the peer (§5.11).

use super::Jsep;
use super::check::{self, Checked};
use super::text::{self, Fate};
use crate::error::CreateAnswerError;
use crate::media::*;
use crate::sdp::{Sdp, Section};
use crate::state::SignalingState;
use crate::{SdpType, SessionDescription};

/// What the engine is to answer to.
#[derive(Clone, Debug)]
pub(crate) struct AnswerPlan {
    /// The offer, narrowed to what this side wants of it; none if there is nothing in it.
    pub(crate) offer: Option<String>,
    /// Which way each section's media is to flow, by the engine's mids.
    pub(crate) directions: Vec<(String, Direction)>,
    /// Whether this offer restarts ICE, or has the first section of data channels, or takes a rejected section's
    /// place: what the engine cannot undo.
    pub(crate) restart: bool,
    pub(crate) new_data: bool,
    pub(crate) recycled: bool,
    /// The engine's mids of sections that are new.
    pub(crate) new_mids: Vec<String>,
}

/// What the engine is to know of an answer of the peer.
#[derive(Clone, Debug)]
pub(crate) struct CommitPlan {
    /// None if there is nothing in it.
    pub(crate) answer: Option<String>,
    pub(crate) directions: Vec<(String, Direction)>,
    /// The engine's mids of what has ended.
    pub(crate) stopped: Vec<String>,
    /// Whether the engine has made the offer. What was text alone, it takes as an offer of the peer.
    pub(crate) restart: bool,
}

impl Jsep {
    /// What of the remote offer is taken.
    pub(crate) fn plan_answer(&self) -> Result<AnswerPlan, CreateAnswerError> {
        match self.signaling {
            SignalingState::Closed => return Err(CreateAnswerError::Closed),
            SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer => {}
            state => return Err(CreateAnswerError::InvalidState(state)),
        }
        let remote = self.remote_pending.as_ref().expect("there is an offer in these states");
        let mids = text::engine_mids(&remote.sdp);
        let before = self.current_local.as_ref().map(|local| Sdp::parse(&local.sdp));
        let was_active = |at: usize| {
            before.as_ref().is_some_and(|before| {
                before.media().get(at).is_some_and(|was| !check::is_rejected(before, was))
            })
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
        };
        let known_sections = before.as_ref().map_or(0, |before| before.media().len());
        let mut sdp = text::for_engine(remote, |at, section| {
            let fate = self.answer_section(remote, at, section, was_active(at));
            if matches!(fate, Fate::Taken) && !was_active(at) {
                plan.recycled |= at < known_sections;
                if section.is_data() {
                    plan.new_data = true;
                } else {
                    plan.new_mids.push(mids[at].clone());
                }
            }
            if matches!(fate, Fate::Taken) && section.is_rtp() {
                let ours = Direction::of_sdp(section.direction()).reversed();
                plan.directions.push((mids[at].clone(), ours));
            }
            fate
        });
        if self.settings.answer_active {
            for section in sdp.media_mut() {
                if section.attribute("setup") == Some("actpass") {
                    section.set_attribute("setup", "passive");
                }
            }
            if sdp.session().attribute("setup") == Some("actpass") {
                sdp.session_mut().set_attribute("setup", "passive");
            }
        }
        if remote.transport.is_some() {
            plan.offer = Some(sdp.to_string());
        }
        Ok(plan)
    }

    /// Narrow a section of an offer to what this side wants of it.
    fn answer_section(
        &self,
        remote: &Checked,
        at: usize,
        section: &mut Section,
        was_active: bool,
    ) -> Fate {
        let original = &remote.sdp.media()[at];
        if section.is_data() && was_active {
            // The engine has no end for it; what the peer is told says otherwise.
            return Fate::Taken;
        }
        if !check::is_usable(&remote.sdp, original) {
            return if section.is_rtp() && was_active { Fate::Rejected } else { Fate::Hidden };
        }
        if section.is_data() {
            return Fate::Taken;
        }
        let transceiver = section.mid().and_then(|mid| self.transceivers.by_mid(mid));
        match transceiver {
            Some(transceiver) if !transceiver.is_ending() => {
                let offered = Direction::of_sdp(section.direction());
                let ours = offered.reversed().intersection(transceiver.direction);
                section.set_direction(ours.reversed().name());
                text::prefer(section, &transceiver.preferences);
                Fate::Taken
            }
            _ if was_active => Fate::Rejected,
            _ => Fate::Hidden,
        }
    }

    /// The answer, from the engine's text.
    pub(crate) fn answer_created(&mut self, engine: Option<String>) -> SessionDescription {
        let origin = self.next_version();
        let remote = self.remote_pending.as_ref().expect("there is an offer to answer");
        let mut sdp = match engine {
            Some(text) => Sdp::parse(&text),
            None => text::empty(origin),
        };
        // Sections of which nothing is taken.
        if sdp.media().is_empty() {
            *sdp.media_mut() = remote.sdp.media().to_vec();
        }
        let mut bundle = Vec::new();
        for (section, offered) in sdp.media_mut().iter_mut().zip(remote.sdp.media()) {
            let mid = offered.mid();
            if section.port() == Some(0)
                || remote.transport.is_none()
                || !check::is_usable(&remote.sdp, offered)
            {
                *section = text::rejected(offered, mid);
                continue;
            }
            match mid {
                Some(mid) => {
                    section.set_attribute("mid", mid);
                    bundle.push(mid);
                }
                None => section.remove_attributes("mid"),
            }
            text::remove_candidates(section);
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
                let sends = Direction::of_sdp(section.direction()).sends();
                text::write_track(section, transceiver, sends);
            }
        }
        // An answer has no group that its offer has not.
        let bundle = remote.sdp.bundle().map(|_| bundle);
        text::write_session(&mut sdp, origin, bundle.as_deref());
        let mut text = sdp.to_string();
        text.shrink_to_fit();
        self.last_answer = Some(text.clone());
        SessionDescription { kind: SdpType::Answer, sdp: text }
    }

    /// What the engine is to know of an answer that was checked.
    pub(super) fn commit_plan(&self, checked: &Checked) -> CommitPlan {
        let offer =
            self.pending_local.as_ref().map(|offer| Sdp::parse(&offer.sdp)).unwrap_or_default();
        let mids = text::engine_mids(&checked.sdp);
        let mut plan = CommitPlan {
            answer: None,
            directions: Vec::new(),
            stopped: Vec::new(),
            restart: self.offers_restart(),
        };
        let sdp = text::for_engine(checked, |at, section| {
            let offered = offer.media().get(at);
            let was_offered = offered.is_some_and(|offered| !check::is_rejected(&offer, offered));
            if section.is_data() && was_offered {
                return Fate::Taken;
            }
            if !section.is_rtp() {
                return Fate::Hidden;
            }
            if !was_offered || check::is_rejected(&checked.sdp, &checked.sdp.media()[at]) {
                plan.stopped.push(mids[at].clone());
                return Fate::Rejected;
            }
            let theirs = Direction::of_sdp(section.direction());
            let ours = Direction::of_sdp(offered.and_then(Section::direction));
            let agreed = theirs.reversed().intersection(ours);
            section.set_direction(agreed.reversed().name());
            plan.directions.push((mids[at].clone(), agreed));
            Fate::Taken
        });
        if checked.transport.is_some() {
            plan.answer = Some(sdp.to_string());
        }
        plan
    }
}
