//! Recordings of calls: of all, for an operator who asks for that, or of those whose hosts do.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use callboard_media_rooms::{Recorder, RecorderOptions, StartTapError};
use callboard_room_supervisor::{Rejection, RoomHandle};
use callboard_signaling::WebRtc;
use clap::Args;

/// Which calls are recorded.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RecordingOptions {
    /// Record all calls into files in this folder
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    /// Let the host of a call record it, into files in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    record_on_demand: Option<PathBuf>,
}

impl RecordingOptions {
    fn folder(&self) -> Option<&Path> {
        self.record.as_deref().or(self.record_on_demand.as_deref())
    }
}

/// Makes a folder, and tries whether it takes files.
fn prepare(folder: &Path) -> io::Result<()> {
    let probe = folder.join(".callboard-probe");
    let tried = fs::create_dir_all(folder)
        .and_then(|()| fs::File::create(&probe))
        .and_then(|_| fs::remove_file(&probe));
    tried.map_err(|error| {
        let said = format!("cannot record into {}: {error}", folder.display());
        io::Error::new(error.kind(), said)
    })
}

/// Recorders of all rooms.
#[derive(Debug)]
pub(crate) struct Recordings {
    options: RecordingOptions,
    webrtc: WebRtc,
    /// With their rooms.
    running: Mutex<Vec<(RoomHandle, Recorder)>>,
}

impl Recordings {
    /// # Errors
    /// The folder cannot be made, or takes no files.
    pub(crate) fn new(options: RecordingOptions, webrtc: WebRtc) -> io::Result<Arc<Self>> {
        options.folder().map_or(Ok(()), prepare)?;
        Ok(Arc::new(Self { options, webrtc, running: Mutex::default() }))
    }

    /// Returns whether all calls are recorded.
    pub(crate) fn of_all(&self) -> bool {
        self.options.record.is_some()
    }

    /// Returns whether hosts decide on it.
    pub(crate) fn on_demand(&self) -> bool {
        self.options.record_on_demand.is_some()
    }

    pub(crate) fn is_recorded(&self, room: &RoomHandle) -> bool {
        let is_on = |recorder: &Recorder| !recorder.is_given_up();
        self.running().iter().any(|(recorded, it)| is_same(recorded, room) && is_on(it))
    }

    /// Begins to record a room; returns false if it is recorded already. A recording ends with its room. `given_up` is
    /// called if it ends before, after too many faults.
    ///
    /// # Errors
    /// No one is connected yet, or the reason is in the log.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        room: &RoomHandle,
        given_up: impl FnOnce() + 'static,
    ) -> Result<bool, Rejection> {
        let media = self.webrtc.media_room(room);
        let (folder, media) = self.options.folder().zip(media).ok_or("nothing_to_record")?;
        let named = room.clone();
        let options = RecorderOptions::new(folder).names(move |track| name(&named, &track.name));
        match Recorder::start(&media, options).await {
            Ok(recorder) => {
                let (recordings, over) = (Arc::clone(self), recorder.given_up());
                actix_web::rt::spawn(async move {
                    over.await;
                    // One that was ended is no longer there.
                    if recordings.drop_given_up() {
                        given_up();
                    }
                });
                let mut running = self.running();
                // One that was given up, or there would be no other.
                running.retain(|(recorded, _)| !is_same(recorded, room));
                running.push((room.clone(), recorder));
                drop(running);
                let (recordings, room) = (Arc::clone(self), room.clone());
                actix_web::rt::spawn(async move {
                    // Through the restarts of its media.
                    room.freed().await;
                    recordings.running().retain(|(room, _)| !room.is_closed());
                });
                Ok(true)
            }
            Err(StartTapError::Taken) => Ok(false),
            Err(error) => {
                log::error!("{} is not recorded: {error}", room.name());
                Err("not_recorded".into())
            }
        }
    }

    /// Ends the recording of a room, if there is one: its files are complete.
    pub(crate) async fn end(&self, room: &RoomHandle) {
        let ended = {
            let mut running = self.running();
            let place = running.iter().position(|(recorded, _)| is_same(recorded, room));
            place.map(|place| running.swap_remove(place))
        };
        if let Some((_, recorder)) = ended {
            let files = recorder.stop().await;
            log::info!("{} was recorded into {} files", room.name(), files.len());
        }
    }

    /// Drops the recorders that were given up; returns whether there were any.
    fn drop_given_up(&self) -> bool {
        self.running().extract_if(.., |(_, recorder)| recorder.is_given_up()).count() > 0
    }

    fn running(&self) -> MutexGuard<'_, Vec<(RoomHandle, Recorder)>> {
        // Each change is one call, and cannot panic halfway.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what names a participant in its files: the name of the member with this id, if it has one, else the id.
fn name(room: &RoomHandle, id: &str) -> String {
    let member = id.parse().ok().and_then(|id| room.member(id));
    let name = member.and_then(|member| Some(member.public().get("name")?.as_str()?.to_owned()));
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_owned())
}

/// Returns whether it is the same room, and not an earlier one of its name.
fn is_same(one: &RoomHandle, other: &RoomHandle) -> bool {
    one.name() == other.name() && !one.is_closed()
}
