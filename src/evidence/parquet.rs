//! Tables as Parquet files, written with the column writers of the `parquet` crate.
//!
//! Rows are buffered up to a row group, so memory use does not depend on the table's length.
//! Pages of a dataset are compressed with Snappy. Pages of an evidence file are not: the
//! container compresses them, and it alone then limits the unpacked size.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, ColumnPath, Type};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::cell::Cell;
use super::read::SCHEMA_KEY;
use super::schema::{Column, KEYS, Kind, Table, VERSION};

/// Rows per row group; this bounds the memory per table.
const GROUP: usize = 1 << 17;
/// Number of distinct texts per column that are remembered, so that equal texts share memory.
const REMEMBERED: usize = 1 << 12;

/// The compression of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// None: the container compresses.
    None,
    /// Snappy.
    Snappy,
}

/// The values of a column in a row group: the non-null values, and for each row its definition
/// level (1 for a value, 0 for null).
#[derive(Default)]
struct Values<T> {
    /// Those that are not null.
    present: Vec<T>,
    /// 1 for each row with a value and 0 for each null; empty while there is no null.
    levels: Vec<i16>,
}

impl<T: Clone + PartialEq> Values<T> {
    fn push(&mut self, value: Option<T>) {
        if value.is_none() && self.levels.is_empty() {
            self.levels.resize(self.present.len(), 1);
        }
        if value.is_none() || !self.levels.is_empty() {
            self.levels.push(i16::from(value.is_some()));
        }
        self.present.extend(value);
    }

    /// The value of all rows if they are equal; it can be null.
    fn constant(&self) -> Option<Option<T>> {
        match (self.present.first(), self.levels.is_empty()) {
            (None, _) => Some(None),
            (Some(first), true) => {
                let same = self.present.iter().all(|value| value == first);
                same.then(|| Some(first.clone()))
            }
            (Some(_), false) => None,
        }
    }

    /// The definition level of each row.
    fn levels(&self, rows: usize) -> Cow<'_, [i16]> {
        match self.levels.is_empty() {
            true => Cow::Owned(vec![1; rows]),
            false => Cow::Borrowed(&self.levels),
        }
    }

    fn clear(&mut self) {
        self.present.clear();
        self.levels.clear();
    }
}

enum Buffer {
    Int(Values<i64>),
    Real(Values<f64>),
    Bool(Values<bool>),
    Text(Texts),
}

/// The value of a column whose rows in a row group are all equal.
#[derive(Clone, Debug, PartialEq)]
enum Constant {
    Null,
    Int(i64),
    Real(u64),
    Bool(bool),
    Text(ByteArray),
}

/// A column of a row group, encoded.
type Chunk = (Bytes, ColumnCloseResult);

/// A column: its buffer, and the last chunk whose rows were all equal. A group with the same
/// value and number of rows reuses that chunk.
struct Encoder {
    buffer: Buffer,
    last: Option<(Constant, usize, Chunk)>,
}

impl Buffer {
    fn of(kind: Kind) -> Buffer {
        match kind {
            Kind::Int | Kind::Time => Buffer::Int(Values::default()),
            Kind::Real => Buffer::Real(Values::default()),
            Kind::Bool => Buffer::Bool(Values::default()),
            Kind::Text => Buffer::Text(Texts::default()),
        }
    }

    /// Appends a value. A value of the wrong type becomes null; a test of the schema rules that
    /// out.
    fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Buffer::Int(out), Cell::Int(n) | Cell::Time(n)) => out.push(Some(*n)),
            (Buffer::Real(out), Cell::Real(x)) => out.push(Some(*x)),
            (Buffer::Bool(out), Cell::Bool(b)) => out.push(Some(*b)),
            (Buffer::Text(out), Cell::Text(text)) => out.push(Some(text)),
            (Buffer::Int(out), _) => out.push(None),
            (Buffer::Real(out), _) => out.push(None),
            (Buffer::Bool(out), _) => out.push(None),
            (Buffer::Text(out), _) => out.push(None),
        }
    }

    fn constant(&self) -> Option<Constant> {
        let of = |value: Option<Constant>| value.unwrap_or(Constant::Null);
        Some(match self {
            Buffer::Int(b) => of(b.constant()?.map(Constant::Int)),
            Buffer::Real(b) => of(b.constant()?.map(|x| Constant::Real(x.to_bits()))),
            Buffer::Bool(b) => of(b.constant()?.map(Constant::Bool)),
            Buffer::Text(b) => of(b.constant()?.map(Constant::Text)),
        })
    }

    /// Encodes the buffered values as a column of a row group.
    fn encode(
        &self,
        rows: usize,
        column: ColumnDescPtr,
        properties: WriterPropertiesPtr,
    ) -> Result<Chunk, ParquetError> {
        let mut out = TrackedWrite::new(Vec::new());
        let pages = Box::new(SerializedPageWriter::new(&mut out));
        let mut writer = get_column_writer(column, properties, pages);
        match (&mut writer, self) {
            (ColumnWriter::Int64ColumnWriter(w), Buffer::Int(b)) => {
                w.write_batch(&b.present, Some(&b.levels(rows)), None)?
            }
            (ColumnWriter::DoubleColumnWriter(w), Buffer::Real(b)) => {
                w.write_batch(&b.present, Some(&b.levels(rows)), None)?
            }
            (ColumnWriter::BoolColumnWriter(w), Buffer::Bool(b)) => {
                w.write_batch(&b.present, Some(&b.levels(rows)), None)?
            }
            (ColumnWriter::ByteArrayColumnWriter(w), Buffer::Text(b)) => {
                let values = b.values();
                w.write_batch(&values.present, Some(&values.levels(rows)), None)?
            }
            _ => return Err(ParquetError::General("a column of another type".into())),
        };
        let close = writer.close()?;
        Ok((out.into_inner()?.into(), close))
    }

    fn clear(&mut self) {
        match self {
            Buffer::Int(b) => b.clear(),
            Buffer::Real(b) => b.clear(),
            Buffer::Bool(b) => b.clear(),
            Buffer::Text(b) => b.clear(),
        }
    }
}

