//! Names for frames.

use rustc_hash::FxHashMap;

use crate::kernel::modules::Module;
use crate::kernel::verifier::Kinds;
use crate::memory::Va;
use crate::symbols::{Source, Symbols};

use super::StackRow;
use crate::engine::Engine;

/// Modules whose PDBs are read; the frames of others have their offset.
const MAX_PDBS: usize = 64;

/// Names of frames, each worked out once.
struct Names<'a> {
    engine: &'a Engine,
    kinds: &'a Kinds<'a>,
    pdbs: FxHashMap<Va, Option<Symbols>>,
    known: FxHashMap<Va, (String, Option<String>)>,
}

/// Puts names to the frames of all rows.
pub(super) fn add(engine: &Engine, kinds: &Kinds<'_>, rows: &mut [StackRow]) {
    let mut names = Names {
        engine,
        kinds,
        pdbs: FxHashMap::default(),
        known: FxHashMap::default(),
    };
    for row in rows {
        let named: Vec<_> = row.frames.iter().map(|frame| names.of(*frame)).collect();
        (row.symbols, row.functions) = named.into_iter().unzip();
    }
}

impl Names<'_> {
    fn of(&mut self, frame: Va) -> (String, Option<String>) {
        if let Some(known) = self.known.get(&frame) {
            return known.clone();
        }
        let name = self.make(frame);
        self.known.insert(frame, name.clone());
        name
    }

    fn make(&mut self, frame: Va) -> (String, Option<String>) {
        let kernel = self.engine.kernel();
        let Some(module) = kernel.module_at(frame) else {
            let gone = kernel
                .modules
                .iter()
                .find(|m| m.unloaded && m.contains(frame));
            let name = gone.map_or_else(
                || format!("{:#x}", frame.0),
                |m| format!("{}+{:#x} (unloaded)", m.name(), frame.0 - m.base.0),
            );
            return (name, None);
        };
        let inside = frame.0 - module.base.0;
        let offset = format!("{}+{inside:#x}", module.name());
        let function = self.function(module, frame);
        let named = function.map(|(name, distance)| match distance {
            0 => format!("{}!{name}", module.name()),
            _ => format!("{}!{name}+{distance:#x}", module.name()),
        });
        match self.has_pdb(module) {
            true => (named.clone().unwrap_or(offset), named),
            false => (offset, named),
        }
    }

    fn has_pdb(&self, module: &Module) -> bool {
        let kernel = self.engine.kernel();
        match module.base == kernel.base {
            true => matches!(kernel.symbol_source(), Source::Pdb { .. }),
            false => matches!(self.pdbs.get(&module.base), Some(Some(_))),
        }
    }

    fn function(&mut self, module: &Module, frame: Va) -> Option<(String, u32)> {
        if module.base == self.engine.kernel().base {
            return self.kinds.function(frame);
        }
        let id = module.pdb()?;
        if !self.pdbs.contains_key(&module.base) {
            if self.pdbs.len() >= MAX_PDBS {
                return None;
            }
            let loaded = Symbols::load_module(id, &self.engine.options.symbols).symbols;
            let found = matches!(loaded.source(), Source::Pdb { .. }).then_some(loaded);
            self.pdbs.insert(module.base, found);
        }
        let rva = u32::try_from(frame.0 - module.base.0).ok()?;
        let symbols = self.pdbs.get(&module.base)?.as_ref()?;
        symbols.nearest(rva)
    }
}
