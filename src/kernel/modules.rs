//! The loaded modules: PsLoadedModuleList, walked in both directions if it is broken.
//!
//! Entries are `_KLDR_DATA_TABLE_ENTRY`. The fields used here have the same offsets on every
//! x64 build. The names are in pool and may be paged out.

use rustc_hash::FxHashSet;

use crate::memory::{AddressSpace, Va};
use crate::symbols::PdbId;

use super::image::Image;

const DLL_BASE: u64 = 0x30;
const SIZE_OF_IMAGE: u64 = 0x40;
const FULL_NAME: u64 = 0x48;
const BASE_NAME: u64 = 0x58;
/// Limit for modules; servers load a few hundred.
const MAX_MODULES: usize = 4096;
/// Size limit in bytes, far above any kernel image.
const MAX_IMAGE_SIZE: u32 = 0x2000_0000;
const UNLOADED_ENTRIES: u64 = 50;
const UNLOADED_SIZE: u64 = 0x28;
/// CurrentTime of an entry: the time of the unload. No PDB has the type; public tools agree on
/// it.
const UNLOADED_TIME: u64 = 0x20;

/// A driver or the kernel itself.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file's name (`myfault.sys`); `None` if its text is not in the dump.
    pub file: Option<String>,
    /// The path that it was loaded from.
    pub path: Option<String>,
    /// First address.
    pub base: Va,
    /// Size in bytes.
    pub size: u32,
    /// Its headers, if they are in the dump.
    pub image: Option<Image>,
    /// True for the kernel, which is the first module.
    pub is_kernel: bool,
    /// No longer loaded when the dump was written.
    pub unloaded: bool,
    /// Unload time in units of 100 ns since 1601 (UTC). Known only for unloaded drivers.
    pub unloaded_at: Option<u64>,
}

impl Module {
    /// The first address after it.
    pub fn end(&self) -> Va {
        self.base.add(self.size.into())
    }

    /// True for an address inside it.
    pub fn contains(&self, va: Va) -> bool {
        va >= self.base && va.0 - self.base.0 < u64::from(self.size)
    }

    /// WinDbg's name for it: the file without its extension, `nt` for the kernel, or the base
    /// address if the name is not in the dump.
    pub fn name(&self) -> String {
        if self.is_kernel {
            return "nt".into();
        }
        match &self.file {
            Some(file) => match file.rsplit_once('.') {
                Some((stem, _)) if !stem.is_empty() => stem.into(),
                _ => file.clone(),
            },
            None => format!("{:016x}", self.base.0),
        }
    }

    /// The identity of its PDB.
    pub fn pdb(&self) -> Option<&PdbId> {
        self.image.as_ref()?.pdb.as_ref()
    }
}

/// The loaded modules, and remarks on damage to the list.
#[derive(Clone, Debug, Default)]
pub struct ModuleList {
    /// In load order, the kernel first.
    pub modules: Vec<Module>,
    /// Remarks for users.
    pub notes: Vec<String>,
}

impl ModuleList {
    /// The result if the list can't be found.
    pub fn lost() -> ModuleList {
        ModuleList {
            modules: Vec::new(),
            notes: vec![
                "the list of loaded modules can't be read: the loaded drivers are unknown".into(),
            ],
        }
    }
}

/// nt from its image only, if it is not in the list; `None` if it is, or if there is no image.
pub fn missing_kernel(space: &AddressSpace, base: Va, listed: &[Module]) -> Option<Module> {
    if listed.iter().any(|module| module.base == base) {
        return None;
    }
    let image = Image::read(space, base).ok()?;
    let size = Some(image.size).filter(|&size| size > 0 && size <= MAX_IMAGE_SIZE)?;
    Some(Module {
        file: None,
        path: None,
        base,
        size,
        image: Some(image),
        is_kernel: true,
        unloaded: false,
        unloaded_at: None,
    })
}

