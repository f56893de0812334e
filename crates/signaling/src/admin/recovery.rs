//! How long it takes until the tree is whole again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use callboard_supervision::{Event, ExitReason, InstanceId, Status, Strategy, TreeSnapshot};
use serde::Serialize;
use tokio::time::Instant;

use super::Measured;
use super::fault::FaultKind;
use super::tree::LastExit;
use crate::histogram::Histogram;

/// An actor that failed, or was shot, and what became of it: `GET /tree/recoveries`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recovery {
    /// Which; counts up.
    pub id: u64,
    /// Which actor.
    pub path: String,
    /// The Rust type of it, in short, if it was still known.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// What was put into it, if this was done on purpose.
    pub fault: Option<FaultKind>,
    /// Why it ended.
    pub reason: LastExit,
    /// When, in milliseconds since 1970: when it was shot, else when it ended.
    pub at_ms: u64,
    /// From then until the tree was whole again: the same child running, or gone for good with its siblings up. None while
    /// it is not, and if it was not within 30 s.
    pub whole_ms: Option<f64>,
    /// Until messages flowed again, if somebody has [told](super::Admin::measured).
    pub messages_ms: Option<f64>,
    /// Until media flowed again, if somebody has told.
    pub media_ms: Option<f64>,
}

/// Recoveries of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecoverySummary {
    /// Of actors of this type.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// That ended in this way.
    pub reason: String,
    /// How many.
    pub count: usize,
    /// Until the tree was whole again.
    pub whole: Option<Percentiles>,
    /// Until messages flowed again.
    pub messages: Option<Percentiles>,
    /// Until media flowed again.
    pub media: Option<Percentiles>,
}

/// Of several times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Half took no longer than this.
    pub p50_ms: f64,
    /// 99 of 100 took no longer than this.
    pub p99_ms: f64,
}

/// All recoveries that are remembered.
#[derive(Default)]
pub(super) struct Table {
    rows: VecDeque<Recovery>,
    /// Not whole yet.
    open: VecDeque<Open>,
    /// Shot at, and not down yet.
    expected: VecDeque<Expected>,
    /// Begun or whole since they were last told.
    news: Vec<u64>,
    next: u64,
    /// How long those took that are whole again.
    pub(super) took: Histogram,
}

struct Open {
    id: u64,
    names: Vec<String>,
    instance: InstanceId,
    killed: Instant,
    down: Instant,
    /// Since when it neither runs nor is about to.
    stopped: Option<Instant>,
}

struct Expected {
    path: String,
    type_name: String,
    instance: Option<InstanceId>,
    fault: FaultKind,
    at: Instant,
}

impl Table {
    /// This one is about to be shot.
    pub(super) fn expect_down(&mut self, node: &TreeSnapshot, fault: FaultKind, at: Instant) {
        if self.expected.len() == EXPECTED {
            self.expected.pop_front();
        }
        self.expected.push_back(Expected {
            path: node.path.to_string(),
            type_name: short_type(node.type_name),
            instance: node.instance,
            fault,
            at,
        });
    }

