//! Recording of one participant: its tracks in one file, and another one where they change.

mod parts;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callboard_peer_connection::Codec;

use crate::core::frames::opus;
use crate::event::TrackId;
use crate::recorder::avc;
use crate::recorder::matroska::{Block, Entry, EntryCodec, Writer, is_webm};
use crate::tap::Frame;

use self::parts::Parts;

/// Recording of one participant.
#[derive(Debug)]
pub(crate) struct Recording {
    parts: Parts,
    /// Zero of all times in its files.
    origin: Instant,
    /// Length of a file from which another one is begun.
    longest: Duration,
    tracks: BTreeMap<TrackId, Track>,
    /// Frames that wait for the first ones of other tracks.
    held: Vec<(TrackId, Frame)>,
    held_bytes: usize,
    file: Option<Open>,
    /// Nothing is written before, after a fault of the disk.
    not_before: Option<Instant>,
    /// When a track's codec changed last.
    changed: Option<Instant>,
}

#[derive(Debug)]
struct Track {
    name: String,
    /// Codec of its frames; none before the first one.
    codec: Option<Codec>,
    /// What the file, or the next one, says of it; none before the frame with which the track can begin there.
    entry: Option<Entry>,
    /// Time of its latest block, in ms.
    last: u64,
}

/// File that is being written.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
    /// By their places in the file.
    tracks: Vec<TrackId>,
    begun: Instant,
}

/// What came of a frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// File that was begun.
    pub(crate) begun: Option<PathBuf>,
    /// Tracks for which the file needs a key frame.
    pub(crate) wanted: Vec<TrackId>,
}

/// Fault of the disk.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) error: io::Error,
    /// File that it has hit, and whether that is still there: one in which nothing can be played was removed.
    pub(crate) file: Option<(PathBuf, bool)>,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self { error, file: None }
    }
}

impl Recording {
    pub(crate) fn new(folder: &Path, stem: String, origin: Instant, longest: Duration) -> Self {
        Self {
            parts: Parts::new(folder, stem),
            origin,
            longest,
            tracks: BTreeMap::new(),
            held: Vec::new(),
            held_bytes: 0,
            file: None,
            not_before: None,
            changed: None,
        }
    }

    pub(crate) fn add(&mut self, track: TrackId, name: &str) {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        self.tracks.insert(track, Track { name, codec: None, entry: None, last: 0 });
    }

    /// Removes a track, with what is held written before. Returns the file that was begun for that.
    ///
    /// # Errors
    /// [`Fault`]
    pub(crate) fn remove(&mut self, track: TrackId) -> Result<Option<PathBuf>, Fault> {
        let begun = if self.held.is_empty() || !self.tracks.contains_key(&track) {
            Ok(None)
        } else {
            self.begin().map(Some)
        };
        self.tracks.remove(&track);
        if self.tracks.is_empty() {
            self.finish()?;
        }
        begun
    }

    /// Returns whether it has no tracks.
    pub(crate) fn is_over(&self) -> bool {
        self.tracks.is_empty()
    }

