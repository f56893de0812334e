//! Recorder: writes what each participant of a room sends into a file.

mod avc;
mod file;
mod matroska;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::StartTapError;
use crate::event::{ParticipantId, TrackId, TrackInfo};
use crate::keyframe_wishes::KeyframeWishes;
use crate::room::MediaRoom;
use crate::tap::{Frame, MediaTap, TapHandle, TapOptions};

use self::file::{Fault, Recording};

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
#[derive(Clone)]
pub struct RecorderOptions {
    folder: PathBuf,
    longest: Duration,
    tap: TapOptions,
    names: Arc<Names>,
}

/// Function that names the files of the participant that publishes a track.
type Names = dyn Fn(&TrackInfo) -> String + Send + Sync;

/// What outlives the instances of a recorder.
struct Kept {
    options: RecorderOptions,
    wishes: KeyframeWishes,
    /// Zero of all times in its files.
    origin: Instant,
    /// The latest files, in the order in which they were begun.
    files: Mutex<VecDeque<PathBuf>>,
    faults: AtomicU64,
}

impl RecorderOptions {
    /// Creates the options of a recorder of all participants that writes into this folder. The folder is created if it
    /// is not there. Files are `NAME-ID-PART.webm`, or `.mkv`: the participant's [name](Self::names), made safe, its
    /// identifier, and 1 or more. A file that is there is never written over.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let (folder, tap) = (folder.into(), TapOptions::new("recorder"));
        let names = Arc::new(|track: &TrackInfo| track.name.to_string());
        Self { folder, longest: Duration::from_secs(60 * 60), tap, names }
    }

    /// Sets what names a participant in its files and their names, by the first track that it publishes. In names of
    /// files, letters, digits, `-` and `_` stay, 40 characters at most, and spaces become `-`; all else is left out. A
    /// function that panics is a fault of the recorder. Default: the name with which the participant has joined, which
    /// behind signaling is its peer id.
    pub fn names(mut self, names: impl Fn(&TrackInfo) -> String + Send + Sync + 'static) -> Self {
        self.names = Arc::new(names);
        self
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

    /// Returns the files that were begun, in that order: the latest 10,000. A file that remained empty, such as on
    /// a full disk, is removed, and not among them.
    pub fn files(&self) -> Vec<PathBuf> {
        self.kept.files().iter().cloned().collect()
    }

    /// Returns how often a file could not be created or written, each time with an error in the log. That participant
    /// is not recorded for 10 s then. What was written before stays, as far as it can be played.
    pub fn faults(&self) -> u64 {
        self.kept.faults.load(Ordering::Relaxed)
    }

    /// Returns how many packets were lost because the disk was slow, or the recorder was being restarted.
    pub fn lost(&self) -> u64 {
        self.tap.lost()
    }

    /// Returns whether it runs: it is given up after a fourth panic in 10 s, and ends with the room. While the room's
    /// supervisor is being restarted, it does not run, and goes on after that.
    pub fn is_running(&self) -> bool {
        self.tap.is_running()
    }

    /// Returns whether it was given up: after a fourth panic in 10 s, for good.
    pub fn is_given_up(&self) -> bool {
        self.tap.is_given_up()
    }

    /// Resolves when it [is given up](Self::is_given_up), or this is dropped; the future does not keep the recorder.
    pub fn given_up(&self) -> impl Future<Output = ()> + Send + use<> {
        self.tap.given_up()
    }

    /// Ends the recording. Resolves when all files are complete, and returns them as [`files`](Self::files) does.
    pub async fn stop(self) -> Vec<PathBuf> {
        let Self { tap, kept } = self;
        tap.stop().await;
        kept.files().iter().cloned().collect()
    }
}

