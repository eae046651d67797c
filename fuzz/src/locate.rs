//! Finds the structures of a dump in its file.

use std::path::Path;
use std::sync::Arc;

use poolscope::dump::Dump;
use poolscope::engine::{Engine, Options};
use poolscope::kernel::Kernel;
use poolscope::memory::{AddressSpace, PAGE_SIZE, Target, Va};
use poolscope::symbols::{LoadOptions, SymbolPath};

use super::bed::Place;

/// An undamaged dump, opened.
pub struct Whole {
    /// The dump, opened to find its structures.
    pub engine: Engine,
}

/// Options of a run: one thread, and no cache.
pub fn options() -> Options {
    Options {
        threads: 1,
        memory: Some(64 << 20),
        ..Options::default()
    }
}

impl Whole {
    /// Opens a dump that the builder wrote.
    pub fn open(path: &Path) -> Whole {
        let engine = Engine::open(path, &options()).expect("the builder's dumps are sound");
        Whole { engine }
    }

    /// A range of memory, page by page, if the file contains it.
    pub fn memory(&self, va: Va, length: u64) -> Vec<Place> {
        places(&self.engine.kernel().space, va, length)
    }

    /// The 16 bytes at each of these kernel variables, if known.
    pub fn variables(&self, names: &[&str]) -> Vec<Place> {
        let kernel = self.engine.kernel();
        let known = names.iter().filter_map(|name| kernel.symbol(name));
        known.flat_map(|va| self.memory(va, 16)).collect()
    }

    /// The loader's list: its head, its entries, and their names.
    pub fn loader_list(&self) -> Vec<Place> {
        let space = &self.engine.kernel().space;
        let head = self.engine.kernel().machine.loaded_modules;
        let mut out = self.memory(head, 16);
        let mut at = space.pointer(head).unwrap();
        while at != head && out.len() < 1000 {
            out.extend(self.memory(at, 0xa0));
            for text in [0x50, 0x60] {
                let buffer = space.pointer(at.add(text)).unwrap();
                out.extend(self.memory(buffer, 64));
            }
            at = space.pointer(at).unwrap();
        }
        out
    }
}

/// A range of an address space, page by page, if the file contains it.
pub fn places(space: &AddressSpace, va: Va, length: u64) -> Vec<Place> {
    let mut out = Vec::new();
    let mut done = 0;
    while done < length {
        let at = va.add(done);
        let here = (PAGE_SIZE - at.offset() as u64).min(length - done);
        done += here;
        let Ok(Target::Frame { pfn, .. }) = space.translate(at) else {
            continue;
        };
        if let Some(offset) = space.dump().file_offset(pfn) {
            out.push(Place {
                at: offset as usize + at.offset(),
                length: here as usize,
                va: at.0,
            });
        }
    }
    out
}

/// Opens a dump that may be damaged.
pub fn open(path: &Path) -> Option<Arc<Dump>> {
    match Dump::open(path) {
        Ok(dump) => Some(Arc::new(dump)),
        Err(why) => {
            super::shown::check(&why.to_string());
            None
        }
    }
}

/// Finds Windows in a dump that may be damaged, with the built-in layouts.
pub fn kernel(path: &Path) -> Option<Kernel> {
    match Kernel::open(open(path)?, &SymbolPath::default(), LoadOptions::default()) {
        Ok(kernel) => Some(kernel),
        Err(why) => {
            super::shown::check(&why.to_string());
            None
        }
    }
}
