//! Whether a log record is for an allocation or a free. No field records it: the function in
//! the first frame decides.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::kernel::functions::Functions;
use crate::memory::Va;

/// The kind of a log record.
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
    /// The word in JSON and CSV answers.
    pub fn word(self) -> &'static str {
        match self {
            Event::Allocated => "allocated",
            Event::Freed => "freed",
        }
    }

    /// Classifies a function by name: the word that comes first decides.
    fn of_name(name: &str) -> Option<Event> {
        match (name.find("Alloc"), name.find("Free")) {
            (Some(alloc), Some(free)) if free < alloc => Some(Event::Freed),
            (Some(_), _) => Some(Event::Allocated),
            (None, Some(_)) => Some(Event::Freed),
            (None, None) => None,
        }
    }
}

/// Looks up the functions of nt.
#[derive(Debug)]
pub struct Kinds<'a> {
    kernel: &'a Kernel,
    /// Exported names by RVA and the bounds of functions, used without symbols.
    exports: Option<(FxHashMap<u32, String>, Functions)>,
}

impl<'a> Kinds<'a> {
    /// Uses the PDB, else the built-in functions, else the exports of this kernel.
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

    /// True when the functions that Driver Verifier puts in front of the pool's functions are
    /// known.
    pub fn are_known(&self) -> bool {
        self.kernel.symbols.has_functions()
    }

    /// The function of nt that contains an address, and the distance from its start.
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

    /// The kind of a record with this first frame; `None` if it can't be determined.
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