impl Encoder {
    /// Encodes the buffered values and clears the buffer.
    fn encode(
        &mut self,
        rows: usize,
        column: ColumnDescPtr,
        properties: WriterPropertiesPtr,
    ) -> Result<Chunk, ParquetError> {
        let constant = self.buffer.constant();
        let chunk = match (&constant, &self.last) {
            (Some(constant), Some((value, count, chunk)))
                if constant == value && rows == *count =>
            {
                chunk.clone()
            }
            _ => self.buffer.encode(rows, column, properties)?,
        };
        if let Some(constant) = constant {
            self.last = Some((constant, rows, chunk.clone()));
        }
        self.buffer.clear();
        Ok(chunk)
    }
}

/// The texts of a column, as runs of consecutive rows with the same text.
#[derive(Default)]
struct Texts {
    runs: Vec<(Option<ByteArray>, usize)>,
    /// Known texts; equal texts share their bytes.
    known: FxHashMap<String, ByteArray>,
}

impl Texts {
    /// One text for `rows` rows.
    fn of_one(text: ByteArray, rows: usize) -> Texts {
        Texts {
            runs: vec![(Some(text), rows)],
            ..Texts::default()
        }
    }

    fn push(&mut self, text: Option<&str>) {
        if let Some((last, count)) = self.runs.last_mut()
            && last.as_ref().map(ByteArray::data) == text.map(str::as_bytes)
        {
            *count += 1;
            return;
        }
        let bytes = text.map(|text| match self.known.get(text) {
            Some(known) => known.clone(),
            None => {
                let bytes = ByteArray::from(text);
                if self.known.len() < REMEMBERED {
                    self.known.insert(text.to_owned(), bytes.clone());
                }
                bytes
            }
        });
        self.runs.push((bytes, 1));
    }

    /// The value of all rows if they are equal; it can be null.
    fn constant(&self) -> Option<Option<ByteArray>> {
        match self.runs.as_slice() {
            [(value, _)] => Some(value.clone()),
            _ => None,
        }
    }

    fn values(&self) -> Values<ByteArray> {
        let mut out = Values::default();
        for (value, count) in &self.runs {
            (0..*count).for_each(|_| out.push(value.clone()));
        }
        out
    }

    fn clear(&mut self) {
        self.runs.clear();
    }
}

/// Writes one table.
pub struct TableWriter<W: Write + Send> {
    table: &'static Table,
    keys: [ByteArray; KEYS.len()],
    file: SerializedFileWriter<W>,
    columns: Vec<Encoder>,
    buffered: usize,
    rows: u64,
}

/// Extracts the I/O error if there is one.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(system) => *system,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

