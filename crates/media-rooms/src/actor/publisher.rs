//! Publisher: takes the packets of one participant, reads them once, and hands them to all subscribers that receive
//! them, a frame at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_peer_connection::messages::{RequestKeyframe, SetMediaSink};
use callboard_peer_connection::{
    KeyframeRequestKind, PacketBatch, RtpPacket, SenderReport, TrackKind, TransceiverId,
};

use super::published::{Published, PublishedEncoding};
use crate::core::hold::{Hold, Part};
use crate::core::packet::{self, Coding, ContentsError};
use crate::event::{MediaEvent, ParticipantId, TrackId};
use crate::messages::{
    MediaPacket, Plain, ToPublisher, ToRelay, ToRoom, ToSubscriber, Viewer, Viewers,
};
use crate::shared::{Seat, Shared, TrackLayers};

/// Publisher of one participant.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    id: ParticipantId,
    seat: Option<Arc<Seat>>,
    tracks: HashMap<TransceiverId, Published>,
    /// Viewers on its own thread.
    viewers: Vec<Arc<Viewer>>,
    /// Viewers on other threads, with their threads.
    far: Vec<(usize, Viewers)>,
    /// Packets that wait for the rest of their frame, and those that go on.
    hold: Hold<MediaPacket>,
    /// A timer lets go on what has waited long enough.
    hold_is_timed: bool,
    /// First epoch of its tracks.
    epoch: u32,
    /// When the next key frame is asked for.
    timer: Option<(Instant, SpawnHandle)>,
    /// When its layers are told next; none while nothing is to tell.
    telling: Option<SpawnHandle>,
    /// Until then what is measured is not complete.
    measures_until: Option<Instant>,
}

impl Publisher {
    pub(crate) fn new(shared: &Arc<Shared>, id: ParticipantId) -> Self {
        Self {
            seat: shared.seat(id),
            shared: Arc::clone(shared),
            id,
            tracks: HashMap::new(),
            viewers: Vec::new(),
            far: Vec::new(),
            hold: Hold::default(),
            hold_is_timed: false,
            // Another one for each instance: what came between two is lost to all viewers.
            epoch: uuid::Uuid::new_v4().as_u128() as u32,
            timer: None,
            telling: None,
            measures_until: None,
        }
    }

    fn load(&mut self) {
        let (now, is_tapped) = (now(), !self.shared.taps().is_empty());
        let mut stage = self.shared.stage();
        let retells = stage.retells_layers(self.id);
        let mut before = std::mem::take(&mut self.tracks);
        for track in stage.tracks_of(self.id) {
            let TrackId(id) = track.info.id;
            let codings = track.codecs.iter();
            let codings = codings.filter_map(|(number, codec)| Some((*number, Coding::of(codec)?)));
            let codings = codings.collect();
            let before = before.remove(&id);
            let is_new = before.is_none();
            let mut published = match before {
                Some(published) => published.with_codings(codings),
                None => Published::new(&track.info, codings, self.epoch),
            };
            published.name_encodings(&track.encodings);
            let known = self.seat.as_ref().filter(|_| is_new).map(|seat| seat.encodings.load());
            if let Some(known) = known.as_ref().and_then(|known| known.get(&track.info.id)) {
                published.resume(known);
            }
            if retells {
                published.retell();
            }
            published.wish(stage.wishes_for(track.info.id));
            published.consider_wishes(now, is_tapped);
            self.tracks.insert(id, published);
        }
        let viewers = stage.viewers_of(self.id);
        drop(stage);
        let viewers = viewers.into_iter().filter_map(|id| self.shared.seat(id));
        let mut viewers = viewers.fold(BTreeMap::<_, Vec<_>>::new(), |mut all, seat| {
            all.entry(seat.thread).or_default().push(Arc::clone(&seat.viewer));
            all
        });
        let own = self.seat.as_ref().map(|seat| seat.thread);
        self.viewers = own.and_then(|own| viewers.remove(&own)).unwrap_or_default();
        let far = viewers.into_iter().map(|(thread, viewers)| (thread, Viewers::from(viewers)));
        self.far = far.collect();
        self.tell_wanted();
    }

