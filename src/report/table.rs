//! Tables of Markdown, as tickets and wikis show them.

use std::io::{self, Write};

use super::text::{clean, markdown};

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Writes the head of a table; rows follow with [`row`].
///
/// # Errors
/// What the writer says.
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

/// Writes a row: any text, which becomes one line with no mark of Markdown or HTML in it.
///
/// # Errors
/// What the writer says.
pub fn row<T: AsRef<str>>(
    out: &mut dyn Write,
    cells: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    for cell in cells {
        write!(out, "| {} ", plain(cell.as_ref()))?;
    }
    writeln!(out, "|")
}

/// Text as one line of a paragraph or a cell.
pub fn plain(text: &str) -> String {
    markdown(&clean(text))
}

/// Writes a table in one call.
///
/// # Errors
/// What the writer says.
pub fn table(
    out: &mut dyn Write,
    columns: &[(&str, Align)],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    head(out, columns)?;
    rows.into_iter().try_for_each(|cells| row(out, cells))
}

/// Writes sentences as a list, with an empty line before it; nothing for none.
///
/// # Errors
/// What the writer says.
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
    fn no_cell_ends_a_row_or_starts_a_mark() {
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
