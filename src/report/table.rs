//! Markdown tables.

use std::io::{self, Write};

use super::text::{clean, markdown};

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Writes the head of a table; write the rows with [`row`].
///
/// # Errors
/// I/O errors of the writer.
pub fn head(out: &mut dyn Write, columns: &[(&str, Align)]) -> io::Result<()> {
    row(out, columns.iter().map(|c| c.0))?;
    for (_, align) in columns {
        write!(
            out,
            "|{}",
            if *align == Align::Left { "---" } else { "---:" }
        )?;
    }
    writeln!(out, "|")
}

/// Writes a row. Each cell may be any text; it is put on one line and its markup is escaped.
///
/// # Errors
/// I/O errors of the writer.
pub fn row<T: AsRef<str>>(
    out: &mut dyn Write,
    cells: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    for cell in cells {
        write!(out, "| {} ", plain(cell.as_ref()))?;
    }
    writeln!(out, "|")
}

/// Text as one line of a paragraph or cell, with its markup escaped.
pub fn plain(text: &str) -> String {
    markdown(&clean(text))
}

/// Writes a whole table.
///
/// # Errors
/// I/O errors of the writer.
pub fn table(
    out: &mut dyn Write,
    columns: &[(&str, Align)],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    head(out, columns)?;
    rows.into_iter().try_for_each(|cells| row(out, cells))
}

/// Writes sentences as a list after an empty line; writes nothing if there are none.
///
/// # Errors
/// I/O errors of the writer.
pub fn list<T: AsRef<str>>(out: &mut dyn Write, sentences: &[T]) -> io::Result<()> {
    if !sentences.is_empty() {
        writeln!(out)?;
    }
    let mut lines = sentences.iter();
    lines.try_for_each(|line| writeln!(out, "- {}", plain(line.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped() {
        let mut out = Vec::new();
        let columns = [("tag", Align::Left), ("bytes", Align::Right)];
        let rows = [vec!["a|b\n<i>".to_owned(), "1,024".to_owned()]];
        table(&mut out, &columns, rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "| tag | bytes |\n|---|---:|\n| a\\|b.&lt;i&gt; | 1,024 |\n"
        );
    }
}
