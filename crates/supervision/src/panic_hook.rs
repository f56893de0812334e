//! Panic hook that reports panics in actors without blocking their threads.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::PanicHookInfo;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::exit::panic_text;
use crate::lock::lock;
use crate::log_subject::{self, LogSubject};
use crate::{current_actor, watchdog};

/// Installs a panic hook for the whole process that reports panics in supervised actors: the actor's path, the message,
/// the place, and, where `RUST_BACKTRACE` asks for them, the frames.
///
/// The default hook resolves the names of the frames on the thread that panics, which takes 100 ms and more the first
/// time and blocks everything else on that thread. Here that is done on a thread of its own, and once for each place in
/// the code. If there are many panics at one place, one line in 10 s is written, and later the number of the others. It
/// goes to [`log`] as an error, or to stderr if logging is off. Panics in [`catch_panic`](crate::catch_panic) are
/// reported likewise. Panics elsewhere, and a panic while another one unwinds, go to the previous hook, at once.
///
/// Keep the returned guard until the end of `main`: when it is dropped it waits, for 2 s at most, for reports that have
/// not been written yet. A second call installs nothing.
///
/// ```
/// # #[actix::main]
/// # async fn main() {
/// let _panics = callboard_supervision::install_panic_hook();
/// // … the server …
/// # }
/// ```
pub fn install_panic_hook() -> PanicReports {
    static REPORTS: OnceLock<Option<Arc<Shared>>> = OnceLock::new();
    let shared = REPORTS.get_or_init(|| {
        let (jobs, queue) = sync_channel(QUEUE);
        // As in the default hook: enabled by the environment, or not.
        let frames = Backtrace::capture().status() == BacktraceStatus::Captured;
        let shared =
            Arc::new(Shared { jobs, frames, places: Mutex::default(), symbols: Mutex::default() });
        let reporter = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("panic-reporter".to_owned());
        if let Err(error) = thread.spawn(move || reporter.run(&queue)) {
            log::error!("the default hook reports panics: {error}");
            return None;
        }
        let (before, hook) = (std::panic::take_hook(), Arc::clone(&shared));
        std::panic::set_hook(Box::new(move |info| {
            if !hook.handle(info) {
                before(info);
            }
        }));
        Some(shared)
    });
    PanicReports { shared: shared.clone() }
}

/// Guard of the reports about panics; see [`install_panic_hook`].
#[derive(Debug)]
#[must_use = "when it is dropped, what is not written yet may be lost"]
pub struct PanicReports {
    shared: Option<Arc<Shared>>,
}

impl Drop for PanicReports {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        let (written, all_written) = sync_channel(1);
        if shared.jobs.send(Job::Flush(written)).is_ok() {
            _ = all_written.recv_timeout(FLUSH);
        }
    }
}

#[derive(Debug)]
struct Shared {
    jobs: SyncSender<Job>,
    /// Whether frames are wanted.
    frames: bool,
    /// One entry for each place in the code that has panicked.
    places: Mutex<HashMap<Place, PlaceState>>,
    /// Held while frames are captured or resolved: both hold a lock of the standard library's, for which no actor's
    /// thread may wait.
    symbols: Mutex<()>,
}

/// File, line and column.
type Place = (Box<str>, u32, u32);

/// State of the reports about panics at one place.
#[derive(Debug, Default)]
struct PlaceState {
    /// Whether one was reported a short time ago.
    recent: bool,
    /// Number of panics since then that were not reported.
    suppressed: u64,
    /// Whether its frames have been reported.
    frames: bool,
}

#[derive(Debug)]
enum Job {
    Panic { place: Place, line: String, frames: Option<Backtrace>, subject: Option<LogSubject> },
    Flush(SyncSender<()>),
}

impl Shared {
    /// Handles a panic on the thread where it happens; returns `false` if the previous hook must report it.
    fn handle(&self, info: &PanicHookInfo<'_>) -> bool {
        let Some(who) = current_actor::current_name() else { return false };
        let poll = watchdog::poll_number();
        let during = LAST.try_with(|last| last.take().filter(|last| last.poll == poll));
        if let Ok(Some(Last { line, .. })) = during {
            // This panic may end the process, and with it the thread that reports.
            write(&line);
            return false;
        }
        let place = info.location().map_or_else(
            || ("an unknown place".into(), 0, 0),
            |at| (at.file().into(), at.line(), at.column()),
        );
        let mut message = panic_text(info.payload());
        if let Some((cut, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.replace_range(cut.., "…");
        }
        let mut line = format!("{who} panicked at {}: {message}", spelled(&place));
        _ = LAST.try_with(|last| last.set(Some(Last { poll, line: line.clone() })));
        let wanted = {
            let mut places = lock(&self.places);
            let state = places.entry(place.clone()).or_default();
            if std::mem::replace(&mut state.recent, true) {
                state.suppressed += 1;
                return true;
            }
            self.frames && !state.frames
        };
        // The frames of another panic are being resolved now: those of this place are captured when it panics here
        // again.
        let free = wanted.then(|| self.symbols.try_lock().ok()).flatten();
        let frames = free.map(|_free| Backtrace::force_capture());
        let captured = frames.is_some();
        if wanted && !captured {
            line.push_str(" (its frames are written when it panics there again)");
        }
        let sent = self.jobs.try_send(Job::Panic {
            place: place.clone(),
            line,
            frames,
            subject: current_actor::log_subject(),
        });
        let mut places = lock(&self.places);
        let state = places.entry(place).or_default();
        match sent {
            Ok(()) => state.frames |= captured,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                (state.recent, state.suppressed) = (false, state.suppressed + 1);
            }
        }
        true
    }

