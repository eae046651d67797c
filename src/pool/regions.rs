//! Finds the address ranges of the pools, from the build's own variables.

use std::ops::Range;

use crate::kernel::Kernel;
use crate::kernel::kdbg::field;
use crate::memory::{AddressSpace, Va};

use super::big::BigTable;
use super::block::PoolKind;
use super::legacy::Encoding;
pub use super::region::{Region, Regions, SpecialRegion};
use super::survey::{self, Survey, Surveyed};

/// Windows 7: the address range of paged pool (128 GB), the same on every machine.
const WIN7_PAGED: (Va, Va) = (Va(0xffff_f8a0_0000_0000), Va(0xffff_f8c0_0000_0000));

/// NT 5.2: the start of paged pool and the end of nonpaged pool are the same on every machine,
/// and so is the boundary (ReactOS's memory layout for amd64). System mappings are below
/// nonpaged pool.
const NT52_PAGED: (Va, Va) = (Va(0xffff_fa80_0000_0000), Va(0xffff_faa0_0000_0000));
const NT52_NONPAGED: (Va, Va) = (Va(0xffff_faa0_0000_0000), Va(0xffff_fae0_0000_0000));

/// The widest bounds of a pool of NT 5.2, used if its variables do not give them.
fn fixed(kernel: &Kernel, (start, end): (Va, Va), kind: PoolKind) -> Option<Region> {
    let source = "the fixed addresses of NT 5.2";
    region(kernel, start, end, kind, source)
        .filter(|_| Encoding::of_build(kernel.build) == Encoding::Nt52)
}

impl Regions {
    /// Finds the regions of this kernel.
    pub fn find(kernel: &Kernel) -> Regions {
        let mut out = Regions::default();
        let mut known = [
            nonpaged(kernel).or_else(|| fixed(kernel, NT52_NONPAGED, PoolKind::NonPaged)),
            paged(kernel).or_else(|| fixed(kernel, NT52_PAGED, PoolKind::Paged)),
        ];
        out.refuse_moved(kernel, &mut known);
        let surveyed = match known.iter().all(Option::is_some) || !has_chains(kernel) {
            true => Survey::default(),
            false => survey::survey(kernel, &elsewhere(kernel, &known)),
        };
        out.notes.extend(surveyed.notes.iter().cloned());
        for (region, is_nonpaged) in known.into_iter().zip([true, false]) {
            match region {
                Some(region) => out.regions.push(region),
                None if has_chains(kernel) => {
                    out.add_surveyed(kernel, &surveyed.found, is_nonpaged)
                }
                None => {}
            }
        }
        out.regions.sort_by_key(|r| r.start);
        out.special = special(kernel);
        let regions = out.regions.clone();
        let apart = |s: &SpecialRegion| !regions.iter().any(|r| r.start < s.end && s.start < r.end);
        out.special.retain(apart);
        if out.regions.windows(2).any(|w| w[0].end > w[1].start) {
            out.notes.push("the pool regions overlap".into());
        }
        out
    }
}

impl Regions {
    /// The order of the regions and the position of their table differ between builds. If the
    /// layout comes from another build, a region must contain the large allocations of its
    /// pool, or it is refused.
    fn refuse_moved(&mut self, kernel: &Kernel, known: &mut [Option<Region>]) {
        if kernel.visible_state().map_or(true, |state| state.exact) {
            return;
        }
        let large = BigTable::read(kernel, &Regions::default()).blocks;
        for slot in known {
            let Some(region) = slot.as_ref().filter(|r| r.source == VA_REGIONS) else {
                continue;
            };
            let nonpaged = region.kind.is_nonpaged();
            let own = large
                .iter()
                .filter(|b| b.kind != PoolKind::Session && b.kind.is_nonpaged() == nonpaged);
            let (inside, outside) = own.fold((0u64, 0u64), |(inside, outside), block| match region
                .contains(block.va)
            {
                true => (inside + 1, outside),
                false => (inside, outside + 1),
            });
            if outside >= ENOUGH_OUTSIDE && outside > inside {
                let pool = if nonpaged { "nonpaged" } else { "paged" };
                self.notes.push(format!(
                    "{VA_REGIONS} by the layout of another build: {outside} of {} large allocations of {pool} pool are outside of its region, which is not used",
                    inside + outside
                ));
                *slot = None;
            }
        }
    }

    /// Adds the regions of one pool that the survey found, outside of known regions.
    fn add_surveyed(&mut self, kernel: &Kernel, surveyed: &[Surveyed], nonpaged: bool) {
        let before = self.regions.len();
        for found in surveyed.iter().filter(|s| s.kind.is_nonpaged() == nonpaged) {
            let source = "pages that are whole chains of blocks";
            let region = region(kernel, found.start, found.end, found.kind, source);
            let apart = |r: &Region| {
                let overlaps = |k: &Region| r.start < k.end && k.start < r.end;
                !self.regions.iter().any(overlaps)
            };
            self.regions.extend(region.filter(apart));
        }
        let pool = if nonpaged { "nonpaged" } else { "paged" };
        if self.regions.len() == before {
            self.notes.push(format!(
                "the bounds of {pool} pool were not found: its small blocks are missing"
            ));
        }
    }
}

