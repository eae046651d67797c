//! The loaded modules.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::kernel::identity::{Identity, ModuleIdentity};
use crate::kernel::modules::Module;
use crate::kernel::names::{ModuleNames, Place};
use crate::memory::Va;
use crate::symbols::{PdbId, Source};

pub use crate::kernel::identity::Maker;

use super::Engine;
use super::info::seconds_of;

/// What is read of the images once.
#[derive(Debug, Default)]
pub(super) struct Parts {
    makers: OnceLock<Vec<Maker>>,
    names: OnceLock<ModuleNames>,
}

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
    /// The first address after it.
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
    /// Who made it, in which version.
    pub maker: Maker,
    /// When it was unloaded: seconds since 1970 (UTC).
    pub unloaded_at: Option<i64>,
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
    /// True for an address inside it.
    pub fn contains(&self, va: Va) -> bool {
        va >= self.base && va < self.end
    }

    /// Which driver it is.
    pub fn identity(&self) -> ModuleIdentity {
        ModuleIdentity {
            file: self.file.clone().unwrap_or_else(|| self.name.clone()),
            file_version: self.maker.file_version.clone(),
            company: self.maker.company.clone(),
            linked: self.maker.linked,
            unloaded: self.unloaded,
            unloaded_at: self.unloaded_at,
        }
    }

    fn of(kernel: &Kernel, module: &Module, maker: Maker) -> ModuleFacts {
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
            maker,
            unloaded_at: module.unloaded_at.and_then(seconds_of),
        }
    }
}

impl Modules {
    /// Of these modules, all or those that hold an address.
    pub fn of(mut rows: Vec<ModuleFacts>, address: Option<Va>) -> Modules {
        rows.retain(|m| address.is_none_or(|va| m.contains(va)));
        rows.sort_by_key(|row| (row.unloaded, row.base, row.end));
        Modules { rows }
    }
}

impl Engine {
    /// All modules in the order in which they were loaded, the kernel first.
    pub fn module_list(&self) -> Vec<ModuleFacts> {
        let kernel = self.kernel();
        let modules = kernel.modules.iter().zip(self.makers());
        let facts = modules.map(|(m, maker)| ModuleFacts::of(kernel, m, maker.clone()));
        facts.collect()
    }

    /// What each image says about itself, in the order of the kernel's modules; read on
    /// first use.
    fn makers(&self) -> &[Maker] {
        self.modules.makers.get_or_init(|| {
            let now = self.facts().system_time;
            let read = |m: &Module| {
                let space = self.sessions().space_of(&self.kernel, m);
                Maker::of(&Identity::read(space, m, now))
            };
            self.kernel.modules.iter().map(read).collect()
        })
    }

    /// Names of all modules, from their PDBs, exports and unwind data.
    pub(super) fn names(&self) -> &ModuleNames {
        let make = || ModuleNames::new(self.kernel.modules.len(), &self.options.symbols);
        self.modules.names.get_or_init(make)
    }

    /// The name of an address in a loaded module. The module's PDB is read on first use,
    /// from the directories of the symbol path: not for a thread that draws.
    pub fn place_of(&self, va: Va) -> Option<Place> {
        let (_, place) = self.names().at(&self.kernel, self.sessions(), va)?;
        Some(place)
    }

    /// The same in one text: `module!function+0x12`, or `module+0x1234` where no name is
    /// known; `None` outside all loaded modules.
    pub fn symbol_at(&self, va: Va) -> Option<String> {
        Some(self.place_of(va)?.name)
    }

    /// The driver of a module name: the loaded one, else the one that was unloaded last.
    pub fn identity_of(&self, name: &str) -> Option<ModuleIdentity> {
        let modules = self.kernel.modules.iter().zip(self.makers());
        let named = modules.filter(|(m, _)| m.name().eq_ignore_ascii_case(name));
        let (module, maker) = named.max_by_key(|(m, _)| (!m.unloaded, m.unloaded_at))?;
        Some(ModuleFacts::of(&self.kernel, module, maker.clone()).identity())
    }

    /// All modules by address, the unloaded ones last; or those that hold an address.
    pub fn modules(&self, address: Option<Va>) -> Modules {
        Modules::of(self.module_list(), address)
    }
}
