//! Tap: puts the frames of chosen tracks together, and hands them to the application.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_peer_connection::{Codec, Rid, SenderReport, TrackKind};
use callboard_supervision::{
    AutoShutdown, ChildSpec, ExitReason, Flags, NoSupervisorError, Restart, StartChildError,
    SupervisorRef, SupervisorSpec,
};

use crate::core::frames::choice::Choice;
use crate::core::frames::clock::{SenderClock, StreamClock};
use crate::core::frames::held::Assemblers;
use crate::core::frames::{Assembled, Part, has_keyframes};
use crate::core::packet::{Coding, ContentsError};
use crate::core::switch::Encoding;
use crate::error::StartTapError;
use crate::event::{ParticipantId, TrackId, TrackInfo};
use crate::keyframe_wishes::KeyframeWishes;
use crate::messages::{MediaPacket, ToTap};
use crate::shared::Shared;
use crate::stage;
use crate::tap::{Frame, MediaTap, TapHandle, TapOptions};
use crate::tap_seat::TapSeat;

/// Actor of one tap.
pub(crate) struct TapActor<T> {
    shared: Arc<Shared>,
    seat: Arc<TapSeat>,
    options: TapOptions,
    wishes: KeyframeWishes,
    tap: T,
    /// All tracks of the room; those that were not chosen have no flow.
    tracks: HashMap<TrackId, Option<Flow>>,
    senders: HashMap<ParticipantId, SenderClock>,
    assemblers: Assemblers<StreamId>,
}

/// Stream of one encoding of a track.
type StreamId = (TrackId, Encoding);

/// What comes of a track.
struct Flow {
    info: TrackInfo,
    codings: HashMap<u8, Coding>,
    rids: Vec<Rid>,
    /// By the places of their encodings.
    streams: Vec<Stream>,
    choice: Choice,
    /// When the last frame that was taken was captured.
    last: Option<Instant>,
}

/// Stream of one encoding.
struct Stream {
    clock: StreamClock,
    epoch: Option<u32>,
    /// When a key frame was asked for last.
    asked: Option<Instant>,
}

/// Starts a tap below the room. It ends for good when it is given up.
///
/// # Errors
/// [`StartChildError`], also if another one of its name runs.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    seat: &Arc<TapSeat>,
) -> Result<(), StartChildError> {
    let mut started = seat.started.lock().await;
    let supervisor = shared.supervisor()?;
    let Some(spec) = seat.spec() else { return Ok(()) };
    let Some(room) = RoomInstance::of(supervisor).await else {
        return Err(NoSupervisorError.into());
    };
    match supervisor.start_child(spec).await {
        // By a room that has just started.
        Err(StartChildError::AlreadyStarted) if *started => return Ok(()),
        result => result?,
    };
    *started = true;
    let Ok(own) = supervisor.supervisor(&seat.name) else {
        // It has ended before this was carried on.
        if room.runs_on().await {
            give_up(shared, seat);
        }
        return Ok(());
    };
    let (shared, seat) = (Arc::downgrade(shared), Arc::clone(seat));
    tokio::spawn(async move {
        let is_given_up = match own.ended().await {
            ExitReason::ReachedMaxRestartIntensity => true,
            // It has ended before it was watched.
            ExitReason::NoProcess => room.runs_on().await,
            _ => false,
        };
        if is_given_up {
            shared.upgrade().inspect(|shared| give_up(shared, &seat));
        }
    });
    Ok(())
}

/// Ends a tap for good: no instance of the room starts it again.
fn give_up(shared: &Shared, seat: &Arc<TapSeat>) {
    seat.end();
    shared.remove_tap(seat);
}

/// Instance of the room's supervisor, which another may have replaced.
struct RoomInstance {
    supervisor: SupervisorRef,
    ended: Pin<Box<dyn Future<Output = ExitReason> + Send>>,
}

impl RoomInstance {
    /// Returns the instance that runs.
    async fn of(supervisor: &SupervisorRef) -> Option<Self> {
        let (supervisor, watched) = (supervisor.clone(), supervisor.clone());
        let mut ended: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { watched.ended().await });
        // From here on it is of this instance.
        (!is_over(&mut ended).await).then_some(Self { supervisor, ended })
    }

    /// Returns whether it runs, and is not about to end: a child that it does not have has not ended with it.
    async fn runs_on(mut self) -> bool {
        // One that stops its children answers no more; an answer may be of the next one.
        self.supervisor.count_children().await.is_ok() && !is_over(&mut self.ended).await
    }
}

