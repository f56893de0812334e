//! Participants, tracks and slots of a media room: state that outlives the actors, and decides which track flows in
//! which slot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use callboard_peer_connection::{Rid, RtpCodecCapability, SenderId, TrackKind, TransceiverId};

use crate::core::rewrite::Position;
use crate::event::{MediaEvent, ParticipantId, TrackId, TrackInfo};

/// State of a media room.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    participants: BTreeMap<ParticipantId, Entry>,
    /// All tracks, in the order in which they were published.
    tracks: Vec<Track>,
    outputs: VecDeque<Output>,
    /// Participants whose subscribers, and whose publishers, must read the stage anew: once for any number of changes.
    assign: BTreeSet<ParticipantId>,
    fan_out: BTreeSet<ParticipantId>,
    /// Number of times that a slot became free.
    freed: u64,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    connected: bool,
    slots: Vec<Slot>,
    /// Tracks that the application has muted: they stay so when they are published anew.
    muted: BTreeSet<TrackId>,
}

/// A published track, with the payload types of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    pub(crate) info: TrackInfo,
    pub(crate) codecs: Arc<[(u8, RtpCodecCapability)]>,
    /// Encodings of simulcast, in the order of the offer; empty without it.
    pub(crate) encodings: Vec<Rid>,
}

/// Section of a participant's descriptions, as it was negotiated.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) transceiver: TransceiverId,
    pub(crate) sender: SenderId,
    pub(crate) mid: String,
    pub(crate) kind: TrackKind,
    /// Whether the participant sends in it, and so publishes a track.
    pub(crate) publishes: bool,
    /// Whether the participant receives in it: a slot.
    pub(crate) receives: bool,
    pub(crate) codecs: Arc<[(u8, RtpCodecCapability)]>,
    pub(crate) encodings: Vec<Rid>,
    /// Position of what has flowed in it to the participant before.
    pub(crate) position: Option<Position>,
}

/// Sending half of a section in which a client receives: a place for one track at a time.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) transceiver: TransceiverId,
    pub(crate) sender: SenderId,
    pub(crate) mid: String,
    pub(crate) kind: TrackKind,
    pub(crate) codecs: Arc<[(u8, RtpCodecCapability)]>,
    pub(crate) track: Option<TrackId>,
    /// When it became free last, in the order of all; 0 for never. Of free slots the oldest is taken, so that pictures
    /// of one participant seldom follow those of another at once.
    freed: u64,
    /// Position of the stream that flows in it, for the next instance of the subscriber.
    pub(crate) position: Arc<Mutex<Option<Position>>>,
}

/// Action that the stage requests of the room's actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Tell a participant's subscriber what its slots carry.
    Assign(ParticipantId),
    /// Tell a participant's publisher what it publishes, and who receives it.
    FanOut(ParticipantId),
    /// Tell a participant's application.
    Tell(ParticipantId, MediaEvent),
    /// Watch the participant's connection and actors.
    Watch(ParticipantId),
    /// Stop the actors of a participant that has left.
    Stop(ParticipantId),
}

impl Stage {
    /// Adds a participant. Returns whether it is new.
    pub(crate) fn join(&mut self, id: ParticipantId, name: Arc<str>) -> bool {
        if self.participants.contains_key(&id) {
            return false;
        }
        self.participants.insert(
            id,
            Entry { name, connected: false, slots: Vec::new(), muted: BTreeSet::new() },
        );
        self.outputs.push_back(Output::Watch(id));
        for track in &self.tracks {
            self.outputs.push_back(Output::Tell(id, MediaEvent::TrackAdded(track.info.clone())));
        }
        true
    }

    /// Removes a participant with its tracks. Returns whether it was there.
    pub(crate) fn leave(&mut self, id: ParticipantId) -> bool {
        let Some(gone) = self.participants.remove(&id) else { return false };
        // They keep nothing for the one that has left.
        let fed_by = gone.slots.iter().filter_map(|slot| find(&self.tracks, slot.track?));
        self.fan_out.extend(fed_by.map(|track| track.info.participant));
        self.unpublish(id, |_| true);
        self.outputs.push_back(Output::Stop(id));
        self.bind();
        true
    }