    /// One has ended. Those that leave as they should are no failures.
    pub(super) fn down(
        &mut self,
        event: &Event,
        reason: &ExitReason,
        type_name: Option<&str>,
        epoch_ms: impl Fn(Instant) -> u64,
    ) {
        let path = event.path.to_string();
        self.expected.retain(|it| event.at.saturating_duration_since(it.at) < GIVEN_UP);
        let is_it =
            |it: &Expected| it.path == path && it.instance.is_none_or(|it| it == event.instance);
        let expected = self.expected.iter().position(is_it).and_then(|at| self.expected.remove(at));
        if expected.is_none() && !reason.is_abnormal() {
            return;
        }
        let names: Vec<String> = event.path.names().map(str::to_owned).collect();
        // What falls with its supervisor is no recovery of its own, whichever is told first.
        let falls_with = |above: &[String]| names.len() > above.len() && names.starts_with(above);
        if expected.is_none() {
            let shot = |it: &Expected| {
                path.strip_prefix(&it.path).is_some_and(|rest| rest.starts_with('/'))
            };
            if self.open.iter().any(|it| falls_with(&it.names)) || self.expected.iter().any(shot) {
                return;
            }
        }
        let rows = &mut self.rows;
        self.open.retain(|it| {
            let below = it.names.len() > names.len() && it.names.starts_with(&names);
            let fell = below && event.at.saturating_duration_since(it.down) < FALL;
            let own = rows.iter().any(|row| row.id == it.id && row.fault.is_some());
            if fell && !own {
                rows.retain(|row| row.id != it.id);
            }
            !fell || own
        });
        let id = self.next;
        self.next += 1;
        let killed = expected.as_ref().map_or(event.at, |it| it.at.min(event.at));
        if self.rows.len() == ROWS {
            self.rows.pop_front();
        }
        if self.open.len() == ROWS {
            self.open.pop_front();
        }
        self.rows.push_back(Recovery {
            id,
            path,
            type_name: expected
                .as_ref()
                .map(|it| it.type_name.clone())
                .or_else(|| type_name.map(short_type)),
            fault: expected.map(|it| it.fault),
            reason: LastExit::of(reason),
            at_ms: epoch_ms(killed),
            whole_ms: None,
            messages_ms: None,
            media_ms: None,
        });
        let (instance, down) = (event.instance, event.at);
        self.news.push(id);
        self.open.push_back(Open { id, names, instance, killed, down, stopped: None });
    }

