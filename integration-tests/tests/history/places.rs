//! Places in a history where a mutation must be caught, and what is near them.

use integration_tests::history::{Event, FaultKind, Line};

use crate::model::MILLISECOND;

/// Returns one of the lines of this kind.
pub(crate) fn pick(
    lines: &[Line],
    seed: usize,
    fits: impl Fn(usize, &Line) -> bool,
) -> Option<usize> {
    let all: Vec<usize> = (0..lines.len()).filter(|at| fits(*at, &lines[*at])).collect();
    (!all.is_empty()).then(|| all[seed % all.len()])
}

/// Puts a line before the one at this place, at its time.
pub(crate) fn with(lines: &[Line], at: usize, line: Line) -> Vec<Line> {
    let mut lines = lines.to_vec();
    let t = lines.get(at).map_or(line.t, |next| next.t);
    lines.insert(at, Line { t, ..line });
    lines
}

pub(crate) fn without(lines: &[Line], at: usize) -> Vec<Line> {
    let mut lines = lines.to_vec();
    lines.remove(at);
    lines
}

/// Repeats a line of an older hold after one of a newer.
pub(crate) fn older_later(
    lines: &[Line],
    seed: usize,
    hold: impl Fn(&Line) -> Option<(String, u64)>,
) -> Option<Vec<Line>> {
    // What a room does when it goes on, it may have begun before it stood still.
    let awake = |at: usize| {
        let woken =
            lines[..at].iter().rev().find(|line| matches!(line.event, Event::Healed { .. }));
        woken.is_none_or(|woken| lines[at].t > woken.t + 100 * MILLISECOND)
    };
    let older = |at: usize| {
        let (room, epoch) = hold(&lines[at])?;
        let is_older = |line: &Line| hold(line).is_some_and(|(its, e)| its == room && e < epoch);
        let older = (0..at).find(|at| is_older(&lines[*at]) && awake(*at))?;
        Some(&lines[older])
    };
    let at = pick(lines, seed, |at, _| older(at).is_some() && awake(at))?;
    Some(with(lines, at + 1, older(at)?.clone()))
}

/// Returns the line at which a message that is received here was sent, and its list.
pub(crate) fn sent<'a>(lines: &'a [Line], got: &Line) -> Option<(usize, Option<&'a [String]>)> {
    let Event::Got { client, n: number, .. } = &got.event else { return None };
    lines.iter().enumerate().find_map(|(at, line)| match &line.event {
        Event::Sent { n, to } if line.by == *client && n == number => Some((at, to.as_deref())),
        _ => None,
    })
}

/// Returns whether a client stays where it is from here to the end.
pub(crate) fn stays(lines: &[Line], at: usize) -> bool {
    let ends = |line: &Line| {
        matches!(line.event, Event::Lost { .. } | Event::In { .. } | Event::Out)
            && line.by == lines[at].by
    };
    !lines[at + 1..].iter().any(ends)
}

/// Returns whether a client is told that it has another peer than this, or leaves.
pub(crate) fn has_ended(lines: &[Line], peer: &str) -> bool {
    let own = |line: &Line| matches!(&line.event, Event::In { peer: its, .. } if its == peer);
    let Some(at) = lines.iter().position(own) else { return false };
    let ends = |line: &Line| {
        line.by == lines[at].by && matches!(line.event, Event::In { .. } | Event::Out)
    };
    lines[at + 1..].iter().any(ends)
}

/// Returns whether the sender, the receiver and the owners of these peers are told nothing within 5 s of a message, and
/// no fault is near.
pub(crate) fn is_quiet(lines: &[Line], sent: usize, got: usize, peers: &[String]) -> bool {
    let owner = |peer: &String| {
        lines.iter().find_map(|line| match &line.event {
            Event::In { peer: its, .. } if its == peer => Some(line.by.as_str()),
            _ => None,
        })
    };
    let mut concerned: Vec<&str> = peers.iter().filter_map(owner).collect();
    concerned.extend([lines[sent].by.as_str(), lines[got].by.as_str()]);
    let told = |line: &Line| match line.event {
        Event::Fault { .. } | Event::Healed { .. } => true,
        Event::Sent { .. } | Event::Got { .. } => false,
        // Another list, with a stranger.
        Event::Told { ref peers, .. } if !peers.is_empty() => false,
        _ => concerned.contains(&line.by.as_str()),
    };
    fault(lines, sent).is_none() && !near(lines, sent).any(told)
}

