//! Which PDBs a dump needs, for a machine that can fetch them: the `symbols` command.

use std::io::{self, Write};

use serde::Serialize;

use crate::engine::{Engine, PdbStatus};
use crate::symbols::shown_address;

use super::text::clean;
use super::{Answer, cell, csv_writer};

/// The answer of `symbols`.
#[derive(Debug, Serialize)]
pub struct Symbols {
    symbols: Vec<Row>,
    /// Servers on the symbol path.
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
    /// `null` when the dump gives a name that is no file's.
    url: Option<String>,
    store_path: Option<String>,
    place: Option<String>,
    found: Option<String>,
    built_in: bool,
}

impl Symbols {
    /// Of an open dump and its PDBs.
    pub fn of(engine: &Engine, pdbs: &[PdbStatus]) -> Symbols {
        let servers = pdbs.first().map(|p| p.wanted.path.servers());
        Symbols {
            symbols: pdbs.iter().map(Row::of).collect(),
            servers: servers
                .unwrap_or_default()
                .into_iter()
                .map(|s| clean(&shown_address(s)).into())
                .collect(),
            answering: clean(&engine.kernel().symbol_source().to_string()).into(),
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

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let none = "none: the dump gives a name that is no file's";
        writeln!(out, "Module         {}", self.module)?;
        writeln!(out, "File           {}", self.file)?;
        writeln!(out, "Identity       {}, age {}", self.guid, self.age)?;
        writeln!(
            out,
            "Fetch          {}",
            self.url.as_deref().unwrap_or(none)
        )?;
        let anywhere = "any directory, and name that with --symbols";
        let place = self.place.as_deref().unwrap_or(anywhere);
        writeln!(out, "Put it at      {place}")?;
        writeln!(out, "Found          {}", self.state())
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
        if self.symbols.is_empty() {
            return writeln!(out, "No PDB is named in this dump.");
        }
        for row in &self.symbols {
            row.text(out)?;
            writeln!(out)?;
        }
        writeln!(out, "Answers for nt come from: {}", self.answering)?;
        if self.symbols.iter().all(|r| r.found.is_some()) {
            return Ok(());
        }
        match self.servers.as_slice() {
            [] => writeln!(
                out,
                "The symbol path names no server; a file can also lie in any directory of --symbols."
            ),
            servers => writeln!(
                out,
                "Servers on the symbol path: {}; --download asks them.",
                servers.join(", ")
            ),
        }
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "module",
            "file",
            "guid",
            "age",
            "key",
            "url",
            "store_path",
            "place",
            "found",
            "built_in",
        ])?;
        let text = |value: &Option<String>| cell(value.as_deref().unwrap_or_default());
        for row in &self.symbols {
            csv.write_record([
                cell(&row.module),
                cell(&row.file),
                row.guid.clone(),
                row.age.to_string(),
                row.key.clone(),
                text(&row.url),
                text(&row.store_path),
                text(&row.place),
                text(&row.found),
                row.built_in.to_string(),
            ])?;
        }
        csv.flush()
    }
}
