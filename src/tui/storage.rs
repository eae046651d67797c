//! Where the UI keeps files, and how it writes one so that there is all of it or nothing.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes to a file so that there is all of it or nothing.
///
/// # Errors
/// What the system says; a file that is there and shall not be replaced.
pub fn write_whole(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let mut out = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    let bytes = file.as_file().metadata()?.len();
    match replace {
        true => file.persist(path).map_err(|e| e.error)?,
        false => file.persist_noclobber(path).map_err(|e| e.error)?,
    };
    Ok(bytes)
}

/// The user's directory for what programs remember: `$XDG_STATE_HOME`, `~/.local/state`;
/// on macOS `~/Library/Application Support`, on Windows `%LOCALAPPDATA%`.
pub fn state_directory() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let home = || variable("HOME");
    let state = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|h| h.join("Library/Application Support"))
    } else {
        variable("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")))
    };
    Some(state?.join("poolscope"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        let write = |text: &'static str| move |out: &mut dyn Write| out.write_all(text.as_bytes());
        assert_eq!(write_whole(&path, false, write("one")).unwrap(), 3);
        let again = write_whole(&path, false, write("two")).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        write_whole(&path, true, write("two")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
