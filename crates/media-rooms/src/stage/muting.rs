//! Tracks that the application has muted, when their participant goes on over another connection.

use std::collections::VecDeque;

use callboard_peer_connection::TrackKind;

use super::own::Own;
use super::{Entry, Section, Stage};
use crate::event::{ParticipantId, TrackId, TrackSource};
use crate::policy::ParticipantInfo;

/// Muted track, as another one of the same client is known by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MutedTrack {
    kind: TrackKind,
    source: Option<TrackSource>,
    mid: String,
}

/// Muted tracks of participants that have left, the earliest first: a client's next connection may come after the end
/// of the one before.
#[derive(Debug, Default)]
pub(super) struct LeftMuted(VecDeque<(ParticipantInfo, Vec<MutedTrack>)>);

impl Stage {
    /// Returns the tracks of a participant that the application has muted, and those that it has inherited and not
    /// published.
    fn muted_of(&self, entry: &Entry) -> Vec<MutedTrack> {
        let tracks = self.tracks_of(entry.info.id).map(|track| &track.info);
        let muted = tracks.filter(|track| entry.muted.contains(&track.id)).map(|track| {
            MutedTrack { kind: track.kind, source: track.source, mid: track.mid.clone() }
        });
        muted.chain(entry.inherited.iter().cloned()).collect()
    }

    /// Returns the muted tracks of a client that comes with another connection.
    pub(super) fn take_muted(&mut self, new: &ParticipantInfo) -> Vec<MutedTrack> {
        let (left, others) = std::mem::take(&mut self.left.0)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(left, _)| left.is_client_of(new));
        self.left.0 = others;
        let mut there = self.participants.values().filter(|it| it.info.is_client_of(new));
        match there.next() {
            Some(entry) => self.muted_of(entry),
            None => left.into_iter().next_back().map(|(_, muted)| muted).unwrap_or_default(),
        }
    }

    /// Keeps the muted tracks of a participant that leaves, unless its client has another connection already.
    pub(super) fn keep_muted(&mut self, id: ParticipantId) {
        let Some(entry) = self.participants.get(&id) else { return };
        let is_other = |it: &&Entry| it.info.id != id && it.info.is_client_of(&entry.info);
        let muted = self.muted_of(entry);
        if muted.is_empty() || self.participants.values().any(|it| is_other(&it)) {
            return;
        }
        let info = entry.info.clone();
        if self.left.0.len() >= MOST_KEPT {
            self.left.0.pop_front();
        }
        self.left.0.push_back((info, muted));
    }
}

/// Takes those of the muted tracks that these new sections go on with: of the same kind and source, in a section of the
/// same mid before any other. Returns their new tracks.
pub(super) fn inherit(muted: &mut Vec<MutedTrack>, new: &[&Section], own: &Own) -> Vec<TrackId> {
    let mut inherited = Vec::new();
    for same_mid in [true, false] {
        for section in new {
            let track = TrackId(section.transceiver);
            let source = own.source(&section.mid);
            let goes_on = |it: &MutedTrack| {
                it.kind == section.kind
                    && it.source == source
                    && (!same_mid || it.mid == section.mid)
            };
            if !inherited.contains(&track)
                && let Some(place) = muted.iter().position(goes_on)
            {
                muted.remove(place);
                inherited.push(track);
            }
        }
    }
    inherited
}

/// Participants with muted tracks that are remembered after they have left.
const MOST_KEPT: usize = 256;
