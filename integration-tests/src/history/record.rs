//! Writing of a history.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::line::{Event, Line, VERSION};

/// Writer of the history of one process. Its clones write to the same file, which has each line as soon as it is
/// written: a process that is killed loses none.
#[derive(Clone, Debug)]
pub struct Recorder {
    by: Arc<str>,
    file: Arc<Mutex<File>>,
}

impl Recorder {
    /// Creates a file, and begins it.
    ///
    /// # Errors
    ///
    /// When it cannot be written, also when it is there already.
    pub fn create(path: &Path, by: &str) -> io::Result<Self> {
        let file = File::options().append(true).create_new(true).open(path)?;
        let recorder = Self { by: by.into(), file: Arc::new(Mutex::new(file)) };
        recorder.record(Event::Begin { version: VERSION });
        Ok(recorder)
    }

    /// Returns a recorder that writes to the same file in another name.
    pub fn named(&self, by: &str) -> Self {
        Self { by: by.into(), file: Arc::clone(&self.file) }
    }

    /// Writes a line with the present time.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn record(&self, event: Event) {
        // Under the lock, so that the times in a file grow.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut file, &Line { t: now(), by: self.by.to_string(), event });
    }

    /// Writes a line with a time that has passed.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn record_at(&self, t: u64, event: Event) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut file, &Line { t, by: self.by.to_string(), event });
    }
}

fn write(file: &mut File, line: &Line) {
    let mut text = serde_json::to_vec(line).expect("a line is JSON");
    text.push(b'\n');
    // In one call, so that a process that is killed leaves a whole line, or a part without an end.
    file.write_all(&text).expect("the history can be written");
}

/// Returns the time of a history: that of the machine's monotonic clock, in nanoseconds.
///
/// # Panics
///
/// Never: this clock can always be read.
pub fn now() -> u64 {
    let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("it can be read").into();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
