//! Renames a finished file to its final name atomically: readers see the whole file or none.
//!
//! POSIX replaces a file that other processes have open. Windows refuses this (access denied,
//! or a sharing violation) while another process has the old file open or is replacing it. This
//! takes only a moment, so the step is retried for a while.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use tempfile::{NamedTempFile, TempPath};

/// Delays before the retries in milliseconds; about two thirds of a second in total.
const WAITS: [u64; 7] = [5, 10, 20, 40, 80, 160, 320];

/// Renames a finished file to its final name, replacing an existing file.
///
/// # Errors
/// The error of the system; the unfinished file is removed.
pub fn put(file: NamedTempFile, place: &Path) -> io::Result<()> {
    put_path(file.into_temp_path(), place)
}

/// As [`put`], for a closed file.
///
/// # Errors
/// As [`put`].
pub fn put_path(partial: TempPath, place: &Path) -> io::Result<()> {
    attempt(partial, place).map_err(|refused| refused.error)
}

/// Renames a finished file to a name that identifies its content, as in a symbol store. If the
/// system refuses because another process has stored the same content there, this counts as
/// success.
///
/// # Errors
/// As [`put`].
pub fn put_once(file: NamedTempFile, place: &Path) -> io::Result<()> {
    match attempt(file.into_temp_path(), place) {
        Err(refused) if is_same(&refused.path, place) => Ok(()),
        done => done.map_err(|refused| refused.error),
    }
}

fn attempt(mut partial: TempPath, place: &Path) -> Result<(), tempfile::PathPersistError> {
    for wait in WAITS {
        match partial.persist(place) {
            Err(refused) if is_busy(&refused.error) => partial = refused.path,
            done => return done,
        }
        std::thread::sleep(Duration::from_millis(wait));
    }
    partial.persist(place)
}

/// True when another process may be the cause, so that a retry may succeed.
fn is_busy(why: &io::Error) -> bool {
    const ACCESS_DENIED: i32 = 5;
    const SHARING_VIOLATION: i32 = 32;
    let code = why.raw_os_error();
    cfg!(windows) && matches!(code, Some(ACCESS_DENIED | SHARING_VIOLATION))
}

/// True when both files are readable and equal.
fn is_same(one: &Path, other: &Path) -> bool {
    let compare = || -> io::Result<bool> {
        let (one, other) = (File::open(one)?, File::open(other)?);
        if !other.metadata()?.is_file() || one.metadata()?.len() != other.metadata()?.len() {
            return Ok(false);
        }
        let mut others = BufReader::new(other).bytes();
        for byte in BufReader::new(one).bytes() {
            if others.next().transpose()? != Some(byte?) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    compare().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn partial(folder: &Path, content: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new_in(folder).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    #[test]
    fn concurrent_puts_of_a_file_leave_it_readable() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let place = folder.join("nt.pdb");
        std::thread::scope(|scope| {
            let work = || {
                for _ in 0..8 {
                    put_once(partial(folder, "symbols"), &place).unwrap();
                    assert_eq!(std::fs::read_to_string(&place).unwrap(), "symbols");
                }
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            workers.into_iter().for_each(|w| w.join().unwrap());
        });
        // No unfinished file is left.
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
    }

    #[test]
    fn another_file_in_the_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("nt.pdb");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("x"), "x").unwrap();
        assert!(put_once(partial(folder.path(), "symbols"), &place).is_err());
        assert!(put(partial(folder.path(), "symbols"), &place).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_the_same_if_all_bytes_are_equal() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [("a", "abc"), ("b", "abc"), ("c", "abd"), ("d", "ab")] {
            std::fs::write(path(name), content).unwrap();
        }
        let same = |other: &str| is_same(&path("a"), &path(other));
        assert_eq!(["b", "c", "d", "e"].map(same), [true, false, false, false]);
    }
}
