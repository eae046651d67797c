//! The loaded modules.

use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::kernel::identity::{Identity, LinkTime, VersionInfo};
use crate::kernel::modules::Module;
use crate::memory::Va;
use crate::symbols::{PdbId, Source};

use super::Engine;
use super::info::seconds_of;

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
    /// Who made it, in which version.
    pub maker: Maker,
    /// When it was unloaded: seconds since 1970 (UTC).
    pub unloaded_at: Option<i64>,
}

/// What the image of a module says about itself. It is no proof: a driver can call itself
/// anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// `CompanyName` of the version resource.
    pub company: Option<String>,
    /// `ProductName`.
    pub product: Option<String>,
    /// `FileVersion`, else the four fixed numbers.
    pub file_version: Option<String>,
    /// `FileDescription`.
    pub file_description: Option<String>,
    /// When it was linked: seconds since 1970 (UTC), where the time stamp is a date.
    pub linked: Option<i64>,
    /// What the time stamp means, where it is no date.
    pub stamp_note: Option<String>,
    /// Why company and version are not known, or that they were found by a scan.
    pub note: Option<String>,
}

impl Maker {
    fn of(identity: &Identity) -> Maker {
        let info = identity.version.info();
        let stamp_note = match identity.linked {
            Some(LinkTime::Hash(hash)) => Some(format!("build id {hash:08X} (a hash, no date)")),
            Some(LinkTime::Unknown(stamp)) => Some(format!("link time or build hash {stamp:08X}")),
            Some(LinkTime::Date(_)) | None => None,
        };
        Maker {
            company: info.and_then(|i| i.company.clone()),
            product: info.and_then(|i| i.product.clone()),
            file_version: info.and_then(VersionInfo::file_version),
            file_description: info.and_then(|i| i.file_description.clone()),
            linked: identity.link_date().map(i64::from),
            stamp_note,
            note: identity.version_note(),
        }
    }

    /// Version, company and link date in one phrase: `6.0.0.79, Advanced Micro Devices,
    /// 2021-03-02`; `None` where none of them is known.
    pub fn phrase(&self) -> Option<String> {
        let date = self.linked.and_then(|seconds| {
            let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
            Some(time.date().to_string())
        });
        let parts: Vec<&str> = [&self.file_version, &self.company, &date]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
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

    fn of(kernel: &Kernel, module: &Module, now: Option<i64>) -> ModuleFacts {
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
            maker: Maker::of(&Identity::read(&kernel.space, module, now)),
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
        let modules = kernel.modules.iter();
        let now = self.facts().system_time;
        modules.map(|m| ModuleFacts::of(kernel, m, now)).collect()
    }

    /// All modules by address, the unloaded ones last; or those that hold an address.
    pub fn modules(&self, address: Option<Va>) -> Modules {
        Modules::of(self.module_list(), address)
    }
}
