//! Participants, tracks and slots of a media room: state that outlives the actors, and decides which track flows in
//! which slot.

mod binding;
mod muting;
mod own;
mod restating;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use callboard_peer_connection::{Rid, RtpCodecCapability, SenderId, TrackKind, TransceiverId};

use crate::core::allocate::Wish;
use serde_json::Value;

use crate::core::rewrite::Position;
use crate::event::{MediaEvent, ParticipantId, TrackId, TrackInfo};
use crate::policy::{ParticipantInfo, Policy};
use crate::wishes::Wishes;
use binding::Activity;
use muting::{LeftMuted, MutedTrack};
use own::Own;
use restating::Retells;

/// State of a media room.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    policy: Policy,
    participants: BTreeMap<ParticipantId, Entry>,
    /// All tracks, in the order in which they were published.
    tracks: Vec<Track>,
    outputs: VecDeque<Output>,
    /// Participants whose subscribers, and whose publishers, must read the stage anew: once for any number of changes.
    assign: BTreeSet<ParticipantId>,
    fan_out: BTreeSet<ParticipantId>,
    /// Participants that publish what others wish anew; told a little later, once for many wishes.
    wished: BTreeSet<ParticipantId>,
    /// Number of times that a slot became free.
    freed: u64,
    activity: Activity,
    /// Participants whose slots are bound anew by their wishes, together with `wished`.
    rebound: BTreeSet<ParticipantId>,
    /// Muted tracks of those that have left, for those that come in their places.
    left: LeftMuted,
}

