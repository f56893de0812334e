//! Bots in the calls of the examples: each sends a drawn picture and soft notes, so that one person alone sees a call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::rt::{spawn, time};
use callboard_media_rooms::{Bot, BotTrack, MediaRoom, WriteFrameError};
use callboard_peer_connection::Codec;
use callboard_room_supervisor::RoomHandle;
use callboard_signaling::WebRtc;
use clap::Args;

/// Options of a program whose calls can have bots.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct BotOptions {
    /// Bots in each call, beside its members: they send moving pictures and soft notes
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=12))]
    bots: u8,
}

/// Bots of all calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bots {
    number: u8,
    webrtc: WebRtc,
    /// Held while bots join: they join each room once.
    joining: Arc<Mutex<()>>,
}

impl Bots {
    /// Creates the bots of a route.
    pub fn new(options: BotOptions, webrtc: WebRtc) -> Self {
        Self { number: options.bots, webrtc, joining: Arc::default() }
    }

    /// Lets those that are not there join the media of a room, once it has any. They leave when that has ended. Must be
    /// called on a thread of actix.
    pub fn join(&self, room: &RoomHandle) {
        let Some(media) = self.webrtc.media_room(room) else { return };
        let _joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let there = media.tracks();
        for number in 1..=self.number {
            let name = format!("Bot {number}");
            if there.iter().any(|track| *track.name == *name) {
                continue;
            }
            if let Err(error) = join(&media, name, number) {
                log::warn!("bot {number} does not join {}: {error}", room.name());
            }
        }
    }
}

fn join(media: &MediaRoom, name: String, number: u8) -> Result<(), Box<dyn std::error::Error>> {
    let bot = media.bot(name)?;
    let (sound, picture) = (bot.publish(Codec::Opus)?, bot.publish(Codec::Vp8)?);
    spawn(play(media.clone(), bot, sound, picture, number));
    Ok(())
}

/// Plays until the room has no media any more.
async fn play(media: MediaRoom, _bot: Bot, sound: BotTrack, picture: BotTrack, number: u8) {
    let (mut sound, mut picture) = (Loop::new(sound, SOUND), Loop::new(picture, PICTURE));
    // One after the other.
    sound.next = usize::from(number) * sound.frames.len() / 3 % sound.frames.len();
    let mut pace = time::interval(SOUND_LASTS);
    let mut away = 0;
    while away < AWAY {
        for turn in 0..PICTURE_EVERY {
            pace.tick().await;
            if turn == 0 && picture.track.wants_keyframe() {
                // The first one is.
                picture.next = 0;
            }
            let shown = if turn == 0 { picture.play(PICTURE_EVERY * SOUND_LASTS) } else { Ok(()) };
            if sound.play(SOUND_LASTS).and(shown).is_err() {
                return;
            }
        }
        // It may be restarted.
        away = if media.is_running() { 0 } else { away + 1 };
    }
}

/// Track of frames that are played again and again.
struct Loop {
    track: BotTrack,
    frames: Vec<&'static [u8]>,
    next: usize,
}

impl Loop {
    fn new(track: BotTrack, file: &'static [u8]) -> Self {
        Self { track, frames: frames(file), next: 0 }
    }

    fn play(&mut self, lasts: Duration) -> Result<(), WriteFrameError> {
        let frame = self.frames[self.next];
        self.next = (self.next + 1) % self.frames.len();
        self.track.write(frame, lasts)
    }
}

/// Returns the frames of an IVF file: a header of 32 bytes, then each frame after its length and its time.
fn frames(file: &'static [u8]) -> Vec<&'static [u8]> {
    let mut rest = &file[32..];
    let mut frames = Vec::new();
    while let Some((head, body)) = rest.split_first_chunk::<12>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (frame, others) = body.split_at(length);
        frames.push(frame);
        rest = others;
    }
    frames
}

/// Made by `bots/make.py`.
const PICTURE: &[u8] = include_bytes!("../bots/picture.ivf");
const SOUND: &[u8] = include_bytes!("../bots/sound.ivf");
const SOUND_LASTS: Duration = Duration::from_millis(20);
/// Packets of sound for each picture.
const PICTURE_EVERY: u32 = 3;
/// Pictures without a room in a row after which a bot leaves: some seconds.
const AWAY: u32 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bots_play_is_there_and_begins_with_a_key_frame() {
        let (pictures, sounds) = (frames(PICTURE), frames(SOUND));

        assert_eq!((pictures.len(), sounds.len()), (100, 300));
        // The lowest bit of a frame of VP8 says that it is none (RFC 6386 §9.1).
        let keys: Vec<_> = pictures.iter().map(|frame| frame[0] & 1 == 0).collect();
        assert!(keys[0] && keys[1..].iter().all(|key| !key), "{keys:?}");
        assert!(sounds.iter().all(|packet| !packet.is_empty()));
    }
}
