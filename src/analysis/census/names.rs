//! What an address in a module is called: by its PDB, or else by what the image exports and
//! by its unwind data.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::kernel::functions::Functions;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::memory::Va;
use crate::symbols::{SymbolPath, Symbols};

/// Modules whose names are read; addresses in others are `module+0x1234`.
const MOST_MODULES: usize = 32;
/// A name further away than this says nothing about the address.
const NEAR: u32 = 0x1_0000;

/// A place in a module.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// `module!name+0x12`, or `module+0x1234` where no name is known.
    pub name: String,
    /// Without a name: the function that the place is in, as `module+0x1200`.
    pub function: Option<String>,
}

/// Names of modules, read when they are asked for.
pub struct Names<'a> {
    kernel: &'a Kernel,
    sessions: &'a Sessions,
    path: &'a SymbolPath,
    read: FxHashMap<u32, Own>,
}

/// Names of one module.
struct Own {
    symbols: Option<Symbols>,
    exports: Vec<(u32, String)>,
    functions: Functions,
}

impl<'a> Names<'a> {
    /// Of the modules of a kernel, whose PDBs may be on a path.
    pub fn new(kernel: &'a Kernel, sessions: &'a Sessions, path: &'a SymbolPath) -> Names<'a> {
        Names {
            kernel,
            sessions,
            path,
            read: FxHashMap::default(),
        }
    }

    /// A module's name.
    pub fn module(&self, module: u32) -> String {
        let module = self.kernel.modules.get(module as usize);
        module.map_or_else(String::new, Module::name)
    }

    /// A module's first address.
    pub fn base(&self, module: u32) -> Option<Va> {
        self.kernel.modules.get(module as usize).map(|m| m.base)
    }

    /// Bytes of a module.
    pub fn size(&self, module: u32) -> u32 {
        let module = self.kernel.modules.get(module as usize);
        module.map_or(0, |m| m.size)
    }

    /// An RVA without any name.
    pub fn plain(&self, module: u32, rva: u32) -> Place {
        Place {
            name: format!("{}+{rva:#x}", self.module(module)),
            function: None,
        }
    }

    /// The name of an RVA.
    pub fn place(&mut self, number: u32, rva: u32) -> Place {
        let module = self.module(number);
        let plain = |function| Place {
            name: format!("{module}+{rva:#x}"),
            function,
        };
        let (kernel, sessions) = (self.kernel, self.sessions);
        let known = kernel.modules.get(number as usize);
        let Some((own, of)) = self.own(number).zip(known) else {
            return plain(None);
        };
        let named = |name: &str, distance: u32| Place {
            name: match distance {
                0 => format!("{module}!{name}"),
                _ => format!("{module}!{name}+{distance:#x}"),
            },
            function: None,
        };
        let symbol = match of.is_kernel {
            true => kernel.symbols.nearest(rva),
            false => own.symbols.as_ref().and_then(|s| s.nearest(rva)),
        };
        if let Some((name, distance)) = symbol.filter(|s| s.1 < NEAR) {
            return named(&name, distance);
        }
        let start = own
            .functions
            .at(rva)
            .zip(of.image.as_ref())
            .map(|(f, image)| {
                let space = sessions.space_of(kernel, of);
                own.functions.start_of(space, image, f)
            });
        let at = start.unwrap_or(rva);
        let export = own.exports.binary_search_by_key(&at, |e| e.0).ok();
        match export.and_then(|i| own.exports.get(i)) {
            Some((_, name)) => named(name, rva.saturating_sub(at)),
            None => {
                let inside = start.filter(|s| *s != rva);
                plain(inside.map(|s| format!("{module}+{s:#x}")))
            }
        }
    }

    fn own(&mut self, number: u32) -> Option<&Own> {
        if !self.read.contains_key(&number) {
            if self.read.len() >= MOST_MODULES {
                return None;
            }
            let module = self.kernel.modules.get(number as usize)?;
            let own = self.look_up(module);
            self.read.insert(number, own);
        }
        self.read.get(&number)
    }

    fn look_up(&self, module: &Module) -> Own {
        let space = self.sessions.space_of(self.kernel, module);
        let symbols = match module.is_kernel {
            true => None,
            false => module
                .pdb()
                .map(|id| Symbols::load_module(id, self.path).symbols),
        };
        let image = module.image.as_ref();
        Own {
            symbols,
            exports: image.map(|i| i.exports(space)).unwrap_or_default(),
            functions: image.map(|i| Functions::read(space, i)).unwrap_or_default(),
        }
    }
}
