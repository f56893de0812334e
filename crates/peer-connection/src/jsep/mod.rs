//! State machine of the JavaScript Session Establishment Protocol (RFC 8829), in W3C's states: which descriptions may
//! be set when, and their effects.
//!
//! Pure: no engine, no clock, no I/O. What only an engine can write, the sections of new media, is passed in as text.

mod answer_plan;
mod check;
mod checked;
mod chosen;
mod extensions;
mod formats;
mod local_description;
mod names;
mod negotiation_needed;
mod offer;
mod rejected_sections;
mod rewriting;
mod round;
mod settle;
mod transceiver;

use std::collections::VecDeque;

pub(crate) use answer_plan::{AnswerPlan, CommitPlan};
pub(crate) use checked::{Checked, Extensions, RemoteTransport};
#[cfg(test)]
pub(crate) use chosen::KNOWN as KNOWN_EXTENSIONS;
pub(crate) use chosen::{Chosen, MID};
pub(crate) use local_description::Local;
pub(crate) use names::engine_mid;
pub(crate) use offer::OfferPlan;
pub use rejected_sections::{AnsweredSections, RejectedSection, RejectionReason};
pub(crate) use transceiver::{Transceiver, Transceivers};

use local_description::Described;

use crate::error::SetDescriptionError;
use crate::media::*;
use crate::state::SignalingState;
use crate::{SdpType, SessionDescription};

/// Effect of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JsepEvent {
    SignalingState(SignalingState),
    /// The peer sends this track from now on.
    TrackAdded {
        transceiver: TransceiverId,
        kind: TrackKind,
        mid: String,
        track: String,
        streams: Vec<String>,
        encodings: Vec<Rid>,
    },
    /// The peer no longer sends the track.
    TrackRemoved {
        transceiver: TransceiverId,
    },
    /// Either side has stopped the transceiver, and both know.
    TransceiverEnded {
        transceiver: TransceiverId,
    },
    NegotiationNeeded,
}

/// Side that a description describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Local,
    Remote,
}

/// Settings of local descriptions, and limits of remote ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Largest number of sections in a remote description.
    pub(crate) max_sections: usize,
    pub(crate) lite: bool,
    /// Whether answers to `actpass` take the active DTLS role.
    pub(crate) answer_active: bool,
    /// Whether to offer `a=setup:active`.
    pub(crate) offer_active: bool,
    /// Whether bandwidth to the peer is estimated, by its feedback.
    pub(crate) estimates: bool,
    /// Header extensions that may be agreed on.
    pub(crate) extensions: Chosen,
}

/// State machine of descriptions.
pub(crate) struct Jsep {
    settings: Settings,
    signaling: SignalingState,
    current_local: Option<Local>,
    pending_local: Option<Local>,
    current_remote: Option<SessionDescription>,
    pending_remote: Option<SessionDescription>,
    /// Remote descriptions after their check.
    remote: Option<Checked>,
    remote_pending: Option<Checked>,
    last_offer: Option<offer::Created>,
    last_answer: Option<Described>,
    answered: AnsweredSections,
    /// Effect of the pending offer: whether it restarts ICE, and the mids that it gives to transceivers.
    offered: Option<offer::Offered>,
    transceivers: Transceivers,
    /// Whether a data channel was created, so that there must be a section for data channels.
    data_wanted: bool,
    restart_wanted: bool,
    needs_negotiation: bool,
    session_id: u64,
    version: u64,
    events: VecDeque<JsepEvent>,
}

impl Jsep {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            signaling: SignalingState::Stable,
            current_local: None,
            pending_local: None,
            current_remote: None,
            pending_remote: None,
            remote: None,
            remote_pending: None,
            last_offer: None,
            last_answer: None,
            answered: AnsweredSections::default(),
            offered: None,
            transceivers: Transceivers::default(),
            data_wanted: false,
            restart_wanted: false,
            needs_negotiation: false,
            // 62 bits, as required by RFC 8829 §5.2.1.
            session_id: fastrand::u64(..) >> 2,
            version: 0,
            events: VecDeque::new(),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<JsepEvent> {
        let event = self.events.pop_front();
        if event.is_none() {
            self.events = VecDeque::new();
        }
        event
    }

    /// Returns whether media was ever to be sent or received.
    pub(crate) fn has_media(&self) -> bool {
        !self.transceivers.is_empty()
    }

    pub(crate) fn signaling(&self) -> SignalingState {
        self.signaling
    }

    pub(crate) fn transceivers(&self) -> &Transceivers {
        &self.transceivers
    }

