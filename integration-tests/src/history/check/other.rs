//! Invariants of waiting, of tokens, and of nodes' processes.

use std::collections::{BTreeMap, HashMap};

use super::world::{State, World};
use super::{Found, Invariant, Rule};
use crate::history::line::{Event, FaultKind, Line, Phase};

#[derive(Default)]
pub(super) struct Other<'a> {
    /// Lines of requests that were not answered, and until when they must be.
    asked: BTreeMap<(&'a str, u64), (usize, u64)>,
    /// Lines at which tokens were shown.
    tokens: HashMap<&'a str, usize>,
    /// Numbers of the nodes' sessions that had ended, and their lines.
    ended: HashMap<&'a str, (usize, u64)>,
    counts: HashMap<&'a str, (usize, &'a BTreeMap<String, u64>)>,
}

impl<'a> Rule<'a> for Other<'a> {
    fn see(&mut self, at: usize, line: &'a Line, world: &World<'a>, found: &mut Found) {
        let by = line.by.as_str();
        self.asked.retain(|(client, _), (asked, due)| {
            let is_overdue = world.is_overdue(due, world.wait(), line.t);
            if is_overdue {
                let says = format!("{client} was told nothing after it had asked to come in");
                found.add(Invariant::NobodyWaits, [*asked], says);
            }
            !is_overdue
        });
        match &line.event {
            Event::Asks { socket, .. } => {
                self.asked.insert((by, *socket), (at, line.t + world.wait()));
            }
            Event::In { socket, .. }
            | Event::Refused { socket, .. }
            | Event::Lost { socket, .. } => _ = self.asked.remove(&(by, *socket)),
            Event::Resumed { socket, token, .. } => {
                self.asked.remove(&(by, *socket));
                if let Some(before) = self.tokens.insert(token, at) {
                    let says = format!("{by} was let in with a token for the second time");
                    found.add(Invariant::TokenOnce, [before, at], says);
                }
            }
            Event::Out => self.asked.retain(|(client, _), _| *client != by),
            Event::Calm => {
                for (name, client) in &world.clients {
                    if client.state == State::Lost {
                        let says = format!("{name} is not back in {:?}", client.room);
                        found.add(Invariant::NobodyWaits, [client.since, at], says);
                    }
                }
            }
            Event::Sessions { node, ended } => {
                let before = self.ended.insert(node, (at, *ended));
                if let Some((then, before)) = before
                    && *ended > before
                    && world.is_gentle()
                {
                    let says = format!("{} sessions of {node} end in a move", ended - before);
                    found.add(Invariant::SessionsLast, [then, at], says);
                }
            }
            // What ended between two faults is not theirs.
            Event::Fault { .. } => self.ended.clear(),
            Event::Begin { .. } => _ = self.counts.remove(by),
            Event::Counts { phase: Phase::Start, of } => _ = self.counts.insert(by, (at, of)),
            Event::Counts { phase: Phase::End, of } => self.compare(at, by, of, found),
            Event::Health { node, status } => {
                let of_directory = |kind| matches!(kind, FaultKind::Directory | FaultKind::Network);
                let other = world.faults.values().find(|fault| !of_directory(fault.kind));
                let is_down = world.faults.values().any(|fault| fault.kind == FaultKind::Directory);
                if is_down && other.is_none() && *status != Some(200) {
                    let says = format!("{node} answers {status:?} while its directory is down");
                    found.add(Invariant::LivesWithoutDirectory, [at], says);
                }
            }
            _ => {}
        }
    }
}

impl<'a> Other<'a> {
    fn compare(&self, at: usize, by: &str, of: &BTreeMap<String, u64>, found: &mut Found) {
        let Some((before, start)) = self.counts.get(by) else { return };
        for (what, number) in of {
            let first = start.get(what).copied().unwrap_or_default();
            if *number > first {
                let says = format!("{by} has {number} {what}, and had {first}");
                found.add(Invariant::NothingLeaks, [*before, at], says);
            }
        }
    }
}
