//! Which PDBs a dump needs, and which of them are on this machine.

use crate::symbols::{Located, PdbId, Source, WantedPdb};

use super::Engine;

/// The PDB that a module names, and whether it is on this machine.
#[derive(Clone, Debug)]
pub struct PdbStatus {
    /// The module's name, `nt` for the kernel.
    pub module: String,
    /// Which PDB, and where it may come from.
    pub wanted: WantedPdb,
    /// What the directories of the symbol path have.
    pub located: Located,
    /// True when built-in tables of this very kernel answer in its place.
    pub built_in: bool,
}

impl Engine {
    /// The kernel's PDB, when neither it nor built-in tables of this very kernel are at
    /// hand. It can be downloaded or waited for in a thread of its own; afterwards the
    /// dump has to be opened again, see [`Engine::reopen`].
    pub fn missing_pdb(&self) -> Option<WantedPdb> {
        let id = self.kernel.pdb.as_ref()?;
        matches!(self.kernel.symbol_source(), Source::Layout { .. }).then(|| self.wanted(id))
    }

    fn wanted(&self, id: &PdbId) -> WantedPdb {
        WantedPdb {
            id: id.clone(),
            path: self.options.symbols.clone(),
            network: self.options.network,
        }
    }

    /// The PDBs of the kernel, or of all loaded modules that name one, and which of them
    /// are on this machine. Looks at files, so not for a thread that draws.
    pub fn pdbs(&self, all: bool) -> Vec<PdbStatus> {
        let loaded = self.kernel.modules.iter().filter(|m| !m.unloaded);
        let wanted = loaded.filter(|m| all || m.is_kernel);
        wanted
            .filter_map(|module| {
                let id = match module.base == self.kernel.base {
                    true => self.kernel.pdb.as_ref(),
                    false => module.pdb(),
                };
                let wanted = self.wanted(id?);
                let tables = matches!(self.kernel.symbol_source(), Source::BuiltIn { .. });
                Some(PdbStatus {
                    module: module.name(),
                    located: wanted.locate(),
                    wanted,
                    built_in: module.is_kernel && tables,
                })
            })
            .collect()
    }
}