impl Kept {
    fn files(&self) -> MutexGuard<'_, VecDeque<PathBuf>> {
        // Each change is one call.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn began(&self, file: PathBuf) {
        let mut files = self.files();
        if files.len() == MOST_FILES {
            files.pop_front();
        }
        files.push_back(file);
    }

    fn note<T>(&self, result: Result<T, Fault>) -> Option<T> {
        result.inspect_err(|fault| self.fail(fault)).ok()
    }

    fn fail(&self, Fault { error, file }: &Fault) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        log::error!("recording into {} failed: {error}", self.options.folder.display());
        let Some((file, is_there)) = file else { return };
        let is_known = self.files().contains(file);
        if !is_there {
            self.files().retain(|other| other != file);
        } else if !is_known {
            self.began(file.clone());
        }
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
        let name = (options.names)(track);
        let recording = self.of.entry(track.participant).or_insert_with(|| {
            let stem = stem(&name, track.participant);
            Recording::new(&options.folder, stem, *origin, options.longest)
        });
        recording.add(track.id, &name);
    }

    fn track_removed(&mut self, track: TrackId) {
        let kept = &self.kept;
        self.of.retain(|_, recording| {
            kept.note(recording.remove(track)).flatten().into_iter().for_each(|it| kept.began(it));
            !recording.is_over()
        });
    }

    fn frame(&mut self, track: &TrackInfo, frame: &Frame) {
        let Some(recording) = self.of.get_mut(&track.participant) else { return };
        let Some(outcome) = self.kept.note(recording.write(track.id, frame)) else { return };
        outcome.begun.into_iter().for_each(|file| self.kept.began(file));
        outcome.wanted.iter().for_each(|&wanted| self.kept.wishes.want(wanted));
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        let kept = &self.kept;
        for recording in self.of.values_mut() {
            kept.note(recording.finish()).flatten().into_iter().for_each(|file| kept.began(file));
        }
    }
}

/// Returns the first part of the names of a participant's files. Its name may be anything.
fn stem(name: &str, participant: ParticipantId) -> String {
    let safe = |it: char| match it {
        '-' | '_' => Some(it),
        it if it.is_alphanumeric() => Some(it),
        it if it.is_whitespace() => Some('-'),
        _ => None,
    };
    let name: String = name.chars().filter_map(safe).take(LONGEST_NAME).collect();
    // Programs take what begins with `-` for an option.
    let name = name.trim_matches('-');
    if name.is_empty() { participant.to_string() } else { format!("{name}-{participant}") }
}

impl fmt::Debug for RecorderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderOptions")
            .field("folder", &self.folder)
            .field("longest", &self.longest)
            .field("tap", &self.tap)
            .finish_non_exhaustive()
    }
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
/// Files that are remembered: a client that changes a track's codec has a file in 2 s.
const MOST_FILES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn kept() -> Kept {
        Kept {
            options: RecorderOptions::new("folder"),
            wishes: KeyframeWishes::default(),
            origin: tokio::time::Instant::now().into_std(),
            files: Mutex::default(),
            faults: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_name_is_made_safe_for_files() {
        let id = ParticipantId(callboard_peer_connection::PeerConnectionId(uuid::Uuid::new_v4()));
        for (name, stem_of) in [
            ("Ann", "Ann-"),
            ("Zoë von  Bülow", "Zoë-von--Bülow-"),
            ("../../etc/passwd\0", "etcpasswd-"),
            ("-rf *?\"<>|:\\", "rf-"),
            ("👋 ", ""),
            ("", ""),
            (".", ""),
        ] {
            assert_eq!(stem(name, id), format!("{stem_of}{id}"), "{name:?}");
        }
        let long = stem(&"字".repeat(1_000), id);
        assert!(long.len() < 200 && long.starts_with('字'), "file systems allow 255 bytes");
    }

    #[test]
    fn the_latest_files_are_remembered() {
        let kept = kept();

        (0..MOST_FILES + 5).for_each(|number| kept.began(number.to_string().into()));

        assert_eq!(kept.files().len(), MOST_FILES);
        assert_eq!(kept.files().front(), Some(&PathBuf::from("5")));
    }

    #[test]
    fn a_file_that_was_removed_is_forgotten_and_one_that_stays_is_not() {
        let kept = kept();
        let fail = |file: &str, is_there| {
            let fault =
                Fault { error: io::Error::other("full"), file: Some((file.into(), is_there)) };
            assert!(kept.note(Err::<(), _>(fault)).is_none());
        };
        ["a", "b"].into_iter().for_each(|file| kept.began(file.into()));

        fail("b", false);
        fail("c", true);
        fail("a", true);

        assert_eq!(*kept.files(), ["a", "c"].map(PathBuf::from));
        assert_eq!(kept.faults.load(Ordering::Relaxed), 3);
    }
}