    /// Writes a frame, or holds it until it is known what the file has to have.
    ///
    /// # Errors
    /// [`Fault`]; what comes within the next 10 s is not recorded then.
    pub(crate) fn write(&mut self, id: TrackId, frame: &Frame) -> Result<Outcome, Fault> {
        let now = frame.captured;
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return Ok(Outcome::default());
        }
        self.try_write(id, frame).inspect_err(|_| self.not_before = Some(now + PAUSE))
    }

    /// Completes the file. Returns the one that was begun for what was held.
    ///
    /// # Errors
    /// [`Fault`]
    pub(crate) fn finish(&mut self) -> Result<Option<PathBuf>, Fault> {
        let begun = if self.held.is_empty() { None } else { Some(self.begin()?) };
        self.complete().map(|()| begun)
    }

    fn try_write(&mut self, id: TrackId, frame: &Frame) -> Result<Outcome, Fault> {
        let Some(track) = self.tracks.get_mut(&id) else { return Ok(Outcome::default()) };
        let is_other = track.codec != Some(frame.codec);
        if let Some(changed) = self.changed.filter(|_| is_other && track.codec.is_some())
            && frame.captured.saturating_duration_since(changed) < BETWEEN_CHANGES
        {
            return Ok(Outcome::default());
        }
        if !is_other && self.file.as_ref().is_some_and(|open| open.takes(id, frame, self.longest)) {
            return self.put(id, frame).map(|()| Outcome::default());
        }
        let entry = entry(&track.name, frame);
        if entry.is_none() && (is_other || track.entry.is_none()) {
            // Without what a decoder needs first. The next key frame has it.
            let wanted = if track.codec.is_some() && !frame.keyframe { vec![id] } else { vec![] };
            return Ok(Outcome { begun: None, wanted });
        }
        self.complete()?;
        self.hold(id, frame, entry);
        let Some((_, first)) = self.held.first() else {
            return Ok(Outcome { begun: None, wanted: self.wanted() });
        };
        let has_all = self.tracks.values().all(|track| track.entry.is_some());
        let is_late = frame.captured.saturating_duration_since(first.captured) > HELD
            || self.held.len() > MOST_HELD
            || self.held_bytes > MOST_HELD_BYTES;
        let begun = if has_all || is_late { Some(self.begin()?) } else { None };
        Ok(Outcome { begun, wanted: self.wanted() })
    }

    /// Holds a frame for the next file, if its track can begin there with it, or has begun.
    fn hold(&mut self, id: TrackId, frame: &Frame, entry: Option<Entry>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.codec.replace(frame.codec).is_some_and(|before| before != frame.codec) {
            self.changed = Some(frame.captured);
            // What is held of it is of the codec before.
            track.entry = None;
            self.held.retain(|(other, _)| *other != id);
            self.held_bytes = self.held.iter().map(|(_, frame)| frame.data.len()).sum();
        }
        if track.entry.is_none() {
            track.entry = entry;
        }
        if track.entry.is_some() {
            self.held_bytes += frame.data.len();
            self.held.push((id, frame.clone()));
        }
    }

    /// Returns the tracks that go on in the next file with a key frame.
    fn wanted(&self) -> Vec<TrackId> {
        let waits = |track: &Track| track.codec.is_some() && track.entry.is_none();
        self.tracks.iter().filter(|(_, track)| waits(track)).map(|(&id, _)| id).collect()
    }

    /// Begins a file with what is held.
    fn begin(&mut self) -> Result<PathBuf, Fault> {
        let known = self.tracks.iter();
        let known: Vec<_> =
            known.filter_map(|(&id, track)| Some((id, track.entry.clone()?))).collect();
        let (tracks, entries): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        let extension = if is_webm(&entries) { "webm" } else { "mkv" };
        let (file, path) = self.parts.create(extension).inspect_err(|_| self.forget_pictures())?;
        let writer = match Writer::begin(BufWriter::with_capacity(BUFFER, file), &entries) {
            Ok(writer) => writer,
            Err(error) => {
                self.forget_pictures();
                let is_there = self.parts.keep(&path, None);
                return Err(Fault { error, file: Some((path, is_there)) });
            }
        };
        let begun = held.first().map_or(self.origin, |(_, frame)| frame.captured);
        self.file = Some(Open { path: path.clone(), writer, tracks, begun });
        for (id, frame) in &held {
            self.put(*id, frame)?;
        }
        Ok(path)
    }

    /// Puts a frame into the file.
    fn put(&mut self, id: TrackId, frame: &Frame) -> Result<(), Fault> {
        let (Some(open), Some(track)) = (&mut self.file, self.tracks.get_mut(&id)) else {
            return Ok(());
        };
        let written = open.put(id, track, frame, self.origin);
        written.map_err(|error| self.give_up(error))
    }

    /// Completes the file. Pictures go on in the next one with a key frame.
    fn complete(&mut self) -> Result<(), Fault> {
        let Some(open) = &mut self.file else { return Ok(()) };
        let finished = open.writer.finish();
        if let Err(error) = finished {
            return Err(self.give_up(error));
        }
        self.forget_pictures();
        let Some(open) = self.file.take() else { return Ok(()) };
        let (file, _) = open.writer.out.into_parts();
        file.sync_data().map_err(|error| Fault { error, file: Some((open.path, true)) })
    }

    /// Ends the file that the disk does not take. What can be played of it stays.
    fn give_up(&mut self, error: io::Error) -> Fault {
        self.forget_pictures();
        let file = self.file.take().map(|open| {
            let playable = open.writer.playable();
            // Nothing more is written to it.
            drop(open.writer.out.into_parts());
            let is_there = self.parts.keep(&open.path, playable);
            (open.path, is_there)
        });
        Fault { error, file }
    }

    /// Forgets what was known of pictures, whose next key frame may say otherwise, and what was held.
    fn forget_pictures(&mut self) {
        for track in self.tracks.values_mut() {
            track.entry.take_if(|entry| entry.codec.is_video());
        }
        (self.held, self.held_bytes) = (Vec::new(), 0);
    }
}

