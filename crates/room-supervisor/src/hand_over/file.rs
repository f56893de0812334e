//! File of handed-over rooms: private, complete or not there, read once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::geteuid;

use super::error::ReadHandOverError;
use super::record::Document;

/// File that is being written, beside the place where it is going to be.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    is_finished: bool,
}

impl Draft {
    /// Creates the file with place for this many bytes, so that a folder that cannot be written to, or a full disk, is
    /// found before anything is lost.
    pub(crate) fn begin(path: PathBuf, likely: u64) -> io::Result<Self> {
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut draft = Self { path, temporary, file, is_finished: false };
        io::copy(&mut io::repeat(0).take(likely), &mut draft.file)?;
        draft.file.sync_data()?;
        Ok(draft)
    }

    /// Writes the file, and moves it to its place.
    pub(crate) fn finish(mut self, text: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(text)?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.is_finished = true;
        // The file is there, and is read unless the machine fails now: this must not let the rooms go on as well.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            log::warn!("{} is not safe from a power failure: {error}", self.path.display());
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            // It holds nothing yet, or what clients show to come back.
            _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Reads the file; none if there is none.
///
/// # Errors
/// [`ReadHandOverError`]
pub(crate) fn read(path: &Path, now: SystemTime) -> Result<Option<Document>, ReadHandOverError> {
    // Opening something else, such as a pipe, might wait.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.is_file() => return Err(ReadHandOverError::NotPrivate),
        Ok(_) => {}
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(ReadHandOverError::NotPrivate);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let document = Document::read(&text)?;
    document.check_age(now)?;
    Ok(Some(document))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn write(path: &Path, written: SystemTime) {
        let text = serde_json::to_vec(&Document::new(Vec::new(), written)).unwrap();
        Draft::begin(path.to_owned(), 4_096).unwrap().finish(&text).unwrap();
    }

    #[test]
    fn a_file_is_private_and_complete_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, now) = (folder.path().join("rooms"), UNIX_EPOCH + DAY);

        drop(Draft::begin(path.clone(), 10).unwrap());
        assert!(read(&path, now).unwrap().is_none());
        fs::write(folder.path().join("rooms.new"), "of a process that was killed").unwrap();
        write(&path, now);

        assert!(read(&path, now).unwrap().is_some());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_damaged_old_newer_or_anothers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, now) = (folder.path().join("rooms"), UNIX_EPOCH + DAY);
        let read = || read(&path, now).map(|document| document.is_some());

        write(&path, now);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(), Err(ReadHandOverError::NotPrivate)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 1]).unwrap();
        assert!(matches!(read(), Err(ReadHandOverError::Malformed(_))));
        fs::write(&path, r#"{"format":"something else"}"#).unwrap();
        assert!(matches!(read(), Err(ReadHandOverError::Malformed(_))));
        let newer = String::from_utf8(text).unwrap().replace("\"version\":1", "\"version\":2");
        fs::write(&path, newer).unwrap();
        assert!(matches!(read(), Err(ReadHandOverError::Newer(2))));
        write(&path, now - Duration::from_secs(3_600));
        assert!(matches!(read(), Err(ReadHandOverError::Expired(_))));
        // The clock was set back.
        write(&path, now + Duration::from_secs(3_600));
        assert!(matches!(read(), Ok(true)));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(read(), Err(ReadHandOverError::NotPrivate)));
    }

    #[test]
    fn without_a_folder_or_space_nothing_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Draft::begin(folder.path().join("no/rooms"), 0).is_err());
        fs::create_dir(folder.path().join("rooms.new")).unwrap();
        assert!(Draft::begin(folder.path().join("rooms"), 0).is_err());
    }
}