    /// Changes transceivers, then checks whether that needs a negotiation.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut Transceivers) -> R) -> R {
        let result = change(&mut self.transceivers);
        self.update_needed();
        result
    }

    /// Notes that there is a data channel, or will be.
    pub(crate) fn want_data(&mut self) {
        self.data_wanted = true;
        self.update_needed();
    }

    /// Requests an ICE restart (W3C §4.4.2 restartIce).
    pub(crate) fn restart_ice(&mut self) {
        if self.current_local.is_some() {
            self.restart_wanted = true;
            self.update_needed();
        }
    }

    pub(crate) fn current_local(&self) -> Option<&Local> {
        self.current_local.as_ref()
    }

    pub(crate) fn pending_local(&self) -> Option<&Local> {
        self.pending_local.as_ref()
    }

    pub(crate) fn current_remote(&self) -> Option<&SessionDescription> {
        self.current_remote.as_ref()
    }

    /// Returns the remote description as it came: the pending one, else the current one.
    pub(crate) fn remote_description(&self) -> Option<&SessionDescription> {
        self.pending_remote.as_ref().or(self.current_remote.as_ref())
    }

    pub(crate) fn pending_remote(&self) -> Option<&SessionDescription> {
        self.pending_remote.as_ref()
    }

    /// Returns the local description: the pending one, else the current one.
    pub(crate) fn local(&self) -> Option<&Local> {
        self.pending_local.as_ref().or(self.current_local.as_ref())
    }

    /// Returns the user fragment of the local description.
    pub(crate) fn local_ufrag(&self) -> Option<&str> {
        self.local()?.outline().ufrag.as_deref()
    }

    /// Returns the remote description after its check: the pending one, else the current one.
    pub(crate) fn remote(&self) -> Option<&Checked> {
        self.remote_pending.as_ref().or(self.remote.as_ref())
    }

    /// Returns the remote transport in force.
    pub(crate) fn current_transport(&self) -> Option<&RemoteTransport> {
        self.remote.as_ref().and_then(|remote| remote.transport.as_deref())
    }

    /// Returns mid and number of the section that carries the candidates of all sections.
    pub(crate) fn transport_section(&self) -> Option<(Option<String>, u16)> {
        let mut sections = self.local()?.outline().sections.iter().enumerate();
        let (at, section) = sections.find(|(_, section)| !section.is_rejected)?;
        Some((section.mid.as_deref().map(str::to_owned), at as u16))
    }

    /// Returns the section of the BUNDLE tag, by the descriptions in force.
    pub(crate) fn tag_in_force(&self) -> Option<usize> {
        self.current_local.as_ref()?.outline().sections.iter().position(|one| !one.is_rejected)
    }

    /// Returns which sections the last answer of this side accepts, and which not.
    pub(crate) fn answered_sections(&self) -> &AnsweredSections {
        &self.answered
    }

    /// Returns whether the pending local description restarts ICE.
    pub(crate) fn offers_restart(&self) -> bool {
        self.offered.as_ref().is_some_and(|offered| offered.restart)
    }

    pub(crate) fn close(&mut self) {
        self.signaling = SignalingState::Closed;
        self.events.clear();
    }

    /// Sets a local description (W3C §4.4.1.5, RFC 8829 §5.9). An empty text stands for the one that was created last.
    pub(crate) fn set_local(
        &mut self,
        description: SessionDescription,
    ) -> Result<(), SetDescriptionError> {
        let SessionDescription { kind, sdp } = description;
        match kind {
            SdpType::Rollback => return self.roll_back(Side::Local),
            SdpType::Offer => {
                self.admit(
                    Side::Local,
                    kind,
                    &[SignalingState::Stable, SignalingState::HaveLocalOffer],
                )?;
                let created =
                    self.last_offer.clone().ok_or_else(|| self.refuse(Side::Local, kind))?;
                let described = created.described.given(&sdp)?;
                self.assign_mids(&created.offered);
                self.offered = Some(created.offered);
                self.pending_local = Some(Local { kind, described });
                self.enter(SignalingState::HaveLocalOffer);
            }
            SdpType::Answer | SdpType::ProvisionalAnswer => {
                let states = [SignalingState::HaveRemoteOffer, SignalingState::HaveLocalPranswer];
                self.admit(Side::Local, kind, &states)?;
                let created =
                    self.last_answer.clone().ok_or_else(|| self.refuse(Side::Local, kind))?;
                let local = Local { kind, described: created.given(&sdp)? };
                if kind == SdpType::ProvisionalAnswer {
                    self.pending_local = Some(local);
                    self.enter(SignalingState::HaveLocalPranswer);
                } else {
                    self.current_local = Some(local);
                    self.current_remote = self.pending_remote.take();
                    self.remote = self.remote_pending.take();
                    self.agree();
                }
            }
        }
        Ok(())
    }

    /// Sets a remote offer (RFC 8829 §5.10). The engine gets it when it is answered.
    pub(crate) fn set_remote_offer(
        &mut self,
        description: SessionDescription,
    ) -> Result<(), SetDescriptionError> {
        let states = [
            SignalingState::Stable,
            SignalingState::HaveLocalOffer,
            SignalingState::HaveRemoteOffer,
        ];
        self.admit(Side::Remote, description.kind, &states)?;
        let known = check::Known {
            local: self.current_local.as_ref().map(Local::outline),
            remote: self.remote.as_ref(),
            restart_offered: false,
            lite: self.settings.lite,
            max_sections: self.settings.max_sections,
            extensions: self.settings.extensions,
        };
        let checked = check::offer(&description.sdp, &known)?;
        // Both sides have offered: the local offer is rolled back (W3C §4.4.1.5, "implicit rollback").
        if self.signaling == SignalingState::HaveLocalOffer {
            self.roll_back(Side::Local)?;
        }
        self.last_answer = None;
        self.meet_sections(&checked);
        self.pending_remote = Some(description);
        self.remote_pending = Some(checked);
        self.enter(SignalingState::HaveRemoteOffer);
        Ok(())
    }

    /// Checks a remote answer, and plans what the engine is given of it.
    pub(crate) fn plan_remote_answer(
        &self,
        description: &SessionDescription,
    ) -> Result<(Checked, CommitPlan), SetDescriptionError> {
        let states = [SignalingState::HaveLocalOffer, SignalingState::HaveRemotePranswer];
        self.admit(Side::Remote, description.kind, &states)?;
        let known = check::Known {
            local: self.pending_local.as_ref().map(Local::outline),
            remote: self.remote.as_ref(),
            restart_offered: self.offers_restart(),
            lite: self.settings.lite,
            max_sections: self.settings.max_sections,
            extensions: self.settings.extensions,
        };
        let checked = check::answer(&description.sdp, &known)?;
        let plan = self.commit_plan(&checked);
        Ok((checked, plan))
    }

    /// Sets a provisional remote answer: it is kept, and has no effect before the final one.
    pub(crate) fn set_remote_pranswer(
        &mut self,
        description: SessionDescription,
        checked: Checked,
    ) {
        self.pending_remote = Some(description);
        self.remote_pending = Some(checked);
        self.enter(SignalingState::HaveRemotePranswer);
    }

    /// Sets a remote answer that the engine has accepted.
    pub(crate) fn set_remote_answer(&mut self, description: SessionDescription, checked: Checked) {
        self.current_remote = Some(description);
        self.current_local = self.pending_local.take();
        self.pending_remote = None;
        self.remote_pending = None;
        self.remote = Some(checked);
        if self.offers_restart() {
            self.restart_wanted = false;
        }
        self.agree();
    }

    /// Sets `{"type": "rollback"}` as a remote description.
    pub(crate) fn roll_back_remote(&mut self) -> Result<(), SetDescriptionError> {
        self.roll_back(Side::Remote)
    }

    /// Rolls back the offer of this round.
    fn roll_back(&mut self, side: Side) -> Result<(), SetDescriptionError> {
        // W3C §4.4.1.5: not in `stable`, nor once there is a provisional answer.
        self.admit(
            side,
            SdpType::Rollback,
            &[SignalingState::HaveLocalOffer, SignalingState::HaveRemoteOffer],
        )?;
        let mut events = Vec::new();
        for transceiver in self.transceivers.iter_mut() {
            let Some(before) = transceiver.before.take() else { continue };
            if before.fired.receives() != transceiver.fired.receives() {
                events.push((transceiver.id, before.fired.receives()));
            }
            transceiver.mid = before.mid;
            transceiver.stopping = transceiver.stopping && before.stopping;
            transceiver.fired = before.fired;
            if before.created {
                // Kept only if the application has given it a track to send.
                transceiver.by_track = transceiver.track.is_some();
                transceiver.stopped = transceiver.track.is_none();
            }
        }
        for (transceiver, receives) in events {
            if !receives {
                self.events.push_back(JsepEvent::TrackRemoved { transceiver });
            }
        }
        self.transceivers.retain(|one| !(one.stopped && one.mid.is_none()));
        self.pending_local = None;
        self.pending_remote = None;
        self.remote_pending = None;
        self.offered = None;
        self.last_answer = None;
        self.last_offer = None;
        self.enter(SignalingState::Stable);
        self.needs_negotiation = false;
        self.update_needed();
        Ok(())
    }

    fn admit(
        &self,
        side: Side,
        kind: SdpType,
        states: &[SignalingState],
    ) -> Result<(), SetDescriptionError> {
        if self.signaling == SignalingState::Closed {
            return Err(SetDescriptionError::Closed);
        }
        if states.contains(&self.signaling) { Ok(()) } else { Err(self.refuse(side, kind)) }
    }

    fn refuse(&self, side: Side, kind: SdpType) -> SetDescriptionError {
        if self.signaling == SignalingState::Closed {
            return SetDescriptionError::Closed;
        }
        let side = match side {
            Side::Local => "local",
            Side::Remote => "remote",
        };
        SetDescriptionError::InvalidState { side, kind, state: self.signaling }
    }

    fn enter(&mut self, state: SignalingState) {
        if std::mem::replace(&mut self.signaling, state) != state {
            self.events.push_back(JsepEvent::SignalingState(state));
        }
    }

    fn next_version(&mut self) -> (u64, u64) {
        self.version += 1;
        (self.session_id, self.version)
    }
}
