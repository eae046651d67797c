//! Exports the tables of any number of dumps as one dataset: a folder per table, a subfolder per
//! machine and boot, and a file per dump.
//!
//! Files get their final names only when they are complete, so neither a full disk nor a
//! concurrent writer leaves a partial file. Exporting a dump again replaces its own rows only.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::system::files;

use super::answers::{Answers, Keys};
use super::cell::{Cell, Sink};
use super::csv::CsvWriter;
use super::parquet::{Packing, TableWriter};
use super::read::newer_file;
use super::rows::{self, Listed};
use super::schema::{ANSWERS, BLOCKS, CONTENTS, DUMPS, TABLES, Table};

/// The file format of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Parquet.
    #[default]
    Parquet,
    /// CSV.
    Csv,
}

impl Form {
    /// The file extension.
    pub fn ending(self) -> &'static str {
        match self {
            Form::Parquet => "parquet",
            Form::Csv => "csv",
        }
    }
}

enum Writer {
    Parquet(TableWriter<BufWriter<File>>),
    Csv(CsvWriter<BufWriter<File>>),
}

/// A table that is written under a temporary name beside its final path.
struct Partial {
    table: &'static Table,
    path: TempPath,
    writer: Writer,
}

/// The files of one dump while they are written. If it is dropped before [`Dataset::keep`], no
/// file is left.
struct Dataset<'a> {
    folder: &'a Path,
    keys: &'a Keys,
    form: Form,
    files: Vec<Partial>,
}

/// The path of a dump's rows of a table.
pub fn place(folder: &Path, table: &Table, keys: &Keys, form: Form) -> PathBuf {
    folder
        .join(table.name)
        .join(format!("machine={}", keys.machine))
        .join(format!("boot={}", keys.boot))
        .join(format!("{}.{}", keys.dump, form.ending()))
}

/// True for a table that a dataset has; the other tables exist in evidence files only.
pub fn is_exported(table: &Table, blocks: bool) -> bool {
    match table.name {
        name if name == ANSWERS.name || name == CONTENTS.name => false,
        name if name == BLOCKS.name => blocks,
        _ => true,
    }
}

impl Dataset<'_> {
    fn start(&self, table: &'static Table) -> io::Result<Partial> {
        let place = place(self.folder, table, self.keys, self.form);
        let folder = place.parent().unwrap_or(self.folder);
        fs::create_dir_all(folder)?;
        // Readers of the dataset skip names that start with a dot.
        let (file, path) = tempfile::Builder::new()
            .prefix(".poolscope-")
            .suffix(".partial")
            .tempfile_in(folder)?
            .into_parts();
        let out = BufWriter::new(file);
        let writer = match self.form {
            Form::Parquet => {
                let keys = [&self.keys.machine, &self.keys.boot, &self.keys.dump];
                let keys = keys.map(String::as_str);
                Writer::Parquet(TableWriter::new(table, keys, out, Packing::Snappy)?)
            }
            Form::Csv => Writer::Csv(CsvWriter::new(table, out)?),
        };
        Ok(Partial {
            table,
            path,
            writer,
        })
    }

    /// Renames all files to their final names. `dumps` is last: if it exists, all tables exist.
    fn keep(self) -> io::Result<()> {
        let mut whole = Vec::new();
        for partial in self.files {
            match partial.writer {
                Writer::Parquet(writer) => writer.finish()?,
                Writer::Csv(writer) => writer.finish()?,
            };
            whole.push((
                place(self.folder, partial.table, self.keys, self.form),
                partial.path,
            ));
        }
        for (place, path) in whole.into_iter().rev() {
            readable(&path)?;
            files::put_path(path, &place)?;
        }
        Ok(())
    }
}

/// Temporary files are readable by their owner only; this sets the usual permissions.
#[cfg(unix)]
pub(super) fn readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Derive the mode from the folder's: the umask can't be read without changing it.
    let folder = path.parent().unwrap_or(Path::new("."));
    let mode = fs::metadata(folder)?.permissions().mode() & 0o644;
    fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o600))
}

#[cfg(not(unix))]
pub(super) fn readable(_: &Path) -> io::Result<()> {
    Ok(())
}

impl Sink for Dataset<'_> {
    fn row(&mut self, table: &'static Table, cells: &[Cell<'_>]) -> io::Result<()> {
        let keys = [&self.keys.machine, &self.keys.boot, &self.keys.dump];
        let keys = keys.map(|key| Cell::Text(key));
        let found = self.files.iter_mut().find(|f| std::ptr::eq(f.table, table));
        match found.map(|f| &mut f.writer) {
            Some(Writer::Parquet(writer)) => writer.row(cells),
            Some(Writer::Csv(writer)) => writer.row(&keys, cells),
            None => Ok(()),
        }
    }
}

/// Removes files that an earlier export of the same dump wrote in another format or for another
/// machine or boot.
fn forget_others(folder: &Path, keys: &Keys, form: Form) -> io::Result<()> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|e| e.path()).filter(|p| p.is_dir()).collect()
    };
    for table in TABLES {
        let own = place(folder, table, keys, form);
        let machines = folders(&folder.join(table.name));
        for boot in machines.iter().flat_map(|machine| folders(machine)) {
            for ending in [Form::Parquet, Form::Csv].map(Form::ending) {
                let file = boot.join(format!("{}.{ending}", keys.dump));
                if file != own && file.is_file() {
                    fs::remove_file(file)?;
                }
            }
        }
    }
    Ok(())
}

/// The schema version of an existing dataset if it is newer than this program's. Rows of two
/// schema versions must not share a dataset.
pub fn newer_dataset(folder: &Path) -> Option<String> {
    let inside = |path: PathBuf| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|e| e.path()).collect()
    };
    let machines = inside(folder.join(DUMPS.name));
    let mut files = machines.into_iter().flat_map(inside).flat_map(inside);
    // All files of a dataset have the same version, so one is enough.
    let file = files.find(|f| f.extension().is_some_and(|e| e == Form::Parquet.ending()))?;
    newer_file(File::open(file).ok()?)
}

/// Exports the rows of one dump.
///
/// # Errors
/// I/O errors; no partial file is left.
pub fn export(answers: &Answers<'_>, folder: &Path, form: Form, blocks: bool) -> io::Result<()> {
    let mut out = Dataset {
        folder,
        keys: &answers.keys,
        form,
        files: Vec::new(),
    };
    for table in TABLES.into_iter().filter(|t| is_exported(t, blocks)) {
        let partial = out.start(table)?;
        out.files.push(partial);
    }
    rows::tables(answers, &mut out)?;
    if blocks {
        rows::blocks(answers, Listed::All, &mut out)?;
    }
    out.keep()?;
    forget_others(folder, &answers.keys, form)?;
    if !blocks {
        // Block rows of an earlier export belong to an earlier walk.
        match fs::remove_file(place(folder, &BLOCKS, &answers.keys, form)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
