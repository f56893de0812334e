//! Panic hook: tells of panics in actors without holding up their threads.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::PanicHookInfo;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::exit::panic_text;
use crate::{catch, current, watchdog};

/// Installs a panic hook for the whole process that tells of panics in supervised actors: the actor's path, the
/// message, the place, and, where `RUST_BACKTRACE` asks for them, the frames.
///
/// The default hook puts names to the frames on the thread that panics, which takes 100 ms and more the first time and
/// holds up everything else on that thread. Here that is done on a thread of its own, and once for each place in the
/// code. Of many panics at one place one line in 10 s is written, with the number of the others later. It goes to
/// [`log`] as an error, or to stderr if nothing is logged. Panics in [`catch_panic`](crate::catch_panic) are told
/// likewise. Panics elsewhere, and a panic during another one's unwinding, go to the hook that was installed before, at
/// once.
///
/// Keep what is returned until the end of `main`: when it is dropped it waits, for 2 s at most, for what has not been
/// written yet. A second call installs nothing.
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
        let (notes, told) = sync_channel(QUEUE);
        // As the default hook has it: enabled by the environment, or not.
        let frames = Backtrace::capture().status() == BacktraceStatus::Captured;
        let shared =
            Arc::new(Shared { notes, frames, places: Mutex::default(), symbols: Mutex::default() });
        let reporter = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("panic-reporter".to_owned());
        if let Err(error) = thread.spawn(move || reporter.report(&told)) {
            log::error!("panics are told by the default hook: {error}");
            return None;
        }
        let (before, hook) = (std::panic::take_hook(), Arc::clone(&shared));
        std::panic::set_hook(Box::new(move |info| {
            if !hook.take(info) {
                before(info);
            }
        }));
        Some(shared)
    });
    PanicReports { shared: shared.clone() }
}

/// The end of the reports about panics; see [`install_panic_hook`].
#[derive(Debug)]
#[must_use = "when it is dropped, what is not written yet may be lost"]
pub struct PanicReports {
    shared: Option<Arc<Shared>>,
}

impl Drop for PanicReports {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        let (written, all_written) = sync_channel(1);
        if shared.notes.send(Note::Flush(written)).is_ok() {
            _ = all_written.recv_timeout(FLUSH);
        }
    }
}

#[derive(Debug)]
struct Shared {
    notes: SyncSender<Note>,
    /// Whether frames are wanted.
    frames: bool,
    /// One for each place in the code that has panicked.
    places: Mutex<HashMap<Place, Told>>,
    /// Held while frames are captured or named: both hold a lock of the standard library's, for which no actor's
    /// thread may wait.
    symbols: Mutex<()>,
}

/// File, line and column.
type Place = (Box<str>, u32, u32);

/// What is known of the panics at one place.
#[derive(Debug, Default)]
struct Told {
    /// One has been told a short time ago.
    lately: bool,
    /// How many have not been told since.
    more: u64,
    /// Its frames have been told.
    frames: bool,
}

#[derive(Debug)]
enum Note {
    Panic { place: Place, line: String, frames: Option<Backtrace> },
    Flush(SyncSender<()>),
}