fn field(column: &Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.kind {
        Kind::Int => (Physical::INT64, None),
        Kind::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
        ),
        Kind::Real => (Physical::DOUBLE, None),
        Kind::Bool => (Physical::BOOLEAN, None),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

fn properties(table: &Table, packing: Packing) -> WriterProperties {
    let about = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let (major, minor) = VERSION;
    let mut out = WriterProperties::builder()
        .set_compression(match packing {
            Packing::None => Compression::UNCOMPRESSED,
            Packing::Snappy => Compression::SNAPPY,
        })
        .set_created_by(concat!("poolscope ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            about(SCHEMA_KEY, format!("{major}.{minor}")),
            about("poolscope.table", table.name.to_owned()),
        ]))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Addresses are sorted and distinct: delta encoding is small, and a dictionary is useless.
    for column in table.all().filter(|c| is_address(c)) {
        let path = ColumnPath::from(column.name);
        out = out
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    out.build()
}

fn is_address(column: &Column) -> bool {
    column.kind == Kind::Int && matches!(column.name, "address" | "base" | "kernel_base")
}

impl<W: Write + Send> TableWriter<W> {
    /// Starts a table.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn new(
        table: &'static Table,
        keys: [&str; KEYS.len()],
        out: W,
        packing: Packing,
    ) -> io::Result<TableWriter<W>> {
        let fields: Result<Vec<_>, _> = table.all().map(|c| field(c).map(Arc::new)).collect();
        let schema = Type::group_type_builder(table.name)
            .with_fields(fields.map_err(failed)?)
            .build()
            .map_err(failed)?;
        let properties = Arc::new(properties(table, packing));
        let columns = table.all().map(|column| Encoder {
            buffer: Buffer::of(column.kind),
            last: None,
        });
        Ok(TableWriter {
            table,
            keys: keys.map(ByteArray::from),
            file: SerializedFileWriter::new(out, Arc::new(schema), properties).map_err(failed)?,
            columns: columns.collect(),
            buffered: 0,
            rows: 0,
        })
    }

    /// Appends a row, of the table's own columns; the keys are the same in all rows.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        debug_assert_eq!(self.keys.len() + cells.len(), self.table.width());
        let mut all = cells.iter();
        for column in self.columns.iter_mut().skip(self.keys.len()) {
            column.buffer.push(all.next().unwrap_or(&Cell::Null));
        }
        self.buffered += 1;
        self.rows += 1;
        match self.buffered >= GROUP {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Number of rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the buffered rows. Columns are encoded in parallel.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffered == 0 {
            return Ok(());
        }
        let schema = self.file.schema_descr();
        let columns: Vec<ColumnDescPtr> = (0..schema.num_columns())
            .map(|at| schema.column(at))
            .collect();
        let properties = self.file.properties();
        let rows = self.buffered;
        for (column, key) in self.columns.iter_mut().zip(&self.keys) {
            column.buffer = Buffer::Text(Texts::of_one(key.clone(), rows));
        }
        let encoded: Result<Vec<_>, ParquetError> = self
            .columns
            .par_iter_mut()
            .zip(columns)
            .map(|(own, column)| own.encode(rows, column, Arc::clone(properties)))
            .collect();
        let encoded = encoded.map_err(failed)?;
        let mut group = self.file.next_row_group().map_err(failed)?;
        for (bytes, close) in encoded {
            group.append_column(&bytes, close).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        self.buffered = 0;
        Ok(())
    }

    /// Writes the remaining rows and the footer. Returns the writer.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.flush()?;
        self.file.into_inner().map_err(failed)
    }

    /// Writes the remaining rows and the footer. Returns the number of rows.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.file.close().map_err(failed)?;
        Ok(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::read;
    use crate::evidence::schema::OCCUPANCY;

    /// Pool, tenths, pages.
    type Group = [(&'static str, Option<i64>, i64)];

    /// A chunk is reused only for the same value and the same number of rows.
    #[test]
    fn equal_columns_of_row_groups_are_read_back() {
        let groups: [&Group; 6] = [
            &[("nonpaged", Some(1), 7), ("nonpaged", Some(1), 8)],
            &[("nonpaged", Some(1), 9), ("nonpaged", Some(1), 9)],
            &[("paged", Some(2), 9), ("paged", Some(2), 9)],
            &[("paged", None, 9), ("paged", None, 9)],
            &[("paged", None, 9)],
            &[("paged", Some(2), 9), ("session", None, 1)],
        ];
        let keys = ["m", "b", "d"];
        let mut writer = TableWriter::new(&OCCUPANCY, keys, Vec::new(), Packing::None).unwrap();
        for group in groups {
            for (pool, tenths, pages) in group {
                let tenths = tenths.map_or(Cell::Null, Cell::Int);
                let mut cells = [Cell::Int(5); 7];
                cells[..3].copy_from_slice(&[Cell::Text(pool), tenths, Cell::Int(*pages)]);
                writer.row(&cells).unwrap();
            }
            writer.flush().unwrap();
        }
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let [pool, tenths, pages, boot] =
            ["pool", "tenths", "pages", "boot"].map(|name| read::place(&OCCUPANCY, name));
        let mut found = Vec::new();
        read::read(&OCCUPANCY, bytes, u64::MAX, |batch| {
            for row in batch.rows() {
                assert_eq!(row.text(boot), Some("b"));
                let name = row.text(pool).unwrap().to_owned();
                found.push((name, row.int(tenths), row.int(pages).unwrap()));
            }
            Ok(())
        })
        .unwrap();
        let want: Vec<_> = groups.concat();
        let want = want.into_iter().map(|(p, t, n)| (p.to_owned(), t, n));
        assert_eq!(found, want.collect::<Vec<_>>());
    }
}
