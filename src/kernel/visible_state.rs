//! Finds `MiState.Vs` (`_MI_VISIBLE_STATE`), and proves its address if the layout is not exact.
//!
//! Updates insert fields into `_MI_SYSTEM_INFORMATION` before it, so its offset in layouts of
//! another revision may differ by multiples of 8 (public symbols: 0x40 between two revisions of
//! 19041). The fields inside move with it. A closed list head and plausible maxima of the pools
//! together are not a coincidence.

use crate::memory::Va;
use crate::symbols::Symbols;

use super::Kernel;

/// The visible state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisibleState {
    /// Its address.
    pub at: Va,
    /// Distance in bytes from the address in the layout.
    pub shift: i64,
    /// True when the layout belongs to exactly this kernel.
    pub exact: bool,
}

const OUTER: &str = "_MI_SYSTEM_INFORMATION";
const STATE: &str = "_MI_VISIBLE_STATE";
/// Largest distance in bytes that is searched.
const FURTHEST: i64 = 0x800;
/// 32 TB of pool, twice the largest observed maximum.
const LARGEST_POOL: u64 = 1 << 33;
/// Limit in bytes: the largest observed region has 16 TB, the kernel half 128 TB.
const LARGEST_REGION: u64 = 1 << 47;

/// Finds the visible state.
///
/// # Errors
/// The reason why it is unknown, as the end of a sentence.
pub fn locate(kernel: &Kernel) -> Result<VisibleState, String> {
    locate_by(kernel, &kernel.symbols, is_exact(kernel))
}

/// The same with given layouts, which are exact or not.
fn locate_by(kernel: &Kernel, symbols: &Symbols, exact: bool) -> Result<VisibleState, String> {
    let state = kernel
        .symbol("MiState")
        .ok_or("no symbol leads to MiState")?;
    let offset = symbols
        .field(OUTER, "Vs")
        .ok_or("the layout of MiState is not known")?
        .offset;
    let at = state.add(offset.into());
    if exact {
        return Ok(VisibleState {
            at,
            shift: 0,
            exact: true,
        });
    }
    let proof = Proof::of(symbols);
    let steps = (-FURTHEST / 8..=FURTHEST / 8).map(|i| i * 8);
    let moved = |shift: i64| Va(at.0.wrapping_add_signed(shift));
    let fitting: Vec<i64> = steps.filter(|s| proof.holds(kernel, moved(*s))).collect();
    match fitting.as_slice() {
        [shift] => Ok(VisibleState {
            at: moved(*shift),
            shift: *shift,
            exact: false,
        }),
        // Use the address in the layout if there is no evidence against it.
        [] if proof.allows(kernel, at) => Ok(VisibleState {
            at,
            shift: 0,
            exact: false,
        }),
        [] => Err(
            "the position of MiState's counters can't be verified: the layout is from another \
                build"
                .into(),
        ),
        several => Err(format!(
            "MiState's counters may be in {} places: the layout is from another build",
            several.len()
        )),
    }
}

/// True when the layout of MiState belongs to exactly this kernel.
pub(super) fn is_exact(kernel: &Kernel) -> bool {
    kernel.symbols.is_exact(OUTER)
}

/// Conditions for the visible state, by field offset.
pub(crate) struct Proof {
    sessions: Option<u64>,
    nonpaged_max: Option<u64>,
    paged_max: Option<u64>,
    regions: Option<(u64, u64)>,
}

impl Proof {
    pub(crate) fn of(symbols: &Symbols) -> Proof {
        let at = |name| Some(symbols.field(STATE, name)?.offset.into());
        let regions = symbols.field(STATE, "SystemVaRegions");
        Proof {
            sessions: at("SessionWsList"),
            nonpaged_max: at("MaximumNonPagedPoolInPages"),
            paged_max: at("SizeOfPagedPoolInPages"),
            regions: regions.map(|f| (f.offset.into(), u64::from(f.size) / 16)),
        }
    }

    /// True when this is the visible state: the maxima are plausible, and the session list is
    /// closed or, if there is none, the regions are plausible.
    pub(crate) fn holds(&self, kernel: &Kernel, at: Va) -> bool {
        self.maxima(kernel, at)
            && match self.sessions.map(|offset| at.add(offset)) {
                Some(list) if !is_blank(kernel, list) => is_list(kernel, list),
                _ => self.regions(kernel, at),
            }
    }

    /// True when this may be the visible state: the maxima are plausible, and the session list
    /// is closed or was never filled.
    pub(crate) fn allows(&self, kernel: &Kernel, at: Va) -> bool {
        let list = self.sessions.map(|offset| at.add(offset));
        self.maxima(kernel, at)
            && list.is_none_or(|list| is_blank(kernel, list) || is_list(kernel, list))
    }

