//! The PDBs that a dump needs, and which of them are on this machine.

use crate::symbols::{Located, PdbId, Source, WantedPdb};

use super::Engine;

/// The PDB that a module references, and whether it is on this machine.
#[derive(Clone, Debug)]
pub struct PdbStatus {
    /// The module name; `nt` for the kernel.
    pub module: String,
    /// The PDB and its possible locations.
    pub wanted: WantedPdb,
    /// The result of the search in the directories of the symbol path.
    pub located: Located,
    /// True if built-in tables for this kernel replace the PDB.
    pub built_in: bool,
}

impl Engine {
    /// The kernel's PDB, if neither it nor built-in tables for this kernel are available. It can
    /// be downloaded on another thread; afterwards the dump must be opened again, see
    /// [`Engine::reopen`].
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

    /// The PDBs of the kernel, or of all loaded modules that reference one, and which of them are
    /// on this machine. Reads files, so this must not be called from the UI thread.
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
