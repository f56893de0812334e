//! Room actor: carries out what the stage decides. No packet passes through it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_peer_connection::TrackKind;
use callboard_peer_connection::messages::SetMediaSink;
use callboard_supervision::{Down, ExitReason, MonitorId, MonitorRef, monitor};

use super::{start, tap};
use crate::core::speaker::{self, Report};
use crate::core::voices::{Sound, Voices};
use crate::event::{MediaEvent, ParticipantId, Speaker, TrackId, TrackInfo};
use crate::messages::{ToPublisher, ToRoom, ToSubscriber};
use crate::shared::{Shared, Silence};
use crate::stage::{Output, Track};

/// Actor of one media room.
pub(crate) struct RoomActor {
    shared: Arc<Shared>,
    watched: HashMap<MonitorId, Watched>,
    voices: Voices<TrackId, ParticipantId>,
    muted: BTreeSet<TrackId>,
    /// When the voices are compared next.
    timer: Option<(Instant, SpawnHandle)>,
    /// Publishers will be told of wishes.
    tells_wishes: bool,
}

/// What a monitor is for; dropping a [`MonitorRef`] leaves the monitor in place.
struct Watched {
    participant: ParticipantId,
    what: Part,
    monitor: MonitorRef,
}

#[derive(Clone, Copy)]
enum Part {
    Connection,
    Actors,
}