    /// Handles that a participant's path is up.
    pub(crate) fn connected(&mut self, id: ParticipantId) {
        if let Some(entry) = self.participants.get_mut(&id)
            && !entry.connected
        {
            entry.connected = true;
            self.assign.insert(id);
        }
    }

    /// Handles the result of a negotiation: what the participant sends is published, and where it receives are slots.
    pub(crate) fn negotiated(&mut self, id: ParticipantId, sections: &[Section]) {
        let Some(entry) = self.participants.get_mut(&id) else { return };
        let before = std::mem::take(&mut entry.slots);
        for section in sections.iter().filter(|section| section.receives) {
            let old = before.iter().find(|slot| slot.sender == section.sender);
            entry.slots.push(Slot {
                transceiver: section.transceiver,
                sender: section.sender,
                mid: section.mid.clone(),
                kind: section.kind,
                codecs: Arc::clone(&section.codecs),
                track: old.and_then(|old| old.track),
                freed: old.map_or(0, |old| old.freed),
                position: match old {
                    Some(old) => Arc::clone(&old.position),
                    None => Arc::new(Mutex::new(section.position)),
                },
            });
        }
        let kept =
            |slot: &&Slot| sections.iter().any(|one| one.receives && one.sender == slot.sender);
        for slot in before.iter().filter(|slot| slot.track.is_some() && !kept(slot)) {
            let unbound = MediaEvent::SlotUnbound { mid: slot.mid.clone() };
            self.outputs.push_back(Output::Tell(id, unbound));
        }
        let (name, muted) = (Arc::clone(&entry.name), entry.muted.clone());
        let published: Vec<_> = [TrackKind::Audio, TrackKind::Video]
            .into_iter()
            .flat_map(|kind| {
                let sent = sections.iter().filter(move |one| one.publishes && one.kind == kind);
                sent.take(MOST_TRACKS)
            })
            .collect();
        let published = || published.iter().copied();
        self.unpublish(id, |track| {
            !published().any(|section| TrackId(section.transceiver) == track)
        });
        for section in published() {
            let info = TrackInfo {
                id: TrackId(section.transceiver),
                participant: id,
                name: Arc::clone(&name),
                mid: section.mid.clone(),
                kind: section.kind,
                muted: muted.contains(&TrackId(section.transceiver)),
            };
            if let Some(track) = self.tracks.iter_mut().find(|track| track.info.id == info.id) {
                track.codecs = Arc::clone(&section.codecs);
                track.encodings.clone_from(&section.encodings);
                continue;
            }
            let others = self.participants.keys().filter(|&&other| other != id);
            let added = MediaEvent::TrackAdded(info.clone());
            self.outputs.extend(others.map(|&other| Output::Tell(other, added.clone())));
            let (codecs, encodings) = (Arc::clone(&section.codecs), section.encodings.clone());
            self.tracks.push(Track { info, codecs, encodings });
        }
        self.assign.insert(id);
        self.fan_out.insert(id);
        self.bind();
    }

    /// Mutes a track, or ends that. Returns whether there is such a track.
    pub(crate) fn mute(&mut self, id: TrackId, muted: bool) -> bool {
        let Some(track) = self.tracks.iter_mut().find(|track| track.info.id == id) else {
            return false;
        };
        if track.info.muted != muted {
            track.info.muted = muted;
            if let Some(entry) = self.participants.get_mut(&track.info.participant) {
                if muted {
                    entry.muted.insert(id)
                } else {
                    entry.muted.remove(&id)
                };
            }
            let told = self.participants.keys();
            self.outputs
                .extend(told.map(|&to| Output::Tell(to, MediaEvent::TrackMuted(id, muted))));
        }
        true
    }

    /// Asks for everything that actors must know anew, after the room's actor was restarted.
    pub(crate) fn restate(&mut self) {
        for (&id, entry) in &self.participants {
            self.outputs.push_back(Output::Watch(id));
            self.fan_out.insert(id);
            self.assign.insert(id);
            for slot in &entry.slots {
                if let Some(track) = slot.track.and_then(|track| find(&self.tracks, track)) {
                    let (mid, track) = (slot.mid.clone(), track.info.clone());
                    self.outputs.push_back(Output::Tell(id, MediaEvent::SlotBound { mid, track }));
                }
            }
        }
    }

