//! The PDBs that a dump needs, so that another machine can download them: the `symbols` command.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::engine::{PdbStatus, SymbolFacts};
use crate::symbols::shown_address;

use super::Answer;
use super::text::clean;

/// The answer of `symbols`.
#[derive(Debug, Serialize)]
pub struct Symbols {
    symbols: Vec<Row>,
    /// The servers on the symbol path.
    servers: Vec<String>,
    #[serde(skip)]
    answering: String,
}

#[derive(Debug, Serialize)]
struct Row {
    module: String,
    file: String,
    guid: String,
    age: u32,
    key: String,
    /// `null` if the name in the dump is not a valid file name.
    url: Option<String>,
    store_path: Option<String>,
    place: Option<String>,
    found: Option<String>,
    built_in: bool,
}

impl Symbols {
    /// A report of a dump's PDBs, and of the source of the kernel's symbols.
    pub fn of(answering: &SymbolFacts, pdbs: &[PdbStatus]) -> Symbols {
        let servers = pdbs.first().map(|p| p.wanted.path.servers());
        Symbols {
            symbols: pdbs.iter().map(Row::of).collect(),
            servers: servers
                .unwrap_or_default()
                .into_iter()
                .map(|s| clean(&shown_address(s)).into())
                .collect(),
            answering: clean(&answering.detail).into(),
        }
    }
}

impl Row {
    fn of(pdb: &PdbStatus) -> Row {
        let id = &pdb.wanted.id;
        let needed = pdb.wanted.needed();
        let path = |p: std::path::PathBuf| clean(&p.to_string_lossy()).into();
        Row {
            module: clean(&pdb.module).into(),
            file: clean(id.file_name().unwrap_or(&id.name)).into(),
            guid: id.guid_text(),
            age: id.age,
            key: id.key(),
            url: needed.as_ref().map(|n| clean(&n.url).into()),
            store_path: needed.map(|n| clean(&n.store_path).into()),
            place: pdb.wanted.place().map(path),
            found: pdb.located.file.clone().map(path),
            built_in: pdb.built_in,
        }
    }

    fn state(&self) -> String {
        match (&self.found, self.built_in) {
            (Some(path), _) => path.clone(),
            (None, true) => "no, and not needed: this kernel is built in".into(),
            (None, false) => "no".into(),
        }
    }
}

impl Answer for Symbols {
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
