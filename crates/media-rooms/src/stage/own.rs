//! What a participant says of its own tracks: their sources, and which it has muted.

use std::collections::BTreeSet;

use super::{Entry, Output, Stage, find};
use crate::event::{MediaEvent, ParticipantId, TrackDescription, TrackId, TrackInfo, TrackSource};

/// What a participant has said.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    described: Vec<TrackDescription>,
    muted: BTreeSet<TrackId>,
}

impl Own {
    /// Notes a track that is about to be published, which may be muted from the beginning.
    pub(super) fn begin(&mut self, track: TrackId, mid: &str) {
        if let Some(told) = self.described.iter().find(|told| told.mid == mid) {
            set(&mut self.muted, track, told.muted);
        }
    }

    /// Returns what the track of a section shows or plays, as far as that is known.
    pub(super) fn source(&self, mid: &str) -> Option<TrackSource> {
        self.described.iter().find(|told| told.mid == mid)?.source
    }

    /// Describes a track.
    pub(super) fn describe(&self, mut track: TrackInfo) -> TrackInfo {
        if let Some(told) = self.described.iter().find(|told| told.mid == track.mid) {
            (track.source, track.metadata) = (told.source, told.metadata.clone());
        }
        track.muted |= self.muted.contains(&track.id);
        track
    }
}

impl Stage {
    /// Notes what a participant says of the tracks that its next offers publish.
    pub(crate) fn describe(&mut self, id: ParticipantId, described: Vec<TrackDescription>) {
        if let Some(entry) = self.participants.get_mut(&id) {
            entry.own.described = described;
        }
    }

    /// Mutes a track on behalf of its participant, or ends that. Returns whether it publishes such a track.
    pub(crate) fn mute_own(&mut self, id: ParticipantId, mid: &str, muted: bool) -> bool {
        let track = self.tracks_of(id).find(|track| track.info.mid == mid);
        let Some(track) = track.map(|track| track.info.id) else { return false };
        if let Some(entry) = self.participants.get_mut(&id) {
            set(&mut entry.own.muted, track, muted);
        }
        self.tell_muted(track);
        true
    }

    /// Mutes a track on behalf of the application, or ends that. Returns whether there is such a track.
    pub(crate) fn mute(&mut self, id: TrackId, muted: bool) -> bool {
        let Some(track) = find(&self.tracks, id) else { return false };
        let (participant, mid) = (track.info.participant, track.info.mid.clone());
        if let Some(entry) = self.participants.get_mut(&participant)
            && set(&mut entry.muted, id, muted)
        {
            let event = MediaEvent::OwnTrackMuted { track: id, mid, muted };
            self.outputs.push_back(Output::Tell(participant, event));
        }
        self.tell_muted(id);
        true
    }

    /// Tells all that a track is muted, or no longer, if that has changed.
    fn tell_muted(&mut self, id: TrackId) {
        let track = self.tracks.iter_mut().find(|track| track.info.id == id);
        let Some(info) = track.map(|track| &mut track.info) else { return };
        let entry = self.participants.get(&info.participant);
        let muted =
            entry.is_some_and(|entry| entry.muted.contains(&id) || entry.own.muted.contains(&id));
        if std::mem::replace(&mut info.muted, muted) != muted {
            self.tell_all(id, &MediaEvent::TrackMuted(id, muted));
            let carries = |entry: &Entry| entry.slots.iter().any(|slot| slot.track == Some(id));
            let viewers = self.participants.iter().filter(|(_, entry)| carries(entry));
            self.assign.extend(viewers.map(|(&viewer, _)| viewer));
        }
    }

    /// Tells all from which a track is not hidden.
    pub(super) fn tell_all(&mut self, track: TrackId, event: &MediaEvent) {
        let told = self.participants.iter().filter(|(_, entry)| !entry.hidden.contains(&track));
        self.outputs.extend(told.map(|(&to, _)| Output::Tell(to, event.clone())));
    }
}

/// Lets a set contain a track, or not. Returns whether that has changed.
fn set(set: &mut BTreeSet<TrackId>, id: TrackId, contains: bool) -> bool {
    if contains { set.insert(id) } else { set.remove(&id) }
}