/// Returns whether this is ready.
async fn is_over<T>(mut future: impl Future<Output = T> + Unpin) -> bool {
    tokio::select! {
        biased;
        _ = &mut future => true,
        () = std::future::ready(()) => false,
    }
}

/// Opens a tap of the room, which asks for key frames by these wishes.
///
/// # Errors
/// [`StartTapError`]
pub(crate) async fn open<T: MediaTap>(
    shared: &Arc<Shared>,
    options: TapOptions,
    wishes: &KeyframeWishes,
    factory: impl FnMut() -> T + Send + 'static,
) -> Result<TapHandle, StartTapError> {
    let seat = seat(shared, options, wishes, factory);
    shared.add_tap(&seat);
    // From here on it ends if this is not carried through.
    let handle = TapHandle::new(Arc::clone(shared), Arc::clone(&seat));
    start(shared, &seat).await?;
    Ok(handle)
}

/// Returns a tap's seat.
fn seat<T: MediaTap>(
    shared: &Arc<Shared>,
    options: TapOptions,
    wishes: &KeyframeWishes,
    factory: impl FnMut() -> T + Send + 'static,
) -> Arc<TapSeat> {
    let (name, only) = (format!("tap:{}", options.name), options.participant);
    let wishes = wishes.clone();
    let (shared, factory) = (Arc::downgrade(shared), Arc::new(Mutex::new(factory)));
    TapSeat::new(name, only, move |seat| {
        let shared = shared.upgrade()?;
        let (seat, options, thread) =
            (Arc::clone(seat), options.clone(), shared.placement(shared.thread));
        let (name, factory, wishes) = (seat.name.clone(), Arc::clone(&factory), wishes.clone());
        let spec = ChildSpec::supervisor(name, move || {
            let placement = options.placement.clone().unwrap_or_else(|| shared.tap_placement());
            let (shared, seat, options) = (Arc::clone(&shared), Arc::clone(&seat), options.clone());
            let (factory, wishes) = (Arc::clone(&factory), wishes.clone());
            let tap = ChildSpec::new("tap", move || {
                // A factory that has panicked is asked again.
                let tap = (factory.lock().unwrap_or_else(PoisonError::into_inner))();
                TapActor::new(&shared, &seat, options.clone(), wishes.clone(), tap)
            });
            // One that ends by itself was told to, and takes its supervisor along.
            let tap = tap.restart(Restart::Transient).significant(true).placement(placement);
            let flags = Flags::one_for_one().intensity(RESTARTS, WITHIN);
            SupervisorSpec::new(flags.auto_shutdown(AutoShutdown::AnySignificant)).child(tap)
        });
        Some(spec.restart(Restart::Temporary).placement(thread))
    })
}

