//! Log of refusals: one line for each address and kind in ten seconds, then a count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use log::Level;
use tokio::runtime::Handle;
use tokio::time::{Instant as Clock, sleep};

use crate::admission::subscriber;
use crate::origin::shown;

/// Recent refusals. Counts are written ten seconds later, and when this is dropped.
#[derive(Debug, Default)]
pub struct RefusalLog(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    seen: HashMap<(IpAddr, String), Seen>,
    /// Refusals that had no room in the table.
    others: Option<Seen>,
    swept: Option<Instant>,
    /// A task waits to write the counts.
    awaited: bool,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    /// Number of refusals since the line was written.
    more: u32,
}

impl RefusalLog {
    /// Writes which address was refused what, and why, unless a line like it was written recently.
    pub fn refused(
        &self,
        level: Level,
        address: IpAddr,
        what: &str,
        error: &str,
        detail: Option<&str>,
    ) {
        let now = Clock::now().into_std();
        let (write, counted) = table(&self.0).note(subscriber(address), error, now);
        counted.iter().for_each(|line| log::info!("{line}"));
        if !write {
            self.write_later();
        } else {
            let colon = if detail.is_some() { ": " } else { "" };
            let detail = shown(detail.unwrap_or_default());
            log::log!(level, "{address}: {} refused: {error}{colon}{detail}", shown(what));
        }
    }

    /// Starts a task that writes the counts if there are no more refusals.
    fn write_later(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let awaited = std::mem::replace(&mut table(&self.0).awaited, true);
        if !awaited {
            runtime.spawn(write_counts(Awaiting(Arc::downgrade(&self.0))));
        }
    }
}

impl Drop for RefusalLog {
    fn drop(&mut self) {
        table(&self.0).take_counts(|_| true).iter().for_each(|line| log::info!("{line}"));
    }
}

fn table(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Every change is one insertion or count.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the counts; ends when all of them are written.
async fn write_counts(mut log: Awaiting) {
    loop {
        sleep(EVERY).await;
        let Some(table) = log.0.upgrade() else { return };
        let (counted, done) = {
            let mut table = self::table(&table);
            let counted = table.sweep(Clock::now().into_std());
            table.awaited = table.counts();
            (counted, !table.awaited)
        };
        counted.iter().for_each(|line| log::info!("{line}"));
        if done {
            log.0 = Weak::new();
            return;
        }
    }
}

/// Marks that a task waits to write the counts. If the task ends with its runtime, as when a server is restarted, the
/// next refusal starts another one.
struct Awaiting(Weak<Mutex<Table>>);

impl Drop for Awaiting {
    fn drop(&mut self) {
        if let Some(log) = self.0.upgrade() {
            table(&log).awaited = false;
        }
    }
}

impl Table {
    /// Counts a refusal; returns whether to write a line, and the lines of counts that are due.
    fn note(&mut self, address: IpAddr, error: &str, now: Instant) -> (bool, Vec<String>) {
        let counted = self.sweep(now);
        let key = (address, error.chars().take(MAX_KIND).collect());
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.more += 1;
            return (false, counted);
        }
        if self.seen.len() >= MAX_SEEN {
            self.others.get_or_insert(Seen { since: now, more: 0 }).more += 1;
            return (false, counted);
        }
        self.seen.insert(key, Seen { since: now, more: 0 });
        (true, counted)
    }

    /// Forgets refusals whose line was written ten seconds ago, and returns their counts since.
    fn sweep(&mut self, now: Instant) -> Vec<String> {
        // At most one second late.
        if self.swept.is_some_and(|swept| now.duration_since(swept) < EVERY / 10) {
            return Vec::new();
        }
        self.swept = Some(now);
        self.take_counts(|since| now.duration_since(since) >= EVERY)
    }

    /// Returns whether there are counts to write.
    fn counts(&self) -> bool {
        self.others.is_some() || self.seen.values().any(|seen| seen.more > 0)
    }

    /// Forgets refusals that were first seen at a time for which `is_over` holds; returns their counts.
    fn take_counts(&mut self, is_over: impl Fn(Instant) -> bool) -> Vec<String> {
        let mut counted = Vec::new();
        self.seen.retain(|(address, error), seen| {
            let over = is_over(seen.since);
            if over && seen.more > 0 {
                counted.push(format!("{address}: {} more refused: {error}", seen.more));
            }
            !over
        });
        if let Some(others) = self.others.take_if(|others| is_over(others.since)) {
            counted.push(format!("{} more refused, of many addresses", others.more));
        }
        counted
    }
}

/// Interval in which refusals of one address and kind are counted rather than written.
const EVERY: Duration = Duration::from_secs(10);
/// Number of distinct addresses and kinds: at most as many lines in ten seconds, and as many counts.
const MAX_SEEN: usize = 256;
/// Number of characters that are kept of a kind: all of ours are shorter.
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

    #[tokio::test(start_paused = true)]
    async fn the_count_is_written_though_nothing_more_is_refused() {
        let log = RefusalLog::default();
        let refuse = || log.refused(Level::Info, [192, 0, 2, 1].into(), "/", "unauthorized", None);
        for _ in 0..2 {
            (0..5).for_each(|_| refuse());
            assert!(table(&log.0).counts());
            sleep(3 * EVERY).await;
            assert!(!table(&log.0).counts() && !table(&log.0).awaited);
            assert!(table(&log.0).seen.is_empty());
        }
    }

    #[test]
    fn the_count_is_awaited_anew_when_a_runtime_has_ended() {
        let log = RefusalLog::default();
        let refuse = || log.refused(Level::Info, [192, 0, 2, 1].into(), "/", "unauthorized", None);
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.unwrap();
            runtime.block_on(async { (0..2).for_each(|_| refuse()) });
            assert!(table(&log.0).awaited);
            drop(runtime);
            assert!(!table(&log.0).awaited);
        }
    }

    #[test]
    fn what_is_counted_at_the_end_is_taken() {
        let mut table = Table::default();
        let (now, address) = (Clock::now().into_std(), [192, 0, 2, 1].into());
        (0..3).for_each(|_| _ = table.note(address, "x", now));

        assert_eq!(table.take_counts(|_| true), ["192.0.2.1: 2 more refused: x"]);
        assert!(!table.counts());
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

    #[test]
    fn what_has_no_room_in_the_table_is_told_while_more_is_refused() {
        let mut table = Table::default();
        let now = Clock::now().into_std();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());

        // A thousand addresses a second, for a minute: the table is never empty.
        let refused = (0..60_000_u32).map(|number| {
            table.note(address(number), "x", now + Duration::from_millis(number.into())).1
        });

        let told = refused.flatten().filter(|line| line.ends_with("of many addresses")).count();
        assert!((4..=6).contains(&told), "{told} times in a minute");
    }
}
