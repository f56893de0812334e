//! Log of the protocol libraries: a few lines of a kind in a minute, then a count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use callboard_supervision::without_log_subject;
use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};
use tokio::time::Instant as Clock;

/// Logger in front of another one, which keeps a remote peer from filling the log.
///
/// The libraries under a connection write a warning or an error for much that a peer sends: str0m writes one for each
/// message that comes on a data channel which this side has closed, and messages under way then do come. Of each such
/// place in their source, five lines in a minute go on. The others are counted, and the count is written once the
/// minute is over and one of these libraries writes again. Lines of the levels debug and trace, and lines of other
/// crates, go on unchanged.
///
/// ```
/// use callboard_peer_connection::RateLimitedLog;
///
/// let logger = env_logger::builder().build();
/// let most = logger.filter();
/// RateLimitedLog::new(logger).install(most)?;
/// # Ok::<(), log::SetLoggerError>(())
/// ```
#[derive(Debug)]
pub struct RateLimitedLog<L> {
    to: L,
    libraries: Vec<&'static str>,
    places: Mutex<Places>,
}

impl<L: Log> RateLimitedLog<L> {
    /// Wraps this logger.
    pub fn new(to: L) -> Self {
        Self { to, libraries: LIBRARIES.to_vec(), places: Mutex::default() }
    }

    /// Limits the lines of this crate too: those whose target is its name, or begins with its name and `::`.
    pub fn also(mut self, library: &'static str) -> Self {
        self.libraries.push(library);
        self
    }

    /// Installs it as the logger of the program, for lines of this level and above.
    ///
    /// # Errors
    ///
    /// There is a logger already.
    pub fn install(self, most: LevelFilter) -> Result<(), SetLoggerError>
    where
        L: 'static,
    {
        log::set_boxed_logger(Box::new(self))?;
        log::set_max_level(most);
        Ok(())
    }

    fn log_at(&self, record: &Record<'_>, now: Instant) {
        if !self.is_limited(record.metadata()) {
            return self.to.log(record);
        }
        if !self.to.enabled(record.metadata()) {
            return;
        }
        let (goes_on, counts) = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let counts = places.take_counts(now);
            (places.note(record, now), counts)
        };
        for Count { target, level, more } in counts {
            let text = format_args!("{more} more lines of this kind in the last minutes");
            let record = &Record::builder().level(level).target(&target).args(text).build();
            // Lines of several connections are counted together.
            without_log_subject(|| self.to.log(record));
        }
        if goes_on {
            self.to.log(record);
        }
    }

    fn is_limited(&self, metadata: &Metadata<'_>) -> bool {
        let of = |library: &&str| {
            let rest = metadata.target().strip_prefix(library);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        metadata.level() <= Level::Info && self.libraries.iter().any(of)
    }
}

impl<L: Log> Log for RateLimitedLog<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.to.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.log_at(record, Clock::now().into_std());
    }

    fn flush(&self) {
        self.to.flush();
    }
}

/// Places in source that write; searched linearly, for they are few.
#[derive(Debug, Default)]
struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    target: String,
    level: Level,
    line: Option<u32>,
    since: Instant,
    written: u32,
    more: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Count {
    target: String,
    level: Level,
    more: u64,
}

impl Places {
    /// Counts a line, and returns whether it goes on.
    fn note(&mut self, record: &Record<'_>, now: Instant) -> bool {
        let (target, level, line) = (record.target(), record.level(), record.line());
        let known = |place: &&mut Place| {
            (place.line, place.level) == (line, level) && place.target == target
        };
        match self.0.iter_mut().find(known) {
            None => {
                let target = target.to_owned();
                self.0.push(Place { target, level, line, since: now, written: 1, more: 0 });
                true
            }
            Some(place) if now.saturating_duration_since(place.since) >= EVERY => {
                (place.since, place.written) = (now, 1);
                true
            }
            Some(place) if place.written < LINES => {
                place.written += 1;
                true
            }
            Some(place) => {
                place.more += 1;
                false
            }
        }
    }

    /// Returns the counts of the places whose minute is over.
    fn take_counts(&mut self, now: Instant) -> Vec<Count> {
        let over = |place: &&mut Place| {
            place.more > 0 && now.saturating_duration_since(place.since) >= EVERY
        };
        let take = |place: &mut Place| Count {
            target: place.target.clone(),
            level: place.level,
            more: std::mem::take(&mut place.more),
        };
        self.0.iter_mut().filter(over).map(take).collect()
    }
}

/// Libraries that read a peer's packets.
const LIBRARIES: [&str; 6] =
    ["str0m", "sctp_proto", "dimpl", "is", "stun_proto", "turn_client_proto"];
/// Lines of a place that go on in [`EVERY`].
const LINES: u32 = 5;
const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Logger that keeps its lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Log for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= Level::Debug
        }

        fn log(&self, record: &Record<'_>) {
            let line = format!("{} {}: {}", record.level(), record.target(), record.args());
            self.0.lock().unwrap().push(line);
        }

        fn flush(&self) {}
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a beginning for times to be counted from")]
    fn a_few_lines_of_a_place_go_on_and_then_a_count() {
        let lines = Lines::default();
        let log = RateLimitedLog::new(lines.clone()).also("mine");
        let take = || std::mem::take(&mut *lines.0.lock().unwrap());
        let start = Instant::now();
        let write = |after: u64, level, target, line: u32| {
            let text = format_args!("line {line}");
            let mut record = Record::builder();
            let record = record.level(level).target(target).line(Some(line)).args(text).build();
            log.log_at(&record, start + Duration::from_secs(after));
        };
        for _ in 0..10_000 {
            write(0, Level::Warn, "str0m::sctp", 7);
            write(0, Level::Warn, "str0m::sctp", 8);
            write(0, Level::Error, "sctp_proto", 7);
            write(0, Level::Warn, "mine::parser", 7);
        }
        let first = take();
        assert_eq!(first.len(), 20, "{first:?}");

        write(59, Level::Warn, "str0m::sctp", 7);
        assert_eq!(take().len(), 0);
        write(60, Level::Warn, "dimpl", 1);
        let counted = take();
        let count = "WARN str0m::sctp: 9996 more lines of this kind in the last minutes";
        assert_eq!(counted.len(), 5, "{counted:?}");
        assert_eq!((&*counted[0], &*counted[4]), (count, "WARN dimpl: line 1"));
        write(60, Level::Warn, "str0m::sctp", 7);
        assert_eq!(take(), ["WARN str0m::sctp: line 7"]);

        // Lines of other crates, and lines of the levels debug and trace.
        for _ in 0..100 {
            write(61, Level::Warn, "str0metry", 1);
            write(61, Level::Warn, "callboard_websocket::socket", 1);
            write(61, Level::Debug, "str0m::sctp", 1);
        }
        assert_eq!(take().len(), 300);
    }
}
