//! Publisher: takes the packets of one participant, reads them once, and hands them to all subscribers that receive
//! them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use callboard_peer_connection::messages::{RequestKeyframe, SetMediaSink};
use callboard_peer_connection::{KeyframeRequestKind, PacketBatch, RtpPacket, TransceiverId};

use super::published::Published;
use crate::core::packet::{self, Coding, ContentsError};
use crate::event::{ParticipantId, TrackId};
use crate::messages::{MediaPacket, ToPublisher, ToRelay, ToRoom, ToSubscriber, Viewers};
use crate::shared::{Seat, Shared};

/// Publisher of one participant.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    id: ParticipantId,
    seat: Option<Arc<Seat>>,
    tracks: HashMap<TransceiverId, Published>,
    /// Viewers on its own thread.
    viewers: Vec<Arc<Seat>>,
    /// Viewers on other threads, with their threads.
    far: Vec<(usize, Viewers)>,
    /// First epoch of its tracks.
    epoch: u32,
    /// When the next key frame is asked for.
    timer: Option<(Instant, SpawnHandle)>,
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
            // Another one for each instance: what came between two is lost to all viewers.
            epoch: uuid::Uuid::new_v4().as_u128() as u32,
            timer: None,
        }
    }

    fn load(&mut self) {
        let stage = self.shared.stage();
        let mut before = std::mem::take(&mut self.tracks);
        for track in stage.tracks_of(self.id) {
            let TrackId(id) = track.info.id;
            let codings = track.codecs.iter();
            let codings = codings.filter_map(|(number, codec)| Some((*number, Coding::of(codec)?)));
            let codings = codings.collect();
            let mut published = match before.remove(&id) {
                Some(published) => Published { codings, ..published },
                None => Published::new(track.info.kind, codings, self.epoch),
            };
            published.name_encodings(&track.encodings);
            self.tracks.insert(id, published);
        }
        let viewers = stage.viewers_of(self.id);
        drop(stage);
        let viewers = viewers.into_iter().filter_map(|id| self.shared.seat(id));
        let mut viewers = viewers.fold(BTreeMap::<_, Vec<_>>::new(), |mut all, viewer| {
            all.entry(viewer.thread).or_default().push(viewer);
            all
        });
        let own = self.seat.as_ref().map(|seat| seat.thread);
        self.viewers = own.and_then(|own| viewers.remove(&own)).unwrap_or_default();
        let ways =
            |viewers: Vec<Arc<Seat>>| viewers.iter().map(|it| Arc::clone(&it.subscriber)).collect();
        self.far = viewers.into_iter().map(|(thread, viewers)| (thread, ways(viewers))).collect();
    }

    fn read(&mut self, packet: RtpPacket) -> Option<MediaPacket> {
        let track = TrackId(packet.transceiver);
        let published = self.tracks.get_mut(&packet.transceiver)?;
        let encoding = published.encoding(packet.rid)?;
        if let Some(loudness) = published.measure(&packet) {
            // The next one comes soon.
            self.shared.room.try_send(ToRoom::Loudness(track, loudness));
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
        // What is of no use to viewers is closed up.
        let coding = published.codings.get(&packet.payload_type);
        let contents = coding
            .map_or(Err(ContentsError::Malformed), |&coding| packet::read(coding, &packet.payload));
        if contents.is_ok_and(|contents| contents.entry) {
            published.encodings[usize::from(encoding)].1.came();
        }
        Some(MediaPacket { track, encoding, contents, epoch: published.epoch, packet })
    }

    /// Asks for the key frames that are due, and sets the timer for the next.
    fn ask(&mut self, ctx: &mut Context<Self>) {
        let now = tokio::time::Instant::now().into_std();
        let mut next: Option<Instant> = None;
        for (&transceiver, published) in &mut self.tracks {
            for (rid, keyframes) in &mut published.encodings {
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
            let timer = ctx.run_later(wait, |this, ctx| {
                this.timer = None;
                this.ask(ctx);
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
        let packets = received.packets.into_iter();
        let packets: Arc<[_]> = packets.filter_map(|packet| self.read(packet)).collect();
        if !packets.is_empty() {
            for viewer in &self.viewers {
                // One that has no room, or is being restarted, loses it: its receiver asks for a key frame.
                viewer.subscriber.try_send(ToSubscriber::Packets(Arc::clone(&packets)));
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
        if !taps.is_empty() {
            let reports = received.reports.into();
            taps.iter().for_each(|tap| tap.hand(self.id, &packets, &reports));
        }
        self.ask(ctx);
    }
}

/// Batches that wait at most: a second of a busy video.
const MAILBOX: usize = 256;
