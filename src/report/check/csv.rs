//! `check` as CSV.

use std::io::{self, Write};

use serde_json::Value;

use super::super::{cell, csv_writer};
use super::Check;

pub(super) fn write(answer: &Check, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "rule", "passed", "outcome", "observed", "tag", "tag_hex", "driver", "pool", "limit",
        "allowed", "note", "source", "line",
    ])?;
    let value = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => cell(text),
        other => other.to_string(),
    };
    let text = |text: &Option<String>| cell(text.as_deref().unwrap_or_default());
    for row in &answer.rules {
        csv.write_record([
            cell(&row.rule),
            row.passed.to_string(),
            row.outcome.into(),
            value(&row.observed),
            text(&row.tag),
            text(&row.tag_hex),
            text(&row.driver),
            row.pool.unwrap_or_default().into(),
            row.limit.into(),
            value(&row.allowed),
            text(&row.note),
            cell(&row.source),
            row.line.to_string(),
        ])?;
    }
    csv.flush()
}
