//! Writes the evidence file of a machine.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::engine::Machine;
use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::index::Snapshot;

use super::answers::{Answers, Depth};
use super::archive::{self, FORMAT, Manifest, Source};
use super::cell::{Cell, Sink, address, hex, maybe, tag_hex};
use super::machine::IndexFacts;
use super::occupancy;
use super::parquet::{Packing, TableWriter};
use super::redact::Redactor;
use super::rows::{self, Listed, file_name};
use super::schema::{ANSWERS, CONTENTS, TABLES, Table, VERSION};

/// Maximum number of listed blocks: of all suspects together, and of each other tag.
const LISTED: Listed = Listed::Bounded {
    suspects: 12_000_000,
    others: 256,
};
/// Number of sample blocks per suspect, and bytes per block.
const SAMPLES: u64 = 8;
const SAMPLE_BYTES: u64 = 4096;

/// Options of an evidence file.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Include bytes of sample blocks.
    pub contents: bool,
    /// Replace names by hashes.
    pub redact: bool,
    /// The machine's name, if given.
    pub host: Option<String>,
}

/// Tables in memory while rows are written.
struct Tables {
    writers: Vec<(&'static Table, TableWriter<Vec<u8>>)>,
    redactor: Option<Redactor>,
}

impl Sink for Tables {
    fn row(&mut self, table: &'static Table, cells: &[Cell<'_>]) -> io::Result<()> {
        let Some((_, writer)) = self.writers.iter_mut().find(|w| std::ptr::eq(w.0, table)) else {
            return Ok(());
        };
        let Some(redactor) = &self.redactor else {
            return writer.row(cells);
        };
        let texts: Vec<Option<String>> = cells
            .iter()
            .map(|cell| match cell {
                Cell::Text(text) => redactor.replaced(text),
                _ => None,
            })
            .collect();
        let cells: Vec<Cell<'_>> = cells
            .iter()
            .zip(&texts)
            .map(|(cell, text)| text.as_deref().map_or(*cell, Cell::Text))
            .collect();
        writer.row(&cells)
    }
}

/// Writes the evidence file of a machine whose pool was walked.
///
/// # Errors
/// I/O errors; no file is left then.
pub fn write(
    machine: &dyn Machine,
    index: &Snapshot,
    path: &Path,
    choices: &Choices,
) -> io::Result<Manifest> {
    if choices.contents && choices.redact {
        // Sample bytes may contain names in any encoding.
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "bytes of blocks can't be redacted",
        ));
    }
    let answers = Answers::of(
        machine,
        Some(index),
        Depth::Everything,
        choices.host.as_deref(),
    )?;
    let redactor = choices.redact.then(|| Redactor::of(&answers)).transpose()?;
    let safe = |text: &str| {
        let replaced = redactor.as_ref().and_then(|r| r.replaced(text));
        replaced.unwrap_or_else(|| text.to_owned())
    };
    let keys = &answers.keys;
    let mut manifest = Manifest {
        format: FORMAT.into(),
        schema: VERSION,
        tool: concat!("poolscope ", env!("CARGO_PKG_VERSION")).into(),
        source: Source {
            machine: safe(&keys.machine),
            boot: keys.boot.clone(),
            dump: keys.dump.clone(),
            file: safe(file_name(&answers.info.dump.path)),
            bytes: answers.info.file_bytes,
        },
        redacted: choices.redact,
        contents: choices.contents,
        notes: answers.notes.clone(),
        ..Manifest::default()
    };
    let own_keys = [safe(&keys.machine), keys.boot.clone(), keys.dump.clone()];
    let writers = TABLES.iter().map(|table| {
        let keys = own_keys.each_ref().map(String::as_str);
        let writer = TableWriter::new(table, keys, Vec::new(), Packing::None)?;
        Ok((*table, writer))
    });
    let mut tables = Tables {
        writers: writers.collect::<io::Result<_>>()?,
        redactor,
    };
    rows::tables(&answers, &mut tables)?;
    let outcome = rows::blocks(&answers, LISTED, &mut tables)?;
    manifest.blocks_listed = outcome.written;
    manifest.blocks_left_out = outcome.left_out.saturating_add(index.left_out);
    if choices.contents {
        contents(&answers, index, &mut tables)?;
    }
    structured(&answers, index, manifest.blocks_left_out, &mut tables)?;
    let finished = tables.writers.into_iter().map(|(table, writer)| {
        let rows = writer.rows();
        Ok((table, rows, writer.into_inner()?))
    });
    let finished: Vec<_> = finished.collect::<io::Result<_>>()?;
    archive::write(path, manifest.clone(), &finished)?;
    Ok(manifest)
}