/// Returns the lines from this one until a message that is sent here should have come.
pub(crate) fn near(lines: &[Line], sent: usize) -> impl Iterator<Item = &Line> {
    let until = lines[sent].t + 5_200 * MILLISECOND;
    lines[sent..].iter().take_while(move |line| line.t <= until)
}

/// Returns the fault that is not over.
pub(crate) fn fault(lines: &[Line], at: usize) -> Option<FaultKind> {
    let last = lines[..at].iter().rev().find_map(|line| match &line.event {
        Event::Fault { kind, .. } => Some(Some(*kind)),
        Event::Healed { .. } => Some(None),
        _ => None,
    });
    last.flatten()
}

pub(crate) fn in_fault(lines: &[Line], at: usize) -> bool {
    fault(lines, at) == Some(FaultKind::Directory)
}

/// Returns whether a fault is not over that costs nothing.
pub(crate) fn in_move(lines: &[Line], at: usize) -> bool {
    fault(lines, at).is_some_and(FaultKind::is_gentle)
}

/// Removes the receipt of a message that was sent in a fault of this kind, in a room that it concerns.
pub(crate) fn lost_in(lines: &[Line], seed: usize, kind: FaultKind) -> Option<Vec<Line>> {
    let at = pick(lines, seed, |_, line| {
        let Some((sent, _)) = sent(lines, line) else { return false };
        let spared = lines[..sent].iter().rev().find_map(|line| match &line.event {
            Event::Fault { spares, .. } => Some(spares),
            _ => None,
        });
        let room = lines[..sent].iter().rev().find_map(|line| match &line.event {
            Event::In { room, .. } if line.by == lines[sent].by => Some(room),
            _ => None,
        });
        let is_spared = spared.zip(room).is_some_and(|(spared, room)| spared.contains(room));
        let excuses = |line: &Line| match &line.event {
            Event::Fault { kind, .. } => !kind.is_gentle(),
            event => *event == Event::Out,
        };
        fault(lines, sent) == Some(kind) && !is_spared && !near(lines, sent).any(excuses)
    })?;
    Some(without(lines, at))
}

/// Returns a receipt in a fault of such a kind, by a client whose socket this is, and the sender's peer.
pub(crate) fn got_in_move(
    lines: &[Line],
    seed: usize,
    is_wanted: fn(FaultKind) -> bool,
) -> Option<(usize, u64, String)> {
    let at = pick(lines, seed, |at, line| {
        matches!(line.event, Event::Got { .. }) && fault(lines, at).is_some_and(is_wanted)
    })?;
    let socket = lines[..at].iter().rev().find_map(|line| match line.event {
        Event::In { socket, .. } | Event::Resumed { socket, .. } if line.by == lines[at].by => {
            Some(socket)
        }
        _ => None,
    })?;
    let Event::Got { from, .. } = &lines[at].event else { return None };
    Some((at, socket, from.clone()))
}

/// Returns a client that is in at the end.
pub(crate) fn still_in(lines: &[Line]) -> Option<String> {
    let last = |line: &&Line| matches!(line.event, Event::In { .. } | Event::Resumed { .. });
    let mut all = lines.iter().enumerate().rev().filter(|(_, line)| last(line));
    all.find(|(at, line)| {
        let ends = |later: &Line| {
            later.by == line.by && matches!(later.event, Event::In { .. } | Event::Out)
        };
        let lost = |later: &Line| match (&later.event, &line.event) {
            (
                Event::Lost { socket, .. },
                Event::In { socket: own, .. } | Event::Resumed { socket: own, .. },
            ) => later.by == line.by && socket == own,
            _ => false,
        };
        !lines[at + 1..].iter().any(|later| ends(later) || lost(later))
    })
    .map(|(_, line)| line.by.clone())
}
