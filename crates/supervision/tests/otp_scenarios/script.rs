//! Grammar of the steps.

use std::time::Duration;

use callboard_supervision::ExitReason;

use crate::format::{self, Outcome};

/// Step, as text and parsed.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) step: Step,
    /// Path of the supervisor whose children are meant, below the scenario's own.
    pub(crate) within: Vec<String>,
    /// Whether its duration is recorded.
    pub(crate) timed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `next starts of a will be …`
    Plan(String, Vec<Outcome>),
    /// `wait 100ms`
    Wait(Duration),
    /// `supervisor told to stop (reason)`
    Stop(ExitReason),
    /// `supervisor killed`
    Kill,
    /// `supervisor crashes`
    Crash,
    /// `unexpected message to the supervisor`
    UnexpectedMessage,
    /// `a unlinks itself from the supervisor`
    Unlink(String),
    /// `a exits reason`, `a will exit reason in 100ms`, `a exits reason 3 times, each after its restart`
    Exit {
        ids: Vec<String>,
        reason: ExitReason,
        after: Duration,
        times: usize,
    },
    Call(Call),
}

/// Request to the supervisor, which it answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    WhichChildren,
    CountChildren,
    StartChild(String, Vec<(String, String)>),
    RestartChild(String),
    DeleteChild(String),
    TerminateChild(Which),
    GetChildspec(Which),
}

/// Reference to a child in a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Which {
    Id(String),
    /// Last instance of this child, as a process.
    Instance(String),
}

/// Parses a step.
///
/// # Errors
/// The text that is not understood.
pub(crate) fn read(text: &str) -> Result<Line, String> {
    let unknown = || format!("step `{text}`");
    let (rest, timed) = match text.strip_suffix("(timed)") {
        Some(rest) => (rest.trim_end(), true),
        None => (text, false),
    };
    let (within, rest) = match rest.strip_prefix("[in ") {
        None => (Vec::new(), rest),
        Some(inside) => {
            let (path, rest) = inside.split_once("] ").ok_or_else(unknown)?;
            (path.split('/').map(str::to_owned).collect(), rest)
        }
    };
    let step = whole(rest).or_else(|| call(rest).map(|call| call.map(Step::Call)));
    let step = step.ok_or_else(unknown)?.map_err(|what| format!("{what} in {}", unknown()))?;
    if !within.is_empty() && !matches!(step, Step::Call(_) | Step::Exit { .. }) {
        return Err(unknown());
    }
    Ok(Line { text: text.to_owned(), step, within, timed })
}

/// Parses a step that is a sentence.
fn whole(text: &str) -> Option<Result<Step, String>> {
    if let Some(rest) = text.strip_prefix("next starts of ") {
        let (id, plan) = rest.split_once(" will be")?;
        let outcomes: Result<_, _> = format::split(plan).into_iter().map(format::outcome).collect();
        return Some(outcomes.map(|outcomes| Step::Plan(id.to_owned(), outcomes)));
    }
    if let Some(rest) = text.strip_prefix("wait ") {
        return millis(rest).map(|time| Ok(Step::Wait(time)));
    }
    if let Some(rest) = text.strip_prefix("supervisor told to stop") {
        let reason = rest.trim();
        let inner = reason.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let reason = if reason.is_empty() { "shutdown" } else { inner.unwrap_or(reason) };
        return Some(format::reason(reason).map(Step::Stop));
    }
    match text {
        "supervisor killed" => return Some(Ok(Step::Kill)),
        "supervisor crashes" => return Some(Ok(Step::Crash)),
        "unexpected message to the supervisor" | "unexpected message" => {
            return Some(Ok(Step::UnexpectedMessage));
        }
        _ => {}
    }
    if let Some(id) = text.strip_suffix(" unlinks itself from the supervisor") {
        return Some(Ok(Step::Unlink(id.to_owned())));
    }
    if let Some((ids, rest)) = text.split_once(" will exit ") {
        let (why, time) = rest.rsplit_once(" in ")?;
        return exit(ids, why, millis(time)?, 1);
    }
    let (ids, rest) = text.split_once(" exits ").or_else(|| text.split_once(" exit "))?;
    let often = rest.strip_suffix(" times, each after its restart");
    match often.or_else(|| rest.strip_suffix(" times")) {
        Some(rest) => {
            let (why, times) = rest.rsplit_once(' ')?;
            exit(ids, why, Duration::ZERO, times.parse().ok()?)
        }
        None => exit(ids, rest, Duration::ZERO, 1),
    }
}

fn exit(ids: &str, why: &str, after: Duration, times: usize) -> Option<Result<Step, String>> {
    let ids: Vec<_> = ids.split(" and ").flat_map(format::split).map(str::to_owned).collect();
    if ids.is_empty() || ids.iter().any(|id| id.contains(' ')) {
        return None;
    }
    Some(format::reason(why).map(|reason| Step::Exit { ids, reason, after, times }))
}

/// Parses a step that is a request.
fn call(text: &str) -> Option<Result<Call, String>> {
    let (name, arguments) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((name, arguments)) => (name, format::split(arguments)),
        None => (text, Vec::new()),
    };
    Some(Ok(match (name, &arguments[..]) {
        ("which_children", []) => Call::WhichChildren,
        ("count_children", []) => Call::CountChildren,
        ("start_child", [id, options @ ..]) => {
            let mut all = Vec::new();
            for option in options {
                let Some((name, value)) = option.split_once('=') else {
                    return Some(Err(format!("option `{option}`")));
                };
                all.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            Call::StartChild((*id).to_owned(), all)
        }
        ("restart_child", [id]) => Call::RestartChild((*id).to_owned()),
        ("delete_child", [id]) => Call::DeleteChild((*id).to_owned()),
        ("terminate_child", [child]) => Call::TerminateChild(which(child)),
        ("get_childspec", [child]) => Call::GetChildspec(which(child)),
        _ => return None,
    }))
}

fn which(child: &str) -> Which {
    match child.strip_prefix("instance ") {
        Some(id) => Which::Instance(id.trim().to_owned()),
        None => Which::Id(child.to_owned()),
    }
}

fn millis(text: &str) -> Option<Duration> {
    Some(Duration::from_millis(text.trim().strip_suffix("ms")?.trim().parse().ok()?))
}
