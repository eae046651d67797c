//! `diff` as CSV: one row per tag, and eight columns per point.

use std::io::{self, Write};

use super::super::{cell, csv_writer, optional};
use super::Diff;

pub(super) fn write(answer: &Diff, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    let mut heads: Vec<String> = [
        "tag",
        "tag_hex",
        "trend",
        "growth_bytes",
        "rate_bytes_per_hour",
    ]
    .map(String::from)
    .to_vec();
    for point in 1..=answer.points.len() {
        for pool in ["nonpaged", "paged"] {
            for figure in ["allocs", "frees", "outstanding", "bytes"] {
                heads.push(format!("{pool}_{figure}_{point}"));
            }
        }
    }
    csv.write_record(&heads)?;
    for change in &answer.changes {
        let number = |n: Option<i64>| n.map(|n| n.to_string()).unwrap_or_default();
        let mut record = vec![
            cell(&change.tag),
            change.tag_hex.clone(),
            change.trend.unwrap_or_default().into(),
            number(change.growth_bytes),
            number(change.rate_bytes_per_hour),
        ];
        for point in 0..answer.points.len() {
            for side in [&change.nonpaged, &change.paged] {
                for values in [&side.allocs, &side.frees, &side.outstanding, &side.bytes] {
                    record.push(optional(values.get(point).copied().flatten()));
                }
            }
        }
        csv.write_record(&record)?;
    }
    csv.flush()
}
