//! Recordings of all calls, for an operator who asks for them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use callboard_media_rooms::{Recorder, RecorderOptions, StartTapError};
use callboard_room_supervisor::RoomHandle;
use callboard_signaling::WebRtc;

/// Recorders of all rooms.
#[derive(Debug)]
pub(crate) struct Recordings {
    folder: PathBuf,
    webrtc: WebRtc,
    running: Mutex<Vec<Recorder>>,
}

impl Recordings {
    pub(crate) fn new(folder: PathBuf, webrtc: WebRtc) -> Arc<Self> {
        Arc::new(Self { folder, webrtc, running: Mutex::default() })
    }

    /// Begins to record a room, if it is not recorded yet. A recording ends with its room.
    pub(crate) fn begin(self: &Arc<Self>, room: &RoomHandle) {
        let Some(media) = self.webrtc.media_room(room) else { return };
        let recordings = Arc::clone(self);
        actix_web::rt::spawn(async move {
            let options = RecorderOptions::new(&recordings.folder);
            match Recorder::start(&media, options).await {
                Ok(recorder) => {
                    let running = recordings.running.lock();
                    let mut running = running.unwrap_or_else(PoisonError::into_inner);
                    running.retain(Recorder::is_running);
                    running.push(recorder);
                }
                Err(StartTapError::Taken) => {}
                Err(error) => log::error!("a room is not recorded: {error}"),
            }
        });
    }
}