#[derive(Debug)]
struct Entry {
    info: ParticipantInfo,
    connected: bool,
    slots: Vec<Slot>,
    /// Sections in which it sends, as they were negotiated last.
    published: Vec<Section>,
    /// Those that the policy has refused.
    refused: BTreeSet<TrackId>,
    /// Tracks of others that the policy hides from it.
    hidden: BTreeSet<TrackId>,
    /// Tracks that the application has muted: they stay so when they are published anew.
    muted: BTreeSet<TrackId>,
    /// Tracks of the participant in whose place it has come that were muted, and that it has not published yet.
    inherited: Vec<MutedTrack>,
    wishes: Arc<Wishes>,
    own: Own,
    retells: Retells,
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
    /// Number of its stream among those of its kind: an audio and a video section of the same number are played in
    /// step.
    pub(crate) stream: usize,
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
    /// Number of its stream among those of its kind.
    stream: usize,
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
    /// Sets who may publish, and who receives what.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.review();
    }

    /// Adds a participant. Returns whether it is new.
    pub(crate) fn join(&mut self, info: ParticipantInfo) -> bool {
        let id = info.id;
        if self.participants.contains_key(&id) {
            return false;
        }
        let (slots, published, refused, hidden) = Default::default();
        let (connected, muted, own, wishes, retells) = Default::default();
        let inherited = self.take_muted(&info);
        let entry = Entry {
            info,
            connected,
            slots,
            published,
            refused,
            hidden,
            muted,
            inherited,
            own,
            wishes,
            retells,
        };
        self.participants.insert(id, entry);
        self.outputs.push_back(Output::Watch(id));
        let tracks: Vec<_> = self.tracks.iter().map(|track| track.info.clone()).collect();
        for track in &tracks {
            self.show(id, track);
        }
        true
    }

    /// Tells a participant of a track, unless the policy hides it.
    fn show(&mut self, viewer: ParticipantId, track: &TrackInfo) {
        let publisher = self.participants.get(&track.participant).map(|entry| entry.info.clone());
        let Some(entry) = self.participants.get_mut(&viewer) else { return };
        if publisher.is_some_and(|it| self.policy.may_receive(&entry.info, &it, track)) {
            entry.hidden.remove(&track.id);
            self.outputs.push_back(Output::Tell(viewer, MediaEvent::TrackAdded(track.clone())));
        } else {
            entry.hidden.insert(track.id);
        }
    }

    /// Asks the policy anew.
    pub(crate) fn review(&mut self) {
        let all: Vec<_> = self.participants.keys().copied().collect();
        for &id in &all {
            self.publish(id);
        }
        let tracks: Vec<_> = self.tracks.iter().map(|track| track.info.clone()).collect();
        for track in &tracks {
            let publisher = self.participants[&track.participant].info.clone();
            for &viewer in all.iter().filter(|&&viewer| viewer != track.participant) {
                let Some(entry) = self.participants.get_mut(&viewer) else { continue };
                let was_hidden = entry.hidden.contains(&track.id);
                match self.policy.may_receive(&entry.info, &publisher, track) {
                    true if was_hidden => self.show(viewer, track),
                    false if !was_hidden => {
                        entry.hidden.insert(track.id);
                        self.free(viewer, track.id);
                        self.fan_out.insert(track.participant);
                        let removed = MediaEvent::TrackRemoved(track.id);
                        self.outputs.push_back(Output::Tell(viewer, removed));
                    }
                    _ => {}
                }
            }
        }
        self.bind();
    }

    /// Returns the tracks that the policy hides from any participant.
    pub(crate) fn hidden(&self) -> BTreeSet<TrackId> {
        self.participants.values().flat_map(|entry| &entry.hidden).copied().collect()
    }

    /// Sets what the policy knows of a participant. Returns whether there is such a participant.
    pub(crate) fn set_metadata(&mut self, id: ParticipantId, metadata: Arc<Value>) -> bool {
        let Some(entry) = self.participants.get_mut(&id) else { return false };
        entry.info.metadata = metadata;
        self.review();
        true
    }

    /// Removes a participant with its tracks. Returns whether it was there.
    pub(crate) fn leave(&mut self, id: ParticipantId) -> bool {
        self.keep_muted(id);
        let Some(gone) = self.participants.remove(&id) else { return false };
        self.activity.forget(id);
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
                stream: section.stream,
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
            let track = slot.track.and_then(|track| find(&self.tracks, track));
            self.fan_out.extend(track.map(|track| track.info.participant));
        }
        entry.published = sections.iter().filter(|section| section.publishes).cloned().collect();
        self.publish(id);
        self.assign.insert(id);
        self.bind();
    }

    /// Publishes what a participant sends, as far as the policy lets it.
    fn publish(&mut self, id: ParticipantId) {
        let Some(entry) = self.participants.get_mut(&id) else { return };
        for section in &entry.published {
            let track = TrackId(section.transceiver);
            if find(&self.tracks, track).is_none() {
                entry.own.begin(track, &section.mid);
            }
        }
        let is_new =
            |section: &&Section| find(&self.tracks, TrackId(section.transceiver)).is_none();
        let new: Vec<_> = entry.published.iter().filter(is_new).collect();
        let inherited = muting::inherit(&mut entry.inherited, &new, &entry.own);
        entry.muted.extend(&inherited);
        let (info, muted, own) = (entry.info.clone(), entry.muted.clone(), entry.own.clone());
        let described = |section: &Section| {
            own.describe(TrackInfo {
                id: TrackId(section.transceiver),
                participant: id,
                name: Arc::clone(&info.name),
                mid: section.mid.clone(),
                kind: section.kind,
                muted: muted.contains(&TrackId(section.transceiver)),
                source: None,
                metadata: None,
            })
        };
        let (mut published, mut refused) = (Vec::new(), BTreeSet::new());
        for kind in [TrackKind::Audio, TrackKind::Video] {
            let sent = entry.published.iter().filter(|section| section.kind == kind);
            let mut sent: Vec<_> = sent.map(|one| (described(one), one.clone())).collect();
            sent.retain(|(track, section)| {
                let allowed = self.policy.may_publish(&info, track);
                if !allowed && refused.insert(track.id) && !entry.refused.contains(&track.id) {
                    let event = MediaEvent::Refused { mid: section.mid.clone(), kind };
                    self.outputs.push_back(Output::Tell(id, event));
                }
                allowed
            });
            published.extend(sent.into_iter().take(MOST_TRACKS));
        }
        entry.refused = refused;
        self.unpublish(id, |track| !published.iter().any(|(info, _)| info.id == track));
        for (info, section) in published {
            if let Some(track) = self.tracks.iter_mut().find(|track| track.info.id == info.id) {
                let is_changed = track.info != info;
                track.info.clone_from(&info);
                if track.codecs != section.codecs || track.encodings != section.encodings {
                    (track.codecs, track.encodings) = (section.codecs, section.encodings);
                    let carries = |slot: &Slot| slot.track == Some(info.id);
                    let viewers = self.participants.iter();
                    let viewers = viewers.filter(|(_, entry)| entry.slots.iter().any(carries));
                    self.assign.extend(viewers.map(|(viewer, _)| *viewer));
                }
                if is_changed {
                    self.tell_all(info.id, &MediaEvent::TrackChanged(info.clone()));
                }
                continue;
            }
            let others = self.participants.keys().copied().filter(|&other| other != id);
            for other in others.collect::<Vec<_>>() {
                self.show(other, &info);
            }
            if inherited.contains(&info.id) {
                let (track, mid) = (info.id, info.mid.clone());
                let event = MediaEvent::OwnTrackMuted { track, mid, muted: true };
                self.outputs.push_back(Output::Tell(id, event));
            }
            let (codecs, encodings) = (section.codecs, section.encodings);
            self.tracks.push(Track { info, codecs, encodings });
        }
        self.fan_out.insert(id);
    }

    /// Sets the wishes of a participant. Returns whether it is there.
    pub(crate) fn wish(&mut self, id: ParticipantId, wishes: Wishes) -> bool {
        let Some(entry) = self.participants.get_mut(&id) else { return false };
        if *entry.wishes != wishes {
            self.rebound.insert(id);
            entry.wishes = Arc::new(wishes);
            let tracks = entry.slots.iter().filter_map(|slot| find(&self.tracks, slot.track?));
            self.wished.extend(tracks.map(|track| track.info.participant));
        }
        true
    }

    /// Returns whether publishers are to be told of wishes.
    pub(crate) fn has_wished(&self) -> bool {
        !self.wished.is_empty() || !self.rebound.is_empty()
    }

    /// Lets publishers be told of the wishes that there are, and binds slots by them.
    pub(crate) fn tell_wishes(&mut self) {
        let rebound = std::mem::take(&mut self.rebound);
        self.bind_all(rebound);
        self.fan_out.append(&mut self.wished);
    }

    /// Returns the wishes of a participant.
    pub(crate) fn wishes_of(&self, id: ParticipantId) -> Arc<Wishes> {
        self.participants.get(&id).map(|entry| Arc::clone(&entry.wishes)).unwrap_or_default()
    }

    /// Returns the wishes of all participants that receive a track.
    pub(crate) fn wishes_for(&self, track: TrackId) -> Vec<Wish> {
        let entries = self.participants.values();
        let viewers = entries.filter(|it| it.slots.iter().any(|slot| slot.track == Some(track)));
        viewers.map(|entry| entry.wishes.of(track)).collect()
    }

    /// Returns the track that a slot of a participant carries.
    pub(crate) fn bound(&self, id: ParticipantId, sender: SenderId) -> Option<&TrackInfo> {
        let slots = &self.participants.get(&id)?.slots;
        let track = slots.iter().find(|slot| slot.sender == sender)?.track?;
        find(&self.tracks, track).map(|track| &track.info)
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
        let all: Vec<_> = self.participants.keys().copied().collect();
        for track in removed.iter().map(|track| track.info.id) {
            for &viewer in &all {
                self.free(viewer, track);
                let was_hidden =
                    self.participants.get_mut(&viewer).is_some_and(|it| it.hidden.remove(&track));
                if viewer != id && !was_hidden {
                    self.outputs.push_back(Output::Tell(viewer, MediaEvent::TrackRemoved(track)));
                }
            }
        }
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