    /// Tells the participant which encodings it should send, where that has changed.
    fn tell_wanted(&mut self) {
        let Some(seat) = &self.seat else { return };
        for (&transceiver, published) in &mut self.tracks {
            if let Some(rids) = published.tell_wanted() {
                // Limited by the time after which an encoding is unwanted.
                let (track, mid) = (TrackId(transceiver), published.mid.clone());
                seat.tell(MediaEvent::LayersWanted { track, mid, rids });
            }
        }
        let known = self.tracks.iter().filter(|(_, it)| it.encodings.len() > 1);
        let known: HashMap<_, _> =
            known.map(|(&track, published)| (TrackId(track), published.known())).collect();
        if **seat.encodings.load() != known {
            seat.encodings.store(Arc::new(known));
        }
    }

    /// Takes what has changed of the layers; other ones than before are told at once.
    fn tend_layers(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        let mut is_other = false;
        for published in self.tracks.values_mut().filter(|it| it.kind == TrackKind::Video) {
            is_other |= published.poll_layers(now);
        }
        if is_other {
            self.tell_layers(now, true);
        }
        if self.telling.is_none() && self.tracks.values().any(|it| it.kind == TrackKind::Video) {
            self.telling = Some(ctx.run_later(TELLING, |this, ctx| {
                let now = self::now();
                this.telling = None;
                let videos = this.tracks.values_mut().filter(|it| it.kind == TrackKind::Video);
                let (mut goes_on, is_tapped) = (false, !this.shared.taps().is_empty());
                for published in videos {
                    published.poll_layers(now);
                    published.consider_wishes(now, is_tapped);
                    goes_on |= published.layers.poll_timeout().is_some();
                }
                this.tell_layers(now, false);
                this.tell_wanted();
                if goes_on {
                    this.tend_layers(ctx);
                }
            }));
        }
    }

    /// Tells the viewers which layers are heard.
    fn tell_layers(&mut self, now: Instant, soon: bool) {
        // After a restart those that were heard before stay known until these are.
        if self.measures_until.is_some_and(|until| until > now) {
            return;
        }
        let Some(seat) = &self.seat else { return };
        let before = seat.layers.load();
        let tracks = self.tracks.iter().filter(|(_, it)| it.kind == TrackKind::Video);
        let layers = tracks.filter_map(|(&transceiver, published)| {
            let (track, heard) = (TrackId(transceiver), published.heard());
            let layers = match before.get(&track) {
                Some(before) if heard.is_empty() => Arc::clone(before),
                _ if heard.is_empty() => return None,
                _ => heard.into(),
            };
            Some((track, layers))
        });
        let layers: TrackLayers = layers.collect();
        seat.layers.store(Arc::new(layers));
        for viewer in self.viewers.iter().chain(self.far.iter().flat_map(|(_, viewers)| &**viewers))
        {
            // The next one comes soon.
            viewer.subscriber.try_send(ToSubscriber::Allocate { soon });
        }
    }

    /// Reads a packet. It goes on with the rest of its frame; one that is not forwarded goes no further.
    fn read(&mut self, now: Instant, packet: RtpPacket) -> Option<()> {
        let track = TrackId(packet.transceiver);
        let published = self.tracks.get_mut(&packet.transceiver)?;
        let encoding = published.encoding(packet.rid)?;
        if let Some(loudness) = published.measure(&packet) {
            // The next one comes soon.
            self.shared.room.try_send(ToRoom::Loudness(track, loudness));
        }
        // What is of no use to viewers is closed up.
        let coding = published.codings.get(&packet.payload_type).copied();
        let contents = coding
            .map_or(Err(ContentsError::Malformed), |coding| packet::read(coding, &packet.payload));
        if let Ok(contents) = &contents
            && published.kind == TrackKind::Video
        {
            published.count(encoding, &packet, contents);
        }
        let was_silent = published.is_silent;
        let silence = self.shared.silence.load();
        published.is_silent = silence.muted.contains(&track)
            || published.is_metered && silence.quiet.contains(&track);
        if published.is_silent {
            return None;
        }
        if was_silent {
            published.epoch = published.epoch.wrapping_add(1);
        }
        if contents.is_ok_and(|contents| contents.entry) {
            published.encodings[usize::from(encoding)].keyframes.came();
        }
        let part = Part {
            number: packet.sequence_number,
            timestamp: packet.timestamp,
            ends_frame: packet.marker,
        };
        let epoch = published.epoch;
        let is_redundant = coding == Some(Coding::Red);
        let plain = is_redundant.then(|| Plain::of(&packet.payload)).flatten();
        let media = MediaPacket { track, encoding, contents, epoch, packet, plain };
        match published.kind {
            TrackKind::Audio => self.hold.pass(media),
            TrackKind::Video => {
                let frames = &mut published.encodings[usize::from(encoding)].frames;
                self.hold.push(now, frames, part, media);
            }
        }
        Some(())
    }

