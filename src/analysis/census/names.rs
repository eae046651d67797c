//! Names of modules and of addresses in them.

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::names::ModuleNames;
use crate::kernel::sessions::Sessions;
use crate::memory::Va;

pub use crate::kernel::names::Place;

/// The names of a machine's modules.
pub struct Names<'a> {
    kernel: &'a Kernel,
    sessions: &'a Sessions,
    names: &'a ModuleNames,
}

impl<'a> Names<'a> {
    /// The names of a kernel's modules.
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

    /// A module's base address.
    pub fn base(&self, module: u32) -> Option<Va> {
        self.kernel.modules.get(module as usize).map(|m| m.base)
    }

    /// A module's size, in bytes.
    pub fn size(&self, module: u32) -> u32 {
        let module = self.kernel.modules.get(module as usize);
        module.map_or(0, |m| m.size)
    }

    /// An RVA with its symbol name.
    pub fn place(&self, module: u32, rva: u32) -> Place {
        let names = self.names;
        names.place(self.kernel, self.sessions, module as usize, rva)
    }
}
