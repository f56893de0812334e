//! Recovery times: from a fault or failure until the tree is whole again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use callboard_supervision::{Event, ExitReason, InstanceId, Status, Strategy, TreeSnapshot};
use callboard_websocket::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::fault::FaultKind;
use crate::tree::LastExit;

/// An actor's failure or injected fault, and its recovery: `GET /tree/recoveries`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recovery {
    /// Id, which counts up.
    pub id: u64,
    /// Path of the actor.
    pub path: String,
    /// Short name of its Rust type, if it was still known.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// The injected fault, if this was done on purpose.
    pub fault: Option<FaultKind>,
    /// Reason why it ended.
    pub reason: LastExit,
    /// Time of the fault, else of the exit, in milliseconds since 1970.
    pub at_ms: u64,
    /// Time from then until the tree was whole again: the same child running, or gone for good with its siblings up.
    /// None while it is not, and if it was not within 30 s.
    pub whole_ms: Option<f64>,
    /// Time until messages flowed again, if it was [reported](crate::Admin::measured).
    pub messages_ms: Option<f64>,
    /// Time until media flowed again, if it was reported.
    pub media_ms: Option<f64>,
}

/// Summary of the recoveries of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecoverySummary {
    /// Type of the actors.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// Kind of the exits.
    pub reason: String,
    /// Number of recoveries.
    pub count: usize,
    /// Times until the tree was whole again.
    pub whole: Option<Percentiles>,
    /// Times until messages flowed again.
    pub messages: Option<Percentiles>,
    /// Times until media flowed again.
    pub media: Option<Percentiles>,
}

/// Percentiles of several times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Half of the times are no longer than this.
    pub p50_ms: f64,
    /// 99 of 100 times are no longer than this.
    pub p99_ms: f64,
}

/// Times of a recovery that were measured outside the server: `POST /tree/recoveries/{id}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Measured {
    /// Time until messages flowed again, in milliseconds.
    pub messages_ms: Option<f64>,
    /// Time until media flowed again, in milliseconds.
    pub media_ms: Option<f64>,
}

/// Reason why a measurement was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasuredError {
    /// There is no such recovery, or no longer.
    #[error("no such recovery")]
    NotFound,
    /// A time is not between 0 and an hour, or there is none.
    #[error("a time is needed, of 0 to 3,600,000 ms")]
    BadTime,
}

/// Table of the remembered recoveries.
#[derive(Default)]
pub(crate) struct Table {
    rows: VecDeque<Recovery>,
    /// Recoveries that are not whole yet.
    open: VecDeque<Open>,
    /// Injected faults whose actors are not down yet.
    expected: VecDeque<Expected>,
    /// Ids of recoveries that have begun, become whole or been measured since the last report.
    news: Vec<u64>,
    next: u64,
    /// Histogram of completed recovery times.
    pub(crate) took: Histogram,
}

struct Open {
    id: u64,
    names: Vec<String>,
    instance: InstanceId,
    killed: Instant,
    down: Instant,
    /// Time since when it neither runs nor is about to.
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
    /// Notes that a fault is about to be injected into this node.
    pub(crate) fn expect_down(&mut self, node: &TreeSnapshot, fault: FaultKind, at: Instant) {
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

    /// Handles the exit of an actor. A normal exit is no failure.
    pub(crate) fn down(
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
        // An actor that falls with its supervisor is no recovery of its own, whichever is reported first.
        let falls_with = |above: &[String]| names.len() > above.len() && names.starts_with(above);
        if expected.is_none() {
            let is_injected = |it: &Expected| {
                path.strip_prefix(&it.path).is_some_and(|rest| rest.starts_with('/'))
            };
            if self.open.iter().any(|it| falls_with(&it.names))
                || self.expected.iter().any(is_injected)
            {
                return;
            }
        }
        let rows = &mut self.rows;
        self.open.retain(|it| {
            let below = it.names.len() > names.len() && it.names.starts_with(&names);
            let fell = below && event.at.saturating_duration_since(it.down) < CASCADE;
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

    /// Handles an event of an actor: one that is started again, or fails to start, has not stopped for good.
    pub(crate) fn happened(&mut self, event: &Event) {
        for open in &mut self.open {
            if event.path.names().eq(open.names.iter().map(String::as_str)) {
                open.stopped = None;
            }
        }
    }

    /// Checks whether the open recoveries are whole; returns when to check again, if some are not and nothing happens
    /// before.
    pub(crate) fn check(&mut self, trees: &[TreeSnapshot], now: Instant) -> Option<Instant> {
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
        // That a restart is called off is no event.
        let later = self.is_open().then_some(now + SETTLED);
        let sure = self.open.iter().filter_map(|open| Some(open.stopped? + SETTLED));
        later.into_iter().chain(sure).min().map(|at| at.max(now + CHECK_PAUSE))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Stores measured times; returns the row, if there is one.
    pub(crate) fn measured(&mut self, id: u64, measured: Measured) -> Option<&Recovery> {
        let row = self.rows.iter_mut().find(|row| row.id == id)?;
        row.messages_ms = measured.messages_ms.or(row.messages_ms);
        row.media_ms = measured.media_ms.or(row.media_ms);
        self.news.push(id);
        Some(row)
    }

    /// Returns the recoveries that have begun, become whole or been measured since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<Recovery> {
        let news = std::mem::take(&mut self.news);
        self.rows.iter().filter(|row| news.contains(&row.id)).cloned().collect()
    }

    pub(crate) fn rows(&self) -> Vec<Recovery> {
        self.rows.iter().cloned().collect()
    }

    pub(crate) fn summaries(&self) -> Vec<RecoverySummary> {
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
    /// Returns since when the tree is whole again, if it is.
    fn whole(&mut self, trees: &[TreeSnapshot], now: Instant) -> Option<Instant> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        // A snapshot may start at a node below the root.
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
                    // Either its supervisor has not noticed yet, or it will not be restarted.
                    let since = *self.stopped.get_or_insert(now);
                    (now.duration_since(since) >= SETTLED).then_some(since)
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

/// Returns since when the siblings are up too, if they are, under a supervisor that stops them with the failed one.
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
    /// Computes them by nearest rank.
    fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_unstable_by(f64::total_cmp);
        let rank = |part: usize| times.get((times.len() * part).div_ceil(100).saturating_sub(1));
        Some(Self { p50_ms: *rank(50)?, p99_ms: *rank(99)? })
    }
}

/// Returns the last segment of a Rust type's name, without its parameters.
pub(crate) fn short_type(type_name: &str) -> String {
    let plain = type_name.split('<').next().unwrap_or(type_name);
    plain.rsplit("::").next().unwrap_or(plain).to_owned()
}

/// Converts to milliseconds, rounded to a thousandth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// Number of remembered recoveries.
const ROWS: usize = 256;
/// Number of injected faults before the first actor is down.
const EXPECTED: usize = 64;
/// Time after which a tree that is not whole is taken to stay so.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// Time in which what is below a supervisor falls with it.
const CASCADE: Duration = Duration::from_secs(1);
/// Time after which a stopped child is taken to stay so. Longer than a supervisor takes to decide.
const SETTLED: Duration = Duration::from_secs(1);
/// Shortest time between two checks: each takes snapshots of the trees.
pub(crate) const CHECK_PAUSE: Duration = Duration::from_millis(5);

/// Longest accepted time of a recovery: an hour, in milliseconds.
pub(crate) const LONGEST: f64 = 3_600_000.0;

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