/// Size of a `_MMPFN` in bytes, the same in the public symbols of all x64 Windows versions so
/// far.
const MMPFN: u64 = 0x30;

/// Addresses that need no search: known pool, and the PFN database, which is as large as a
/// small pool.
fn elsewhere(kernel: &Kernel, known: &[Option<Region>]) -> Vec<Range<Va>> {
    let mut out: Vec<Range<Va>> = known.iter().flatten().map(|r| r.start..r.end).collect();
    let machine = &kernel.machine;
    let entry = kernel.symbols.size_of("_MMPFN").map_or(MMPFN, u64::from);
    if let Some(highest) = machine.highest_frame()
        && let Some(bytes) = highest.0.checked_add(1).and_then(|n| n.checked_mul(entry))
        && let Some(end) = machine.pfn_database.0.checked_add(bytes)
        && machine.pfn_database.is_kernel()
    {
        out.push(machine.pfn_database..Va(end));
    }
    out
}

/// True when pool pages can be chains of blocks: kernels without another allocator, and those
/// that choose at boot (1809). Since 1903, kernels only have segment heaps, and
/// `_POOL_DESCRIPTOR.PendingFrees` is unused.
pub fn has_chains(kernel: &Kernel) -> bool {
    kernel.build < FIRST_WITHOUT_CHAINS
}

/// Windows 10 1903, the first version without chains.
const FIRST_WITHOUT_CHAINS: u32 = 18362;

fn region(
    kernel: &Kernel,
    start: Va,
    end: Va,
    kind: PoolKind,
    source: &'static str,
) -> Option<Region> {
    (start.is_kernel() && end.is_kernel() && start < end).then_some(Region {
        start: start.page(),
        end,
        kind,
        source,
        chains: has_chains(kernel),
    })
}

/// A region whose pages are chains of blocks; `None` on kernels without such pool, and for
/// implausible bounds.
pub(super) fn chained(
    kernel: &Kernel,
    start: Va,
    end: Va,
    kind: PoolKind,
    source: &'static str,
) -> Option<Region> {
    region(kernel, start, end, kind, source)
        .filter(|r| r.chains && r.end.0 - r.start.0 <= LARGEST_REGION)
}

/// The region by name, on Windows 10 1607 and later.
fn assigned(kernel: &Kernel, name: &str, kind: PoolKind) -> Option<Region> {
    let (start, end) = assigned_bounds(kernel, name)?;
    region(kernel, start, end, kind, VA_REGIONS)
}

/// Number of large allocations outside a region from which the region is refused. A few are
/// normal: the first are made before the region exists.
const ENOUGH_OUTSIDE: u64 = 4;

const VA_REGIONS: &str = "nt!MiState.Vs.SystemVaRegions";

/// `MiState.Vs.SystemVaRegions`, indexed by an enum whose order differs between builds.
fn assigned_bounds(kernel: &Kernel, name: &str) -> Option<(Va, Va)> {
    let index = kernel
        .symbols
        .enumerator("_MI_ASSIGNED_REGION_TYPES", name)
        .and_then(|i| u64::try_from(i).ok())?;
    let size = kernel.symbols.size_of("_MI_SYSTEM_VA_ASSIGNMENT")?;
    let state = kernel.visible_state().ok()?;
    let table = state
        .at
        .add(kernel.offset("_MI_VISIBLE_STATE", "SystemVaRegions")?);
    let entry = table.add(index * u64::from(size));
    let read = |name| {
        let offset = kernel.offset("_MI_SYSTEM_VA_ASSIGNMENT", name)?;
        kernel.space.u64(entry.add(offset)).ok()
    };
    let start = Va(read("BaseAddress")?);
    let bytes = read("NumberOfBytes").filter(|&b| b > 0 && b <= LARGEST_REGION)?;
    // A region consists of whole pages; other data seldom looks like that.
    if start.offset() != 0 || bytes & 0xfff != 0 {
        return None;
    }
    Some((start, Va(start.0.checked_add(bytes)?)))
}

/// Limit in bytes; the largest region observed has 16 TB.
const LARGEST_REGION: u64 = 1 << 45;