    fn maxima(&self, kernel: &Kernel, at: Va) -> bool {
        self.maxima_by(|va| kernel.space.u64(va).ok(), at)
    }

    /// True when the maxima of the pools, read by `word`, are plausible.
    pub(crate) fn maxima_by(&self, word: impl Fn(Va) -> Option<u64>, at: Va) -> bool {
        // The lower limit of 16 MB is below the minimum of any x64 machine.
        let sound = |offset: Option<u64>| {
            let pages = offset.and_then(|o| word(Va(at.0.wrapping_add(o))));
            pages.is_some_and(|pages| (4096..=LARGEST_POOL).contains(&pages))
        };
        sound(self.nonpaged_max) && sound(self.paged_max)
    }

    /// True when each region is empty or has a start and a length of whole pages, and at least
    /// two are not empty.
    fn regions(&self, kernel: &Kernel, at: Va) -> bool {
        let Some((offset, count)) = self.regions else {
            return false;
        };
        let mut used = 0;
        for i in 0..count.min(64) {
            let entry = at.add(offset + i * 16);
            let (Ok(base), Ok(bytes)) = (kernel.space.u64(entry), kernel.space.u64(entry.add(8)))
            else {
                return false;
            };
            if (base, bytes) == (0, 0) {
                continue;
            }
            let whole = base & 0xfff == 0 && bytes & 0xfff == 0;
            if !(Va(base).is_kernel() && whole && (1..=LARGEST_REGION).contains(&bytes)) {
                return false;
            }
            used += 1;
        }
        used >= 2
    }
}

/// True for a list head that was never written.
fn is_blank(kernel: &Kernel, head: Va) -> bool {
    let word = |at| kernel.space.u64(at).ok();
    word(head) == Some(0) && word(head.add(8)) == Some(0)
}

/// True for a list head whose neighbours link back to it.
fn is_list(kernel: &Kernel, head: Va) -> bool {
    let closed = || {
        let next = kernel.space.pointer(head).ok()?;
        let before = kernel.space.pointer(head.add(8)).ok()?;
        let back = kernel.space.pointer(next.add(8)).ok()?;
        let on = kernel.space.pointer(before).ok()?;
        Some(next.is_kernel() && before.is_kernel() && back == head && on == head)
    };
    closed().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dump::Dump;
    use crate::symbols::{LoadOptions, SymbolPath};
    use crate::synth::era::{Era, SERVER_2022, WIN10_1809, WIN10_2004, WIN10_2004_RTM, WIN11_24H2};
    use crate::synth::{Container, Machine, small};

    fn kernel_of(era: &'static Era) -> (tempfile::TempDir, Kernel) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        let machine = Machine::build(&small::of_era(era)).unwrap();
        machine.write(&path, Container::BitmapKernel).unwrap();
        let dump = Arc::new(Dump::open(&path).unwrap());
        let kernel = Kernel::open(dump, &SymbolPath::default(), LoadOptions::default()).unwrap();
        (folder, kernel)
    }

    fn layouts(build: u32, revision: u32) -> Symbols {
        let options = LoadOptions {
            revision: Some(revision),
        };
        Symbols::load(None, build, &SymbolPath::default(), options).symbols
    }

    #[test]
    fn a_state_moved_by_an_update_is_found() {
        for (era, other, shift) in [
            (&WIN10_2004_RTM, layouts(19041, 508), -0x40),
            (&WIN10_2004, layouts(19041, 0), 0x40),
            (&WIN10_2004, layouts(19041, 508), 0),
            (&WIN10_1809, layouts(17763, 0), 0),
            (&SERVER_2022, layouts(22000, 0), -0x200),
            (&WIN11_24H2, layouts(26100, 0), 0),
        ] {
            let (_folder, kernel) = kernel_of(era);
            let exact = kernel.visible_state().unwrap();
            let found = locate_by(&kernel, &other, false).unwrap();
            assert_eq!((found.at, found.shift), (exact.at, shift), "{}", era.build);
            assert!(!found.exact);
        }
    }

    #[test]
    fn an_unproven_state_is_not_used() {
        let (_folder, kernel) = kernel_of(&WIN10_2004);
        // The layout of another build, with regions and maxima at other offsets.
        let why = locate_by(&kernel, &layouts(26100, 0), false).unwrap_err();
        assert!(why.contains("another build"), "{why}");
        let why = locate_by(&kernel, &layouts(7601, 0), false).unwrap_err();
        assert!(why.contains("not known"), "{why}");
    }
}
