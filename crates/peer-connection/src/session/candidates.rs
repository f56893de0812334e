//! Candidates of both sides: those in use, those that wait for their description, and those that are refused.

use std::net::{IpAddr, SocketAddr};

use callboard_transport::gather::{CandidateError, LocalCandidate, check_remote};

use super::{Session, SessionOutput};
use crate::IceCandidate;
use crate::engine::{Candidate, Engine};
use crate::error::AddIceCandidateError;
use crate::event::ConnectionEvent;
use crate::jsep::Checked;
use crate::sdp::{CandidateType, ParsedCandidate};
use crate::state::*;

/// Candidates of both sides.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    local: Vec<(Candidate, Option<String>)>,
    /// User fragment for which candidates were gathered.
    gathered_for: Option<String>,
    /// Candidates of the peer for a user fragment that is not in force yet.
    waiting: Vec<(RemoteCandidate, Candidate)>,
    /// Candidates of the peer in this generation.
    remote: Vec<RemoteCandidate>,
}

/// Candidate of the peer, for statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteCandidate {
    pub(crate) address: SocketAddr,
    pub(crate) kind: CandidateType,
    pub(crate) priority: u32,
    pub(crate) foundation: String,
    pub(crate) ufrag: Option<String>,
}

impl Candidates {
    pub(super) fn local(&self) -> impl Iterator<Item = &Candidate> {
        self.local.iter().map(|(candidate, _)| candidate)
    }

    /// Frees spare memory, once few more candidates are expected.
    pub(super) fn shrink(&mut self) {
        self.local.shrink_to_fit();
        self.waiting.shrink_to_fit();
        self.remote.shrink_to_fit();
    }

    /// Takes a candidate of the peer of the generation in force. Descriptions repeat candidates that are known.
    fn take(
        &mut self,
        engine: &mut Engine,
        current: Option<&str>,
        mut remote: RemoteCandidate,
        candidate: Candidate,
    ) {
        remote.ufrag = remote.ufrag.or(current.map(str::to_owned));
        if !self.remote.contains(&remote) {
            self.remote.push(remote);
            engine.add_remote_candidate(candidate);
        }
    }

    pub(super) fn forget_remote(&mut self) {
        self.waiting.clear();
        self.remote.clear();
    }
}

impl Session {
    /// Starts gathering, if that has not been done for the user fragment of the local description.
    pub(super) fn gather(&mut self) {
        let Some(ufrag) = self.jsep.local_ufrag().map(str::to_owned) else { return };
        if self.candidates.gathered_for.as_ref() == Some(&ufrag) {
            return;
        }
        self.candidates.gathered_for = Some(ufrag);
        self.states.all_local = false;
        let event = self.states.set_gathering(IceGatheringState::Gathering);
        self.output.extend(event.map(SessionOutput::Event));
        self.output.push_back(SessionOutput::Gather);
    }

    /// Adds a candidate of this side.
    pub(crate) fn add_local_candidate(&mut self, now: std::time::Instant, found: LocalCandidate) {
        self.engine.add_local_candidate(found.candidate.clone());
        let text = found.candidate.to_sdp_string();
        let url = found.url.map(|url| url.to_string());
        if !self.candidates.local.iter().any(|(known, _)| *known == found.candidate) {
            self.candidates.local.push((found.candidate, url));
        }
        let candidate = self.tell_candidate(text);
        self.tell(ConnectionEvent::IceCandidate(Some(candidate)));
        self.step(now);
    }

    fn tell_candidate(&self, candidate: String) -> IceCandidate {
        let (sdp_mid, index) = self.jsep.transport_section().unzip();
        IceCandidate {
            candidate,
            sdp_mid: sdp_mid.flatten(),
            sdp_m_line_index: index,
            username_fragment: self.candidates.gathered_for.clone(),
        }
    }

    /// Removes a candidate of this side.
    pub(crate) fn remove_local_candidate(
        &mut self,
        now: std::time::Instant,
        candidate: &Candidate,
    ) {
        self.engine.remove_local_candidate(candidate);
        self.candidates.local.retain(|(known, _)| known != candidate);
        self.step(now);
    }

    pub(crate) fn candidate_error(&mut self, error: CandidateError) {
        self.tell(ConnectionEvent::IceCandidateError(error));
    }

    /// Notes that gathering is complete.
    pub(crate) fn gathered(&mut self, now: std::time::Instant) {
        self.states.all_local = true;
        self.candidates.shrink();
        let end = self.tell_candidate(String::new());
        self.tell(ConnectionEvent::IceCandidate(Some(end)));
        let event = self.states.set_gathering(IceGatheringState::Complete);
        self.output.extend(event.map(SessionOutput::Event));
        self.tell(ConnectionEvent::IceCandidate(None));
        self.step(now);
    }