impl Open {
    /// Returns whether a frame belongs into this file.
    fn takes(&self, id: TrackId, frame: &Frame, longest: Duration) -> bool {
        self.tracks.contains(&id) && frame.captured.saturating_duration_since(self.begun) <= longest
    }

    fn put(
        &mut self,
        id: TrackId,
        track: &mut Track,
        frame: &Frame,
        origin: Instant,
    ) -> io::Result<()> {
        let Some(place) = self.tracks.iter().position(|&other| other == id) else {
            return Ok(());
        };
        let is_video = frame.codec != Codec::Opus;
        let time = frame.captured.saturating_duration_since(origin).as_millis() as u64;
        // Two pictures at one time would be one.
        let time = time.max(if is_video && track.last > 0 { track.last + 1 } else { track.last });
        track.last = time;
        let converted;
        let data = if frame.codec == Codec::H264 {
            converted = avc::length_prefixed(&frame.data);
            &converted
        } else {
            &frame.data[..]
        };
        let lasts = if is_video { None } else { opus::duration(data) };
        let lasts = lasts.map_or(0, |lasts| lasts.as_millis() as u64);
        let block = Block { track: place, time, lasts, keyframe: frame.keyframe, data };
        self.writer.write(block, is_video)
    }
}

fn entry(name: &str, frame: &Frame) -> Option<Entry> {
    let codec = match frame.codec {
        Codec::Opus => EntryCodec::Opus,
        Codec::Vp8 => {
            let (width, height) = frame.size?;
            EntryCodec::Vp8 { width, height }
        }
        Codec::H264 => {
            let avc::Configuration { width, height, record } = avc::configuration(&frame.data)?;
            EntryCodec::H264 { width, height, configuration: record }
        }
        _ => return None,
    };
    Some(Entry { codec, name: name.to_owned() })
}

/// Time for which a file's first frames wait for the first one of another track: a camera is slower than a microphone.
const HELD: Duration = Duration::from_secs(3);
const MOST_HELD: usize = 1_000;
const MOST_HELD_BYTES: usize = 16 << 20;
/// Shortest time between two files that are begun because a track's codec has changed; until then its frames are left
/// out. A client that changed it with each frame would have a file for each.
const BETWEEN_CHANGES: Duration = Duration::from_secs(2);
/// Pause after a fault of the disk.
const PAUSE: Duration = Duration::from_secs(10);
/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;
/// Longest name of a track, in characters.
const LONGEST_NAME: usize = 40;

#[cfg(test)]
mod tests;
