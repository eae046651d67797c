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

/// Facts about images, each read once.
#[derive(Debug, Default)]
pub(super) struct Parts {
    makers: OnceLock<Vec<Maker>>,
    names: OnceLock<ModuleNames>,
}

/// The answer of `modules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// The modules sorted by address, unloaded ones last.
    pub rows: Vec<ModuleFacts>,
}

/// A driver, or the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleFacts {
    /// The name as in WinDbg.
    pub name: String,
    /// The file name, if its text is in the dump.
    pub file: Option<String>,
    /// The path it was loaded from.
    pub path: Option<String>,
    /// The base address.
    pub base: Va,
    /// The end address (exclusive).
    pub end: Va,
    /// The size of the image in memory, in bytes.
    pub size: u32,
    /// The image's time stamp, if the headers are in the dump.
    pub timestamp: Option<u32>,
    /// The PDB that the image references.
    pub pdb: Option<PdbId>,
    /// True if it has been unloaded.
    pub unloaded: bool,
    /// True for the kernel.
    pub is_kernel: bool,
    /// Its symbols.
    pub symbols: ModuleSymbols,
    /// The vendor and version.
    pub maker: Maker,
    /// The time when it was unloaded, in seconds since 1970 (UTC).
    pub unloaded_at: Option<i64>,
}

/// The symbols of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModuleSymbols {
    /// A PDB, by its path.
    Pdb(String),
    /// Built-in tables for this kernel.
    BuiltIn,
    /// None.
    #[default]
    None,
}

impl ModuleFacts {
    /// True if an address lies in the module.
    pub fn contains(&self, va: Va) -> bool {
        va >= self.base && va < self.end
    }

    /// The identity of the driver.
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
    /// All of these modules, or those that contain an address.
    pub fn of(mut rows: Vec<ModuleFacts>, address: Option<Va>) -> Modules {
        rows.retain(|m| address.is_none_or(|va| m.contains(va)));
        rows.sort_by_key(|row| (row.unloaded, row.base, row.end));
        Modules { rows }
    }
}

impl Engine {
    /// All modules in load order, the kernel first.
    pub fn module_list(&self) -> Vec<ModuleFacts> {
        let kernel = self.kernel();
        let modules = kernel.modules.iter().zip(self.makers());
        let facts = modules.map(|(m, maker)| ModuleFacts::of(kernel, m, maker.clone()));
        facts.collect()
    }

    /// The vendor and version of each image, in the order of the kernel's module list; read on
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

    /// The symbol names of all modules, from their PDBs, exports and unwind data.
    pub(super) fn names(&self) -> &ModuleNames {
        let make = || ModuleNames::new(self.kernel.modules.len(), &self.options.symbols);
        self.modules.names.get_or_init(make)
    }

    /// The name of an address in a loaded module. The module's PDB is read from the directories
    /// of the symbol path on first use, so this must not be called from the UI thread.
    pub fn place_of(&self, va: Va) -> Option<Place> {
        let (_, place) = self.names().at(&self.kernel, self.sessions(), va)?;
        Some(place)
    }

    /// The name as text: `module!function+0x12`, or `module+0x1234` without a symbol; `None`
    /// outside of all loaded modules.
    pub fn symbol_at(&self, va: Va) -> Option<String> {
        Some(self.place_of(va)?.name)
    }

    /// The identity of a driver by module name: the loaded one, otherwise the one unloaded last.
    pub fn identity_of(&self, name: &str) -> Option<ModuleIdentity> {
        let modules = self.kernel.modules.iter().zip(self.makers());
        let named = modules.filter(|(m, _)| m.name().eq_ignore_ascii_case(name));
        let (module, maker) = named.max_by_key(|(m, _)| (!m.unloaded, m.unloaded_at))?;
        Some(ModuleFacts::of(&self.kernel, module, maker.clone()).identity())
    }

    /// All modules sorted by address, unloaded ones last; or those that contain an address.
    pub fn modules(&self, address: Option<Va>) -> Modules {
        Modules::of(self.module_list(), address)
    }
}
