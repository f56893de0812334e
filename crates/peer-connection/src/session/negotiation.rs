//! Offers and answers, and their effect on the engine.

use std::sync::Arc;
use std::time::Instant;

use super::{HandshakeProgress, Session, SessionOutput};
use crate::error::*;
use crate::event::{ConnectionEvent, FailureReason};
use crate::jsep::{AnswerPlan, Checked, Local, engine_mid};
use crate::media::*;
use crate::messages::{AcceptedOffer, TransceiverInfo};
use crate::state::*;
use crate::{SdpType, SessionDescription};

/// Record for undoing an answered offer of the peer in the engine.
#[derive(Clone, Debug)]
pub(super) struct Undo {
    /// Whether nothing had been negotiated: then the engine is created again.
    first: bool,
    new_mids: Vec<String>,
    directions: Vec<(String, Direction)>,
    /// Reason why it cannot be undone.
    obstacle: Option<&'static str>,
}

impl Session {
    pub(crate) fn create_offer(
        &mut self,
        ice_restart: bool,
    ) -> Result<SessionDescription, CreateOfferError> {
        if self.broken.is_some() {
            return Err(CreateOfferError::Closed);
        }
        let plan = self.jsep.plan_offer(ice_restart)?;
        let made = match plan.needs_engine() {
            true => Some(self.engine.create_offer(&plan).ok_or(CreateOfferError::TooMany)?),
            false => None,
        };
        let made = made.map(|(text, mids, ufrag)| {
            if let Some(ufrag) = ufrag {
                // The peer may use it in checks before its answer is here.
                self.add_ufrag(ufrag);
            }
            (text, mids)
        });
        Ok(self.jsep.offer_created(&plan, made))
    }

