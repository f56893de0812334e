//! What a participant is told once more, whose client may have missed some of it.

use super::{Output, Stage, find};
use crate::event::{MediaEvent, ParticipantId};

/// What actors of a participant are to tell once more.
#[derive(Debug, Default)]
pub(super) struct Retells {
    flows: bool,
    layers: bool,
}

impl Stage {
    /// Tells a participant once more of all tracks, of its slots, and of its own tracks.
    pub(crate) fn restate_to(&mut self, id: ParticipantId) {
        let Some(entry) = self.participants.get_mut(&id) else { return };
        entry.retells = Retells { flows: true, layers: true };
        let entry = &self.participants[&id];
        let tracks = self.tracks.iter().map(|track| &track.info);
        let others = tracks.filter(|it| it.participant != id && !entry.hidden.contains(&it.id));
        let others = MediaEvent::Tracks(others.cloned().collect());
        let slots = entry.slots.iter().map(|slot| {
            let mid = slot.mid.clone();
            match slot.track.and_then(|track| find(&self.tracks, track)) {
                Some(track) => MediaEvent::SlotBound { mid, track: track.info.clone() },
                None => MediaEvent::SlotUnbound { mid },
            }
        });
        let own = self.tracks_of(id).map(|track| MediaEvent::OwnTrackMuted {
            track: track.info.id,
            mid: track.info.mid.clone(),
            muted: entry.muted.contains(&track.info.id),
        });
        let events: Vec<_> = [others].into_iter().chain(slots).chain(own).collect();
        self.outputs.extend(events.into_iter().map(|event| Output::Tell(id, event)));
        // The actors say what only they know, after that.
        self.assign.insert(id);
        self.fan_out.insert(id);
    }

    /// Returns, once, whether a participant's subscriber tells once more what flows.
    pub(crate) fn retells_flows(&mut self, id: ParticipantId) -> bool {
        let entry = self.participants.get_mut(&id);
        entry.is_some_and(|entry| std::mem::take(&mut entry.retells.flows))
    }

    /// Returns, once, whether a participant's publisher tells once more which encodings are wanted.
    pub(crate) fn retells_layers(&mut self, id: ParticipantId) -> bool {
        let entry = self.participants.get_mut(&id);
        entry.is_some_and(|entry| std::mem::take(&mut entry.retells.layers))
    }
}
