//! The loaded modules.

use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::memory::Va;
use crate::symbols::{PdbId, Source};

use super::Engine;

/// The answer of `modules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// By address, the unloaded ones last.
    pub rows: Vec<ModuleFacts>,
}

/// A driver, or the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleFacts {
    /// WinDbg's name for it.
    pub name: String,
    /// The file's name, where its text is in the dump.
    pub file: Option<String>,
    /// The path it was loaded from.
    pub path: Option<String>,
    /// First address.
    pub base: Va,
    /// The first address behind it.
    pub end: Va,
    /// Bytes of address space.
    pub size: u32,
    /// The time stamp of its image, where the headers are in the dump.
    pub timestamp: Option<u32>,
    /// The PDB that belongs to it.
    pub pdb: Option<PdbId>,
    /// No longer loaded.
    pub unloaded: bool,
    /// True for the kernel.
    pub is_kernel: bool,
    /// Its symbols.
    pub symbols: ModuleSymbols,
}

/// Which symbols a module has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModuleSymbols {
    /// A PDB: the file.
    Pdb(String),
    /// Built-in tables of this kernel.
    BuiltIn,
    /// None.
    #[default]
    None,
}

impl ModuleFacts {
    fn of(kernel: &Kernel, module: &Module) -> ModuleFacts {
        ModuleFacts {
            name: module.name(),
            file: module.file.clone(),
            path: module.path.clone(),
            base: module.base,
            end: module.end(),
            size: module.size,
            timestamp: module.image.as_ref().map(|i| i.timestamp),
            pdb: module.pdb().cloned(),
            unloaded: module.unloaded,
            is_kernel: module.is_kernel,
            symbols: match kernel.symbol_source() {
                Source::Pdb { path } if module.is_kernel => {
                    ModuleSymbols::Pdb(path.to_string_lossy().into_owned())
                }
                Source::BuiltIn { .. } if module.is_kernel => ModuleSymbols::BuiltIn,
                _ => ModuleSymbols::None,
            },
        }
    }
}

impl Engine {
    /// All modules by address, the unloaded ones last; or those that hold an address.
    pub fn modules(&self, address: Option<Va>) -> Modules {
        let kernel = self.kernel();
        let modules = kernel.modules.iter();
        let mut rows: Vec<ModuleFacts> = modules
            .filter(|m| address.is_none_or(|va| m.contains(va)))
            .map(|m| ModuleFacts::of(kernel, m))
            .collect();
        rows.sort_by_key(|row| (row.unloaded, row.base, row.end));
        Modules { rows }
    }
}
