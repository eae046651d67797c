//! `objects` as text.

use std::io::{self, Write};

use super::{HOLDERS, ObjectsReport};

pub(super) fn write(answer: &ObjectsReport, out: &mut dyn Write) -> io::Result<()> {
    if answer.objects == 0 {
        writeln!(
            out,
            "{}: none of {} blocks looked at is a kernel object",
            answer.tag, answer.looked
        )?;
    }
    for sentence in &answer.sentences {
        writeln!(out, "{sentence}")?;
    }
    if !answer.holders.is_empty() {
        writeln!(out, "\n   handles  of all  process")?;
    }
    for holder in answer.holders.iter().take(HOLDERS) {
        writeln!(
            out,
            "{:>10} {:>7}  {} ({})",
            holder.handles, holder.all_handles, holder.image, holder.id
        )?;
    }
    let more = answer.holders.len().saturating_sub(HOLDERS);
    if more > 0 {
        writeln!(out, "and {more} further processes")?;
    }
    if !answer.names.is_empty() {
        writeln!(out, "\n   objects  name")?;
    }
    for name in &answer.names {
        let at = name.at;
        writeln!(out, "{:>10}  {}, such as {at}", name.count, name.name)?;
    }
    if answer.more_names > 0 {
        writeln!(out, "{:>10}  under other names", answer.more_names)?;
    }
    answer.notes.iter().try_for_each(|n| writeln!(out, "{n}"))
}