    /// Returns the next action: applications are told before anything flows elsewhere.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let assign = |stage: &mut Self| stage.assign.pop_first().map(Output::Assign);
        let fan_out = |stage: &mut Self| stage.fan_out.pop_first().map(Output::FanOut);
        self.outputs.pop_front().or_else(|| assign(self)).or_else(|| fan_out(self))
    }

    pub(crate) fn contains(&self, id: ParticipantId) -> bool {
        self.participants.contains_key(&id)
    }

    pub(crate) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Returns the tracks of a participant.
    pub(crate) fn tracks_of(&self, id: ParticipantId) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(move |track| track.info.participant == id)
    }

    /// Returns the slots of a participant, each with its track; none of them before its path is up.
    pub(crate) fn slots_of(&self, id: ParticipantId) -> Vec<(Slot, Option<Track>)> {
        let entry = self.participants.get(&id).filter(|entry| entry.connected);
        let slots = entry.into_iter().flat_map(|entry| &entry.slots);
        slots
            .map(|slot| {
                let track = slot.track.and_then(|track| find(&self.tracks, track)).cloned();
                (slot.clone(), track)
            })
            .collect()
    }

    /// Returns the participants that receive any track of this one.
    pub(crate) fn viewers_of(&self, id: ParticipantId) -> Vec<ParticipantId> {
        let tracks: BTreeSet<_> = self.tracks_of(id).map(|track| track.info.id).collect();
        let views = |entry: &Entry| {
            entry.slots.iter().any(|slot| slot.track.is_some_and(|track| tracks.contains(&track)))
        };
        let viewers = self.participants.iter().filter(|(_, entry)| views(entry));
        viewers.map(|(&id, _)| id).collect()
    }

    /// Removes those tracks of a participant, first from the slots that carry them.
    fn unpublish(&mut self, id: ParticipantId, gone: impl Fn(TrackId) -> bool) {
        let (removed, kept): (Vec<_>, _) = std::mem::take(&mut self.tracks)
            .into_iter()
            .partition(|track| track.info.participant == id && gone(track.info.id));
        self.tracks = kept;
        for track in removed.iter().map(|track| track.info.id) {
            for (&viewer, entry) in &mut self.participants {
                for slot in entry.slots.iter_mut().filter(|slot| slot.track == Some(track)) {
                    slot.track = None;
                    self.freed += 1;
                    slot.freed = self.freed;
                    let unbound = MediaEvent::SlotUnbound { mid: slot.mid.clone() };
                    self.assign.insert(viewer);
                    self.outputs.push_back(Output::Tell(viewer, unbound));
                }
                if viewer != id {
                    self.outputs.push_back(Output::Tell(viewer, MediaEvent::TrackRemoved(track)));
                }
            }
        }
    }

    /// Binds tracks that no slot carries to slots that are free, for each participant; the oldest tracks first.
    fn bind(&mut self) {
        let mut fed = BTreeSet::new();
        for (&viewer, entry) in &mut self.participants {
            let carried: BTreeSet<_> = entry.slots.iter().filter_map(|slot| slot.track).collect();
            let mut free: Vec<_> = entry.slots.iter_mut().filter(|it| it.track.is_none()).collect();
            let before = free.len();
            let others = self.tracks.iter().map(|track| &track.info);
            let mut others =
                others.filter(|it| it.participant != viewer && !carried.contains(&it.id));
            // Most participants have none, or see all.
            while !free.is_empty()
                && let Some(track) = others.next()
            {
                let fitting = free.iter().enumerate().filter(|(_, slot)| slot.kind == track.kind);
                let Some((place, _)) = fitting.min_by_key(|(_, slot)| slot.freed) else { continue };
                let slot = free.remove(place);
                slot.track = Some(track.id);
                fed.insert(track.participant);
                let (mid, track) = (slot.mid.clone(), track.clone());
                self.outputs.push_back(Output::Tell(viewer, MediaEvent::SlotBound { mid, track }));
            }
            if free.len() < before {
                self.assign.insert(viewer);
            }
        }
        self.fan_out.append(&mut fed);
    }
}

fn find(tracks: &[Track], id: TrackId) -> Option<&Track> {
    tracks.iter().find(|track| track.info.id == id)
}

/// Tracks of a kind that a participant publishes at most: a camera, a screen, and two more. It can take no more of the
/// others' slots.
const MOST_TRACKS: usize = 4;

#[cfg(test)]
mod tests;
