//! `objects` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer};
use super::ObjectsReport;

pub(super) fn write(answer: &ObjectsReport, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record(["what", "name", "id", "count", "of_all"])?;
    for holder in &answer.holders {
        csv.write_record([
            "holder".to_owned(),
            cell(&holder.image),
            holder.id.to_string(),
            holder.handles.to_string(),
            holder.all_handles.to_string(),
        ])?;
    }
    for (what, names) in [("ended", &answer.ended_by_image), ("name", &answer.names)] {
        for name in names {
            csv.write_record([
                what.to_owned(),
                cell(&name.name),
                String::new(),
                name.count.to_string(),
                String::new(),
            ])?;
        }
    }
    csv.flush()
}
