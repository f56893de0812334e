//! Check for `negotiationneeded` (W3C §4.7.3).

use super::checked::Checked;
use super::local_description::Outline;
use super::transceiver::Transceiver;
use super::{Jsep, JsepEvent};
use crate::SdpType;
use crate::media::Direction;
use crate::state::SignalingState;

impl Jsep {
    /// Checks whether a negotiation is needed, and reports it once if so. Nothing is reported before the round under
    /// way is over.
    pub(super) fn update_needed(&mut self) {
        if self.signaling != SignalingState::Stable {
            return;
        }
        let needed = self.is_needed();
        if needed && !self.needs_negotiation {
            self.events.push_back(JsepEvent::NegotiationNeeded);
        }
        self.needs_negotiation = needed;
    }

    fn is_needed(&self) -> bool {
        if self.restart_wanted || (self.data_wanted && !self.has_data_section()) {
            return true;
        }
        let local = self.current_local.as_ref();
        let answered = local.is_some_and(|local| local.kind == SdpType::Answer);
        self.transceivers.iter().any(|one| match (local, &self.remote) {
            (Some(local), Some(remote)) => {
                transceiver_needs(one, local.outline(), remote, answered)
            }
            _ => !one.is_ending(),
        })
    }
}

fn transceiver_needs(one: &Transceiver, local: &Outline, remote: &Checked, answered: bool) -> bool {
    if one.stopped {
        return false;
    }
    let Some(mid) = &one.mid else { return !one.is_ending() };
    if one.stopping {
        return true;
    }
    let there = remote.sdp.media().iter().find(|section| section.mid() == Some(mid));
    let (Some(ours), Some(theirs)) = (local.by_mid(mid), there) else { return true };
    if ours.is_rejected {
        return false;
    }
    if one.direction.sends() {
        let wanted = one.msid.as_ref().map(|(stream, _)| stream.as_str());
        if ours.stream.is_none() && wanted.is_some() && !answered {
            return true;
        }
        if let (Some(told), Some(wanted)) = (ours.stream.as_deref(), wanted)
            && told != wanted
        {
            return true;
        }
    }
    let ours = ours.direction;
    let theirs = Direction::of_sdp(theirs.direction()).reversed();
    if answered {
        // A direction that the peer did not offer could not be answered; it can be offered.
        ours != one.direction.intersection(theirs)
            || (one.direction != ours
                && one.direction != theirs
                && one.direction.sends()
                && !ours.sends())
    } else {
        one.direction != ours && one.direction != theirs
    }
}
