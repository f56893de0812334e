//! Recorder: writes what each participant of a room sends into a file.

mod avc;
mod file;
mod matroska;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::StartTapError;
use crate::event::{ParticipantId, TrackId, TrackInfo};
use crate::keyframe_wishes::KeyframeWishes;
use crate::room::MediaRoom;
use crate::tap::{Frame, MediaTap, TapHandle, TapOptions};

use self::file::Recording;

/// Recorder of a room: writes the Opus, VP8 and H.264 of each participant into a WebM file, or Matroska with H.264.
///
/// A file begins with the participant's first frames, and ends when its tracks do; another one begins when a track is
/// added, after [`RecorderOptions::longest`], and after a fault of the recorder. Time 0 in all files of a recorder is
/// its start, so that they can be played side by side, and silence stays where it was. What a crash leaves behind can
/// be played up to there.
///
/// It is a [tap](MediaTap): the disk is written on its thread, none of connections, and a disk that is slow costs
/// frames ([`lost`](Self::lost)), no more.
///
/// ```no_run
/// use callboard_media_rooms::{MediaRoom, Recorder, RecorderOptions};
///
/// # async fn record(room: MediaRoom) -> Result<(), Box<dyn std::error::Error>> {
/// let recorder = Recorder::start(&room, RecorderOptions::new("/srv/recordings")).await?;
/// // …
/// for file in recorder.stop().await {
///     println!("{}", file.display());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "the recorder ends when this is dropped"]
pub struct Recorder {
    tap: TapHandle,
    kept: Arc<Kept>,
}

/// Options of a recorder.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    folder: PathBuf,
    longest: Duration,
    tap: TapOptions,
}

/// What outlives the instances of a recorder.
struct Kept {
    options: RecorderOptions,
    wishes: KeyframeWishes,
    /// Zero of all times in its files.
    origin: Instant,
    files: Mutex<Vec<PathBuf>>,
    faults: AtomicU64,
}

impl RecorderOptions {
    /// Creates the options of a recorder of all participants that writes into this folder. The folder is created if it
    /// is not there. Files are `NAME-ID-PART.webm`, or `.mkv`: the name with which the participant has joined, as far
    /// as it is of ASCII letters, digits, `-` and `_`, its identifier, and 1 or more. A file that is there is never
    /// written over.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let (folder, tap) = (folder.into(), TapOptions::new("recorder"));
        Self { folder, longest: Duration::from_secs(60 * 60), tap }
    }

    /// Sets how long a file becomes before another one is begun. Default: an hour.
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// Sets what is recorded, and the recorder's name in the tree and its thread. Default: all tracks; `recorder`.
    pub fn tap(mut self, tap: TapOptions) -> Self {
        self.tap = tap;
        self
    }
}

impl Recorder {
    /// Starts to record a room.
    ///
    /// # Errors
    /// [`StartTapError`]. A folder that cannot be written is none: see [`faults`](Self::faults).
    pub async fn start(room: &MediaRoom, options: RecorderOptions) -> Result<Self, StartTapError> {
        let tap = options.tap.clone();
        let kept = Arc::new(Kept {
            options,
            wishes: KeyframeWishes::default(),
            origin: tokio::time::Instant::now().into_std(),
            files: Mutex::default(),
            faults: AtomicU64::new(0),
        });
        let ours = Arc::clone(&kept);
        let factory = move || Recordings { kept: Arc::clone(&ours), of: HashMap::new() };
        let tap = room.open_tap(tap, &kept.wishes, factory).await?;
        Ok(Self { tap, kept })
    }

    /// Returns the files that were begun, in that order.
    pub fn files(&self) -> Vec<PathBuf> {
        self.kept.files().clone()
    }

    /// Returns how often a file could not be created or written, each time with an error in the log. That participant
    /// is not recorded for 10 s then.
    pub fn faults(&self) -> u64 {
        self.kept.faults.load(Ordering::Relaxed)
    }

    /// Returns how many packets were lost because the disk was slow, or the recorder was being restarted.
    pub fn lost(&self) -> u64 {
        self.tap.lost()
    }

    /// Returns whether it runs: it is given up after 3 panics in 10 s, and ends with the room.
    pub fn is_running(&self) -> bool {
        self.tap.is_running()
    }

    /// Ends the recording. Resolves when all files are complete, and returns them in the order in which they were
    /// begun.
    pub async fn stop(self) -> Vec<PathBuf> {
        let Self { tap, kept } = self;
        tap.stop().await;
        kept.files().clone()
    }
}

impl Kept {
    fn files(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        // Files are added, no more.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T>(&self, result: std::io::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.faults.fetch_add(1, Ordering::Relaxed);
                log::error!("recording into {} failed: {error}", self.options.folder.display());
            })
            .ok()
    }
}

/// The recordings of all participants.
struct Recordings {
    kept: Arc<Kept>,
    of: HashMap<ParticipantId, Recording>,
}

impl MediaTap for Recordings {
    fn track_added(&mut self, track: &TrackInfo) {
        let Kept { options, origin, .. } = &*self.kept;
        let recording = self.of.entry(track.participant).or_insert_with(|| {
            Recording::new(&options.folder, stem(track), *origin, options.longest)
        });
        recording.add(track.id, &track.name);
    }

    fn track_removed(&mut self, track: TrackId) {
        let kept = &self.kept;
        self.of.retain(|_, recording| {
            kept.files().extend(kept.note(recording.remove(track)).flatten());
            !recording.is_over()
        });
    }

    fn frame(&mut self, track: &TrackInfo, frame: &Frame) {
        let Some(recording) = self.of.get_mut(&track.participant) else { return };
        let Some(outcome) = self.kept.note(recording.write(track.id, frame)) else { return };
        self.kept.files().extend(outcome.begun);
        outcome.wanted.iter().for_each(|&wanted| self.kept.wishes.want(wanted));
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        for recording in self.of.values_mut() {
            self.kept.files().extend(self.kept.note(recording.finish()).flatten());
        }
    }
}

/// Returns the first part of the names of a participant's files. Its name may be anything.
fn stem(track: &TrackInfo) -> String {
    let is_plain = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
    let name: String = track.name.chars().filter(is_plain).take(LONGEST_NAME).collect();
    format!("{name}-{}", track.participant)
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("folder", &self.kept.options.folder)
            .finish_non_exhaustive()
    }
}

/// Longest part of a participant's name in that of a file, in characters.
const LONGEST_NAME: usize = 40;
