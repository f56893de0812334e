//! Begin and end of a round of offer and answer, for transceivers.

use super::checked::Checked;
use super::local_description::Part;
use super::{Jsep, JsepEvent, Transceiver, offer};
use crate::media::*;
use crate::sdp::{MediaKind, Section};
use crate::state::SignalingState;

impl Jsep {
    /// Ends a round (W3C §4.4.1.5, the steps that set a description of type "answer").
    pub(super) fn agree(&mut self) {
        self.pending_local = None;
        self.pending_remote = None;
        if let (Some(local), Some(mut remote)) = (self.current_local.take(), self.remote.take()) {
            let theirs = remote.sdp.media().iter().zip(&remote.facts);
            for (ours, (theirs, facts)) in local.outline().sections.iter().zip(theirs) {
                self.agree_on(ours, theirs, facts.rejected);
            }
            remote.settle();
            (self.current_local, self.remote) = (Some(local), Some(remote));
        }
        for transceiver in self.transceivers.iter_mut() {
            transceiver.before = None;
        }
        self.transceivers.retain(|one| !(one.stopped && one.mid.is_none()));
        self.offered = None;
        self.last_offer = None;
        self.last_answer = None;
        self.enter(SignalingState::Stable);
        self.needs_negotiation = false;
        self.update_needed();
    }

    fn agree_on(&mut self, ours: &Part, theirs: &Section, rejected: bool) {
        let mid = ours.mid.as_deref().or(theirs.mid()).unwrap_or_default();
        let Some(transceiver) = self.transceivers.by_mid_mut(mid) else { return };
        let id = transceiver.id;
        if ours.is_rejected || rejected {
            if !transceiver.stopped {
                transceiver.set_stopped();
                self.events.push_back(JsepEvent::TransceiverEnded { transceiver: id });
            }
            return self.fire_receiving(id, false, theirs);
        }
        let agreed = ours.direction.intersection(Direction::of_sdp(theirs.direction()).reversed());
        transceiver.current = Some(agreed);
        transceiver.has_sent |= agreed.sends();
        self.fire_receiving(id, agreed.receives(), theirs);
    }

    pub(super) fn assign_mids(&mut self, offered: &offer::Offered) {
        for transceiver in self.transceivers.iter_mut() {
            if let Some((_, mid)) = offered.mids.iter().find(|(id, _)| *id == transceiver.id) {
                transceiver.remember();
                transceiver.mid = Some(mid.clone());
            }
        }
    }

    /// Gives each section of a remote offer a transceiver (RFC 8829 §5.10).
    pub(super) fn meet_sections(&mut self, checked: &Checked) {
        for (section, facts) in checked.sdp.media().iter().zip(&checked.facts) {
            let (true, Some(mid)) = (section.is_rtp(), section.mid()) else { continue };
            let rejected = !facts.usable;
            if let Some(transceiver) = self.transceivers.by_mid_mut(mid) {
                if rejected && !transceiver.stopped {
                    transceiver.remember();
                    transceiver.stopping = true;
                }
                continue;
            }
            if rejected {
                continue;
            }
            let kind = match section.kind() {
                MediaKind::Audio => TrackKind::Audio,
                _ => TrackKind::Video,
            };
            let receives = Direction::of_sdp(section.direction()).reversed().sends();
            let free = self.transceivers.iter_mut().find(|one| {
                one.kind == kind && one.mid.is_none() && one.by_track && !one.is_ending()
            });
            match free {
                // Only where the peer is ready to receive.
                Some(free) if receives => {
                    free.remember();
                    free.mid = Some(mid.to_owned());
                }
                _ => {
                    let mut new = Transceiver::new(kind, Direction::RecvOnly);
                    new.remember();
                    if let Some(before) = &mut new.before {
                        before.created = true;
                    }
                    new.mid = Some(mid.to_owned());
                    self.transceivers.push(new);
                }
            }
        }
        for (section, facts) in checked.sdp.media().iter().zip(&checked.facts) {
            let Some(transceiver) = section.mid().and_then(|mid| self.transceivers.by_mid(mid))
            else {
                continue;
            };
            let sends = facts.usable
                && !transceiver.is_ending()
                && Direction::of_sdp(section.direction()).sends();
            self.fire_receiving(transceiver.id, sends, section);
        }
    }

    /// Reports that the peer sends, or no longer sends, through this transceiver.
    fn fire_receiving(&mut self, id: TransceiverId, receives: bool, section: &Section) {
        let Some(transceiver) = self.transceivers.iter_mut().find(|one| one.id == id) else {
            return;
        };
        if transceiver.fired.receives() == receives {
            return;
        }
        transceiver.remember();
        transceiver.fired = Direction::new(false, receives);
        if !receives {
            self.events.push_back(JsepEvent::TrackRemoved { transceiver: id });
            return;
        }
        let mut streams = Vec::new();
        let mut track = None;
        for msid in section.attributes("msid").take(MOST_STREAMS) {
            let mut words = msid.split_ascii_whitespace();
            streams.extend(words.next().filter(|stream| *stream != "-").map(str::to_owned));
            track = track.or(words.next().map(str::to_owned));
        }
        let encodings: Vec<Rid> = section
            .sent_encodings()
            .filter_map(|name| name.parse().ok())
            .take(MOST_ENCODINGS)
            .collect();
        transceiver.receive_encodings.clone_from(&encodings);
        self.events.push_back(JsepEvent::TrackAdded {
            transceiver: id,
            kind: transceiver.kind,
            mid: transceiver.mid.clone().unwrap_or_default(),
            track: track.unwrap_or_else(|| id.to_string()),
            streams,
            encodings,
        });
    }
}

/// Most streams of one track.
const MOST_STREAMS: usize = 16;
/// Most encodings of one track: as many as an engine is told of.
const MOST_ENCODINGS: usize = 16;
