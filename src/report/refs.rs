//! Which modules mention a tag, with the debugger's dump line for each place.

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::references::{Reference, References};
use crate::kernel::Kernel;
use crate::pool::Tag;

use super::text::{clean, dump_line, json_address};
use super::{Answer, cell, csv_writer, tag_hex};

/// The answer of `refs`.
#[derive(Debug, Serialize)]
pub struct Refs<'a> {
    tag: String,
    tag_hex: String,
    references: Vec<Row>,
    pages_searched: u64,
    pages_missing: u64,
    modules_missing: Vec<String>,
    #[serde(skip)]
    found: &'a References,
}

#[derive(Debug, Serialize)]
struct Row {
    module: String,
    address: String,
    offset: String,
    section: Option<String>,
    symbol: Option<String>,
    kind: &'static str,
    bytes: String,
    instruction: Option<String>,
    api: Option<String>,
    confidence: Option<&'static str>,
}

impl<'a> Refs<'a> {
    /// Of a search.
    pub fn of(kernel: &Kernel, tag: Tag, found: &'a References) -> Refs<'a> {
        let missing = found.modules_missing.iter();
        Refs {
            tag: tag.to_string(),
            tag_hex: tag_hex(tag),
            references: found.found.iter().map(|r| Row::of(kernel, r)).collect(),
            pages_searched: found.pages_searched,
            pages_missing: found.pages_missing,
            modules_missing: missing.map(|m| clean(m).into()).collect(),
            found,
        }
    }

    /// How much of the images could be searched, as a sentence.
    pub fn coverage(&self) -> String {
        coverage(self.found)
    }
}

/// How much of the images could be searched, as a sentence.
pub fn coverage(found: &References) -> String {
    let all = found.pages_searched + found.pages_missing;
    let mut out = format!("searched {} of {all} pages of images", found.pages_searched);
    if found.pages_missing > 0 {
        out += "; the others are not in the dump (discarded or paged out), and no hit there means nothing";
    }
    if !found.modules_missing.is_empty() {
        let names: Vec<_> = found.modules_missing.iter().map(|m| clean(m)).collect();
        out += &format!("; nothing at all of {}", names.join(", "));
    }
    out
}

impl Row {
    fn of(kernel: &Kernel, r: &Reference) -> Row {
        let base = kernel.modules.get(r.module).map_or(0, |m| m.base.0);
        Row {
            module: clean(&r.module_name).into(),
            address: json_address(r.va),
            offset: format!("{:#x}", r.va.0.wrapping_sub(base)),
            section: r.section.as_deref().map(|s| clean(s).into()),
            symbol: symbol(r),
            kind: if r.in_code { "code" } else { "data" },
            bytes: r.bytes.iter().map(|b| format!("{b:02x}")).collect(),
            instruction: None,
            api: None,
            confidence: None,
        }
    }
}

/// `module!name+0x12`, as debuggers write it.
fn symbol(r: &Reference) -> Option<String> {
    let (name, distance) = r.symbol.as_ref()?;
    let (module, name) = (clean(&r.module_name), clean(name));
    Some(match distance {
        0 => format!("{module}!{name}"),
        _ => format!("{module}!{name}+{distance:#x}"),
    })
}

impl Answer for Refs<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (row, r) in self.references.iter().zip(&self.found.found) {
            let bytes: Vec<Option<u8>> = (0..16).map(|i| r.bytes.get(i).copied()).collect();
            let section = row.section.as_deref().unwrap_or("section unknown");
            write!(
                out,
                "{}  {}+{} ({section})",
                dump_line(r.va, &bytes),
                row.module,
                row.offset
            )?;
            match &row.symbol {
                Some(symbol) => writeln!(out, " {symbol}")?,
                None => writeln!(out)?,
            }
        }
        if self.references.is_empty() {
            writeln!(out, "no loaded image mentions {}", self.tag)?;
        }
        writeln!(out, "\n{}", self.coverage())
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "module", "address", "offset", "section", "symbol", "kind", "bytes",
        ])?;
        for row in &self.references {
            csv.write_record([
                cell(&row.module),
                row.address.clone(),
                row.offset.clone(),
                cell(row.section.as_deref().unwrap_or_default()),
                cell(row.symbol.as_deref().unwrap_or_default()),
                row.kind.into(),
                row.bytes.clone(),
            ])?;
        }
        csv.flush()
    }
}
