//! The loaded modules, as `lm` and `lm a` list them.

use std::io::{self, Write};

use serde::Serialize;

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::memory::Va;
use crate::symbols::Source;

use super::text::{clean, json_address};
use super::{Answer, cell, csv_writer};

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
    /// All modules by address, the unloaded ones last; or those that hold an address.
    pub fn of(kernel: &Kernel, address: Option<Va>) -> Modules {
        let mut rows: Vec<Row> = kernel
            .modules
            .iter()
            .filter(|m| address.is_none_or(|va| m.contains(va)))
            .map(|m| Row::of(kernel, m))
            .collect();
        rows.sort_by_key(|row| (row.unloaded, row.range));
        Modules { modules: rows }
    }

    /// True when no module holds the address.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }
}

impl Row {
    fn of(kernel: &Kernel, module: &Module) -> Row {
        let pdb = module.pdb().map(|id| PdbRecord {
            name: clean(&id.name).into(),
            id: id.key(),
        });
        Row {
            name: clean(&module.name()).into(),
            base: json_address(module.base),
            end: json_address(module.end()),
            size: module.size,
            timestamp: module.image.as_ref().map(|i| i.timestamp),
            image: module.path.as_deref().map(|p| clean(p).into()),
            pdb,
            unloaded: module.unloaded,
            range: (module.base, module.end()),
            status: status(kernel, module),
        }
    }
}

/// The debugger's last column: which symbols the module has.
fn status(kernel: &Kernel, module: &Module) -> String {
    match kernel.symbol_source() {
        Source::Pdb { path } if module.is_kernel => {
            format!("(pdb symbols)          {}", clean(&path.to_string_lossy()))
        }
        Source::BuiltIn { .. } if module.is_kernel => "(built-in symbols)".into(),
        _ => "(no symbols)".into(),
    }
}

impl Answer for Modules {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "start             end                 module name")?;
        let mut unloaded = false;
        for row in &self.modules {
            if row.unloaded && !unloaded {
                writeln!(out, "\nUnloaded modules:")?;
                unloaded = true;
            }
            let (start, end) = row.range;
            match row.unloaded {
                false => writeln!(out, "{start} {end}   {:<8}   {:<23}", row.name, row.status)?,
                true => writeln!(out, "{start} {end}   {}", row.name)?,
            }
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "name",
            "base",
            "end",
            "size",
            "timestamp",
            "image",
            "pdb",
            "pdb_id",
            "unloaded",
        ])?;
        for row in &self.modules {
            let pdb = row.pdb.as_ref();
            csv.write_record([
                cell(&row.name),
                row.base.clone(),
                row.end.clone(),
                row.size.to_string(),
                row.timestamp.map(|t| t.to_string()).unwrap_or_default(),
                cell(row.image.as_deref().unwrap_or_default()),
                cell(pdb.map_or("", |p| &p.name)),
                pdb.map(|p| p.id.clone()).unwrap_or_default(),
                row.unloaded.to_string(),
            ])?;
        }
        csv.flush()
    }
}
