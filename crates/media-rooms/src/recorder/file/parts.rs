//! Files of one participant on the disk: their names, and which of them stay after a fault.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Files of one participant.
#[derive(Debug)]
pub(super) struct Parts {
    folder: PathBuf,
    /// First part of their names.
    stem: String,
    /// Number of the latest.
    part: u32,
    /// What creates a file, and fails with one that is there.
    pub(super) create: fn(&Path) -> io::Result<File>,
}

impl Parts {
    pub(super) fn new(folder: &Path, stem: String) -> Self {
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        Self { folder: folder.to_owned(), stem, part: 0, create }
    }

    /// Creates the next file; never writes over one that is there.
    ///
    /// # Errors
    /// [`io::Error`]
    pub(super) fn create(&mut self, extension: &str) -> io::Result<(File, PathBuf)> {
        fs::create_dir_all(&self.folder)?;
        let mut part = self.part;
        loop {
            part += 1;
            let path = self.folder.join(format!("{}-{part}.{extension}", self.stem));
            match (self.create)(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    let file = file?;
                    self.part = part;
                    return Ok((file, path));
                }
            }
        }
    }

    /// Removes the latest file if it is shorter than what can be played: a disk that is full would get one each time
    /// it is tried again. Returns whether it is still there.
    pub(super) fn keep(&mut self, path: &Path, playable: Option<u64>) -> bool {
        let is_long_enough = playable.is_some_and(|playable| {
            // Where that cannot be told, nothing is thrown away.
            fs::metadata(path).map_or(true, |file| file.len() >= playable)
        });
        if is_long_enough || fs::remove_file(path).is_err() {
            return true;
        }
        self.part -= 1;
        false
    }
}