/// Up to Windows 7: MmNonPagedPoolStart (or its aligned variant) to MiNonPagedPoolEnd, which is
/// MmNonPagedPoolEnd on NT 5.2.
fn nonpaged(kernel: &Kernel) -> Option<Region> {
    if let Some(region) = assigned(kernel, "NonPagedPool", PoolKind::NonPaged) {
        return Some(region);
    }
    let start = kernel
        .pointer_in("MmNonPagedPoolStart", Some(field::NONPAGED_START))
        .or_else(|| kernel.pointer_in("MiNonPagedPoolStartAligned", None))?;
    let end = kernel.pointer_in("MiNonPagedPoolEnd", Some(field::NONPAGED_END))?;
    let source = match kernel.symbol("MiNonPagedPoolEnd") {
        Some(_) => "nt!MmNonPagedPoolStart and nt!MiNonPagedPoolEnd",
        None => "the bounds of nonpaged pool in nt's variables",
    };
    region(kernel, start, end, PoolKind::NonPaged, source)
}

/// MmPagedPoolEnd is the address of the last byte.
fn paged(kernel: &Kernel) -> Option<Region> {
    if let Some(region) = assigned(kernel, "PagedPool", PoolKind::Paged) {
        return Some(region);
    }
    let end = kernel.pointer_in("MmPagedPoolEnd", Some(field::PAGED_END));
    let start = kernel.pointer_in("MiPagedPoolStart", Some(field::PAGED_START));
    if (7000..9200).contains(&kernel.build) {
        let (fixed_start, fixed_end) = WIN7_PAGED;
        let end = end
            .filter(|&e| e > fixed_start && e < fixed_end)
            .map_or(fixed_end, |e| e.add(1));
        return region(
            kernel,
            fixed_start,
            end,
            PoolKind::Paged,
            "the fixed address of Windows 7 and nt!MmPagedPoolEnd",
        );
    }
    region(
        kernel,
        start?,
        end?.add(1),
        PoolKind::Paged,
        "the bounds of paged pool in nt's variables",
    )
}

/// The ranges of special pool, on builds where it is not a heap: one region (1607), one for
/// each pool (1809), or from `MiSpecialPool` (Windows 7 and 8.1).
fn special(kernel: &Kernel) -> Vec<SpecialRegion> {
    let assigned = |name, kind| {
        let (start, end) = assigned_bounds(kernel, name)?;
        (start.is_kernel() && end.is_kernel()).then_some(SpecialRegion {
            start: start.page(),
            end,
            kind,
            source: VA_REGIONS,
        })
    };
    if !has_chains(kernel) {
        return Vec::new();
    }
    let mut out: Vec<SpecialRegion> = [
        // Selects the shortest name with this suffix; absent if each pool has its own region.
        ("RegionSpecialPool", None),
        ("RegionSpecialPoolPaged", Some(PoolKind::Paged)),
        ("RegionSpecialPoolNonPaged", Some(PoolKind::NonPaged)),
    ]
    .into_iter()
    .filter_map(|(name, kind)| assigned(name, kind))
    .collect();
    if out.is_empty()
        && let Some(at) = kernel.symbol("MiSpecialPool")
    {
        out.extend(special_by_entries(kernel, &kernel.space, at, None));
    }
    out.sort_by_key(|r| r.start);
    out
}

/// Bytes of address space per page directory entry.
const DIRECTORY_ENTRY: u64 = 0x20_0000;
/// Start of the self-map on builds that do not choose it at boot.
const FIXED_SELF_MAP: u64 = 0xffff_f680_0000_0000;

/// Up to Windows 10 1607: `_MI_SPECIAL_POOL` has the address of the first page-table entry of
/// its range (PteBase, or that of its lists), and a bit for each 2 MB.
pub(super) fn special_by_entries(
    kernel: &Kernel,
    space: &AddressSpace,
    at: Va,
    kind: Option<PoolKind>,
) -> Option<SpecialRegion> {
    const TYPE: &str = "_MI_SPECIAL_POOL";
    let base = match kernel.offset(TYPE, "PteBase") {
        Some(offset) => offset,
        // The last field of the list of free entries.
        None => {
            let list = kernel.symbols.field(TYPE, "Paged")?;
            u64::from(list.offset) + u64::from(list.size.checked_sub(8)?)
        }
    };
    let bits = at.add(kernel.offset(TYPE, "SpecialPoolPdes")?);
    let entries = space.pointer(at.add(base)).ok()?;
    let directories = u64::from(space.u32(bits).ok()?);
    let self_map = kernel
        .pointer_in("MmPteBase", None)
        .map_or(FIXED_SELF_MAP, |va| va.0);
    let offset = entries.0.checked_sub(self_map).filter(|o| o >> 39 == 0)?;
    // Bits 9 to 47 of the entry's address give the mapped address.
    let start = Va(((offset << 25) as i64 >> 16) as u64);
    let bytes = directories
        .checked_mul(DIRECTORY_ENTRY)
        .filter(|&b| b > 0 && b <= LARGEST_REGION)?;
    let end = Va(start.0.checked_add(bytes)?);
    let sound = start.is_kernel() && start.offset() == 0;
    sound.then_some(SpecialRegion {
        start,
        end,
        kind,
        source: "nt!_MI_SPECIAL_POOL",
    })
}
