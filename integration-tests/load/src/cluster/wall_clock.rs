//! Wall clock of a process, which can be set: by libfaketime, which all that the program reads goes through. Its
//! monotonic clock and its boot clock stay those of the machine.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// File that says by how much a clock is wrong.
pub(crate) struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// Creates the file of a clock that is right.
    pub(crate) fn create(file: PathBuf) -> io::Result<Self> {
        let clock = Self { file };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets the clock so many seconds before the machine's. The process sees it within a second.
    pub(crate) fn set(&self, seconds: i64) -> io::Result<()> {
        // At once as a whole: it is read at any time.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n"))?;
        fs::rename(new, &self.file)
    }

    /// Returns what the process must be started with.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }
}

/// Returns the time since 1970 in milliseconds, by the wall clock of this process.
#[expect(clippy::disallowed_methods, reason = "it is that clock which is set")]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the library for programs of several threads.
fn library() -> PathBuf {
    let folder = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let library = Path::new(&folder).join("libfaketimeMT.so.1");
    assert!(library.is_file(), "libfaketime is missing: run ./integration-tests/run");
    library
}
