//! The loaded modules, as `lm` and `lm a` list them.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::engine::{self, ModuleFacts, ModuleSymbols};
use crate::memory::Va;

use super::Answer;
use super::text::{clean, json_address, rfc3339};

/// The answer of `modules`.
#[derive(Debug, Serialize)]
pub struct Modules {
    modules: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    base: String,
    end: String,
    size: u32,
    timestamp: Option<u32>,
    image: Option<String>,
    pdb: Option<PdbRecord>,
    unloaded: bool,
    company: Option<String>,
    product: Option<String>,
    file_version: Option<String>,
    file_description: Option<String>,
    linked: Option<String>,
    path: Option<String>,
    unloaded_at: Option<String>,
    identity_note: Option<String>,
    #[serde(skip)]
    stamp: String,
    #[serde(skip)]
    range: (Va, Va),
    #[serde(skip)]
    status: String,
}

#[derive(Debug, Serialize)]
struct PdbRecord {
    name: String,
    id: String,
}

impl Modules {
    /// A report of the engine's answer.
    pub fn of(answer: &engine::Modules) -> Modules {
        Modules {
            modules: answer.rows.iter().map(Row::of).collect(),
        }
    }
}

impl Row {
    fn of(module: &ModuleFacts) -> Row {
        let pdb = module.pdb.as_ref().map(|id| PdbRecord {
            name: clean(&id.name).into(),
            id: id.key(),
        });
        Row {
            name: clean(&module.name).into(),
            base: json_address(module.base),
            end: json_address(module.end),
            size: module.size,
            timestamp: module.timestamp,
            image: text(&module.path),
            pdb,
            unloaded: module.unloaded,
            company: text(&module.maker.company),
            product: text(&module.maker.product),
            file_version: text(&module.maker.file_version),
            file_description: text(&module.maker.file_description),
            linked: module.maker.linked.and_then(rfc3339),
            path: text(&module.path),
            unloaded_at: module.unloaded_at.and_then(rfc3339),
            identity_note: text(&module.maker.note),
            stamp: stamp(module),
            range: (module.base, module.end),
            status: status(&module.symbols),
        }
    }
}

fn text(text: &Option<String>) -> Option<String> {
    text.as_deref().map(|t| clean(t).into())
}

/// The PE time stamp as text.
fn stamp(module: &ModuleFacts) -> String {
    let maker = &module.maker;
    let date = maker.linked.and_then(rfc3339);
    date.or_else(|| maker.stamp_note.clone())
        .unwrap_or_else(|| "unknown: the image's header is not in the dump".into())
}

/// The debugger's last column: the state of the module's symbols.
fn status(symbols: &ModuleSymbols) -> String {
    match symbols {
        ModuleSymbols::Pdb(path) => format!("(pdb symbols)          {}", clean(path)),
        ModuleSymbols::BuiltIn => "(built-in symbols)".into(),
        ModuleSymbols::None => "(no symbols)".into(),
    }
}

impl Answer for Modules {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}
