//! Writes a report that is stored in an evidence file.

use std::io::{self, Write};

use super::Format;
use super::table::plain;
use super::text::clean;

/// Writes the stored report, with the marks that the user added since.
///
/// # Errors
/// I/O errors of the writer.
pub fn write_kept(
    kept: &str,
    marks: &[(String, String)],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    if marks.is_empty() || format == Format::Csv {
        return out.write_all(kept.as_bytes());
    }
    if format == Format::Json {
        let mut value: serde_json::Value = serde_json::from_str(kept)?;
        if let Some(object) = value.as_object_mut() {
            let marked = marks.iter().map(
                |(what, note)| serde_json::json!({ "what": clean(what), "note": clean(note) }),
            );
            object.insert("marked".into(), marked.collect());
        }
        serde_json::to_writer(&mut *out, &value)?;
        return writeln!(out);
    }
    out.write_all(kept.as_bytes())?;
    match format {
        Format::Markdown => writeln!(out, "\n## Marked by hand\n")?,
        _ => writeln!(out, "\nMarked by hand")?,
    }
    for (what, note) in marks {
        let line = match note.is_empty() {
            true => what.clone(),
            false => format!("{what}: {note}"),
        };
        match format {
            Format::Markdown => writeln!(out, "- {}", plain(&line))?,
            _ => writeln!(out, "  {}", clean(&line))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_added_in_every_format() {
        let marks = [("Leak".to_owned(), "ours\x1b".to_owned())];
        let written = |kept: &str, format| {
            let mut out = Vec::new();
            write_kept(kept, &marks, format, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written("x\n", Format::Text),
            "x\n\nMarked by hand\n  Leak: ours.\n"
        );
        assert_eq!(
            written("{\"a\":1}", Format::Json),
            "{\"a\":1,\"marked\":[{\"what\":\"Leak\",\"note\":\"ours.\"}]}\n"
        );
        assert!(written("x\n", Format::Markdown).ends_with("- Leak: ours.\n"));
        assert_eq!(written("a,b\n", Format::Csv), "a,b\n");
    }
}
