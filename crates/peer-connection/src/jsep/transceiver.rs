//! Transceivers, which the application and the descriptions change (W3C §5.4).

use std::collections::VecDeque;

use crate::error::{AddTrackError, TransceiverError};
use crate::media::*;

/// State of one transceiver.
#[derive(Clone, Debug)]
pub(crate) struct Transceiver {
    pub(crate) id: TransceiverId,
    pub(crate) sender: SenderId,
    pub(crate) kind: TrackKind,
    /// Its section's mid, once it has a section.
    pub(crate) mid: Option<String>,
    /// Direction that this side wants.
    pub(crate) direction: Direction,
    /// Negotiated direction.
    pub(crate) current: Option<Direction>,
    /// Direction that was last reported to the application.
    pub(crate) fired: Direction,
    pub(crate) track: Option<LocalTrack>,
    /// Stream and track ids, as the peer sees them; kept when the track is replaced.
    pub(crate) msid: Option<(String, String)>,
    /// Whether it has ever been negotiated to send (W3C: such a one is not used again by addTrack).
    pub(crate) has_sent: bool,
    pub(crate) stopping: bool,
    pub(crate) stopped: bool,
    pub(crate) preferences: Vec<RtpCodecCapability>,
    /// Simulcast encodings to send; empty without simulcast.
    pub(crate) send_encodings: Vec<Rid>,
    /// Simulcast encodings that the peer sends.
    pub(crate) receive_encodings: Vec<Rid>,
    /// Whether `addTrack` has created it: then a remote offer may use it for its own section.
    pub(crate) by_track: bool,
    /// Its state before this round, if this round has changed it.
    pub(crate) before: Option<Before>,
}

/// State of a transceiver before a round.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    pub(crate) mid: Option<String>,
    pub(crate) fired: Direction,
    pub(crate) stopping: bool,
    /// Whether the round has created it.
    pub(crate) created: bool,
}

impl Transceiver {
    pub(crate) fn new(kind: TrackKind, direction: Direction) -> Self {
        Self {
            id: TransceiverId::random(),
            sender: SenderId::random(),
            kind,
            mid: None,
            direction,
            current: None,
            fired: Direction::Inactive,
            track: None,
            msid: None,
            has_sent: false,
            stopping: false,
            stopped: false,
            preferences: Vec::new(),
            send_encodings: Vec::new(),
            receive_encodings: Vec::new(),
            by_track: false,
            before: None,
        }
    }

    pub(crate) fn with_track(mut self, track: LocalTrack) -> Self {
        self.msid = Some((track.stream_id.clone(), track.id.clone()));
        self.track = Some(track);
        self
    }

    /// Sends this track from now on. The peer sees it under the ids of the first one.
    pub(crate) fn attach(&mut self, track: LocalTrack) {
        self.msid.get_or_insert_with(|| (track.stream_id.clone(), track.id.clone()));
        self.track = Some(track);
    }

    /// Keeps the state before a description changes it.
    pub(crate) fn remember(&mut self) {
        if self.before.is_none() {
            self.before = Some(Before {
                mid: self.mid.clone(),
                fired: self.fired,
                stopping: self.stopping,
                created: false,
            });
        }
    }

    /// Returns whether it is stopped, or will be.
    pub(crate) fn is_ending(&self) -> bool {
        self.stopping || self.stopped
    }

    pub(crate) fn set_stopped(&mut self) {
        self.stopping = true;
        self.stopped = true;
        self.direction = Direction::Inactive;
        self.current = None;
    }
}

/// All transceivers of a connection, in the order of their creation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transceivers {
    all: VecDeque<Transceiver>,
}

impl Transceivers {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Transceiver> {
        self.all.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Transceiver> {
        self.all.iter_mut()
    }

    pub(crate) fn get(&self, id: TransceiverId) -> Option<&Transceiver> {
        self.all.iter().find(|one| one.id == id)
    }

    pub(crate) fn by_mid(&self, mid: &str) -> Option<&Transceiver> {
        self.all.iter().find(|one| one.mid.as_deref() == Some(mid))
    }

    pub(crate) fn by_mid_mut(&mut self, mid: &str) -> Option<&mut Transceiver> {
        self.all.iter_mut().find(|one| one.mid.as_deref() == Some(mid))
    }

    pub(crate) fn by_sender(&self, id: SenderId) -> Option<&Transceiver> {
        self.all.iter().find(|one| one.sender == id)
    }

