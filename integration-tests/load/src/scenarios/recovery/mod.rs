//! Recovery under load: kills actors one after the other, and measures how long it takes until the tree is whole again,
//! and what the clients notice, those that are hit and those that are not.

mod admin;
mod fault;
mod flow;
mod link;
pub(super) mod media;
mod member;

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

pub(super) use self::admin::Admin;
use self::admin::Noted;
use self::fault::{Hit, KINDS, told};
use self::flow::{Fate, Flow};
use self::link::Engine;
use self::member::{Member, Seen};
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(
    server: &Process,
    peers: usize,
    time: Duration,
) -> io::Result<Measured> {
    let engine = Engine::start().await?;
    let members = (0..peers).map(|number| {
        // One member of each room has a connection.
        let linked = (number % ROOM == 0).then(|| engine.clone());
        let pause = Duration::from_millis(number as u64);
        Member::start(server.endpoint(), format!("room-{}", number / ROOM), linked, pause)
    });
    let mut experiment = Experiment {
        admin: Admin(server.address),
        members: members.collect(),
        hits: Vec::new(),
        noted: Vec::new(),
    };
    experiment.all_up().await?;

    let quiet = Instant::now();
    // A measured period, not a wait for an event.
    sleep(time / 3).await;
    let began = Instant::now();
    experiment.inject_faults(time).await?;
    let ended = Instant::now();
    experiment.all_up().await?;
    // Time for messages that are still under way.
    sleep(LAST).await;
    experiment.note().await?;
    experiment.measured(quiet, began, ended)
}

struct Experiment {
    admin: Admin,
    members: Vec<Member>,
    hits: Vec<Hit>,
    /// Recoveries that the server has recorded.
    noted: Vec<Noted>,
}

impl Experiment {
    async fn all_up(&self) -> io::Result<()> {
        let up = async {
            while !self.members.iter().all(Member::is_up) {
                sleep(LOOK).await;
            }
        };
        Ok(timeout(UP, up).await?)
    }

