//! The images, and the tags in them.

use std::collections::HashSet;

use crate::addr::{PAGE_SIZE, Va};
use crate::synth::image::{self, Data, Exports, Image, ImageSpec, Pdb};
use crate::synth::kernel;
use crate::synth::paging::Entry;
use crate::synth::rng::Rng;
use crate::synth::spec::ModuleSpec;
use crate::synth::truth::{ModuleTruth, ReferenceTruth, Tag};

use super::Builder;

static ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];

/// Seconds between two builds of a driver: four weeks.
const BETWEEN_BUILDS: u32 = 28 * 86_400;

impl Builder<'_> {
    /// Loads the images in order; each imports from the previous ones.
    pub(super) fn images(&mut self) {
        let mut known = Exports::new();
        let era = self.spec.era;
        for (i, module) in self.spec.modules.iter().enumerate() {
            let image = match i {
                0 => image::kernel(&self.image_spec(module, true), &known, era.data, era.tables),
                _ => image::driver(&self.image_spec(module, false), &known),
            };
            for (name, rva) in &image.exports {
                let own = image.base.add((*rva).into());
                let forwarded = name.split_once('=').and_then(|(name, destination)| {
                    let (file, function) = destination.split_once('.')?;
                    let target = known.get(&(format!("{file}.sys"), function.to_owned()))?;
                    Some((name.to_owned(), *target))
                });
                let (name, target) = forwarded.unwrap_or_else(|| (name.clone(), own));
                known.insert((module.file.clone(), name), target);
            }
            self.load(&image);
            self.truth.modules.push(ModuleTruth {
                file: module.file.clone(),
                base: module.base,
                size: module.size,
                unloaded: false,
            });
        }
        for (file, base, size) in &self.spec.unloaded {
            self.truth.modules.push(ModuleTruth {
                file: file.clone(),
                base: *base,
                size: *size,
                unloaded: true,
            });
        }
    }

    fn image_spec(&self, module: &ModuleSpec, is_kernel: bool) -> ImageSpec {
        let mut imports = module.imports.clone();
        for site in module.sites.iter().filter(|_| !is_kernel) {
            for (file, name) in site.what.imports() {
                let import = (file.to_owned(), name.to_owned());
                if !imports.contains(&import) {
                    imports.push(import);
                }
            }
        }
        let builds = self.spec.options.builds.iter();
        let mut build = builds.filter(|(file, _)| *file == module.file);
        let build = build.next().map_or(0, |(_, number)| *number);
        let mut seed = Rng::new(module.file.bytes().fold(7 + u64::from(build), |h, b| {
            h.wrapping_mul(31).wrapping_add(u64::from(b))
        }));
        let stem = module.file.split('.').next().unwrap_or_default();
        let given = module.data.iter().find_map(|data| match data {
            Data::Pdb(pdb) => Some(pdb.clone()),
            _ => None,
        });
        let pdb = match is_kernel {
            _ if given.is_some() => given.unwrap_or_default(),
            true => Pdb {
                name: "ntkrnlmp.pdb".into(),
                guid: match self.spec.options.unknown_kernel {
                    true => [0x5a; 16],
                    false => self.spec.era.guid,
                },
                age: self.spec.era.age,
            },
            false => Pdb {
                name: format!("{stem}.pdb"),
                guid: (u128::from(seed.bits()) << 64 | u128::from(seed.bits())).to_le_bytes(),
                age: 1,
            },
        };
        let placed = |name: &String| match is_kernel {
            true => self.spec.era.rva(name),
            false => None,
        };
        ImageSpec {
            file: module.file.clone(),
            base: module.base,
            size: module.size,
            timestamp: 0x4ce7_0000 + (seed.bits() as u32 & 0xffff) + build * BETWEEN_BUILDS,
            pdb,
            exports: module
                .exports
                .iter()
                .map(|name| (name.clone(), placed(name)))
                .collect(),
            imports,
            sites: module.sites.clone(),
            data: module.data.clone(),
            names_in_init: module.names_in_init,
            constants: match is_kernel {
                true => kernel::constants(self.spec.era),
                false => Vec::new(),
            },
        }
    }

    /// Maps an image page by page, without discarded pages.
    fn load(&mut self, image: &Image) {
        for (i, bytes) in image.bytes.chunks(PAGE_SIZE as usize).enumerate() {
            let offset = i as u64 * PAGE_SIZE;
            let empty = ZEROS.get(..bytes.len()) == Some(bytes);
            let left_out = empty && !self.spec.options.whole_images && !image.is_data(offset);
            if image.is_discarded(offset) || left_out {
                continue;
            }
            let va = image.base.add(offset);
            let frame = self.memory.physical.allocate(1);
            let entry = match image.is_code(offset) {
                true => Entry::Code(frame),
                false => Entry::Data(frame),
            };
            self.memory.map(va, entry);
            if !empty {
                self.memory.write(va, bytes);
            }
        }
    }

    /// Searches the final images, including variables, for tags.
    pub(super) fn references(&mut self) {
        let tags: HashSet<Tag> = self.truth.tags.keys().copied().collect();
        let mut starts = [false; 256];
        for tag in tags.iter().filter(|tag| tag[0] != 0) {
            starts[usize::from(tag[0])] = true;
        }
        let mut found = Vec::new();
        for module in &self.spec.modules {
            // The last bytes of the previous page, for tags across the page boundary.
            let mut seam: Vec<u8> = Vec::new();
            for offset in (0..u64::from(module.size)).step_by(PAGE_SIZE as usize) {
                let va = module.base.add(offset);
                let frame = self.memory.frame(va);
                let page = frame.and_then(|pfn| self.memory.physical.page(pfn));
                let Some(page) = page else {
                    seam.clear();
                    continue;
                };
                let start = va.0 - seam.len() as u64;
                seam.extend_from_slice(page);
                find_tags(&seam, Va(start), (&tags, &starts), &mut found);
                seam = page
                    .get(PAGE_SIZE as usize - 3..)
                    .unwrap_or_default()
                    .to_vec();
            }
        }
        found.sort_by_key(|r: &ReferenceTruth| r.va);
        self.truth.references = found;
    }
}

/// Appends the addresses of tags in `bytes`, which start at address `start`, with or without
/// the protected bit. `starts` has the first characters of the tags.
fn find_tags(
    bytes: &[u8],
    start: Va,
    (tags, starts): (&HashSet<Tag>, &[bool; 256]),
    found: &mut Vec<ReferenceTruth>,
) {
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        if starts[usize::from(*first)]
            && let Some(&[a, b, c, d]) = bytes.get(at..at + 4)
        {
            let tag = [a, b, c, d & 0x7f];
            if tags.contains(&tag) {
                let va = start.add(at as u64);
                found.push(ReferenceTruth { va, tag });
            }
        }
        at += 1;
    }
}
