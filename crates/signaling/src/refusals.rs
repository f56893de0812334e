//! Log of refusals: one line for each address and kind in ten seconds, then a count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;
use tokio::time::Instant as Clock;

use crate::limits::subscriber;
use crate::origin::shown;

/// What was refused of late.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    seen: HashMap<(IpAddr, String), Seen>,
    /// Those for whom there was no room in the table.
    others: u32,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    /// How many more there were since the line.
    more: u32,
}

impl RefusalLog {
    /// Writes a line, unless there has just been one like it: who was refused what, and why.
    pub(crate) fn refused(
        &self,
        level: Level,
        address: IpAddr,
        what: &str,
        error: &str,
        detail: Option<&str>,
    ) {
        let (write, counted) =
            self.table().note(subscriber(address), error, Clock::now().into_std());
        for line in counted {
            log::info!("{line}");
        }
        if write {
            let colon = if detail.is_some() { ": " } else { "" };
            let detail = shown(detail.unwrap_or_default());
            log::log!(level, "{address}: {} refused: {error}{colon}{detail}", shown(what));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one insertion or count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether to write a line, and what has been counted since the last ones.
    fn note(&mut self, address: IpAddr, error: &str, now: Instant) -> (bool, Vec<String>) {
        let counted = self.sweep(now);
        let key = (address, error.chars().take(MAX_KIND).collect());
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.more += 1;
            return (false, counted);
        }
        if self.seen.len() >= MAX_SEEN {
            self.others += 1;
            return (false, counted);
        }
        self.seen.insert(key, Seen { since: now, more: 0 });
        (true, counted)
    }

    /// Forgets those whose time is up.
    fn sweep(&mut self, now: Instant) -> Vec<String> {
        let mut counted = Vec::new();
        // One second late at most.
        if self.swept.is_some_and(|swept| now.duration_since(swept) < EVERY / 10) {
            return counted;
        }
        self.swept = Some(now);
        self.seen.retain(|(address, error), seen| {
            let over = now.duration_since(seen.since) >= EVERY;
            if over && seen.more > 0 {
                counted.push(format!("{address}: {} more refused: {error}", seen.more));
            }
            !over
        });
        if self.seen.is_empty() && self.others > 0 {
            counted.push(format!("{} more refused, of many addresses", self.others));
            self.others = 0;
        }
        counted
    }
}

/// How long refusals of one address and kind are counted rather than written.
const EVERY: Duration = Duration::from_secs(10);
/// How many addresses and kinds are told apart: so many lines in ten seconds at most, and as many counts.
const MAX_SEEN: usize = 256;
/// How many characters of a kind are kept: all of ours are shorter.
const MAX_KIND: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_then_a_count() {
        let mut table = Table::default();
        let now = Clock::now().into_std();
        let at = |tenths: u64| now + Duration::from_millis(100 * tenths);
        let a = "192.0.2.1".parse().unwrap();

        assert_eq!(table.note(a, "unauthorized", at(0)), (true, vec![]));
        for tenth in 1..100 {
            assert_eq!(table.note(a, "unauthorized", at(tenth)), (false, vec![]));
        }
        assert_eq!(table.note(a, "no_such_room", at(50)), (true, vec![]), "another kind");
        assert!(table.note("192.0.2.2".parse().unwrap(), "unauthorized", at(50)).0);

        let more = vec!["192.0.2.1: 99 more refused: unauthorized".to_owned()];
        assert_eq!(table.note(a, "unauthorized", at(110)), (true, more));
        assert_eq!(table.note(a, "unauthorized", at(300)), (true, vec![]), "nothing to count");
    }

    #[test]
    fn however_many_are_refused_the_table_and_the_lines_are_bounded() {
        let mut table = Table::default();
        let now = Clock::now().into_std();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());

        let lines = (0..10_000).filter(|&number| table.note(address(number), "x", now).0).count();

        assert_eq!((lines, table.seen.len()), (MAX_SEEN, MAX_SEEN));
        let (write, counted) = table.note(address(1), "x", now + EVERY);
        assert!(write);
        assert_eq!(counted, [format!("{} more refused, of many addresses", 10_000 - MAX_SEEN)]);
    }
}
