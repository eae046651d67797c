//! Names of the modules that blocks point into.

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::names::ModuleNames;
use crate::kernel::sessions::Sessions;
use crate::memory::Va;

pub use crate::kernel::names::Place;

/// Names of a machine's modules.
pub struct Names<'a> {
    kernel: &'a Kernel,
    sessions: &'a Sessions,
    names: &'a ModuleNames,
}

impl<'a> Names<'a> {
    /// Of the modules of a kernel.
    pub fn new(kernel: &'a Kernel, sessions: &'a Sessions, names: &'a ModuleNames) -> Names<'a> {
        Names {
            kernel,
            sessions,
            names,
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
    pub fn place(&self, module: u32, rva: u32) -> Place {
        let names = self.names;
        names.place(self.kernel, self.sessions, module as usize, rva)
    }
}
