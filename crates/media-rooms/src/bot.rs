//! Bots: participants without a connection, whose frames the application writes and reads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use callboard_peer_connection::{
    Codec, HeaderExtensions, PeerConnectionId, RtpCodecCapability, RtpPacket, SenderId,
    TransceiverId,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::actor::tap;
use crate::bot_seat::BotSeat;
use crate::core::frames::packetize::{Packetizer, Unfit};
use crate::core::packet::{self, Coding};
use crate::error::{JoinMediaRoomError, PublishError, StartTapError, WriteFrameError};
use crate::event::{ParticipantId, TrackId, TrackInfo};
use crate::keyframe_wishes::KeyframeWishes;
use crate::messages::MediaPacket;
use crate::policy::{ParticipantInfo, ParticipantOptions};
use crate::shared::Shared;
use crate::stage::Section;
use crate::tap::{Frame, MediaTap, TapHandle, TapOptions};

/// Participant without a connection: the others hear and see what the application writes. It leaves when this is
/// dropped.
///
/// No actor is its own, so none of it can fail; it stays when the room's actors are restarted.
///
/// ```no_run
/// use std::time::Duration;
///
/// use callboard_media_rooms::MediaRoom;
/// use callboard_peer_connection::Codec;
///
/// # async fn play(room: MediaRoom, packets: Vec<Vec<u8>>) -> Result<(), Box<dyn std::error::Error>> {
/// let bot = room.bot("dj")?;
/// let mut music = bot.publish(Codec::Opus)?;
/// let mut pace = tokio::time::interval(Duration::from_millis(20));
/// for packet in packets {
///     pace.tick().await;
///     music.write(&packet, Duration::from_millis(20))?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "the bot leaves when this is dropped"]
pub struct Bot {
    shared: Arc<Shared>,
    seat: Arc<BotSeat>,
    info: ParticipantInfo,
    sections: Arc<Mutex<Vec<Section>>>,
}

/// Track that the application writes. It ends when this is dropped, or with its bot.
#[must_use = "the track ends when this is dropped"]
pub struct BotTrack {
    shared: Arc<Shared>,
    seat: Arc<BotSeat>,
    bot: ParticipantId,
    sections: Arc<Mutex<Vec<Section>>>,
    id: TrackId,
    coding: Coding,
    payload_type: u8,
    packetizer: Packetizer,
    /// Number of the next packet.
    number: u64,
    /// Moment of the first frame, and time of the next one after it.
    clock: Option<(Instant, Duration)>,
    epoch: u32,
    is_silent: bool,
}

impl Bot {
    pub(crate) fn join(
        shared: &Arc<Shared>,
        options: ParticipantOptions,
    ) -> Result<Self, JoinMediaRoomError> {
        shared.supervisor()?;
        let id = ParticipantId(PeerConnectionId(Uuid::new_v4()));
        let seat = Arc::new(BotSeat::default());
        let info = options.info(id);
        shared.add_bot(id, &seat);
        shared.stage().join(info.clone());
        let bot = Self { shared: Arc::clone(shared), seat, info, sections: Arc::default() };
        shared.settle();
        Ok(bot)
    }

    /// Returns the bot's identifier.
    pub fn id(&self) -> ParticipantId {
        self.info.id
    }

    /// Publishes a track of [`Opus`](Codec::Opus), [`Vp8`](Codec::Vp8) or [`H264`](Codec::H264), at most four of sound
    /// and four of pictures.
    ///
    /// # Errors
    /// [`PublishError`]
    pub fn publish(&self, codec: Codec) -> Result<BotTrack, PublishError> {
        let (coding, payload_type, mime_type, parameters) = match codec {
            Codec::Opus => (Coding::Opus, 111, "audio/opus", ""),
            Codec::Vp8 => (Coding::Vp8, 96, "video/VP8", ""),
            Codec::H264 => (Coding::H264, 102, "video/H264", H264),
            _ => return Err(PublishError::Codec(codec)),
        };
        let mut described = RtpCodecCapability::new(mime_type);
        described.sdp_fmtp_line = parameters.to_owned();
        let id = TransceiverId(Uuid::new_v4());
        let mut sections = lock(&self.sections);
        sections.push(Section {
            transceiver: id,
            sender: SenderId(Uuid::new_v4()),
            mid: id.to_string(),
            kind: codec.kind(),
            publishes: true,
            receives: false,
            stream: 0,
            codecs: Arc::from([(payload_type, described)]),
            encodings: Vec::new(),
            position: None,
        });
        let id = TrackId(id);
        let is_published = {
            let mut stage = self.shared.stage();
            stage.negotiated(self.info.id, &sections);
            stage.tracks_of(self.info.id).any(|track| track.info.id == id)
        };
        drop(sections);
        let track = BotTrack {
            shared: Arc::clone(&self.shared),
            seat: Arc::clone(&self.seat),
            bot: self.info.id,
            sections: Arc::clone(&self.sections),
            id,
            coding,
            payload_type,
            packetizer: Packetizer::default(),
            number: 0,
            clock: None,
            epoch: Uuid::new_v4().as_u128() as u32,
            is_silent: false,
        };
        self.shared.settle();
        // What was refused ends with the track.
        if is_published { Ok(track) } else { Err(PublishError::Refused) }
    }