impl RoomActor {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            watched: HashMap::new(),
            // What was quiet when an earlier instance ended.
            voices: Voices::new(shared.silence.load().quiet.clone()),
            muted: BTreeSet::new(),
            timer: None,
            tells_wishes: false,
        }
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        // First, so that nothing of a track is forwarded any more when all are told that it is muted.
        self.note_voices(ctx);
        loop {
            let output = self.shared.stage().poll_output();
            let Some(output) = output else { break };
            self.carry_out(output, ctx);
        }
        self.shared.taps().iter().for_each(|tap| tap.tell_tracks());
        if !self.tells_wishes && self.shared.stage().has_wished() {
            self.tells_wishes = true;
            ctx.run_later(WISHES_TOGETHER, |this, ctx| {
                this.tells_wishes = false;
                this.shared.stage().tell_wishes();
                this.settle(ctx);
            });
        }
    }

    /// Notes which voices have come and gone, and which tracks are muted.
    fn note_voices(&mut self, ctx: &mut Context<Self>) {
        let (mut sounds, mut muted) = (BTreeMap::new(), BTreeSet::new());
        {
            let stage = self.shared.stage();
            let all_hidden = stage.hidden();
            for track in stage.tracks() {
                let TrackInfo { id, participant, muted: is_muted, .. } = track.info;
                if is_muted {
                    muted.insert(id);
                }
                if track.info.kind == TrackKind::Audio {
                    let hidden = all_hidden.contains(&id);
                    sounds.insert(id, Sound { participant, muted: is_muted, hidden });
                }
            }
        }
        let is_other = self.voices.set_tracks(now(), &sounds);
        if is_other || muted != self.muted {
            self.muted = muted;
            self.choose_voices();
            self.compare_voices(ctx);
        }
    }

    /// Chooses what is forwarded: of the voices all in a small room, the loudest in a larger one; nothing that is
    /// muted.
    fn choose_voices(&self) {
        let silence = Silence { muted: self.muted.clone(), quiet: self.voices.quiet() };
        if **self.shared.silence.load() != silence {
            let is_other = self.shared.stage().are_quiet(&silence.quiet);
            self.shared.silence.store(Arc::new(silence));
            if is_other {
                // Other voices may have slots now.
                self.shared.settle();
            }
        }
    }

    /// Carries out what the comparison of the voices decides, and sets the timer for the next.
    fn compare_voices(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        self.voices.handle_timeout(now);
        while let Some(output) = self.voices.poll_output() {
            match output {
                speaker::Output::Heard(_) | speaker::Output::Unheard(_) => self.choose_voices(),
                speaker::Output::Report(report) => self.report(&report),
            }
        }
        let next = self.voices.poll_timeout();
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
                    this.compare_voices(ctx);
                }
            });
            (due, timer)
        });
    }

    /// Tells all participants who speaks.
    fn report(&self, report: &Report<ParticipantId>) {
        let (dominant, loudest) = {
            let stage = self.shared.stage();
            let hidden = stage.hidden();
            let speaker = |participant| {
                let name = Arc::clone(&stage.tracks_of(participant).next()?.info.name);
                // Of what is hidden from some, none is told.
                let is_sound = |track: &&Track| track.info.kind == TrackKind::Audio;
                let mut sounds = stage.tracks_of(participant).filter(is_sound);
                let is_known = sounds.any(|track| !hidden.contains(&track.info.id));
                is_known.then_some(Speaker { participant, name })
            };
            let levels = report.levels.iter();
            let loudest: Vec<_> =
                levels.filter_map(|&(one, level)| Some((speaker(one)?, level))).collect();
            (report.dominant.and_then(speaker), loudest)
        };
        let participant = dominant.as_ref().map(|speaker| Arc::new(speaker.participant));
        let is_other =
            dominant.as_ref().is_some_and(|it| self.shared.stage().dominates(it.participant));
        if is_other {
            self.shared.settle();
        }
        self.shared.dominant.store(participant);
        for seat in self.shared.all_seats() {
            let (dominant, loudest) = (dominant.clone(), loudest.clone());
            seat.tell(MediaEvent::Speakers { dominant, loudest });
        }
    }

    fn carry_out(&mut self, output: Output, ctx: &mut Context<Self>) {
        match output {
            // Each for a change of the stage. One that is down reads the stage when it starts.
            Output::Assign(id) => {
                if let Some(seat) = self.shared.seat(id) {
                    seat.viewer.subscriber.do_send(ToSubscriber::Assign);
                }
            }
            Output::FanOut(id) => {
                if let Some(seat) = self.shared.seat(id) {
                    seat.publisher.do_send(ToPublisher::FanOut);
                } else if let Some(bot) = self.shared.bot(id) {
                    self.shared.fan_out(id, &bot);
                }
            }
            Output::Tell(id, event) => {
                if let Some(seat) = self.shared.seat(id) {
                    seat.tell(event);
                }
            }
            Output::Watch(id) => self.watch(id, ctx),
            Output::Stop(id) => self.stop(id, ctx),
        }
    }

    /// Watches a participant's connection and actors, and starts the actors if they do not run: they end with the
    /// room's supervisor, which may have been restarted, or because an operator stops them.
    fn watch(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        if self.shared.bot(id).is_some() {
            // It has none.
            return;
        }
        let shared = Arc::clone(&self.shared);
        let starting = async move {
            if let Ok(supervisor) = shared.supervisor() {
                // It starts this actor before it runs itself.
                supervisor.running().await;
            }
            // They usually run already.
            _ = start(&shared, id).await;
        };
        ctx.spawn(starting.into_actor(self).map(move |(), this, ctx| {
            if !this.shared.stage().contains(id) {
                // It has left meanwhile.
                return this.stop(id, ctx);
            }
            let to = ctx.address().recipient();
            let connection = this.shared.seat(id).and_then(|seat| seat.connection.address());
            let Some(connection) = connection else { return this.left(id, ctx) };
            // Without actors the room's supervisor is about to end, and this actor with it: the next one starts them.
            let Some(actors) = this.shared.participant(id) else { return };
            this.forget(id);
            this.note(id, Part::Connection, monitor(&connection, to.clone()));
            this.note(id, Part::Actors, actors.monitor(to));
        }));
    }

    fn note(&mut self, participant: ParticipantId, what: Part, monitor: MonitorRef) {
        self.watched.insert(monitor.id, Watched { participant, what, monitor });
    }

    /// Watches a participant no more.
    fn forget(&mut self, id: ParticipantId) {
        for (_, watched) in self.watched.extract_if(|_, watched| watched.participant == id) {
            watched.monitor.demonitor();
        }
    }

    fn stop(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        self.forget(id);
        let (shared, seat) = (Arc::clone(&self.shared), self.shared.seat(id));
        let stopping = async move {
            if let Ok(supervisor) = shared.supervisor() {
                // They may have been given up.
                _ = supervisor.terminate_child(&id.to_string()).await;
            }
            // Only now it may join anew; its packets are its owner's again.
            if let Some(seat) = seat.filter(|seat| shared.remove_seat(id, seat)) {
                // Once for each participant.
                let connection = seat.connection.address();
                _ = connection.map(|connection| connection.do_send(SetMediaSink(None)));
            }
        };
        ctx.spawn(stopping.into_actor(self));
    }

    fn left(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        self.shared.stage().leave(id);
        self.settle(ctx);
    }

    fn failed(&mut self, id: ParticipantId, ctx: &mut Context<Self>) {
        if let Some(seat) = self.shared.seat(id).filter(|_| self.shared.stage().contains(id)) {
            log::warn!("media of participant {id} has failed, and is given up");
            seat.tell(MediaEvent::Failed);
        }
        self.left(id, ctx);
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.shared.room.leads_to(ctx.address().recipient());
        self.shared.settles();
        // Those that have left, and whose end an earlier instance has not seen.
        let seated = self.shared.seated().into_iter();
        let gone: Vec<_> = seated.filter(|&id| !self.shared.stage().contains(id)).collect();
        gone.into_iter().for_each(|id| self.stop(id, ctx));
        {
            let mut stage = self.shared.stage();
            stage.restate();
            stage.tell_wishes();
        }
        self.settle(ctx);
        let shared = Arc::clone(&self.shared);
        let taps = async move {
            if let Ok(supervisor) = shared.supervisor() {
                // It starts this actor before it runs itself.
                supervisor.running().await;
            }
            for tap in shared.taps().iter() {
                // They usually run already.
                _ = tap::start(&shared, tap).await;
            }
        };
        ctx.spawn(taps.into_actor(self));
    }
}

impl Handler<ToRoom> for RoomActor {
    type Result = ();

    fn handle(&mut self, told: ToRoom, ctx: &mut Context<Self>) {
        match told {
            ToRoom::Settle => {
                self.shared.settles();
                self.settle(ctx);
            }
            ToRoom::Loudness(voice, loudness) => {
                self.voices.handle_loudness(now(), voice, loudness);
                self.compare_voices(ctx);
            }
        }
    }
}

impl Handler<Down> for RoomActor {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Context<Self>) {
        match self.watched.remove(&down.monitor) {
            Some(Watched { participant, what: Part::Connection, .. }) => {
                self.left(participant, ctx);
            }
            Some(Watched { participant, what: Part::Actors, .. }) => match down.reason {
                // By an operator, or with the room's supervisor; perhaps before the monitor.
                ExitReason::Normal | ExitReason::Shutdown(_) | ExitReason::NoProcess => {
                    self.watch(participant, ctx);
                }
                _ => self.failed(participant, ctx),
            },
            None => {}
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Time for which wishes are collected before publishers are told: a client may change its mind often.
const WISHES_TOGETHER: Duration = Duration::from_millis(100);
/// Commands that wait at most; those that must arrive are not counted.
const MAILBOX: usize = 256;
