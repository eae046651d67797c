//! The loaded modules, as `lm` and `lm a` list them.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::engine::{self, ModuleFacts, ModuleSymbols};
use crate::memory::Va;

use super::Answer;
use super::text::{clean, json_address};

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
    /// Of the engine's answer.
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
            image: module.path.as_deref().map(|p| clean(p).into()),
            pdb,
            unloaded: module.unloaded,
            range: (module.base, module.end),
            status: status(&module.symbols),
        }
    }
}

/// The debugger's last column: which symbols the module has.
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
