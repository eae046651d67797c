//! The files that a client may open: those on the command line, and those under its
//! directories. Paths are compared after all symbolic links are resolved.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Maximum number of files to list; more are only counted.
const MOST_LISTED: usize = 1000;
/// Maximum depth of directories to list.
const DEEPEST: usize = 4;

/// The files and directories that may be opened.
#[derive(Debug)]
pub struct Allowed {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

/// A file that may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The path.
    pub path: PathBuf,
    /// The length in bytes.
    pub bytes: u64,
}

impl Allowed {
    /// Allows the given files and directories.
    ///
    /// # Errors
    /// Which of them does not exist, as a sentence.
    pub fn new(paths: &[PathBuf]) -> Result<Allowed, String> {
        let mut out = Allowed {
            files: Vec::new(),
            directories: Vec::new(),
        };
        for path in paths {
            let real = fs::canonicalize(path).map_err(|error| {
                format!("{}: {error}; name a file or a directory", path.display())
            })?;
            match real.is_dir() {
                true => out.directories.push(real),
                false => out.files.push(real),
            }
        }
        Ok(out)
    }

    /// The first given file.
    pub fn first(&self) -> Option<&Path> {
        self.files.first().map(PathBuf::as_path)
    }

    fn allows(&self, real: &Path) -> bool {
        self.files.iter().any(|file| file == real)
            || self.directories.iter().any(|d| real.starts_with(d))
    }

    /// The file that a client names: a path, the name of an allowed file, or a path below
    /// an allowed directory.
    ///
    /// # Errors
    /// Why it cannot be opened, and what to do. The message for a path outside does not
    /// reveal whether the file exists.
    pub fn resolve(&self, wanted: &str) -> Result<PathBuf, String> {
        let path = Path::new(wanted);
        if wanted.is_empty() || wanted.contains('\0') {
            return Err("not a path: call open without a path to list the files".into());
        }
        let named = |file: &&PathBuf| file.file_name().is_some_and(|name| name == path);
        if let Some(file) = self.files.iter().find(named) {
            return Ok(file.clone());
        }
        let mut candidates = vec![path.to_owned()];
        if path.is_relative() {
            candidates.extend(self.directories.iter().map(|d| d.join(path)));
        }
        let mut real = candidates.iter().filter_map(|c| fs::canonicalize(c).ok());
        if let Some(found) = real.find(|real| self.allows(real)) {
            return match found.is_file() {
                true => Ok(found),
                false => Err(format!(
                    "{wanted} is not a file: call open without a path to list the files"
                )),
            };
        }
        // Only report a missing file below allowed directories: the client must not learn
        // which other files exist.
        let inside = |c: &PathBuf| {
            let plain = c
                .components()
                .all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
            plain && c.is_absolute() && self.allows(c) && fs::symlink_metadata(c).is_err()
        };
        if candidates.iter().any(inside) {
            return Err(format!(
                "{wanted}: there is no such file; call open without a path to list the files"
            ));
        }
        Err(format!(
            "{wanted} may not be opened: only files that the command line of `poolscope mcp` names, and files under directories that it names; call open without a path to list them"
        ))
    }

    /// The files that may be opened, and the number of further ones.
    pub fn list(&self) -> (Vec<Listed>, u64) {
        let mut out = Vec::new();
        let mut more = 0;
        let mut add = |path: PathBuf, bytes: u64| match out.len() < MOST_LISTED {
            true => out.push(Listed { path, bytes }),
            false => more += 1,
        };
        for file in &self.files {
            let bytes = fs::metadata(file).map_or(0, |m| m.len());
            add(file.clone(), bytes);
        }
        for directory in &self.directories {
            below(directory, DEEPEST, &mut add);
        }
        (out, more)
    }
}

/// The files below a directory, sorted by name. Does not follow symbolic links.
fn below(directory: &Path, depth: usize, add: &mut dyn FnMut(PathBuf, u64)) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries.map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let Ok(about) = fs::symlink_metadata(&path) else {
            continue;
        };
        if about.is_file() {
            add(path, about.len());
        } else if about.is_dir() && depth > 0 {
            below(&path, depth - 1, add);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_paths_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("in/deep")).unwrap();
        fs::create_dir_all(at("in-other")).unwrap();
        for name in [
            "in/a.dmp",
            "in/deep/b.dmp",
            "in-other/c.dmp",
            "d.dmp",
            "e.dmp",
        ] {
            fs::write(at(name), name).unwrap();
        }
        let allowed = Allowed::new(&[at("in"), at("d.dmp")]).unwrap();
        let name = |name: &str| at(name).to_string_lossy().into_owned();
        for good in ["a.dmp", "deep/b.dmp", "d.dmp", "deep/../a.dmp"] {
            assert!(allowed.resolve(good).is_ok(), "{good}");
        }
        assert!(allowed.resolve(&name("in/a.dmp")).is_ok());
        let outside = [
            name("e.dmp"),
            name("in-other/c.dmp"),
            name("in/../e.dmp"),
            name("nothing"),
            name("in/../nothing"),
            "../e.dmp".into(),
            "/etc/passwd".into(),
        ];
        for wrong in outside {
            let why = allowed.resolve(&wrong).unwrap_err();
            assert!(why.contains("may not be opened"), "{why}");
        }
        assert!(
            allowed
                .resolve("gone.dmp")
                .unwrap_err()
                .contains("no such file")
        );
        assert!(allowed.resolve("").is_err() && allowed.resolve("a\0b").is_err());
        assert!(allowed.resolve("deep").unwrap_err().contains("not a file"));
        let (files, more) = allowed.list();
        assert_eq!((files.len(), more), (3, 0));
        assert!(Allowed::new(&[at("nothing")]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_does_not_lead_outside() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        fs::create_dir(at("out")).unwrap();
        fs::write(at("out/secret"), "x").unwrap();
        std::os::unix::fs::symlink(at("out/secret"), at("in/file")).unwrap();
        std::os::unix::fs::symlink(at("out"), at("in/folder")).unwrap();
        std::os::unix::fs::symlink(at("in"), at("door")).unwrap();
        let allowed = Allowed::new(&[at("door")]).unwrap();
        for wrong in ["file", "folder/secret"] {
            let why = allowed.resolve(wrong).unwrap_err();
            assert!(why.contains("may not be opened"), "{why}");
        }
        assert!(allowed.list().0.is_empty());
    }
}
