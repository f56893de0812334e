//! Which tracks flow in the slots of each participant: all, or where there are more than slots those that it wishes,
//! and of the others those whose participants have spoken last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use callboard_peer_connection::TrackKind;

use super::{Output, Slot, Stage, Track, find};
use crate::event::{MediaEvent, ParticipantId, TrackId, TrackInfo, TrackSource};

/// Who has spoken.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    /// When each participant began to dominate the conversation last, in the order of all.
    dominated: BTreeMap<ParticipantId, u64>,
    turns: u64,
    /// Voices that are not forwarded, because others are louder.
    quiet: BTreeSet<TrackId>,
}

impl Activity {
    pub(super) fn forget(&mut self, gone: ParticipantId) {
        self.dominated.remove(&gone);
    }

    /// Returns the rank of a track by what its participant has said; the lower comes first.
    pub(super) fn rank(&self, track: &TrackInfo) -> (bool, Reverse<u64>) {
        let spoke = self.dominated.get(&track.participant).copied().unwrap_or_default();
        (self.quiet.contains(&track.id), Reverse(spoke))
    }
}

impl Stage {
    /// Handles that a participant dominates the conversation. Returns whether another one did before.
    pub(crate) fn dominates(&mut self, speaker: ParticipantId) -> bool {
        let Activity { dominated, turns, .. } = &mut self.activity;
        if !self.participants.contains_key(&speaker)
            || *turns > 0 && dominated.get(&speaker) == Some(turns)
        {
            return false;
        }
        *turns += 1;
        dominated.insert(speaker, *turns);
        self.bind();
        true
    }

    /// Handles that these voices are not forwarded. Returns whether others were before.
    pub(crate) fn are_quiet(&mut self, quiet: &BTreeSet<TrackId>) -> bool {
        let is_other = self.activity.quiet != *quiet;
        if is_other {
            self.activity.quiet.clone_from(quiet);
            self.bind();
        }
        is_other
    }

    /// Takes a track from the slots of a participant that carry it.
    pub(super) fn free(&mut self, viewer: ParticipantId, track: TrackId) {
        let Some(entry) = self.participants.get_mut(&viewer) else { return };
        for slot in entry.slots.iter_mut().filter(|slot| slot.track == Some(track)) {
            slot.track = None;
            self.freed += 1;
            slot.freed = self.freed;
            let unbound = MediaEvent::SlotUnbound { mid: slot.mid.clone() };
            self.assign.insert(viewer);
            self.outputs.push_back(Output::Tell(viewer, unbound));
        }
    }

    /// Binds tracks to the slots of all participants.
    pub(super) fn bind(&mut self) {
        let viewers: Vec<_> = self.participants.keys().copied().collect();
        self.bind_all(viewers);
    }

    /// Binds tracks to the slots of these participants.
    pub(super) fn bind_all(&mut self, viewers: impl IntoIterator<Item = ParticipantId>) {
        let ranking = self.rank();
        viewers.into_iter().for_each(|viewer| self.bind_slots(viewer, &ranking));
    }

    /// Returns the places of all tracks, those first whose participants have dominated last: the same for all viewers,
    /// who may be hundreds.
    fn rank(&self) -> Vec<usize> {
        let mut ranking: Vec<usize> = (0..self.tracks.len()).collect();
        ranking.sort_by_cached_key(|&at| self.activity.rank(&self.tracks[at].info));
        ranking
    }

    /// Binds tracks to the slots of a participant. A track stays in its slot for as long as it is one of those that
    /// flow.
    fn bind_slots(&mut self, viewer: ParticipantId, ranking: &[usize]) {
        for kind in [TrackKind::Audio, TrackKind::Video] {
            let Some(entry) = self.participants.get(&viewer) else { return };
            let slots = || entry.slots.iter().filter(|slot| slot.kind == kind);
            let is_other = |it: &&TrackInfo| {
                it.kind == kind && it.participant != viewer && !entry.hidden.contains(&it.id)
            };
            let (count, is_full) = (slots().count(), slots().all(|slot| slot.track.is_some()));
            let mut others = self.tracks.iter().map(|track| &track.info).filter(is_other);
            let is_enough = others.clone().nth(count).is_none();
            if count == 0 || is_full && is_enough {
                // All that there are flow.
                continue;
            }
            let ranked = ranking.iter().map(|&at| &self.tracks[at].info).filter(is_other);
            let chosen: Vec<TrackId> = match entry.wishes.order_of(kind) {
                _ if is_enough => others.by_ref().map(|track| track.id).collect(),
                None => ranked.take(count).map(|track| track.id).collect(),
                Some(order) => {
                    let mut chosen: Vec<_> = ranked.map(|track| track.id).collect();
                    chosen.sort_by_cached_key(|track| order.place(*track));
                    chosen.truncate(count);
                    chosen
                }
            };
            let carried: Vec<_> = slots().filter_map(|slot| slot.track).collect();
            for dropped in carried.into_iter().filter(|track| !chosen.contains(track)) {
                let publisher = find(&self.tracks, dropped).map(|track| track.info.participant);
                self.fan_out.extend(publisher);
                self.free(viewer, dropped);
            }
            self.fill(viewer, &chosen);
        }
    }

    /// Binds those of these tracks that no slot of a participant carries to its free slots.
    fn fill(&mut self, viewer: ParticipantId, chosen: &[TrackId]) {
        let Some(entry) = self.participants.get_mut(&viewer) else { return };
        let carried: BTreeSet<_> = entry.slots.iter().filter_map(|slot| slot.track).collect();
        for id in chosen.iter().filter(|id| !carried.contains(id)) {
            let Some(Track { info, .. }) = find(&self.tracks, *id) else { continue };
            let free = entry.slots.iter().enumerate();
            let free = free.filter(|(_, slot)| slot.track.is_none() && slot.kind == info.kind);
            let best = free.min_by_key(|(_, slot)| {
                (company(&entry.slots, slot, info, &self.tracks), slot.freed)
            });
            let Some((place, _)) = best else { break };
            let slot = &mut entry.slots[place];
            slot.track = Some(info.id);
            self.fan_out.insert(info.participant);
            self.assign.insert(viewer);
            let (mid, track) = (slot.mid.clone(), info.clone());
            self.outputs.push_back(Output::Tell(viewer, MediaEvent::SlotBound { mid, track }));
        }
    }
}

/// How well a track fits a slot by what flows in the slot of the other kind with the same stream: browsers play the two
/// in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Company {
    /// The same participant's sound or picture.
    Own,
    /// Nothing.
    None,
    /// What the track does not belong to.
    Others,
}

fn company(slots: &[Slot], slot: &Slot, track: &TrackInfo, tracks: &[Track]) -> Company {
    let is_other_half = |it: &&Slot| it.kind != slot.kind && it.stream == slot.stream;
    let other = slots.iter().find(is_other_half).and_then(|it| find(tracks, it.track?));
    let is_screen = |info: &TrackInfo| info.source == Some(TrackSource::Screen);
    match other.map(|other| &other.info) {
        None => Company::None,
        Some(other)
            if other.participant == track.participant && is_screen(other) == is_screen(track) =>
        {
            Company::Own
        }
        Some(_) => Company::Others,
    }
}