    /// Returns a transceiver that can still be changed.
    pub(crate) fn usable(
        &mut self,
        id: TransceiverId,
    ) -> Result<&mut Transceiver, TransceiverError> {
        usable(self.all.iter_mut().find(|one| one.id == id))
    }

    /// Returns a transceiver that can still be changed, by its sender.
    pub(crate) fn usable_sender(
        &mut self,
        id: SenderId,
    ) -> Result<&mut Transceiver, TransceiverError> {
        usable(self.all.iter_mut().find(|one| one.sender == id))
    }

    pub(crate) fn push(&mut self, transceiver: Transceiver) -> &mut Transceiver {
        self.all.push_back(transceiver);
        self.all.back_mut().expect("one was pushed")
    }

    /// Removes the transceivers for which this is false.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Transceiver) -> bool) {
        self.all.retain(keep);
    }

    /// Sends a track: through a transceiver that has never sent, if there is one, else through a new one (W3C §5.1
    /// addTrack).
    pub(crate) fn add_track(&mut self, track: LocalTrack) -> Result<SenderId, AddTrackError> {
        let Some(kind) = track.codec.kind() else {
            return Err(AddTrackError::InvalidTrack(track.codec.mime_type));
        };
        if self.all.iter().any(|one| {
            !one.is_ending() && one.track.as_ref().is_some_and(|other| other.id == track.id)
        }) {
            return Err(AddTrackError::AlreadyAdded);
        }
        let free = self.all.iter_mut().find(|one| {
            one.kind == kind && one.track.is_none() && !one.is_ending() && !one.has_sent
        });
        let transceiver = match free {
            Some(free) => {
                free.direction = Direction::new(true, free.direction.receives());
                free.msid = Some((track.stream_id.clone(), track.id.clone()));
                free.track = Some(track);
                free
            }
            None => {
                let mut new = Transceiver::new(kind, Direction::SendRecv).with_track(track);
                new.by_track = true;
                self.push(new)
            }
        };
        Ok(transceiver.sender)
    }

    /// Stops sending a track (W3C §5.1 removeTrack).
    pub(crate) fn remove_track(&mut self, sender: SenderId) -> Result<(), TransceiverError> {
        let transceiver = self.usable_sender(sender)?;
        if transceiver.track.take().is_some() {
            transceiver.direction = Direction::new(false, transceiver.direction.receives());
        }
        Ok(())
    }

    /// Replaces the track by another, or by none (W3C §5.2 replaceTrack). The peer is not notified.
    pub(crate) fn replace_track(
        &mut self,
        sender: SenderId,
        track: Option<LocalTrack>,
    ) -> Result<(), TransceiverError> {
        let transceiver = self.usable_sender(sender)?;
        if let Some(track) = &track
            && track.codec.kind() != Some(transceiver.kind)
        {
            return Err(TransceiverError::OtherKind(match transceiver.kind {
                TrackKind::Audio => TrackKind::Video,
                TrackKind::Video => TrackKind::Audio,
            }));
        }
        match track {
            Some(track) => transceiver.attach(track),
            None => transceiver.track = None,
        }
        Ok(())
    }

    /// Sets the direction that this side wants.
    pub(crate) fn set_direction(
        &mut self,
        id: TransceiverId,
        direction: Direction,
    ) -> Result<(), TransceiverError> {
        self.usable(id)?.direction = direction;
        Ok(())
    }

    /// Stops a transceiver, at the next negotiation also for the peer (W3C §5.4 stop).
    pub(crate) fn stop(&mut self, id: TransceiverId) -> Result<(), TransceiverError> {
        let transceiver = self.all.iter_mut().find(|one| one.id == id);
        let transceiver = transceiver.ok_or(TransceiverError::NotFound)?;
        if !transceiver.is_ending() {
            transceiver.stopping = true;
            transceiver.direction = Direction::Inactive;
            // The peer does not know of it.
            if transceiver.mid.is_none() {
                transceiver.set_stopped();
            }
        }
        Ok(())
    }
}

fn usable(found: Option<&mut Transceiver>) -> Result<&mut Transceiver, TransceiverError> {
    match found {
        None => Err(TransceiverError::NotFound),
        Some(transceiver) if transceiver.is_ending() => Err(TransceiverError::Stopped),
        Some(transceiver) => Ok(transceiver),
    }
}