/// Writes the bytes of sample blocks of the suspects.
fn contents(answers: &Answers<'_>, index: &Snapshot, sink: &mut dyn Sink) -> io::Result<()> {
    for tag in answers.suspects() {
        let list = index.blocks(tag);
        let count = SAMPLES.min(list.len());
        for nth in 0..count {
            // Both factors are below 2^33, so the product can't overflow.
            let Some(block) = list.get(nth * list.len() / count.max(1)) else {
                continue;
            };
            let length = block.bytes.min(SAMPLE_BYTES);
            let bytes = sample(answers.machine, block.session, block.va, length);
            sink.row(
                &CONTENTS,
                &[
                    Cell::Text(&tag.to_string()),
                    address(block.va),
                    Cell::Text(&hex(block.va)),
                    maybe(block.session.map(u64::from)),
                    Cell::Text(&bytes),
                ],
            )?;
        }
    }
    Ok(())
}

/// Bytes as hexadecimal text; `??` for bytes of an unreadable page.
fn sample(machine: &dyn Machine, session: Option<u32>, start: Va, length: u64) -> String {
    let mut out = String::with_capacity(length as usize * 2);
    let mut done = 0;
    while done < length {
        let at = start.add(done);
        let here = (crate::memory::PAGE_SIZE - at.offset() as u64).min(length - done);
        let mut page = vec![0; here as usize];
        match machine.read(session, at, &mut page) {
            Ok(()) => page.iter().for_each(|b| out += &format!("{b:02x}")),
            Err(_) => (0..here).for_each(|_| out += "??"),
        }
        done += here;
    }
    out
}

/// Writes the answers that have no table of their own.
fn structured(
    answers: &Answers<'_>,
    index: &Snapshot,
    left_out: u64,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let machine = answers.machine;
    let mut put = |answer: &str, key: &str, value: &dyn erased::Json| -> io::Result<()> {
        let json = value.text()?;
        sink.row(
            &ANSWERS,
            &[Cell::Text(answer), Cell::Text(key), Cell::Text(&json)],
        )
    };
    put("info", "", &answers.info)?;
    put("modules", "", &answers.modules)?;
    put("vm", "", machine.vm())?;
    put("trackers", "", machine.trackers())?;
    if index.has_sessions() {
        put("session_trackers", "", machine.session_trackers())?;
    }
    put("warnings", "", &machine.warnings())?;
    let state = json!({
        "hole_bytes": machine.hole_bytes(),
        "big_table": machine.big_table(),
        "identity": machine.identity().map(|i| format!("{i:032x}")),
    });
    put("state", "", &state)?;
    put("index", "", &IndexFacts::of(index, left_out))?;
    if let Some(rows) = &answers.occupancy {
        put(occupancy::ANSWER, "", rows)?;
    }
    if let Ok(workers) = machine.workers()
        && let Some(places) = machine.referenced_in(&workers, &|| true)
    {
        let places: Vec<(Tag, Vec<String>)> = places.into_iter().collect();
        put("referenced_in", "", &places)?;
    }
    for row in &machine.trackers().rows {
        if let Some(made) = machine.attribution_made(row.tag) {
            put("attribution", &tag_hex(row.tag), &*made)?;
        }
    }
    for (tag, found) in &answers.references {
        put("references", &tag_hex(*tag), found)?;
    }
    for (tag, census) in &answers.censuses {
        put("census", &tag_hex(*tag), census)?;
    }
    for (tag, objects) in &answers.objects {
        put("objects", &tag_hex(*tag), objects)?;
    }
    if let Some(none) = &answers.no_stacks {
        put("stacks", "", none)?;
    }
    for (tag, stacks) in &answers.stacks {
        put("stacks", &tag_hex(*tag), stacks)?;
    }
    pages(answers, index, &mut put)?;
    for (name, reports) in [
        ("diagnose", &answers.diagnose),
        ("drivers", &answers.drivers),
    ] {
        for (format, text) in &reports.forms {
            put(name, format, text)?;
        }
    }
    Ok(())
}

type Put<'a> = &'a mut dyn FnMut(&str, &str, &dyn erased::Json) -> io::Result<()>;

/// Writes the memory pages of the suspects' sample blocks.
fn pages(answers: &Answers<'_>, index: &Snapshot, put: Put<'_>) -> io::Result<()> {
    for tag in answers.suspects() {
        let list = index.blocks(tag);
        let count = SAMPLES.min(list.len());
        // Both factors are below 2^33, so the product can't overflow.
        let places = (0..count).map(|nth| nth * list.len() / count.max(1));
        for block in places.filter_map(|at| list.get(at)) {
            if let Ok(page) = answers.machine.page(block.va) {
                put("page", &hex(block.va.page()), &page)?;
            }
        }
    }
    Ok(())
}

/// Converts values of any type to JSON.
mod erased {
    use super::{Serialize, io};

    pub trait Json {
        fn text(&self) -> io::Result<String>;
    }

    impl<T: Serialize + ?Sized> Json for T {
        fn text(&self) -> io::Result<String> {
            Ok(serde_json::to_string(self)?)
        }
    }
}
