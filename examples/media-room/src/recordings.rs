//! Recordings of all calls, for an operator who asks for them.

use std::path::PathBuf;
use std::sync::Arc;

use callboard_media_rooms::{Recorder, RecorderOptions, StartTapError};
use callboard_room_supervisor::RoomHandle;
use callboard_signaling::WebRtc;

/// What is needed to record a room.
#[derive(Debug)]
pub(crate) struct Recordings {
    folder: PathBuf,
    webrtc: WebRtc,
}

impl Recordings {
    pub(crate) fn new(folder: PathBuf, webrtc: WebRtc) -> Arc<Self> {
        Arc::new(Self { folder, webrtc })
    }

    /// Begins to record a room, if it is not recorded yet. A recording ends with its room.
    pub(crate) fn begin(&self, room: &RoomHandle) {
        let Some(media) = self.webrtc.media_room(room) else { return };
        let (options, room) = (RecorderOptions::new(&self.folder), room.clone());
        actix_web::rt::spawn(async move {
            match Recorder::start(&media, options).await {
                Ok(recorder) => {
                    // Through the restarts of its media.
                    room.freed().await;
                    drop(recorder);
                }
                Err(StartTapError::Taken) => {}
                Err(error) => log::error!("a room is not recorded: {error}"),
            }
        });
    }
}