/// Walks the list from its head.
pub fn loaded(space: &AddressSpace, head: Va) -> ModuleList {
    let mut list = ModuleList::default();
    let mut seen = FxHashSet::default();
    let forward = links(space, head, 0, &mut seen);
    let mut entries = forward.entries;
    if let Some(why) = forward.broken {
        let backward = links(space, head, 8, &mut seen);
        list.notes.push(format!(
            "the list of loaded modules is damaged ({why}): {} found from its start, {} more from its end",
            entries.len(),
            backward.entries.len()
        ));
        entries.extend(backward.entries.into_iter().rev());
    }
    let mut bases = FxHashSet::default();
    for at in entries {
        match module(space, at) {
            Some(module) if !bases.insert(module.base) => list.notes.push(format!(
                "the module entry at {at} has the address of another, {}, and was left out",
                module.base
            )),
            Some(module) => list.modules.push(module),
            None => list
                .notes
                .push(format!("a module entry at {at} can't be used")),
        }
    }
    if let Some(first) = list.modules.first_mut() {
        first.is_kernel = true;
    }
    list
}

struct Links {
    entries: Vec<Va>,
    broken: Option<String>,
}

/// Follows the links at `offset` (0 forward, 8 backward) until they return to the head.
fn links(space: &AddressSpace, head: Va, offset: u64, seen: &mut FxHashSet<Va>) -> Links {
    let mut entries = Vec::new();
    let mut at = head;
    let broken = loop {
        let next = match space.pointer(at.add(offset)) {
            Ok(next) => next,
            Err(fault) => break Some(format!("{fault} at {at}")),
        };
        if next == head {
            break None;
        }
        if !next.is_kernel() || !seen.insert(next) {
            // In the backward direction, the first entry that is already known ends the walk.
            break (offset == 0).then(|| format!("{at} links to {next}"));
        }
        if entries.len() == MAX_MODULES {
            break Some(format!("more than {MAX_MODULES} entries"));
        }
        entries.push(next);
        at = next;
    };
    Links { entries, broken }
}

fn module(space: &AddressSpace, at: Va) -> Option<Module> {
    let base = space.pointer(at.add(DLL_BASE)).ok()?;
    let size = space.u32(at.add(SIZE_OF_IMAGE)).ok()?;
    if !base.is_kernel() || base.offset() != 0 || size == 0 || size > MAX_IMAGE_SIZE {
        return None;
    }
    let text = |field, limit| {
        let read = space.unicode_string(at.add(field), limit).ok();
        read.filter(|s| !s.is_empty())
    };
    let path = text(FULL_NAME, 520);
    // Both contain the same name, in different pages.
    let file = text(BASE_NAME, 260).or_else(|| {
        let last = path.as_deref()?.rsplit('\\').next()?;
        Some(last.to_owned()).filter(|s| !s.is_empty())
    });
    Some(Module {
        file,
        path,
        base,
        size,
        image: Image::read(space, base).ok(),
        is_kernel: false,
        unloaded: false,
        unloaded_at: None,
    })
}

/// The drivers that were unloaded: MmUnloadedDrivers, 50 entries of {UNICODE_STRING name,
/// start, end, time}. `table` is the array's address.
pub fn unloaded(space: &AddressSpace, table: Va) -> Vec<Module> {
    (0..UNLOADED_ENTRIES)
        .filter_map(|i| {
            let at = table.add(i * UNLOADED_SIZE);
            let (base, end) = (
                space.pointer(at.add(0x10)).ok()?,
                space.pointer(at.add(0x18)).ok()?,
            );
            let size = u32::try_from(end.0.checked_sub(base.0)?).ok()?;
            let file = space.unicode_string(at, 260).ok().filter(|s| !s.is_empty());
            (base.is_kernel() && size > 0 && size <= MAX_IMAGE_SIZE).then_some(Module {
                path: None,
                file,
                base,
                size,
                image: None,
                is_kernel: false,
                unloaded: true,
                unloaded_at: space.u64(at.add(UNLOADED_TIME)).ok().filter(|&t| t != 0),
            })
        })
        .collect()
}