    /// Returns the frames of another participant's track. At most so many wait to be read.
    ///
    /// # Errors
    /// [`StartTapError`]
    pub async fn subscribe(
        &self,
        track: TrackId,
        capacity: usize,
    ) -> Result<Frames, StartTapError> {
        let (sender, frames) = mpsc::channel(capacity.max(1));
        let (sender, lost) = (Arc::new(Mutex::new(Some(sender))), Arc::new(AtomicU64::new(0)));
        let (wishes, ours) = (KeyframeWishes::default(), Arc::clone(&lost));
        let wanted = wishes.clone();
        let factory = move || Subscription {
            sender: Arc::clone(&sender),
            lost: Arc::clone(&ours),
            wishes: wanted.clone(),
            waits: false,
            asked: None,
        };
        let options = TapOptions::new(format!("bot:{}:{track}", self.info.id)).track(track);
        let tap = tap::open(&self.shared, options, &wishes, factory).await?;
        Ok(Frames { tap, frames, lost })
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        self.seat.leave();
        self.shared.stage().leave(self.info.id);
        self.shared.remove_bot(self.info.id);
        self.shared.settle();
    }
}

impl BotTrack {
    /// Returns the track's identifier.
    pub fn id(&self) -> TrackId {
        self.id
    }

    /// Returns whether a viewer cannot begin or go on without a key frame, and forgets that. Pictures have to begin
    /// with one.
    pub fn wants_keyframe(&self) -> bool {
        self.seat.take_wish(self.id)
    }

    /// Sends a frame to all that receive the track: a packet of Opus, a frame of VP8, an access unit of H.264 with
    /// start codes (Annex B). The application writes each when it is time for it; `lasts` is how long it is heard or
    /// shown. Waits for no one: a viewer that is slow loses it.
    ///
    /// # Errors
    /// [`WriteFrameError`]; nothing of the frame is sent.
    pub fn write(&mut self, frame: &[u8], lasts: Duration) -> Result<(), WriteFrameError> {
        if self.seat.has_left() {
            return Err(WriteFrameError::Ended);
        }
        let payloads = self.packetizer.packetize(self.coding, frame);
        let payloads = payloads.map_err(|unfit| match unfit {
            Unfit::TooLarge => WriteFrameError::TooLarge,
            Unfit::Empty | Unfit::NoUnits | Unfit::Codec => WriteFrameError::Malformed,
        })?;
        let now = tokio::time::Instant::now().into_std();
        let (rate, time) = (self.rate(), self.advance(now, lasts));
        let timestamp = (time.as_micros() * u128::from(rate) / 1_000_000) as u32;
        let was_silent = self.is_silent;
        self.is_silent = self.shared.silence.load().muted.contains(&self.id);
        if self.is_silent {
            return Ok(());
        }
        if was_silent {
            self.epoch = self.epoch.wrapping_add(1);
        }
        let (last, is_video) = (payloads.len() - 1, self.coding != Coding::Opus);
        let mut packets = Vec::with_capacity(payloads.len());
        for (place, payload) in payloads.into_iter().enumerate() {
            packets.push(MediaPacket {
                track: self.id,
                encoding: 0,
                contents: packet::read(self.coding, &payload),
                epoch: self.epoch,
                packet: RtpPacket {
                    transceiver: self.id.0,
                    rid: None,
                    payload_type: self.payload_type,
                    sequence_number: self.number,
                    timestamp,
                    marker: is_video && place == last,
                    at: now,
                    captured: None,
                    payload: payload.into(),
                    audio_level: None,
                    vp8: None,
                    extensions: HeaderExtensions::default(),
                },
                plain: None,
            });
            self.number += 1;
        }
        self.send(&packets.into());
        Ok(())
    }

