//! A viewer of three simulcast senders in a media room, over a link that becomes narrow, and wide again.
#![allow(clippy::disallowed_methods, reason = "it measures in real time")]

mod caller;
#[path = "../../../crates/media-rooms/tests/egress/mod.rs"]
mod egress;
mod side;

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;
use callboard_media_rooms::*;
use callboard_peer_connection::ConnectionEvent;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::caller::{Caller, RATE, RIDS, Received};
use self::side::{Heard, Side};
use crate::Namespace;

/// What one run over a link that was cut to 1 Mbit/s, and then freed, has shown. A state that did not come has taken
/// [`LONGEST`].
#[derive(Clone, Copy, Debug)]
pub struct LinkCut {
    /// Time from the cut until the estimate was 70 to 100 % of the link.
    pub estimated: Duration,
    /// Time from then until the other tracks had given way to the pinned one.
    pub gave_way: Duration,
    /// Packets of the pinned track that came in the 5 s after that.
    pub packets: u64,
    /// Longest time without a packet of the pinned track, from the cut until the link was freed.
    pub longest_gap: Duration,
    /// Whether the pinned track was ever paused, from the cut until the end.
    pub was_paused: bool,
    /// Time from the end of the cut until all tracks were in their highest layer again.
    pub wide_again: Duration,
}

impl LinkCut {
    /// Runs once, in two new networks with a link between them.
    ///
    /// # Panics
    ///
    /// Without root, without the programs `ip` and `tc`, and when the callers do not come together.
    pub fn run() -> Self {
        let (server, home) = (Namespace::new(), Namespace::new());
        server.connect(("link0", "10.20.0.1/24"), &home, ("link0", "10.20.0.2/24"));
        server.run(|| System::new().block_on(cut(&server, &home)))
    }
}

/// What the viewer's side is told of its link and of what flows over it.
struct Watch {
    began: Instant,
    /// Latest estimate, in bits per second.
    estimate: u64,
    flows: HashMap<TrackId, Flow>,
    /// Tracks that were ever paused.
    paused: Vec<TrackId>,
}

impl Watch {
    fn note(&mut self, heard: Heard) {
        let at = self.began.elapsed().as_millis();
        match heard {
            Heard::Connection(ConnectionEvent::BandwidthEstimate { bitrate, can_probe }) => {
                assert!(can_probe, "the viewer says when packets arrive");
                log::info!("{at} ms: {} kbit/s", bitrate / 1_000);
                self.estimate = bitrate;
            }
            Heard::Room(MediaEvent::SlotFlow { mid, track, flow }) => {
                let layer = flow.rid.map(|rid| rid.to_string()).unwrap_or_default();
                log::info!("{at} ms: slot {mid} {:?} {layer}", flow.state);
                if flow.state == FlowState::Paused {
                    self.paused.push(track.id);
                }
                self.flows.insert(track.id, flow);
            }
            _ => {}
        }
    }

    /// Returns the place of the encoding that flows of a track; none if nothing does.
    fn layer(&self, track: TrackId) -> Option<usize> {
        let flow = self.flows.get(&track).filter(|flow| flow.state == FlowState::Flowing)?;
        let rid = flow.rid?.to_string();
        RIDS.iter().position(|other| *other == rid)
    }
}

/// A call of three that send pictures, and one that watches them.
struct Call {
    senders: Vec<Caller>,
    viewer: Caller,
    watch: Watch,
}

impl Call {
    /// Lets the pictures flow until this holds, for [`LONGEST`] at most. Returns how long that took.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Watch) -> bool) -> Duration {
        let began = Instant::now();
        let mut pace = interval(Duration::from_secs(1) / RATE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !holds(&self.watch) {
            if began.elapsed() >= LONGEST {
                log::info!("{what}: not within {LONGEST:?}");
                return LONGEST;
            }
            pace.tick().await;
            show(&mut self.senders).await;
            self.viewer.listen();
            self.viewer.news.drain(..).for_each(|heard| self.watch.note(heard));
        }
        log::info!("{what}: after {:?}", began.elapsed());
        began.elapsed()
    }
}

