//! Names of call targets: exports of all images, names from the import tables, and nt's symbols.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::kernel::imports::Imports;
use crate::kernel::modules::Module;
use crate::kernel::names::ModuleNames;
use crate::kernel::sessions::Sessions;
use crate::memory::Va;

use super::api;

/// Maximum number of export names; a server has about 60,000.
const MAX_NAMES: u32 = 1 << 20;

/// Function names by address.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    names: FxHashMap<Va, String>,
    /// Forwarded exports with another name, by library and name: the function that takes a tag.
    forwards: FxHashMap<(String, String), String>,
}

/// A file name without its extension.
fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

impl Targets {
    /// Reads the export tables of all loaded images. nt's symbols add the functions that take a
    /// tag, because its export table may be paged out.
    pub fn of(kernel: &Kernel, sessions: &Sessions) -> Targets {
        let mut out = Targets::default();
        let (mut left, mut forwarders) = (MAX_NAMES, MAX_NAMES);
        for module in kernel.modules.iter().filter(|m| !m.unloaded) {
            let space = sessions.space_of(kernel, module);
            let Some(image) = &module.image else {
                continue;
            };
            for (rva, name) in image.exports_within(space, &mut left) {
                out.add(module.base.add(rva.into()), name);
            }
            for (name, destination) in image.forwarders_within(space, &mut forwarders) {
                let function = destination.rsplit_once('.').map(|(_, function)| function);
                // The name alone identifies all others.
                if let Some(function) = function.filter(|f| api::find(f).is_some() && *f != name) {
                    let library = module.name().to_ascii_lowercase();
                    out.forwards.insert((library, name), function.to_owned());
                }
            }
        }
        out.add_imports(kernel, sessions);
        for name in api::names() {
            if let Some(rva) = kernel.symbols.rva(&name) {
                out.add(kernel.base.add(rva.into()), name);
            }
        }
        out
    }

    /// If an export table is paged out, the import tables of other images name its functions, as
    /// far as those names are readable. Names from exports are not replaced.
    fn add_imports(&mut self, kernel: &Kernel, sessions: &Sessions) {
        let mut left = MAX_NAMES;
        let mut found: FxHashMap<Va, String> = FxHashMap::default();
        for module in kernel.modules.iter().filter(|m| !m.unloaded) {
            let space = sessions.space_of(kernel, module);
            let Some(image) = &module.image else {
                continue;
            };
            let imports = Imports::read(space, image);
            for (slot, name) in &imports.names {
                let library = imports.at(*slot).and_then(|(library, _)| library);
                let name = self.forwarded(library, name).unwrap_or(name).to_owned();
                let Some(rest) = left.checked_sub(1) else {
                    break;
                };
                left = rest;
                let target = space.u64(module.base.add((*slot).into())).map(Va);
                let foreign = |va: &Va| va.is_kernel() && !module.contains(*va);
                if let Some(va) = target.ok().filter(foreign)
                    && !self.names.contains_key(&va)
                {
                    let known = found.entry(va).or_default();
                    let takes_tags = |name: &str| api::find(name).is_some();
                    if known.is_empty() || (takes_tags(&name) && !takes_tags(known)) {
                        *known = name;
                    }
                }
            }
        }
        self.names.extend(found);
    }

    /// If an export table is paged out, the module's PDB on the symbol path names the functions
    /// that take a tag.
    #[must_use]
    pub fn with_pdbs(
        mut self,
        kernel: &Kernel,
        sessions: &Sessions,
        names: &ModuleNames,
    ) -> Targets {
        for (index, module) in without_exports(kernel, sessions) {
            for name in api::names() {
                if let Some(rva) = names.rva(kernel, index, &name) {
                    self.add(module.base.add(rva.into()), name);
                }
            }
        }
        self
    }

    /// If an address has several names, the name of a function that takes a tag wins.
    fn add(&mut self, va: Va, name: String) {
        let known = self.names.entry(va).or_default();
        if known.is_empty() || (api::find(known).is_none() && api::find(&name).is_some()) {
            *known = name;
        }
    }

    /// The function that takes a tag and that an imported name is forwarded to, if any.
    pub fn forwarded(&self, library: Option<&str>, name: &str) -> Option<&str> {
        if self.forwards.is_empty() {
            return None;
        }
        let key = (stem(library?).to_ascii_lowercase(), name.to_owned());
        self.forwards.get(&key).map(String::as_str)
    }

    /// The name of the function that starts at an address.
    pub fn name(&self, va: Va) -> Option<&str> {
        self.names.get(&va).map(String::as_str)
    }
}

/// The loaded drivers whose export tables are paged out, with their module indexes.
pub fn without_exports<'k>(
    kernel: &'k Kernel,
    sessions: &'k Sessions,
) -> impl Iterator<Item = (usize, &'k Module)> {
    let loaded = kernel.modules.iter().enumerate();
    loaded.filter(|(_, m)| {
        let lacks =
            |image: &crate::kernel::image::Image| image.lacks_exports(sessions.space_of(kernel, m));
        !m.unloaded && !m.is_kernel && m.image.as_ref().is_some_and(lacks)
    })
}