impl<T: MediaTap> TapActor<T> {
    fn new(
        shared: &Arc<Shared>,
        seat: &Arc<TapSeat>,
        options: TapOptions,
        wishes: KeyframeWishes,
        tap: T,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            seat: Arc::clone(seat),
            options,
            wishes,
            tap,
            tracks: HashMap::new(),
            senders: HashMap::new(),
            assemblers: Assemblers::new(MOST_HELD),
        }
    }

    fn load(&mut self) {
        self.seat.reads_tracks();
        let tracks = self.shared.stage().tracks().to_vec();
        let mut before = std::mem::take(&mut self.tracks);
        let mut added = Vec::new();
        for track in &tracks {
            let id = track.info.id;
            let flow = match before.remove(&id) {
                Some(flow) => flow.map(|flow| flow.updated(track)),
                None if self.options.chooses(&track.info) => {
                    added.push(id);
                    Some(Flow::new(track))
                }
                None => None,
            };
            self.tracks.insert(id, flow);
        }
        for (gone, _) in before.into_iter().filter(|(_, flow)| flow.is_some()) {
            self.tap.track_removed(gone);
        }
        let flows = &self.tracks;
        self.assemblers.retain(|(track, encoding)| {
            let flow = flows.get(track).and_then(Option::as_ref);
            flow.is_some_and(|flow| usize::from(*encoding) < flow.streams.len())
        });
        let there = |id: &ParticipantId| tracks.iter().any(|track| track.info.participant == *id);
        self.senders.retain(|id, _| there(id));
        for id in added {
            let Some(Some(flow)) = self.tracks.get(&id) else { continue };
            self.tap.track_added(&flow.info);
            if flow.info.kind == TrackKind::Video {
                for encoding in 0..flow.streams.len() {
                    let participant = flow.info.participant;
                    self.shared.want_keyframe(participant, id, encoding as Encoding);
                }
            }
        }
    }

    fn handle_report(&mut self, report: &SenderReport) {
        let Some(Some(flow)) = self.tracks.get_mut(&TrackId(report.transceiver)) else { return };
        let place = report.rid.map_or(Some(0), |rid| flow.rids.iter().position(|&it| it == rid));
        let Some(stream) = place.and_then(|place| flow.streams.get_mut(place)) else { return };
        let sender = self.senders.entry(flow.info.participant);
        let sender = sender.or_insert_with(|| SenderClock::new(report.received));
        sender.handle_report(&mut stream.clock, report.ntp, report.rtp_time, report.received);
    }

    fn handle_packet(&mut self, media: &MediaPacket) {
        if !self.tracks.contains_key(&media.track) {
            // It was published before it sent anything, and this actor is told soon.
            self.load();
        }
        let Some(Some(flow)) = self.tracks.get_mut(&media.track) else { return };
        if media.contents.is_ok() {
            self.tap.packet(&flow.info, &media.packet);
        }
        let (encoding, at) = (media.encoding, media.packet.at);
        let participant = flow.info.participant;
        let sender = self.senders.entry(participant).or_insert_with(|| SenderClock::new(at));
        flow.choice.hears(encoding, at);
        for mut frame in flow.assemble(media, sender, &mut self.assemblers) {
            if let Some((_, height)) = frame.size {
                flow.choice.measures(encoding, height);
            }
            if flow.choice.takes(encoding, frame.keyframe, at) {
                // Each encoding has a clock of its own.
                frame.captured = flow.last.map_or(frame.captured, |last| last.max(frame.captured));
                flow.last = Some(frame.captured);
                self.tap.frame(&flow.info, &frame);
            }
        }
        if flow.needs_keyframe(encoding, at, &self.assemblers) {
            self.shared.want_keyframe(participant, media.track, encoding);
        }
    }

    /// Asks for the key frames that the tap needs.
    fn carry_wishes(&self) {
        for track in self.wishes.take() {
            let Some(Some(flow)) = self.tracks.get(&track) else { continue };
            for encoding in flow.flowing() {
                self.shared.want_keyframe(flow.info.participant, track, encoding as Encoding);
            }
        }
    }
}

impl Flow {
    fn new(track: &stage::Track) -> Self {
        let (info, streams) = (track.info.clone(), Vec::new());
        let flow = Self {
            info,
            codings: HashMap::new(),
            rids: Vec::new(),
            streams,
            choice: <_>::default(),
            last: None,
        };
        flow.updated(track)
    }

    fn updated(mut self, track: &stage::Track) -> Self {
        let codings = track.codecs.iter();
        let codings = codings.filter_map(|(number, codec)| Some((*number, Coding::of(codec)?)));
        self.codings = codings.collect();
        self.info = track.info.clone();
        if self.rids != track.encodings || self.streams.is_empty() {
            self.rids.clone_from(&track.encodings);
            let rate = if self.info.kind == TrackKind::Audio { 48_000 } else { 90_000 };
            let streams = std::iter::repeat_with(|| Stream::new(rate));
            self.streams = streams.take(self.rids.len().max(1)).collect();
            self.choice = Choice::default();
        }
        self
    }

    /// Returns the frames that are complete with a packet.
    fn assemble(
        &mut self,
        media: &MediaPacket,
        sender: &SenderClock,
        assemblers: &mut Assemblers<StreamId>,
    ) -> Vec<Frame> {
        let (coding, payload) = self.read(media);
        let Some(stream) = self.streams.get_mut(usize::from(media.encoding)) else {
            return Vec::new();
        };
        let (packet, id) = (&media.packet, (media.track, media.encoding));
        let known = coding.and_then(|coding| Some((coding, codec(coding)?)));
        if let Some((coding, _)) = known
            && (stream.epoch != Some(media.epoch)
                || assemblers.get(&id).is_none_or(|it| it.coding() != coding))
        {
            // What came before a silence is no part of what comes after it.
            stream.epoch = Some(media.epoch);
            assemblers.begin(id, coding);
        }
        let Some(assembler) = assemblers.get(&id) else { return Vec::new() };
        let codec = codec(assembler.coding());
        // What is no part of a frame has a number nevertheless.
        let is_part = known.is_some() && media.contents != Err(ContentsError::Padding);
        let part = Part {
            number: packet.sequence_number,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: if is_part { payload } else { Arc::from([]) },
            at: packet.at,
        };
        let frames = assemblers.push(&id, part).into_iter();
        let frames = frames.filter_map(|frame| {
            let captured = sender.captured(&mut stream.clock, frame.timestamp, frame.at);
            Some(public(frame, codec?, captured))
        });
        frames.collect()
    }

