//! Whether a negotiation is needed (W3C §4.7.3).

use super::check;
use super::transceiver::Transceiver;
use super::{Jsep, JsepEvent};
use crate::SdpType;
use crate::media::Direction;
use crate::sdp::Sdp;
use crate::state::SignalingState;

impl Jsep {
    /// Look whether one is needed, and tell once if so. Nothing is told before the round that is under way is over.
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
        let local = local.map(|local| Sdp::parse(&local.sdp));
        let remote = self.remote.as_ref().map(|remote| &remote.sdp);
        self.transceivers.iter().any(|one| match (&local, remote) {
            (Some(local), Some(remote)) => transceiver_needs(one, local, remote, answered),
            _ => !one.is_ending(),
        })
    }
}

fn transceiver_needs(one: &Transceiver, local: &Sdp, remote: &Sdp, answered: bool) -> bool {
    if one.stopped {
        return false;
    }
    let Some(mid) = &one.mid else { return !one.is_ending() };
    if one.stopping {
        return true;
    }
    let find = |sdp: &Sdp| sdp.media().iter().position(|section| section.mid() == Some(mid));
    let (Some(at), Some(there)) = (find(local), find(remote)) else { return true };
    let (ours, theirs) = (&local.media()[at], &remote.media()[there]);
    if check::is_rejected(local, ours) {
        return false;
    }
    if one.direction.sends() {
        let told = ours.attribute("msid");
        let wanted = one.msid.as_ref().map(|(stream, _)| stream.as_str());
        let told_stream = told.and_then(|msid| msid.split_ascii_whitespace().next());
        if told.is_none() && wanted.is_some() && !answered {
            return true;
        }
        if let (Some(told), Some(wanted)) = (told_stream, wanted)
            && told != wanted
        {
            return true;
        }
    }
    let ours = Direction::of_sdp(ours.direction());
    let theirs = Direction::of_sdp(theirs.direction()).reversed();
    if answered {
        // What the peer did not offer could not be answered; it can be offered.
        ours != one.direction.intersection(theirs)
            || (one.direction != ours
                && one.direction != theirs
                && one.direction.sends()
                && !ours.sends())
    } else {
        one.direction != ours && one.direction != theirs
    }
}
