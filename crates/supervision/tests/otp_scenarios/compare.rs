//! Whether two logs say the same.

/// Line by line, but: listings in any order, times within 150 ms, errors by their class.
pub(crate) fn same(expected: &[String], log: &[String]) -> bool {
    expected.len() == log.len() && expected.iter().zip(log).all(|(a, b)| same_line(a, b))
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

fn same_line(expected: &str, line: &str) -> bool {
    expected == line
        || both(expected, line, listing).is_some_and(|(a, b)| a == b)
        || both(expected, line, took).is_some_and(|(a, b)| a.abs_diff(b) <= 150)
        || both(expected, line, error).is_some_and(|(a, b)| a == b)
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

/// Where the error was met, and OTP's word for it; an error that has none is a start that failed.
fn error(line: &str) -> Option<(&str, &str)> {
    let (place, text) = line.split_once("= error ")?;
    let class = CLASSES.iter().copied().find(|class| {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.into_iter().any(|word| word == *class)
    });
    match class {
        Some("failed_to_start_child") => Some((place, text)),
        class => Some((place, class.unwrap_or("start_failed"))),
    }
}

const CLASSES: [&str; 20] = [
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
    "start_failed",
];
