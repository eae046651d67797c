//! Resolves the names and pointers of an expression in this dump.

use crate::command::Resolver;
use crate::kernel::image::Image;
use crate::kernel::modules::Module;
use crate::memory::Va;

use crate::engine::Engine;

impl Engine {
    /// A loaded module by name, ignoring case, with or without `.sys`.
    pub(super) fn module_named(&self, name: &str) -> Option<&Module> {
        let strip = |name: &str| {
            let lower = name.to_ascii_lowercase();
            let bare = lower.strip_suffix(".sys").or(lower.strip_suffix(".exe"));
            bare.map(str::to_owned).unwrap_or(lower)
        };
        let wanted = strip(name);
        let kernel = matches!(wanted.as_str(), "nt" | "ntoskrnl" | "ntkrnlmp");
        if kernel {
            return self.kernel().nt();
        }
        let mut loaded = self.kernel().modules.iter().filter(|m| !m.unloaded);
        loaded.find(|m| strip(&m.name()) == wanted)
    }

    /// Addresses and names of a module's exports.
    pub(super) fn exports_of(&self, module: &Module) -> Vec<(Va, String)> {
        let space = self.space_of(module.base);
        let Ok(image) = Image::read(space, module.base) else {
            return Vec::new();
        };
        let exports = image.exports(space).into_iter();
        exports
            .map(|(rva, name)| (module.base.add(rva.into()), name))
            .collect()
    }
}

impl Resolver for Engine {
    fn pointer(&self, va: Va) -> Result<Va, String> {
        self.space_of(va).pointer(va).map_err(|f| f.to_string())
    }

    fn symbol(&self, module: Option<&str>, name: &str) -> Option<Va> {
        let module = self.module_named(module.unwrap_or("nt"))?;
        if module.base == self.kernel().base
            && let Some(at) = self.kernel().symbol(name)
        {
            return Some(at);
        }
        let mut modules = self.kernel().modules.iter();
        let index = modules.position(|m| m.base == module.base && !m.unloaded)?;
        if let Some(rva) = self.names().rva(self.kernel(), index, name) {
            return Some(module.base.add(rva.into()));
        }
        let exports = self.exports_of(module);
        let found = exports.into_iter().find(|(_, export)| export == name);
        found.map(|(at, _)| at)
    }

    fn module(&self, name: &str) -> Option<Va> {
        self.module_named(name).map(|module| module.base)
    }
}