    /// Look whether what is open is whole again; when to look again, if it is not.
    pub(super) fn look(&mut self, trees: &[TreeSnapshot], now: Instant) -> Option<Duration> {
        let (rows, news) = (&mut self.rows, &mut self.news);
        self.open.retain_mut(|open| match open.whole(trees, now) {
            Some(whole) => {
                if let Some(row) = rows.iter_mut().find(|row| row.id == open.id) {
                    let took = whole.max(open.killed).duration_since(open.killed);
                    self.took.add(took);
                    row.whole_ms = Some(milliseconds(took));
                    news.push(row.id);
                }
                false
            }
            None => now.saturating_duration_since(open.down) < GIVEN_UP,
        });
        let newest = self.open.back()?;
        let waited = now.saturating_duration_since(newest.down);
        Some((waited / 10).clamp(LOOK_AGAIN, LOOK_SELDOM))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Note what was measured; the row, if there is one.
    pub(super) fn measured(&mut self, id: u64, measured: Measured) -> Option<&Recovery> {
        let row = self.rows.iter_mut().find(|row| row.id == id)?;
        row.messages_ms = measured.messages_ms.or(row.messages_ms);
        row.media_ms = measured.media_ms.or(row.media_ms);
        self.news.push(id);
        Some(row)
    }

    /// What has begun, is whole, or was measured since this was last asked.
    pub(super) fn take_news(&mut self) -> Vec<Recovery> {
        let news = std::mem::take(&mut self.news);
        self.rows.iter().filter(|row| news.contains(&row.id)).cloned().collect()
    }

    pub(super) fn rows(&self) -> Vec<Recovery> {
        self.rows.iter().cloned().collect()
    }

    pub(super) fn summaries(&self) -> Vec<RecoverySummary> {
        let mut kinds: HashMap<(Option<&str>, &str), Vec<&Recovery>> = HashMap::new();
        for row in &self.rows {
            kinds.entry((row.type_name.as_deref(), &row.reason.kind)).or_default().push(row);
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_unstable_by_key(|(kind, _)| *kind);
        let summary = |((type_name, reason), rows): ((Option<&str>, &str), Vec<&Recovery>)| {
            let of = |time: fn(&Recovery) -> Option<f64>| {
                Percentiles::of(rows.iter().filter_map(|row| time(row)).collect())
            };
            RecoverySummary {
                type_name: type_name.map(str::to_owned),
                reason: reason.to_owned(),
                count: rows.len(),
                whole: of(|row| row.whole_ms),
                messages: of(|row| row.messages_ms),
                media: of(|row| row.media_ms),
            }
        };
        kinds.into_iter().map(summary).collect()
    }
}

impl Open {
    /// Since when the tree is whole again, if it is.
    fn whole(&mut self, trees: &[TreeSnapshot], now: Instant) -> Option<Instant> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        // A tree may be looked at from a node below its root.
        let (mut node, below) = trees.iter().find_map(|tree| {
            let root: Vec<&str> = tree.path.names().collect();
            Some((tree, names.strip_prefix(root.as_slice())?))
        })?;
        for (at, name) in below.iter().enumerate() {
            if node.status != Status::Running {
                return None;
            }
            let Some(child) = node.children.iter().find(|child| *child.id == **name) else {
                // Gone for good; if others were forgotten since, this is later than it was.
                let forgotten = now - node.forgot.unwrap_or_default();
                return settled(node, forgotten.max(self.down), now);
            };
            if at + 1 < below.len() {
                node = child;
                continue;
            }
            return match child.status {
                Status::Running if child.instance != Some(self.instance) => {
                    let up = now - child.uptime.unwrap_or_default();
                    settled(node, up, now)
                }
                Status::Stopped => {
                    // Either nobody has noticed yet, or it is not to come back.
                    let since = *self.stopped.get_or_insert(now);
                    (now.duration_since(since) >= SURE).then_some(since)
                }
                _ => {
                    self.stopped = None;
                    None
                }
            };
        }
        (node.status == Status::Running && node.instance != Some(self.instance)).then_some(now)
    }
}

/// Since when the siblings are up too, if they are, where a supervisor stops them with the one that failed.
fn settled(parent: &TreeSnapshot, since: Instant, now: Instant) -> Option<Instant> {
    if parent.flags.is_none_or(|flags| flags.strategy == Strategy::OneForOne) {
        return Some(since);
    }
    let lived = parent.children.iter().filter(|child| child.instance.is_some());
    lived.into_iter().try_fold(since, |since, child| match (child.status, child.uptime) {
        (Status::Running, Some(uptime)) => Some(since.max(now - uptime)),
        _ => None,
    })
}

impl Percentiles {
    /// By nearest rank.
    fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_unstable_by(f64::total_cmp);
        let rank = |part: usize| times.get((times.len() * part).div_ceil(100).saturating_sub(1));
        Some(Self { p50_ms: *rank(50)?, p99_ms: *rank(99)? })
    }
}

/// The last name of a Rust type, without its parameters.
pub(super) fn short_type(type_name: &str) -> String {
    let plain = type_name.split('<').next().unwrap_or(type_name);
    plain.rsplit("::").next().unwrap_or(plain).to_owned()
}

/// To a thousandth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// How many recoveries are remembered.
const ROWS: usize = 256;
/// How many may be shot at before the first is down.
const EXPECTED: usize = 64;
/// After this a tree that is not whole is taken to stay so.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// How long what is below a supervisor may take to fall with it.
const FALL: Duration = Duration::from_secs(1);
/// After this a child that is stopped is taken to stay so. Longer than a supervisor takes to decide.
const SURE: Duration = Duration::from_secs(1);
/// Supervisors do not tell when they forget a child, so it is looked at: often at first.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_SELDOM: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let of = |times: &[f64]| Percentiles::of(times.to_vec()).map(|it| (it.p50_ms, it.p99_ms));

        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some((3.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), Some((2.0, 4.0)));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(of(&hundred), Some((50.0, 99.0)));
    }

    #[test]
    fn a_type_is_shown_by_its_last_name() {
        assert_eq!(short_type("a::b::Peer<c::d::E<f>>"), "Peer");
        assert_eq!(short_type("Peer"), "Peer");
    }
}
