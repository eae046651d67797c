//! `info` as text.

use std::io::{self, Write};

use super::Info;

pub(super) fn write(answer: &Info, out: &mut dyn Write) -> io::Result<()> {
    for (label, value) in answer.rows() {
        writeln!(out, "{label:<14} {value}")?;
    }
    Ok(())
}
