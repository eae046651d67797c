//! The imports of an image: its import descriptors, and the slots that they fill.
//!
//! IMAGE_IMPORT_DESCRIPTOR and IMAGE_THUNK_DATA64 ("PE Format" in Microsoft's documentation).
//! The names are often in INIT sections, which are discarded after initialisation. The slots
//! remain, and only their contents identify the functions.

use rustc_hash::FxHashMap;

use crate::bytes::{u32_at, u64_at};
use crate::memory::{AddressSpace, Va};

use super::image::{Image, text};

/// Limit for the number of imported images; drivers have one to twenty.
const MAX_DESCRIPTORS: u64 = 256;
/// Limit for imported functions over all images.
const MAX_SLOTS: u32 = 1 << 14;
/// Imported by ordinal and not by name.
const BY_ORDINAL: u64 = 1 << 63;
/// GuardCFDispatchFunctionPointer of IMAGE_LOAD_CONFIG_DIRECTORY64.
const GUARD_DISPATCH: u64 = 0x78;

/// The imports of an image, as far as they are in the dump.
#[derive(Clone, Debug, Default)]
pub struct Imports {
    /// The function of each address table slot, by the slot's RVA.
    pub names: FxHashMap<u32, String>,
    /// The imported files, as far as their names are readable.
    pub libraries: Vec<String>,
    /// The index in `libraries` of the file that each slot belongs to.
    pub library_of: FxHashMap<u32, usize>,
    /// RVA of the slot for indirect calls (control flow guard).
    pub guard_dispatch: Option<u32>,
}

impl Imports {
    /// Reads the imports.
    pub fn read(space: &AddressSpace, image: &Image) -> Imports {
        let mut out = Imports {
            guard_dispatch: guard_dispatch(space, image),
            ..Imports::default()
        };
        let Some((rva, size)) = image.import_directory else {
            return out;
        };
        let mut left = MAX_SLOTS;
        for i in 0..(u64::from(size) / 20).min(MAX_DESCRIPTORS) {
            let at = image.base.add(u64::from(rva) + i * 20);
            let Ok(descriptor) = space.array::<20>(at) else {
                break;
            };
            let field = |at| u32_at(&descriptor, at).unwrap_or(0);
            let (lookup, file, slots) = (field(0), field(12), field(16));
            if slots == 0 {
                break;
            }
            let file = text(space, image.base.add(file.into()), 260);
            let library = file.is_some().then_some(out.libraries.len());
            out.libraries.extend(file);
            if lookup != 0 {
                out.descriptor(space, image.base, (lookup, slots), library, &mut left);
            }
        }
        out
    }

    /// The imported file and the function of an address table slot; no file if its name is
    /// unreadable.
    pub fn at(&self, slot: u32) -> Option<(Option<&str>, &str)> {
        let name = self.names.get(&slot)?;
        let library = self.library_of.get(&slot);
        let library = library.and_then(|index| self.libraries.get(*index));
        Some((library.map(String::as_str), name))
    }

    /// Reads the slots of one file, up to the limit for the image.
    fn descriptor(
        &mut self,
        space: &AddressSpace,
        base: Va,
        (lookup, slots): (u32, u32),
        library: Option<usize>,
        left: &mut u32,
    ) {
        for i in 0..MAX_SLOTS {
            let entry = space.u64(base.add(u64::from(lookup) + u64::from(i) * 8));
            let (Ok(entry @ 1..), 1..) = (entry, *left) else {
                return;
            };
            *left -= 1;
            if entry & BY_ORDINAL != 0 {
                continue;
            }
            // A hint of two bytes precedes the name.
            let name = text(space, base.add((entry & 0x7fff_ffff) + 2), 256);
            if let (Some(name), Some(slot)) = (name, slots.checked_add(i * 8)) {
                self.names.insert(slot, name);
                if let Some(library) = library {
                    self.library_of.insert(slot, library);
                }
            }
        }
    }
}

fn guard_dispatch(space: &AddressSpace, image: &Image) -> Option<u32> {
    let (rva, size) = image.load_config?;
    if u64::from(size) < GUARD_DISPATCH + 8 {
        return None;
    }
    let field: [u8; 8] = space
        .array(image.base.add(u64::from(rva) + GUARD_DISPATCH))
        .ok()?;
    let slot = u64_at(&field, 0)?.checked_sub(image.base.0)?;
    u32::try_from(slot).ok().filter(|&slot| slot < image.size)
}