    /// Injects faults for this time, and at least one into each kind of actor.
    async fn inject_faults(&mut self, time: Duration) -> io::Result<()> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (began, mut next) = (Instant::now(), 0);
        for (number, kind) in KINDS.iter().cycle().enumerate() {
            if number >= KINDS.len() && began.elapsed() >= time {
                break;
            }
            ticks.tick().await;
            let count = self.members.len();
            let mut turns = (0..count).map(|at| (next + at) % count);
            let victim = turns.find(|&at| kind.target.fits(&self.members[at]));
            let victim = victim.ok_or_else(|| io::Error::other("no member is up"))?;
            let hit = kind.inject(self.admin, &self.members, &self.members[victim]).await;
            let name = kind.name;
            self.hits.push(hit.map_err(|error| io::Error::other(format!("{name}: {error}")))?);
            next = victim + 1;
            if self.hits.len().is_multiple_of(NOTED) {
                self.note().await?;
            }
        }
        for hit in &mut self.hits {
            if let Some(waiting) = hit.relinking.take() {
                hit.relinked = Some(told(waiting).await? - hit.at);
            }
        }
        Ok(())
    }

    /// Fetches the recoveries that the server has recorded since.
    async fn note(&mut self) -> io::Result<()> {
        // A recovery time that was not known yet may be known now.
        self.noted.retain(|noted| noted.whole_ms.is_some());
        let known: HashSet<u64> = self.noted.iter().map(|noted| noted.id).collect();
        let new = self.admin.recoveries().await?.into_iter();
        self.noted.extend(new.filter(|noted| !known.contains(&noted.id)));
        self.noted.sort_unstable_by_key(|noted| noted.id);
        Ok(())
    }

    fn measured(mut self, quiet: Instant, began: Instant, ended: Instant) -> io::Result<Measured> {
        let fates = self.fates(quiet, began, ended);
        let faults = self.hits.len() as f64;
        let (mut all, mut again, mut not_whole) = (Waits::new(), Waits::new(), 0.0);
        let mut by_kind = KINDS.map(|kind| (kind, Waits::new(), Waits::new()));
        for hit in self.hits {
            let is_it = |it: &Noted| it.path == hit.path && it.fault.is_some();
            let noted = self.noted.iter().position(is_it).map(|at| self.noted.remove(at));
            let noted =
                noted.ok_or_else(|| io::Error::other(format!("{}: not noted", hit.path)))?;
            let kind = by_kind.iter_mut().find(|(kind, ..)| kind.name == hit.kind.name);
            let Some((_, whole, back)) = kind else { continue };
            back.add(hit.back);
            hit.relinked.iter().for_each(|time| again.add(*time));
            if noted.whole_ms.is_none() {
                not_whole += 1.0;
            }
            let time = noted.whole_ms.map_or(Duration::MAX, |ms| Duration::from_secs_f64(ms / 1e3));
            whole.add(time);
            all.add(time);
        }
        let measured = Measured::default()
            .with("faults", faults)
            .with("tree whole p50, ms", all.percentile(50.0))
            .with("tree whole p99, ms", all.percentile(99.0))
            .with("tree whole max, ms", all.percentile(100.0))
            .with("never whole", not_whole)
            // The remaining failures were not injected.
            .with("failed by themselves", self.noted.len() as f64);
        let measured = by_kind.iter().fold(measured, |measured, (kind, whole, back)| {
            measured.with(kind.whole, whole.percentile(99.0)).with(kind.back, back.percentile(99.0))
        });
        let measured = measured
            .with("connected anew p50, ms", again.percentile(50.0))
            .with("connected anew p99, ms", again.percentile(99.0));
        Ok(fates.into_iter().fold(measured, |measured, (name, value)| measured.with(name, value)))
    }

    /// Returns figures on the members' messages: how many were lost, and how long they took.
    fn fates(&self, quiet: Instant, began: Instant, ended: Instant) -> [(&'static str, f64); 12] {
        let fate = |flow: fn(&Seen) -> &Flow, from, to| {
            let mut fate = Fate::default();
            self.members.iter().for_each(|it| flow(&it.seen()).judge(from, to, &mut fate));
            fate
        };
        let texts: fn(&Seen) -> &Flow = |seen| &seen.texts;
        let echoes: fn(&Seen) -> &Flow = |seen| &seen.echoes;
        let before = (fate(texts, quiet, began), fate(echoes, quiet, began));
        let (text, echo) = (fate(texts, began, ended), fate(echoes, began, ended));
        let p99 = |fate: &Fate| fate.bystanders.percentile(99.0);
        [
            ("bystanders p99 before, ms", p99(&before.0)),
            ("bystanders p99 meanwhile, ms", p99(&text)),
            ("bystanders p99, to before", p99(&text) / p99(&before.0)),
            ("bystanders' messages lost", (before.0.bystanders_lost + text.bystanders_lost) as f64),
            ("victims' messages", text.victims as f64),
            ("victims' messages lost", text.victims_lost as f64),
            ("channels: p99 before, ms", p99(&before.1)),
            ("channels: p99 meanwhile, ms", p99(&echo)),
            ("channels: p99, to before", p99(&echo) / p99(&before.1)),
            ("channels: lost", (before.1.bystanders_lost + echo.bystanders_lost) as f64),
            ("channels: victims' messages", echo.victims as f64),
            ("channels: victims' lost", echo.victims_lost as f64),
        ]
    }
}

/// Members of a room; one of them has a connection.
const ROOM: usize = 5;
/// Shortest time between two faults.
const EVERY: Duration = Duration::from_millis(200);
/// Interval of checks of the members.
const LOOK: Duration = Duration::from_millis(10);
/// Longest time in which all members join.
const UP: Duration = Duration::from_secs(60);
/// Time after which a message counts as lost.
const LAST: Duration = Duration::from_secs(1);
/// Faults between two fetches: the server remembers 256 recoveries, and one fault may cause several.
const NOTED: usize = 50;