impl Shared {
    /// Takes a panic in, on the thread where it happens; `false` if it is not to be told here.
    fn take(&self, info: &PanicHookInfo<'_>) -> bool {
        let path = current::path().map(|path| path.to_string());
        let Some(who) = path.or_else(|| catch::name().map(|name| name.to_string())) else {
            return false;
        };
        let poll = watchdog::poll_number();
        let during = LAST.try_with(|last| last.take().filter(|last| last.poll == poll));
        if let Ok(Some(Last { line, .. })) = during {
            // It may end the process, and with it the thread that tells.
            write(&line);
            return false;
        }
        let place = info.location().map_or_else(
            || ("an unknown place".into(), 0, 0),
            |at| (at.file().into(), at.line(), at.column()),
        );
        let mut message = panic_text(info.payload());
        if let Some((cut, _)) = message.char_indices().nth(LONGEST) {
            message.replace_range(cut.., "…");
        }
        let mut line = format!("{who} panicked at {}: {message}", spelled(&place));
        _ = LAST.try_with(|last| last.set(Some(Last { poll, line: line.clone() })));
        let wanted = {
            let mut places = lock(&self.places);
            let told = places.entry(place.clone()).or_default();
            if std::mem::replace(&mut told.lately, true) {
                told.more += 1;
                return true;
            }
            self.frames && !told.frames
        };
        // Another panic's frames are being named now: these are captured when it panics here again.
        let free = wanted.then(|| self.symbols.try_lock().ok()).flatten();
        let frames = free.map(|_free| Backtrace::force_capture());
        let captured = frames.is_some();
        if wanted && !captured {
            line.push_str(" (its frames are told when it panics there again)");
        }
        let sent = self.notes.try_send(Note::Panic { place: place.clone(), line, frames });
        let mut places = lock(&self.places);
        let told = places.entry(place).or_default();
        match sent {
            Ok(()) => told.frames |= captured,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                (told.lately, told.more) = (false, told.more + 1);
            }
        }
        true
    }

    /// Writes what comes in, until the process ends.
    fn report(&self, notes: &Receiver<Note>) {
        let mut lately: Vec<(Instant, Place)> = Vec::new();
        loop {
            let next = lately
                .first()
                .map_or(LONG, |(until, _)| until.saturating_duration_since(Instant::now()));
            match notes.recv_timeout(next) {
                Ok(Note::Panic { place, line, frames }) => {
                    write(&line);
                    lately.push((Instant::now() + LATELY, place));
                    if let Some(frames) = frames {
                        let named = {
                            let _symbols = lock(&self.symbols);
                            frames.to_string()
                        };
                        write(&format!("stack backtrace of that panic:\n{}", own(&named)));
                    }
                }
                Ok(Note::Flush(written)) => {
                    lately.drain(..).for_each(|(_, place)| self.later(&place));
                    _ = written.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            while lately.first().is_some_and(|(until, _)| *until <= now) {
                let (_, place) = lately.remove(0);
                self.later(&place);
            }
        }
    }

    /// Tells how many panics there were besides, and has the next one told again.
    fn later(&self, place: &Place) {
        let more = {
            let mut places = lock(&self.places);
            let Some(told) = places.get_mut(place) else { return };
            told.lately = false;
            std::mem::take(&mut told.more)
        };
        if more > 0 {
            write(&format!("and {more} more panics at {}", spelled(place)));
        }
    }
}

/// The panic that was told last on a thread, until it has been caught.
struct Last {
    /// The poll in which it happened.
    poll: u64,
    line: String,
}

/// The panic on this thread has been caught.
pub(crate) fn caught() {
    _ = LAST.try_with(Cell::take);
}

/// The frames between the panic and the runtime that called the actor.
fn own(named: &str) -> String {
    let mut frames: Vec<String> = Vec::new();
    for line in named.lines() {
        match frames.last_mut() {
            // Where it is in the source stands in a line below its name.
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

fn write(text: &str) {
    if log::max_level() == log::LevelFilter::Off {
        eprintln!("{text}");
    } else {
        log::error!("{text}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    "callboard_supervision::life::",
    "callboard_supervision::catch::",
];
/// How many panics may wait to be told: each is at another place.
const QUEUE: usize = 64;
/// For how long after a panic others at the same place are only counted.
const LATELY: Duration = Duration::from_secs(10);
/// How long the end of the process may wait for what is to be written.
const FLUSH: Duration = Duration::from_secs(2);
/// The longest message that is told whole, in characters.
const LONGEST: usize = 4_096;
/// As good as for ever.
const LONG: Duration = Duration::from_secs(24 * 3600);
