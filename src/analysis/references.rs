//! Who mentions a tag: its bytes in every loaded image.
//!
//! The same search as `!for_each_module s -a @#Base @#End "Leak"`, over the images as
//! they lie in the dump, with the section and the nearest symbol of each hit. Pages that
//! are not in the dump are counted: no hit there means nothing.

use memchr::memmem;

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::memory::{AddressSpace, PAGE_SIZE, Va};
use crate::pool::Tag;

/// One occurrence of a tag's bytes in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Index into the kernel's modules.
    pub module: usize,
    /// The module's name as WinDbg has it.
    pub module_name: String,
    /// Address of the first of the four bytes.
    pub va: Va,
    /// The section, where the image's headers are in the dump.
    pub section: Option<String>,
    /// True in an executable section.
    pub in_code: bool,
    /// The nearest symbol at or below, with the distance in bytes.
    pub symbol: Option<(String, u32)>,
    /// Sixteen bytes from there on, fewer where the next page is missing.
    pub bytes: Vec<u8>,
}

/// All occurrences, and how much of the images could be searched.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// In order of module and address.
    pub found: Vec<Reference>,
    /// Pages of images that were searched.
    pub pages_searched: u64,
    /// Pages of images that could not be read.
    pub pages_missing: u64,
    /// Modules of which no page could be read.
    pub modules_missing: Vec<String>,
}

/// Bytes of the dump line.
const LINE: u64 = 16;

/// Searches all loaded modules.
pub fn find(kernel: &Kernel, sessions: &Sessions, tag: Tag) -> References {
    find_while(kernel, sessions, tag, &|| true).unwrap_or_default()
}

/// The same, as long as somebody wants the answer: asked before each module.
pub fn find_while(
    kernel: &Kernel,
    sessions: &Sessions,
    tag: Tag,
    wanted: &dyn Fn() -> bool,
) -> Option<References> {
    let mut out = References::default();
    for (index, module) in kernel.modules.iter().enumerate() {
        if !wanted() {
            return None;
        }
        if !module.unloaded {
            let space = space_of(kernel, sessions, module);
            search(kernel, space, index, module, tag, &mut out);
        }
    }
    Some(out)
}

/// Where a module is mapped: the system's address space, or that of the first session
/// that has it.
fn space_of<'a>(kernel: &'a Kernel, sessions: &'a Sessions, module: &Module) -> &'a AddressSpace {
    let mapped = |space: &&AddressSpace| space.page(module.base).is_ok();
    let of_sessions = sessions.sessions.iter().map(|s| &s.space);
    std::iter::once(&kernel.space)
        .chain(of_sessions)
        .find(mapped)
        .unwrap_or(&kernel.space)
}

fn search(
    kernel: &Kernel,
    space: &AddressSpace,
    index: usize,
    module: &Module,
    tag: Tag,
    out: &mut References,
) {
    let needles = [
        tag.bytes(),
        (tag.value() | crate::pool::tag::PROTECTED).to_le_bytes(),
    ];
    let mut hits = Vec::new();
    let (mut searched, mut missing) = (0, 0);
    // The last three bytes of a page and the first three of the next may hold a hit.
    let mut seam: Vec<u8> = Vec::new();
    for (va, piece) in space.pieces(module.base, module.size.into()) {
        let Ok(bytes) = piece else {
            missing += 1;
            seam.clear();
            continue;
        };
        searched += 1;
        let kept = seam.len();
        seam.extend_from_slice(bytes.get(..3).unwrap_or(bytes));
        for needle in &needles {
            hits.extend(
                memmem::find_iter(&seam, needle).map(|at| Va(va.0 - kept as u64 + at as u64)),
            );
            hits.extend(memmem::find_iter(bytes, needle).map(|at| va.add(at as u64)));
        }
        seam.clear();
        seam.extend_from_slice(
            bytes
                .get(bytes.len().saturating_sub(3)..)
                .unwrap_or_default(),
        );
    }
    out.pages_searched += searched;
    out.pages_missing += missing;
    if searched == 0 && missing > 0 {
        out.modules_missing.push(module.name());
    }
    hits.sort_unstable();
    hits.dedup();
    if hits.is_empty() {
        return;
    }
    let names = Names::of(space, module);
    out.found.extend(
        hits.into_iter()
            .map(|va| reference(kernel, space, index, module, va, &names)),
    );
}

fn reference(
    kernel: &Kernel,
    space: &AddressSpace,
    index: usize,
    module: &Module,
    va: Va,
    names: &Names,
) -> Reference {
    let rva = (va.0 - module.base.0) as u32;
    let section = module.image.as_ref().and_then(|image| image.section(rva));
    Reference {
        module: index,
        module_name: module.name(),
        va,
        section: section.map(|s| s.name.clone()),
        in_code: section.is_some_and(|s| s.executable),
        symbol: names.nearest(kernel, rva),
        bytes: line(space, va),
    }
}

fn line(space: &AddressSpace, va: Va) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (_, piece) in space.pieces(va, LINE) {
        match piece {
            Ok(piece) => bytes.extend_from_slice(piece),
            Err(_) => break,
        }
    }
    bytes
}

/// Names of a module's functions: nt's symbols, or what an image exports.
struct Names {
    is_kernel: bool,
    exports: Vec<(u32, String)>,
}

/// A name further away than this says nothing about the function.
const NEAR: u32 = 0x10000;

impl Names {
    fn of(space: &AddressSpace, module: &Module) -> Names {
        let exports = module.image.as_ref().map(|image| image.exports(space));
        Names {
            is_kernel: module.is_kernel,
            exports: exports.unwrap_or_default(),
        }
    }

    fn nearest(&self, kernel: &Kernel, rva: u32) -> Option<(String, u32)> {
        if self.is_kernel
            && let Some(found) = kernel.symbols.nearest(rva)
        {
            return Some(found).filter(|(_, distance)| *distance < NEAR);
        }
        let after = self.exports.partition_point(|(at, _)| *at <= rva);
        let (at, name) = self.exports.get(after.checked_sub(1)?)?;
        Some((name.clone(), rva - at)).filter(|(_, distance)| *distance < NEAR)
    }
}

/// Pages of a module that are in the dump, and in all.
pub fn resident_pages(kernel: &Kernel, module: &Module) -> (u64, u64) {
    let all = u64::from(module.size).div_ceil(PAGE_SIZE);
    let here = kernel
        .space
        .pieces(module.base, module.size.into())
        .filter(|(_, p)| p.is_ok())
        .count();
    (here as u64, all)
}
