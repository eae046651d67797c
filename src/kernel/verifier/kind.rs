//! Whether a record of the log is of an allocation or of a free. No field says so: it follows
//! from the function of the first frame.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::kernel::functions::Functions;
use crate::memory::Va;

/// What a record of the log is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Event {
    /// The block was allocated.
    Allocated,
    /// The block was freed.
    Freed,
}

impl Event {
    /// The word that the JSON and CSV answers use.
    pub fn word(self) -> &'static str {
        match self {
            Event::Allocated => "allocated",
            Event::Freed => "freed",
        }
    }

    /// By the name of a function: the word that comes first in it decides.
    fn of_name(name: &str) -> Option<Event> {
        match (name.find("Alloc"), name.find("Free")) {
            (Some(alloc), Some(free)) if free < alloc => Some(Event::Freed),
            (Some(_), _) => Some(Event::Allocated),
            (None, Some(_)) => Some(Event::Freed),
            (None, None) => None,
        }
    }
}

/// The functions of nt.
#[derive(Debug)]
pub struct Kinds<'a> {
    kernel: &'a Kernel,
    /// Exported names by RVA and the bounds of functions, where no symbols are known.
    exports: Option<(FxHashMap<u32, String>, Functions)>,
}

impl<'a> Kinds<'a> {
    /// Of this kernel: by its PDB, else by the built-in functions, else by its exports.
    pub fn of(kernel: &'a Kernel) -> Kinds<'a> {
        let exports = || {
            let image = kernel.nt()?.image.as_ref()?;
            let names = image.exports(&kernel.space).into_iter().collect();
            Some((names, Functions::read(&kernel.space, image)))
        };
        Kinds {
            kernel,
            exports: match kernel.symbols.has_functions() {
                true => None,
                false => exports(),
            },
        }
    }

    /// True where the functions that Driver Verifier puts in front of the pool's are known.
    pub fn are_known(&self) -> bool {
        self.kernel.symbols.has_functions()
    }

    /// The function of nt that an address is in, and the distance from its start.
    pub fn function(&self, va: Va) -> Option<(String, u32)> {
        let nt = self.kernel.nt()?;
        if !nt.contains(va) {
            return None;
        }
        let rva = u32::try_from(va.0 - nt.base.0).ok()?;
        if let Some((names, functions)) = &self.exports {
            let start = functions.at(rva).map_or(rva, |f| f.start);
            return Some((names.get(&start)?.clone(), rva - start));
        }
        self.kernel.symbols.function(rva)
    }

    /// What a stack with this first frame is about; `None` where that can't be told.
    pub fn event(&self, first: Va) -> Option<Event> {
        Event::of_name(&self.function(first)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn the_first_word_of_a_name_decides() {
        let event = Event::of_name;
        assert_eq!(
            event("VerifierExAllocatePoolWithTag"),
            Some(Event::Allocated)
        );
        assert_eq!(
            event("VeAllocatePoolWithTagPriority"),
            Some(Event::Allocated)
        );
        assert_eq!(event("VerifierExFreePoolWithTag"), Some(Event::Freed));
        assert_eq!(event("ViFreeAllocation"), Some(Event::Freed));
        assert_eq!(event("KiSystemServiceCopyEnd"), None);
    }
}
