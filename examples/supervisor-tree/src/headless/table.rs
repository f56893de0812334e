//! Table of recovery times, printed at the end.

use std::fmt;
use std::time::Duration;

use super::Time;

/// Recovery times of each kind of fault, in the order of the first faults.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    whole: Vec<Time>,
    messages: Vec<Time>,
}

impl Table {
    pub(crate) fn add(&mut self, name: &'static str, whole: Time, messages: Time) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => {
                row.whole.push(whole);
                row.messages.push(messages);
            }
            None => self.rows.push(Row { name, whole: vec![whole], messages: vec![messages] }),
        }
    }

    /// Returns whether every fault was followed by a recovery in time.
    pub(crate) fn all_recovered(&self) -> bool {
        let mut times = self.rows.iter().flat_map(|row| row.whole.iter().chain(&row.messages));
        !times.any(|time| *time == Time::Never)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28} {:>5}   {:>19}   {:>19}", "", "faults", "tree whole", "messages flow")?;
        writeln!(
            f,
            "{:<28} {:>5}   {:>9} {:>9}   {:>9} {:>9}",
            "", "", "median", "longest", "median", "longest"
        )?;
        for Row { name, whole, messages } in &self.rows {
            let ([whole, longest_whole], [messages, longest_messages]) =
                (shown(whole), shown(messages));
            let faults = self.faults(name);
            writeln!(
                f,
                "{name:<28} {faults:>5}   {whole:>9} {longest_whole:>9}   {messages:>9} {longest_messages:>9}"
            )?;
        }
        writeln!(
            f,
            "{}",
            if self.all_recovered() { "All recovered." } else { "NOT all recovered." }
        )
    }
}

impl Table {
    fn faults(&self, name: &str) -> usize {
        self.rows.iter().find(|row| row.name == name).map_or(0, |row| row.messages.len())
    }
}

/// Formats the median and the longest time.
fn shown(times: &[Time]) -> [String; 2] {
    if times.contains(&Time::Never) {
        return ["never".to_owned(), "never".to_owned()];
    }
    let took = times.iter().filter_map(|time| match time {
        Time::Took(time) => Some(*time),
        _ => None,
    });
    let mut took: Vec<Duration> = took.collect();
    took.sort_unstable();
    let show = |time: Option<&Duration>| {
        time.map_or("–".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1_000.0))
    };
    [show(took.get(took.len() / 2)), show(took.last())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_never_recovered_spoils_it_all() {
        let ms = |ms| Time::Took(Duration::from_millis(ms));
        let mut table = Table::default();
        table.add("a room", ms(1), ms(20));
        table.add("a room", ms(3), ms(10));
        table.add("a WebSocket", Time::None, ms(5));

        assert!(table.all_recovered());
        let text = table.to_string();
        assert!(
            text.contains(
                "a room                           2      3.0 ms    3.0 ms     20.0 ms   20.0 ms"
            ),
            "{text}"
        );
        assert!(text.contains("–"), "{text}");

        table.add("a WebSocket", Time::None, Time::Never);
        assert!(!table.all_recovered());
        assert!(table.to_string().contains("never"));
    }
}