    pub(crate) fn create_answer(
        &mut self,
        now: Instant,
    ) -> Result<SessionDescription, CreateAnswerError> {
        if let Some(reason) = &self.broken {
            return Err(CreateAnswerError::Engine(reason.to_string()));
        }
        let plan = self.jsep.plan_answer()?;
        let undo = self.undo_of(&plan);
        // After the first round, extensions keep their places.
        if undo.first && self.engine.set_extensions(&plan.extensions) {
            self.rebuild(now);
        }
        // Nothing has changed yet.
        let offer = self.engine.read_offer(now, &plan).map_err(CreateAnswerError::Unreadable)?;
        let answered = offer.map(|offer| self.engine.accept_offer(&plan, offer)).transpose();
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                self.fail(FailureReason::Engine(error.0.clone()));
                self.update_states(now);
                return Err(CreateAnswerError::Engine(error.0));
            }
        };
        self.undo.get_or_insert(undo);
        let answer = self.jsep.answer_created(answer);
        let checked = self.jsep.remote().cloned();
        if let Some(checked) = checked {
            self.meet_remote(now, &checked, plan.restart);
        }
        self.bind();
        self.step(now);
        Ok(answer)
    }

    fn undo_of(&self, plan: &AnswerPlan) -> Undo {
        let directions =
            self.jsep.transceivers().iter().filter_map(|one| {
                Some((engine_mid(one.mid.as_deref()?).into_owned(), one.current?))
            });
        let obstacle = match plan {
            plan if plan.restart => Some("ICE restart"),
            plan if plan.new_data => Some("data section"),
            plan if plan.recycled => Some("recycled section"),
            _ => None,
        };
        Undo {
            first: self.jsep.current_remote().is_none(),
            new_mids: plan.new_mids.clone(),
            directions: directions.collect(),
            obstacle,
        }
    }

    /// Gives the engine the peer's transport and candidates.
    fn meet_remote(&mut self, now: Instant, checked: &Checked, restart: bool) {
        let Some(transport) = &checked.transport else { return };
        if restart {
            self.states.restarted(now);
            self.validated.clear();
        }
        self.states.begin(now);
        self.remote = Some(Arc::clone(transport));
        let ufrag = self.engine.local_ufrag();
        self.add_ufrag(ufrag);
        self.add_candidates_of(checked);
        self.add_waiting_candidates();
    }

    fn bind(&mut self) {
        let all = self.jsep.transceivers().iter();
        let bound: Vec<_> = all.filter_map(|one| Some((one.mid.clone()?, one.id))).collect();
        self.engine.bind(bound.iter().map(|(mid, id)| (mid.as_str(), *id)));
        self.largest_message = self.max_message_size();
    }

    pub(crate) fn set_local_description(
        &mut self,
        now: Instant,
        description: Option<SessionDescription>,
    ) -> Result<(), SetDescriptionError> {
        let description = self.implicit(now, description)?;
        let kind = description.kind;
        let answered = matches!(kind, SdpType::Answer | SdpType::ProvisionalAnswer);
        let tag = self.jsep.tag_in_force();
        if kind == SdpType::Rollback {
            self.roll_back(now, |jsep| jsep.set_local(SessionDescription::rollback()))?;
        } else {
            self.jsep.set_local(description)?;
        }
        if kind == SdpType::Answer {
            self.undo = None;
            if tag.is_some_and(|before| self.jsep.tag_in_force().is_some_and(|now| now != before)) {
                self.tag_stopped = Some(now);
            }
        }
        self.bind();
        self.gather();
        if answered {
            self.start_handshake();
        }
        self.step(now);
        Ok(())
    }

    /// Creates a description where W3C §4.4.1.5 has it implicit: without a description or without its text, by the
    /// signaling state.
    fn implicit(
        &mut self,
        now: Instant,
        description: Option<SessionDescription>,
    ) -> Result<SessionDescription, SetDescriptionError> {
        let wanted = description.as_ref().map(|description| description.kind);
        if let Some(description) = description
            && (!description.sdp.is_empty() || description.kind == SdpType::Rollback)
        {
            return Ok(description);
        }
        let answering = matches!(
            self.jsep.signaling(),
            SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer
        );
        let kind = wanted.unwrap_or(if answering { SdpType::Answer } else { SdpType::Offer });
        match kind {
            SdpType::Offer if !answering => Ok(self.create_offer(false)?),
            SdpType::Answer | SdpType::ProvisionalAnswer if answering => {
                let answer = self.create_answer(now)?;
                Ok(SessionDescription { kind, sdp: answer.sdp })
            }
            _ => Ok(SessionDescription { kind, sdp: String::new() }),
        }
    }

    pub(crate) fn set_remote_description(
        &mut self,
        now: Instant,
        description: SessionDescription,
    ) -> Result<(), SetDescriptionError> {
        if let Some(reason) = &self.broken {
            return Err(SetDescriptionError::Engine(reason.to_string()));
        }
        match description.kind {
            SdpType::Rollback => self.roll_back(now, |jsep| jsep.roll_back_remote())?,
            SdpType::Offer => {
                // A second offer replaces one that was answered: that one is undone first.
                if self.jsep.signaling() == SignalingState::HaveRemoteOffer && self.undo.is_some() {
                    self.roll_back(now, |jsep| jsep.roll_back_remote())?;
                }
                let had_offer = self.jsep.signaling() == SignalingState::HaveLocalOffer;
                self.jsep.set_remote_offer(description)?;
                if had_offer {
                    self.engine.forget_offer();
                }
            }
            SdpType::Answer | SdpType::ProvisionalAnswer => {
                let (checked, plan) = self.jsep.plan_remote_answer(&description)?;
                if description.kind == SdpType::ProvisionalAnswer {
                    self.jsep.set_remote_pranswer(description, checked);
                } else {
                    // Nothing has changed yet.
                    let answer =
                        self.engine.read_answer(now, &plan).map_err(DescriptionError::Syntax)?;
                    if let Err(error) = self.engine.accept_answer(&plan, answer) {
                        self.fail(FailureReason::Engine(error.0.clone()));
                        self.update_states(now);
                        return Err(SetDescriptionError::Engine(error.0));
                    }
                    self.jsep.set_remote_answer(description, checked.clone());
                    self.meet_remote(now, &checked, plan.restart);
                    self.bind();
                    self.start_handshake();
                }
            }
        }
        self.step(now);
        Ok(())
    }

    /// Makes an offer and sets it: the steps of setLocalDescription without a description, in `stable`.
    pub(crate) fn make_offer(
        &mut self,
        now: Instant,
    ) -> Result<SessionDescription, SetDescriptionError> {
        let state = self.jsep.signaling();
        if !matches!(state, SignalingState::Stable | SignalingState::Closed) {
            return Err(CreateOfferError::InvalidState(state).into());
        }
        self.set_local_description(now, None)?;
        Ok(self.with_candidates(self.jsep.local()).expect("an offer was set"))
    }

    /// Answers an offer: the steps of setRemoteDescription and setLocalDescription in one.
    pub(crate) fn accept_offer(
        &mut self,
        now: Instant,
        offer: SessionDescription,
    ) -> Result<AcceptedOffer, AcceptOfferError> {
        if offer.kind != SdpType::Offer {
            return Err(AcceptOfferError::NotAnOffer(offer.kind));
        }
        self.set_remote_description(now, offer).map_err(AcceptOfferError::Offer)?;
        self.set_local_description(now, None).map_err(AcceptOfferError::Answer)?;
        let answer = self.with_candidates(self.jsep.local()).expect("an answer was set");
        Ok(AcceptedOffer { answer, sections: self.jsep.answered_sections().clone() })
    }

    fn roll_back(
        &mut self,
        now: Instant,
        roll_back: impl FnOnce(&mut crate::jsep::Jsep) -> Result<(), SetDescriptionError>,
    ) -> Result<(), SetDescriptionError> {
        let undo = self.undo.clone();
        // In the other states it is refused below.
        if let (Some(undo), SignalingState::HaveRemoteOffer) = (&undo, self.jsep.signaling()) {
            let begun = self.handshake != HandshakeProgress::Waiting;
            let obstacle = if undo.first { begun.then_some("handshake") } else { undo.obstacle };
            if let Some(obstacle) = obstacle {
                return Err(SetDescriptionError::CannotRollBack(obstacle));
            }
        }
        roll_back(&mut self.jsep)?;
        self.engine.forget_offer();
        if let Some(undo) = undo {
            self.undo = None;
            if undo.first {
                self.rebuild(now);
            } else {
                self.engine.undo(&undo.new_mids, &undo.directions);
            }
        }
        self.bind();
        Ok(())
    }

    /// Creates the engine again, with nothing negotiated.
    fn rebuild(&mut self, now: Instant) {
        self.engine.rebuild(now);
        self.channels.rebuild(&mut self.engine);
        self.remote = None;
        self.candidates.forget_remote();
        let ufrag = self.engine.local_ufrag();
        self.add_ufrag(ufrag);
        for candidate in self.candidates.local() {
            self.engine.add_local_candidate(candidate.clone());
        }
        self.states.unbegin();
    }

    pub(crate) fn restart_ice(&mut self, now: Instant) {
        self.jsep.restart_ice();
        self.after(now, Ok(()));
    }

    /// Changes transceivers, and checks whether that needs a negotiation.
    pub(crate) fn change<R>(
        &mut self,
        now: Instant,
        change: impl FnOnce(&mut crate::jsep::Transceivers) -> R,
    ) -> R {
        let result = self.jsep.change(change);
        self.after(now, Ok(()));
        result
    }

    /// Sends a track, if the media engine has its codec.
    pub(crate) fn add_track(
        &mut self,
        now: Instant,
        track: LocalTrack,
    ) -> Result<SenderId, AddTrackError> {
        self.api.media_engine.check_track(&track)?;
        if self.is_closed() {
            return Err(AddTrackError::Closed);
        }
        self.change(now, |all| all.add_track(track))
    }

    pub(crate) fn add_transceiver(
        &mut self,
        now: Instant,
        kind: TrackKind,
        direction: Direction,
        track: Option<LocalTrack>,
        send_encodings: Vec<Rid>,
    ) -> Result<TransceiverId, AddTransceiverError> {
        if let Some(track) = &track {
            if track.codec.kind() != Some(kind) {
                return Err(AddTrackError::InvalidTrack(track.codec.mime_type.clone()).into());
            }
            self.api.media_engine.check_track(track)?;
        }
        if self.is_closed() {
            return Err(AddTransceiverError::Closed);
        }
        let twice = |(at, rid): (usize, &Rid)| send_encodings[..at].contains(rid);
        if send_encodings.iter().enumerate().any(twice) {
            return Err(crate::ParseRidError.into());
        }
        let mut new = crate::jsep::Transceiver::new(kind, direction);
        if let Some(track) = track {
            new = new.with_track(track);
        }
        new.send_encodings = send_encodings;
        let id = new.id;
        self.change(now, |all| {
            all.push(new);
        });
        Ok(id)
    }

    /// Restricts negotiation to codecs that the media engine has (W3C setCodecPreferences).
    pub(crate) fn set_codec_preferences(
        &mut self,
        now: Instant,
        transceiver: TransceiverId,
        codecs: Vec<RtpCodecCapability>,
    ) -> Result<(), TransceiverError> {
        let engine = &self.api.media_engine;
        let unknown = codecs.iter().find(|codec| !engine.has(codec) || codec.name().is_none());
        if let Some(codec) = unknown {
            return Err(TransceiverError::UnknownCodec(codec.mime_type.clone()));
        }
        self.change(now, |all| {
            all.usable(transceiver).map(|transceiver| transceiver.preferences = codecs)
        })
    }

    pub(crate) fn replace_track(
        &mut self,
        now: Instant,
        sender: SenderId,
        track: Option<LocalTrack>,
    ) -> Result<(), TransceiverError> {
        if self.is_closed() {
            return Err(TransceiverError::Closed);
        }
        let transceiver =
            self.jsep.transceivers().by_sender(sender).ok_or(TransceiverError::NotFound)?;
        let (id, negotiated) = (transceiver.id, transceiver.current.is_some_and(Direction::sends));
        if let Some(track) = &track
            && track.codec.kind() == Some(transceiver.kind)
            && negotiated
            && !self.engine.is_negotiated(id, &track.codec)
        {
            return Err(TransceiverError::NotNegotiated(track.codec.mime_type.clone()));
        }
        self.change(now, |all| all.replace_track(sender, track))
    }

    pub(crate) fn transceivers(&mut self) -> Vec<TransceiverInfo> {
        let engine = &mut self.engine;
        let info = |one: &crate::jsep::Transceiver| TransceiverInfo {
            id: one.id,
            sender: one.sender,
            mid: one.mid.clone(),
            kind: one.kind,
            direction: one.direction,
            current_direction: one.current,
            stopped: one.stopped,
            track: one.track.clone(),
            codecs: engine.codecs_of(one.id),
            encodings: one.receive_encodings.clone(),
        };
        self.jsep.transceivers().iter().map(info).collect()
    }

    /// Returns the largest message that is sent: what the peer accepts (RFC 8841 §6.1), and the engine holds at once.
    fn max_message_size(&self) -> usize {
        let remote = self.jsep.remote().map(|remote| &remote.sdp);
        let section = remote.and_then(|sdp| sdp.media().iter().find(|section| section.is_data()));
        let told = section.and_then(|section| section.attribute("max-message-size"));
        match told.and_then(|size| size.trim().parse::<usize>().ok()) {
            None => DEFAULT_MESSAGE_SIZE,
            Some(0) => usize::MAX,
            Some(size) => size,
        }
        .min(self.api.settings.max_buffered_amount)
        .min(self.api.sctp_buffer())
    }

    /// Returns a local description, with the candidates found so far if that is configured.
    pub(crate) fn with_candidates(&self, local: Option<&Local>) -> Option<SessionDescription> {
        let local = local?;
        if !self.api.settings.inline_candidates {
            return Some(local.description());
        }
        let section = self.jsep.transport_section().map_or(0, |(_, at)| usize::from(at));
        Some(local.with(|sdp| {
            let Some(section) = sdp.media_mut().get_mut(section) else { return };
            for candidate in self.candidates.local() {
                let text = candidate.to_sdp_string();
                let value = text.trim_start_matches("candidate:");
                section.push_attribute("candidate", Some(value));
            }
            if self.states.gathering == IceGatheringState::Complete {
                section.push_attribute("end-of-candidates", None);
            }
        }))
    }

    pub(super) fn tell(&mut self, event: ConnectionEvent) {
        self.output.push_back(SessionOutput::Event(event));
    }
}

/// Largest message for a peer that does not name one (RFC 8841 §6.1).
const DEFAULT_MESSAGE_SIZE: usize = 64 << 10;