    /// Writes the reports that come in, until the process ends.
    fn run(&self, jobs: &Receiver<Job>) {
        let mut recent: Vec<(Instant, Place)> = Vec::new();
        loop {
            let next = recent
                .first()
                .map_or(LONG, |(until, _)| until.saturating_duration_since(Instant::now()));
            match jobs.recv_timeout(next) {
                Ok(Job::Panic { place, line, frames, subject }) => {
                    log_subject::under(subject, || write(&line));
                    recent.push((Instant::now() + QUIET, place));
                    if let Some(frames) = frames {
                        let named = {
                            let _symbols = lock(&self.symbols);
                            frames.to_string()
                        };
                        write(&format!("stack backtrace of that panic:\n{}", own_frames(&named)));
                    }
                }
                Ok(Job::Flush(written)) => {
                    recent.drain(..).for_each(|(_, place)| self.report_suppressed(&place));
                    _ = written.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            while recent.first().is_some_and(|(until, _)| *until <= now) {
                let (_, place) = recent.remove(0);
                self.report_suppressed(&place);
            }
        }
    }

    /// Reports how many more panics there were at this place, and lets the next one be reported again.
    fn report_suppressed(&self, place: &Place) {
        let suppressed = {
            let mut places = lock(&self.places);
            let Some(state) = places.get_mut(place) else { return };
            state.recent = false;
            std::mem::take(&mut state.suppressed)
        };
        if suppressed > 0 {
            write(&format!("and {} at {}", more(suppressed), spelled(place)));
        }
    }
}

/// Last panic that was reported on a thread, until it has been caught.
struct Last {
    /// Number of the poll in which it happened.
    poll: u64,
    line: String,
}

/// Records that the panic on this thread has been caught.
pub(crate) fn caught() {
    _ = LAST.try_with(Cell::take);
}

/// Returns the frames between the panic and the runtime that called the actor.
fn own_frames(named: &str) -> String {
    let mut frames: Vec<String> = Vec::new();
    for line in named.lines() {
        match frames.last_mut() {
            // The place in the source stands in a line below the frame's name.
            Some(frame) if line.trim_start().starts_with("at ") => *frame += &format!("\n{line}"),
            _ => frames.push(line.to_owned()),
        }
    }
    let is = |frame: &String, parts: &[&str]| parts.iter().any(|part| frame.contains(part));
    let begin = frames.iter().rposition(|frame| is(frame, &PANICKING)).map_or(0, |at| at + 1);
    let frames = &frames[begin..];
    let end = frames.iter().position(|frame| is(frame, &CALLING)).unwrap_or(frames.len());
    let frames = &frames[..end];
    if frames.is_empty() { named.to_owned() } else { frames.join("\n") }
}

fn spelled((file, line, column): &Place) -> String {
    format!("{file}:{line}:{column}")
}

/// Returns how many more panics there were, in words.
fn more(panics: u64) -> String {
    format!("{panics} more {}", if panics == 1 { "panic" } else { "panics" })
}

fn write(text: &str) {
    if log::max_level() == log::LevelFilter::Off {
        eprintln!("{text}");
    } else {
        log::error!("{text}");
    }
}

thread_local! {
    static LAST: Cell<Option<Last>> = const { Cell::new(None) };
}

/// Frames of the panic itself.
const PANICKING: [&str; 4] = [
    "core::panicking::",
    "std::panicking::begin_panic",
    "std::panicking::panic_any",
    "core::option::unwrap_failed",
];
/// Frames that call an actor's own code.
const CALLING: [&str; 3] = [
    "callboard_supervision::instance::",
    "callboard_supervision::instance_task::",
    "callboard_supervision::catch::",
];
/// Number of panics that may wait for their report: each is at another place.
const QUEUE: usize = 64;
/// Time after a panic in which others at the same place are only counted.
const QUIET: Duration = Duration::from_secs(10);
/// Longest time that the end of the process waits for reports that are not written yet.
const FLUSH: Duration = Duration::from_secs(2);
/// Longest message that is reported whole, in characters.
const MAX_MESSAGE: usize = 4_096;
/// A wait that is as good as endless.
const LONG: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::more;

    #[test]
    fn one_panic_is_singular() {
        assert_eq!((more(1), more(2)), ("1 more panic".to_owned(), "2 more panics".to_owned()));
    }
}
