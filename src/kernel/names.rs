//! Names for addresses in modules: from the module's PDB, or from the image's exports and
//! unwind data.
//!
//! PDBs of drivers come from the directories of the kernel's symbol path, matched by GUID and
//! age. Each is read and cached when a name of its module is first requested. Nothing is
//! downloaded here.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::Va;
use crate::symbols::{Origin, Source, SymbolPath, Symbols};

use super::Kernel;
use super::functions::Functions;
use super::modules::Module;
use super::sessions::Sessions;

/// Largest number of module PDBs that are read per machine; a server loads some 250 modules.
const MOST_PDBS: usize = 512;
/// A symbol further away than this does not describe the address.
const NEAR: u32 = 0x1_0000;

/// A location in a module.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// `module!name+0x12`, or `module+0x1234` if no name is known.
    pub name: String,
    /// If no name is known: the start of the function that contains it, as `module+0x1200`.
    pub function: Option<String>,
}

/// Names of the modules of one machine.
#[derive(Debug, Default)]
pub struct ModuleNames {
    path: SymbolPath,
    /// Indexed as the kernel's modules.
    own: Vec<Own>,
    read: AtomicUsize,
}

/// Names of one module, each part read at its first use.
#[derive(Debug, Default)]
struct Own {
    symbols: OnceLock<OwnSymbols>,
    image: OnceLock<OwnImage>,
}

#[derive(Debug, Default)]
struct OwnSymbols {
    symbols: Option<Symbols>,
    /// Files that were refused, and the reasons.
    notes: Vec<String>,
}

#[derive(Debug, Default)]
struct OwnImage {
    exports: Vec<(u32, String)>,
    functions: Functions,
}

impl ModuleNames {
    /// Names for this number of modules, with PDBs from a symbol path.
    pub fn new(modules: usize, path: &SymbolPath) -> ModuleNames {
        ModuleNames {
            path: path.clone(),
            own: (0..modules).map(|_| Own::default()).collect(),
            read: AtomicUsize::new(0),
        }
    }

    /// The name of an address in a loaded module: the module's index, and the location.
    pub fn at(&self, kernel: &Kernel, sessions: &Sessions, va: Va) -> Option<(usize, Place)> {
        let holds = |m: &Module| !m.unloaded && m.contains(va);
        let index = kernel.modules.iter().position(holds)?;
        let base = kernel.modules.get(index)?.base;
        let rva = u32::try_from(va.0.checked_sub(base.0)?).ok()?;
        Some((index, self.place(kernel, sessions, index, rva)))
    }

    /// The name of an RVA in a module, given the module's index.
    pub fn place(&self, kernel: &Kernel, sessions: &Sessions, index: usize, rva: u32) -> Place {
        let Some(module) = kernel.modules.get(index) else {
            return Place {
                name: format!("{rva:#x}"),
                function: None,
            };
        };
        let of = module.name();
        let named = |name: &str, distance: u32| Place {
            name: match distance {
                0 => format!("{of}!{name}"),
                _ => format!("{of}!{name}+{distance:#x}"),
            },
            function: None,
        };
        if let Some((name, distance)) = self.nearest(kernel, index, rva) {
            return named(&name, distance);
        }
        let own = self.image(kernel, sessions, index, module);
        let function = own.functions.at(rva).zip(module.image.as_ref());
        let start = function.map(|(f, image)| {
            let space = sessions.space_of(kernel, module);
            own.functions.start_of(space, image, f)
        });
        let at = start.unwrap_or(rva);
        let export = own.exports.binary_search_by_key(&at, |e| e.0).ok();
        match export.and_then(|i| own.exports.get(i)) {
            Some((_, name)) => named(name, rva.saturating_sub(at)),
            None => Place {
                name: match rva {
                    0 => of.clone(),
                    rva => format!("{of}+{rva:#x}"),
                },
                function: start.filter(|s| *s != rva).map(|s| format!("{of}+{s:#x}")),
            },
        }
    }

