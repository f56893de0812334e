//! Comparison of two logs.

/// Compares the logs line by line, but: listings in any order, times within 150 ms, errors by their class.
///
/// Returns the intended differences, or none if the logs differ otherwise.
pub(crate) fn same(expected: &[String], log: &[String]) -> Option<Vec<&'static str>> {
    let same_length = expected.len() == log.len();
    let mut otherwise = Vec::new();
    for (step, (expected, line)) in steps(expected).zip(expected.iter().zip(log)) {
        match on_purpose(step, expected, line) {
            _ if same_line(expected, line) => {}
            Some(why) => otherwise.push(why),
            None => return None,
        }
    }
    same_length.then_some(otherwise)
}

pub(crate) fn side_by_side(expected: &[String], log: &[String]) -> String {
    let mut text = format!("    {:<60} | {}\n", "OTP", "here");
    for index in 0..expected.len().max(log.len()) {
        let (a, b) = (expected.get(index), log.get(index));
        let mark = if a.zip(b).is_some_and(|(a, b)| same_line(a, b)) { ' ' } else { '!' };
        let (a, b) = (a.map_or("", String::as_str), b.map_or("", String::as_str));
        text += &format!("  {mark} {a:<60} | {b}\n");
    }
    text
}

/// Returns why this line differs from OTP's on purpose, if it does.
fn on_purpose(step: &str, expected: &str, line: &str) -> Option<&'static str> {
    let failed = |line: &str| line.strip_prefix("start-failed ").map(str::to_owned);
    if let (Some(theirs), Some(ours)) = (failed(expected), failed(line))
        && let Some(id) = ours.strip_suffix(" (cancelled)")
        && theirs.strip_prefix(id).is_some_and(|rest| rest.starts_with(" (after "))
    {
        return Some(
            "a supervisor that is told to stop cancels the start in progress, and does not wait for it",
        );
    }
    let dynamic = error(expected).is_some_and(|(_, class)| class == "simple_one_for_one");
    let not_found = error(line).is_some_and(|(_, class)| class == "not_found");
    if dynamic && not_found && step.starts_with("> terminate_child(") {
        return Some(
            "the children of a dynamic supervisor have ids, and its template has none: it is not found",
        );
    }
    None
}

/// Returns the step of each line.
fn steps(lines: &[String]) -> impl Iterator<Item = &str> {
    lines.iter().scan("", |step, line| {
        if line.starts_with("> ") {
            *step = line;
        }
        Some(*step)
    })
}

fn same_line(expected: &str, line: &str) -> bool {
    expected == line
        || both(expected, line, listing).is_some_and(|(a, b)| a == b)
        || both(expected, line, took).is_some_and(|(a, b)| a.abs_diff(b) <= 150)
        || both(expected, line, error).is_some_and(|(a, b)| a == b)
        || both(expected, line, down).is_some_and(|((who, a), (whose, b))| {
            // A crash is a panic, or an error with any reason.
            who == whose && a == "crash" && !ORDERLY.iter().any(|word| b.starts_with(word))
        })
}

fn both<'a, T>(a: &'a str, b: &'a str, read: impl Fn(&'a str) -> Option<T>) -> Option<(T, T)> {
    read(a).zip(read(b))
}

fn listing(line: &str) -> Option<Vec<&str>> {
    let mut entries: Vec<_> = line.strip_prefix("= [")?.strip_suffix(']')?.split(", ").collect();
    entries.sort_unstable();
    Some(entries)
}

fn took(line: &str) -> Option<u64> {
    line.strip_prefix("= took about ")?.strip_suffix("ms")?.parse().ok()
}

/// Returns the instance that is down, and its reason.
fn down(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("down ")?.split_once(' ')
}

/// Returns the place of the error, and OTP's word for it; an error without a word is a failed start.
fn error(line: &str) -> Option<(&str, &str)> {
    let (place, text) = line.split_once("= error ")?;
    let class = CLASSES.iter().copied().find(|class| {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.into_iter().any(|word| word == *class)
    });
    match class {
        // It names the child.
        Some("failed_to_start_child") => Some((place, text)),
        class => Some((place, class.unwrap_or("start_failed"))),
    }
}

const CLASSES: [&str; 21] = [
    "failed_to_start_child",
    "already_started",
    "already_present",
    "not_found",
    "running",
    "restarting",
    "simple_one_for_one",
    "bad_combination",
    "duplicate_child_name",
    "bad_start_spec",
    "bad_return",
    "invalid_strategy",
    "invalid_intensity",
    "invalid_period",
    "invalid_auto_shutdown",
    "invalid_restart_type",
    "invalid_shutdown",
    "invalid_significant",
    "invalid_child_type",
    "noproc",
    "start_failed",
];

/// Reasons of instances that have ended without a crash.
const ORDERLY: [&str; 4] = ["normal", "shutdown", "killed", "noproc"];
