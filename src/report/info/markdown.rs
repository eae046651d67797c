//! `info` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, table};
use super::Info;

pub(super) fn write(answer: &Info, out: &mut dyn Write) -> io::Result<()> {
    let columns = [("", Align::Left), ("", Align::Left)];
    let rows = answer.rows().into_iter();
    table(
        out,
        &columns,
        rows.map(|(label, value)| vec![label.to_owned(), value]),
    )
}
