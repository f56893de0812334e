//! Recording of one participant: its tracks in one file, and another one where they change.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callboard_peer_connection::Codec;

use crate::core::frames::opus;
use crate::event::TrackId;
use crate::recorder::avc;
use crate::recorder::matroska::{Block, Entry, EntryCodec, Writer, is_webm};
use crate::tap::Frame;

/// Recording of one participant.
#[derive(Debug)]
pub(crate) struct Recording {
    folder: PathBuf,
    /// First part of the names of its files.
    stem: String,
    /// Zero of all times in its files.
    origin: Instant,
    /// Length of a file from which another one is begun.
    longest: Duration,
    /// Number of its latest file.
    part: u32,
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
    /// None before its first frame.
    entry: Option<Entry>,
    /// Time of its latest block, in ms.
    last: u64,
}

/// File that is being written.
#[derive(Debug)]
struct Open {
    writer: Writer<BufWriter<File>>,
    /// By their places in the file; with what is to come before frames are written: a key frame.
    tracks: Vec<(TrackId, bool)>,
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

impl Recording {
    pub(crate) fn new(folder: &Path, stem: String, origin: Instant, longest: Duration) -> Self {
        let folder = folder.to_owned();
        Self {
            folder,
            stem,
            origin,
            longest,
            part: 0,
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
        self.tracks.insert(track, Track { name, entry: None, last: 0 });
    }

    /// Removes a track, with what is held written before. Returns the file that was begun for that.
    ///
    /// # Errors
    /// [`io::Error`]
    pub(crate) fn remove(&mut self, track: TrackId) -> io::Result<Option<PathBuf>> {
        let begun = if self.held.is_empty() || !self.tracks.contains_key(&track) {
            Ok(None)
        } else {
            self.begin().map(|outcome| outcome.begun)
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
    /// [`io::Error`]; what comes within the next 10 s is not recorded then.
    pub(crate) fn write(&mut self, id: TrackId, frame: &Frame) -> io::Result<Outcome> {
        let now = frame.captured;
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return Ok(Outcome::default());
        }
        let outcome = self.try_write(id, frame);
        if outcome.is_err() {
            (self.file, self.held, self.held_bytes) = (None, Vec::new(), 0);
            self.not_before = Some(now + PAUSE);
        }
        outcome
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`io::Error`]
    pub(crate) fn finish(&mut self) -> io::Result<Option<PathBuf>> {
        let begun = if self.held.is_empty() { None } else { self.begin()?.begun };
        match self.file.take() {
            Some(open) => open.writer.finish()?.into_inner()?.sync_data().map(|()| begun),
            None => Ok(begun),
        }
    }

    fn try_write(&mut self, id: TrackId, frame: &Frame) -> io::Result<Outcome> {
        let Some(track) = self.tracks.get_mut(&id) else { return Ok(Outcome::default()) };
        let was = track.entry.as_ref().map(|entry| codec(&entry.codec));
        if was != Some(frame.codec) {
            let changed = self.changed.filter(|_| was.is_some());
            let since = changed.map(|it| frame.captured.saturating_duration_since(it));
            if since.is_some_and(|since| since < BETWEEN_CHANGES) {
                return Ok(Outcome::default());
            }
            let Some(entry) = entry(&track.name, frame) else {
                // Without what a decoder needs first. After what was left out that has to be asked for.
                let is_late = since.is_some() && !frame.keyframe;
                let wanted = if is_late { vec![id] } else { Vec::new() };
                return Ok(Outcome { begun: None, wanted });
            };
            track.entry = Some(entry);
            if was.is_some() {
                self.changed = Some(frame.captured);
                // What is held of it is of the codec before.
                self.held.retain(|(other, _)| *other != id);
                self.held_bytes = self.held.iter().map(|(_, frame)| frame.data.len()).sum();
            }
        }
        if let Some(open) = &self.file {
            let fits =
                was == Some(frame.codec) && open.tracks.iter().any(|&(other, _)| other == id);
            let is_long = frame.captured.saturating_duration_since(open.begun) > self.longest;
            if fits && !is_long {
                self.put(id, frame)?;
                return Ok(Outcome::default());
            }
            self.finish()?;
        }
        self.held_bytes += frame.data.len();
        self.held.push((id, frame.clone()));
        let first = self.held[0].1.captured;
        let has_all = self.tracks.values().all(|track| track.entry.is_some());
        let is_late = frame.captured.saturating_duration_since(first) > HELD
            || self.held.len() > MOST_HELD
            || self.held_bytes > MOST_HELD_BYTES;
        if has_all || is_late { self.begin() } else { Ok(Outcome::default()) }
    }

    /// Begins a file with what is held.
    fn begin(&mut self) -> io::Result<Outcome> {
        let known = self.tracks.iter();
        let known: Vec<_> =
            known.filter_map(|(&id, track)| Some((id, track.entry.clone()?))).collect();
        let entries: Vec<_> = known.iter().map(|(_, entry)| entry.clone()).collect();
        let (file, path) = self.create(if is_webm(&entries) { "webm" } else { "mkv" })?;
        let writer = Writer::begin(BufWriter::with_capacity(BUFFER, file), &entries)?;
        let tracks = known.iter().map(|(id, entry)| (*id, entry.codec.is_video())).collect();
        let (held, begun) = (std::mem::take(&mut self.held), self.origin);
        self.held_bytes = 0;
        let begun = held.first().map_or(begun, |(_, frame)| frame.captured);
        self.file = Some(Open { writer, tracks, begun });
        for (id, frame) in &held {
            self.put(*id, frame)?;
        }
        let open = self.file.iter().flat_map(|open| &open.tracks);
        let wanted = open.filter(|(_, waits)| *waits).map(|&(id, _)| id).collect();
        Ok(Outcome { begun: Some(path), wanted })
    }

    /// Puts a frame into the file.
    fn put(&mut self, id: TrackId, frame: &Frame) -> io::Result<()> {
        let (Some(open), Some(track)) = (&mut self.file, self.tracks.get_mut(&id)) else {
            return Ok(());
        };
        let Some(place) = open.tracks.iter().position(|&(other, _)| other == id) else {
            return Ok(());
        };
        let waits = &mut open.tracks[place].1;
        if *waits && !frame.keyframe {
            return Ok(());
        }
        *waits = false;
        let is_video = frame.codec != Codec::Opus;
        let time = frame.captured.saturating_duration_since(self.origin).as_millis() as u64;
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
        open.writer.write(block, is_video)
    }

    /// Creates the next file; never writes over one that is there.
    fn create(&mut self, extension: &str) -> io::Result<(File, PathBuf)> {
        fs::create_dir_all(&self.folder)?;
        loop {
            self.part += 1;
            let name = format!("{}-{}.{extension}", self.stem, self.part);
            let path = self.folder.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok((file?, path)),
            }
        }
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

fn codec(entry: &EntryCodec) -> Codec {
    match entry {
        EntryCodec::Opus => Codec::Opus,
        EntryCodec::Vp8 { .. } => Codec::Vp8,
        EntryCodec::H264 { .. } => Codec::H264,
    }
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
