//! Sessions in files. A file is named by the dump's identity, so a dump that was moved or
//! renamed finds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::tui::data::session::{SessionState, VERSION};
use crate::tui::storage::{state_directory, write_whole};

/// A file larger than this is not one of ours.
const LARGEST: u64 = 4 << 20;
/// Sessions that are kept; the oldest goes first.
const MOST_FILES: usize = 300;

/// Where sessions are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    directory: Option<PathBuf>,
}

impl Store {
    /// In a directory.
    pub fn at(directory: &Path) -> Store {
        Store {
            directory: Some(directory.to_owned()),
        }
    }

    /// In the user's directory for such things; nowhere when none is known.
    pub fn of_user() -> Store {
        Store {
            directory: state_directory().map(|d| d.join("sessions")),
        }
    }

    /// True when there is a place for them.
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

    /// What was kept of a dump.
    ///
    /// # Errors
    /// Why what is there can't be read. Nothing there is no error.
    pub fn load(&self, identity: u128) -> io::Result<Option<SessionState>> {
        let Some(path) = self.path(identity) else {
            return Ok(None);
        };
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
            Ok(about) if about.len() > LARGEST || !about.is_file() => {
                return Err(io::Error::other("it is no session of poolscope"));
            }
            Ok(_) => {}
        }
        let kept: SessionState = serde_json::from_slice(&fs::read(&path)?)?;
        match kept.version {
            VERSION => Ok(Some(kept)),
            other => Err(io::Error::other(format!(
                "its form is {other}, another poolscope's"
            ))),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// What the system says.
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

fn private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// A session that can't be removed now is tried again the next time.
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
    fn what_is_kept_comes_back_and_only_for_the_same_dump() {
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
    fn what_is_no_session_is_refused_and_never_believed() {
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
    fn only_the_latest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        for identity in 0..MOST_FILES as u128 + 5 {
            store.keep(identity, &kept()).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MOST_FILES);
    }
}
