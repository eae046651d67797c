//! Tables as CSV.

use std::io::{self, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cell::Cell;
use super::schema::Table;

/// Writes one table.
pub struct CsvWriter<W: Write> {
    out: csv::Writer<W>,
    rows: u64,
}

/// A time as RFC 3339 text.
fn moment(micros: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok();
    time.and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_default()
}

impl<W: Write> CsvWriter<W> {
    /// Starts a table: writes the header line.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn new(table: &'static Table, out: W) -> io::Result<CsvWriter<W>> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(table.all().map(|c| c.name))?;
        Ok(CsvWriter { out, rows: 0 })
    }

    /// Writes a row: the keys, then the table's own columns.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn row(&mut self, keys: &[Cell<'_>], cells: &[Cell<'_>]) -> io::Result<()> {
        self.rows += 1;
        let all = keys.iter().chain(cells).map(|cell| match cell {
            Cell::Null => String::new(),
            Cell::Int(n) => n.to_string(),
            Cell::Real(x) => x.to_string(),
            Cell::Bool(b) => b.to_string(),
            Cell::Text(text) => crate::report::cell(text),
            Cell::Time(micros) => moment(*micros),
        });
        Ok(self.out.write_record(all)?)
    }

    /// Flushes the writer. Returns the number of rows.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn finish(mut self) -> io::Result<u64> {
        self.out.flush()?;
        Ok(self.rows)
    }
}