async fn show(senders: &mut [Caller]) {
    for sender in senders {
        sender.listen();
        sender.news.clear();
        sender.show().await;
    }
}

async fn cut(server: &Namespace, home: &Namespace) -> LinkCut {
    let (here, there) = (Side::start(server, 1).await, Side::start(home, 1).await);
    let studio = Side::start(server, 3).await;
    let room = MediaRoom::start(here.connections.clone(), 0).await.expect("a room");
    let mut senders = Vec::new();
    for thread in 0..3 {
        senders.push(Caller::join(&room, (&here, None), (&studio, thread), 0).await);
    }
    // Those that were sent for a while are measured.
    let mut pace = interval(Duration::from_secs(1) / RATE);
    for _ in 0..2 * RATE {
        pace.tick().await;
        show(&mut senders).await;
    }
    let viewer = Caller::join(&room, (&here, Some(FIRST_ESTIMATE)), (&there, 0), 3).await;
    let of = |caller: &Caller| {
        room.tracks().into_iter().find(|it| it.participant == caller.id).expect("its track").id
    };
    let tracks: Vec<_> = senders.iter().map(of).collect();
    let pinned = tracks[PINNED];
    let mut wishes = Wishes::default();
    wishes.tracks.insert(pinned, {
        let mut wish = Wish::default();
        wish.priority = 1;
        wish
    });
    viewer.participant.get().expect("it has joined").wish(wishes).expect("they are few");
    let watch =
        Watch { began: Instant::now(), estimate: 0, flows: HashMap::new(), paused: Vec::new() };
    let mut call = Call { senders, viewer, watch };
    let all_high = |watch: &Watch| tracks.iter().all(|track| watch.layer(*track) == Some(2));
    let wide = |watch: &Watch| all_high(watch) && watch.estimate > ALL_HIGH;
    call.until("wide: all in the highest layer", wide).await;

    call.watch.paused.clear();
    call.viewer.received[PINNED].longest_gap = Duration::ZERO;
    server.tc("qdisc add dev link0 root tbf rate 1mbit burst 10kb latency 300ms");
    let fits = |watch: &Watch| (700_000..=1_000_000).contains(&watch.estimate);
    let estimated = call.until("narrow: the estimate is that of the link", fits).await;
    // One in the highest layer leaves nothing for the others.
    let give_way = |watch: &Watch| {
        let mut others = tracks.iter().filter(|track| **track != pinned);
        fits(watch) && others.all(|track| watch.layer(*track) < Some(2))
    };
    let gave_way = call.until("narrow: the others give way", give_way).await;
    let (narrow, before) = (Instant::now(), call.viewer.received[PINNED].packets);
    call.until("narrow: it goes on so", |_| narrow.elapsed() > OBSERVED).await;
    let Received { packets, longest_gap, .. } = call.viewer.received[PINNED];
    log::info!("narrow: the pinned track had no packet for {longest_gap:?} at most");

    server.tc("qdisc del dev link0 root");
    let wide_again = call.until("wide again: all in the highest layer", wide).await;
    let (packets, was_paused) = (packets - before, call.watch.paused.contains(&pinned));
    LinkCut { estimated, gave_way, packets, longest_gap, was_paused, wide_again }
}

/// Time after which a state that should come in seconds never will.
pub const LONGEST: Duration = Duration::from_secs(300);
/// Time for which the narrow link is watched.
const OBSERVED: Duration = Duration::from_secs(5);
/// Estimate of the viewer's bandwidth to begin with, in bits per second: what signaling begins with.
const FIRST_ESTIMATE: u64 = 1_000_000;
/// Place of the sender whose track is of the highest priority.
const PINNED: usize = 1;
/// Bits per second that are more than the highest layers of all take.
const ALL_HIGH: u64 = 3_000_000;
