//! The directories of the UI's files, and atomic writing.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::system::files;

/// Writes a file atomically: completely or not at all. Only the user can read it.
///
/// # Errors
/// An error of the file system; an existing file that must not be replaced.
pub fn write_whole(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    write_as(path, replace, 0o600, write)
}

/// The same for a file that the user saves: its permissions follow the umask.
///
/// # Errors
/// As [`write_whole`].
pub fn write_asked_for(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    write_as(path, replace, 0o666, write)
}

fn write_as(
    path: &Path,
    replace: bool,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    #[cfg(unix)]
    let permissions: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp");
    #[cfg(unix)]
    builder.permissions(permissions);
    // Errors do not show the name of the temporary file: the caller did not choose it.
    let mut file = builder
        .tempfile_in(directory)
        .map_err(|e| match e.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => e.kind().into(),
        })?;
    let mut out = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    let bytes = file.as_file().metadata()?.len();
    match replace {
        true => files::put(file, path)?,
        false => file
            .into_temp_path()
            .persist_noclobber(path)
            .map_err(|e| e.error)?,
    }
    Ok(bytes)
}

/// The user's directory for program state: `$XDG_STATE_HOME`, `~/.local/state`; on macOS
/// `~/Library/Application Support`, on Windows `%LOCALAPPDATA%`.
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

    #[cfg(unix)]
    #[test]
    fn saved_files_follow_the_umask_and_state_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (asked, kept, plain) = ("a.txt", "b.txt", "c.txt");
        let path = |name: &str| folder.path().join(name);
        let write = |out: &mut dyn Write| out.write_all(b"x");
        write_asked_for(&path(asked), false, write).unwrap();
        write_whole(&path(kept), false, write).unwrap();
        std::fs::write(path(plain), "x").unwrap();
        let mode = |name: &str| {
            let metadata = std::fs::metadata(path(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode(asked), mode(plain));
        assert_eq!(mode(kept), 0o600);
    }

    #[test]
    fn an_error_does_not_name_the_temporary_file() {
        let path = Path::new("/nonexistent/folder/list.txt");
        let why = write_asked_for(path, false, |_| Ok(())).unwrap_err();
        assert!(!why.to_string().contains("tmp"), "{why}");
    }

    #[test]
    fn an_existing_file_is_replaced_only_on_request() {
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