    /// Hands on what waits no more, and the reports that came with it; sets the timer for what waits.
    fn hand_on(&mut self, reports: Vec<SenderReport>, ctx: &mut Context<Self>) {
        let packets: Arc<[_]> = self.hold.take().collect();
        if !packets.is_empty() {
            for viewer in &self.viewers {
                viewer.hand(&packets);
            }
            for (thread, viewers) in &self.far {
                let (packets, viewers) = (Arc::clone(&packets), Arc::clone(viewers));
                if let Some(relay) = self.shared.relays.get(*thread) {
                    // Likewise.
                    relay.try_send(ToRelay { packets, viewers });
                }
            }
        }
        let taps = self.shared.taps();
        let has_news = !packets.is_empty() || !reports.is_empty();
        if has_news && !taps.is_empty() {
            let reports = reports.into();
            taps.iter().for_each(|tap| tap.hand(self.id, &packets, &reports));
        }
        if let Some(due) = self.hold.poll_timeout()
            && !std::mem::replace(&mut self.hold_is_timed, true)
        {
            // One that is early for what waits by then is set again.
            ctx.run_later(due.saturating_duration_since(now()), |this, ctx| {
                this.hold_is_timed = false;
                this.hold.handle_timeout(now());
                this.hand_on(Vec::new(), ctx);
            });
        }
    }

    /// Asks for the key frames that are due, and sets the timer for the next.
    fn ask(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        let mut next: Option<Instant> = None;
        for (&transceiver, published) in &mut self.tracks {
            for PublishedEncoding { rid, keyframes, .. } in &mut published.encodings {
                if keyframes.poll(now) {
                    let kind = KeyframeRequestKind::Pli;
                    let request = RequestKeyframe { transceiver, rid: *rid, kind };
                    if let Some(seat) = &self.seat {
                        // Repeated until it comes.
                        _ = seat.connection.try_send(request);
                    }
                }
                next = next.into_iter().chain(keyframes.due(now)).min();
            }
        }
        if self.timer.map(|(due, _)| due) == next {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = next.map(|due| {
            let wait = due.saturating_duration_since(now);
            let timer = ctx.run_later(wait, move |this, ctx| {
                // One that is cancelled in the pass in which it is due runs nevertheless.
                if this.timer.take_if(|(its, _)| *its == due).is_some() {
                    this.ask(ctx);
                }
            });
            (due, timer)
        });
    }
}

impl Actor for Publisher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(seat) = &self.seat {
            seat.publisher.leads_to(ctx.address().recipient());
            // Once for each instance.
            let sink = SetMediaSink(Some(ctx.address().recipient()));
            _ = seat.connection.address().map(|connection| connection.do_send(sink));
        }
        self.load();
        // What came while no instance ran is lost to all viewers.
        self.tracks.values_mut().for_each(|published| published.want(0));
        let is_known = self.seat.as_ref().is_some_and(|seat| !seat.layers.load().is_empty());
        self.measures_until = is_known.then(|| now() + TELLING);
        self.ask(ctx);
    }
}

impl Handler<ToPublisher> for Publisher {
    type Result = ();

    fn handle(&mut self, told: ToPublisher, ctx: &mut Context<Self>) {
        match told {
            ToPublisher::FanOut => self.load(),
            ToPublisher::WantKeyframe { track: TrackId(track), encoding } => {
                if let Some(published) = self.tracks.get_mut(&track) {
                    published.want(encoding);
                }
            }
        }
        self.ask(ctx);
    }
}

impl Handler<PacketBatch> for Publisher {
    type Result = ();

    fn handle(&mut self, received: PacketBatch, ctx: &mut Context<Self>) {
        let now = now();
        for packet in received.packets {
            self.read(now, packet);
        }
        self.hand_on(received.reports, ctx);
        self.tend_layers(ctx);
        self.ask(ctx);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Batches that wait at most: a second of a busy video.
const MAILBOX: usize = 256;
/// How often viewers are told what the layers cost.
const TELLING: Duration = Duration::from_millis(500);
