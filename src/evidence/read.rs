//! Reads tables. The input may be malicious: rows and bytes are limited, columns are looked up by
//! name, and values of a column with the wrong type are unknown.

use std::io::Read;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use thiserror::Error;

use super::schema::{Table, VERSION};

/// Rows per batch.
const BATCH: usize = 1 << 14;
/// Maximum number of columns.
const MOST_COLUMNS: usize = 256;
/// Maximum number of row groups.
const MOST_GROUPS: usize = 1 << 14;

/// The metadata key of the schema version.
pub const SCHEMA_KEY: &str = "poolscope.schema";

/// Why a table can't be read.
#[derive(Debug, Error)]
pub enum TableError {
    /// Not a Parquet file, or damaged.
    #[error("table {table}: {why}")]
    Damaged {
        /// The table's name.
        table: &'static str,
        /// The cause.
        why: String,
    },
    /// The table exceeds a limit.
    #[error("table {table} has more than {most} {unit}: not read")]
    TooLarge {
        /// The table's name.
        table: &'static str,
        /// The limit.
        most: u64,
        /// The unit of the limit.
        unit: &'static str,
    },
    /// The schema is newer, so columns may have another meaning.
    #[error(
        "table {table} has schema {schema}, this poolscope reads {}.x: use a newer poolscope",
        VERSION.0
    )]
    Newer {
        /// The table's name.
        table: &'static str,
        /// The schema version of the table.
        schema: String,
    },
}

/// A batch of rows.
pub struct Batch {
    columns: Vec<Values>,
    /// Number of rows.
    pub rows: usize,
}

enum Values {
    Ints(Vec<Option<i64>>),
    Reals(Vec<Option<f64>>),
    Bools(Vec<Option<bool>>),
    Texts(Vec<Option<ByteArray>>),
    Unknown,
}

/// A row in a batch.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    batch: &'a Batch,
    at: usize,
}

impl Row<'_> {
    /// The integer in a column; `column` is the index in the schema.
    pub fn int(&self, column: usize) -> Option<i64> {
        match self.batch.columns.get(column)? {
            Values::Ints(v) => *v.get(self.at)?,
            _ => None,
        }
    }

    /// The count in a column: an integer that is not negative.
    pub fn count(&self, column: usize) -> Option<u64> {
        u64::try_from(self.int(column)?).ok()
    }

    /// The floating-point value in a column.
    pub fn real(&self, column: usize) -> Option<f64> {
        match self.batch.columns.get(column)? {
            Values::Reals(v) => *v.get(self.at)?,
            _ => None,
        }
    }

    /// The Boolean in a column.
    pub fn bool(&self, column: usize) -> Option<bool> {
        match self.batch.columns.get(column)? {
            Values::Bools(v) => *v.get(self.at)?,
            _ => None,
        }
    }

    /// The text in a column; `None` also for invalid UTF-8.
    pub fn text(&self, column: usize) -> Option<&str> {
        match self.batch.columns.get(column)? {
            Values::Texts(v) => v.get(self.at)?.as_ref()?.as_utf8().ok(),
            _ => None,
        }
    }
}

impl Batch {
    /// All rows of the batch.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows).map(|at| Row { batch: self, at })
    }
}

/// The index of a column in the table's schema.
pub fn place(table: &'static Table, name: &str) -> usize {
    let at = table.all().position(|column| column.name == name);
    at.unwrap_or(usize::MAX)
}

/// Reads a table batch by batch. A table that claims more than `most` rows is an error.
///
/// # Errors
/// A [`TableError`], or the error of `each`.
pub fn read(
    table: &'static Table,
    bytes: Bytes,
    most: u64,
    mut each: impl FnMut(&Batch) -> Result<(), TableError>,
) -> Result<u64, TableError> {
    let damaged = |why: String| TableError::Damaged {
        table: table.name,
        why,
    };
    // The crate validates its input, but if it misses a case and panics, only this table is lost.
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let length = bytes.len() as u64;
        let file = SerializedFileReader::new(bytes).map_err(|e| damaged(e.to_string()))?;
        let meta = file.metadata();
        if let Some(schema) = newer_schema(meta) {
            let table = table.name;
            return Err(TableError::Newer { table, schema });
        }
        let rows = meta.file_metadata().num_rows();
        let columns = meta.file_metadata().schema_descr().num_columns();
        if meta.num_row_groups() > MOST_GROUPS || columns > MOST_COLUMNS {
            return Err(damaged("it has too many columns or row groups".into()));
        }
        if u64::try_from(rows).is_ok_and(|rows| rows > most) {
            return Err(TableError::TooLarge {
                table: table.name,
                most,
                unit: "rows",
            });
        }
        let mut done = 0u64;
        for nth in 0..meta.num_row_groups() {
            let group = file
                .get_row_group(nth)
                .map_err(|e| damaged(e.to_string()))?;
            check(&*group, length).map_err(&damaged)?;
            done += read_group(table, &*group, most - done, &mut each)?;
        }
        Ok(done)
    }));
    read.unwrap_or_else(|_| Err(damaged("it can't be decoded".into())))
}