    /// The symbol at or below an RVA, from the PDB or nt's built-in tables, and the distance in
    /// bytes.
    pub fn nearest(&self, kernel: &Kernel, index: usize, rva: u32) -> Option<(String, u32)> {
        let module = kernel.modules.get(index)?;
        let found = match module.is_kernel {
            true => kernel.symbols.nearest(rva),
            false => self.symbols(index, module)?.nearest(rva),
        };
        found.filter(|(_, distance)| *distance < NEAR)
    }

    /// RVA of a symbol in a module's PDB, by its exact name.
    pub fn rva(&self, kernel: &Kernel, index: usize, name: &str) -> Option<u32> {
        let module = kernel.modules.get(index)?;
        match module.is_kernel {
            true => kernel.symbols.rva(name),
            false => self.symbols(index, module)?.rva(name),
        }
    }

    /// Passes every symbol of a module's PDB, or of nt's built-in tables, with its RVA. False
    /// if there is neither.
    pub fn each(&self, kernel: &Kernel, index: usize, take: &mut dyn FnMut(&str, u32)) -> bool {
        let Some(module) = kernel.modules.get(index) else {
            return false;
        };
        let symbols = match module.is_kernel {
            true => Some(&kernel.symbols),
            false => self.symbols(index, module),
        };
        if let Some(symbols) = symbols {
            symbols.each(take);
        }
        symbols.is_some()
    }

    /// Functions and source lines of addresses in a module, in their order, and remarks on
    /// refused files. Empty if the symbol path has no private PDB for the module.
    pub fn origins(
        &self,
        kernel: &Kernel,
        index: usize,
        rvas: &[u32],
    ) -> (Vec<Origin>, Vec<String>) {
        let none = || vec![Origin::default(); rvas.len()];
        let Some(module) = kernel.modules.get(index) else {
            return (none(), Vec::new());
        };
        let (id, has_pdb) = match module.is_kernel {
            true => (
                kernel.pdb.as_ref(),
                matches!(kernel.symbol_source(), Source::Pdb { .. }),
            ),
            false => (module.pdb(), self.symbols(index, module).is_some()),
        };
        match id.filter(|_| has_pdb) {
            Some(id) => Symbols::origins(id, &self.path, rvas),
            None => (none(), Vec::new()),
        }
    }

    /// The source of a driver's names, if its PDB was requested before; never reads a file.
    pub fn source(&self, index: usize) -> Option<&Source> {
        let own = self.own.get(index)?.symbols.get()?;
        own.symbols.as_ref().map(Symbols::source)
    }

    /// Files that were refused as a module's PDB, and the reasons; empty before its first name.
    pub fn refused(&self, index: usize) -> &[String] {
        let own = self.own.get(index).and_then(|own| own.symbols.get());
        own.map_or(&[], |own| &own.notes)
    }

    fn symbols(&self, index: usize, module: &Module) -> Option<&Symbols> {
        let own = self.own.get(index)?;
        let read = || {
            let Some(id) = module.pdb() else {
                return OwnSymbols::default();
            };
            if self.read.fetch_add(1, Ordering::Relaxed) >= MOST_PDBS {
                return OwnSymbols {
                    symbols: None,
                    notes: vec![format!("the PDBs of {MOST_PDBS} modules are read at most")],
                };
            }
            let loaded = Symbols::load_module(id, &self.path);
            let found = !matches!(loaded.symbols.source(), Source::None);
            OwnSymbols {
                symbols: found.then_some(loaded.symbols),
                notes: loaded.notes,
            }
        };
        own.symbols.get_or_init(read).symbols.as_ref()
    }

    fn image<'a>(
        &'a self,
        kernel: &Kernel,
        sessions: &Sessions,
        index: usize,
        module: &Module,
    ) -> &'a OwnImage {
        static NONE: OnceLock<OwnImage> = OnceLock::new();
        let Some(own) = self.own.get(index) else {
            return NONE.get_or_init(OwnImage::default);
        };
        own.image.get_or_init(|| {
            let space = sessions.space_of(kernel, module);
            let image = module.image.as_ref();
            OwnImage {
                exports: image.map(|i| i.exports(space)).unwrap_or_default(),
                functions: image.map(|i| Functions::read(space, i)).unwrap_or_default(),
            }
        })
    }
}