    /// Returns the coding of a packet and its payload; of redundant sound, those of its newest frame.
    fn read(&self, media: &MediaPacket) -> (Option<Coding>, Arc<[u8]>) {
        let coding_of = |payload_type: u8| self.codings.get(&payload_type).copied();
        match (coding_of(media.packet.payload_type), &media.plain) {
            (Some(Coding::Red), Some(plain)) => {
                (coding_of(plain.payload_type), Arc::clone(&plain.frame))
            }
            (Some(Coding::Red), None) => (None, Arc::from([])),
            (coding, _) => (coding, Arc::clone(&media.packet.payload)),
        }
    }

    /// Returns whether to ask for a key frame of an encoding.
    fn needs_keyframe(
        &mut self,
        encoding: Encoding,
        at: Instant,
        assemblers: &Assemblers<StreamId>,
    ) -> bool {
        let Some(stream) = self.streams.get_mut(usize::from(encoding)) else { return false };
        let Some(assembler) = assemblers.get(&(self.info.id, encoding)) else { return false };
        // One that is not taken can only be taken from a key frame on.
        let needs = assembler.waits()
            || has_keyframes(assembler.coding()) && self.choice.current() != Some(encoding);
        let since = stream.asked.map(|asked| at.saturating_duration_since(asked));
        let asks = needs && since.is_none_or(|it| it >= ASKED) && self.choice.wants(encoding, at);
        if asks {
            stream.asked = Some(at);
        }
        asks
    }

    /// Returns the places of the encodings that may flow: the one that is taken, or all before the first.
    fn flowing(&self) -> std::ops::Range<usize> {
        let current = self.choice.current().map(usize::from);
        current.map_or(0..self.streams.len(), |current| current..current + 1)
    }
}

impl Stream {
    fn new(rate: u32) -> Self {
        Self { clock: StreamClock::new(rate), epoch: None, asked: None }
    }
}

/// Returns the codec of frames; none of one whose frames are not known.
fn codec(coding: Coding) -> Option<Codec> {
    match coding {
        Coding::Opus => Some(Codec::Opus),
        Coding::Vp8 => Some(Codec::Vp8),
        Coding::H264 => Some(Codec::H264),
        Coding::Red | Coding::Vp9 | Coding::Av1 | Coding::OtherAudio | Coding::OtherVideo => None,
    }
}

fn public(frame: Assembled, codec: Codec, captured: Instant) -> Frame {
    let Assembled { data, keyframe, after_loss, timestamp, size, .. } = frame;
    Frame { codec, data, keyframe, after_loss, timestamp, captured, size }
}

impl<T: MediaTap> Actor for TapActor<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.seat.way.leads_to(ctx.address().recipient());
        if self.seat.has_ended() {
            return ctx.stop();
        }
        self.load();
        if let Some(track) = self.options.track
            && !self.tracks.contains_key(&track)
        {
            // It has ended before, and none of the tap's instances may have been told.
            self.tap.track_removed(track);
        }
    }
}

impl<T: MediaTap> Handler<ToTap> for TapActor<T> {
    type Result = ();

    fn handle(&mut self, told: ToTap, ctx: &mut Context<Self>) {
        match told {
            ToTap::Tracks => self.load(),
            ToTap::Media { packets, reports } => {
                reports.iter().for_each(|report| self.handle_report(report));
                packets.iter().for_each(|packet| self.handle_packet(packet));
                self.carry_wishes();
            }
            ToTap::Stop => ctx.stop(),
        }
    }
}

/// Batches that wait at most: a second of a few busy videos.
const MAILBOX: usize = 512;
/// Bytes of frames that are not complete, of all tracks together: several times what the cameras of a large room begin
/// at once. One frame has 4 MiB at most.
const MOST_HELD: usize = 16 << 20;
/// Time between two requests for a key frame; the publisher limits and repeats them by itself.
const ASKED: Duration = Duration::from_secs(1);
/// Restarts of a tap before it is given up …
const RESTARTS: u32 = 3;
/// … within this time.
const WITHIN: Duration = Duration::from_secs(10);