/// The schema version of a table if it is newer than this program's.
fn newer_schema(meta: &ParquetMetaData) -> Option<String> {
    let about = meta.file_metadata().key_value_metadata()?;
    let schema = about
        .iter()
        .find(|kv| kv.key == SCHEMA_KEY)?
        .value
        .clone()?;
    let major: u32 = schema.split('.').next()?.parse().ok()?;
    (major > VERSION.0).then_some(schema)
}

/// The schema version of a file on disk if it is newer than this program's. Only the footer is
/// read. `None` also for a file that is not Parquet.
pub fn newer_file(file: std::fs::File) -> Option<String> {
    let read = std::panic::catch_unwind(|| SerializedFileReader::new(file).ok());
    newer_schema(read.ok()??.metadata())
}

/// Checks the sizes that a row group claims against the file's length.
fn check(group: &dyn RowGroupReader, length: u64) -> Result<(), String> {
    for column in group.metadata().columns() {
        let known = matches!(
            column.compression(),
            Compression::UNCOMPRESSED | Compression::SNAPPY
        );
        if !known {
            return Err(format!("{} is not read", column.compression()));
        }
        let size = u64::try_from(column.compressed_size()).unwrap_or(u64::MAX);
        let start = column
            .data_page_offset()
            .min(column.dictionary_page_offset().unwrap_or(i64::MAX));
        let start = u64::try_from(start).unwrap_or(u64::MAX);
        if start.checked_add(size).is_none_or(|end| end > length) {
            return Err("a column is cut off".into());
        }
    }
    Ok(())
}

fn read_group(
    table: &'static Table,
    group: &dyn RowGroupReader,
    most: u64,
    each: &mut impl FnMut(&Batch) -> Result<(), TableError>,
) -> Result<u64, TableError> {
    let damaged = |why: String| TableError::Damaged {
        table: table.name,
        why,
    };
    let rows = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
    if rows > most {
        return Err(TableError::TooLarge {
            table: table.name,
            most,
            unit: "rows",
        });
    }
    let schema = group.metadata().schema_descr_ptr();
    let find = |name: &str| {
        schema
            .columns()
            .iter()
            .position(|c| c.name() == name && c.max_rep_level() == 0)
    };
    let mut readers: Vec<Option<(ColumnReader, i16)>> = Vec::new();
    for column in table.all() {
        readers.push(match find(column.name) {
            None => None,
            Some(at) => {
                let most = schema.column(at).max_def_level();
                let reader = group.get_column_reader(at);
                Some((reader.map_err(|e| damaged(e.to_string()))?, most))
            }
        });
    }
    let mut done = 0u64;
    while done < rows {
        let wanted = BATCH.min(usize::try_from(rows - done).unwrap_or(BATCH));
        let mut columns = Vec::with_capacity(readers.len());
        for reader in &mut readers {
            let values = match reader {
                None => Values::Unknown,
                Some((reader, levels)) => values(reader, *levels, wanted).map_err(&damaged)?,
            };
            columns.push(values);
        }
        let batch = Batch {
            columns,
            rows: wanted,
        };
        each(&batch)?;
        done += wanted as u64;
    }
    Ok(done)
}

fn values(reader: &mut ColumnReader, top: i16, rows: usize) -> Result<Values, String> {
    macro_rules! take {
        ($reader:expr) => {{
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let mut read = 0;
            while read < rows {
                let asked = rows - read;
                let got = $reader.read_records(asked, Some(&mut levels), None, &mut values);
                let (records, _, _) = got.map_err(|e| e.to_string())?;
                if records == 0 {
                    return Err("rows are missing".into());
                }
                read += records;
            }
            spread(values, &levels, top, rows)
        }};
    }
    Ok(match reader {
        ColumnReader::Int64ColumnReader(r) => Values::Ints(take!(r)),
        ColumnReader::DoubleColumnReader(r) => Values::Reals(take!(r)),
        ColumnReader::BoolColumnReader(r) => Values::Bools(take!(r)),
        ColumnReader::ByteArrayColumnReader(r) => Values::Texts(take!(r)),
        _ => Values::Unknown,
    })
}

/// Expands the non-null values to one entry per row.
fn spread<T>(values: Vec<T>, levels: &[i16], top: i16, rows: usize) -> Vec<Option<T>> {
    let mut values = values.into_iter();
    if top == 0 {
        return (0..rows).map(|_| values.next()).collect();
    }
    let there = |row: usize| levels.get(row) == Some(&top);
    (0..rows)
        .map(|row| if there(row) { values.next() } else { None })
        .collect()
}

/// Reads a whole stream up to a limit; `None` if the stream is longer.
///
/// # Errors
/// I/O errors of the stream.
pub fn bounded(stream: impl Read, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    stream.take(most.saturating_add(1)).read_to_end(&mut out)?;
    Ok((out.len() as u64 <= most).then_some(out))
}