    /// Clock rate in Hz.
    fn rate(&self) -> u32 {
        if self.coding == Coding::Opus { 48_000 } else { 90_000 }
    }

    /// Returns the time of this frame after the first one.
    fn advance(&mut self, now: Instant, lasts: Duration) -> Duration {
        let (begun, next) = *self.clock.get_or_insert((now, Duration::ZERO));
        let elapsed = now.saturating_duration_since(begun);
        // After a pause it goes on at the time it is.
        let time = if elapsed > next + PAUSE { elapsed } else { next };
        self.clock = Some((begun, time + lasts));
        time
    }

    fn send(&self, packets: &Arc<[MediaPacket]>) {
        for viewer in self.seat.viewers().iter() {
            viewer.hand(packets);
        }
        let taps = self.shared.taps();
        if !taps.is_empty() {
            let reports = Arc::from([]);
            taps.iter().for_each(|tap| tap.hand(self.bot, packets, &reports));
        }
    }
}

impl Drop for BotTrack {
    fn drop(&mut self) {
        let mut sections = lock(&self.sections);
        sections.retain(|section| section.transceiver != self.id.0);
        self.shared.stage().negotiated(self.bot, &sections);
        drop(sections);
        self.shared.settle();
    }
}

/// Frames of one track, for an application that reads them.
#[must_use = "the subscription ends when this is dropped"]
pub struct Frames {
    tap: TapHandle,
    frames: mpsc::Receiver<Frame>,
    lost: Arc<AtomicU64>,
}

impl Frames {
    /// Waits for the next frame. None when all were read, and the track or the room has ended, or the subscription was
    /// given up after a fourth fault in 10 s.
    ///
    /// None also while the room's supervisor is being restarted: then frames come again soon after. A caller cannot
    /// tell that from the end by this alone; one that is to go on asks again while the track is one of
    /// [`MediaRoom::tracks`](crate::MediaRoom::tracks), with a pause between.
    pub async fn next(&mut self) -> Option<Frame> {
        tokio::select! {
            biased;
            frame = self.frames.recv() => frame,
            () = self.tap.ended() => None,
        }
    }

    /// Returns how many frames were dropped because they were not read; pictures go on with a key frame.
    pub fn dropped(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Tap of one track for an application that reads its frames.
struct Subscription {
    /// None when the track has ended.
    sender: Arc<Mutex<Option<mpsc::Sender<Frame>>>>,
    lost: Arc<AtomicU64>,
    wishes: KeyframeWishes,
    /// Pictures are of no use before the next key frame.
    waits: bool,
    /// Time of the frame with which a key frame was asked for last.
    asked: Option<Instant>,
}

impl MediaTap for Subscription {
    fn track_removed(&mut self, _: TrackId) {
        *lock(&self.sender) = None;
    }

    fn frame(&mut self, track: &TrackInfo, frame: &Frame) {
        let sent = match &*lock(&self.sender) {
            _ if self.waits && !frame.keyframe => false,
            Some(sender) => sender.try_send(frame.clone()).is_ok(),
            None => return,
        };
        if sent {
            self.waits = false;
            return;
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        if frame.codec == Codec::Opus {
            return;
        }
        self.waits = true;
        let since = self.asked.map(|asked| frame.captured.saturating_duration_since(asked));
        if since.is_none_or(|since| since >= ASK_AGAIN) {
            // One that comes while none can be taken is of no use.
            self.asked = Some(frame.captured);
            self.wishes.want(track.id);
        }
    }
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for BotTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BotTrack").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("tap", &self.tap).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call, and cannot panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parameters of H.264 that browsers take: in fragments, Constrained Baseline.
const H264: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
/// Lag from which an application has paused, and not only been late.
const PAUSE: Duration = Duration::from_millis(200);
/// Time after which a key frame is asked for once more.
const ASK_AGAIN: Duration = Duration::from_secs(1);
