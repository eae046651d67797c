//! Session files. The name is the dump's identity, so that a dump is recognised after it
//! was moved or renamed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::tui::data::session::{SessionState, VERSION};
use crate::tui::data::settings::{SETTINGS_VERSION, Settings};
use crate::tui::storage::{state_directory, write_whole};

/// A larger file is not a session file.
const LARGEST: u64 = 4 << 20;
/// Maximum number of saved sessions; the oldest is removed first.
const MOST_FILES: usize = 300;

/// The directory of session files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    directory: Option<PathBuf>,
    settings: Option<PathBuf>,
}

impl Store {
    /// A store in a directory.
    pub fn at(directory: &Path) -> Store {
        Store {
            directory: Some(directory.to_owned()),
            settings: Some(directory.join("settings")),
        }
    }

    /// A store in the user's state directory; without one, nothing is saved.
    pub fn of_user() -> Store {
        let state = state_directory();
        Store {
            directory: state.as_ref().map(|d| d.join("sessions")),
            settings: state.map(|d| d.join("settings.json")),
        }
    }

    /// True if there is a directory to save to.
    pub fn keeps(&self) -> bool {
        self.directory.is_some()
    }

    fn path(&self, identity: u128) -> Option<PathBuf> {
        Some(
            self.directory
                .as_ref()?
                .join(format!("{identity:032x}.json")),
        )
    }

    /// Loads the session of a dump.
    ///
    /// # Errors
    /// Why an existing session cannot be read. A missing one is not an error.
    pub fn load(&self, identity: u128) -> io::Result<Option<SessionState>> {
        let Some(path) = self.path(identity) else {
            return Ok(None);
        };
        let Some(bytes) = small_file(&path)? else {
            return Ok(None);
        };
        let kept: SessionState = serde_json::from_slice(&bytes)?;
        match kept.version {
            VERSION => Ok(Some(kept)),
            other => Err(io::Error::other(format!(
                "the file has version {other}, which this poolscope does not read"
            ))),
        }
    }

    /// Loads the settings.
    ///
    /// # Errors
    /// Why existing settings cannot be read. Missing settings are not an error.
    pub fn settings(&self) -> io::Result<Option<Settings>> {
        let Some(path) = &self.settings else {
            return Ok(None);
        };
        let Some(bytes) = small_file(path)? else {
            return Ok(None);
        };
        let kept: Settings = serde_json::from_slice(&bytes)?;
        match kept.version {
            SETTINGS_VERSION => Ok(Some(kept)),
            other => Err(io::Error::other(format!(
                "the file has version {other}, which this poolscope does not read"
            ))),
        }
    }

    /// Saves the settings.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn keep_settings(&self, settings: &Settings) -> io::Result<()> {
        let Some(path) = &self.settings else {
            return Ok(());
        };
        if let Some(directory) = path.parent() {
            private_directory(directory)?;
        }
        write_whole(path, true, |out| {
            serde_json::to_writer(out, settings).map_err(io::Error::from)
        })?;
        Ok(())
    }

    /// Saves the session of a dump.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn keep(&self, identity: u128, kept: &SessionState) -> io::Result<()> {
        let (Some(directory), Some(path)) = (&self.directory, self.path(identity)) else {
            return Ok(());
        };
        private_directory(directory)?;
        write_whole(&path, true, |out| {
            serde_json::to_writer(out, kept).map_err(io::Error::from)
        })?;
        forget_oldest(directory);
        Ok(())
    }
}

/// Reads a session or settings file; `None` if there is none.
fn small_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(about) if about.len() > LARGEST || !about.is_file() => {
            Err(io::Error::other("it is not a poolscope file"))
        }
        Ok(_) => fs::read(path).map(Some),
    }
}

fn private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// A session that cannot be removed now is tried again next time.
fn forget_oldest(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|e| e == "json"))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    files.sort();
    for (_, path) in files.iter().take(files.len().saturating_sub(MOST_FILES)) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::data::mark::{Mark, Marked};

    fn kept() -> SessionState {
        SessionState {
            version: VERSION,
            file: "MEMORY.DMP".into(),
            marks: vec![Mark {
                what: Marked::Tag(7),
                note: "look".into(),
            }],
            filter: "np > 1m".into(),
            ..SessionState::default()
        }
    }

    #[test]
    fn a_session_is_restored_only_for_the_same_dump() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(&folder.path().join("sessions"));
        assert_eq!(store.load(1).unwrap(), None);
        store.keep(1, &kept()).unwrap();
        assert_eq!(store.load(1).unwrap(), Some(kept()));
        assert_eq!(store.load(2).unwrap(), None);
        assert_eq!(Store::default().load(1).unwrap(), None);
        Store::default().keep(1, &kept()).unwrap();
    }

    #[test]
    fn invalid_session_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        let path = store.path(1).unwrap();
        for wrong in [&b"{"[..], b"[]", b"{\"version\":9}", b"\xff\xfe"] {
            fs::write(&path, wrong).unwrap();
            assert!(store.load(1).is_err());
        }
        fs::write(&path, vec![b' '; LARGEST as usize + 1]).unwrap();
        assert!(store.load(1).is_err());
    }

    #[test]
    fn column_choices_are_saved_for_all_dumps() {
        use crate::tui::data::settings::ColumnChoice;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        assert_eq!(store.settings().unwrap(), None);
        let mut settings = Settings {
            version: SETTINGS_VERSION,
            ..Settings::default()
        };
        settings.tag_columns.set("owner", ColumnChoice::Always);
        settings.tag_columns.set("share", ColumnChoice::Never);
        store.keep_settings(&settings).unwrap();
        assert_eq!(store.settings().unwrap(), Some(settings));
        fs::write(folder.path().join("settings"), "{").unwrap();
        assert!(store.settings().is_err());
        Store::default()
            .keep_settings(&Settings::default())
            .unwrap();
    }

    #[test]
    fn only_the_latest_sessions_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        for identity in 0..MOST_FILES as u128 + 5 {
            store.keep(identity, &kept()).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MOST_FILES);
    }
}