    /// Adds a candidate of the peer (W3C §4.4.2 addIceCandidate); `None`, or an empty one, means that there are no
    /// more.
    pub(crate) fn add_ice_candidate(
        &mut self,
        now: std::time::Instant,
        candidate: Option<IceCandidate>,
    ) -> Result<(), AddIceCandidateError> {
        use AddIceCandidateError as Error;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let Some(remote) = self.jsep.remote() else { return Err(Error::NoRemoteDescription) };
        let candidate = candidate.unwrap_or_default();
        let end = candidate.is_end_of_candidates();
        let media = remote.sdp.media();
        // webrtc-rs names its section by the index alone, with an empty mid beside it.
        let mid = candidate.sdp_mid.as_ref().filter(|mid| !mid.is_empty());
        let section = match (mid, candidate.sdp_m_line_index) {
            // Where the peer gave a section no mid in its description, its own program may still name one in
            // candidates.
            (Some(mid), index) => {
                let unnamed = index.is_some_and(|index| remote.is_unnamed(usize::from(index)));
                unnamed || media.iter().any(|section| section.mid() == Some(mid))
            }
            (None, Some(index)) => usize::from(index) < media.len(),
            (None, None) if end => true,
            (None, None) => return Err(Error::NoSection),
        };
        if !section {
            return Err(Error::UnknownSection);
        }
        let ufrag = candidate.username_fragment.clone();
        if end {
            let current = self.remote.as_ref().map(|remote| remote.ufrag.as_str());
            if ufrag.is_none() || ufrag.as_deref() == current {
                self.states.all_remote = true;
                self.step(now);
            }
            return Ok(());
        }
        self.take_candidate(&candidate.candidate, ufrag)?;
        self.step(now);
        Ok(())
    }

    /// Adds the candidates in a remote description.
    pub(super) fn add_candidates_of(&mut self, checked: &Checked) {
        let Some(section) = checked.transport_section() else { return };
        let session = checked.sdp.session();
        let found = section.attributes("candidate").chain(session.attributes("candidate"));
        let found = found.take(2 * REMOTE_CANDIDATES);
        let found: Vec<String> = found.map(|value| format!("candidate:{value}")).collect();
        for candidate in found {
            if let Err(error) = self.take_candidate(&candidate, None) {
                let id = self.id;
                log::debug!("{id}: a candidate in a remote description is not used: {error}");
            }
        }
        if section.has("end-of-candidates") || session.has("end-of-candidates") {
            self.states.all_remote = true;
        }
    }

    fn take_candidate(
        &mut self,
        text: &str,
        ufrag: Option<String>,
    ) -> Result<(), AddIceCandidateError> {
        use AddIceCandidateError as Error;
        let excerpt = || text.chars().take(80).collect::<String>();
        let Some(parsed) = ParsedCandidate::parse(text) else {
            if !ParsedCandidate::is_of_unknown_type(text) {
                return Err(Error::Syntax(excerpt()));
            }
            self.counters.candidates_ignored += 1;
            return Ok(());
        };
        // Not used here: host names are not resolved (a peer that hides its address behind one checks this side
        // anyway), an address with a zone belongs to a link of another machine, there is one component, and TCP is not
        // supported.
        let udp = parsed.transport.eq_ignore_ascii_case("udp");
        let (Ok(ip), 1, true) = (parsed.address.parse::<IpAddr>(), parsed.component, udp) else {
            self.counters.candidates_ignored += 1;
            return Ok(());
        };
        let address = SocketAddr::new(ip, parsed.port);
        if let Err(refused) = check_remote(address) {
            self.counters.candidates_refused += 1;
            return Err(refused.into());
        }
        if self.candidates.remote.len() + self.candidates.waiting.len() >= REMOTE_CANDIDATES {
            return Err(Error::TooMany);
        }
        let ufrag = ufrag.or(parsed.ufrag.map(str::to_owned));
        // Only these fields are of use, in this order; related addresses, which may be host names, are left out.
        let told = format!(
            "candidate:{} 1 udp {} {ip} {} typ {}",
            parsed.foundation,
            parsed.priority,
            parsed.port,
            parsed.kind.name()
        );
        let candidate = Candidate::from_sdp_string(&told).map_err(|_| Error::Syntax(excerpt()))?;
        let remote = RemoteCandidate {
            address,
            kind: parsed.kind,
            priority: parsed.priority,
            foundation: parsed.foundation.to_owned(),
            ufrag: ufrag.clone(),
        };
        let current = self.remote.as_ref().map(|remote| remote.ufrag.as_str());
        let in_force = match &ufrag {
            Some(ufrag) => current == Some(ufrag),
            // Without a user fragment it belongs to the description in force, or else to the next one.
            None => current.is_some() && self.jsep.signaling() != SignalingState::HaveRemoteOffer,
        };
        if in_force {
            self.candidates.take(&mut self.engine, current, remote, candidate);
        } else {
            self.candidates.waiting.push((remote, candidate));
        }
        Ok(())
    }

    /// Adds the candidates that came before the description to which they belong.
    pub(super) fn add_waiting_candidates(&mut self) {
        let Some(current) = self.remote.as_ref().map(|remote| remote.ufrag.as_str()) else {
            return;
        };
        for (remote, candidate) in std::mem::take(&mut self.candidates.waiting) {
            if remote.ufrag.as_ref().is_some_and(|ufrag| *ufrag != current) {
                self.candidates.waiting.push((remote, candidate));
            } else {
                self.candidates.take(&mut self.engine, Some(current), remote, candidate);
            }
        }
    }

    pub(crate) fn local_candidates(&self) -> impl Iterator<Item = (&Candidate, Option<&str>)> {
        self.candidates.local.iter().map(|(candidate, url)| (candidate, url.as_deref()))
    }

    pub(crate) fn remote_candidates(&self) -> &[RemoteCandidate] {
        &self.candidates.remote
    }
}

/// Most candidates of a peer; no honest peer has more.
const REMOTE_CANDIDATES: usize = 128;
